"""Rows that a model is not trained on, but that tell when to stop."""

from __future__ import annotations

import numpy as np
import torch

from fastload.errors import ArgumentError, TooFewRowsError


def checked_share(share: float) -> float:
    """ArgumentError for what is no share of the rows that leaves some to train on."""
    if not 0 <= share < 1:
        raise ArgumentError(f"validation_share must be at least 0 and less than 1, got {share!r}")
    return float(share)


def divided(rows: int, share: float, seed: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows to train on, and of those to stop by, a function of `seed`; ascending, for memory's sake.

    Raises
    ------
    TooFewRowsError
        Fewer rows are left to train on than a batch has.

    Examples
    --------
    >>> training, held_out = divided(rows=10, share=0.2, seed=0, batch_size=4)
    >>> len(training), len(held_out)
    (8, 2)
    """
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).numpy()
    held_out, training = map(np.sort, np.split(order, [int(rows * share)]))
    if len(training) < batch_size:
        raise TooFewRowsError(
            f"the rows must fill a batch: {len(training)} of {rows} are left to train on, and batch_size is {batch_size}; make it "
            "smaller"
        )
    return training, held_out
