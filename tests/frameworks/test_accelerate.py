"""Accelerate: it takes the loader as it is, and keeps its state among its own."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch
from torch.utils.data import SequentialSampler

pytest.importorskip("accelerate", reason="make frameworks installs it", exc_type=ImportError)

from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from counting import BATCH_ROWS, NUM_ROWS, write_rows
from launch import read_steps, torchrun
from train_accelerate import EPOCHS, loader_for, train

import fastload as fl
from fastload import errors

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = -(-NUM_ROWS // BATCH_ROWS)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("accelerate"))


@pytest.mark.parametrize("how", ["helper", "class"])
@pytest.mark.parametrize("kill_after", [1, 7, STEPS - 1, STEPS, STEPS + 1])
def test_a_killed_run_goes_on_as_if_unbroken(data, tmp_path, how, kill_after):
    unbroken, _ = train(data, tmp_path, how)
    before, _ = train(data, tmp_path, how, kill_after)
    after, model = train(data, tmp_path, how)
    assert before + after == unbroken
    assert len(unbroken) == EPOCHS * STEPS
    assert model.seen.tolist() == [EPOCHS] * NUM_ROWS


@pytest.mark.parametrize("how", ["helper", "class"])
def test_two_processes_then_two_or_one(data, tmp_path, how):
    steps = -(-NUM_ROWS // 2 // BATCH_ROWS)  # an epoch's, of each of two ranks

    def run(name: str, num_processes: int, *kill_after: int) -> list[list[list[int]]]:
        done = torchrun("train_accelerate.py", num_processes, data, tmp_path, how, name, *kill_after)
        assert done.returncode == 0, done.stderr
        return read_steps(tmp_path, name)

    unbroken = run("unbroken", 2)
    assert [len(rank) for rank in unbroken] == [EPOCHS * steps] * 2
    for epoch in range(EPOCHS):
        rows = chain(*chain(*(rank[epoch * steps : (epoch + 1) * steps] for rank in unbroken)))
        assert sorted(rows) == list(range(NUM_ROWS))
    before = run("before", 2, 4)
    after = run("after", 2)
    assert [first + rest for first, rest in zip(before, after, strict=True)] == unbroken
    run("alone", 1)
    for name in ("after", "alone"):
        assert torch.load(tmp_path / f"{name}.pt")["seen"].tolist() == [EPOCHS] * NUM_ROWS


def test_the_loader_is_taken_as_it_is(data):
    accelerator = Accelerator(cpu=True)
    loader = fl.DataLoader(data, batch_size=10)
    assert accelerator.prepare(loader) is loader
    assert accelerator.prepare(loader) is loader
    list(loader)
    assert loader.stats()["delivered_rows"] == NUM_ROWS
    own = fl.DataLoader(data, sampler=SequentialSampler(range(5)))
    assert accelerator.prepare(own) is own


def test_what_torchs_machinery_serves_is_built_again(data):
    for prepare in (Accelerator(cpu=True).prepare, lambda loader: fl.frameworks.prepare(Accelerator(cpu=True), loader)):
        loader = prepare(fl.DataLoader(list(range(6)), batch_size=4))
        assert isinstance(loader, DataLoaderShard)
        assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize(("how", "last"), [("helper", True), ("class", False)])
def test_accumulated_gradients_are_applied_when_an_epoch_ends(data, how, last):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    model = torch.nn.Linear(1, 1)
    loader = loader_for(accelerator, data, how)
    assert STEPS % 4 == 1
    for _ in range(1 + last):
        applied = []
        for _ in loader:
            with accelerator.accumulate(model):
                applied.append(accelerator.sync_gradients)
        assert applied == [False, False, False, True] * (STEPS // 4) + [last]
    for _ in loader:
        break
    assert not accelerator.gradient_state.in_dataloader


def test_the_helper_keeps_every_option_and_sampler(data):
    accelerator = Accelerator(cpu=True)
    options = {"seed": 3, "num_workers": 1, "memory_bytes": 5000, "prefetch_factor": 3, "sample_seeds": True}
    for order in ({"shuffle": True}, {"sampler": fl.WeightedSampler([1.0] * NUM_ROWS)}, {"drop_last": True}):
        mine = fl.DataLoader(data, batch_size=10, **options | order)
        prepared = fl.frameworks.prepare(accelerator, mine)
        assert {name: getattr(prepared, name) for name in options} == options
        expected = [batch["row"].tolist() for batch in fl.DataLoader(data, batch_size=10, **options | order)]
        assert [batch["row"].tolist() for batch in prepared] == expected
    batches = fl.frameworks.prepare(accelerator, fl.DataLoader(data, batch_sampler=[[3, 1], [2]]))
    assert [batch["row"].tolist() for batch in batches] == [[3, 1], [2]]


def test_the_helper_refuses_what_takes_batches_apart(data):
    for option in ("split_batches", "dispatch_batches"):
        accelerator = Accelerator(cpu=True)
        setattr(accelerator.dataloader_config, option, True)
        with pytest.raises(errors.ArgumentError, match="apart"):
            fl.frameworks.prepare(accelerator, fl.DataLoader(data))
