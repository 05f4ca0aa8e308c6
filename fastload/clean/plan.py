"""Steps in order: fitted, saved as a TOML file that people can read and edit, applied to new data unchanged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastload.clean import toml
from fastload.clean.frames import pl, to_frame
from fastload.clean.step import Step, StepReport, Work, check_rows_left, collect, step_from_dict
from fastload.errors import ArgumentError, EmptyError, PlanError

VERSION = 1
HEAD = (
    "A plan for cleaning a table: its steps in order. Edit it as you like.\n"
    "What stands under [step.learned...] was learned from the training data and is applied to any data as it is. Delete it after "
    "changing a step: without it the step learns from the data it is given."
)


@dataclass(frozen=True)
class CleanReport:
    """What a plan did, or would do: rows before and after, and a StepReport a step. ``print(report)`` shows it."""

    rows_in: int
    rows_out: int
    columns_in: int
    columns_out: int
    steps: tuple[StepReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a script."""
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "columns_in": self.columns_in,
            "columns_out": self.columns_out,
            "steps": [{**vars(step), "examples": [list(e) for e in step.examples]} for step in self.steps],
        }

    def __str__(self) -> str:
        head = (
            f"{self.rows_in:,} rows x {self.columns_in:,} columns -> "
            f"{self.rows_out:,} rows x {self.columns_out:,} columns"
        )
        return "\n".join([head, *map(str, self.steps)])


class Plan:
    """Cleaning steps in order, each of which sees what those before it left.

    Parameters
    ----------
    steps : sequence of Step
    comments : sequence of str, optional
        Why each step is there; written above it.

    Examples
    --------
    >>> from fastload.clean import DropDuplicates, FillMissing, Plan
    >>> plan = Plan([DropDuplicates(), FillMissing("median")])
    >>> table = {"a": [1.0, 1.0, float("nan"), 4.0]}
    >>> plan.fit(table).transform(table)["a"].tolist()
    [1.0, 2.5, 4.0]
    >>> print(plan.report_)
    4 rows x 1 columns -> 3 rows x 1 columns
    drop_duplicates: 1 of 4 rows dropped
      row 1: equal to another row
    fill_missing: 1 cell changed (a 1)
    """

    def __init__(self, steps: Iterable[Step], comments: Sequence[str] | None = None) -> None:
        self.steps = list(steps)
        for step in self.steps:
            if not isinstance(step, Step):
                raise ArgumentError(f"a plan is made of steps, got {step!r:.80}")
        self.comments = list(comments) if comments is not None else [""] * len(self.steps)
        if len(self.comments) != len(self.steps):
            raise ArgumentError(f"comments must be one a step ({len(self.steps)}), got {len(self.comments)}")

    @property
    def is_fitted(self) -> bool:
        return all(step.is_fitted for step in self.steps)

    def fit(self, table: Any) -> Plan:
        """Fits every step to the table as the steps before it leave it, those that were fitted already too.

        Parameters
        ----------
        table : what `Step.fit` takes

        Raises
        ------
        EmptyError
            There is no row, or a step leaves none for the next.
        """
        self._through(to_frame(table).frame, refit=True)
        return self

    def transform(self, table: Any) -> Any:
        """The cleaned table, of the kind that was given; `report_` says what each step did.

        Raises
        ------
        NotFittedError, UnknownFieldError, DtypeError, EmptyError
        """
        handed = to_frame(table)
        frame, self.report_, work = self._through(handed.frame, refit=False)
        return handed.back(frame, work.rows if len(frame) < len(handed.frame) else None)

    def fit_transform(self, table: Any) -> Any:
        handed = to_frame(table)
        frame, self.report_, work = self._through(handed.frame, refit=True)
        return handed.back(frame, work.rows if len(frame) < len(handed.frame) else None)

    def dry_run(self, table: Any) -> CleanReport:
        """What `transform` would do; steps that are not fitted are fitted to this table for it, and only for it."""
        trial = Plan([step_from_dict(step.to_dict()) for step in self.steps])
        return trial._through(to_frame(table).frame, refit=False, fit_others=True)[1]

    def _through(
        self, frame: pl.DataFrame, *, refit: bool, fit_others: bool = False
    ) -> tuple[pl.DataFrame, CleanReport, Work]:
        given, work, reports = frame, Work(len(frame)), []
        for step in self.steps:
            if refit or (fit_others and not step.is_fitted):
                step._check(frame)
                if step.learns:
                    if not len(frame):
                        raise EmptyError(f"{step.kind()} learns from rows; the table has none")
                    collect(step._learn(None), iter([frame]))
            report = StepReport(step.kind())
            frame = step.apply_to(frame, work, report, step.begin(None))
            reports.append(report)
            check_rows_left(report)
        return frame, CleanReport(len(given), len(frame), given.width, frame.width, tuple(reports)), work

    # --- TOML ---------------------------------------------------------------------------------------

    def to_toml(self, head: str = "") -> str:
        """The plan as text, learned values included. head : what to say at the top, a comment."""
        text = toml.comment(f"{head}\n{HEAD}" if head else HEAD) + f"version = {VERSION}\n\n"
        return text + toml.tables("step", [(s.to_dict(), c) for s, c in zip(self.steps, self.comments, strict=True)])

    @classmethod
    def from_toml(cls, text: str) -> Plan:
        """The plan that `to_toml` wrote, edited or not.

        Raises
        ------
        PlanError
            It is no TOML, of another version, or a step has what it cannot have; says which step.
        """
        try:
            state = toml.loads(text)
        except ArgumentError as error:
            raise PlanError(f"a plan must be TOML; {error}") from None
        if state.get("version") != VERSION:
            raise PlanError(f"a plan must begin with: version = {VERSION}; found {state.get('version')!r}")
        unknown = set(state) - {"version", "step"}
        if unknown:
            raise PlanError(f"a plan holds version and [[step]]s only; found {min(unknown)!r}")
        steps = state.get("step", [])
        if not isinstance(steps, list) or not steps:
            raise PlanError("a plan must hold at least one [[step]]; found none")
        made = []
        for number, step in enumerate(steps, 1):
            try:
                made.append(step_from_dict(step))
            except ArgumentError as error:
                raise PlanError(f"step {number} of {len(steps)}: {error}") from None
        return cls(made)

    def save(self, path: str | os.PathLike[str], head: str = "") -> None:
        """Writes `to_toml` to a file; `load` reads it, anywhere."""
        Path(path).write_text(self.to_toml(head), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """A plan that was saved.

        Raises
        ------
        PlanError

        Examples
        --------
        >>> import tempfile
        >>> from fastload.clean import FillMissing
        >>> path = tempfile.mkdtemp() + "/plan.toml"
        >>> Plan([FillMissing("mean").fit({"a": [1.0, 3.0]})]).save(path)
        >>> Plan.load(path).transform({"a": [float("nan")]})["a"].tolist()
        [2.0]
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise PlanError(f"{str(path)!r} is no text: {error}") from None
        try:
            return cls.from_toml(text)
        except PlanError as error:
            raise PlanError(f"{str(path)!r}: {error}") from None

    def __repr__(self) -> str:
        return f"Plan([{', '.join(map(repr, self.steps))}])"
