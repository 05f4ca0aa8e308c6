"""Nearest neighbours: exact, in all threads, in little memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from sklearn import neighbors as sklearn_neighbors
from sklearn.base import BaseEstimator

from fastload.block.threads import default_threads
from fastload.kernels import nearest_kernels

STRETCH = 256  # queries that a thread takes at a time


class NearestNeighbors(BaseEstimator):
    """The nearest rows by Euclidean distance, as scikit-learn's class of this name finds them; equal up to ties.

    Its interface is scikit-learn's, so that the samplers of imbalanced-learn take it as `k_neighbors` or `n_neighbors`.

    Parameters
    ----------
    n_neighbors : int
    n_jobs : int, optional
        Threads; by default the processors this process may use, at most 4.

    Attributes
    ----------
    n_features_in_, n_samples_fit_ : int

    Examples
    --------
    >>> import numpy as np
    >>> finder = NearestNeighbors(2).fit(np.array([[0.0], [1.0], [5.0]]))
    >>> finder.kneighbors(np.array([[4.0]]))
    (array([[1., 3.]]), array([[2, 1]]))
    """

    def __init__(self, n_neighbors: int = 5, *, n_jobs: int | None = None) -> None:
        self.n_neighbors = n_neighbors
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> NearestNeighbors:
        """X : array [rows, columns] or sparse matrix, finite."""
        threads = self.n_jobs or default_threads()
        self._search = sklearn_neighbors.NearestNeighbors(n_neighbors=self.n_neighbors, n_jobs=threads).fit(X)
        self.n_features_in_, self.n_samples_fit_ = self._search.n_features_in_, self._search.n_samples_fit_
        return self

    def kneighbors(self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        return self._search.kneighbors(X, n_neighbors or self.n_neighbors, return_distance)

    def kneighbors_graph(self, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity") -> Any:
        return self._search.kneighbors_graph(X, n_neighbors or self.n_neighbors, mode)


def nearest_mixed(numbers: np.ndarray, codes: np.ndarray, weight: float, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of each row, itself among them, where rows have numbers and categories.

    Parameters
    ----------
    numbers : array [rows, columns]
    codes : int32 [code columns, rows]
    weight : what a code that differs adds to the squared distance

    Returns
    -------
    squared distances, float64 [rows, k], ascending; numbers of rows, int64 [rows, k]

    Examples
    --------
    >>> numbers, codes = np.array([[0.0], [1.0], [3.0]]), np.array([[7, 8, 7]], np.int32)
    >>> nearest_mixed(numbers, codes, 10.0, 2)[1].tolist()
    [[0, 2], [1, 0], [2, 0]]
    """
    search = nearest_kernels().nearest_mixed
    columns, codes = np.ascontiguousarray(numbers.T, np.float64), np.ascontiguousarray(codes, np.int32)
    distances, indices = np.empty((len(numbers), k)), np.empty((len(numbers), k), np.int64)

    def stretch(first: int) -> None:
        these = slice(first, first + STRETCH)
        search(columns, codes, float(weight), first, distances[these], indices[these])

    in_threads(stretch, range(0, len(numbers), STRETCH), default_threads())
    return distances, indices


def in_threads(work: Callable[[int], None], stretches: range, threads: int) -> None:
    """work(first) for each stretch, in threads; raises what one of them raised."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, stretches):
            pass
