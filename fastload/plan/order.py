"""How well an order mixes the rows of a data set."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma

import numpy as np


def mix(
    rows_at: Callable[[int, int], np.ndarray], num_rows: int, batch_rows: int, total_rows: int, batches: int = 16
) -> float:
    """Share of the mixing of a true permutation that an order reaches.

    Cut the data set into groups of `batch_rows` neighbouring rows, and count from how many groups a batch comes: 1.0 is
    what a random permutation gives on average, near 0 means that batches are runs of neighbours.

    Parameters
    ----------
    rows_at : callable (position, count) -> int64 array
        Row numbers in the order's own sequence.
    num_rows : int
        Rows that the sequence has: those of the epoch, or of a rank's share.
    batch_rows : int
        Rows of a batch.
    total_rows : int
        Rows of the data set.
    batches : int
        How many whole batches are looked at, spread evenly over the epoch.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shuffled = rng.permutation(100_000)
    >>> round(mix(lambda position, count: shuffled[position : position + count], 100_000, 100, 100_000), 1)
    1.0
    """
    whole = num_rows // batch_rows
    if whole < 2:
        return 1.0  # one batch holds everything: no order mixes better
    chosen = np.unique(np.linspace(0, whole - 1, min(batches, whole)).astype(np.int64))
    found = [len(np.unique(rows_at(int(b) * batch_rows, batch_rows) // batch_rows)) for b in chosen]
    return float(np.mean(found)) / _expected_groups(total_rows, batch_rows)


def _expected_groups(num_rows: int, batch_rows: int) -> float:
    """Mean number of groups that a random batch touches (hypergeometric)."""

    def missed(size: int) -> float:
        if num_rows - size < batch_rows:
            return 0.0
        return exp(
            lgamma(num_rows - size + 1)
            - lgamma(num_rows - size - batch_rows + 1)
            - lgamma(num_rows + 1)
            + lgamma(num_rows - batch_rows + 1)
        )

    groups, rest = divmod(num_rows, batch_rows)
    return groups * (1 - missed(batch_rows)) + (1 - missed(rest) if rest else 0)
