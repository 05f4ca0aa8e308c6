"""A pass that was cut anywhere goes on where it was: nothing is lost and nothing comes twice."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

import fastload as fl
from fastload import errors

NUM_ROWS = 997
SMALL = 3_000  # bytes: windows of two blocks


@pytest.fixture(scope="module", params=["lz4", "raw"])
def rows(request, tmp_path_factory) -> fl.Dataset:
    columns = {"row": np.arange(NUM_ROWS)}
    return fl.write(tmp_path_factory.mktemp("resume") / "r.fl", columns, codec=request.param, block_bytes=800)


def taken(iterator, batches: int | None = None) -> list[int]:
    """The rows of the next batches, or of all."""
    found = []
    for number, batch in enumerate(iterator, 1):
        found += batch["row"].tolist()
        if number == batches:
            break
    return found


@settings(max_examples=200, deadline=None)
@given(
    cut=st.integers(0, 40),
    threads=st.tuples(st.sampled_from([0, 1, 2, 4]), st.sampled_from([0, 1, 2, 4])),
    batch_sizes=st.tuples(st.integers(25, 200), st.integers(1, 300)),
    memory_bytes=st.sampled_from([SMALL, 1 << 30]),
    shuffle=st.booleans(),
)
def test_what_was_delivered_and_what_comes_after_are_the_epoch(rows, cut, threads, batch_sizes, memory_bytes, shuffle):
    def loader(i: int) -> fl.DataLoader:
        return fl.DataLoader(
            rows, batch_size=batch_sizes[i], shuffle=shuffle, seed=5, num_workers=threads[i], memory_bytes=memory_bytes
        )

    whole = taken(loader(0))
    before = loader(0)
    iterator = iter(before)
    first = taken(iterator, cut) if cut else []
    state = json.loads(json.dumps(before.state_dict()))
    after = loader(1)
    after.load_state_dict(state)
    rest = taken(after)
    if len(first) < NUM_ROWS:
        assert first + rest == whole
    else:  # the epoch was over: the next one follows
        assert state["epoch"] == 1
        assert sorted(rest) == list(range(NUM_ROWS))
    following = taken(after)
    assert sorted(following) == list(range(NUM_ROWS))


@pytest.mark.parametrize("persistent_workers", [False, True])
def test_epochs_after_a_resumed_one_are_those_of_an_unbroken_run(rows, persistent_workers):
    def loader() -> fl.DataLoader:
        return fl.DataLoader(
            rows, batch_size=100, shuffle=True, seed=2, num_workers=1, persistent_workers=persistent_workers
        )

    unbroken = loader()
    epochs = [taken(unbroken) for _ in range(4)]
    cut = loader()
    taken(cut)
    start = taken(iter(cut), 3)
    resumed = loader()
    resumed.load_state_dict(cut.state_dict())
    resumed.set_epoch(1)  # as frameworks do: it is the epoch the state lies in
    iterator = iter(resumed)
    assert len(iterator) == 7
    assert start + taken(iterator) == epochs[1]
    assert taken(resumed) == epochs[2]
    assert taken(resumed) == epochs[3]


def test_without_a_seed_the_order_that_was_drawn_goes_on(rows):
    loader = fl.DataLoader(rows, batch_size=100, shuffle=True)
    iterator = iter(loader)
    first = taken(iterator, 4)
    state = loader.state_dict()
    rest = taken(iterator)
    torch.manual_seed(99)
    again = fl.DataLoader(rows, batch_size=100, shuffle=True)
    again.load_state_dict(state)
    assert taken(again) == rest
    assert sorted(first + rest) == list(range(NUM_ROWS))
    assert taken(again) != first + rest


def test_what_is_prefetched_does_not_count(rows):
    loader = fl.DataLoader(rows, batch_size=10, shuffle=True, seed=1, num_workers=2)
    iterator = iter(loader)
    assert loader.state_dict()["position"] == 0
    taken(iterator, 7)
    assert loader.state_dict()["position"] == 70
    taken(iterator)
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)


def test_a_state_can_be_taken_before_it_was_used(rows):
    loader = fl.DataLoader(rows, batch_size=10, shuffle=True, seed=1)
    taken(iter(loader), 3)
    state = loader.state_dict()
    other = fl.DataLoader(rows, batch_size=10, shuffle=True, seed=1)
    other.load_state_dict(state)
    assert other.state_dict() == state
    other.set_epoch(4)  # another epoch: from its beginning
    assert other.state_dict()["position"] == 0


def test_drop_last_counts_from_where_the_pass_goes_on(rows):
    loader = fl.DataLoader(rows, batch_size=100, shuffle=True, seed=1, drop_last=True)
    first = taken(iter(loader), 2)
    again = fl.DataLoader(rows, batch_size=150, shuffle=True, seed=1, drop_last=True)
    again.load_state_dict(loader.state_dict())
    rest = taken(again)
    assert len(rest) == 5 * 150
    assert not set(first) & set(rest)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_samplers_of_the_users_are_asked_for_what_was_delivered(rows, num_workers):
    def loader() -> fl.DataLoader:
        sampler = RandomSampler(rows, generator=torch.Generator().manual_seed(3), num_samples=500)
        return fl.DataLoader(rows, batch_sampler=BatchSampler(sampler, 50, False), num_workers=num_workers)

    whole = taken(loader())
    before = loader()
    first = taken(iter(before), 4)
    after = loader()
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert first + taken(after) == whole


def test_states_that_do_not_fit_are_refused(rows):
    def loader(data=rows, **options) -> fl.DataLoader:
        return fl.DataLoader(data, batch_size=10, **{"shuffle": True, **options})

    state = loader().state_dict()
    others = [
        loader({"row": np.arange(5)}),
        loader(shuffle=False),
        fl.DataLoader(rows, sampler=SequentialSampler(range(5))),
    ]
    windowed = loader(memory_bytes=SMALL)
    if list(windowed) and windowed.stats()["order"] == "windowed":  # data stored raw need no windows
        others.append(windowed)
        with pytest.raises(errors.StateError, match="memory_bytes"):
            loader(memory_bytes=2 * SMALL).load_state_dict(windowed.state_dict())
    for other in others:
        with pytest.raises(errors.StateError, match="the order would be another"):
            other.load_state_dict(state)
    loader(memory_bytes=1 << 20).load_state_dict(state)  # another budget, the same permutation
    for nonsense in ({}, {"version": 1}, None, 3):
        with pytest.raises(errors.StateError, match="a state has the entries"):
            loader().load_state_dict(nonsense)
    with pytest.raises(errors.StateError, match="version"):
        loader().load_state_dict({**state, "version": 2})


def test_torchs_own_machinery_has_no_state():
    class Foreign(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, row: int) -> int:
            return row

    loader = fl.DataLoader(Foreign())
    assert loader.state_dict() == {}
    loader.load_state_dict({})
    with pytest.raises(errors.StateError, match="torch's own machinery"):
        loader.load_state_dict({"position": 3})
