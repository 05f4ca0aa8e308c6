"""What does SMOTE in the loader cost, beside plain shuffled loading of the same data?

W1 in LZ4 blocks with a label that is 1 for one row in a hundred. An epoch with SMOTE has every row once and as many rows of the
rare class as of the other; the rates are rows delivered a second, with and without. The table of neighbours is made beforehand,
as it is kept beside the data; making it is timed by itself.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks import measure, process, workloads
from benchmarks.harness import Claim, Options, Runs, at_least, finish, low_median_high, run_rounds, shown_spread

CODECS = ("lz4", "raw")
RARE_EVERY = 100
KEPT = 0.70


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    source = {"data": str(options.data), "num_rows": num_rows}
    arms = {}
    for codec in CODECS:
        process.in_own_process(prepare, **source, codec=codec, fresh=options.fresh)
        for balanced in (False, True):
            arms[f"{codec}, {'SMOTE' if balanced else 'plain'}"] = partial(
                process.in_own_process, rates, **source, codec=codec, balanced=balanced, epochs=options.epochs
            )
    runs = run_rounds(arms, options.repeats)
    summary = [
        {
            "arm": arm,
            **low_median_high(runs.values(arm, "first_rate"), "first_rate"),
            **low_median_high(runs.values(arm, "later_rate"), "later_rate"),
            **low_median_high(runs.values(arm, "opening_s"), "opening_s"),
        }
        for arm in arms
    ]
    screen = [
        {
            "loader": row["arm"],
            "first Mrows/s": shown_spread(row, "first_rate", 1e-6, 3),
            "later Mrows/s": shown_spread(row, "later_rate", 1e-6, 3),
            "opening s": shown_spread(row, "opening_s"),
        }
        for row in summary
    ]
    return finish("stream_smote", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    return [
        at_least(f"lz4, {epoch}: rate kept", runs.ratio("lz4, SMOTE", "lz4, plain", key), KEPT)
        for epoch, key in (("first epoch", "first_rate"), ("later epochs", "later_rate"))
    ]


def folder_of(data: str, num_rows: int | None, codec: str) -> tuple[workloads.W1, Path]:
    source = workloads.load("w1", data, num_rows)
    return source, Path(data) / f"stream-smote-{source.num_rows}-{codec}.fl"


def prepare(*, data: str, num_rows: int | None, codec: str, fresh: bool) -> dict:
    """Writes the data, with the rare label, and the table of neighbours."""
    import fastload as fl

    source, path = folder_of(data, num_rows, codec)
    if fresh or not path.exists():
        x, _ = source.arrays(in_memory=True)
        rare = (np.arange(source.num_rows) % RARE_EVERY == 0).astype(np.int64)
        fl.write(path, {"x": x, "y": rare}, codec=codec, overwrite=True)
    loader_of(path, source.batch_rows, True)
    return {"problems": []}


def loader_of(path: Path, batch_rows: int, balanced: bool) -> object:
    import fastload as fl

    balance = {"y": fl.SMOTE()} if balanced else None
    return fl.DataLoader(path, batch_size=batch_rows, shuffle=True, num_workers=2, seed=1, balance=balance)


def rates(*, data: str, num_rows: int | None, codec: str, balanced: bool, epochs: int) -> dict:
    torch.set_num_threads(1)
    source, path = folder_of(data, num_rows, codec)
    if balanced:
        next(iter(loader_of(path, source.batch_rows, True)))  # numba's import and the kernel: asked for by themselves
    for shard in path.rglob("*.flb"):
        measure.read_through(shard)
    began = time.perf_counter()
    loader = loader_of(path, source.batch_rows, balanced)
    opening_s = time.perf_counter() - began
    measure.settle_memory()
    found, problems = [], []
    for _ in range(epochs):
        rows = rare = 0
        began = time.perf_counter()
        for batch in loader:
            batch["x"].sum().item()
            rare += batch["y"].sum().item()
            rows += len(batch["y"])
        found.append(rows / (time.perf_counter() - began))
        problems += problems_of(source.num_rows, balanced, rows, rare)
    return {
        "first_rate": found[0],
        "later_rate": median(found[1:]) if epochs > 1 else None,
        "opening_s": opening_s,
        "problems": problems + (values_of(loader, source) if balanced else []),
    }


def problems_of(num_rows: int, balanced: bool, rows: int, rare: int) -> list[str]:
    few = -(-num_rows // RARE_EVERY)
    expected = (2 * (num_rows - few), num_rows - few) if balanced else (num_rows, few)
    return [] if (rows, rare) == expected else [f"{rows} rows with {rare} rare ones came, not {expected}"]


def values_of(loader: object, source: workloads.W1) -> list[str]:
    """Of some batches: made rows lie between the two rows that they are said to be of, others are themselves."""
    x, _ = source.arrays(in_memory=True)
    for step, batch in zip(range(50), loader):
        explained = loader.explain(step)
        rows, origins = explained["rows"], explained["origins"]
        made = origins.is_synthetic
        base = np.where(made, origins.base, rows)
        neighbor = np.where(made, origins.neighbor, rows)
        expected = x[base] + origins.part[:, None] * (x[neighbor] - x[base])
        if not np.allclose(batch["x"].numpy(), expected, atol=1e-5):
            return ["a made row does not lie where it should"]
    return []
