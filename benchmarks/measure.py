"""Time one loader in this process and check what it delivered, in the same run.

Of every batch the consumer takes the same three things, in one thread: ``x.sum()``, ``y.sum()`` and a copy of
what holds the row numbers (column 0 of x; y in W2) into memory of its own.
Nothing lazy goes uncounted, and when the clock has stopped the
row numbers say whether each row came exactly once, how well the rows were mixed, and what every batch's sums
must be. In one more epoch, untimed, whole batches are compared with the source, value by value.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from math import exp, lgamma
from pathlib import Path

import numpy as np
import torch

from benchmarks import peers, process, workloads
from benchmarks.peers import Peer
from benchmarks.workloads import Checker, Workload

GIGABYTE = 1e9


class Record:
    """What the consumer notes of each batch. Row numbers go where memory was touched before the clock started.

    x_sums, y_sums : ``x.sum()`` and ``y.sum()`` of each batch. columns : what tells the rows of all batches, one after the
    other. ends : rows up to the end of each batch.
    """

    def __init__(self, source: Workload) -> None:
        self._marks = source.marks
        self.x_sums: list[float] = []
        self.y_sums: list[float] = []
        self.columns = np.full(source.num_rows + source.batch_rows, -1, source.dtype)
        self.ends = [0]

    def note(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x_sums.append(x.sum().item())
        self.y_sums.append(y.sum().item())
        start = self.ends[-1]
        end = start + len(x)
        if end > len(self.columns):  # rows that came twice: all of them are to be seen
            self.columns = np.concatenate([self.columns, np.full_like(self.columns, -1)])
        self.columns[start:end] = self._marks(x, y)
        self.ends.append(end)

    def batch_columns(self) -> list[torch.Tensor]:
        """What tells the rows, batch by batch."""
        return [torch.from_numpy(self.columns[a:b]) for a, b in pairwise(self.ends)]


@dataclass
class Epoch:
    """What was seen of one epoch: its record, bytes, seconds, CPU seconds."""

    record: Record
    nbytes: int = 0
    first_batch_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    whole: bool = True


def consume(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], limit_s: float, record: Record) -> Epoch:
    """Sum every batch; stop after `limit_s` seconds with ``whole=False``."""
    epoch = Epoch(record)
    cpu_before = process.cpu_seconds()
    started = time.perf_counter()
    for x, y in batches:
        record.note(x, y)
        epoch.nbytes += x.nbytes + y.nbytes
        now = time.perf_counter() - started
        epoch.first_batch_s = epoch.first_batch_s or now
        if now > limit_s:
            epoch.whole = False
            break
    epoch.wall_s = time.perf_counter() - started
    epoch.cpu_s = process.cpu_seconds() - cpu_before
    return epoch


def problems_of(epoch: Epoch, workload: Workload, checker: Checker) -> list[str]:
    """What is wrong with an epoch: rows missing, twice or unknown, or sums unlike the source's."""
    rows = [workload.rows_of(column) for column in epoch.record.batch_columns()]
    counts = np.bincount(np.maximum(np.concatenate(rows or [np.empty(0, np.int64)]), 0), minlength=workload.num_rows)
    found = []
    if any((r < 0).any() for r in rows):
        return ["rows that the source does not hold"]
    if counts.max() > 1:
        found.append(f"{int((counts > 1).sum())} rows came more than once")
    if epoch.whole and counts.min() < 1:
        found.append(f"{int((counts < 1).sum())} rows never came")
    sums = zip(epoch.record.x_sums, epoch.record.y_sums, rows, strict=True)
    wrong = sum(not checker.sums_agree(x, y, r) for x, y, r in sums)
    if wrong:
        found.append(f"{wrong} batches whose sums are not those of their rows")
    return found


