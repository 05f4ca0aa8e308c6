"""A plain loop: model, optimizer and loader saved together, restored, and the rows compared with an unbroken run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from counting import BATCH_ROWS, NUM_ROWS, Counting, write_rows

import fastload as fl

STEPS = -(-NUM_ROWS // BATCH_ROWS)
EPOCHS = 2


def train(
    data: Path, checkpoint: Path, kill_after: int | None = None, **options
) -> tuple[list[list[int]], torch.Tensor]:
    """Rows of every step of this run, and how often the model was trained on each row."""
    loader = fl.DataLoader(data, batch_size=BATCH_ROWS, shuffle=True, **options)
    model = Counting()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
    steps = []
    while loader.epoch < EPOCHS:
        for batch in loader:
            model(batch["row"]).backward()
            optimizer.step()
            optimizer.zero_grad()
            steps.append(batch["row"].tolist())
            if len(steps) == kill_after:
                states = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "loader": loader.state_dict(),
                }
                torch.save(states, checkpoint)
                return steps, model.seen.detach()
    return steps, model.seen.detach()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("torch"))


@pytest.mark.parametrize("num_workers", [(0, 0), (2, 1), (0, 4)])
@pytest.mark.parametrize("kill_after", [1, 7, STEPS - 1, STEPS, STEPS + 1, EPOCHS * STEPS - 1])
def test_a_killed_run_goes_on_as_if_unbroken(data, tmp_path, kill_after, num_workers):
    unbroken, _ = train(data, tmp_path / "none", seed=7)
    checkpoint = tmp_path / "checkpoint.pt"
    before, _ = train(data, checkpoint, kill_after, seed=7, num_workers=num_workers[0])
    after, seen = train(data, checkpoint, seed=7, num_workers=num_workers[1])
    assert before + after == unbroken
    assert len(unbroken) == EPOCHS * STEPS
    assert seen.tolist() == [EPOCHS] * NUM_ROWS


@pytest.mark.parametrize("kill_after", [1, 7, STEPS])
def test_without_a_seed_each_epoch_is_whole_all_the_same(data, tmp_path, kill_after):
    checkpoint = tmp_path / "checkpoint.pt"
    train(data, checkpoint, kill_after)
    _, seen = train(data, checkpoint)
    assert seen.tolist() == [EPOCHS] * NUM_ROWS
