"""Imputing: something in the place of what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastload.errors import ArgumentError, NotFittedError
from fastload.transform.base import Transform
from fastload.transform.chain import Chain
from fastload.transform.learn import array_of, statistics_of
from fastload.transform.quantiles import quantiles_of

STRATEGIES = ("mean", "median", "most_frequent", "constant")


class Impute(Transform):
    """NaN, and rows that are null, get a value: the column's mean, median, most frequent value, or a constant.

    Parameters
    ----------
    strategy : "mean", "median", "most_frequent" or "constant"
        As in SimpleImputer. Of a column that has no value at all nothing can be learned: it gets 0.
    fill_value : number or sequence of numbers (one per column)
        For "constant".
    exact : bool
        For "median" over a Dataset in files, as for `Normalize`.
    add_mask : bool
        In a loader, batches get ``<name>_missing`` as well: bool, True where a value was filled in.

    Attributes
    ----------
    statistics_ : float64 array [columns]
        After `fit`. Without it the loader takes means from the data set's statistics, and the most frequent value where these
        count classes.

    Examples
    --------
    >>> Impute("median").fit_transform(np.array([[1.0], [np.nan], [2.0], [9.0]])).ravel().tolist()
    [1.0, 2.0, 2.0, 9.0]
    """

    _LEARNED = ("statistics_",)

    def __init__(
        self, strategy: str = "mean", *, fill_value: Any = None, exact: bool = False, add_mask: bool = False
    ) -> None:
        if strategy not in STRATEGIES:
            raise ArgumentError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
        if (strategy == "constant") != (fill_value is not None):
            raise ArgumentError("fill_value is for strategy='constant', which needs it")
        self.strategy, self.fill_value, self.exact, self.add_mask = strategy, fill_value, exact, add_mask

    def fit(self, X: Any, y: Any = None) -> Impute:
        if self.strategy == "mean":
            self.statistics_ = self._known(statistics_of(X))
        elif self.strategy == "median":
            self.statistics_ = np.nan_to_num(quantiles_of(X, (0.5,), self.exact)[0])
        elif self.strategy == "most_frequent":
            values = array_of(X)
            columns = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1).T
            self.statistics_ = np.array([_most_frequent(column) for column in columns])
        return self

    def _known(self, statistics: Any, category_names: Any = None) -> np.ndarray | None:
        """Of statistics, if they hold it; of categories, their codes."""
        if self.strategy == "mean":
            return np.nan_to_num(np.atleast_1d(np.asarray(statistics.mean, np.float64)))
        if self.strategy == "most_frequent" and statistics.class_counts:
            counts = statistics.class_counts
            best = max(sorted(counts), key=counts.get)
            return np.array([best if category_names is None else category_names.index(best)])
        return None

    def extend(self, chain: Chain) -> None:
        if self.add_mask:
            chain.add_mask("missing")
        if self.strategy == "constant":
            chain.fill(self.fill_value)
            return
        values = getattr(self, "statistics_", None)
        if values is None and chain.statistics is not None:
            values = self._known(chain.statistics, chain.category_names)
        if values is None:
            raise NotFittedError(
                f"Impute({self.strategy!r}) does not know what to fill in for field {chain.name!r}, and no statistics say so: "
                "fit it first"
            )
        chain.fill(values)


def _most_frequent(column: np.ndarray) -> float:
    """The smallest of them, as SimpleImputer."""
    present = column[column == column]
    if not present.size:
        return 0.0
    values, counts = np.unique(present, return_counts=True)
    return float(values[np.argmax(counts)])
