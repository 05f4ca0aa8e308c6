"""From pairs of rows to a table with the rows between them: what SMOTE and its kin end with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_random_state

from fastload.balance.base import Sampler
from fastload.balance.labels import Labels
from fastload.balance.neighbors import NearestNeighbors
from fastload.balance.tables import restored
from fastload.block.threads import default_threads
from fastload.errors import ArgumentError, TooFewRowsError
from fastload.kernels import cpu_kernels

DTYPES = tuple(map(np.dtype, "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split()))


class Pairs(NamedTuple):
    """New rows of one class: each lies on the way from one row of X to another.

    label : the class. bases, neighbors : int64 [n], numbers of rows of X. parts : float64 [n], how far the way is gone, 0 to 1.
    """

    label: Any
    bases: np.ndarray
    neighbors: np.ndarray
    parts: np.ndarray


class Interpolator(Sampler):
    """A sampler that adds rows between rows. Subclasses say in `_pairs` between which ones."""

    @abstractmethod
    def _pairs(self, table: Any, y: np.ndarray) -> Iterator[Pairs]:
        """For each class that gets rows. table : array [rows, columns] or sparse matrix. y : labels [rows]."""

    def _resampled(self, X: Any, table: Any, labels: Labels) -> tuple[Any, Any]:
        pairs = list(self._pairs(table, labels.values))
        out = with_rows_between(table, pairs)
        return restored(out, X), labels.restored(with_labels(labels.values, pairs))


def with_rows_between(table: Any, pairs: list[Pairs]) -> Any:
    """The rows of a table, and after them those between its rows: one array is made, and written once."""
    if sparse.issparse(table):
        return sparse.vstack([table, *(_sparse_rows_between(table, p) for p in pairs)], format=table.format)
    given = len(table)
    dtype = table.dtype if table.dtype in DTYPES else np.dtype(np.float64)
    out = np.empty((given + sum(len(p.bases) for p in pairs), table.shape[1]), dtype)
    out[:given] = table
    end = given
    for p in pairs:
        begin, end = end, end + len(p.bases)
        cpu_kernels().interpolate(out[:given], p.bases, p.neighbors, p.parts, out[begin:end], default_threads())
    return out.astype(table.dtype, copy=False)


def rows_between(table: np.ndarray, pairs: Pairs) -> np.ndarray:
    """The new rows alone. table : array [rows, columns]."""
    return with_rows_between(table, [pairs])[len(table) :]


def _sparse_rows_between(table: Any, pairs: Pairs) -> Any:
    bases = table[pairs.bases]
    parts = sparse.csr_matrix(pairs.parts[:, None])
    return (bases + parts.multiply(table[pairs.neighbors] - bases)).astype(table.dtype)


def with_labels(y: np.ndarray, pairs: list[Pairs]) -> np.ndarray:
    """The labels of what `with_rows_between` makes."""
    out = np.empty(len(y) + sum(len(p.bases) for p in pairs), y.dtype)
    out[: len(y)] = y
    end = len(y)
    for p in pairs:
        begin, end = end, end + len(p.bases)
        out[begin:end] = p.label
    return out


def drawn_pairs(label: Any, bases: np.ndarray, neighbors: np.ndarray, count: int, random_state: Any) -> Pairs:
    """`count` pairs, drawn as imbalanced-learn does: first which, all together, then how far.

    bases : int64 [n]. neighbors : int64 [n, k].
    """
    random_state = check_random_state(random_state)
    drawn = random_state.randint(0, neighbors.size, count)
    parts = random_state.uniform(size=count)
    return Pairs(label, bases[drawn // neighbors.shape[1]], neighbors.ravel()[drawn], parts)


# --- neighbours -------------------------------------------------------------------------------------


def neighbors_object(name: str, given: Any) -> Any:
    """What finds the neighbours: `given` of them and the row itself, or a copy of an object with `kneighbors`."""
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        if given < 1:
            raise ArgumentError(f"{name} must be at least 1, got {given}")
        return NearestNeighbors(int(given) + 1)
    if not (hasattr(given, "kneighbors") and hasattr(given, "fit")):
        raise ArgumentError(f"{name} must be a number, or an object with fit and kneighbors; got {given!r}")
    return clone(given)


def neighbors_of(finder: Any, rows: Any, queries: Any, what: str, name: str) -> np.ndarray:
    """int64 [queries, k]: the neighbours of each query among the rows, without the first, which is taken to be the query itself.

    what : of what the rows are, for the error. name : of the parameter.
    """
    check_enough_rows(getattr(finder, "n_neighbors", 0), rows.shape[0], what, name)
    return np.asarray(finder.fit(rows).kneighbors(queries, return_distance=False))[:, 1:]


def check_enough_rows(asked: int, rows: int, what: str, name: str) -> None:
    """asked : neighbours, with the row itself."""
    if asked > rows:
        raise TooFewRowsError(
            f"{what} must have more rows than {name}: found n_samples = {rows}, and {asked - 1} neighbours of each are "
            f"asked for; ask for at most {max(1, rows - 1)}, or leave the class out of sampling_strategy"
        )
