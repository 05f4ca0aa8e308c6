"""Conditions under which a check fails: "duplicates>1%", "missing:age>0"."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from fastload.clean.check import QualityReport
from fastload.errors import ArgumentError
from fastload.report.numbers import significant

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_GRAMMAR = re.compile(r"\s*([a-z_]+)\s*(?::\s*(.+?))?\s*(>=|<=|>|<)\s*([0-9.eE+-]+)\s*(%?)\s*\Z")


class Figure(NamedTuple):
    """A count of rows, cells or columns, and of how many; total 0 for a figure that is no count."""

    value: float
    total: int


def _rows(name: str) -> Callable[[QualityReport, str | None], Figure]:
    return lambda report, column: Figure(_told(report, name, getattr(report, name)), report.num_rows)


def _cells(count: Callable[..., int]) -> Callable[[QualityReport, str | None], Figure]:
    def figure(report: QualityReport, column: str | None) -> Figure:
        columns = report.columns if column is None else [report.column(column)]
        return Figure(sum(count(c) for c in columns), report.num_rows * len(columns))

    return figure


def _told(report: QualityReport, name: str, value: float | None) -> float:
    if value is None:
        raise ArgumentError(f"this report does not tell {name}; check the whole table for it")
    return value


def _drift(report: QualityReport, column: str | None) -> Figure:
    if report.against is None:
        raise ArgumentError("drift needs a table to compare with: --against OTHER")
    found = [d.psi for d in report.against.drifts if column in (None, d.name)]
    if column is not None and not found:
        raise ArgumentError(
            f"the drift of column {column!r} is not told; it is of {', '.join(d.name for d in report.against.drifts)}"
        )
    return Figure(max(found, default=0.0), 0)


def _leaked(report: QualityReport, column: str | None) -> Figure:
    if report.against is None:
        raise ArgumentError("leaked needs a table to compare with: --against OTHER")
    return Figure(report.against.leaked, report.against.num_rows)


def _label_noise(report: QualityReport, column: str | None) -> Figure:
    if report.label is None or not report.label.judged:
        raise ArgumentError("label_noise needs a label whose rows could be judged: --label COLUMN")
    return Figure(report.label.suspects, report.label.judged)


def _imbalance(report: QualityReport, column: str | None) -> Figure:
    if report.label is None or report.label.imbalance is None:
        raise ArgumentError("imbalance needs a label of two classes at least: --label COLUMN")
    return Figure(report.label.imbalance, 0)


FIGURES: dict[str, Callable[[QualityReport, str | None], Figure]] = {
    "missing": _cells(lambda c: c.num_missing),
    "outliers": _cells(lambda c: c.outliers.get("iqr", 0)),
    "misfits": _cells(lambda c: c.misfits),
    "impossible": _cells(lambda c: c.impossible),
    "infinite": _cells(lambda c: c.infinite),
    "suspected": _cells(lambda c: sum(c.suspected.values())),
    "rows_with_missing": _rows("rows_with_missing"),
    "duplicates": _rows("duplicates"),
    "near_duplicates": _rows("near_duplicates"),
    "constant_columns": lambda report, _: Figure(len(report.constant_columns), len(report.columns)),
    "duplicate_columns": lambda report, _: Figure(len(report.duplicate_columns), len(report.columns)),
    "leaked": _leaked,
    "drift": _drift,
    "label_noise": _label_noise,
    "imbalance": _imbalance,
}
OF_COLUMNS = ("missing", "outliers", "misfits", "impossible", "infinite", "suspected", "drift")


class Condition(NamedTuple):
    """NAME[:COLUMN] (> | >= | < | <=) NUMBER[%]; see ``FIGURES`` for the names."""

    text: str
    name: str
    column: str | None
    sign: str
    limit: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> Condition:
        """
        Raises
        ------
        ArgumentError
            The text is no condition; says what one looks like.

        Examples
        --------
        >>> Condition.parse("missing:age > 5%").limit
        0.05
        """
        match = _GRAMMAR.match(text)
        if not match:
            raise ArgumentError(f'a condition looks like "duplicates>1%" or "missing:age>0"; got {text!r}')
        name, column, sign, number, percent = match.groups()
        if name not in FIGURES:
            raise ArgumentError(f"a condition must be about one of {', '.join(FIGURES)}; got {name!r}")
        if column is not None and name not in OF_COLUMNS:
            raise ArgumentError(f"{name} is told of the table, not of a column; got {text!r}")
        try:
            limit = float(number)
        except ValueError:
            raise ArgumentError(f"a condition ends in a number or a percentage; got {text!r}") from None
        return cls(text.strip(), name, column, sign, limit / 100 if percent else limit, bool(percent))

    def failure(self, report: QualityReport) -> str | None:
        """Why the check fails by this condition; None where it does not.

        Raises
        ------
        ArgumentError, UnknownFieldError
            The report does not tell this figure.
        """
        value, total = FIGURES[self.name](report, self.column)
        if self.is_share and not total:
            raise ArgumentError(f"{self.name} is no share of anything: give a number without %; got {self.text!r}")
        found = value / total if self.is_share else value
        if not _OPERATORS[self.sign](found, self.limit):
            return None
        of = f" of {total:,}, {significant(100 * value / total)} %" if total else ""
        return f"{self.text}: found {f'{value:,}' if total else significant(value)}{of}"
