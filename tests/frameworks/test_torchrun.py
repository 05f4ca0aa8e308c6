"""Four processes, one of them killed; restarted as three and as two from the checkpoint: every row exactly once."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from counting import NUM_ROWS, write_rows
from launch import torchrun

STEPS = 11  # of four ranks with batches of 5 rows


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Path, Path]:
    """The data, and the folder of a run of four whose rank was killed after the first checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    data = write_rows(tmp_path_factory.mktemp("data"))
    rank, step = random.randrange(4), random.randrange(4, STEPS)
    run = torchrun("train_elastic.py", 4, data, folder, rank, step)
    assert run.returncode != 0
    assert "SIGKILL" in run.stderr or "-9" in run.stderr, run.stderr
    assert (folder / "checkpoint.pt").exists(), f"rank {rank} killed at step {step}: {run.stderr}"
    return data, folder


def rows_by_step(folder: Path, world_size: int) -> list[tuple[int, list[int]]]:
    lines = [
        line
        for rank in range(world_size)
        for line in (folder / f"rows-{world_size}-{rank}.jsonl").read_text().splitlines()
    ]
    return [tuple(json.loads(line)) for line in lines]


@pytest.mark.parametrize("world_size", [3, 2])
def test_each_row_exactly_once(killed, tmp_path, world_size):
    data, before = killed
    folder = shutil.copytree(before, tmp_path / "restarted")
    saved = torch.load(folder / "checkpoint.pt")
    run = torchrun("train_elastic.py", world_size, data, folder)
    assert run.returncode == 0, run.stderr
    kept = [rows for step, rows in rows_by_step(folder, 4) if step <= saved["step"]]
    after = [rows for step, rows in rows_by_step(folder, world_size) if step > saved["step"]]
    assert saved["step"] % 3 == 0 < saved["step"] < STEPS
    assert len(after) % world_size == 0  # equal steps
    assert sorted(row for rows in kept + after for row in rows) == list(range(NUM_ROWS))
    assert torch.load(folder / "final.pt")["seen"].tolist() == [1] * NUM_ROWS
