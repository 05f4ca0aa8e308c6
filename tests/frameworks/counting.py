"""A model that learns how often it was trained on each row: what was seen is in its weights, and goes where they go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import fastload as fl

NUM_ROWS = 203
BATCH_ROWS = 10


class Counting(torch.nn.Module):
    """Each step of SGD with a rate of 1 adds 1 to the weights of the rows in the batch.

    The mean over ranks that data-parallel training takes is undone by `world_size`.
    """

    def __init__(self, num_rows: int = NUM_ROWS, world_size: int = 1) -> None:
        super().__init__()
        self.seen = torch.nn.Parameter(torch.zeros(num_rows))
        self._world_size = world_size

    def forward(self, row: torch.Tensor) -> torch.Tensor:
        return -self._world_size * self.seen[row].sum()


def write_rows(folder: Path, num_rows: int = NUM_ROWS) -> Path:
    """A data set of many compressed blocks whose field `row` numbers its rows."""
    path = folder / "rows.fl"
    fl.write(path, {"row": np.arange(num_rows)}, codec="lz4", block_bytes=64)
    return path


def delivered(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The rows of a batch that do not only fill it up."""
    return batch["row"][~batch["is_padding"]] if "is_padding" in batch else batch["row"]
