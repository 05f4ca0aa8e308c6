"""Every loader in turn over the same rows: batches summed by the consumer, time capped, each row counted."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastload.bench.export import Export, RowDataset, WholeBatchDataset, collate_padded, export_rows
from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, EmptyError
from fastload.load.dataloader import DataLoader

_NUMPY_SUMS = (torch.uint16, torch.uint32, torch.uint64)  # torch has no sum for these
_HALF = (torch.float16, torch.bfloat16)  # a sum of these in kind would overflow


class Epoch(NamedTuple):
    """One pass, or as much as fitted the time; then rows_per_s is that of what followed the first batch."""

    rows_per_s: float
    first_batch_s: float
    rows: int
    complete: bool


class Measured(NamedTuple):
    """One loader. `agrees`: every complete pass gave the right sums and rows; None: there was none."""

    loader: str
    epochs: list[Epoch]
    agrees: bool | None

    @property
    def rows_per_s(self) -> float:
        """Median over the epochs."""
        return statistics.median(epoch.rows_per_s for epoch in self.epochs)

    @property
    def first_batch_s(self) -> float:
        """Of the first epoch, start included."""
        return self.epochs[0].first_batch_s


class Comparison(NamedTuple):
    """The result: fastload first. order and mix : what fastload's loader says of its shuffle."""

    path: str
    num_rows: int
    row_bytes: float
    batch_size: int
    num_epochs: int
    max_epoch_s: float
    order: str
    mix: float | None
    loaders: list[Measured]


def compare_loaders(
    path: str | Path,
    *,
    batch_size: int = 1024,
    num_epochs: int = 3,
    num_threads: int | None = None,
    max_epoch_s: float = 3.0,
    scratch: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Measure the data set at `path` in fastload and in torch's DataLoader, shuffled.

    Parameters
    ----------
    batch_size : rows
    num_epochs : passes through each loader; they take turns
    num_threads : native threads of fastload; None is its default
    max_epoch_s : seconds after which a pass is ended
    scratch : folder for the exported rows; None is the system's temporary folder

    Raises
    ------
    FastloadError
        The data set cannot be read, is empty, or does not fit `scratch`.
    """
    for name, value in (("batch_size", batch_size), ("num_epochs", num_epochs), ("max_epoch_s", max_epoch_s)):
        if not value > 0:
            message = f"{name} must be above 0, got {value}"
            raise ArgumentError(message)
    dataset = Dataset(path)
    if not dataset.num_rows:
        message = f"a comparison needs rows; the data set at {path} has none"
        raise EmptyError(message)
    with tempfile.TemporaryDirectory(prefix="fastload-bench-", dir=scratch) as folder:
        say(f"export {dataset.num_rows:,} rows as memory-mapped arrays for torch")
        export = export_rows(dataset, Path(folder))
        ours = DataLoader(
            dataset, batch_size, shuffle=True, num_workers=num_threads, seed=0, generator=torch.Generator()
        )
        loaders: dict[str, Iterable[Mapping[str, Any]]] = {
            f"fastload, {_count(ours.num_workers, 'thread')}": ours,
            "torch, batch __getitems__, 0 workers": _torch(WholeBatchDataset(export), batch_size, 0, _as_it_is),
            "torch DataLoader, 0 workers": _torch(RowDataset(export), batch_size, 0, _collate(export)),
            "torch DataLoader, 2 workers": _torch(RowDataset(export), batch_size, 2, _collate(export)),
        }
        epochs: dict[str, list[Epoch]] = {name: [] for name in loaders}
        agrees: dict[str, list[bool]] = {name: [] for name in loaders}
        for number in range(num_epochs):
            say(f"pass {number + 1} of {num_epochs}")
            for name, loader in loaders.items():
                epoch, sums = _one_pass(loader, export, max_epoch_s)
                epochs[name].append(epoch)
                if epoch.complete:
                    agrees[name].append(epoch.rows == export.num_rows and _equal(sums, export.sums))
        stats = ours.stats()
        del loaders, ours, loader  # worker processes end before their files go
    return Comparison(
        path=str(path),
        num_rows=dataset.num_rows,
        row_bytes=dataset.raw_bytes / dataset.num_rows,
        batch_size=batch_size,
        num_epochs=num_epochs,
        max_epoch_s=max_epoch_s,
        order=str(stats["order"]),
        mix=stats.get("mix"),
        loaders=[Measured(name, epochs[name], all(agrees[name]) if agrees[name] else None) for name in epochs],
    )


def _torch(
    dataset: torch.utils.data.Dataset, batch_size: int, num_workers: int, collate: Callable[..., Any] | None
) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        num_workers=num_workers,
        collate_fn=collate,
        persistent_workers=num_workers > 0,
        generator=torch.Generator().manual_seed(0),
    )


def _collate(export: Export) -> Callable[..., Any] | None:
    """torch's own collation, unless runs of unequal length need padding."""
    variable = any(column.field.variable for column in export.columns.values())
    return collate_padded if variable else None


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def _one_pass(
    loader: Iterable[Mapping[str, Any]], export: Export, max_epoch_s: float
) -> tuple[Epoch, dict[str, float]]:
    names = list(export.columns)
    sums = dict.fromkeys(names, 0.0)
    rows = first_rows = 0
    first_batch_s = 0.0
    complete = True
    start_s = now_s = time.perf_counter()
    for batch in loader:
        for name in names:
            sums[name] += _sum(batch[name], name in export.with_nan)
        rows += len(batch[names[0]])
        now_s = time.perf_counter()
        if not first_rows:
            first_rows, first_batch_s = rows, now_s - start_s
        elif now_s - start_s > max_epoch_s and rows < export.num_rows:
            complete = False
            break
    if complete:
        rate = rows / (time.perf_counter() - start_s)
    else:
        rate = (rows - first_rows) / (now_s - start_s - first_batch_s)
    return Epoch(rate, first_batch_s, rows, complete), sums


def _sum(values: Tensor | list[str] | list[bytes], skip_nan: bool) -> float:
    if not isinstance(values, Tensor):
        return float(sum(len(value) for value in values if value is not None))
    if values.dtype in _NUMPY_SUMS:
        return float(values.numpy().sum())
    dtype = torch.float32 if values.dtype in _HALF else None
    return float(values.nansum(dtype=dtype) if skip_nan else values.sum(dtype=dtype))


def _equal(found: Mapping[str, float], wanted: Mapping[str, tuple[float, float]]) -> bool:
    """Sums agree to what adding up batches in single precision leaves; infinities cancel to NaN alike."""
    return all(
        found[name] == total
        or (math.isnan(found[name]) and math.isnan(total))
        or abs(found[name] - total) <= 1e-4 * size + 1e-9
        for name, (total, size) in wanted.items()
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
