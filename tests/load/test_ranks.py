"""One global order, dealt to any number of ranks: nothing is lost, nothing comes twice, and all make equally many steps."""

from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import children
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import DistributedSampler, TensorDataset, WeightedRandomSampler

import fastload as fl
from fastload import errors
from fastload.load.deal import RankSampler

NUM_ROWS = 997
SMALL = 7_000  # bytes: windows of a few blocks


@pytest.fixture(scope="module", params=["lz4", "raw"])
def rows(request, tmp_path_factory) -> fl.Dataset:
    columns = {"row": np.arange(NUM_ROWS)}
    return fl.write(tmp_path_factory.mktemp("ranks") / "r.fl", columns, codec=request.param, block_bytes=400)


def loaders(rows, world_size: int, **options) -> list[fl.DataLoader]:
    options = {"batch_size": 32, "shuffle": True, "seed": 5, "num_workers": 0} | options
    return [fl.DataLoader(rows, rank=rank, world_size=world_size, **options) for rank in range(world_size)]


def rows_of(batches) -> list[int]:
    """Without the repeated ones."""
    found = []
    for batch in batches:
        is_padding = batch.get("is_padding", torch.zeros(len(batch["row"]), dtype=torch.bool))
        found += batch["row"][~is_padding].tolist()
    return found


def interleaved(ranks: list[list[int]]) -> list[int]:
    return [ranks[p % len(ranks)][p // len(ranks)] for p in range(sum(map(len, ranks)))]


@settings(max_examples=60, deadline=None)
@given(
    world_size=st.integers(1, 7),
    threads=st.sampled_from([0, 1, 2, 4]),
    batch_size=st.integers(20, 400),
    shuffle=st.booleans(),
    lanes_and_memory=st.sampled_from([(1, SMALL), (4, SMALL), (1, 1 << 30), (4, 1 << 30), (12, 1 << 30)]),
)
def test_the_order_is_the_same_for_any_split(rows, world_size, threads, batch_size, shuffle, lanes_and_memory):
    lanes, memory_bytes = lanes_and_memory
    options = {"shuffle": shuffle, "lanes": lanes, "memory_bytes": memory_bytes}
    (alone,) = loaders(rows, 1, **options)
    whole = rows_of(alone)
    assert sorted(whole) == list(range(NUM_ROWS))
    together = loaders(rows, world_size, batch_size=batch_size, num_workers=threads, **options)
    assert interleaved([rows_of(loader) for loader in together]) == whole


@settings(max_examples=200, deadline=None)
@given(
    cut=st.integers(0, 12),
    threads=st.tuples(st.sampled_from([0, 1, 2, 4]), st.sampled_from([0, 1, 2, 4])),
    world_sizes=st.tuples(st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 2, 3, 4])),
    batch_sizes=st.tuples(st.integers(20, 90), st.integers(1, 300)),
    memory_bytes=st.sampled_from([SMALL, 1 << 30]),
)
def test_a_pass_goes_on_with_other_ranks_threads_and_batches(
    rows, cut, threads, world_sizes, batch_sizes, memory_bytes
):
    before = loaders(
        rows,
        world_sizes[0],
        batch_size=batch_sizes[0],
        num_workers=threads[0],
        memory_bytes=memory_bytes,
        lanes=4,
    )
    delivered, states, audits = [], [], []
    for loader in before:
        iterator = iter(loader)
        delivered += rows_of(islice(iterator, cut))
        states.append(json.loads(json.dumps(loader.state_dict())))
        audits.append(loader.audit())
    assert all(state == states[0] for state in states)
    after = loaders(
        rows, world_sizes[1], batch_size=batch_sizes[1], num_workers=threads[1], memory_bytes=memory_bytes, lanes=None
    )
    for loader in after:
        loader.load_state_dict(states[0])
    assert len({len(list(loader)) for loader in after}) == 1  # equal steps
    for loader in after:
        loader.load_state_dict(states[0])
        delivered_here = rows_of(loader)
        if states[0]["epoch"] == 0:  # else it was over, and the next one follows
            delivered += delivered_here
            audits.append(loader.audit())
    assert sorted(delivered) == list(range(NUM_ROWS))
    assert sum(audits[1:], audits[0]).is_complete


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ends(rows, world_size, drop_last):
    def passes(ends):
        return [list(loader) for loader in loaders(rows, world_size, ends=ends, drop_last=drop_last, lanes=4)]

    whole = rows_of(loaders(rows, 1, lanes=4)[0])
    padded, wrapped, dropped = passes("pad"), passes("wrap"), passes("drop")
    for ranks in (padded, wrapped, dropped):
        assert len({tuple(len(batch["row"]) for batch in batches) for batches in ranks}) == 1  # equal steps
    assert all("is_padding" in batch for batches in padded for batch in batches)
    assert not any("is_padding" in batch for batches in wrapped + dropped for batch in batches)
    if drop_last:
        return
    flat = [[int(row) for batch in batches for row in batch["row"]] for batches in wrapped]
    repeated = -NUM_ROWS % world_size
    assert interleaved(flat) == whole + whole[:repeated]
    assert sum(int(batch["is_padding"].sum()) for batches in padded for batch in batches) == repeated
    assert [rows_of(batches) for batches in padded] == [whole[rank::world_size] for rank in range(world_size)]
    even = NUM_ROWS // world_size * world_size
    assert interleaved([rows_of(batches) for batches in dropped]) == whole[:even]


