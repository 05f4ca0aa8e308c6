"""Proof of what was delivered: digests that add up, in whatever order and on whatever rank the rows came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastload.plan.random import mix64

_CHUNK_ROWS = 1 << 20
_WORD = 1 << 64


@dataclass(frozen=True)
class Audit:
    """Rows delivered, and those of the whole epoch. Audits of all ranks, or of what came before a resume and after it, add up.

    The digest is the sum of ``mix64(row)`` (SplitMix64's mixing step) modulo 2^64: the same in any order, and different with
    a chance of 1 - 2^-64 when a row is lost, comes twice or is another. Rows repeated to fill the last batch and rows skipped
    are left out.

    Examples
    --------
    >>> import fastload as fl
    >>> loaders = [fl.DataLoader({"x": np.arange(10)}, batch_size=4, seed=1, shuffle=True, rank=r, world_size=2) for r in (0, 1)]
    >>> _ = [list(loader) for loader in loaders]
    >>> loaders[0].audit().is_complete, (loaders[0].audit() + loaders[1].audit()).is_complete
    (False, True)
    """

    rows: int
    digest: int
    epoch_rows: int
    epoch_digest: int

    @property
    def is_complete(self) -> bool:
        """Exactly the epoch's rows were delivered, each as often as it comes in the epoch."""
        return (self.rows, self.digest) == (self.epoch_rows, self.epoch_digest)

    def __add__(self, other: Audit) -> Audit:
        if not isinstance(other, Audit):
            return NotImplemented
        if (self.epoch_rows, self.epoch_digest) != (other.epoch_rows, other.epoch_digest):
            raise ValueError("these audits are of different epochs, and say nothing together")
        return Audit(self.rows + other.rows, (self.digest + other.digest) % _WORD, self.epoch_rows, self.epoch_digest)


def digest_of(rows: np.ndarray) -> int:
    """The digest of these rows, int64.

    >>> digest_of(np.array([3, 1])) == (digest_of(np.array([1])) + digest_of(np.array([3]))) % 2**64
    True
    """
    return int(mix64(np.asarray(rows).astype(np.uint64)).sum(dtype=np.uint64))


def digest_of_all(num_rows: int) -> int:
    """The digest of 0 .. num_rows - 1: about 2 ns a row."""
    total = 0
    for first in range(0, num_rows, _CHUNK_ROWS):
        total += digest_of(np.arange(first, min(num_rows, first + _CHUNK_ROWS)))
    return total % _WORD
