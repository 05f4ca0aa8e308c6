"""ADASYN: the more new rows, the more foreign the neighbourhood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from fastload.balance.interpolate import Interpolator, Pairs, neighbors_object, neighbors_of
from fastload.errors import EmptyError, NoForeignNeighborsError


class ADASYN(Interpolator):
    """Adds rows to each class that is too small: to each of its rows as many as it has neighbours of other classes, in proportion.

    He, Bai, Garcia, Li: "ADASYN: adaptive synthetic sampling approach for imbalanced learning", IJCNN 2008. New rows lie between a
    row and one of its nearest neighbours in the class. Their number is rounded for each row, so that a class does not get exactly
    as many as asked for. Order and draws are those of imbalanced-learn.

    Parameters
    ----------
    sampling_strategy : str, float, dict or callable
        See `SMOTE`.
    random_state : int, RandomState or None
    n_neighbors : int or object
        Neighbours of each row; or what finds them.

    Attributes
    ----------
    sampling_strategy_ : OrderedDict, class -> rows asked for
    nn_ : what found the neighbours

    Raises
    ------
    NoForeignNeighborsError
        All neighbours of all rows are of the class itself.
    EmptyError
        So few rows are asked for that each number is rounded to 0.
    OneClassError, UnknownClassError, StrategyError, ArgumentError, TooFewRowsError, NotFiniteError, NotNumbersError

    Examples
    --------
    >>> X = np.array([[0.0], [1], [2], [3], [3.2], [4], [5], [6], [7], [8]])
    >>> X_more, y_more = ADASYN(n_neighbors=2, random_state=0).fit_resample(X, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    >>> X_more[10:].round(2).ravel().tolist()
    [2.28, 1.79]
    """

    def __init__(self, *, sampling_strategy: Any = "auto", random_state: Any = None, n_neighbors: Any = 5) -> None:
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state
        self.n_neighbors = n_neighbors

    def _check_parameters(self) -> None:
        self.nn_ = neighbors_object("n_neighbors", self.n_neighbors)

    def _pairs(self, table: Any, y: np.ndarray) -> Iterator[Pairs]:
        random_state = check_random_state(self.random_state)
        among_all = clone(self.nn_)
        for label, count in self.sampling_strategy_.items():
            if not count:
                continue
            rows = np.flatnonzero(y == label)
            of_class = table[rows]
            around = neighbors_of(among_all, table, of_class, "X", "n_neighbors")
            each = self._rows_each(label, (y[around] != label).sum(axis=1) / around.shape[1], count)
            found = neighbors_of(self.nn_, of_class, of_class, f"class {label!r}", "n_neighbors")
            bases = np.repeat(np.arange(len(rows)), each)
            which = random_state.choice(found.shape[1], len(bases))
            yield Pairs(label, rows[bases], rows[found[bases, which]], random_state.uniform(size=len(bases)))

    def _rows_each(self, label: Any, foreign: np.ndarray, count: int) -> np.ndarray:
        """foreign : share of the neighbours of each row that are of other classes."""
        if not foreign.any():
            raise NoForeignNeighborsError(
                f"ADASYN adds rows where neighbours are of other classes, and no row of class {label!r} has one among its "
                "nearest; use SMOTE, or a larger n_neighbors"
            )
        each = np.rint(foreign / foreign.sum() * count).astype(np.int64)
        if not each.any():
            raise EmptyError(
                f"No samples will be generated: {count} new rows of class {label!r} are fewer than half a row for each of those "
                "that have foreign neighbours; ask for more, or use SMOTE"
            )
        return each
