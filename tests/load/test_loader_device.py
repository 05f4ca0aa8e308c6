"""A loader whose batches arrive on a device: the same batches, counted when they are handed out."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from fake_device import FakeMover

import fastload as fl
from fastload import errors

NUM_ROWS = 500


def loader(mover: FakeMover | None, **options) -> fl.DataLoader:
    data = {"row": np.arange(NUM_ROWS), "x": np.random.default_rng(0).random((NUM_ROWS, 3), np.float32)}
    options = {"batch_size": 32, "shuffle": True, "seed": 1} | options
    made = fl.DataLoader(data, device="cpu", **options)
    if mover is not None:
        made._mover = mover
    return made


def rows_of(batches) -> list[int]:
    return [row for batch in batches for row in batch["row"].tolist()]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("persistent_workers", [False, True])
def test_the_same_batches_arrive(num_workers, persistent_workers):
    mover = FakeMover()
    options = {"num_workers": num_workers, "persistent_workers": persistent_workers and num_workers > 0}
    moved, plain = loader(mover, **options), fl.DataLoader(loader(None).dataset, batch_size=32, shuffle=True, seed=1)
    for _ in range(3):
        for there, here in zip(moved, plain, strict=True):
            assert torch.equal(there["row"], here["row"])
            assert torch.equal(there["x"], here["x"])
    mover.check()
    assert moved.audit().is_complete
    assert moved.stats()["stages_s"]["copy"] > 0


@pytest.mark.parametrize("keeps_iterator", [False, True])
@pytest.mark.parametrize("cut", [1, 5, 15, 16])
def test_a_batch_on_its_way_is_not_counted_as_delivered(cut, keeps_iterator):
    first = loader(FakeMover())
    batches = iter(first)
    rows = rows_of(next(batches) for _ in range(cut))
    if not keeps_iterator:
        del batches
    assert first.audit().rows == first.stats()["delivered_rows"] == len(rows)
    assert first.stats()["delivered_batches"] == cut
    state = first.state_dict()
    rest = loader(FakeMover(), batch_size=20)
    rest.load_state_dict(state)
    if cut < 16:
        assert sorted(rows + rows_of(rest)) == list(range(NUM_ROWS))
        assert (first.audit() + rest.audit()).is_complete
    else:
        assert (state["epoch"], state["position"]) == (1, 0)


def test_named_rows_and_foreign_data_sets_arrive_too():
    mover = FakeMover()
    assert rows_of(loader(mover, shuffle=False, sampler=[3, 1, 4])) == [3, 1, 4]
    foreign = fl.DataLoader(list(range(5)), batch_size=2, device="cpu")
    foreign._mover = mover
    assert torch.cat(list(foreign)).tolist() == [0, 1, 2, 3, 4]
    mover.check()


def test_copies_have_movers_of_their_own():
    made = loader(None)
    for other in (copy.copy(made), pickle.loads(pickle.dumps(made))):
        assert rows_of(other) == rows_of(loader(None))
        assert other._mover is not made._mover


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(errors.ArgumentError, match="device"):
        fl.DataLoader({"x": np.arange(3)}, device="nowhere")
    if not torch.cuda.is_available():
        with pytest.raises(errors.ArgumentError, match="CUDA"):
            fl.DataLoader({"x": np.arange(3)}, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_batches_arrive_on_the_gpu():
    data = {"row": np.arange(NUM_ROWS)}
    made = fl.DataLoader(data, batch_size=32, shuffle=True, seed=1, device="cuda")
    for _ in range(2):
        batches = list(made)
        assert all(batch["row"].device.type == "cuda" for batch in batches)
        assert sorted(rows_of(batches)) == list(range(NUM_ROWS))


@pytest.mark.parametrize("sampler", [None, list(range(NUM_ROWS))])
def test_transforms_are_done_on_arrival(monkeypatch, sampler):
    """The device gets the small dtype, and what comes of it is what the CPU makes of it, with the same draws."""
    rng = np.random.default_rng(0)
    data = {
        "row": np.arange(NUM_ROWS),
        "x": rng.random((NUM_ROWS, 3), np.float32),
        "image": rng.integers(0, 256, (NUM_ROWS, 9, 9, 3), np.uint8),
        "kind": rng.integers(0, 4, NUM_ROWS),
    }
    options = {
        "batch_size": 32,
        "sampler": sampler,
        "shuffle": None if sampler else True,
        "seed": 3,
        "transform": {
            "x": [fl.Normalize(mean=0.5, std=0.25), fl.Cast("bfloat16")],
            "image": [fl.RandomCrop(9, padding=2), fl.RandomFlip(), fl.RandomErase(), fl.Normalize(mean=100, std=50)],
            "kind": fl.OneHot(categories=range(4)),
        },
    }
    mover, sent = FakeMover(), []
    monkeypatch.setattr("fastload.load.dataloader.mover_for", lambda device: mover)
    monkeypatch.setattr(mover, "copy", lambda pinned, copy=mover.copy: (sent.append(pinned.dtype), copy(pinned))[1])
    moved = fl.DataLoader(data, device="cuda", **options)
    plain = fl.DataLoader(data, **options)
    for _ in range(2):
        for there, here in zip(moved, plain, strict=True):
            assert list(there) == list(here)
            for name, values in here.items():
                assert there[name].dtype == values.dtype
                assert torch.equal(there[name], values)
    mover.check()
    assert torch.uint8 in sent
    assert torch.bfloat16 not in sent