def mix(batches_of_rows: list[np.ndarray], num_rows: int, batch_rows: int) -> float:
    """Distinct source blocks of `batch_rows` rows that a batch touches, over what a true permutation gives.

    Only full batches count. 1.0: fully mixed; near 0: whole blocks came as they lie in the file.

    >>> round(mix([np.arange(10), np.arange(10, 20)], 1000, 10), 2)
    0.1
    """
    full = [rows for rows in batches_of_rows if len(rows) == batch_rows]
    if not full:
        return 1.0
    seen = float(np.mean([len(np.unique(rows // batch_rows)) for rows in full]))
    whole, rest = divmod(num_rows, batch_rows)
    return seen / (whole * _touched(num_rows, batch_rows, batch_rows) + _touched(num_rows, batch_rows, rest))


def _touched(num_rows: int, drawn: int, block: int) -> float:
    """Chance that `drawn` of `num_rows` rows, all different, hold a row of a given block of `block` rows."""
    others = num_rows - block
    if others < drawn:
        return 1.0
    log_missed = lgamma(others + 1) - lgamma(others - drawn + 1) - lgamma(num_rows + 1) + lgamma(num_rows - drawn + 1)
    return 1.0 - exp(log_missed)


def measure_loader(
    *,
    workload: str,
    data: str,
    num_rows: int | None,
    peer: str,
    epochs: int,
    limit_s: float,
    compared_batches: int,
    watched: bool = False,
) -> dict:
    """Open a peer, time its first and later epochs, check every row. To be called in a fresh process.

    Rates are in the workload's unit (rows or tokens) a second. ``later_rate`` is the median over the epochs
    after the first, None if the first ran into `limit_s`. ``problems`` is empty when all that was delivered
    is right.
    """
    source, chosen, folder = set_up(workload, data, num_rows, peer)
    if not watched:
        settle_memory()
    records = [Record(source) for _ in range(epochs)]
    before_mb = process.memory_mb()["private_mb"]

    started = time.perf_counter()
    batches_of_epoch = chosen.open(source, folder)
    open_s = time.perf_counter() - started

    done = [consume(batches_of_epoch(0), limit_s, records[0])]
    while done[0].whole and len(done) < epochs:
        done.append(consume(batches_of_epoch(len(done)), limit_s, records[len(done)]))
    checker = source.checker()
    problems = [f"epoch {n}: {what}" for n, e in enumerate(done) for what in problems_of(e, source, checker)]
    rows = [[source.rows_of(column) for column in e.record.batch_columns()] for e in done]
    problems += _compare(batches_of_epoch(len(done)), source, checker, compared_batches)

    units = [source.units(np.concatenate(r)) for r in rows]
    rates = [u / e.wall_s for u, e in zip(units, done, strict=True)]
    later = [n for n in range(1, len(done)) if done[n].whole]
    return {
        "first_rate": rates[0],
        "later_rate": float(np.median([rates[n] for n in later])) if later else None,
        "open_ms": open_s * 1e3,
        "first_batch_ms": done[0].first_batch_s * 1e3,
        "first_cpu_s_per_gb": done[0].cpu_s / (done[0].nbytes / GIGABYTE),
        "later_cpu_s_per_gb": sum(done[n].cpu_s for n in later) / (sum(done[n].nbytes for n in later) / GIGABYTE)
        if later
        else None,
        "mb_per_s": done[later[-1] if later else 0].nbytes / done[later[-1] if later else 0].wall_s / 1e6,
        "mix": mix(rows[0], source.num_rows, source.batch_rows),
        "reorders": bool(len(done) > 1 and len(rows[0]) and not np.array_equal(rows[0][0], rows[1][0])),
        "whole_epochs": sum(e.whole for e in done),
        "disk_mb": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
        or sum(p.stat().st_size for p in source.files) / 1e6,
        "before_private_mb": before_mb,
        "problems": problems,
    }


def _compare(batches: Iterable, source: Workload, checker: Checker, limit: int) -> list[str]:
    for number, (x, y) in enumerate(batches):
        if number == limit:
            break
        rows = source.rows_of(torch.from_numpy(source.marks(x, y).copy()))
        if (rows < 0).any() or not checker.equal(x, y, rows):
            return [f"batch {number} of the compared epoch differs from the source"]
    return []


def set_up(workload: str, data: str, num_rows: int | None, peer: str) -> tuple[Workload, Peer, Path]:
    """The workload, the peer and the folder of its files, all warm, and one consumer thread, for every peer."""
    source = workloads.load(workload, data, num_rows)
    chosen = peers.find(peer)
    folder = peers.folder_of(chosen, source)
    torch.set_num_threads(1)
    warm_up(source, folder, chosen)
    return source, chosen, folder


def warm_up(source: Workload, folder: Path, peer: Peer) -> None:
    """Read the files into the page cache, import the peer's package, make torch's first call."""
    for module in peer.needs:
        import_module(module)
    for path in [*source.files, *(p for p in folder.rglob("*") if p.is_file())]:
        read_through(path)
    torch.ones(1024, 64).sum().item()


def settle_memory(size_bytes: int = 3 << 29) -> None:
    """Touch memory and give it back, right before the clock starts.

    A virtual machine gets a page from its host when it is first touched, which can cost more than a millisecond per MB
    and depends on what ran before. That is no loader's doing; a page used a moment ago costs what it costs elsewhere.
    """
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE] = 1
    memory.close()


def read_through(path: Path) -> None:
    """Read a file once, so that it lies in the page cache."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(1 << 22)
        while file.readinto(buffer):
            pass


def prepare_peer(*, workload: str, data: str, num_rows: int | None, peer: str, fresh: bool) -> dict:
    """Write a peer's own files unless there and up to date. To be called in a fresh process."""
    source = workloads.load(workload, data, num_rows)
    started = time.perf_counter()
    written = peers.prepare(peers.find(peer), source, fresh)
    return {"written": written, "prepare_s": time.perf_counter() - started}
