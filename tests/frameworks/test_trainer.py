"""The Transformers Trainer: it goes on by naming the steps that are left, and these are had at no cost."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="make frameworks installs it", exc_type=ImportError)
pytest.importorskip("accelerate", reason="make frameworks installs it", exc_type=ImportError)

from accelerate import skip_first_batches
from counting import BATCH_ROWS, NUM_ROWS, write_rows
from launch import read_steps, torchrun
from train_transformers import EPOCHS, train

import fastload as fl
from fastload.load.frameworks import StepLoader

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = -(-NUM_ROWS // BATCH_ROWS)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("trainer"))


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("kill_after", [1, 7, STEPS - 1, STEPS, STEPS + 1])
def test_a_killed_run_goes_on_as_if_unbroken(data, tmp_path, kill_after, accumulated):
    updates = -(-STEPS // accumulated)
    whole, unbroken = train(data, tmp_path, accumulated)
    killed, before = train(data, tmp_path, accumulated, kill_after)
    again, after = train(data, tmp_path, accumulated, resume=str(tmp_path / f"checkpoint-{kill_after}"))
    assert before.batches + after.batches == unbroken.batches
    assert len(unbroken.batches) == EPOCHS * STEPS
    assert torch.equal(after.counting.seen, unbroken.counting.seen)
    assert killed.state.global_step == kill_after
    assert again.state.global_step == whole.state.global_step == EPOCHS * updates
    if accumulated == 1:
        assert after.counting.seen.tolist() == [EPOCHS] * NUM_ROWS
    for epoch in range(EPOCHS):
        assert sorted(chain(*unbroken.batches[epoch * STEPS :][:STEPS])) == list(range(NUM_ROWS))


def test_two_processes(data, tmp_path):
    steps = -(-NUM_ROWS // 2 // BATCH_ROWS)

    def run(name: str, *kill_after: int) -> list[list[list[int]]]:
        done = torchrun("train_transformers.py", 2, data, tmp_path, 1, name, *kill_after)
        assert done.returncode == 0, done.stderr
        return read_steps(tmp_path, name)

    unbroken = run("unbroken")
    assert [len(rank) for rank in unbroken] == [EPOCHS * steps] * 2
    for epoch in range(EPOCHS):
        rows = list(chain(*chain(*(rank[epoch * steps :][:steps] for rank in unbroken))))
        assert len(rows) == NUM_ROWS + NUM_ROWS % 2  # one row is repeated, so that both ranks have as many
        assert set(rows) == set(range(NUM_ROWS))
    before, after = run("before", 4), run("after")
    assert [first + rest for first, rest in zip(before, after, strict=True)] == unbroken


def test_a_collator_of_the_users_gets_the_rows(data, tmp_path):
    def collate(rows):
        return {"row": torch.tensor([int(row["row"]) for row in rows])}

    _, mine = train(data, tmp_path, data_collator=collate)
    _, default = train(data, tmp_path)
    assert mine.batches == default.batches


@pytest.mark.parametrize("num_batches", [0, 1, 20, 21])
def test_skipped_batches_are_not_made(data, num_batches):
    loader = fl.DataLoader(data, batch_size=BATCH_ROWS, shuffle=True, seed=1)
    whole = [batch["row"].tolist() for batch in loader]
    steps = StepLoader(loader)
    rest = skip_first_batches(steps, num_batches)
    assert [batch["row"].tolist() for batch in rest] == whole[num_batches:]
    if num_batches < STEPS:
        assert loader.stats()["delivered_rows"] == NUM_ROWS - num_batches * BATCH_ROWS
