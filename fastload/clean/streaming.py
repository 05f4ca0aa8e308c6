"""Plans over files: in batches, larger than memory, within a memory limit.

A step that learns, or surveys, costs a pass over the rows as the steps before it leave them; one more pass cleans and writes.
What is held between batches: a sample of rows for medians and fences (all rows while they fit), the hashes of rows where
duplicates are sought (on disk where they would not fit), and one batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from fastload.clean.files import Sink, Source, open_table, writer_bytes, writing
from fastload.clean.frames import pl
from fastload.clean.missing import MarkMissing
from fastload.clean.plan import CleanReport, Plan
from fastload.clean.step import (
    DEFAULT_MEMORY_BYTES,
    Collector,
    Step,
    StepReport,
    Work,
    check_rows_left,
    collect,
)
from fastload.clean.types import RepairTypes
from fastload.errors import ArgumentError, EmptyError

MIN_MEMORY_BYTES = 64 << 20  # below, what reading a file takes in any case would exceed it
BATCH_SHARE = 32  # of the limit is one batch, of which several copies are alive at a time
HELD_SHARE = 8  # of the limit is what one step holds between batches


def clean_file(
    source: Any,
    destination: str | os.PathLike[str] | None,
    plan: Plan,
    *,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    overwrite: bool = False,
) -> CleanReport:
    """Cleans a table in files, in batches.

    Steps that have not learned yet learn from this table and stay fitted; fitted ones are applied as they are. Cells of a CSV are
    text: where the plan does not repair types, `MarkMissing` and `RepairTypes` are put at its head, and so are part of it from then
    on.

    Parameters
    ----------
    source : path, Dataset or table
        csv, parquet, arrow, a fastload data set; columns of a float vector field are called "field[0]" and so on.
    destination : path or None
        By its suffix csv, parquet, arrow or (.fl) a data set; None: nothing is written, the report says what would be. It appears
        when it is whole, and not at all if cleaning fails.
    plan : Plan
    memory_bytes : int
        What reading and cleaning may hold beyond what the interpreter and its libraries do; at least 64 MiB, 128 MiB more to read
        a CSV, 32 and 48 MiB more to read and to write a data set (whose mapped files are not counted). Medians and fences are
        exact while an eighth of it holds the columns, and those of a random sample of that size beyond.
    overwrite : bool

    Returns
    -------
    CleanReport

    Raises
    ------
    IngestError, ExistsError, ArgumentError, EmptyError, UnknownFieldError, DtypeError, DiskFullError

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastload.clean import DropMissing
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.csv").write_text("x,y\\n1,2\\n?,4\\n")
    >>> report = clean_file(folder / "a.csv", folder / "b.csv", Plan([DropMissing()]))
    >>> report.rows_out, (folder / "b.csv").read_text()
    (1, 'x,y\\n1,2\\n')
    """
    opened = open_table(source)
    target = None if destination is None else Path(destination)
    held_bytes = usable_bytes(memory_bytes, opened.reader_bytes + (0 if target is None else writer_bytes(target)))
    if opened.is_text and not any(isinstance(step, RepairTypes) for step in plan.steps):
        plan.steps[:0] = [MarkMissing(), RepairTypes()]
        plan.comments[:0] = ["", "cells of a CSV are text"]
    writer = nullcontext() if target is None else writing(target, opened.vectors, overwrite=overwrite)
    with writer as sink:
        return _run(plan, opened, held_bytes, sink)


def usable_bytes(memory_bytes: int, taken_bytes: int) -> int:
    """What is left of a memory limit beside what reading and writing take in any case.

    Raises
    ------
    ArgumentError
        Too little to work with.
    """
    least = MIN_MEMORY_BYTES + taken_bytes
    if memory_bytes < least:
        raise ArgumentError(
            f"memory_bytes must be at least {least} ({least >> 20} MiB) for these files, got {memory_bytes}"
        )
    return memory_bytes - taken_bytes


def _run(plan: Plan, source: Source, memory_bytes: int, sink: Sink | None) -> CleanReport:
    surveys: list[Collector | None] = []
    for place, step in enumerate(plan.steps):
        before = list(zip(plan.steps[:place], surveys, strict=True))
        held_bytes = memory_bytes // HELD_SHARE
        if step.learns and not step.is_fitted:
            collect(step._learn(held_bytes), _checked(step, cleaned(source, before, memory_bytes)))
        surveys.append(step._survey(held_bytes) if step.surveys else None)
        if step.surveys:
            collect(surveys[-1], _checked(step, cleaned(source, before, memory_bytes)))
    reports = [StepReport(step.kind()) for step in plan.steps]
    rows_in = rows_out = columns_in = columns_out = 0
    for given, frame in _passing(source, list(zip(plan.steps, surveys, strict=True)), reports, memory_bytes):
        rows_in, rows_out = rows_in + given[0], rows_out + len(frame)
        columns_in, columns_out = given[1], frame.width
        if sink is not None and len(frame):
            sink.write(frame)
    for report in reports:
        check_rows_left(report)
    if not rows_out:
        raise EmptyError(f"a table to clean must hold at least one row; {source.name} has none")
    return CleanReport(rows_in, rows_out, columns_in, columns_out, tuple(reports))


def _checked(step: Step, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    first = next(frames, None)
    if first is None:
        return iter(())
    step._check(first)
    return chain([first], frames)


def cleaned(source: Source, steps: list[tuple[Step, Collector | None]], memory_bytes: int) -> Iterator[pl.DataFrame]:
    """The table as these steps, each with its finished survey, leave it; batches without rows are left out."""
    reports = [StepReport(step.kind()) for step, _ in steps]
    for _, frame in _passing(source, steps, reports, memory_bytes):
        if len(frame):
            yield frame
    for report in reports:
        check_rows_left(report)


def _passing(
    source: Source, steps: list[tuple[Step, Collector | None]], reports: list[StepReport], memory_bytes: int
) -> Iterator[tuple[tuple[int, int], pl.DataFrame]]:
    applies = [step.begin(survey) for step, survey in steps]
    row = 0
    for frame in source.batches(memory_bytes // BATCH_SHARE):
        given, work = frame.shape, Work(len(frame), row)
        row += given[0]
        for (step, _), apply, report in zip(steps, applies, reports, strict=True):
            frame = step.apply_to(frame, work, report, apply)
        yield given, frame
