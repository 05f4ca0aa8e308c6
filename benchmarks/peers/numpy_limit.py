"""What NumPy alone gives, with no loader around it: the limits to measure a loader against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import Batches, Peer
from benchmarks.workloads import Workload, pad


def open_slices(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    """Rows permuted beforehand, then copied slice by slice: no gather, and the same order always."""
    order = np.random.default_rng(0).permutation(workload.num_rows)
    x, y = (array[order] for array in workload.arrays(in_memory=True))

    def epoch(number: int) -> Batches:
        for start in range(0, workload.num_rows, workload.batch_rows):
            rows = slice(start, start + workload.batch_rows)
            yield torch.from_numpy(x[rows].copy()), torch.from_numpy(y[rows].copy())

    return epoch


def open_take(workload: Workload, folder: Path, in_memory: bool) -> Callable[[int], Batches]:
    x, y = (np.asarray(array) for array in workload.arrays(in_memory))

    def epoch(number: int) -> Batches:
        order = np.random.default_rng(number).permutation(workload.num_rows)
        for start in range(0, workload.num_rows, workload.batch_rows):
            rows = order[start : start + workload.batch_rows]
            yield torch.from_numpy(np.take(x, rows, axis=0)), torch.from_numpy(np.take(y, rows))

    return epoch


def open_padding(workload: Workload, folder: Path, in_memory: bool) -> Callable[[int], Batches]:
    tokens, offsets = (np.asarray(array) for array in workload.arrays(in_memory))

    def epoch(number: int) -> Batches:
        order = np.random.default_rng(number).permutation(workload.num_rows)
        for start in range(0, workload.num_rows, workload.batch_rows):
            rows = order[start : start + workload.batch_rows]
            lengths = offsets[rows + 1] - offsets[rows]
            yield torch.from_numpy(pad(tokens, offsets, rows)), torch.from_numpy(lengths)

    return epoch


def open_ready(workload: Workload, folder: Path, make: Callable) -> Callable[[int], Batches]:
    """All batches made beforehand, the same ones every epoch: what is left is the consumer's own time."""
    batches = list(make(workload, folder, in_memory=True)(0))
    return lambda number: batches


PEERS = [
    Peer("numpy/slice-copy", "w1", open_slices),
    Peer("numpy/take-ram", "w1", partial(open_take, in_memory=True)),
    Peer("numpy/take-memmap", "w1", partial(open_take, in_memory=False)),
    Peer("numpy/made-beforehand", "w1", partial(open_ready, make=open_take)),
    Peer("numpy/made-beforehand", "w3", partial(open_ready, make=open_padding)),
    Peer("numpy/pad-ram", "w3", partial(open_padding, in_memory=True)),
    Peer("numpy/pad-memmap", "w3", partial(open_padding, in_memory=False)),
]
