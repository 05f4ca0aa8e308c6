"""Mean and spread of a field, wherever its rows are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastload.block.dataset import Dataset
from fastload.errors import FormatError, ShapeError, TooFewRowsError
from fastload.load.dataloader import DataLoader
from fastload.load.iterable import IterableDataset
from fastload.synth.fields import check_rows, parts_of
from fastload.transform.learn import statistics_of


class Moments(NamedTuple):
    """Mean and standard deviation (1 where there is none) of the entries of a vector, of the channels of an image
    [height, width, channels], of all values of other rows: float64 [columns]."""

    center: np.ndarray
    scale: np.ndarray


def moments_of(data: Any, name: str) -> Moments:
    """Mean and spread of a field: of arrays; by the statistics of a data set's files; else, in one pass, of what a loader gives.

    Parameters
    ----------
    data : what `chosen` gives
    name : str

    Raises
    ------
    UnknownFieldError, DtypeError
    ShapeError
        A row is a single number, or rows differ in shape.
    NotFiniteError

    Examples
    --------
    >>> moments_of({"x": np.array([[1.0, 5.0], [3.0, 5.0]])}, "x")
    Moments(center=array([2., 5.]), scale=array([1., 1.]))
    """
    is_read = isinstance(data, (DataLoader, IterableDataset)) and data.transform is None
    if is_read and isinstance(data.dataset, Dataset):
        data = data.dataset
    known = _in_files(data, name)
    mean, variance = _passed((part[name] for part in parts_of(data, [name])), name) if known is None else known
    scale = np.sqrt(variance)
    rounding = np.finfo(np.float32).eps * np.abs(mean)  # a constant column's values may differ by that
    return Moments(mean, np.where(scale > rounding, scale, 1.0))


def _in_files(data: Any, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and variance that a data set's files tell; None if they do not, or if some value is missing or not finite."""
    if not isinstance(data, Dataset) or name not in data.schema or not data.schema[name].shape:
        return None
    try:
        found = data.statistics[name]
    except FormatError:
        return None
    if found.nulls or np.any(found.nans) or np.any(found.infinities):
        return None
    return found.mean, np.square(found.std)


def _passed(parts: Iterator[np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance: those of the parts, joined."""
    rows, mean, variance, shape = 0, 0.0, 0.0, None
    for part in parts:
        shape = part.shape[1:] if shape is None else shape
        if not shape:
            raise ShapeError(
                f"a row of field {name!r} must be a vector or an image, each of one shape, got single numbers"
            )
        check_rows(part, name, shape, rows)
        rows += len(part)
        found, share = statistics_of(part), len(part) / rows
        step = found.mean - mean
        variance = variance + share * (np.square(found.std) - variance) + share * (1 - share) * np.square(step)
        mean = mean + share * step
    if not rows:
        raise TooFewRowsError(f"there must be rows to learn from, and field {name!r} has none")
    return mean, variance
