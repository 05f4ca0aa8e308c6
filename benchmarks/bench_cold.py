"""How fast are data read that lie on the disk only and are four times larger than the memory allowed?

W1 with an empty page cache and ``memory_bytes`` a quarter of the decoded data, against `pread` of the same
blocks in the same order, one after the other into one buffer. Rates are bytes of the files a second, so that
both count the same bytes. That the cache is empty is checked with mincore before each run.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import measure, peers, process, workloads
from benchmarks.blocks import blocks_as_read, blocks_of
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_least,
    finish,
    low_median_high,
    note,
    run_rounds,
    shown,
    shown_spread,
)
from benchmarks.peers.ours import SEED

SHARE_OF_DATA = 4
ARMS = {"raw": "ours/raw-2t", "lz4": "ours/lz4-2t"}


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    source = {"workload": "w1", "data": str(options.data), "num_rows": num_rows}
    arms = {}
    for codec, name in ARMS.items():
        peer = peers.find(f"w1:{name}")
        if peer.missing:
            note(f"skipped {name}: no module {', '.join(peer.missing)}; to get it: {peer.install}")
            continue
        process.in_own_process(measure.prepare_peer, **source, peer=peer.key, fresh=options.fresh)
        process.in_own_process(save_order, **source, peer=peer.key)
        arms[f"fastload {codec}"] = partial(process.in_own_process, read_with_fastload, **source, peer=peer.key)
        arms[f"pread {codec}"] = partial(process.in_own_process, read_with_pread, **source, peer=peer.key)
    runs = run_rounds(arms, options.repeats)
    summary = [
        {
            "arm": arm,
            **low_median_high(runs.values(arm, "mb_per_s"), "mb_per_s"),
            **{key: runs.median(arm, key) for key in ("rows_per_s", "cpu_s", "mix", "stored_mb")},
        }
        for arm in arms
    ]
    screen = [
        {
            "arm": row["arm"],
            "file MB/s": shown_spread(row, "mb_per_s", digits=0),
            "rows/s": shown(row["rows_per_s"], 0),
            "CPU s": shown(row["cpu_s"]),
            "mix": shown(row["mix"]),
            "file MB": shown(row["stored_mb"], 0),
        }
        for row in summary
    ]
    return finish("cold", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    return [
        at_least(
            f"cold {codec}: fastload / pread of the same blocks in the same order",
            runs.ratio(f"fastload {codec}", f"pread {codec}", "mb_per_s"),
            0.6,
        )
        for codec in ARMS
    ]


def _loader(folder: Path, batch_rows: int):
    import fastload as fl

    rows = fl.open(folder / "rows.fl")
    return fl.DataLoader(
        rows,
        batch_size=batch_rows,
        shuffle=True,
        num_workers=2,
        seed=SEED,
        memory_bytes=rows.raw_bytes // SHARE_OF_DATA,
    )


def save_order(*, workload: str, data: str, num_rows: int | None, peer: str) -> dict:
    """Run one epoch and keep the order in which it needed the blocks, for the pread arm."""
    source = workloads.load(workload, data, num_rows)
    folder = peers.folder_of(peers.find(peer), source)
    rows = [source.rows_of(batch["x"][:, 0].clone()) for batch in _loader(folder, source.batch_rows)]
    order = blocks_as_read(np.concatenate(rows), [block.rows for block in blocks_of(folder / "rows.fl")])
    np.save(folder / "order.npy", np.array(order))
    return {"blocks": len(order)}


def read_with_fastload(*, workload: str, data: str, num_rows: int | None, peer: str) -> dict:
    """One epoch, every batch summed, from a cold cache. To be called in a fresh process."""
    import fastload  # noqa: F401 - imported before the clock starts

    source = workloads.load(workload, data, num_rows)
    folder = peers.folder_of(peers.find(peer), source)
    torch.set_num_threads(1)
    blocks = blocks_of(folder / "rows.fl")
    record = measure.Record(source)
    empty_page_cache(sorted({block.path for block in blocks}))
    started = time.perf_counter()
    loader = _loader(folder, source.batch_rows)
    opened_s = time.perf_counter() - started
    epoch = measure.consume(((batch["x"], batch["y"]) for batch in loader), 600, record)
    rows = [source.rows_of(column) for column in epoch.record.batch_columns()]
    seconds = opened_s + epoch.wall_s
    return {
        **_rates(blocks, seconds, epoch.cpu_s),
        "mix": measure.mix(rows, source.num_rows, source.batch_rows),
        "problems": measure.problems_of(epoch, source, source.checker()),
    }


def read_with_pread(*, workload: str, data: str, num_rows: int | None, peer: str) -> dict:
    """The same blocks in the same order into one buffer, cold. To be called in a fresh process."""
    source = workloads.load(workload, data, num_rows)
    folder = peers.folder_of(peers.find(peer), source)
    blocks = blocks_of(folder / "rows.fl")
    wanted = [blocks[number] for number in np.load(folder / "order.npy").tolist()]
    buffer = memoryview(bytearray(max(block.stored_bytes for block in blocks)))
    buffer[:: mmap.PAGESIZE] = bytes(len(buffer[:: mmap.PAGESIZE]))  # its pages are there before the clock starts
    paths = sorted({block.path for block in blocks})
    empty_page_cache(paths)
    files = {path: os.open(path, os.O_RDONLY) for path in paths}
    cpu_before, started = process.cpu_seconds(), time.perf_counter()
    short = sum(os.preadv(files[b.path], [buffer[: b.stored_bytes]], b.offset) != b.stored_bytes for b in wanted)
    seconds = time.perf_counter() - started
    return {
        **_rates(wanted, seconds, process.cpu_seconds() - cpu_before),
        "problems": [f"{short} blocks came short"] if short or len(wanted) != len(blocks) else [],
    }


def _rates(blocks: list, seconds: float, cpu_s: float) -> dict:
    stored_mb = sum(block.stored_bytes for block in blocks) / 1e6
    return {
        "mb_per_s": stored_mb / seconds,
        "rows_per_s": sum(block.rows for block in blocks) / seconds,
        "cpu_s": cpu_s,
        "seconds": seconds,
        "stored_mb": stored_mb,
    }


def empty_page_cache(paths: list[Path]) -> None:
    """Drop the files' pages; RuntimeError where more than 1 % of a file stays (something maps it, say)."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        share = resident_share(path)
        if share > 0.01:
            raise RuntimeError(f"the page cache must not hold {path}, found {share:.0%} of it there; end what maps it")


def resident_share(path: Path) -> float:
    """Share of a file's pages in the page cache, 0 to 1."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE) as mapped,
    ):
        size = len(mapped)
        pages = np.empty(-(-size // mmap.PAGESIZE), np.uint8)
        first_byte = ctypes.c_char.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        code = libc.mincore(ctypes.addressof(first_byte), size, pages.ctypes.data)
        del first_byte
    if code:
        raise OSError(ctypes.get_errno(), f"mincore of {path}")
    return float((pages & 1).mean())