def test_nothing_is_dealt_unless_asked(rows):
    assert sorted(rows_of(fl.DataLoader(rows, batch_size=10, shuffle=True))) == list(range(NUM_ROWS))
    (alone,) = loaders(rows, 1)
    assert "is_padding" not in next(iter(alone))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_distributed_sampler_deals(rows, shuffle):
    """As torch's: the same share of one order, by its seed and the epoch it is told."""

    def ranks(epoch, drop_last=False):
        found = []
        for rank in range(3):
            sampler = DistributedSampler(rows, 3, rank, shuffle=shuffle, seed=7, drop_last=drop_last)
            loader = fl.DataLoader(rows, batch_size=50, sampler=sampler)
            sampler.set_epoch(epoch)
            assert len(loader) == len(TorchDataLoader(rows, batch_size=50, sampler=sampler))
            found.append(rows_of(loader))
        return found

    first, second = ranks(0), ranks(1)
    assert sorted(interleaved(first)) == list(range(NUM_ROWS))
    assert (first != second) == shuffle
    assert ranks(0) == first
    assert sum(map(len, ranks(0, drop_last=True))) == NUM_ROWS // 3 * 3
    if not shuffle:
        assert interleaved(first) == list(range(NUM_ROWS))


def test_never_twice(rows):
    sampler = DistributedSampler(rows, 2, 0)
    with pytest.raises(errors.ArgumentError, match="one or the other"):
        fl.DataLoader(rows, batch_size=10, sampler=sampler, rank=0, world_size=2)
    with pytest.raises(errors.ArgumentError, match=r"WeightedSampler"):
        fl.DataLoader(rows, batch_size=10, sampler=WeightedRandomSampler([1.0] * NUM_ROWS, 5), rank=0, world_size=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "go together"),
        ({"world_size": 2}, "go together"),
        ({"rank": 2, "world_size": 2}, r"0 \.\. 1, got 2"),
        ({"rank": -1, "world_size": 2}, "got -1"),
        ({"rank": 0, "world_size": 0}, "world_size must be a positive integer"),
        ({"rank": 0.0, "world_size": 1}, "rank must be an integer"),
        ({"ends": "uneven"}, "pad, drop, wrap"),
        ({"lanes": 0}, r"lanes must be an integer in 1 \.\. 65536"),
    ],
)
def test_what_is_no_rank_is_refused(rows, options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        fl.DataLoader(rows, batch_size=10, **options)


def test_ranks_without_a_seed_cannot_agree_alone(rows):
    loader = fl.DataLoader(rows, batch_size=10, shuffle=True, rank=0, world_size=2)
    with pytest.raises(errors.ArgumentError, match="seed"):
        iter(loader)
    assert rows_of(fl.DataLoader(rows, batch_size=10, rank=1, world_size=2))[:3] == [1, 3, 5]  # nothing to agree on


def _rank_of_two(rank: int, folder: str, path: str) -> list[list[int]]:
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # of this child: the machine's name need not be known to a name server
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(100 + rank)  # their own draws would differ
    loader = fl.DataLoader(path, batch_size=50, shuffle=True, rank=rank, world_size=2, num_workers=1)
    passes = [rows_of(loader), rows_of(loader)]
    dist.destroy_process_group()
    return passes


def test_ranks_without_a_seed_take_that_of_rank_0(rows, tmp_path):
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(children.call, _rank_of_two, rank, str(tmp_path), str(rows.path)) for rank in range(2)]
        ranks = [run.result() for run in runs]
    for passes in zip(*ranks):
        assert sorted(interleaved(passes)) == list(range(NUM_ROWS))
    assert ranks[0][0] != ranks[0][1]


