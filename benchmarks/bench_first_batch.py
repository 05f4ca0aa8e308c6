"""How soon is the first batch there, how much memory does an epoch take, and is anything left behind?

W1 with a full shuffle: the time to the first batch, permutation included, against np.take's; then 20 epochs,
with the private memory after each; then threads and file descriptors once the loader is gone.
"""

from __future__ import annotations

import gc
import time
from functools import partial
from pathlib import Path

from benchmarks import measure, peers, process, workloads
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_most,
    finish,
    low_median_high,
    run_rounds,
    shown,
    shown_spread,
)
from benchmarks.peers.ours import SEED, SMALL_BUDGET

EPOCHS, QUICK_EPOCHS = 20, 4
TAKE = "numpy/take-memmap"
FIRST = (TAKE, "torch/getitems-0w", "ours/raw-2t", "ours/lz4-2t", "ours/lz4-64MiB-2t")
LASTING = {
    "raw": ("ours/raw-2t", 1 << 30),
    "lz4": ("ours/lz4-2t", 1 << 30),
    "lz4-64MiB": ("ours/lz4-64MiB-2t", SMALL_BUDGET),
}


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    source = {"workload": "w1", "data": str(options.data), "num_rows": num_rows}
    wanted = [peers.find(f"w1:{name}") for name in FIRST]
    ready = [peer for peer in wanted if not peer.missing]
    for peer in ready:
        process.in_own_process(measure.prepare_peer, **source, peer=peer.key, fresh=False)
    names = {peer.name for peer in ready}
    arms = {p.name: partial(process.in_own_process, first_batch, **source, peer=p.key) for p in ready}
    runs = run_rounds(arms, options.repeats)
    lasting = {
        f"{EPOCHS} epochs {name}": partial(
            process.in_own_process,
            many_epochs,
            watch_memory=True,
            **source,
            peer=f"w1:{peer}",
            memory_bytes=budget,
            epochs=QUICK_EPOCHS if options.quick else EPOCHS,
        )
        for name, (peer, budget) in LASTING.items()
        if peer in names
    }
    long_runs = run_rounds(lasting, 1)
    for record in long_runs.records:
        record["taken_mb"] = record["peak_private_mb"] - record["before_mb"]
        record["beyond_mb"] = record["taken_mb"] - record["budget_mb"] - record["prefetch_mb"]
    both = Runs(runs.records + long_runs.records, runs.failures | long_runs.failures)
    keys = (
        "open_ms",
        "first_batch_ms",
        "taken_mb",
        "beyond_mb",
        "grown_mb",
        "threads_left",
        "descriptors_left",
    )
    summary = [
        {
            "arm": arm,
            **low_median_high(both.values(arm, "open_and_first_ms"), "open_and_first_ms"),
            **{key: both.median(arm, key) for key in keys},
        }
        for arm in [*arms, *lasting]
    ]
    screen = [
        {
            "arm": row["arm"],
            "open + first batch ms": shown_spread(row, "open_and_first_ms", digits=1),
            "first batch ms": shown(row["first_batch_ms"], 1),
            "private MB taken": shown(row["taken_mb"], 0),
            "MB beyond budget and prefetch": shown(row["beyond_mb"], 0),
            "MB grown in 2nd half": shown(row["grown_mb"], 1),
            "threads left": shown(row["threads_left"], 0),
            "descriptors left": shown(row["descriptors_left"], 0),
        }
        for row in summary
    ]
    return finish("first_batch", options, both, summary, screen, claims(both, list(lasting)))


def claims(runs: Runs, lasting: list[str]) -> list[Claim]:
    found = [
        at_most(f"open and first batch {arm} / {TAKE}", runs.ratio(arm, TAKE, "open_and_first_ms"), 2.0)
        for arm in FIRST
        if arm.startswith("ours/")
    ]
    for arm in lasting:
        found += [
            at_most(
                f"{arm}: private MB beyond the budget and the prefetched batches",
                runs.median(arm, "beyond_mb"),
                100,
            ),
            at_most(
                f"{arm}: most private MB of the second half of its epochs - of the first",
                runs.median(arm, "grown_mb"),
                5,
            ),
            at_most(f"{arm}: threads left", runs.median(arm, "threads_left"), 0),
            at_most(f"{arm}: file descriptors left", runs.median(arm, "descriptors_left"), 0),
        ]
    return found


def first_batch(*, workload: str, data: str, num_rows: int | None, peer: str) -> dict:
    """Milliseconds to open and to the first batch, summed. To be called in a fresh process."""
    source, chosen, folder = measure.set_up(workload, data, num_rows, peer)
    measure.settle_memory()
    started = time.perf_counter()
    epoch = chosen.open(source, folder)
    opened = time.perf_counter()
    x, y = next(iter(epoch(0)))
    x.sum(), y.sum()
    done = time.perf_counter()
    rows = source.rows_of(x[:, 0].clone())
    right = (rows >= 0).all() and source.checker().equal(x, y, rows)
    return {
        "open_ms": (opened - started) * 1e3,
        "first_batch_ms": (done - opened) * 1e3,
        "open_and_first_ms": (done - started) * 1e3,
        "problems": [] if right else ["the first batch differs from the source"],
    }


def many_epochs(*, workload: str, data: str, num_rows: int | None, peer: str, memory_bytes: int, epochs: int) -> dict:
    """Private memory after each epoch, and what is left behind. To be called in a fresh process."""
    import fastload as fl
    from fastload.load.serving import PREFETCH_BYTES

    source, _, folder = measure.set_up(workload, data, num_rows, peer)
    one_batch_and_gone(folder, source.batch_rows)  # what a first use leaves for good (imports, stacks) is not a leak
    before_mb, before = process.memory_mb()["private_mb"], process.open_things()

    rows = fl.open(folder / "rows.fl")
    loader = fl.DataLoader(
        rows, batch_size=source.batch_rows, shuffle=True, num_workers=2, seed=SEED, memory_bytes=memory_bytes
    )
    after_mb = []
    for _ in range(epochs):
        for batch in loader:
            batch["x"].sum(), batch["y"].sum()
        del batch
        after_mb.append(process.memory_mb()["private_mb"])
    budget_mb = 0.0 if "raw" in peer else min(memory_bytes, rows.raw_bytes) / 1e6
    del loader, rows
    gc.collect()
    after = process.open_things()
    return {
        "before_mb": before_mb,
        "budget_mb": budget_mb,
        "after_each_epoch_mb": [round(mb, 1) for mb in after_mb],
        "prefetch_mb": PREFETCH_BYTES / 1e6,
        "grown_mb": max(after_mb[epochs // 2 :]) - max(after_mb[1 : epochs // 2]),
        **{f"{what}_left": after[what] - before[what] for what in before},
        "problems": [],
    }


def one_batch_and_gone(folder: Path, batch_rows: int) -> None:
    import fastload as fl

    loader = fl.DataLoader(folder / "rows.fl", batch_size=batch_rows, num_workers=2, memory_bytes=SMALL_BUDGET)
    next(iter(loader))["x"].sum()
    del loader
    gc.collect()
