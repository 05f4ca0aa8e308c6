"""Lightning: it saves the loader's state by itself, tells the epochs, and injects a sampler where there are several ranks."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="make frameworks installs it", exc_type=ImportError)

from counting import BATCH_ROWS, NUM_ROWS, write_rows
from launch import read_steps, torchrun
from train_lightning import EPOCHS, KillAfter, Killed, Module, loader_of, new_trainer

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = -(-NUM_ROWS // BATCH_ROWS)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("lightning"))


def fit(module: Module, where: str, **options) -> list[list[int]]:
    """Rows of each step. where : the loader is given to ``fit``, or made in the module's hook."""
    callbacks = options.pop("callbacks", [])
    loaders = [loader_of(module.data, module.kind)] if where == "given" else []
    try:
        new_trainer(callbacks=callbacks).fit(module, *loaders, **options)
    except Killed:
        pass
    return module.steps


CUTS = [(1, "step"), (7, "step"), (STEPS - 1, "step"), (STEPS, "step"), (STEPS, "epoch end"), (STEPS + 1, "step")]


@pytest.mark.parametrize("where", ["given", "hook"])
@pytest.mark.parametrize("kind", ["plain", "rank"])
@pytest.mark.parametrize(("kill_after", "when"), CUTS)
def test_a_killed_run_goes_on_as_if_unbroken(data, tmp_path, kind, where, kill_after, when):
    unbroken = fit(Module(data, kind), where)
    checkpoint = tmp_path / "checkpoint.ckpt"
    before = fit(Module(data, kind), where, callbacks=[KillAfter(kill_after, checkpoint, when)])
    resumed = Module(data, kind)
    after = fit(resumed, where, ckpt_path=checkpoint)
    assert before + after == unbroken
    assert (len(before), len(unbroken)) == (kill_after, EPOCHS * STEPS)
    assert resumed.model.seen.tolist() == [EPOCHS] * NUM_ROWS


@pytest.mark.parametrize("kind", ["plain", "rank"])
def test_two_processes_then_two_or_one(data, tmp_path, kind):
    """`plain` gets Lightning's DistributedSampler, which the engine serves; `rank` deals by itself."""
    steps = -(-NUM_ROWS // 2 // BATCH_ROWS)  # an epoch's, of each of two ranks

    def run(name: str, num_processes: int, folder: Path, *kill_after: int) -> list[list[list[int]]]:
        done = torchrun("train_lightning.py", num_processes, data, folder, kind, name, *kill_after)
        assert done.returncode == 0, done.stderr
        return read_steps(folder, name)

    unbroken = run("unbroken", 2, tmp_path)
    assert [len(rank) for rank in unbroken] == [EPOCHS * steps] * 2
    for epoch in range(EPOCHS):
        rows = chain(*chain(*(rank[epoch * steps : (epoch + 1) * steps] for rank in unbroken)))
        assert sorted(rows) == list(range(NUM_ROWS))
    before = run("before", 2, tmp_path, 4)
    after = run("after", 2, tmp_path)
    assert [first + rest for first, rest in zip(before, after, strict=True)] == unbroken
    assert torch.load(tmp_path / "after.pt")["seen"].tolist() == [EPOCHS] * NUM_ROWS
    (alone,) = run("alone", 1, tmp_path)
    first_epoch = alone[: -(-(NUM_ROWS - 4 * 2 * BATCH_ROWS) // BATCH_ROWS)]
    assert sorted(chain(*chain(*before), *first_epoch)) == list(range(NUM_ROWS))


@pytest.mark.parametrize("kind", ["plain", "rank"])
def test_predicting_and_overfitting_build_the_loader_again(data, kind):
    predicted = new_trainer().predict(Module(data, kind), loader_of(data, kind, shuffle=False))
    assert torch.cat(predicted).tolist() == list(range(NUM_ROWS))
    module = Module(data, kind)
    new_trainer(overfit_batches=2).fit(module, loader_of(data, kind))
    assert module.steps == [list(range(10)), list(range(10, 20))] * EPOCHS
