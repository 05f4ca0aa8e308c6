"""SMOTE: new rows between a row of a small class and one of its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastload.balance.interpolate import Interpolator, Pairs, drawn_pairs, neighbors_object, neighbors_of


class SMOTE(Interpolator):
    """Adds rows to each class that is too small, between one of its rows and one of that row's nearest neighbours in the class.

    Chawla, Bowyer, Hall, Kegelmeyer: "SMOTE: synthetic minority over-sampling technique", JAIR 16, 2002. All rows of X come first,
    untouched and in their order, then the new ones, class by class. With the same `random_state`, the new rows are those of
    imbalanced-learn, up to the order of neighbours at equal distances. float32 stays float32, whole numbers are cut off.

    Parameters
    ----------
    sampling_strategy : str, float, dict or callable
        What is to be done to which class, see `fastload.balance.strategy.rows_per_class`; by default, all classes but the largest
        are brought to its size.
    random_state : int, RandomState or None
        With a number, every class draws from the beginning of the same stream, as in imbalanced-learn.
    k_neighbors : int or object
        Neighbours of each row; or what finds them, with `fit` and `kneighbors`, which is asked for the row itself as well.

    Attributes
    ----------
    sampling_strategy_ : OrderedDict, class -> rows to add
    nn_k_ : what found the neighbours

    Raises
    ------
    OneClassError, UnknownClassError, StrategyError, ArgumentError
    TooFewRowsError
        A class that gets rows has not more than `k_neighbors`.
    NotFiniteError, NotNumbersError

    Examples
    --------
    >>> X = np.array([[0.0, 0.0], [2.0, 4.0], [9, 9], [9, 8], [8, 9], [8, 8]])
    >>> X_more, y_more = SMOTE(k_neighbors=1, random_state=1).fit_resample(X, [1, 1, 0, 0, 0, 0])
    >>> y_more, X_more[6:].round(1).tolist()
    ([1, 1, 0, 0, 0, 0, 1, 1], [[0.6, 1.1], [2.0, 4.0]])
    """

    def __init__(self, *, sampling_strategy: Any = "auto", random_state: Any = None, k_neighbors: Any = 5) -> None:
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state
        self.k_neighbors = k_neighbors

    def _check_parameters(self) -> None:
        self.nn_k_ = neighbors_object("k_neighbors", self.k_neighbors)

    def _pairs(self, table: Any, y: np.ndarray) -> Iterator[Pairs]:
        for label, count in self.sampling_strategy_.items():
            if count:
                rows = np.flatnonzero(y == label)
                of_class = table[rows]
                found = neighbors_of(self.nn_k_, of_class, of_class, f"class {label!r}", "k_neighbors")
                yield drawn_pairs(label, rows, rows[found], count, self.random_state)
