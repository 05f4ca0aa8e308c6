"""Which model makes synthetic flights that teach what the real ones teach, and gives none of them away?

Each model is trained on 10,000 rows of the table "late", the first also on 100,000, with three seeds each, and makes as many.
Trees trained on these rows predict real delays (TSTR AUC; the ceiling is that of the real rows, the floor that of columns
drawn independently); sdmetrics tells column shapes, pair trends and validity; an attack with as many held-out rows tells whether
training rows can be recognised. CTGAN runs where it is installed (pip install ctgan==0.12.1, better in an environment of its
own), with its own settings and 100 epochs.
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
    at_least,
    at_most,
    finish,
    low_median_high,
    note,
    run_rounds,
    shown_spread,
)
from benchmarks.late_table import CATEGORIES, NUMBERS, TARGET, scores, split

SEEDS = 3
ROWS, MORE_ROWS = 10_000, 100_000
OURS = {"autoregressive": "TableAutoregressor", "VAE": "TableVAE", "GAN": "TableGAN"}
FLOOR, CEILING, CTGAN = "independent columns", "the real rows", "CTGAN"
MEASURES = {
    "fit_s": 1, "tstr_auc": 3, "tstr_ap": 3, "column_shapes": 3, "pair_trends": 3, "validity": 3, "late_share": 4,
    "membership_auc": 3, "copies": 0,
}  # fmt: skip


def run(options: Options) -> int:
    seeds = 1 if options.quick else SEEDS
    part = 10 if options.quick else 1
    kinds = [CEILING, FLOOR, *OURS, CTGAN]
    if find_spec("ctgan") is None:
        note("skipped CTGAN: not installed; to get it: pip install ctgan==0.12.1")
        kinds.remove(CTGAN)
    cases = [(kind, ROWS // part) for kind in kinds] + [
        (kind, MORE_ROWS // part) for kind in (CEILING, "autoregressive")
    ]
    arms = {
        f"{kind}, {rows:,} rows, seed {seed}": partial(
            process.in_own_process, made, kind=kind, rows=rows, seed=seed, data=str(options.data), quick=options.quick
        )
        for seed in range(seeds)
        for kind, rows in cases
    }
    runs = run_rounds(arms, 1)
    summary = []
    for kind, rows in cases:
        found = runs.seeds(f"{kind}, {rows:,} rows")
        row: dict[str, Any] = {"model": kind, "rows": rows, "seeds": len(found)}
        for measure in MEASURES:
            row |= low_median_high([r[measure] for r in found if r.get(measure) is not None], measure)
        summary.append(row)
    screen = [
        {"model": row["model"], "rows": f"{row['rows']:,}"}
        | {name: shown_spread(row, name, digits=digits) for name, digits in MEASURES.items()}
        for row in summary
    ]
    return finish("synth_late", options, runs, summary, screen, [] if options.quick else claims(summary))


def claims(summary: list[dict[str, Any]]) -> list[Claim]:
    found = {(row["model"], row["rows"]): row for row in summary}
    ours, more, real = found["autoregressive", ROWS], found["autoregressive", MORE_ROWS], found[CEILING, ROWS]
    share = ours["late_share"] / real["late_share"]
    return [
        at_most("autoregressive, 10,000 rows: seconds of training", ours["fit_s"], 60),
        at_least("autoregressive, 10,000 rows: TSTR AUC", ours["tstr_auc"], 0.70),
        at_least("autoregressive, 10,000 rows: pair trends", ours["pair_trends"], 0.75),
        at_least("autoregressive, 10,000 rows: validity", ours["validity"], 1.0),
        at_most(
            "autoregressive, 10,000 rows: times the real share of late rows, or the other way",
            max(share, 1 / share),
            1.5,
        ),
        at_most("autoregressive, 10,000 rows: copies of training rows", ours["copies"], 0),
        at_most("autoregressive, 10,000 rows: membership AUC", ours["membership_auc"], 0.55),
        at_most("autoregressive, 100,000 rows: seconds of training", more["fit_s"], 300),
        at_least("autoregressive, 100,000 rows: TSTR AUC", more["tstr_auc"], 0.72),
    ]


def made(*, kind: str, rows: int, seed: int, data: str, quick: bool) -> dict[str, Any]:
    """One model's rows, measured."""
    train, holdout, test = split(data, rows)
    started = time.perf_counter()
    if kind == CEILING:
        synthetic = train
    elif kind == FLOOR:
        random = np.random.default_rng(seed)
        synthetic = train.apply(lambda column: random.permutation(column.to_numpy()))
    elif kind == CTGAN:
        synthetic = by_ctgan(train, seed, epochs=2 if quick else 100)
    else:
        model = trained(kind, train, seed, quick)
    fit_s = time.perf_counter() - started
    if kind in OURS:
        synthetic = model.sample(rows, seed=seed)
    auc, precision = scores(synthetic, test)
    problems = (
        [] if list(synthetic.columns) == list(train.columns) and len(synthetic) == rows else ["other rows or columns"]
    )
    found = {"fit_s": fit_s, "tstr_auc": auc, "tstr_ap": precision, "late_share": float(synthetic[TARGET].mean())}
    private = {} if kind == CEILING else privacy(train, synthetic, holdout)
    return found | by_sdmetrics(train, synthetic) | private | {"problems": problems}


def trained(kind: str, train: Any, seed: int, quick: bool) -> Any:
    from fastload import synth

    options = {"target": TARGET} if kind == "autoregressive" else {}
    return getattr(synth, OURS[kind])(seed=seed, **options, **({"max_steps": 50} if quick else {})).fit(train)


def by_ctgan(train: Any, seed: int, epochs: int) -> Any:
    import torch
    from ctgan import CTGAN as Peer

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what CTGAN draws from
    model = Peer(epochs=epochs)
    model.fit(train, discrete_columns=CATEGORIES)
    return model.sample(len(train))[train.columns]


def by_sdmetrics(train: Any, synthetic: Any) -> dict[str, float]:
    """Its scores; computed by sdmetrics, not by our own code."""
    from sdmetrics.reports.single_table import DiagnosticReport, QualityReport

    metadata = {
        "columns": {name: {"sdtype": "numerical"} for name in NUMBERS}
        | {name: {"sdtype": "categorical"} for name in CATEGORIES}
    }
    found = {}
    for report in (QualityReport(), DiagnosticReport()):
        report.generate(train, synthetic, metadata, verbose=False)
        found |= report.get_properties().set_index("Property")["Score"].to_dict()
    return {
        "column_shapes": found["Column Shapes"],
        "pair_trends": found["Column Pair Trends"],
        "validity": found["Data Validity"],
    }


def privacy(train: Any, synthetic: Any, holdout: Any) -> dict[str, float]:
    from fastload.synth import check_synthetic

    report = check_synthetic(train, synthetic, holdout=holdout)
    return {
        "membership_auc": report.membership_auc,
        "copies": report.privacy.copies.synthetic.count,
        "detection_auc": report.detection_auc,
    }
