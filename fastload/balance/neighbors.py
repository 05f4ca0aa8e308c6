"""Nearest neighbours by Euclidean distance: exact, in all threads, in little memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import neighbors as sklearn_neighbors
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_is_fitted
from threadpoolctl import ThreadpoolController

from fastload.block.threads import default_threads
from fastload.errors import TooFewRowsError
from fastload.kernels import nearest_kernels

TREE_COLUMNS = 15  # up to so many scikit-learn builds a tree, which is faster than to compare all pairs
FEW_PAIRS = 20_000_000  # up to so many nothing is gained
EXTRA = 16  # candidates beyond those asked for
QUERIES, ROWS = 512, 1024  # in one product of matrices, whose result stays in the caches
MIXED_QUERIES = 256  # that a thread takes at a time
ULP = 2.0**-24  # relative error of a float32 that was rounded


class NearestNeighbors(BaseEstimator):
    """The nearest rows by Euclidean distance: those that scikit-learn's class of this name finds, up to ties.

    Its interface is scikit-learn's, so that the samplers of imbalanced-learn take it as `k_neighbors` or `n_neighbors`.

    Parameters
    ----------
    n_neighbors : int
    n_jobs : int, optional
        Threads; by default the processors this process may use, at most 4.

    Attributes
    ----------
    n_features_in_, n_samples_fit_ : int

    Raises
    ------
    TooFewRowsError
        There are not as many rows as neighbours are asked for.

    Examples
    --------
    >>> finder = NearestNeighbors(2).fit(np.array([[0.0], [1.0], [5.0]]))
    >>> finder.kneighbors(np.array([[4.0]]))
    (array([[1., 3.]]), array([[2, 1]]))
    """

    def __init__(self, n_neighbors: int = 5, *, n_jobs: int | None = None) -> None:
        self.n_neighbors = n_neighbors
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> NearestNeighbors:
        """X : array [rows, columns] or sparse matrix, finite."""
        self._rows = check_array(X, accept_sparse=["csr"])
        self.n_samples_fit_, self.n_features_in_ = self._rows.shape
        return self

    def kneighbors(self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        """Distances, float64 [queries, k], ascending, and numbers of rows, int64 [queries, k]; or the latter alone.

        X : the queries. None: the rows that were fitted, and no row is its own neighbour.
        """
        check_is_fitted(self, "n_samples_fit_")
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if X is None:
            distances, indices = _without_themselves(*nearest(self._rows, k + 1, self._rows, self.n_jobs))
        else:
            distances, indices = nearest(self._rows, k, check_array(X, accept_sparse=["csr"]), self.n_jobs)
        return (distances, indices) if return_distance else indices

    def kneighbors_graph(self, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity") -> Any:
        """The same as a sparse matrix [queries, rows]: of ones, or of distances with mode="distance"."""
        distances, indices = self.kneighbors(X, n_neighbors)
        values = distances.ravel() if mode == "distance" else np.ones(indices.size)
        starts = np.arange(0, indices.size + 1, indices.shape[1])
        return sparse.csr_matrix((values, indices.ravel(), starts), shape=(len(indices), self.n_samples_fit_))


def _without_themselves(distances: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without each row itself; of rows that are alike it may not have come, then the last one goes."""
    others = indices != np.arange(len(indices))[:, None]
    others[others.all(axis=1), -1] = False
    shape = len(indices), indices.shape[1] - 1
    return distances[others].reshape(shape), indices[others].reshape(shape)


