"""What does normalising and imputing W1's batches in the loader cost, and how much later does the first batch come?

The transform's parameters come from the statistics in the file. That kernels are compiled and cached is seen to beforehand; the
first batch is timed from ``import fastload`` on, numba's import included.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from statistics import median

import numpy as np
import torch

from benchmarks import measure, peers, process, workloads
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_least,
    at_most,
    finish,
    low_median_high,
    run_rounds,
    shown_spread,
)

PEERS = {"lz4": "ours/lz4-2t", "raw": "ours/raw-2t"}
BARS = {"lz4": 0.85, "raw": 0.70}
FIRST_BATCH_LATER_S = 1.0


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    source = {"workload": "w1", "data": str(options.data), "num_rows": num_rows}
    arms = {}
    for codec, name in PEERS.items():
        peer = f"w1:{name}"
        process.in_own_process(measure.prepare_peer, **source, peer=peer, fresh=options.fresh)
        for transforms in (False, True):
            arm = partial(process.in_own_process, rates, **source, peer=peer, transforms=transforms)
            arms[f"{codec}, {'transformed' if transforms else 'as it is'}"] = partial(arm, epochs=options.epochs)
    process.in_own_process(first_batch, **source, peer=peer, transforms=True)  # fills numba's cache
    runs = run_rounds(arms, options.repeats)
    first = {
        f"first batch, {kind}": partial(process.in_own_process, first_batch, **source, peer=peer, transforms=transforms)
        for kind, transforms in (("as it is", False), ("transformed", True))
    }
    runs.records += run_rounds(first, options.repeats).records
    summary = [
        {
            "arm": arm,
            **low_median_high(runs.values(arm, "first_rate"), "first_rate"),
            **low_median_high(runs.values(arm, "later_rate"), "later_rate"),
            **low_median_high(runs.values(arm, "import_to_first_batch_s"), "import_to_first_batch_s"),
        }
        for arm in [*arms, *first]
    ]
    screen = [
        {
            "loader": row["arm"],
            "first Mrows/s": shown_spread(row, "first_rate", 1e-6, 3),
            "later Mrows/s": shown_spread(row, "later_rate", 1e-6, 3),
            "import to first batch s": shown_spread(row, "import_to_first_batch_s"),
        }
        for row in summary
    ]
    return finish("transform", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    kept = [
        at_least(f"{codec}, {epoch}: rate kept", runs.ratio(f"{codec}, transformed", f"{codec}, as it is", key), bar)
        for codec, bar in BARS.items()
        for epoch, key in (("first epoch", "first_rate"), ("later epochs", "later_rate"))
    ]
    times = [runs.median(f"first batch, {kind}", "import_to_first_batch_s") for kind in ("transformed", "as it is")]
    later_s = None if None in times else times[0] - times[1]
    return [*kept, at_most("seconds that the first batch comes later", later_s, FIRST_BATCH_LATER_S)]


def open_loader(folder: object, batch_rows: int, transforms: bool) -> object:
    import fastload as fl

    transform = {"x": [fl.Impute(), fl.Normalize()]} if transforms else None
    return fl.DataLoader(
        folder / "rows.fl", batch_size=batch_rows, shuffle=True, num_workers=2, seed=1, transform=transform
    )


def rates(*, workload: str, data: str, num_rows: int | None, peer: str, epochs: int, transforms: bool) -> dict:
    """Rows a second of the first epoch and of later ones, batches summed; one more epoch is compared with the source."""
    source, _, folder = measure.set_up(workload, data, num_rows, peer)
    loader = open_loader(folder, source.batch_rows, transforms)
    if transforms:
        next(iter(loader))  # numba's import and the kernels: asked for by themselves
        loader = open_loader(folder, source.batch_rows, transforms)
    measure.settle_memory()
    records = [measure.Record(source) for _ in range(epochs)]
    found = []
    for record in records:
        epoch = measure.consume(((b["x"], b["y"]) for b in loader), float("inf"), record)
        found.append(source.num_rows / epoch.wall_s)
    return {
        "first_rate": found[0],
        "later_rate": median(found[1:]) if epochs > 1 else None,
        "problems": list(problems_of(loader, source, transforms)),
    }


def problems_of(loader: object, source: workloads.W1, transforms: bool) -> Iterator[str]:
    """Each row once, and each value what it should be."""
    x, y = source.arrays(in_memory=True)
    center, spread = (x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)) if transforms else (0.0, 1.0)
    seen = np.zeros(source.num_rows, np.int64)
    for batch in loader:
        got = batch["x"].numpy().astype(np.float64) * spread + center
        marks = np.round(got[:, 0] * workloads.MAX_W1_ROWS) / workloads.MAX_W1_ROWS
        rows = source.rows_of(torch.from_numpy(marks))
        seen[rows] += 1
        if not np.allclose(got, x[rows], atol=1e-5) or not np.array_equal(batch["y"].numpy(), y[rows]):
            yield "a batch differs from the source"
            return
    if not (seen == 1).all():
        yield f"{(seen != 1).sum()} rows did not come once"


def first_batch(*, workload: str, data: str, num_rows: int | None, peer: str, transforms: bool) -> dict:
    """Seconds from the import of fastload to the first batch; torch is there before."""
    source = workloads.load(workload, data, num_rows)
    folder = peers.folder_of(peers.find(peer), source)
    for path in folder.rglob("*.flb"):
        measure.read_through(path)
    started = time.perf_counter()
    rows = len(next(iter(open_loader(folder, source.batch_rows, transforms)))["x"])
    took_s = time.perf_counter() - started
    return {"import_to_first_batch_s": took_s, "problems": [] if rows == source.batch_rows else ["a short batch"]}