def test_a_state_brings_its_lanes(rows):
    many = loaders(rows, 4, lanes=8)
    iterator = iter(many[0])
    next(iterator)
    state = many[0].state_dict()
    assert state["lanes"] == 8
    (alone,) = loaders(rows, 1)
    alone.load_state_dict(state)
    assert alone.state_dict() == state
    list(alone)
    assert alone.state_dict()["lanes"] == 8  # and keeps them
    (told,) = loaders(rows, 1, lanes=1)
    with pytest.raises(errors.StateError, match="lanes"):
        told.load_state_dict(state)


def test_lanes_that_are_usual(rows, request):
    def lanes(world_size, **options):
        return loaders(rows, world_size, **options)[0].state_dict()["lanes"]

    is_decoded = "lz4" in request.node.name
    assert lanes(1) == 1
    assert lanes(4, shuffle=False) == 1
    assert lanes(4) == (4 if is_decoded else 1)  # 20 blocks, of which a lane should have four


def test_a_rank_decodes_its_share(tmp_path):
    blocks = 240
    data = fl.write(tmp_path / "d.fl", {"row": np.arange(blocks * 100) // 7}, codec="lz4", block_bytes=800)
    assert data.num_blocks == blocks
    for world_size in (2, 3, 4):
        for loader in loaders(data, world_size, batch_size=256):
            list(loader)
            assert loader.state_dict()["lanes"] % world_size == 0
            assert loader.stats()["loaded_blocks"] <= 1.5 * blocks / world_size


def test_epochs_are_told_where_frameworks_tell_them(rows):
    def passes(tell):
        found = []
        for loader in loaders(rows, 2):
            for epoch in (3, 4):
                tell(loader, epoch)
                tell(loader, epoch)  # twice is as once
                found.append(rows_of(loader))
        return found

    by_loader = passes(lambda loader, epoch: loader.set_epoch(epoch))
    assert by_loader == passes(lambda loader, epoch: loader.sampler.set_epoch(epoch))
    assert by_loader == passes(lambda loader, epoch: loader.batch_sampler.sampler.set_epoch(epoch))
    assert by_loader[0] != by_loader[1]
    loader = loaders(rows, 2)[0]
    loader.set_epoch(3)
    assert [rows_of(loader), rows_of(loader)] == by_loader[:2]  # counts up by itself


def test_the_sampler_shown_gives_the_rows_delivered(rows):
    """What a framework gets that builds a loader of torch's from ours."""
    for loader in loaders(rows, 3, ends="wrap"):
        assert isinstance(loader.sampler, DistributedSampler)
        assert type(loader.sampler) is RankSampler
        rebuilt = TorchDataLoader(loader.dataset, batch_sampler=loader.batch_sampler)
        assert len(rebuilt) == len(loader)
        assert rows_of(rebuilt) == rows_of(loader)


def test_pickled_and_copied_loaders_keep_their_rank(rows):
    for loader in loaders(rows, 2):
        assert rows_of(pickle.loads(pickle.dumps(loader))) == rows_of(loader)


def test_tuple_rows_have_no_room_for_a_mark():
    table = TensorDataset(torch.arange(5), torch.arange(5))
    batches = list(fl.DataLoader(table, batch_size=2, rank=1, world_size=2))
    assert [[column.tolist() for column in batch] for batch in batches] == [[[1, 3], [1, 3]], [[0], [0]]]


def test_a_field_called_as_the_mark_is_refused():
    with pytest.raises(errors.ArgumentError, match="is_padding"):
        fl.DataLoader({"is_padding": np.arange(4)}, rank=0, world_size=2)


def test_the_mark_reaches_a_collate_fn():
    marks = [
        batch
        for loader in loaders({"row": np.arange(5)}, 2, batch_size=2, collate_fn=lambda s: [r["is_padding"] for r in s])
        for batch in loader
    ]
    assert [bool(m) for batch in marks for m in batch] == [False, False, False, False, False, True]


# --- proof ------------------------------------------------------------------------------------------


def test_audits_of_all_ranks_make_the_epoch(rows):
    audits = []
    for loader in loaders(rows, 4, num_workers=2):
        list(loader)
        audits.append(loader.audit())
    assert not any(audit.is_complete for audit in audits)
    assert sum(audits[1:], audits[0]).is_complete
    assert not sum(audits[2:], audits[1] + audits[1]).is_complete  # one twice, one missing
    with pytest.raises(ValueError, match="different epochs"):
        audits[0] + _audit_of({"row": np.arange(3)})


def _audit_of(data):
    loader = fl.DataLoader(data)
    list(loader)
    return loader.audit()


def test_an_audit_before_any_pass_says_so(rows):
    with pytest.raises(errors.StateError, match="no pass"):
        fl.DataLoader(rows).audit()
    with pytest.raises(errors.StateError, match="torch's own"):
        fl.DataLoader(list(range(3))).audit()
    loader = fl.DataLoader(rows, sampler=[3, 1])
    list(loader)
    with pytest.raises(errors.StateError, match="sampler"):
        loader.audit()


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("memory_bytes", [SMALL, 1 << 30])
def test_any_step_can_be_explained(rows, world_size, memory_bytes):
    for loader in loaders(rows, world_size, ends="wrap", sample_seeds=True, memory_bytes=memory_bytes):
        epochs = [list(loader), list(loader)]
        for epoch, batches in enumerate(epochs):
            for step, batch in enumerate(batches):
                told = loader.explain(step, epoch)
                assert told["rows"].tolist() == batch["row"].tolist()
                assert told["sample_seeds"].tolist() == batch["sample_seed"].tolist()
                assert (told["seed"], told["epoch"]) == (5, epoch)
        places = {rows.place_of(row)[:2] for row in epochs[1][0]["row"].tolist()}
        assert loader.explain(0)["blocks"] == sorted(places)
        for step in (-1, len(loader)):
            with pytest.raises(errors.ArgumentError, match="step"):
                loader.explain(step)


# --- randomness of a row ----------------------------------------------------------------------------


def test_a_rows_seed_knows_neither_threads_nor_ranks_nor_batches(rows):
    def seeds(world_size, **options):
        found = {}
        for loader in loaders(rows, world_size, sample_seeds=True, ends="drop", **options):
            loader.set_epoch(2)
            for batch in loader:
                found |= dict(zip(batch["row"].tolist(), batch["sample_seed"].tolist()))
        return found

    expected = seeds(1)
    assert len(set(expected.values())) == NUM_ROWS
    for world_size, threads, batch_size in [(2, 0, 32), (3, 2, 7), (1, 4, 500)]:
        found = seeds(world_size, num_workers=threads, batch_size=batch_size)
        assert found == {row: expected[row] for row in found}
    other = next(iter(fl.DataLoader(rows, batch_size=NUM_ROWS, sample_seeds=True, seed=6, shuffle=True)))
    assert dict(zip(other["row"].tolist(), other["sample_seed"].tolist()))[0] != expected[0]
    in_order = next(iter(fl.DataLoader(rows, batch_size=3, sample_seeds=True, seed=5)))
    assert in_order["sample_seed"].dtype == torch.int64


def test_sample_seeds_need_a_place(rows):
    with pytest.raises(errors.ArgumentError, match="dicts"):
        fl.DataLoader(TensorDataset(torch.arange(4)), sample_seeds=True)
    with pytest.raises(errors.ArgumentError, match="sample_seed"):
        fl.DataLoader({"sample_seed": np.arange(4)}, sample_seeds=True)
    with pytest.raises(errors.ArgumentError, match="fastload makes"):
        fl.DataLoader(rows, sampler=[1, 2], sample_seeds=True)
    with pytest.raises(errors.ArgumentError, match="torch's own machinery"):
        fl.DataLoader(list(range(4)), sample_seeds=True)
