"""Quantiles of columns: of an array exact, of a data set by a sketch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastload import _core
from fastload.block.dataset import Dataset
from fastload.block.threads import default_threads
from fastload.errors import ArgumentError, DtypeError
from fastload.schema import DTYPES
from fastload.transform.learn import array_of, only_field
from fastload.transform.sketch import QuantileSketch


def quantiles(values: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """What ``np.nanquantile(values, levels, axis=0)`` gives, at the speed of memory: a selection by radix, a few passes.

    Parameters
    ----------
    values : array [rows, columns] or [rows]
        Numbers; NaN are left out. Of more dimensions, the last is the columns.
    levels : sequence of float
        In 0 .. 1.

    Returns
    -------
    float64 array [levels, columns]; NaN for a column without values.

    Raises
    ------
    DtypeError, ArgumentError

    Examples
    --------
    >>> quantiles(np.array([[1, 10], [2, 20], [3, 30]]), (0.5,)).tolist()
    [[2.0, 20.0]]
    """
    levels = [float(level) for level in levels]
    if not all(0 <= level <= 1 for level in levels):
        raise ArgumentError(f"levels must lie in 0 .. 1, got {levels}")
    values = np.ascontiguousarray(values)
    if values.dtype.kind not in "biuf" or values.dtype.name not in DTYPES:
        raise DtypeError(f"quantiles are of numbers, got an array of {values.dtype}")
    columns = values.shape[-1] if values.ndim > 1 else 1
    found = _core.quantiles(
        DTYPES.index(values.dtype.name), values, values.size // max(1, columns), columns, levels, default_threads()
    )
    return found.reshape(len(levels), columns)


def quantiles_of(X: Any, levels: Sequence[float], exact: bool) -> np.ndarray:
    """Of an array, exact; of a data set of one field in files in one pass and bounded memory, by a sketch, unless `exact` asks for
    all of the field in memory."""
    if exact or not isinstance(X, Dataset):
        return quantiles(array_of(X), levels)
    sketch = None
    for batch in X.batches():
        values = batch[only_field(X)]
        if isinstance(values, np.ma.MaskedArray):
            values = values.data[~np.ma.getmaskarray(values).reshape(len(values), -1).any(axis=1)]
        values = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        sketch = sketch or QuantileSketch(values.shape[1])
        sketch.update(values)
    return sketch.quantiles(levels)
