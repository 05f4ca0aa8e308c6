"""torch's DataLoader with `__getitems__`: the whole batch is indexed at once and handed on as it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers import Batches, Peer
from benchmarks.workloads import Workload, pad


class RowBatches(Dataset):
    """A list of W1's row numbers -> x float32 [rows, 64], y int64 [rows]."""

    def __init__(self, workload: Workload) -> None:
        self.x, self.y = workload.arrays()

    def __len__(self) -> int:
        return len(self.y)

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.x[rows]), torch.from_numpy(self.y[rows])


class RowBatchesByTake(RowBatches):
    """The same with np.take on a plain array: about twice as fast as indexing, and rarely written."""

    def __init__(self, workload: Workload) -> None:
        self.x, self.y = map(np.asarray, workload.arrays())

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(np.take(self.x, rows, axis=0)), torch.from_numpy(np.take(self.y, rows))


class SequenceBatches(Dataset):
    """A list of W3's row numbers -> tokens int32 [rows, longest], lengths int64 [rows]."""

    def __init__(self, workload: Workload) -> None:
        self.tokens, self.offsets = map(np.asarray, workload.arrays())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = np.asarray(rows)
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        return torch.from_numpy(pad(self.tokens, self.offsets, rows)), torch.from_numpy(lengths)


def as_it_is(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return batch


def dataset_of(workload: Workload) -> RowBatches | SequenceBatches:
    return RowBatches(workload) if workload.name == "w1" else SequenceBatches(workload)


def open_loader(workload: Workload, folder: Path, num_workers: int, by_take: bool = False) -> Callable[[int], Batches]:
    loader = DataLoader(
        RowBatchesByTake(workload) if by_take else dataset_of(workload),
        batch_size=workload.batch_rows,
        shuffle=True,
        num_workers=num_workers,
        collate_fn=as_it_is,
    )
    return lambda epoch: loader


PEERS = [
    Peer(f"torch/getitems-{n}w", workload, partial(open_loader, num_workers=n))
    for workload in ("w1", "w3")
    for n in (0, 2)
]
PEERS.append(Peer("torch/getitems-take-0w", "w1", partial(open_loader, num_workers=0, by_take=True)))
