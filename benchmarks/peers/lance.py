"""Lance: its own LanceDataset, batches in shuffled order; and random rows by `take` in two threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import Batches, Peer
from benchmarks.peers.feather import numpy_of, table_of
from benchmarks.workloads import Workload

TAKES_AHEAD = 4


def write(workload: Workload, folder: Path) -> None:
    import lance

    lance.write_dataset(table_of(workload), str(folder / "rows.lance"))


def open_batches(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    """Only the order of the batches is shuffled: the fast way that Lance offers."""
    import lance
    from lance.sampler import ShardedBatchSampler
    from lance.torch.data import LanceDataset

    rows = lance.dataset(str(folder / "rows.lance"))

    def epoch(number: int) -> Batches:
        sampler = ShardedBatchSampler(rank=0, world_size=1, randomize=True, seed=number)
        for batch in LanceDataset(rows, batch_size=workload.batch_rows, sampler=sampler):
            yield batch["x"], batch["y"]

    return epoch


def open_take(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    import lance

    rows = lance.dataset(str(folder / "rows.lance"))

    def take(indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        batch = rows.take(indices).combine_chunks().to_batches()[0]
        return tuple(torch.from_numpy(column.copy()) for column in numpy_of(batch))

    def epoch(number: int) -> Batches:
        order = np.random.default_rng(number).permutation(workload.num_rows)
        starts = range(0, workload.num_rows, workload.batch_rows)
        with ThreadPoolExecutor(2) as threads:
            waiting: list[Future] = []
            for start in starts:
                waiting.append(threads.submit(take, order[start : start + workload.batch_rows]))
                if len(waiting) > TAKES_AHEAD:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()

    return epoch


_needs = {"needs": ("lance", "pyarrow"), "install": "pip install pylance"}
PEERS = [
    Peer("lance/batch-shuffle", "w1", open_batches, write, "lance", **_needs),
    Peer("lance/take-2t", "w1", open_take, write, "lance", **_needs),
]
