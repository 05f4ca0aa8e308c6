"""Hugging Face datasets: map-style through torch's DataLoader, and its iterable with a shuffle buffer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from benchmarks.peers import Batches, Peer
from benchmarks.peers.feather import table_of
from benchmarks.peers.torch_default import padded
from benchmarks.workloads import Workload

BUFFER_ROWS = 10_000


def write(workload: Workload, folder: Path) -> None:
    import pyarrow as pa
    from datasets import Dataset

    if workload.name == "w1":
        table = table_of(workload)
    else:
        tokens, offsets = workload.arrays()
        table = pa.table({"x": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(tokens))})
    Dataset(table).save_to_disk(str(folder / "rows"))


def open_map(workload: Workload, folder: Path, num_workers: int) -> Callable[[int], Batches]:
    from datasets import load_from_disk

    rows = load_from_disk(str(folder / "rows")).with_format("torch" if workload.name == "w1" else "numpy")
    loader = DataLoader(
        rows,
        batch_size=workload.batch_rows,
        shuffle=True,
        num_workers=num_workers,
        collate_fn=None if workload.name == "w1" else padded_rows,
    )
    if workload.name == "w3":
        return lambda epoch: loader
    return lambda epoch: ((batch["x"], batch["y"]) for batch in loader)


def padded_rows(rows: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
    return padded([torch.from_numpy(row["x"].copy()) for row in rows])


def open_iterable(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    from datasets import load_from_disk

    rows = load_from_disk(str(folder / "rows")).to_iterable_dataset(num_shards=8).with_format("torch")
    rows = rows.shuffle(seed=1, buffer_size=BUFFER_ROWS)

    def epoch(number: int) -> Batches:
        rows.set_epoch(number)
        for batch in DataLoader(rows, batch_size=workload.batch_rows, num_workers=2):
            yield batch["x"], batch["y"]

    return epoch


_needs = {"needs": ("datasets", "pyarrow"), "install": "pip install datasets"}
PEERS = [
    Peer(f"hf/map-{n}w", workload, partial(open_map, num_workers=n), write, "hf-datasets", **_needs)
    for workload in ("w1", "w3")
    for n in (0, 2)
]
PEERS.append(Peer("hf/iterable-2w", "w1", open_iterable, write, "hf-datasets", **_needs))
