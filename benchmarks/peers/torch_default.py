"""torch's DataLoader as in the textbook: a Dataset of single rows, the default or a padding collate_fn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers import Batches, Peer
from benchmarks.workloads import Workload


class Rows(Dataset):
    """Row i of W1: x float32 [64] and y."""

    def __init__(self, workload: Workload) -> None:
        self.x, self.y = workload.arrays()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(np.array(self.x[row])), int(self.y[row])


class Sequences(Dataset):
    """Row i of W3: its tokens int32 [length]."""

    def __init__(self, workload: Workload) -> None:
        self.tokens, self.offsets = workload.arrays()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.tokens[self.offsets[row] : self.offsets[row + 1]]))


def padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def open_loader(workload: Workload, folder: Path, num_workers: int) -> Callable[[int], Batches]:
    rows, collate = (Rows(workload), None) if workload.name == "w1" else (Sequences(workload), padded)
    loader = DataLoader(rows, batch_size=workload.batch_rows, shuffle=True, num_workers=num_workers, collate_fn=collate)
    return lambda epoch: loader


PEERS = [
    Peer(f"torch/default-{n}w", workload, partial(open_loader, num_workers=n))
    for workload in ("w1", "w3")
    for n in (0, 2)
]