def nearest(rows: Any, k: int, queries: Any, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of each query.

    Parameters
    ----------
    rows, queries : array or csr matrix [rows, columns], finite
    k : int
    threads : int, optional

    Returns
    -------
    distances, float64 [queries, k], ascending; numbers of rows, int64 [queries, k]

    Notes
    -----
    Few columns, few pairs of rows, and sparse matrices are left to scikit-learn. Else, the pairs are compared in float32, as
    products of small matrices, and some more candidates are kept than were asked for; their distances are then taken in float64. A
    bound of the error of float32 tells whether any other row could be nearer; where one could, scikit-learn looks again. Needs
    numba, and as much memory as the rows take in float32.

    Examples
    --------
    >>> nearest(np.array([[0.0], [1.0], [5.0]]), 1, np.array([[4.0], [0.6]]))[1].tolist()
    [[2], [1]]
    """
    if k > rows.shape[0]:
        raise TooFewRowsError(
            f"there must be as many rows as neighbours are asked for: found {rows.shape[0]}, and k = {k}"
        )
    threads = threads or default_threads()
    if sparse.issparse(rows) or rows.shape[1] <= TREE_COLUMNS or rows.shape[0] * queries.shape[0] <= FEW_PAIRS:
        return _by_scikit_learn(rows, k, queries, threads)
    return _by_products(rows, k, queries, threads)


def _by_scikit_learn(rows: Any, k: int, queries: Any, threads: int) -> tuple[np.ndarray, np.ndarray]:
    finder = sklearn_neighbors.NearestNeighbors(n_neighbors=k, n_jobs=threads).fit(rows)
    return finder.kneighbors(queries)


def _by_products(rows: np.ndarray, k: int, queries: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    kernels = nearest_kernels()
    rows, queries = (
        np.ascontiguousarray(x, None if x.dtype in (np.float32, np.float64) else np.float64) for x in (rows, queries)
    )
    center = rows.mean(axis=0, dtype=np.float64)  # the smaller the numbers, the smaller the errors
    narrow, squares = kernels.centered(rows, center)
    narrow_queries, query_squares = kernels.centered(queries, center)
    largest = max(squares.max(), query_squares.max())
    if not largest < np.finfo(np.float32).max / 2:  # else no product overflows
        return _by_scikit_learn(rows, k, queries, threads)
    halves = (squares / 2).astype(np.float32)
    num_candidates = min(k + EXTRA, len(rows))
    worst = np.empty(len(queries), np.float32)  # score of a candidate
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)

    def stretch(first: int) -> None:
        these = slice(first, first + QUERIES)
        some, memory = narrow_queries[these], np.empty(QUERIES * ROWS, np.float32)
        scores = np.full((len(some), num_candidates), -np.inf, np.float32)
        candidates = np.zeros(scores.shape, np.int64)
        for begin in range(0, len(rows), ROWS):
            block = narrow[begin : begin + ROWS]
            products = memory[: len(some) * len(block)].reshape(len(some), len(block))
            np.matmul(some, block.T, out=products)
            kernels.keep_best(products, halves[begin : begin + ROWS], begin, scores, candidates)
        kernels.nearest_candidates(rows, queries[these], candidates, distances[these], indices[these])
        worst[these] = scores[:, -1]

    with _libraries().limit(limits=1, user_api="blas"):  # each thread has products of its own
        in_threads(stretch, range(0, len(queries), QUERIES), threads)
    np.sqrt(distances, out=distances)
    if num_candidates < len(rows):
        sure = _is_sure(distances[:, -1], worst, np.sqrt(query_squares), np.sqrt(largest), rows.shape[1])
        if not sure.all():
            _, indices[~sure] = _by_scikit_learn(rows, k, queries[~sure], threads)
            distances[~sure] = _distances(rows, queries[~sure], indices[~sure])
    return distances, indices


def _distances(rows: np.ndarray, queries: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Of these rows [queries, k], in float64: scikit-learn rounds those of float32."""
    distances = np.empty(indices.shape)
    for first in range(0, len(queries), QUERIES):
        these = slice(first, first + QUERIES)
        apart = rows[indices[these]].astype(np.float64) - queries[these, None]
        distances[these] = np.sqrt(np.einsum("qkc,qkc->qk", apart, apart))
    return distances


@cache
def _libraries() -> ThreadpoolController:
    """Those loaded at first use, NumPy's BLAS among them: to look for them takes milliseconds."""
    return ThreadpoolController()


def _is_sure(
    farthest: np.ndarray, score: np.ndarray, query_norms: np.ndarray, largest_norm: float, columns: int
) -> np.ndarray:
    """Whether no row that is no candidate is as near as the farthest one found.

    farthest : distance of that one. score : the lowest one of a candidate, q x - x x / 2 in float32, which the scores of all other
    rows do not exceed. The distance of such a row x is sqrt(q q - 2 score), but for the errors:

    - q x, a sum of `columns` products in any order, is off by columns ULP |q| |x| at most (Higham, Accuracy and stability of
      numerical algorithms, section 3.1), and x x / 2 and the difference are rounded; what is smaller than normal may be lost;
    - q and x themselves were rounded, which moves them by ULP |q| and ULP |x|.

    Rows farther from the center than |q| + farthest are farther from q than `farthest`: |x| need not be larger.
    """
    norms = np.minimum(largest_norm, (query_norms + farthest) * (1 + 4 * ULP))
    error = (columns + 4) * (ULP * (query_norms * norms + norms**2 / 2) + np.finfo(np.float32).tiny)
    squared = query_norms**2 - 2 * (score + error)
    return np.sqrt(np.maximum(squared, 0)) - 2 * ULP * (query_norms + norms) > farthest


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
        these = slice(first, first + MIXED_QUERIES)
        search(columns, codes, float(weight), first, distances[these], indices[these])

    in_threads(stretch, range(0, len(numbers), MIXED_QUERIES), default_threads())
    return distances, indices


def in_threads(work: Callable[[int], None], stretches: range, threads: int) -> None:
    """work(first) for each stretch, in threads; raises what one of them raised."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, stretches):
            pass
