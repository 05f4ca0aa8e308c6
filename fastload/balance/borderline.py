"""Borderline-SMOTE: new rows only where a class meets others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastload.balance.interpolate import Interpolator, Pairs, drawn_pairs, neighbors_object, neighbors_of
from fastload.errors import ArgumentError, NothingInDangerWarning

KINDS = ("borderline-1", "borderline-2")


class BorderlineSMOTE(Interpolator):
    """Adds rows to each class that is too small, at those of its rows that are in danger.

    Han, Wang, Mao: "Borderline-SMOTE: a new over-sampling method in imbalanced data sets learning", ICIC 2005. A row is in danger
    if at least half, but not all, of its `m_neighbors` nearest neighbours are of other classes. New rows lie between such a row and
    one of its neighbours: of its class ("borderline-1"), or among all rows ("borderline-2"), less than half of the way to those of
    other classes. Order and draws are as for `SMOTE`.

    Parameters
    ----------
    sampling_strategy : str, float, dict or callable
        See `SMOTE`.
    random_state : int, RandomState or None
    k_neighbors : int or object
        Neighbours between which and the row new rows are made; or what finds them.
    m_neighbors : int or object
        Neighbours among all rows that tell of danger; or what finds them.
    kind : "borderline-1" or "borderline-2"

    Attributes
    ----------
    sampling_strategy_ : OrderedDict, class -> rows to add
    nn_k_, nn_m_ : what found the neighbours
    in_danger_indices : dict, class -> numbers of its rows that are in danger

    Warns
    -----
    NothingInDangerWarning
        No row of a class is in danger: the class gets no rows. (imbalanced-learn is silent.)

    Raises
    ------
    OneClassError, UnknownClassError, StrategyError, ArgumentError, TooFewRowsError, NotFiniteError, NotNumbersError

    Examples
    --------
    >>> X = np.array([[0.0], [1], [2], [3], [3.2], [4], [5], [6], [7], [8]])
    >>> sampler = BorderlineSMOTE(k_neighbors=2, m_neighbors=4, random_state=0)
    >>> X_more, y_more = sampler.fit_resample(X, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    >>> {label: rows.tolist() for label, rows in sampler.in_danger_indices.items()}
    {1: [3]}
    >>> X_more[10:].round(2).ravel().tolist()
    [2.28, 1.79]
    """

    def __init__(
        self,
        *,
        sampling_strategy: Any = "auto",
        random_state: Any = None,
        k_neighbors: Any = 5,
        m_neighbors: Any = 10,
        kind: str = "borderline-1",
    ) -> None:
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state
        self.k_neighbors = k_neighbors
        self.m_neighbors = m_neighbors
        self.kind = kind

    def _check_parameters(self) -> None:
        if self.kind not in KINDS:
            raise ArgumentError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        self.nn_k_ = neighbors_object("k_neighbors", self.k_neighbors)
        self.nn_m_ = neighbors_object("m_neighbors", self.m_neighbors)

    def _pairs(self, table: Any, y: np.ndarray) -> Iterator[Pairs]:
        self.in_danger_indices = {}
        for label, count in self.sampling_strategy_.items():
            if not count:
                continue
            rows = np.flatnonzero(y == label)
            around = neighbors_of(self.nn_m_, table, table[rows], "X", "m_neighbors")
            foreign = (y[around] != label).sum(axis=1)
            in_danger = (foreign >= around.shape[1] / 2) & (foreign < around.shape[1])
            if not in_danger.any():
                warnings.warn(
                    f"no row of class {label!r} is in danger, that is, at least half but not all of its {around.shape[1]} nearest "
                    f"rows are of other classes: the class stays as it is, with {len(rows)} rows; use SMOTE, or other m_neighbors",
                    NothingInDangerWarning,
                    stacklevel=4,
                )
                continue
            self.in_danger_indices[label] = bases = rows[in_danger]
            if self.kind == "borderline-1":
                found = rows[neighbors_of(self.nn_k_, table[rows], table[bases], f"class {label!r}", "k_neighbors")]
                yield drawn_pairs(label, bases, found, count, self.random_state)
            else:
                found = neighbors_of(self.nn_k_, table, table[bases], "X", "k_neighbors")
                yield self._less_far_to_others(y, drawn_pairs(label, bases, found, count, self.random_state))

    def _less_far_to_others(self, y: np.ndarray, pairs: Pairs) -> Pairs:
        """A number is the seed of these draws, too: a stream of its own, as in imbalanced-learn."""
        others = y[pairs.neighbors] != pairs.label
        pairs.parts[others] *= check_random_state(self.random_state).uniform(0.0, 0.5, others.sum())
        return pairs
