"""Over-sampling: rows of the small classes again, as they are or with a little noise."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state
from sklearn.utils.sparsefuncs import mean_variance_axis

from fastload.balance.base import RowSampler
from fastload.balance.labels import Labels
from fastload.balance.tables import is_frame, restored, rows_of
from fastload.balance.tags import BalanceTags, tags_of
from fastload.errors import ArgumentError

CHUNK_VALUES = 1 << 20  # of noise that is drawn at a time


class RandomOverSampler(RowSampler):
    """Repeats random rows of each class that is too small.

    All rows of X come first, in their order, then the repeated ones, class by class. With the same `random_state`, the rows are
    those of imbalanced-learn.

    Parameters
    ----------
    sampling_strategy : str, float, dict or callable
        What is to be done to which class, see `fastload.balance.strategy.rows_per_class`; by default, all classes but the largest
        are brought to its size.
    random_state : int, RandomState or None
    shrinkage : number >= 0, dict of class and number, or None
        The smoothed bootstrap (Menardi, Torelli, 2014): to each repeated row, Gaussian noise is added, in units of the standard
        deviations of its class, times (4 / ((columns + 2) rows)) ^ (1 / (columns + 4)). X must then hold finite numbers.

    Attributes
    ----------
    sampling_strategy_ : OrderedDict, class -> rows to add
    sample_indices_ : int64 array [rows in the end]
        Which row of X each one is, or was made of.
    shrinkage_ : dict of class and number, or None

    Raises
    ------
    OneClassError, UnknownClassError, StrategyError, ArgumentError
        And, with `shrinkage`, NotFiniteError, NotNumbersError.

    Examples
    --------
    >>> X, y = np.arange(5).reshape(5, 1), ["a", "b", "b", "b", "a"]
    >>> X_more, y_more = RandomOverSampler(random_state=0).fit_resample(X, y)
    >>> X_more.ravel().tolist(), y_more
    ([0, 1, 2, 3, 4, 0], ['a', 'b', 'b', 'b', 'a', 'a'])
    """

    def __init__(self, *, sampling_strategy: Any = "auto", random_state: Any = None, shrinkage: Any = None) -> None:
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state
        self.shrinkage = shrinkage

    def _table(self, X: Any) -> Any:
        return super()._table(X) if self.shrinkage is None else self._finite_numbers(X, " with shrinkage")

    def __sklearn_tags__(self) -> BalanceTags:
        return tags_of(sparse=True, anything=self.shrinkage is None, sample_indices=True)

    def _resampled(self, X: Any, table: Any, labels: Labels) -> tuple[Any, Any]:
        self.shrinkage_ = self._shrinkage_of_classes()
        random_state = check_random_state(self.random_state)
        indices, noises = [np.arange(len(labels))], []
        for label, count in self.sampling_strategy_.items():
            rows = np.flatnonzero(labels.values == label)
            indices.append(rows[random_state.choice(len(rows), count)])
            if self.shrinkage_ is not None:
                noises.append(_noisy(table, rows, indices[-1], self.shrinkage_[label], random_state))
        self.sample_indices_ = np.concatenate(indices)
        y = labels.restored(labels.values[self.sample_indices_])
        if noises:
            stack = sparse.vstack if sparse.issparse(table) else np.concatenate
            form = {"format": table.format} if sparse.issparse(table) else {}
            return restored(stack([table, *noises], **form), X), y
        out = rows_of(table, self.sample_indices_)
        return (out.reset_index(drop=True) if is_frame(X) else restored(out, X)), y

    def _shrinkage_of_classes(self) -> Any:
        if self.shrinkage is None:
            return None
        if isinstance(self.shrinkage, Mapping):
            found = dict(self.shrinkage)
        elif isinstance(self.shrinkage, Real):
            found = dict.fromkeys(self.sampling_strategy_, self.shrinkage)
        else:
            raise ArgumentError(
                f"shrinkage must be a number, a dict of class and number, or None; got {self.shrinkage!r}"
            )
        missing = [label for label in self.sampling_strategy_ if label not in found]
        if missing:
            raise ArgumentError(
                f"shrinkage must have a number for each class that gets rows; it has none for {missing[0]!r}"
            )
        for label, factor in found.items():
            if not factor >= 0:
                raise ArgumentError(f"shrinkage must not be negative, got {factor!r} for class {label!r}")
        return found


def _noisy(table: Any, rows: np.ndarray, taken: np.ndarray, factor: float, random_state: np.random.RandomState) -> Any:
    """The rows `taken` of a table, with noise in units of the deviations of the class, whose rows are `rows`."""
    count, columns = table.shape
    if sparse.issparse(table):
        deviations = np.sqrt(mean_variance_axis(table[rows], axis=0)[1])
    else:
        deviations = np.std(table[rows], axis=0, dtype=np.float64)
    scale = factor * (4 / ((columns + 2) * count)) ** (1 / (columns + 4)) * deviations
    if sparse.issparse(table):
        dense = random_state.randn(len(taken), columns) * scale + table[taken].toarray()
        return sparse.csr_matrix(dense, dtype=table.dtype)
    out = table[taken].astype(table.dtype if table.dtype.kind == "f" else np.float64, copy=False)
    step = max(1, CHUNK_VALUES // columns)  # so that no second array of this size is made: the draws are the same
    for begin in range(0, len(taken), step):
        out[begin : begin + step] += random_state.randn(min(step, len(taken) - begin), columns) * scale
    return out
