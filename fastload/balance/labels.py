"""The labels of a table: their classes, and the way back to the type they came in."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from fastload.errors import ArgumentError, ShapeError


class Labels:
    """Labels as a NumPy array of one dimension.

    Attributes
    ----------
    values : array [rows]
    counts : dict, class -> rows, in the order of the classes

    Raises
    ------
    ArgumentError
        Labels that are no classes: numbers that are not whole, or several classes in one row.
    ShapeError
    """

    def __init__(self, y: Any) -> None:
        self._given = y
        values = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        self._columns = values.shape[1] if values.ndim == 2 else 0
        if self._columns:
            values = _hot_columns(values)
        if values.ndim != 1:
            raise ShapeError(
                f"y must have one dimension, or one column a class; y should be a 1d array, got {values.shape}"
            )
        self.values = values
        self.counts = _counted(values)

    def __len__(self) -> int:
        return len(self.values)

    def restored(self, values: np.ndarray, index: Any = None) -> Any:
        """Other labels in the type of those given. index : of the frame or series, if it becomes one."""
        given = self._given
        if self._columns:
            values = (values[:, None] == np.arange(self._columns)).astype(np.asarray(given).dtype, copy=False)
        if isinstance(given, list):
            return values.tolist()
        module = type(given).__module__.partition(".")[0]
        if module == "pandas":
            import pandas as pd

            if given.ndim == 1:
                return pd.Series(values, index=index, dtype=given.dtype, name=given.name)
            return pd.DataFrame(values, index=index, columns=given.columns).astype(given.dtypes)
        return values


def _hot_columns(values: np.ndarray) -> np.ndarray:
    """One-hot rows -> numbers of the columns."""
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all() or (values.sum(axis=1) > 1).any():
        raise ArgumentError(
            "y with several columns must be one-hot: 0 everywhere but for one 1 a row. Multilabel and multioutput targets are not "
            "supported."
        )
    none = np.flatnonzero(values.sum(axis=1) != 1)
    if none.size:
        raise ArgumentError(f"y with several columns must have one 1 in every row, found none in row {none[0]}")
    return values.argmax(axis=1)


def _counted(values: np.ndarray) -> dict[Any, int]:
    if values.dtype.kind == "O":
        found = Counter(values.tolist())
        if all(isinstance(value, str) for value in found):
            return dict(sorted(found.items()))
    if values.dtype.kind not in "biuUS":
        _check_classes(values)
    classes, counts = np.unique(values, return_counts=True)
    return dict(zip(classes.tolist(), counts.tolist()))


def _check_classes(values: np.ndarray) -> None:
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import assert_all_finite

    assert_all_finite(values, input_name="y")
    check_classification_targets(values)
