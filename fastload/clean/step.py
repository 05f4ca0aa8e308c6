"""What all cleaning steps have in common: fit, transform, a dry run, a report, and plain data to save."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fastload.clean.frames import pl, to_frame
from fastload.errors import ArgumentError, EmptyError, NotFittedError

EXAMPLES = 3
DEFAULT_MEMORY_BYTES = 1 << 30
_KINDS: dict[str, type[Step]] = {}


@dataclass
class StepReport:
    """What one step did, or would do.

    rows_in, rows_out : rows before and after it.
    cells : {column: cells that it changed}.
    columns_dropped, columns_added : names.
    examples : (row number in the table that was given, column or "", what was found there), the first few.
    notes : what else is worth knowing, a sentence each.
    """

    step: str
    rows_in: int = 0
    rows_out: int = 0
    cells: dict[str, int] = field(default_factory=dict)
    columns_dropped: list[str] = field(default_factory=list)
    columns_added: list[str] = field(default_factory=list)
    examples: list[tuple[int, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rows_dropped(self) -> int:
        return self.rows_in - self.rows_out

    def changed(self, name: str, count: int) -> None:
        if count:
            self.cells[name] = self.cells.get(name, 0) + int(count)

    def count_note(self, text: str, count: int) -> None:
        """A note that begins with a count, which grows from batch to batch."""
        if count:
            before = [note for note in self.notes if note.endswith(text)]
            total = count + sum(int(note.split(" ", 1)[0].replace(",", "")) for note in before)
            self.notes = [note for note in self.notes if note not in before] + [f"{total:,} {text}"]

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def dropped(self, names: list[str]) -> None:
        self.columns_dropped = list(dict.fromkeys([*self.columns_dropped, *names]))

    def added(self, names: list[str]) -> None:
        self.columns_added = list(dict.fromkeys([*self.columns_added, *names]))

    def __str__(self) -> str:
        parts = []
        if self.rows_dropped:
            parts.append(f"{self.rows_dropped:,} of {self.rows_in:,} rows dropped")
        if self.cells:
            names = ", ".join(f"{name} {count:,}" for name, count in list(self.cells.items())[:6])
            more = f" and {len(self.cells) - 6} more columns" if len(self.cells) > 6 else ""
            total = sum(self.cells.values())
            parts.append(f"{total:,} cell{'' if total == 1 else 's'} changed ({names}{more})")
        for what, columns in (("dropped", self.columns_dropped), ("added", self.columns_added)):
            if columns:
                parts.append(f"{what} {', '.join(columns)}")
        lines = [f"{self.step}: {'; '.join(parts) or 'nothing to do'}"]
        lines += [f"  row {row:,}{f', {name}' if name else ''}: {found}" for row, name, found in self.examples]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


class Work:
    """One batch on its way through steps: its rows' numbers, and the report of the step at work."""

    def __init__(self, num_rows: int, first_row: int = 0) -> None:
        self.first_row, self._num_rows = first_row, num_rows
        self._keeps: list[pl.Series] = []
        self.report = StepReport("")

    def keep(self, frame: pl.DataFrame, kept: pl.Series, why: str, name: str = "") -> pl.DataFrame:
        """The rows where `kept` is True; the others are counted, the first of them are kept as examples."""
        if kept.all():
            return frame
        self.example(frame, ~kept, why, name)
        out = frame.filter(kept)
        self._keeps.append(kept)
        return out

    def example(self, frame: pl.DataFrame, found: pl.Series, why: str = "", name: str = "") -> None:
        """Remember the first rows where `found` is True; without `why`, what column `name` holds there."""
        if len(self.report.examples) >= EXAMPLES:
            return
        places = found.arg_true()[: EXAMPLES - len(self.report.examples)].to_list()
        if places:
            numbers = self.rows if self._keeps else range(self.first_row, self.first_row + self._num_rows)
            shown = [why or repr(frame[name][place]) for place in places]
            self.report.examples += [(int(numbers[p]), name, text) for p, text in zip(places, shown, strict=True)]

    @property
    def rows(self) -> np.ndarray:
        """Numbers of the rows that are left, in the table that was given."""
        rows = pl.Series(np.arange(self.first_row, self.first_row + self._num_rows))
        for kept in self._keeps:
            rows = rows.filter(kept)
        return rows.to_numpy()


class Collector(Protocol):
    """Looks at all rows of a table, a batch at a time."""

    def add(self, frame: pl.DataFrame) -> None: ...

    def finish(self) -> None: ...


Apply = Callable[[pl.DataFrame, Work], pl.DataFrame]


