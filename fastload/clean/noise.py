"""Values that cannot be, by declared rules; and labels that the rows around them contradict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastload.clean.frames import check_columns, chosen, numeric_columns, pl
from fastload.clean.outliers import matrix
from fastload.clean.sample import Moments, Sample
from fastload.clean.step import DEFAULT_MEMORY_BYTES, Apply, Step, Work, add_flags
from fastload.clean.types import parsed
from fastload.errors import ArgumentError, DtypeError, EmptyError, MissingExtraError

RULES = ("low", "high", "allowed", "whole", "type")
TYPES = ("number", "text", "time", "bool")


def check_rules(rules: Any) -> None:
    """ArgumentError unless rules are {column: {"low", "high", "allowed", "whole", "type"}}."""
    if not isinstance(rules, Mapping) or not rules:
        raise ArgumentError(f"rules must be {{column: {{rule: value}}}}, got {rules!r}")
    for name, rule in rules.items():
        if not isinstance(rule, Mapping) or not rule or set(rule) - set(RULES):
            raise ArgumentError(f"the rules of column {name!r} must be some of {', '.join(RULES)}; got {rule!r}")
        low, high = rule.get("low"), rule.get("high")
        if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in (low, high) if v is not None):
            raise ArgumentError(f"low and high of column {name!r} must be numbers, got {low!r} and {high!r}")
        if low is not None and high is not None and low > high:
            raise ArgumentError(f"low of column {name!r} must not be above high, got {low!r} and {high!r}")
        if rule.get("type", TYPES[0]) not in TYPES:
            raise ArgumentError(f"the type of column {name!r} must be one of {', '.join(TYPES)}, got {rule['type']!r}")


def impossible(frame: pl.DataFrame, name: str, rule: Mapping[str, Any]) -> pl.Expr:
    """True where a cell breaks its rule. Missing cells break none; text that is no number breaks a rule of numbers."""
    dtype, column = frame.schema[name], pl.col(name)
    broken = [pl.lit(False)]
    wants_number = "low" in rule or "high" in rule or "whole" in rule or rule.get("type") == "number"
    if wants_number and dtype == pl.String:
        broken.append(parsed(column, "float64").is_null())
        column = parsed(column, "float64")
    elif wants_number and not dtype.is_numeric():
        return pl.col(name).is_not_null()
    if "low" in rule:
        broken.append(column < rule["low"])
    if "high" in rule:
        broken.append(column > rule["high"])
    if rule.get("whole"):
        broken.append(column.cast(pl.Float64) != column.cast(pl.Float64).round())
    if "allowed" in rule:
        broken.append(~_is_allowed(pl.col(name), dtype, rule["allowed"]))
    kinds = {"text": dtype == pl.String, "time": dtype.is_temporal(), "bool": dtype == pl.Boolean, "number": True}
    if not kinds[rule.get("type", "number")]:
        return pl.col(name).is_not_null()
    there = pl.col(name).is_not_null()
    if dtype.is_float():
        there = there & pl.col(name).is_not_nan()
    return there & pl.any_horizontal(*(b.fill_null(False) for b in broken))


def _is_allowed(column: pl.Expr, dtype: pl.DataType, allowed: Sequence[Any]) -> pl.Expr:
    if dtype == pl.String:
        return column.is_in([str(v) for v in allowed])
    if dtype.is_numeric():
        numbers = [v for v in allowed if isinstance(v, (int, float))]
        return column.cast(pl.Float64).is_in([float(v) for v in numbers])
    return column.is_in(list(allowed))


class ImpossibleValues(Step):
    """Values that break a declared rule.

    Parameters
    ----------
    rules : {column: rule}
        A rule is a dict of some of: ``low`` and ``high`` (bounds, themselves allowed), ``whole`` (numbers without fraction),
        ``allowed`` (the list of values), ``type`` ("number", "text", "time", "bool"). Text in a column that is ruled as numbers
        is possible only where it reads as a number.
    action : "missing", "drop" or "flag"
        Make the cell null, drop the row, or add ``<name>_impossible``, true or false.

    Raises
    ------
    UnknownFieldError, ArgumentError

    Examples
    --------
    >>> ImpossibleValues({"age": {"low": 0, "high": 120}}).transform({"age": [31.0, -4.0]})["age"].tolist()
    [31.0, nan]
    """

    def __init__(self, rules: Mapping[str, Mapping[str, Any]], *, action: str = "missing") -> None:
        check_rules(rules)
        if action not in ("missing", "drop", "flag"):
            raise ArgumentError(f"action must be missing, drop or flag, got {action!r}")
        self.rules, self.action = rules, action

    def _check(self, frame: pl.DataFrame) -> None:
        check_columns(frame, self.rules)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        self._check(frame)
        broken = frame.select(impossible(frame, name, rule).alias(name) for name, rule in self.rules.items())
        if self.action == "flag":
            return add_flags(frame, {f"{name}_impossible": broken[name] for name in broken.columns})
        for name in broken.columns:
            if self.action == "missing":
                work.report.changed(name, broken[name].sum())
            work.example(frame, broken[name], name=name)
        if self.action == "drop":
            return work.keep(frame, broken.select(~pl.any_horizontal(pl.all())).to_series(), "an impossible value")
        return frame.with_columns(
            pl.when(broken[n]).then(None).otherwise(pl.col(n)).alias(n) for n in broken.columns if broken[n].any()
        )


class LabelNoise(Step):
    """Rows whose label most of their neighbours do not share: probably labelled wrongly.

    Columns of numbers are standardised; of a row's `k_neighbors` nearest others (exact, by scikit-learn) at least
    `min_agreement` must have its label. Where classes overlap, and for classes so rare that they stand among others, right labels
    are suspected as well: look before you drop. Rows that miss a value, or have an infinite one, cannot be judged: they stay, and
    are counted.

    Looks at the data that are cleaned, not at other training data: nothing is learned.

    Parameters
    ----------
    label : str
    columns : sequence of str, optional
        Columns of numbers to measure distances by; by default all of them but the label.
    k_neighbors : int
    min_agreement : float
        Share of the neighbours.
    action : "flag" or "drop"
        Add ``<label>_suspect``, true or false, or drop the row.
    max_rows : int
        Neighbours are sought among so many rows at most, drawn at random.

    Raises
    ------
    UnknownFieldError, DtypeError, ArgumentError
        ArgumentError: one class only, or fewer rows than neighbours.

    Examples
    --------
    >>> x = np.append(np.linspace(0, 1, 20), np.linspace(9, 10, 20))
    >>> y = np.repeat(["a", "b"], 20)
    >>> y[3] = "b"
    >>> np.flatnonzero(LabelNoise("y").transform({"x": x, "y": y})["y_suspect"]).tolist()
    [3]
    """

    surveys = True

    def __init__(
        self,
        label: str,
        *,
        columns: Sequence[str] | None = None,
        k_neighbors: int = 10,
        min_agreement: float = 0.35,
        action: str = "flag",
        max_rows: int = 50_000,
    ) -> None:
        if action not in ("flag", "drop"):
            raise ArgumentError(f"action must be flag or drop, got {action!r}")
        if not 0 < min_agreement <= 1 or k_neighbors < 1:
            raise ArgumentError(
                f"min_agreement must be in (0, 1] and k_neighbors at least 1, got {min_agreement!r} and {k_neighbors!r}"
            )
        self.label, self.columns, self.k_neighbors = label, columns, k_neighbors
        self.min_agreement, self.action, self.max_rows = min_agreement, action, max_rows

    def names(self, frame: pl.DataFrame) -> list[str]:
        check_columns(frame, [self.label])
        names = chosen(frame, self.columns, numeric_columns, "numbers")
        names = [name for name in names if name != self.label]
        if not names:
            raise DtypeError("neighbours need a column of numbers beside the label, the table has none")
        return names

    def _check(self, frame: pl.DataFrame) -> None:
        self.names(frame)

    def _survey(self, memory_bytes: int | None) -> _Neighbours:
        return _Neighbours(self, memory_bytes)

    def begin(self, survey: _Neighbours | None) -> Apply:
        def apply(frame: pl.DataFrame, work: Work) -> pl.DataFrame:
            neighbours = survey
            if neighbours is None:
                neighbours = _Neighbours(self, None)
                neighbours.add(frame)
                neighbours.finish()
            suspect, judged = neighbours.suspects(frame)
            work.report.count_note("rows miss a value and were not judged", len(frame) - judged)
            if not neighbours.is_whole:
                work.report.note(f"neighbours were sought among {neighbours.num_rows:,} rows drawn at random")
            flags = pl.Series(suspect)
            if self.action == "drop":
                return work.keep(frame, ~flags, "its neighbours have other labels", self.label)
            work.example(frame, flags, name=self.label)
            return add_flags(frame, {f"{self.label}_suspect": flags})

        return apply


class _Neighbours:
    """The rows among which neighbours are sought, standardised."""

    def __init__(self, step: LabelNoise, memory_bytes: int | None) -> None:
        self._step = step
        self._sample = Sample(DEFAULT_MEMORY_BYTES if memory_bytes is None else memory_bytes)
        self._moments: Moments | None = None

    def add(self, frame: pl.DataFrame) -> None:
        names = self._step.names(frame)
        self._moments = self._moments or Moments(names)
        self._moments.add(frame)
        self._sample.add(frame.select([*names, self._step.label]))

    def finish(self) -> None:
        try:
            from sklearn.neighbors import NearestNeighbors
        except ImportError:
            raise MissingExtraError("scikit-learn", extra="clean") from None
        if self._moments is None:
            raise EmptyError("neighbours need rows, the table has none")
        step = self._step
        frame = self._sample.frame
        rows, usable = self._rows(frame)
        labels = frame[step.label].cast(pl.String).to_numpy()[usable]
        self.is_whole = self._sample.is_whole and len(rows) <= step.max_rows
        if len(rows) > step.max_rows:
            drawn = np.sort(np.random.default_rng(0).permutation(len(rows))[: step.max_rows])
            rows, labels = rows[drawn], labels[drawn]
        self.num_rows = len(rows)
        if len(rows) <= step.k_neighbors:
            raise ArgumentError(
                f"{step.k_neighbors} neighbours need more than {step.k_neighbors} rows without gaps, found {len(rows)}; "
                "lower k_neighbors, or fill what is missing before"
            )
        if len(set(labels.tolist())) < 2:
            raise ArgumentError(f"column {step.label!r} must have two classes at least, all rows are {labels[0]!r}")
        self._labels = labels
        self._search = NearestNeighbors(n_neighbors=step.k_neighbors + 1).fit(rows)
        del self._sample

    def _rows(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Standardised rows without gaps, and which rows of the frame these are."""
        names = self._step.names(frame)
        values, _ = matrix(frame, names, [np.nan] * len(names))
        center = np.array([self._moments.mean[name] for name in names])
        scale = np.array([self._moments.std(name) or 1.0 for name in names])
        usable = np.isfinite(values).all(axis=1) & frame[self._step.label].is_not_null().to_numpy()
        return (values[usable] - center) / scale, usable

    def suspects(self, frame: pl.DataFrame) -> tuple[np.ndarray, int]:
        """bool [rows], and how many rows could be judged."""
        step = self._step
        rows, usable = self._rows(frame)
        suspect = np.zeros(len(frame), bool)
        if len(rows):
            labels = frame[step.label].cast(pl.String).to_numpy()[usable]
            distances, places = self._search.kneighbors(rows)
            same = self._labels[places] == labels[:, None]
            itself = (distances[:, 0] == 0) & same[:, 0]  # the row itself, or its exact twin: no witness
            votes = np.where(itself[:, None], same[:, 1:], same[:, :-1])
            suspect[np.flatnonzero(usable)] = votes.mean(axis=1) < step.min_agreement
        return suspect, len(rows)
