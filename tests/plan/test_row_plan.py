"""What every plan promises, checked on each of them; and the helpers that they share."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload.errors import ArgumentError, DtypeError, RowIndexError, ShapeError
from fastload.plan.buckets import LengthBuckets
from fastload.plan.packing import SequencePacking
from fastload.plan.row_plan import Recent, by_pool, checked_count, checked_lengths
from fastload.plan.samplers import WeightedSampler

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(0, 50, 500)
WEIGHTS = RNG.integers(0, 5, 500)

PLANS = {
    "weighted": WeightedSampler(WEIGHTS, 300),
    "weighted, more samples than rows": WeightedSampler(WEIGHTS, 1000),
    "without replacement": WeightedSampler(WEIGHTS, 200, replacement=False),
    "balanced": WeightedSampler.balanced(WEIGHTS),
    "buckets": LengthBuckets(LENGTHS, pool_rows=60, chunk_rows=7),
    "buckets, one pool": LengthBuckets(LENGTHS, pool_rows=10**30),
    "packing": SequencePacking(LENGTHS, 64, pool_documents=37),
    "packing, long documents": SequencePacking(LENGTHS, 10, pool_documents=100),
}
PLAN = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def ask(plan, seed: int, epoch: int, positions: np.ndarray) -> list:
    """What the plan says about each position: a row, or the pieces of a packed row."""
    if not isinstance(plan, SequencePacking):
        rows = plan.rows(seed, epoch, positions)
        assert rows.dtype == np.int64
        assert rows.shape == positions.shape
        return rows.tolist()
    *pieces, bins = plan.documents(seed, epoch, positions)
    assert all(column.dtype == np.int64 for column in (*pieces, bins))
    assert np.all(np.diff(bins) >= 0)
    found = [[] for _ in positions]
    for *piece, row in zip(*(column.tolist() for column in (*pieces, bins))):
        found[row].append(tuple(piece))
    return found


def whole(plan, seed: int, epoch: int) -> list:
    return ask(plan, seed, epoch, np.arange(plan.num_rows(seed, epoch)))


@PLAN
@settings(deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 1000))
def test_any_positions_are_those_of_the_whole(plan, data, seed, epoch):
    """In any order, and any of them twice; one by one as well as together."""
    num_rows = plan.num_rows(seed, epoch)
    positions = data.draw(st.lists(st.integers(0, num_rows - 1), max_size=20))
    rows = whole(plan, seed, epoch)
    assert ask(plan, seed, epoch, np.array(positions, np.int64)) == [rows[p] for p in positions]
    for p in positions[:3]:
        assert ask(plan, seed, epoch, np.array([p])) == [rows[p]]


@PLAN
@settings(deadline=None)
@given(world_size=st.integers(1, 9), first=st.integers(0, 50), batch_rows=st.integers(1, 40))
def test_ranks_get_the_same_rows_however_many_they_are(plan, world_size, first, batch_rows):
    """Rank r of W takes the positions first + r + q * W, a batch at a time."""
    num_rows = plan.num_rows(3, 1)
    dealt = [None] * (num_rows - first)
    for rank in range(world_size):
        positions = np.arange(first + rank, num_rows, world_size)
        for start in range(0, len(positions), batch_rows):
            batch = positions[start : start + batch_rows]
            for position, row in zip(batch.tolist(), ask(plan, 3, 1, batch), strict=True):
                dealt[position - first] = row
    assert dealt == whole(plan, 3, 1)[first:]


@PLAN
def test_seed_and_epoch_make_the_order(plan):
    orders = [whole(plan, seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert whole(plan, 0, 0) == orders[0]


def test_orders_are_fixed_for_ever():
    """Changing them would make saved states go on with other rows."""
    weights, lengths = [1, 2, 3, 4] * 5, np.arange(20) * 7 % 20
    expected = {
        WeightedSampler(weights): [10, 7, 3, 0, 3, 19, 9, 19, 6, 18, 14, 4],
        WeightedSampler(weights, replacement=False): [3, 2, 11, 15, 17, 4, 6, 18, 1, 13, 8, 10],
        LengthBuckets(lengths, pool_rows=10, chunk_rows=3): [0, 3, 12, 11, 14, 17, 18, 7, 13, 15, 2, 5],
        SequencePacking(lengths, 15, pool_documents=10): [
            [(7, 0, 9), (18, 0, 6)], [(17, 15, 4), (13, 0, 11)], [(11, 0, 15)], [(14, 0, 15)], [(17, 0, 15)],
            [(12, 0, 4), (14, 15, 3), (15, 0, 5), (3, 0, 1), (11, 15, 2)],
            [(5, 0, 15)], [(6, 0, 2), (19, 0, 13)], [(8, 0, 15)], [(10, 0, 10)], [(9, 0, 3), (16, 0, 12)],
            [(2, 0, 14), (8, 15, 1)], [(4, 0, 8), (1, 0, 7)],
        ],
    }  # fmt: skip
    for plan, rows in expected.items():
        assert ask(plan, 7, 2, np.arange(len(rows))) == rows


@PLAN
def test_a_copy_in_another_process_gives_the_same(plan):
    assert whole(pickle.loads(pickle.dumps(plan)), 5, 2) == whole(plan, 5, 2)


@PLAN
def test_threads_may_ask_at_once(plan):
    """Two epochs and all positions, more than the plans keep."""
    moments = [(seed, epoch) for seed in range(2) for epoch in range(3)]
    expected = [whole(plan, *moment) for moment in moments]
    fresh = pickle.loads(pickle.dumps(plan))
    start = threading.Barrier(4)

    def work(worker: int) -> bool:
        start.wait()
        order = np.random.default_rng(worker).permutation(len(moments) * 3) % len(moments)
        return all(whole(fresh, *moments[i]) == expected[i] for i in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


@PLAN
@pytest.mark.parametrize("wrong", [-1, "the end"])
def test_positions_outside_the_epoch_are_refused(plan, wrong):
    num_rows = plan.num_rows(0, 0)
    position = num_rows if wrong == "the end" else wrong
    with pytest.raises(RowIndexError, match=rf"position {position} was asked for; .* 0 \.\. {num_rows} - 1"):
        ask(plan, 0, 0, np.array([0, position]))
    assert ask(plan, 0, 0, np.array([], np.int64)) == []


@PLAN
@pytest.mark.parametrize("moment", [(-1, 0), (0, -1), (0.5, 0)], ids=str)
def test_seed_and_epoch_are_checked(plan, moment):
    with pytest.raises(ArgumentError, match="is an integer in 0"):
        ask(plan, *moment, np.arange(1))


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=40))
def test_places_are_grouped_by_pool(pools):
    groups = dict(by_pool(np.array(pools, np.int64)))
    assert list(groups) == sorted(set(pools))
    for pool, places in groups.items():
        assert places.tolist() == [i for i, p in enumerate(pools) if p == pool]


def test_recent_forgets_what_was_not_asked_for_the_longest():
    recent, made = Recent(capacity=2), []

    def get(key: str) -> str:
        return recent.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "abacab"] == list("ABACAB")
    assert made == ["a", "b", "c", "b"]


def test_recent_makes_one_thing_once_for_two_threads():
    recent, made = Recent(capacity=1), []
    begun, finish = threading.Event(), threading.Event()

    def make() -> int:
        made.append(threading.get_ident())
        begun.set()
        finish.wait()
        return 7

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(recent.get, "a", make)
        begun.wait()
        second = pool.submit(recent.get, "a", make)
        time.sleep(0.05)  # enough for the second to begin
        finish.set()
        assert (first.result(), second.result()) == (7, 7)
    assert len(made) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_recent_does_not_wait_in_a_forked_child_for_a_thread_that_is_not_there():
    recent, begun, finish = Recent(capacity=1), threading.Event(), threading.Event()

    def make() -> int:
        begun.set()
        finish.wait()
        return 7

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(recent.get, "a", make)
        begun.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that hangs
            os._exit(recent.get("a", lambda: 5))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        finish.set()
        assert (code, made.result()) == (5, 7)


def test_recent_keeps_nothing_of_what_failed():
    recent = Recent(capacity=1)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 // 0)
    assert recent.get("a", lambda: 7) == 7


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3", None])
def test_counts_are_positive_integers(count):
    with pytest.raises(ArgumentError, match="pool_rows must be a positive integer, got"):
        checked_count("pool_rows", count)


def test_lengths_are_copied_and_checked():
    given_lengths = np.array([1, 2], np.int32)
    kept = checked_lengths(given_lengths)
    given_lengths[0] = 9
    assert kept.tolist() == [1, 2]
    assert kept.dtype == np.int64
    assert not kept.flags.writeable
    with pytest.raises(ArgumentError, match="row 1 has -2"):
        checked_lengths([1, -2])
    with pytest.raises(DtypeError, match="must be integers, got float64"):
        checked_lengths([1.0])
    with pytest.raises(ShapeError, match=r"shape \(1, 1\)"):
        checked_lengths([[1]])
