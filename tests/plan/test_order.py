"""Permutations are permutations, look random, and `mix` tells how well an order mixes."""

from __future__ import annotations

import os
from pathlib import Path

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
        return mix(lambda position, count: order[position : position + count], len(order), 100, len(order))

    assert score(rows) == pytest.approx(1 / 90, rel=0.2)
    assert score(shuffled) == pytest.approx(1, rel=0.02)
    assert score(blockwise) == pytest.approx(5 / 91, rel=0.2)
    assert mix(lambda position, count: rows[:count], 10, 10, 10) == 1.0


ROWS, BLOCK_ROWS = 10**9, 4096


def order_of(rows: int = ROWS, *, window_blocks: int = 0, **options) -> _core.Order:
    return _core.Order(rows, BLOCK_ROWS, _core.OrderOptions(**options), window_blocks)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"shuffle": True, "rank": 5, "world_size": 7}])
def test_an_order_of_a_billion_rows_costs_nothing(options):
    """An index list would take 8 GB. Two hundred orders, so that a page or two of something else do not matter."""
    order_of(seed=0, **options).row_numbers(0, 1000)
    before = resident_bytes()
    orders = [order_of(seed=seed, first_position=seed * 10**6, **options) for seed in range(200)]
    for order in orders:
        order.row_numbers(order.rows // 3, 1000)
    assert resident_bytes() - before < 200 * 10**6 / 10


def test_windows_of_a_billion_rows_cost_a_few_bytes_a_block():
    blocks = ROWS / BLOCK_ROWS
    before = resident_bytes()
    orders = [order_of(shuffle=True, window_blocks=1000, seed=seed) for seed in range(5)]
    assert resident_bytes() - before < 5 * 64 * blocks
    assert len(orders[0].window_rows) == pytest.approx(blocks / 1000, rel=0.02)
    rows = orders[0].row_numbers(ROWS - 10_000, 10_000)
    assert len(np.unique(rows)) == 10_000


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 60_000),
    lanes=st.sampled_from([1, 2, 6, 60]),
    window_blocks=st.sampled_from([0, 1, 3]),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_ranks_deal_one_order_out(rows, lanes, window_blocks, shuffle, data):
    common = {"lanes": lanes, "shuffle": shuffle, "seed": 3, "epoch": 1}
    whole = order_of(rows, window_blocks=window_blocks, **common).row_numbers(0, rows)
    assert np.array_equal(np.sort(whole), np.arange(rows))
    world_size = data.draw(st.integers(1, 9))
    first = data.draw(st.integers(0, rows))
    for rank in range(world_size):
        for ends, length in (("repeat", -(-(rows - first) // world_size)), ("drop", (rows - first) // world_size)):
            order = order_of(
                rows,
                window_blocks=window_blocks,
                rank=rank,
                world_size=world_size,
                ends=ends,
                first_position=first,
                **common,
            )
            positions = first + rank + np.arange(length) * world_size
            assert np.array_equal(order.row_numbers(0, order.rows), whole[positions % rows])


@pytest.mark.parametrize(("lanes", "window_blocks"), [(12, 0), (60, 0), (12, 100)])
def test_a_rank_decodes_its_share_of_the_blocks(lanes, window_blocks):
    rows = 1000 * BLOCK_ROWS + 99
    for world_size in (2, 3, 4, 6, 12):
        for rank in range(world_size):
            order = order_of(
                rows, window_blocks=window_blocks, shuffle=True, lanes=lanes, rank=rank, world_size=world_size
            )
            assert order.loads <= 1.5 * 1001 / world_size
