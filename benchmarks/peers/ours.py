"""fastload: raw and LZ4 files, a small and a large memory budget, 0 to 2 threads; tensors in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.peers import Batches, Peer
from benchmarks.workloads import Workload

SMALL_BUDGET = 64 << 20
SEED = 1


def write(workload: Workload, folder: Path, codec: str) -> None:
    import fastload as fl
    from fastload.schema import Ragged

    if workload.name in ("w1", "w2"):
        x, y = workload.arrays()
        fl.write(folder / "rows.fl", {"x": x, "y": y}, codec=codec)
    else:
        tokens, offsets = workload.arrays()
        fl.write(folder / "rows.fl", {"x": Ragged(offsets, tokens)}, codec=codec)


def open_file(workload: Workload, folder: Path, num_workers: int, **options: int) -> Callable[[int], Batches]:
    import fastload as fl

    transform = None
    if workload.name == "w2":
        steps = [fl.RandomCrop(workload.size, padding=workload.pad), fl.RandomFlip()]
        transform = {"x": [*steps, fl.Normalize(mean=workload.MEAN, std=workload.STD)]}
    loader = fl.DataLoader(
        folder / "rows.fl",
        batch_size=workload.batch_rows,
        shuffle=True,
        num_workers=num_workers,
        seed=SEED,
        transform=transform,
        **options,
    )
    y = "x_lengths" if workload.name == "w3" else "y"
    return lambda epoch: ((batch["x"], batch[y]) for batch in loader)


def open_tensors(workload: Workload, folder: Path, num_workers: int) -> Callable[[int], Batches]:
    import torch

    import fastload as fl

    tensors = torch.utils.data.TensorDataset(*map(torch.from_numpy, workload.arrays(in_memory=True)))
    loader = fl.DataLoader(tensors, batch_size=workload.batch_rows, shuffle=True, num_workers=num_workers, seed=SEED)
    return lambda epoch: loader


def _peers(workload: str) -> list[Peer]:
    needs, install = ("fastload._core", "fastload.load.dataloader"), "pip install -e .   # in the repository"
    found = []
    for codec in ("raw", "lz4"):
        for threads in (2, 1, 0):
            found.append(
                Peer(
                    f"ours/{codec}-{threads}t",
                    workload,
                    partial(open_file, num_workers=threads),
                    partial(write, codec=codec),
                    f"fastload-{codec}",
                    needs,
                    install,
                )
            )
    if workload == "w1":
        for threads in (2, 1):
            small = partial(open_file, num_workers=threads, memory_bytes=SMALL_BUDGET)
            found.append(
                Peer(
                    f"ours/lz4-64MiB-{threads}t",
                    workload,
                    small,
                    partial(write, codec="lz4"),
                    "fastload-lz4",
                    needs,
                    install,
                )
            )
        for threads in (2, 1, 0):
            found.append(
                Peer(
                    f"ours/tensordataset-{threads}t",
                    workload,
                    partial(open_tensors, num_workers=threads),
                    needs=needs,
                    install=install,
                )
            )
    return found


PEERS = _peers("w1") + _peers("w2") + _peers("w3")
