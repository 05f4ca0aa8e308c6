"""Kernels that look for nearest rows, compiled by numba for the processor that runs them. They run without the GIL."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

BLOCK = 1024  # rows whose distances lie in the first cache
CHUNK = 64  # scores that are looked at together


def _jit(function: Any) -> Any:
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # nowhere to keep it
        return njit(nogil=True)(function)


@_jit
def _insert(distances, indices, distance, index):
    """Into two lists in ascending order, whose last entry falls out. Of equal ones the first stays first."""
    at = len(distances) - 1
    while at > 0 and distances[at - 1] > distance:
        distances[at], indices[at] = distances[at - 1], indices[at - 1]
        at -= 1
    distances[at], indices[at] = distance, index


@_jit
def nearest_mixed(numbers, codes, weight, first, distances, indices):
    """The nearest rows of some rows, the row itself among them: by the squared Euclidean distance of the numbers, and `weight` for
    each code that differs.

    numbers : float64 [columns, rows]. codes : int32 [code columns, rows]. The queries are the rows first, first + 1, ...
    distances, indices : float64 and int64 [queries, k], to be written, ascending; k <= rows.
    """
    rows = numbers.shape[1]
    among = np.empty(BLOCK, np.float64)
    for q in range(len(distances)):
        row = first + q
        distances[q] = np.inf
        for begin in range(0, rows, BLOCK):
            n = min(BLOCK, rows - begin)
            for j in range(n):
                among[j] = 0.0
            for c in range(len(numbers)):
                mine, others = numbers[c, row], numbers[c, begin : begin + n]
                for j in range(n):
                    difference = others[j] - mine
                    among[j] += difference * difference
            for c in range(len(codes)):
                code, other_codes = codes[c, row], codes[c, begin : begin + n]
                for j in range(n):
                    among[j] += weight if other_codes[j] != code else 0.0
            worst = distances[q, -1]
            nearer = 0
            for j in range(n):
                nearer += among[j] < worst
            if nearer:
                for j in range(n):
                    if among[j] < distances[q, -1]:
                        _insert(distances[q], indices[q], among[j], begin + j)


@_jit
def centered(rows, center):
    """Rows minus their center, rounded to float32 [rows, columns], and the squares of their lengths, float64 [rows]."""
    out, squares = np.empty(rows.shape, np.float32), np.zeros(len(rows))
    for i in range(len(rows)):
        for c in range(rows.shape[1]):
            value = np.float32(rows[i, c] - center[c])
            out[i, c] = value
            squares[i] += np.float64(value) * np.float64(value)
    return out, squares


@_jit
def keep_best(products, halves, begin, scores, indices):
    """Keeps the rows of the highest score, product - half, of those kept and those of one more block.

    products : float32 [queries, rows], of each query with each row of the block, finite. halves : float32 [rows]. begin : number of
    the block's first row. scores, indices : float32 and int64 [queries, m], what is kept, descending; to be changed.
    """
    rows, last = products.shape[1], scores.shape[1] - 1
    for q in range(len(products)):
        worst = scores[q, last]
        for first in range(0, rows, CHUNK):
            product, half = products[q, first : first + CHUNK], halves[first : first + CHUNK]
            any_better = np.uint32(0)  # a loop without branches, which the compiler makes vectors of
            for j in range(len(product)):
                any_better |= np.uint32(product[j] - half[j] > worst)
            if not any_better:
                continue
            for j in range(len(product)):
                score = product[j] - half[j]
                if score > worst:
                    at = last
                    while at > 0 and scores[q, at - 1] < score:
                        scores[q, at], indices[q, at] = scores[q, at - 1], indices[q, at - 1]
                        at -= 1
                    scores[q, at], indices[q, at] = score, begin + first + j
                    worst = scores[q, last]


@_jit
def nearest_candidates(rows, queries, candidates, distances, indices):
    """Of each query's candidates the nearest, by squared Euclidean distances in float64.

    rows, queries : [rows, columns] and [queries, columns]. candidates : int64 [queries, m], numbers of rows. distances, indices :
    float64 and int64 [queries, k], to be written, ascending; k <= m.
    """
    for q in range(len(queries)):
        distances[q] = np.inf
        for row in candidates[q]:
            distance = 0.0
            for c in range(rows.shape[1]):
                difference = np.float64(rows[row, c]) - np.float64(queries[q, c])
                distance += difference * difference
            if distance < distances[q, -1] or (distance == distances[q, -1] and row < indices[q, -1]):
                _insert(distances[q], indices[q], distance, row)
