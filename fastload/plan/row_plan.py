"""What an order of rows is, and what the orders of this package share."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from threading import Lock
from typing import Any, Protocol, TypeVar
from zlib import crc32

import numpy as np

from fastload.errors import ArgumentError, DtypeError, RowIndexError, ShapeError

Value = TypeVar("Value")


class RowPlan(Protocol):
    """Which row comes when: a pure function of (seed, epoch, position).

    Any positions can be asked for, in any order, by any number of threads at once, and cost no more than one pool of the
    order at most. So a loader resumes at a position, deals positions to ranks (rank r of W takes ``first + r + q * W``)
    and gets the same rows for any number of threads and ranks.
    """

    dataset_rows: int  # rows of the data set that it orders
    fingerprint: int  # of what it was made of: two plans with the same one give the same rows

    def num_rows(self, seed: int, epoch: int) -> int:
        """Positions of the epoch: 0 .. num_rows - 1."""

    def rows(self, seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Row numbers of the data set, int64, one for each of `positions` (int64). Raises RowIndexError outside the epoch."""


def checked_positions(positions: np.ndarray, num_rows: int) -> np.ndarray:
    """`positions` as an int64 array, or RowIndexError if one is not in 0 .. num_rows - 1.

    >>> checked_positions([2, 0], 3)
    array([2, 0])
    """
    positions = np.asarray(positions, np.int64)
    if positions.size and not (positions.min() >= 0 and positions.max() < num_rows):
        wrong = positions[(positions < 0) | (positions >= num_rows)][0]
        raise RowIndexError(f"position {wrong} was asked for; the epoch's positions are 0 .. {num_rows} - 1")
    return positions


def checked_lengths(lengths: Any) -> np.ndarray:
    """A copy of `lengths` as int64 [rows] that nobody can write to.

    Raises DtypeError if they are not integers, ShapeError if they are not one for each row, ArgumentError if one is negative.

    >>> checked_lengths([3, 1])
    array([3, 1])
    """
    given = np.asarray(lengths)
    if given.ndim != 1:
        raise ShapeError(f"lengths must be one number for each row, got an array of shape {given.shape}")
    if given.dtype.kind not in "iu" and given.size:
        raise DtypeError(f"lengths must be integers, got {given.dtype}")
    copy = given.astype(np.int64)
    if copy.size and copy.min() < 0:
        row = int(np.argmax(copy < 0))
        raise ArgumentError(f"lengths must not be negative; row {row} has {given[row]}")
    copy.flags.writeable = False
    return copy


def fingerprint_of(array: np.ndarray, *options: Any) -> int:
    """A checksum of what a plan was made of: 32 bits.

    >>> fingerprint_of(np.arange(3), 10) == fingerprint_of(np.arange(3), 10) != fingerprint_of(np.arange(3), 11)
    True
    """
    return crc32(repr(options).encode(), crc32(np.ascontiguousarray(array)))


def checked_count(name: str, count: Any) -> int:
    """`count` as an int, or ArgumentError unless it is a positive integer.

    >>> checked_count("pool_rows", 100)
    100
    """
    if not isinstance(count, (int, np.integer)) or isinstance(count, bool) or count < 1:
        raise ArgumentError(f"{name} must be a positive integer, got {count!r}")
    return int(count)


def by_pool(pools: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each pool that is named in `pools`, with the places where it is: sorted once, however many there are.

    >>> [(pool, places.tolist()) for pool, places in by_pool(np.array([4, 2, 4]))]
    [(2, [1]), (4, [0, 2])]
    """
    order = np.argsort(pools, kind="stable")
    changes = np.flatnonzero(np.diff(pools[order])) + 1
    for places in np.split(order, changes) if len(order) else ():
        yield int(pools[places[0]]), places


class Recent:
    """The last few results of a costly pure function. Thread-safe: who asks for what another thread is making waits for it.

    A copy or a pickle of it starts empty: what was kept can be made again. So does a forked child, where a thread that is not
    there may hold the lock.

    >>> recent = Recent(capacity=1)
    >>> recent.get("a", lambda: print("made") or 7), recent.get("a", lambda: print("made") or 7)
    made
    (7, 7)
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._begin()

    def _begin(self) -> tuple[int, Lock, dict[Hashable, Any]]:
        self._mine = os.getpid(), Lock(), {}  # what was asked for last stands last
        return self._mine

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result kept for `key`; else ``make()``, and the one that was not asked for the longest is forgotten."""
        process, lock, kept = self._mine
        if process != os.getpid():
            _, lock, kept = self._begin()
        with lock:
            value = kept.pop(key) if key in kept else make()
            kept[key] = value
            if len(kept) > self._capacity:
                del kept[next(iter(kept))]
            return value

    def __reduce__(self) -> tuple[type[Recent], tuple[int]]:
        return Recent, (self._capacity,)
