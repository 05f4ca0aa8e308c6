"""Outlying numbers, by fences that the training data set; and outlying rows, by an isolation forest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastload.clean.frames import as_floats, check_columns, chosen, numeric_columns, pl
from fastload.clean.sample import QUARTILES, Moments, Sample, quantiles
from fastload.clean.step import DEFAULT_MEMORY_BYTES, Apply, Step, Work, add_flags
from fastload.errors import ArgumentError, DtypeError, EmptyError, MissingExtraError

METHODS = {"iqr": 1.5, "z-score": 3.0, "mad": 3.5}  # and their usual thresholds
ACTIONS = ("drop", "clip", "flag", "missing")
MAD_TO_STD = 1.4826  # a normal distribution's deviation, in units of its median absolute deviation


def fences(column: pl.Series, method: str, threshold: float) -> tuple[float, float] | None:
    """Below the first and above the second a value is an outlier; None where the column has no spread.

    "iqr": `threshold` interquartile ranges beyond the quartiles (Tukey, "Exploratory data analysis", 1977); "z-score": standard
    deviations from the mean; "mad": median absolute deviations, scaled to be standard deviations of a normal distribution, from
    the median (Iglewicz and Hoaglin, "How to detect and handle outliers", 1993).

    >>> fences(pl.Series([1.0, 2.0, 3.0, 4.0, 100.0]), "iqr", 1.5)
    (-1.0, 7.0)
    """
    if method == "z-score":
        moments = Moments([column.name])
        moments.add(column.to_frame())
        center, spread = moments.mean[column.name], moments.std(column.name)
        low = high = center
    else:
        found = quantiles(column, QUARTILES)
        if found is None or not all(map(math.isfinite, found)):
            return None
        low, center, high = found
        spread = high - low
        if method == "mad":
            apart = (column.cast(pl.Float64) - center).abs()
            low = high = center
            spread = MAD_TO_STD * quantiles(apart, (0.5,))[0]
    return (low - threshold * spread, high + threshold * spread) if spread > 0 and math.isfinite(spread) else None


def outside(frame: pl.DataFrame, name: str, low: float, high: float) -> pl.Expr:
    """True where a value lies outside; what is missing does not."""
    column = pl.col(name)
    beyond = (column < low) | (column > high)
    if frame.schema[name].is_float():
        beyond = beyond & column.is_not_nan()  # to polars NaN is larger than any number
    return beyond.fill_null(False) if frame[name].null_count() else beyond


class Outliers(Step):
    """Values that lie far from the others of their column.

    Missing values are no outliers; infinite ones are. A column without spread (constant, or half of it one value, by "iqr" and
    "mad") has no outliers.

    Parameters
    ----------
    method : "iqr", "z-score" or "mad"
        See `fences`.
    threshold : float, optional
        How far out; 1.5, 3 and 3.5 by default.
    action : "drop", "clip", "flag" or "missing"
        Drop the row; move the value to the fence (whole numbers stay whole); add ``<name>_outlier``, true or false; make it null.
    columns : sequence of str, optional
        Columns of numbers; all of them by default.

    Attributes
    ----------
    low_, high_ : {column: fence}

    Examples
    --------
    >>> Outliers(action="clip").fit_transform({"a": [1.0, 2.0, 3.0, 4.0, 100.0]})["a"].tolist()
    [1.0, 2.0, 3.0, 4.0, 7.0]
    """

    _LEARNED = ("low_", "high_")

    def __init__(
        self,
        method: str = "iqr",
        *,
        threshold: float | None = None,
        action: str = "drop",
        columns: Sequence[str] | None = None,
    ) -> None:
        if method not in METHODS:
            raise ArgumentError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if action not in ACTIONS:
            raise ArgumentError(f"action must be one of {', '.join(ACTIONS)}, got {action!r}")
        if threshold is not None and not threshold > 0:
            raise ArgumentError(f"threshold must be positive, got {threshold!r}")
        self.method, self.threshold, self.action, self.columns = method, threshold, action, columns

    def names(self, frame: pl.DataFrame) -> list[str]:
        return chosen(frame, self.columns, numeric_columns, "numbers")

    def _check(self, frame: pl.DataFrame) -> None:
        self.names(frame)

    def _learn(self, memory_bytes: int | None) -> _LearnFences:
        return _LearnFences(self, memory_bytes)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        check_columns(frame, self.low_)
        for name in self.low_:
            if not frame.schema[name].is_numeric():
                raise DtypeError(
                    f"column {name!r} must hold numbers, it holds {frame.schema[name]}; repair its type before"
                )
        if self.columns is not None:
            for name in self.columns:
                if name not in self.low_:
                    work.report.note(f"{name} has no spread, so it has no outliers")
        if not self.low_:
            return frame
        names = list(self.low_)
        out = frame.select(outside(frame, n, self.low_[n], self.high_[n]).alias(n) for n in names)
        if self.action == "drop":
            kept = out.select(~pl.any_horizontal(pl.all())).to_series()
            return work.keep(frame, kept, f"outside the {self.method} fences")
        if self.action == "flag":
            return add_flags(frame, {f"{n}_outlier": out[n] for n in names})
        changes = []
        for name in names:
            count = int(out[name].sum())
            if count:
                work.report.changed(name, count)
                work.example(frame, out[name], name=name)
                changes.append(self._changed(frame, name, out[name]))
        return frame.with_columns(changes) if changes else frame

    def _changed(self, frame: pl.DataFrame, name: str, outlying: pl.Series) -> pl.Expr:
        column = pl.col(name)
        if self.action == "missing":
            return pl.when(outlying).then(None).otherwise(column).alias(name)
        low, high = self.low_[name], self.high_[name]
        if frame.schema[name].is_integer():
            low, high = math.ceil(low), math.floor(high)
        clipped = pl.when(column < low).then(low).otherwise(high).cast(frame.schema[name])
        return pl.when(outlying).then(clipped).otherwise(column).alias(name)


class _LearnFences:
    def __init__(self, step: Outliers, memory_bytes: int | None) -> None:
        self._step, self._names = step, []
        self._threshold = METHODS[step.method] if step.threshold is None else step.threshold
        self._moments: Moments | None = None
        self._sample = None if step.method == "z-score" else Sample(memory_bytes)

    def add(self, frame: pl.DataFrame) -> None:
        self._names = self._step.names(frame)
        if self._sample is not None:
            self._sample.add(frame[self._names])
        else:
            self._moments = self._moments or Moments(self._names)
            self._moments.add(frame)

    def finish(self) -> None:
        found = {name: self._fences(name) for name in self._names}
        self._step.low_ = {name: f[0] for name, f in found.items() if f is not None}
        self._step.high_ = {name: f[1] for name, f in found.items() if f is not None}

    def _fences(self, name: str) -> tuple[float, float] | None:
        if self._sample is not None:
            return fences(self._sample.column(name), self._step.method, self._threshold)
        spread = self._threshold * self._moments.std(name)
        mean = self._moments.mean[name]
        return (mean - spread, mean + spread) if spread > 0 and math.isfinite(spread) else None


class IsolatedRows(Step):
    """Rows that stand alone when all columns are taken together, by scikit-learn's isolation forest.

    After Liu, Ting and Zhou, "Isolation forest" (ICDM 2008). The forest is grown over a random choice of the training rows, and
    it is these that are kept (a forest is no plain data): the same rows, seed and scikit-learn give the same forest. A row's
    missing and infinite values are judged as the column's median.

    Parameters
    ----------
    share : float
        Of the rows: so many are expected to be outliers.
    action : "drop" or "flag"
        Drop them, or add a column ``isolated``, true or false.
    columns : sequence of str, optional
        Columns of numbers; all of them by default.
    max_rows : int
        Rows that the forest is grown over.
    random_state : int

    Attributes
    ----------
    columns_ : list of str; medians_ : list of float; rows_ : list of lists of float; cut_ : float
        Rows with a lower score are outliers.

    Raises
    ------
    EmptyError
        The table has no column of numbers.

    Examples
    --------
    >>> x = np.append(np.random.default_rng(0).normal(size=199), 50.0)
    >>> len(IsolatedRows(share=0.005).fit_transform({"a": x, "b": x})["a"])
    199
    """

    _LEARNED = ("columns_", "medians_", "rows_", "cut_")

    def __init__(
        self,
        *,
        share: float = 0.01,
        action: str = "drop",
        columns: Sequence[str] | None = None,
        max_rows: int = 1024,
        random_state: int = 0,
    ) -> None:
        if not 0 < share < 0.5:
            raise ArgumentError(f"share must be between 0 and 0.5, got {share!r}")
        if action not in ("drop", "flag"):
            raise ArgumentError(f"action must be drop or flag, got {action!r}")
        if max_rows < 16:
            raise ArgumentError(f"max_rows must be 16 at least, got {max_rows!r}")
        self.share, self.action, self.columns = share, action, columns
        self.max_rows, self.random_state = max_rows, random_state

    def _check(self, frame: pl.DataFrame) -> None:
        if not chosen(frame, self.columns, numeric_columns, "numbers"):
            raise EmptyError("an isolation forest needs a column of numbers, the table has none")

    def _learn(self, memory_bytes: int | None) -> _LearnForest:
        return _LearnForest(self, memory_bytes)

    def begin(self, survey: None) -> Apply:
        super().begin(survey)
        forest = _forest(self)

        def apply(frame: pl.DataFrame, work: Work) -> pl.DataFrame:
            chosen(frame, self.columns_, numeric_columns, "numbers")
            values, gaps = matrix(frame, self.columns_, self.medians_)
            work.report.count_note("missing or infinite cells were judged as medians", gaps)
            isolated = pl.Series(forest.score_samples(values) < self.cut_)
            if self.action == "flag":
                return add_flags(frame, {"isolated": isolated})
            return work.keep(frame, ~isolated, "stands alone")

        return apply


class _LearnForest:
    def __init__(self, step: IsolatedRows, memory_bytes: int | None) -> None:
        self._step = step
        self._sample = Sample(DEFAULT_MEMORY_BYTES if memory_bytes is None else memory_bytes, step.random_state)

    def add(self, frame: pl.DataFrame) -> None:
        self._step._check(frame)
        self._sample.add(frame.select(chosen(frame, self._step.columns, numeric_columns, "numbers")))

    def finish(self) -> None:
        step, frame = self._step, self._sample.frame
        step.columns_ = frame.columns
        medians = [quantiles(frame[name].cast(pl.Float64), (0.5,)) for name in frame.columns]
        step.medians_ = [0.0 if m is None or not math.isfinite(m[0]) else m[0] for m in medians]
        values, _ = matrix(frame, step.columns_, step.medians_)
        rows = np.random.default_rng(step.random_state).permutation(len(values))
        step.rows_ = values[np.sort(rows[: step.max_rows])].tolist()
        judged = values[rows[: 16 * step.max_rows]]
        step.cut_ = float(np.quantile(_forest(step).score_samples(judged), step.share))


def matrix(frame: pl.DataFrame, names: Sequence[str], fill: Sequence[float]) -> tuple[np.ndarray, int]:
    """Columns as float64 [rows, columns], with `fill` for what is missing or infinite, and how many cells that was."""
    values = np.column_stack([as_floats(frame[name]) for name in names])
    bad = ~np.isfinite(values)
    return np.where(bad, np.asarray(fill), values), int(bad.sum())


def _forest(step: IsolatedRows) -> Any:
    try:
        from sklearn.ensemble import IsolationForest
    except ImportError:
        raise MissingExtraError("scikit-learn", extra="clean") from None
    return IsolationForest(random_state=step.random_state).fit(np.asarray(step.rows_))
