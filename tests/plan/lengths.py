"""Lengths that the tests of buckets and of packing share."""

from __future__ import annotations

import numpy as np


def long_tailed(rows: int) -> np.ndarray:
    """As the W3 workload of the benchmarks: density ~ length**-1.5 from 16 to 1,024, mean 128."""
    low, high = 16**-0.5, 1025**-0.5
    return ((low - np.random.default_rng(3).random(rows) * (low - high)) ** -2).astype(np.int64)
