"""torch's DataLoader over a TensorDataset: everything in memory already, still one Python call a row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers import Batches, Peer
from benchmarks.workloads import Workload


def open_loader(workload: Workload, folder: Path, num_workers: int) -> Callable[[int], Batches]:
    tensors = TensorDataset(*map(torch.from_numpy, workload.arrays(in_memory=True)))
    loader = DataLoader(tensors, batch_size=workload.batch_rows, shuffle=True, num_workers=num_workers)
    return lambda epoch: loader


PEERS = [Peer(f"torch/tensordataset-{n}w", "w1", partial(open_loader, num_workers=n)) for n in (0, 2)]
