"""How fast are columns learned, networks trained and rows drawn, beside CTGAN?

The table "late" (13 columns), batches of 500 rows. A step is timed as the difference between a longer and a shorter training, so
that what is done once does not count; rows are drawn 100,000 at a time. Needs ctgan 0.12.1 beside fastload, better in an
environment of their own.
"""

from __future__ import annotations

import time
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks import process
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_least,
    at_most,
    finish,
    low_median_high,
    note,
    run_rounds,
    shown,
    shown_spread,
)
from benchmarks.late_table import CATEGORIES, split

CTGAN = "CTGAN"
KINDS = {"autoregressive": "TableAutoregressor", "GAN": "TableGAN", "VAE": "TableVAE", CTGAN: ""}
BATCH, SHORT, LONG = 500, 40, 140  # steps
DRAWN = 100_000
COLUMN_ROWS = (10_000, 100_000)


def run(options: Options) -> int:
    kinds = list(KINDS)
    if find_spec("ctgan") is None:
        note("skipped CTGAN: not installed; to get it: pip install ctgan==0.12.1")
        kinds.remove(CTGAN)
    part = 10 if options.quick else 1
    common = {"data": str(options.data), "part": part}
    arms = {kind: partial(process.in_own_process, timed, kind=kind, **common) for kind in kinds}
    for rows in COLUMN_ROWS:
        for library in ("fastload", CTGAN) if CTGAN in kinds else ("fastload",):
            arms[columns_arm(library, rows)] = partial(
                process.in_own_process, timed_columns, library=library, rows=rows // part, **common
            )
    runs = run_rounds(arms, options.repeats)
    names = ("step_ms", "rows_per_s", "columns_s")
    summary = [
        {"arm": arm} | {k: v for name in names for k, v in low_median_high(runs.values(arm, name), name).items()}
        for arm in arms
    ]
    screen = [
        {
            "what": row["arm"],
            "ms a step": shown_spread(row, "step_ms", digits=1),
            "rows drawn a second": shown(row["rows_per_s"], 0),
            "seconds to learn and code columns": shown_spread(row, "columns_s", digits=3),
        }
        for row in summary
    ]
    return finish("synth_speed", options, runs, summary, screen, claims(runs))


def columns_arm(library: str, rows: int) -> str:
    return f"columns of {rows:,} rows, {library}"


def claims(runs: Runs) -> list[Claim]:
    return [
        at_most("autoregressive: a step, of one of CTGAN", runs.ratio("autoregressive", CTGAN, "step_ms"), 0.5),
        at_most("GAN: a step, of one of CTGAN", runs.ratio("GAN", CTGAN, "step_ms"), 0.5),
        at_least("autoregressive: rows drawn, times CTGAN's", runs.ratio("autoregressive", CTGAN, "rows_per_s"), 3),
        *(
            at_least(
                f"columns of {rows:,} rows: times faster",
                runs.ratio(columns_arm(CTGAN, rows), columns_arm("fastload", rows), "columns_s"),
                10,
            )
            for rows in COLUMN_ROWS
        ),
    ]


def timed(*, kind: str, data: str, part: int) -> dict[str, Any]:
    train = split(data, 10_000 // part).train
    drawn = DRAWN // part
    fit = fit_ctgan if kind == CTGAN else fit_ours
    fit(kind, train, SHORT // part or 1)  # compiles, allocates
    seconds = []
    for steps in (SHORT // part or 1, LONG // part):
        started = time.perf_counter()
        model = fit(kind, train, steps)
        seconds.append(time.perf_counter() - started)
    model.sample(drawn // 10)
    started = time.perf_counter()
    rows = model.sample(drawn)
    rows_per_s = drawn / (time.perf_counter() - started)
    problems = [] if len(rows) == drawn and list(rows.columns) == list(train.columns) else ["other rows or columns"]
    step_ms = 1e3 * (seconds[1] - seconds[0]) / (LONG // part - (SHORT // part or 1))
    return {"step_ms": step_ms, "rows_per_s": rows_per_s, "problems": problems}


def fit_ours(kind: str, train: Any, steps: int) -> Any:
    from fastload import synth

    return getattr(synth, KINDS[kind])(batch_size=BATCH, max_steps=steps).fit(train)


def fit_ctgan(kind: str, train: Any, steps: int) -> Any:
    """So many steps, in epochs; columns are learned from few rows, which is not what is timed here."""
    from ctgan import CTGAN as Peer

    model = Peer(epochs=max(1, steps * BATCH // len(train)), batch_size=BATCH)
    model.fit(train, discrete_columns=CATEGORIES)
    return model


def timed_columns(*, library: str, rows: int, data: str, part: int) -> dict[str, Any]:
    """Seconds to learn the columns of a table and to code its rows."""
    train = split(data, rows).train
    work = columns_of_ctgan if library == CTGAN else columns_of_ours
    work(train[:500])
    started = time.perf_counter()
    coded = work(train)
    return {"columns_s": time.perf_counter() - started, "problems": [] if len(coded) == rows else ["other rows"]}


def columns_of_ours(train: Any) -> np.ndarray:
    from fastload.synth import Columns

    return Columns.fit(train).encode(train)


def columns_of_ctgan(train: Any) -> np.ndarray:
    from ctgan.data_transformer import DataTransformer

    transformer = DataTransformer()
    transformer.fit(train, CATEGORIES)
    return transformer.transform(train)
