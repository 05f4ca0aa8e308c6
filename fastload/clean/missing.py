"""Missing values: recognise them, drop what lacks too much, fill in, flag."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastload.clean.frames import all_columns, check_columns, chosen, numeric_columns, pl, text_columns
from fastload.clean.sample import Moments, Sample, quantiles
from fastload.clean.step import Step, StepReport, Work, add_flags
from fastload.clean.types import parsed
from fastload.errors import ArgumentError, DtypeError
from fastload.ingest.arrow import pa

MISSING_TEXTS = ("na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--", ".", "missing")
STRATEGIES = ("median", "mean", "most_frequent", "constant")


def is_missing(frame: pl.DataFrame, name: str) -> pl.Expr:
    """True where a cell is null or NaN."""
    column = pl.col(name)
    return column.is_null() | column.is_nan() if frame.schema[name].is_float() else column.is_null()


def count_missing(column: pl.Series) -> int:
    return column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)


class MarkMissing(Step):
    """What only means "missing" becomes null: NaN, blank text, words like NA or ?, and numbers that stand for nothing.

    Parameters
    ----------
    texts : sequence of str
        Words that mean missing, whatever their case and the white space around them.
    numbers : sequence of numbers, or {column: sequence}
        Numbers that mean missing, -999 say: in every column, or in these; also where they are written as text.
    infinite : bool
        Infinities, too.

    Raises
    ------
    UnknownFieldError, DtypeError
        numbers names a column that is not there, or holds no numbers.

    Examples
    --------
    >>> MarkMissing(numbers=[-999]).transform({"age": [31, -999], "town": ["Oslo", " ? "]})["town"].tolist()
    ['Oslo', None]
    """

    def __init__(
        self,
        *,
        texts: Sequence[str] = MISSING_TEXTS,
        numbers: Sequence[float] | Mapping[str, Sequence[float]] = (),
        infinite: bool = False,
    ) -> None:
        if isinstance(texts, str) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ArgumentError(f"texts must be a list of words, got {texts!r}; blank text is missing in any case")
        self.texts, self.numbers, self.infinite = texts, numbers, infinite

    def kinds(self, frame: pl.DataFrame, name: str) -> dict[str, pl.Expr]:
        """{kind: expression that is True where a cell is missing that way}; kinds exclude each other."""
        column, dtype = pl.col(name), frame.schema[name]
        found = {"null": column.is_null()}
        if dtype == pl.String:
            words = "|".join(map(re.escape, self.texts))
            found["blank"] = column.str.contains(r"^\s*$")
            if words:
                found["text"] = column.str.contains(rf"(?i)^\s*(?:{words})\s*$")
        if dtype.is_float():
            found["NaN"] = column.is_nan()
        numbers = self.numbers.get(name, ()) if isinstance(self.numbers, Mapping) else self.numbers
        if len(numbers) and dtype == pl.String:
            found["number"] = parsed(column, "float64").is_in([float(n) for n in numbers])
        elif len(numbers) and dtype.is_numeric():
            found["number"] = column.cast(pl.Float64).is_in([float(n) for n in numbers])
        return found

    def _check(self, frame: pl.DataFrame) -> None:
        if isinstance(self.numbers, Mapping):
            chosen(frame, self.numbers, lambda f: numeric_columns(f) + text_columns(f), "numbers")

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        self._check(frame)
        return self.mark(frame, work)

    def mark(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        """As `transform`, of any columns of the table."""
        found = {name: {k: e for k, e in self.kinds(frame, name).items() if k != "null"} for name in frame.columns}
        for name in frame.columns:
            if self.infinite and frame.schema[name].is_float():
                found[name]["infinite"] = pl.col(name).is_infinite()
        found = {name: kinds for name, kinds in found.items() if kinds}
        if not found:
            return frame
        marks = frame.select(
            pl.any_horizontal(*(expression.fill_null(False) for expression in kinds.values())).alias(name)
            for name, kinds in found.items()
        )
        changes = []
        for name in marks.columns:
            count = marks[name].sum()
            if count:
                work.report.changed(name, count)
                work.example(frame, marks[name], name=name)
                changes.append(pl.when(marks[name]).then(None).otherwise(pl.col(name)).alias(name))
        return frame.with_columns(changes) if changes else frame


class DropMissing(Step):
    """Drops rows that miss values.

    Parameters
    ----------
    columns : sequence of str, optional
        Those that count; all by default.
    max_share : float
        A row goes when more than this share of them is missing; 0 drops it for a single one.

    Examples
    --------
    >>> DropMissing().transform({"a": [1.0, float("nan")], "b": ["x", "y"]})["b"].tolist()
    ['x']
    """

    def __init__(self, *, columns: Sequence[str] | None = None, max_share: float = 0.0) -> None:
        _check_share("max_share", max_share)
        self.columns, self.max_share = columns, max_share

    def _check(self, frame: pl.DataFrame) -> None:
        chosen(frame, self.columns, all_columns, "values")

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        names = chosen(frame, self.columns, all_columns, "values")
        gaps = [name for name in names if frame.schema[name].is_float() or frame[name].null_count()]
        if not gaps:
            return frame
        if self.max_share == 0:
            kept = frame.select(pl.all_horizontal(~is_missing(frame, name) for name in gaps)).to_series()
        else:
            count = pl.sum_horizontal(is_missing(frame, name).cast(pl.Int32) for name in gaps)
            kept = frame.select(count <= self.max_share * len(names)).to_series()
        return work.keep(frame, kept, "a missing cell" if self.max_share == 0 else "too many missing cells")


class DropMissingColumns(Step):
    """Drops columns that miss more than a share of their values in the training data.

    Parameters
    ----------
    max_share : float
    columns : sequence of str, optional
        Those that may go; all by default.

    Attributes
    ----------
    columns_ : list of str
        Those that go; from later data, too, whatever these miss.

    Examples
    --------
    >>> list(DropMissingColumns(max_share=0.4).fit_transform({"a": [None, 1], "b": [1, 2]}))
    ['b']
    """

    _LEARNED = ("columns_",)

    def __init__(self, *, max_share: float = 0.5, columns: Sequence[str] | None = None) -> None:
        _check_share("max_share", max_share)
        self.max_share, self.columns = max_share, columns

    def _learn(self, memory_bytes: int | None) -> _CountMissing:
        return _CountMissing(self)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        return frame.drop(self.columns_, strict=False)


class _CountMissing:
    """Counts what is missing, for steps that learn which columns to treat."""

    def __init__(self, step: Any) -> None:
        self._step, self._rows, self._missing = step, 0, {}

    def add(self, frame: pl.DataFrame) -> None:
        self._rows += len(frame)
        for name in chosen(frame, self._step.columns, all_columns, "values"):
            self._missing[name] = self._missing.get(name, 0) + count_missing(frame[name])

    def finish(self) -> None:
        limit = self._step.max_share * self._rows
        self._step.columns_ = [name for name, count in self._missing.items() if count > limit]


class FlagMissing(Step):
    """Adds a column ``<name>_missing`` of truth values for every column that missed something in the training data.

    Parameters
    ----------
    columns : sequence of str, optional
        Those to flag, missing something or not.

    Attributes
    ----------
    columns_ : list of str

    Examples
    --------
    >>> FlagMissing().fit_transform({"a": [None, 1], "b": [1, 2]})["a_missing"].tolist()
    [True, False]
    """

    _LEARNED = ("columns_",)

    def __init__(self, *, columns: Sequence[str] | None = None) -> None:
        self.columns = columns
        self.max_share = -1.0 if columns is not None else 0.0

    def _learn(self, memory_bytes: int | None) -> _CountMissing:
        return _CountMissing(self)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        check_columns(frame, self.columns_)
        flags = frame.select(is_missing(frame, name).alias(name) for name in self.columns_)
        return add_flags(frame, {f"{name}_missing": flags[name] for name in self.columns_})


class FillMissing(Step):
    """Fills what is missing with what the training data had.

    Parameters
    ----------
    strategy : "median", "mean", "most_frequent" or "constant"
        Median and mean are for numbers; of most frequent values, the smallest where several are.
    columns : sequence of str, optional
        By default all columns of numbers; all columns for "most_frequent"; for "constant", those of the constant's kind.
    value : number, text or bool
        For "constant".

    Attributes
    ----------
    values_ : {column: value}
        A column that has no value at all has none to fill in; it stays as it is, and the report says so.

    Raises
    ------
    DtypeError
        A median or mean of text is asked for.

    Examples
    --------
    >>> FillMissing("median").fit_transform({"a": [1.0, float("nan"), 4.0]})["a"].tolist()
    [1.0, 2.5, 4.0]
    """

    _LEARNED = ("values_",)

    def __init__(self, strategy: str = "median", *, columns: Sequence[str] | None = None, value: Any = None) -> None:
        if strategy not in STRATEGIES:
            raise ArgumentError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
        if (strategy == "constant") != (value is not None):
            raise ArgumentError("value is for strategy='constant', which needs it")
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise ArgumentError(f"value must be a number, a text or a truth value, got {type(value).__name__}")
        self.strategy, self.columns, self.value = strategy, columns, value

    def names(self, frame: pl.DataFrame) -> list[str]:
        if self.strategy in ("median", "mean"):
            return chosen(frame, self.columns, numeric_columns, "numbers")
        if self.strategy == "most_frequent":
            return chosen(frame, self.columns, _plain_columns, "numbers, texts or truth values")
        if isinstance(self.value, bool):
            return chosen(
                frame, self.columns, lambda f: [n for n, d in f.schema.items() if d == pl.Boolean], "truth values"
            )
        if isinstance(self.value, str):
            return chosen(frame, self.columns, text_columns, "text")
        return chosen(frame, self.columns, numeric_columns, "numbers")

    def _check(self, frame: pl.DataFrame) -> None:
        self.names(frame)

    def _learn(self, memory_bytes: int | None) -> _LearnFill:
        return _LearnFill(self, memory_bytes)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        check_columns(frame, self.values_)
        out = frame.clone()  # shares its columns
        for name, value in self.values_.items():
            out.replace_column(frame.columns.index(name), _filled(frame[name], value, work.report))
        for name in self.names(frame) if self.columns is None else self.columns:
            if name not in self.values_ and count_missing(frame[name]):
                work.report.note(f"{name} had no value in the training data to fill in; it stays as it is")
        return out


def _filled(column: pl.Series, value: Any, report: StepReport) -> pl.Series:
    name, dtype = column.name, column.dtype
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if dtype.is_numeric() != is_number:
        raise DtypeError(f"column {name!r} is to be filled with {value!r}, but holds {dtype}; repair its type before")
    if dtype.is_integer() and float(value).is_integer():
        value = int(value)
    elif dtype.is_integer():
        column = column.cast(pl.Float64)  # whether anything is missing or not: the next batch must be of the same type
    count = count_missing(column)
    report.changed(name, count)
    if not count:
        return column
    column = column.fill_nan(None) if dtype.is_float() else column
    if not (dtype.is_integer() or dtype.is_float()):
        return column.fill_null(value)
    try:  # of numbers pyarrow is faster
        return pl.Series(name, pa.compute.fill_null(column.to_arrow(compat_level=pl.CompatLevel.oldest()), value))
    except pa.ArrowInvalid:
        raise DtypeError(f"column {name!r} is to be filled with {value!r}, which {dtype} does not hold") from None


class _LearnFill:
    def __init__(self, step: FillMissing, memory_bytes: int | None) -> None:
        self._step, self._names = step, []
        self._sample = Sample(memory_bytes) if step.strategy in ("median", "most_frequent") else None
        self._moments: Moments | None = None

    def add(self, frame: pl.DataFrame) -> None:
        self._names = self._step.names(frame)
        if self._sample is not None:
            self._sample.add(frame[self._names])
        elif self._step.strategy == "mean":
            self._moments = self._moments or Moments(self._names)
            self._moments.add(frame)

    def finish(self) -> None:
        values = {name: self._value(name) for name in self._names}
        self._step.values_ = {name: value for name, value in values.items() if value is not None}

    def _value(self, name: str) -> Any:
        if self._step.strategy == "constant":
            return self._step.value
        if self._moments is not None:
            return self._moments.mean[name] if self._moments.count[name] else None
        column = self._sample.column(name)
        if self._step.strategy == "median":
            found = quantiles(column, (0.5,))
            return None if found is None else found[0]
        present = (column.fill_nan(None) if column.dtype.is_float() else column).drop_nulls()
        return present.mode().min() if len(present) else None


def _plain_columns(frame: pl.DataFrame) -> list[str]:
    return [name for name, d in frame.schema.items() if d.is_numeric() or d in (pl.String, pl.Boolean)]


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ArgumentError(f"{name} must be a share between 0 and 1, got {share!r}")
