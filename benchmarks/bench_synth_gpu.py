"""On a CUDA device: how long is a training step of each model there, in 32 and 16 bits, the latter also compiled?

A step is timed as the difference between a longer and a shorter part of one training, so that what is done once, as compiling,
does not count; that is told apart. Without a device it says so and measures nothing.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import process
from benchmarks.harness import Claim, Options, Runs, at_most, finish, low_median_high, run_rounds, shown_spread

BATCH, ROWS, COLUMNS = 500, 20_000, 12
STEPS = {"on the CPU": (5, 20)}  # of the part that is not timed, and of the part that is
STEPS_THERE = (100, 400)
HOW: dict[str, dict[str, Any]] = {
    "on the CPU": {},
    "float32": {"device": "cuda"},
    "bfloat16": {"device": "cuda", "precision": "bfloat16"},
    "bfloat16, compiled": {"device": "cuda", "precision": "bfloat16", "compile": True},
}
KINDS = ("TableAutoregressor", "TableVAE", "TableGAN", "ImageGAN")


def run(options: Options) -> int:
    if not torch.cuda.is_available():
        print(f"skipped: no CUDA device is there (torch {torch.__version__}); nothing was measured")
        return 0
    arms = {
        f"{kind}, {how}": partial(process.in_own_process, timed, kind=kind, how=how) for kind in KINDS for how in HOW
    }
    runs = run_rounds(arms, options.repeats)
    names = ("step_ms", "first_s")
    summary = [
        {"arm": arm} | {k: v for name in names for k, v in low_median_high(runs.values(arm, name), name).items()}
        for arm in arms
    ]
    screen = [
        {
            "what": row["arm"],
            "ms a step": shown_spread(row, "step_ms"),
            "seconds before the first steps are done": shown_spread(row, "first_s", digits=1),
        }
        for row in summary
    ]
    return finish("synth_gpu", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    return [
        at_most(
            f"{kind}, {how}: a step, of one on the CPU",
            runs.ratio(f"{kind}, {how}", f"{kind}, on the CPU", "step_ms"),
            1,
        )
        for kind in KINDS
        for how in HOW
        if how != "on the CPU"
    ]


def timed(*, kind: str, how: str) -> dict[str, Any]:
    first, more = STEPS.get(how, STEPS_THERE)
    times = {0: time.perf_counter()}

    def look(model: Any, step: int) -> None:
        if step in (first, first + more):
            if model.device != "cpu":
                torch.cuda.synchronize()
            times[step] = time.perf_counter()

    model, rows = MAKERS[kind](batch_size=BATCH, max_steps=first + more, **HOW[how])
    times[0] = time.perf_counter()
    model.fit(rows, callback=look)
    losses = [value for row in model.history for value in row.values()]
    problems = (
        [] if len(model.history) == first + more and np.isfinite(losses).all() else ["losses that are no numbers"]
    )
    problems += [] if len(model.sample(100)) == 100 else ["other rows than were asked for"]
    return {
        "step_ms": 1e3 * (times[first + more] - times[first]) / more,
        "first_s": times[first] - times[0],
        "problems": problems,
        "device": "cpu" if model.device == "cpu" else torch.cuda.get_device_name(),
    }


def table() -> Any:
    """Half numbers, half categories, each leaning on the one before."""
    import polars as pl

    random = np.random.default_rng(0)
    hidden = random.normal(size=(ROWS, COLUMNS)).cumsum(axis=1)
    numbers = {f"number {k}": hidden[:, k] for k in range(0, COLUMNS, 2)}
    codes = {
        f"category {k}": np.floor(hidden[:, k] * 3).clip(-20, 20).astype(int).astype(str) for k in range(1, COLUMNS, 2)
    }
    return pl.DataFrame(numbers | codes)


def images() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [rows, 32, 32, 3] and classes."""
    labels = np.arange(ROWS) % 10
    pixels = np.random.default_rng(0).integers(0, 50, (ROWS, 32, 32, 3)) + 20 * labels[:, None, None, None]
    return pixels.astype(np.uint8), labels


def of_table(kind: str, **options: Any) -> tuple[Any, Any]:
    from fastload import synth

    rest = {} if kind == "TableGAN" else {"validation_share": 0}
    return getattr(synth, kind)(**options, **rest), table()


def of_images(**options: Any) -> tuple[Any, Any]:
    from fastload.synth import ImageGAN

    return ImageGAN("dcgan", classes=10, **options), images()


MAKERS = {kind: partial(of_table, kind) for kind in KINDS[:3]} | {"ImageGAN": of_images}
