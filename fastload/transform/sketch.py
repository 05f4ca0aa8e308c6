"""Quantiles of data of any size, in parts that are merged: the KLL sketch, as Apache DataSketches keeps it.

Karnin, Lang, Liberty, "Optimal Quantile Approximation in Streams", FOCS 2016. The library is an extra; exact quantiles of arrays
need none (see `quantiles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from fastload.errors import ArgumentError, MissingExtraError, ShapeError

K = 4096  # accuracy: a rank error of 0.07 %, in about 100 KB a column


class QuantileSketch:
    """A sketch for each of `columns` columns of numbers.

    The rank of what `quantiles` gives differs from the rank asked for by at most `rank_error` with a probability of 99 %, for any
    data and however they were merged. NaN are left out.

    Parameters
    ----------
    columns : int
    k : int
        8 to 65535; memory grows with it, and the error falls.

    Raises
    ------
    MissingExtraError
        datasketches is not installed.

    Examples
    --------
    >>> sketches = [QuantileSketch(1).update(np.arange(a, a + 1000)) for a in (0, 1000)]
    >>> sketches[0].merge(sketches[1]).quantiles((0.0, 1.0)).tolist()
    [[0.0], [1999.0]]
    >>> round(sketches[0].rank_error, 5)
    0.00071
    """

    def __init__(self, columns: int, k: int = K) -> None:
        if not 8 <= k <= 65535:
            raise ArgumentError(f"k must lie in 8 .. 65535, got {k}")
        self._sketches = [_library().kll_doubles_sketch(k) for _ in range(columns)]

    @property
    def rank_error(self) -> float:
        return self._sketches[0].normalized_rank_error(False)

    def update(self, values: Any) -> QuantileSketch:
        """Adds rows [rows, columns], or [rows] of one column."""
        rows = np.asarray(values)
        rows = rows.reshape(len(rows), -1)
        if rows.shape[1] != len(self._sketches):
            raise ShapeError(f"the sketch is of {len(self._sketches)} columns, got rows of {rows.shape[1]}")
        for sketch, column in zip(self._sketches, rows.T):
            column = np.ascontiguousarray(column, np.float64)
            sketch.update(column[column == column])
        return self

    def merge(self, other: QuantileSketch) -> QuantileSketch:
        """Adds what another has seen."""
        if len(other._sketches) != len(self._sketches):
            raise ShapeError(f"sketches of {len(self._sketches)} and {len(other._sketches)} columns cannot be merged")
        for mine, theirs in zip(self._sketches, other._sketches):
            mine.merge(theirs)
        return self

    def quantiles(self, levels: Sequence[float]) -> np.ndarray:
        """float64 [levels, columns]; NaN for a column without values."""
        found = [s.get_quantiles(list(levels)) if not s.is_empty() else [np.nan] * len(levels) for s in self._sketches]
        return np.array(found, np.float64).T.reshape(len(levels), len(self._sketches))

    def to_bytes(self) -> list[bytes]:
        """The sketches in the library's own form, which other languages read, too."""
        return [sketch.serialize() for sketch in self._sketches]

    @classmethod
    def from_bytes(cls, parts: Iterable[bytes]) -> QuantileSketch:
        sketch = cls.__new__(cls)
        sketch._sketches = [_library().kll_doubles_sketch.deserialize(part) for part in parts]
        return sketch


def _library() -> Any:
    try:
        return import_module("datasketches")
    except ModuleNotFoundError as error:
        if error.name != "datasketches":
            raise
        raise MissingExtraError("datasketches", extra="sketches") from None