class Step:
    """Cleans one thing. Subclasses say how in `_apply`, and what they learn in `_learn` or what they look for in `_survey`.

    Parameters are attributes of the same names; what is learned are attributes that end in an underscore, plain data
    (numbers, texts, lists and dicts of them) named in `_LEARNED`. A step that learns looks at the training data once; one that
    surveys looks at any data before it changes them (a duplicate is one only beside its twin).
    """

    _LEARNED: tuple[str, ...] = ()
    surveys = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            _KINDS[cls.kind()] = cls

    @classmethod
    def kind(cls) -> str:
        """The step's name in a plan: DropMissing is "drop_missing"."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")

    @property
    def learns(self) -> bool:
        return bool(self._LEARNED)

    @property
    def is_fitted(self) -> bool:
        return all(hasattr(self, name) for name in self._LEARNED)

    # --- for users ----------------------------------------------------------------------------------

    def fit(self, table: Any) -> Step:
        """Learns what the step needs to know of the training data.

        Parameters
        ----------
        table : polars or pandas frame, pyarrow Table, dict of arrays [rows], or array [rows, columns]

        Raises
        ------
        UnknownFieldError, DtypeError, ArgumentError
        EmptyError
            There is no row to learn from.
        """
        frame = to_frame(table).frame
        self._check(frame)
        if self.learns:
            if not len(frame):
                raise EmptyError(f"{self.kind()} learns from rows; the table has none")
            collect(self._learn(None), iter([frame]))
        return self

    def transform(self, table: Any) -> Any:
        """The cleaned table, of the kind that was given; `report_` says what was done.

        Raises
        ------
        NotFittedError, UnknownFieldError, DtypeError
        EmptyError
            No row, or no column, would be left.
        """
        handed = to_frame(table)
        frame, report, work = self._run(handed.frame)
        check_rows_left(report)
        self.report_ = report
        return handed.back(frame, work.rows if report.rows_dropped else None)

    def fit_transform(self, table: Any) -> Any:
        return self.fit(table).transform(table)

    def dry_run(self, table: Any) -> StepReport:
        """What `transform` would do, without doing it; a step that is not fitted yet is fitted to this table for it."""
        step = copy.copy(self)
        frame = to_frame(table).frame
        if not step.is_fitted:
            step.fit(frame)
        return step._run(frame)[1]

    def _run(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, StepReport, Work]:
        report, work = StepReport(self.kind()), Work(len(frame))
        out = self.apply_to(frame, work, report, self.begin(None))
        return out, report, work

    # --- for plans ----------------------------------------------------------------------------------

    def apply_to(self, frame: pl.DataFrame, work: Work, report: StepReport, apply: Apply) -> pl.DataFrame:
        """One batch through `apply`, which `begin` gave; counted in `report`."""
        work.report = report
        before = set(frame.columns)
        out = apply(frame, work)
        if before and not out.width:
            raise EmptyError(f"{report.step} would leave none of {len(before)} columns; name those that may go")
        report.rows_in += len(frame)
        report.rows_out += len(out)
        report.dropped([name for name in frame.columns if name not in out.columns])
        report.added([name for name in out.columns if name not in before])
        return out

    def begin(self, survey: Collector | None) -> Apply:
        """What to call for each batch of one pass. survey : what `_survey` gave, finished; None: the batch is the whole table."""
        if not self.is_fitted:
            raise NotFittedError(f"{self.kind()} has not learned {self._LEARNED[0][:-1]} yet: fit it first")
        return self._apply

    def _check(self, frame: pl.DataFrame) -> None:
        """Raise where the parameters do not fit the table."""

    def _learn(self, memory_bytes: int | None) -> Collector:
        raise NotImplementedError

    def _survey(self, memory_bytes: int | None) -> Collector:
        raise NotImplementedError

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        raise NotImplementedError

    # --- plain data ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Kind, parameters that differ from their defaults, and what was learned; see `step_from_dict`."""
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        given = {name: getattr(self, name) for name in defaults}
        state = {"kind": self.kind(), **{name: _plain(v) for name, v in given.items() if v != defaults[name]}}
        if self.learns and self.is_fitted:
            state["learned"] = {name[:-1]: _plain(getattr(self, name)) for name in self._LEARNED}
        return state

    def __repr__(self) -> str:
        given = {k: v for k, v in self.to_dict().items() if k not in ("kind", "learned")}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in given.items())})"


def step_from_dict(state: Any) -> Step:
    """The step that `to_dict` gave this of.

    Raises
    ------
    ArgumentError
        It is something else, or names what the step does not have.

    Examples
    --------
    >>> from fastload.clean import DropMissing
    >>> step_from_dict(DropMissing(columns=["a"]).to_dict())
    DropMissing(columns=['a'])
    """
    if not isinstance(state, dict) or state.get("kind") not in _KINDS:
        found = state.get("kind") if isinstance(state, dict) else state
        raise ArgumentError(f"the kind of a step must be one of {', '.join(sorted(_KINDS))}; got {found!r}")
    kind = _KINDS[state["kind"]]
    given = {name: value for name, value in state.items() if name not in ("kind", "learned")}
    unknown = set(given) - set(inspect.signature(kind).parameters)
    if unknown:
        known = ", ".join(inspect.signature(kind).parameters) or "none"
        raise ArgumentError(f"{state['kind']} has no parameter {min(unknown)!r}; it has {known}")
    try:
        step = kind(**given)
    except TypeError as error:
        raise ArgumentError(f"{state['kind']}: {error}") from None
    for name, value in state.get("learned", {}).items():
        if f"{name}_" not in kind._LEARNED:
            raise ArgumentError(f"{state['kind']} learns no {name!r}")
        setattr(step, f"{name}_", value)
    return step


def check_rows_left(report: StepReport) -> None:
    """EmptyError where a step left no row of those it was given."""
    if report.rows_in and not report.rows_out:
        raise EmptyError(f"{report.step} would leave none of {report.rows_in:,} rows; loosen it, see dry_run()")


def add_flags(frame: pl.DataFrame, flags: dict[str, pl.Series]) -> pl.DataFrame:
    """A table with columns of truth values more; ArgumentError where one has the name of a column."""
    for name in flags:
        if name in frame.columns:
            raise ArgumentError(f"there is a column {name!r} already: rename it, or leave the flag out")
    return frame.with_columns(values.alias(name) for name, values in flags.items())


def collect(collector: Collector, frames: Iterator[pl.DataFrame]) -> None:
    """Show all batches to a collector."""
    for frame in frames:
        collector.add(frame)
    collector.finish()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
