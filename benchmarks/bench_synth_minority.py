"""Do synthetic late flights, added to the real ones, help trees to find real delays? Reported as it is.

One flight in 34 of the table "late" is late. To 10,000 real rows late ones are added until they are a quarter of all: none, by
SMOTENC, or drawn under the condition ``late = 1`` from a model of the same 10,000 rows. Average precision and area under the ROC
curve on 100,000 other real rows, five seeds. No claim is made.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks import process
from benchmarks.bench_synth_late import OURS, trained
from benchmarks.harness import Options, finish, precision_by_seed, run_rounds
from benchmarks.late_table import CATEGORIES, TARGET, scores, split

SEEDS, ROWS, SHARE = 5, 10_000, 0.25
WAYS = ("none", "SMOTENC", *OURS)


def run(options: Options) -> int:
    seeds = 2 if options.quick else SEEDS
    arms = {
        f"{way}, seed {seed}": partial(
            process.in_own_process, tried, way=way, seed=seed, data=str(options.data), quick=options.quick
        )
        for seed in range(seeds)
        for way in WAYS
    }
    runs = run_rounds(arms, 1)
    summary, screen = precision_by_seed(runs, WAYS, "late rows added", "added")
    return finish("synth_minority", options, runs, summary, screen, [])


def tried(*, way: str, seed: int, data: str, quick: bool) -> dict[str, Any]:
    """Trees trained on the real rows and those added; other rows are drawn for each seed."""
    import pandas as pd

    real = split(data, 2 * ROWS).train.sample(ROWS, random_state=seed).reset_index(drop=True)
    test = split(data, ROWS).test
    late = int(real[TARGET].sum())
    wanted = round((SHARE * len(real) - late) / (1 - SHARE))
    if way == "none":
        more = real[:0]
    elif way == "SMOTENC":
        more = by_smotenc(real, late + wanted, seed)
    else:
        more = trained(way, real, seed, quick).sample(wanted, where={TARGET: 1}, seed=seed)
    auc, precision = scores(pd.concat([real, more], ignore_index=True), test)
    problems = [] if (more[TARGET] == 1).all() and len(more) in (0, wanted) else ["rows added that are not late"]
    return {"auc": auc, "average_precision": precision, "problems": problems}


def by_smotenc(real: Any, late: int, seed: int) -> Any:
    import fastload as fl

    features = [name for name in real if name != TARGET]
    sampler = fl.SMOTENC(
        [name for name in CATEGORIES if name != TARGET], sampling_strategy={1: late}, random_state=seed
    )
    X, y = sampler.fit_resample(real[features], real[TARGET])
    return X[len(real) :].assign(**{TARGET: y[len(real) :]})[real.columns]
