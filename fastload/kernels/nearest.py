"""Kernels that look for nearest rows, compiled by numba for the processor that runs them. They run without the GIL."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

BLOCK = 1024  # rows whose distances lie in the first cache


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
