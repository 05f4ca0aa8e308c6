"""Neighbours have similar lengths, and every row comes once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lengths import long_tailed

from fastload.errors import ArgumentError
from fastload.plan.buckets import LengthBuckets

SIZES = st.integers(1, 40)


def order_of(buckets: LengthBuckets, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return buckets.rows(seed, epoch, np.arange(buckets.num_rows(seed, epoch)))


def padding_share(lengths: np.ndarray, batch_rows: int) -> float:
    """Share of the places that are empty when batches are as wide as their longest."""
    batches = np.split(lengths, np.arange(batch_rows, len(lengths), batch_rows))
    return 1 - lengths.sum() / sum(len(batch) * batch.max() for batch in batches)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=200), SIZES, SIZES, st.booleans(), st.integers(0, 2**64 - 1))
def test_every_row_comes_once(lengths, pool_rows, chunk_rows, shuffle, seed):
    buckets = LengthBuckets(lengths, pool_rows, chunk_rows, shuffle)
    assert buckets.num_rows(seed, 3) == len(lengths)
    assert sorted(order_of(buckets, seed, 3).tolist()) == list(range(len(lengths)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), SIZES, SIZES, st.integers(0, 2**64 - 1))
def test_chunks_are_runs_of_the_sorted_pool(lengths, pool_rows, chunk_rows, seed):
    """Each chunk rises, begins at a multiple of chunk_rows, and no two chunks of a pool overlap."""
    sorted_by_length = np.array(lengths)[order_of(LengthBuckets(lengths, pool_rows, chunk_rows), seed)]
    for first in range(0, len(lengths), pool_rows):
        pool = sorted_by_length[first : first + pool_rows]
        chunks = [pool[i : i + chunk_rows].tolist() for i in range(0, len(pool), chunk_rows)]
        assert all(chunk == sorted(chunk) for chunk in chunks)
        chunks.sort(key=lambda chunk: (chunk[0], chunk[-1]))
        assert [length for chunk in chunks for length in chunk] == sorted(pool.tolist())


def test_without_shuffling_pools_of_the_file_are_sorted():
    lengths = np.array([3, 1, 2, 1, 9, 8, 7])
    buckets = LengthBuckets(lengths, pool_rows=4, chunk_rows=2, shuffle=False)
    assert order_of(buckets).tolist() == [1, 3, 2, 0, 6, 5, 4]
    assert order_of(buckets, seed=8, epoch=2).tolist() == order_of(buckets).tolist()


def test_batches_of_a_long_tail_waste_little():
    lengths = long_tailed(40_000)
    shuffled = padding_share(lengths[np.random.default_rng(0).permutation(len(lengths))], 64)
    bucketed = padding_share(lengths[order_of(LengthBuckets(lengths, chunk_rows=64))], 64)
    assert shuffled > 0.8
    assert bucketed < 0.05


def test_the_share_of_long_rows_does_not_drift_over_an_epoch():
    """Chunks are drawn in any order: tenths of an epoch have about the same mean length."""
    lengths = long_tailed(200_000)
    ordered = lengths[order_of(LengthBuckets(lengths, chunk_rows=64), seed=1)].reshape(10, -1)
    assert np.abs(ordered.mean(1) / lengths.mean() - 1).max() < 0.1


def test_no_length_is_always_last():
    """What drop_last drops is the short chunk: over many epochs its rows are of all lengths."""
    lengths = np.arange(110)
    buckets = LengthBuckets(lengths, pool_rows=110, chunk_rows=20)
    last = np.array([order_of(buckets, epoch=epoch)[-10:] for epoch in range(600)])
    assert set(last[:, 0].tolist()) == {0, 20, 40, 60, 80, 100}
    counts = np.bincount(last[:, 0] // 20)
    assert ((counts - 100) ** 2 / 100).sum() < 5 + 5 * np.sqrt(10) + 6


def test_by_default_a_pool_has_100_chunks_but_at_most_a_quarter_of_the_rows():
    """One pool over everything would make the same batches in every epoch."""
    assert LengthBuckets(np.ones(200_000, int)).pool_rows == 25_600
    assert LengthBuckets(np.ones(10_000, int), chunk_rows=100).pool_rows == 2_500
    assert LengthBuckets(np.ones(100, int), chunk_rows=30).pool_rows == 30
    assert LengthBuckets([]).num_rows(0, 0) == 0


@pytest.mark.parametrize("name", ["pool_rows", "chunk_rows"])
def test_sizes_are_checked(name):
    with pytest.raises(ArgumentError, match=f"{name} must be a positive integer, got 0"):
        LengthBuckets([1, 2], **{name: 0})
