"""A shuffled order: our bijection, for one batch and for an epoch, beside permutations that are lists."""

from __future__ import annotations

import numpy as np
import pytest
import torch

core = pytest.importorskip("fastload._core", reason="the compiled core is not installed: pip install -e .")

NUM_ROWS, BATCH_ROWS = 2_000_000, 1024


@pytest.mark.benchmark(group="order of one batch, 1,024 of 2,000,000")
def test_bijection_batch(benchmark):
    order = core.Permutation(NUM_ROWS, 7)
    rows = benchmark(order.apply, 5 * BATCH_ROWS, BATCH_ROWS)
    assert np.array_equal(rows, order.apply(0, 10 * BATCH_ROWS)[5 * BATCH_ROWS : 6 * BATCH_ROWS])


@pytest.mark.benchmark(group="order of a whole epoch, 2,000,000")
def test_bijection_epoch(benchmark):
    rows = benchmark(core.Permutation(NUM_ROWS, 7).apply, 0, NUM_ROWS)
    assert np.array_equal(np.sort(rows), np.arange(NUM_ROWS))


@pytest.mark.benchmark(group="order of a whole epoch, 2,000,000")
def test_numpy_permutation(benchmark):
    rows = benchmark(np.random.default_rng(7).permutation, NUM_ROWS)
    assert np.array_equal(np.sort(rows), np.arange(NUM_ROWS))


@pytest.mark.benchmark(group="order of a whole epoch, 2,000,000")
def test_torch_random_sampler(benchmark):
    def as_the_sampler_does() -> list[int]:
        return torch.randperm(NUM_ROWS).tolist()

    rows = benchmark(as_the_sampler_does)
    assert np.array_equal(np.sort(rows), np.arange(NUM_ROWS))
