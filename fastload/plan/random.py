"""Randomness without a state: every number is a function of (seed, epoch, counter), so that any of them can be had at once.

The generator is SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014): output number
c of a generator with the key k is ``mix64(k + c * GOLDEN)``, modulo 2^64, so jumping to any output costs one multiplication.
Keys come from ``stream_key``: each use has a stream of its own, whose numbers tell nothing about those of another. The
formulas are integer arithmetic and part of the package's contract: the same on every platform, and for ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastload._core import mix64
from fastload.errors import ArgumentError

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, the increment of SplitMix64

# Streams, by eight letters read as a big-endian number.
ROW_KEYS = int.from_bytes(b"row keys", "big")
UNIFORMS = int.from_bytes(b"uniforms", "big")
BASE_ORDER = int.from_bytes(b"allorder", "big")
POOL_ORDER = int.from_bytes(b"in pools", "big")


def checked_word(name: str, value: Any) -> int:
    """`value` as an int, or ArgumentError unless it is an integer in 0 .. 2^64 - 1. `name` : "a seed", say.

    >>> checked_word("a seed", 7)
    7
    """
    if not isinstance(value, (int, np.integer)) or not 0 <= value < 2**64:
        raise ArgumentError(f"{name} is an integer in 0 .. 2^64 - 1, got {value!r}")
    return int(value)


def stream_key(seed: int, epoch: int, stream: int) -> int:
    """The key of one stream in one epoch: ``mix64(mix64(mix64(seed) ^ epoch) ^ stream)``.

    Parameters
    ----------
    seed, epoch : int
        0 .. 2^64 - 1.
    stream : int
        One of the constants above.

    Raises
    ------
    ArgumentError
        A seed or an epoch outside this range, or not an integer.

    Examples
    --------
    >>> hex(stream_key(0, 0, UNIFORMS))
    '0x8add0a7a46851ba9'
    """
    epoch_key = mix64(
        mix64(checked_word("a seed", seed)) ^ checked_word("an epoch", epoch)
    )  # as in csrc/core/order.cpp
    return mix64(epoch_key ^ stream)


def outputs(key: int, counters: np.ndarray) -> np.ndarray:
    """Outputs number `counters` of SplitMix64 with this key: ``mix64(key + counters * GOLDEN)``.

    Parameters
    ----------
    key : int
        0 .. 2^64 - 1.
    counters : integer array, not negative.

    Returns
    -------
    uint64 array of the same shape.

    Examples
    --------
    The published generator with the state 0 begins so:

    >>> [hex(word) for word in outputs(0, np.arange(2)).tolist()]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    return mix64(np.uint64(key) + np.asarray(counters).astype(np.uint64) * GOLDEN)


def row_keys(seed: int, epoch: int, rows: np.ndarray) -> np.ndarray:
    """A key for each row in this epoch: what is drawn from it, an augmentation say, is the same for any number of threads,
    ranks and batches, whatever position the row comes at.

    The formula: ``mix64(stream_key(seed, epoch, ROW_KEYS) + rows * GOLDEN)``.

    Parameters
    ----------
    seed, epoch : int
        0 .. 2^64 - 1.
    rows : int64 array
        Row numbers of the data set.

    Returns
    -------
    uint64 array [len(rows)].

    Examples
    --------
    >>> [hex(key) for key in row_keys(7, 2, np.array([0, 1])).tolist()]
    ['0xe2b66b2180cadb58', '0x58dccc3d8a3d7189']
    """
    return outputs(stream_key(seed, epoch, ROW_KEYS), rows)


def words(keys: np.ndarray, slot: int) -> np.ndarray:
    """Random word number `slot` of each of these keys, uint64: ``mix64(key + (slot + 1) * GOLDEN)``, as kernels draw.

    >>> [hex(word) for word in words(np.array([7, 8], np.uint64), 0).tolist()]
    ['0x44c3cd7f43c661c', '0x9ca8a164477d7801']
    """
    return mix64(keys + np.array([slot + 1], np.uint64) * GOLDEN)


def uniforms(seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
    """A number for each position of this epoch, uniform in [0, 1): multiples of 2^-53, from a stream other than `row_keys`.

    The formula: ``(mix64(stream_key(seed, epoch, UNIFORMS) + positions * GOLDEN) >> 11) * 2**-53``.

    Parameters
    ----------
    seed, epoch : int
        0 .. 2^64 - 1.
    positions : int64 array
        Positions of the epoch, or any other counter.

    Returns
    -------
    float64 array [len(positions)].

    Examples
    --------
    >>> uniforms(7, 2, np.array([0, 1])).round(3).tolist()
    [0.517, 0.389]
    """
    return (outputs(stream_key(seed, epoch, UNIFORMS), positions) >> np.uint64(11)) * 2.0**-53
