"""What one table holds, told in two passes over its batches (three where it does not fit the memory limit)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastload.clean.columns import ConstantColumns, DuplicateColumns
from fastload.clean.files import Source
from fastload.clean.frames import check_columns, numeric_columns, pl, text_columns
from fastload.clean.hashes import RowHashes, rounded
from fastload.clean.missing import MISSING_TEXTS, MarkMissing, is_missing
from fastload.clean.noise import check_rules, impossible
from fastload.clean.outliers import METHODS, fences, outside
from fastload.clean.sample import QUARTILES, Moments, Sample, quantiles
from fastload.clean.step import StepReport, Work, collect
from fastload.clean.types import RepairTypes, ValueCounts, untidy_text

SUSPECTS = (-999999, -99999, -9999, -999, -99, 99, 999, 9999, 99999, 999999)
SUSPECT_ROWS = 3  # a lone value is an outlier rather than a sign
SUSPECT_GAP = 0.5  # of the range of all other values, at least, between these and a suspect
MAX_VALUES = 1000  # categories of a column, or values of a label; a column with more is told by its other figures
RARE_SHARE = 0.01
BINS = 30
BATCH_SHARE = 64  # of the memory limit: what is looked for is held beside the batch
DEFAULT_BATCH_BYTES = 8 << 20
HASH_SHARE, SAMPLE_SHARE = 16, 8  # of the memory limit


@dataclass
class ColumnQuality:
    """One column.

    dtype : as the table has it. read_as : type of its values, where text holds numbers, dates or truth values.
    missing : {kind: cells}, of "null", "NaN", "blank", "text" (a word such as NA) and "number" (declared to mean missing).
    suspected : {number: cells} that seem to mean missing, far from all others.
    values : {value: rows}, most frequent first; None where there are more than 1,000, or the values are no categories.
    outliers : {method: cells}. histogram : (edges, counts) of the middle of the values, for a plot.
    misfits : cells of another type than the rest; impossible : cells that break a declared rule; untidy : texts with outer or
    doubled white space; infinite : cells.
    twin : the column before it that it repeats.
    """

    name: str
    dtype: str
    read_as: str = ""
    missing: dict[str, int] = field(default_factory=dict)
    suspected: dict[float, int] = field(default_factory=dict)
    infinite: int = 0
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    quartiles: list[float] | None = None
    values: dict[Any, int] | None = None
    outliers: dict[str, int] = field(default_factory=dict)
    histogram: tuple[list[float], list[int]] | None = None
    misfits: int = 0
    impossible: int = 0
    untidy: int = 0
    is_constant: bool = False
    twin: str | None = None
    examples: list[tuple[int, str]] = field(default_factory=list)

    @property
    def num_missing(self) -> int:
        return sum(self.missing.values())

    def rare(self) -> int:
        """Categories below 1 % of the rows; 0 where the values are names rather than categories: not ten rows each."""
        values = self.values or {}
        total = sum(values.values())
        return sum(rows < RARE_SHARE * total for rows in values.values()) if 10 * len(values) <= total else 0


@dataclass(frozen=True)
class Looks:
    """What to look for: see ``check_quality``."""

    label: str | None = None
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing_texts: Sequence[str] = MISSING_TEXTS
    missing_numbers: Sequence[float] | Mapping[str, Sequence[float]] = ()
    near_decimals: int | Mapping[str, int] = 3

    def __post_init__(self) -> None:
        if self.rules:
            check_rules(self.rules)


class Profile:
    """A table, looked at.

    num_rows, columns : {name: ColumnQuality}, rows_with_missing, duplicates and near_duplicates (rows that equal one before
    them, as they are and only after rounding), hashes (of whole rows; None unless kept), sample (numbers and label).
    """

    def __init__(
        self, source: Source, looks: Looks, memory_bytes: int | None, repair: RepairTypes | None = None
    ) -> None:
        self._source, self._looks, self._memory_bytes = source, looks, memory_bytes
        self._batch_bytes = DEFAULT_BATCH_BYTES if memory_bytes is None else memory_bytes // BATCH_SHARE
        self._mark = MarkMissing(texts=looks.missing_texts, numbers=looks.missing_numbers)
        self.num_rows = self.rows_with_missing = self.duplicates = self.near_duplicates = 0
        self.columns: dict[str, ColumnQuality] = {}
        self.repair = RepairTypes() if repair is None else repair
        self._misfits = StepReport("")
        if not self.repair.is_fitted:
            collect(
                self.repair._learn(None), (self._mark.mark(frame, Work(len(frame))) for frame in self._text_batches())
            )
        self._look()
        self._look_at_outliers()

    def _text_batches(self) -> Iterator[pl.DataFrame]:
        for frame in self._source.batches(self._batch_bytes):
            names = text_columns(frame)
            if not names:
                return
            yield frame.select(names)

    def batches(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, Work]]:
        """Each batch as it is, and with gaps marked and types repaired; and the numbers of its rows, and what did not fit."""
        row = 0
        for raw in self._source.batches(self._batch_bytes):
            work = Work(len(raw), row)
            marked = self._mark.mark(raw, work)
            work.report = StepReport("")
            yield raw, self.repair._apply(marked, work), work
            row += len(raw)

    def frames(self) -> Iterator[pl.DataFrame]:
        return (typed for _, typed, _ in self.batches())

    # --- the passes ---------------------------------------------------------------------------------

    def _look(self) -> None:
        constant, twins, values = ConstantColumns(), DuplicateColumns(), ValueCounts(MAX_VALUES)
        hash_bytes = None if self._memory_bytes is None else self._memory_bytes // HASH_SHARE
        exact, near = RowHashes(hash_bytes), RowHashes(hash_bytes)
        self.sample = Sample(None if self._memory_bytes is None else self._memory_bytes // SAMPLE_SHARE)
        self._moments: Moments | None = None
        self._inner: dict[str, tuple[float, float]] = {}  # range of each column of numbers, suspects aside
        for raw, typed, work in self.batches():
            if not raw.width:
                return
            if not self.columns:
                self._begin(raw, typed)
            self._count_missing(raw)
            self.rows_with_missing += _with_gaps(typed)
            self._count_text(raw, work)
            self._count_numbers(typed)
            self._count_impossible(typed)
            constant.add(typed)
            twins.add(typed)
            values.add(typed, self._categorical(typed))
            exact.add(typed)
            near.add(rounded(typed, self._looks.near_decimals))
            self.sample.add(self._sampled(typed))
            self.num_rows += len(raw)
        if not self.num_rows:
            return
        self.duplicates = exact.num_duplicates()
        self.near_duplicates = max(0, near.num_duplicates() - self.duplicates)
        counts = values.counts
        for column in self.columns.values():
            column.is_constant = column.name in constant.found
            column.twin = twins.found.get(column.name) if not column.is_constant else None
            column.values = counts.get(column.name)
        self._finish_numbers()

    def _begin(self, raw: pl.DataFrame, typed: pl.DataFrame) -> None:
        check_columns(raw, [*([self._looks.label] if self._looks.label else []), *self._looks.rules])
        for name, dtype in raw.schema.items():
            read_as = "" if typed.schema[name] == dtype else type_text(typed.schema[name])
            self.columns[name] = ColumnQuality(name, type_text(dtype), read_as)
        self.schema = typed.schema
        self._moments = Moments(numeric_columns(typed))

    def _sampled(self, typed: pl.DataFrame) -> pl.DataFrame:
        """Numbers, times as numbers, and the label."""
        names = [n for n, d in typed.schema.items() if d.is_numeric() or d.is_temporal() or n == self._looks.label]
        times = [n for n in names if typed.schema[n].is_temporal()]
        return typed.select(names).with_columns(pl.col(times).to_physical())

    def _categorical(self, typed: pl.DataFrame) -> list[str]:
        return [
            name
            for name, dtype in typed.schema.items()
            if dtype in (pl.String, pl.Boolean) or dtype.is_integer() or name == self._looks.label
        ]

    def _count_missing(self, raw: pl.DataFrame) -> None:
        kinds = {(n, kind): e.sum() for n in raw.columns for kind, e in self._mark.kinds(raw, n).items()}
        counts = raw.select(e.alias(str(i)) for i, e in enumerate(kinds.values())).row(0)
        for (name, kind), count in zip(kinds, counts, strict=True):
            if self._source.is_text and kind == "null":
                kind = "blank"  # an empty cell of a CSV
            if count:
                self.columns[name].missing[kind] = self.columns[name].missing.get(kind, 0) + count

    def _count_text(self, raw: pl.DataFrame, work: Work) -> None:
        for name, count in work.report.cells.items():  # what `repair` could not read
            self.columns[name].misfits += count
        for row, name, shown in work.report.examples:
            self.columns[name].examples.append((row, shown))
        names = text_columns(raw)
        if names:
            blank = pl.col(names).str.contains(r"^\s*$")
            counts = raw.select((untidy_text(pl.col(names)) & ~blank).sum()).row(0)
            for name, count in zip(names, counts, strict=True):
                self.columns[name].untidy += count

    def _count_numbers(self, typed: pl.DataFrame) -> None:
        names = numeric_columns(typed)
        self._moments.add(typed)
        for name in names:
            column = typed[name]
            if column.dtype.is_float():
                infinite = int(column.is_infinite().sum())
                if infinite:
                    self.columns[name].infinite += infinite
                    column = column.filter(column.is_finite())
                column = column.fill_nan(None)
            self._widen(name, column)

    def _widen(self, name: str, column: pl.Series) -> None:
        low, high = column.min(), column.max()
        if low is None:
            return
        told = self.columns[name]
        told.min = low if told.min is None else min(told.min, low)
        told.max = high if told.max is None else max(told.max, high)
        if low in SUSPECTS or high in SUSPECTS:
            suspect = column.is_in(pl.Series([s for s in SUSPECTS if low <= s <= high], dtype=column.dtype).implode())
            for value, count in column.filter(suspect).alias("value").value_counts().iter_rows():
                if value is not None:
                    told.suspected[value] = told.suspected.get(value, 0) + count
            rest = column.filter(~suspect)
            low, high = rest.min(), rest.max()
        if low is not None:
            before = self._inner.get(name, (low, high))
            self._inner[name] = min(before[0], low), max(before[1], high)

    def _count_impossible(self, typed: pl.DataFrame) -> None:
        for name, rule in self._looks.rules.items():
            self.columns[name].impossible += typed.select(impossible(typed, name, rule).sum()).item()

    def _finish_numbers(self) -> None:
        for name, told in self.columns.items():
            if name not in self._moments.count:
                continue
            told.suspected = {v: n for v, n in told.suspected.items() if n >= SUSPECT_ROWS and self._is_apart(name, v)}
            if self._moments.count[name]:
                told.mean, told.std = self._moments.mean[name], self._moments.std(name)
                values = self.sample.column(name)
                told.quartiles = quantiles(values, QUARTILES)
                told.histogram = _histogram(values)

    def _is_apart(self, name: str, value: float) -> bool:
        low, high = self._inner.get(name, (math.nan, math.nan))
        gap = SUSPECT_GAP * (high - low)
        return value < low - gap or value > high + gap

    def _look_at_outliers(self) -> None:
        if not self.num_rows:
            return
        names = [n for n in self._moments.count if n != self._looks.label]
        bounds = {}
        for name in names:
            for method, threshold in METHODS.items():
                found = fences(self.sample.column(name), method, threshold)
                if found is not None:
                    bounds[name, method] = found
        if not bounds:
            return
        frames = iter([self.sample.frame]) if self.sample.is_whole else self.frames()
        for frame in frames:
            counts = frame.select(
                outside(frame, name, *found).sum().alias(f"{i}") for i, ((name, _), found) in enumerate(bounds.items())
            ).row(0)
            for (name, method), count in zip(bounds, counts, strict=True):
                self.columns[name].outliers[method] = self.columns[name].outliers.get(method, 0) + count

    def keyed(self, names: Sequence[str], casts: Mapping[str, pl.DataType], memory_bytes: int | None) -> RowHashes:
        """Hashes of some columns of all rows, with these types."""
        hashes = RowHashes(None if memory_bytes is None else memory_bytes // HASH_SHARE)
        for frame in self.frames():
            hashes.add(frame.select(pl.col(n).cast(casts[n]) if n in casts else pl.col(n) for n in names))
        return hashes


def type_text(dtype: pl.DataType) -> str:
    """
    >>> type_text(pl.String()), type_text(pl.Int64()), type_text(pl.Datetime("us"))
    ('text', 'int64', 'datetime')
    """
    return {"String": "text", "Boolean": "bool"}.get(str(dtype), str(dtype.base_type()).lower())


def _with_gaps(typed: pl.DataFrame) -> int:
    gaps = [n for n in typed.columns if typed.schema[n].is_float() or typed[n].null_count()]
    return typed.select(pl.any_horizontal(is_missing(typed, n) for n in gaps).sum()).item() if gaps else 0


def _histogram(values: pl.Series) -> tuple[list[float], list[int]] | None:
    """Between the 1st and the 99th percentile, widened to what Tukey calls far out: a lone value would flatten the rest."""
    numbers = values.cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or numbers.min() == numbers.max():
        return None
    low, high = np.quantile(numbers, (0.01, 0.99))
    pad = 0.25 * (high - low) or 0.5
    low, high = max(low - pad, numbers.min()), min(high + pad, numbers.max())
    if (numbers == np.round(numbers)).all():  # every bin holds as many whole numbers
        step = max(1, math.ceil((high - low + 1) / BINS))
        edges = np.arange(math.floor(low), math.ceil(high) + step + 1, step) - 0.5
    else:
        edges = np.linspace(low, high, BINS + 1)
    if not (np.diff(edges) > 0).all():
        return None
    counts, _ = np.histogram(numbers, edges)
    return edges.tolist(), counts.tolist()
