"""Under-sampling: fewer rows of the large classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastload.balance.base import RowSampler
from fastload.balance.labels import Labels
from fastload.balance.tables import is_frame, restored, rows_of


class RandomUnderSampler(RowSampler):
    """Takes a random part of the rows of each class that is too large.

    Rows come class by class, in the order of the classes; those of a class that is no target in their own order, others as they
    were drawn. With the same `random_state`, the rows are those of imbalanced-learn.

    Parameters
    ----------
    sampling_strategy : str, float, dict or callable
        What is to be done to which class, see `fastload.balance.strategy.rows_per_class`; by default, all classes but the smallest
        are brought to its size.
    random_state : int, RandomState or None
    replacement : bool
        A row may be taken several times.

    Attributes
    ----------
    sampling_strategy_ : OrderedDict, class -> rows to keep
    sample_indices_ : int64 array [rows kept]
        Their numbers in X.

    Raises
    ------
    OneClassError, UnknownClassError, StrategyError

    Examples
    --------
    >>> X, y = np.arange(8).reshape(8, 1), ["a", "b", "b", "b", "a", "b", "b", "b"]
    >>> X_less, y_less = RandomUnderSampler(random_state=0).fit_resample(X, y)
    >>> y_less, X_less[:2].ravel().tolist()
    (['a', 'a', 'b', 'b'], [0, 4])
    """

    _sampling = "under"

    def __init__(self, *, sampling_strategy: Any = "auto", random_state: Any = None, replacement: bool = False) -> None:
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state
        self.replacement = replacement

    def _resampled(self, X: Any, table: Any, labels: Labels) -> tuple[Any, Any]:
        random_state = check_random_state(self.random_state)
        parts = []
        for label, count in labels.counts.items():
            rows = np.flatnonzero(labels.values == label)
            if label in self.sampling_strategy_:
                rows = rows[random_state.choice(count, self.sampling_strategy_[label], self.replacement)]
            parts.append(rows)
        self.sample_indices_ = np.concatenate(parts)
        kept = rows_of(table, self.sample_indices_)
        y = labels.restored(labels.values[self.sample_indices_], kept.index if is_frame(kept) else None)
        return kept if is_frame(X) else restored(kept, X), y
