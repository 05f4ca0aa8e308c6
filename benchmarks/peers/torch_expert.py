"""torch's DataLoader as an expert sets it: a BatchSampler in the sampler's place and ``batch_size=None``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from benchmarks.peers import Batches, Peer
from benchmarks.peers.torch_getitems import dataset_of
from benchmarks.workloads import Workload


class ByList(Dataset):
    """Makes ``dataset[list of rows]`` of ``dataset.__getitems__``."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.dataset.__getitems__(rows)


def by_lists(dataset: Dataset, batch_rows: int, num_workers: int) -> DataLoader:
    rows = ByList(dataset)
    batches = BatchSampler(RandomSampler(rows), batch_rows, drop_last=False)
    return DataLoader(rows, sampler=batches, batch_size=None, num_workers=num_workers)


def open_loader(workload: Workload, folder: Path, num_workers: int) -> Callable[[int], Batches]:
    loader = by_lists(dataset_of(workload), workload.batch_rows, num_workers)
    return lambda epoch: loader


PEERS = [
    Peer(f"torch/expert-{n}w", workload, partial(open_loader, num_workers=n))
    for workload in ("w1", "w3")
    for n in (0, 2)
]
