"""W2 by hand: the same augmentation of single images and, as an expert writes it, of whole batches; around it torch's loader in
three ways, and nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers import Batches, Peer
from benchmarks.peers.numpy_limit import open_ready
from benchmarks.peers.torch_expert import by_lists
from benchmarks.peers.torch_getitems import as_it_is
from benchmarks.workloads import W2

SIZE, PAD = W2.size, W2.pad
MEAN, FACTOR = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (W2.MEAN, tuple(1 / s for s in W2.STD)))


def augment_one(image: np.ndarray) -> torch.Tensor:
    """uint8 [32, 32, 3] -> float32 [3, 32, 32]."""
    padded = np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)))
    y, x = torch.randint(2 * PAD + 1, (2,)).tolist()
    window = padded[y : y + SIZE, x : x + SIZE]
    if torch.rand(()) < 0.5:
        window = window[:, ::-1]
    return (torch.from_numpy(window.transpose(2, 0, 1).copy()) - MEAN) * FACTOR


def augment_batch(images: np.ndarray) -> torch.Tensor:
    """uint8 [rows, 32, 32, 3] -> float32 [rows, 3, 32, 32]."""
    rows = len(images)
    padded = np.zeros((rows, SIZE + 2 * PAD, SIZE + 2 * PAD, 3), np.uint8)
    padded[:, PAD:-PAD, PAD:-PAD] = images
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIZE, SIZE), axis=(1, 2))
    random = np.random.default_rng()
    ys, xs = random.integers(2 * PAD + 1, size=(2, rows))
    cut = windows[np.arange(rows), ys, xs]
    flips = random.random(rows) < 0.5
    cut[flips] = cut[flips][..., ::-1]
    return torch.from_numpy(cut).float().sub_(MEAN).mul_(FACTOR)


class Images(Dataset):
    def __init__(self, workload: W2) -> None:
        self.x, self.y = workload.arrays()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return augment_one(self.x[row]), int(self.y[row])


class ImageBatches(Images):
    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return augment_batch(self.x[rows]), torch.from_numpy(self.y[rows])


def open_default(workload: W2, folder: Path, num_workers: int) -> Callable[[int], Batches]:
    loader = DataLoader(Images(workload), batch_size=workload.batch_rows, shuffle=True, num_workers=num_workers)
    return lambda epoch: loader


def open_getitems(workload: W2, folder: Path, num_workers: int) -> Callable[[int], Batches]:
    images = ImageBatches(workload)
    loader = DataLoader(
        images, batch_size=workload.batch_rows, shuffle=True, num_workers=num_workers, collate_fn=as_it_is
    )
    return lambda epoch: loader


def open_expert(workload: W2, folder: Path, num_workers: int) -> Callable[[int], Batches]:
    loader = by_lists(ImageBatches(workload), workload.batch_rows, num_workers)
    return lambda epoch: loader


def open_numpy(workload: W2, folder: Path, in_memory: bool = True) -> Callable[[int], Batches]:
    x, y = workload.arrays(in_memory)

    def epoch(number: int) -> Batches:
        order = np.random.default_rng(number).permutation(workload.num_rows)
        for start in range(0, workload.num_rows, workload.batch_rows):
            rows = order[start : start + workload.batch_rows]
            yield augment_batch(x[rows]), torch.from_numpy(y[rows])

    return epoch


PEERS = [
    Peer("numpy/augment-ram", "w2", open_numpy),
    Peer("numpy/made-beforehand", "w2", partial(open_ready, make=open_numpy)),
    *(Peer(f"torch/default-{n}w", "w2", partial(open_default, num_workers=n)) for n in (0, 2)),
    *(Peer(f"torch/getitems-{n}w", "w2", partial(open_getitems, num_workers=n)) for n in (0, 2)),
    *(Peer(f"torch/expert-{n}w", "w2", partial(open_expert, num_workers=n)) for n in (0, 2)),
]
