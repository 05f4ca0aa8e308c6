"""Permutations are permutations, look random, and `mix` tells how well an order mixes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload import _core
from fastload.plan.order import mix


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 5000), key=st.integers(0, 2**64 - 1))
def test_a_permutation_hits_every_number_once(size, key):
    assert sorted(_core.Permutation(size, key).apply(0, size).tolist()) == list(range(size))


def test_any_part_can_be_asked_for():
    permutation = _core.Permutation(1000, 3)
    whole = permutation.apply(0, 1000)
    for first, count in [(0, 1), (999, 1), (17, 100), (63, 65), (500, 500), (4, 0)]:
        np.testing.assert_array_equal(permutation.apply(first, count), whole[first : first + count])


def test_sizes_beyond_32_bits():
    size = 3 * 2**40 + 7
    images = _core.Permutation(size, 1).apply(size - 1000, 1000)
    assert len(set(images.tolist())) == 1000
    assert images.max() < size
    assert images.max() > size // 2 > images.min()


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_small_permutations_are_all_about_equally_likely(size):
    """Each number stands at each place in 1/size of all keys (chi-square, far beyond chance)."""
    keys = 4000
    counts = np.zeros((size, size))
    for key in range(keys):
        counts[np.arange(size), _core.Permutation(size, key).apply(0, size).astype(int)] += 1
    expected = keys / size
    assert ((counts - expected) ** 2 / expected).sum() < 3 * size * size + 30


@pytest.mark.parametrize("lag", ["next", "second", "one row of the grid"])
def test_neighbours_are_independent(lag):
    """As in numpy's own permutation: no cell of (here, there) is fuller than chance."""
    size, cells = 250_000, 32
    images = _core.Permutation(size, 5).apply(0, size).astype(np.int64) * cells // size
    distance = {"next": 1, "second": 2, "one row of the grid": int(np.ceil(size / np.ceil(size**0.5)))}[lag]
    counts = np.bincount(images[:-distance] * cells + images[distance:], minlength=cells * cells)
    expected = (size - distance) / cells**2
    chi = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi - (cells**2 - 1)) < 6 * np.sqrt(2 * cells**2)


def test_mix_of_known_orders():
    rows = np.arange(50_000)
    shuffled = np.random.default_rng(0).permutation(50_000)
    blockwise = np.concatenate([np.random.default_rng(b).permutation(500) + 500 * b for b in range(100)])

    def score(order):
        return mix(lambda position, count: order[position : position + count], len(order), 100)

    assert score(rows) == pytest.approx(1 / 90, rel=0.2)
    assert score(shuffled) == pytest.approx(1, rel=0.02)
    assert score(blockwise) == pytest.approx(5 / 91, rel=0.2)
    assert mix(lambda position, count: rows[:count], 10, 10) == 1.0
