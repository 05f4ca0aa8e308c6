"""The quality report: what is wrong with a table, and how far it is from another one."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastload.block.dataset import Dataset
from fastload.block.statistics import FieldStatistics
from fastload.clean.drift import Drift, category_drift, number_drift
from fastload.clean.files import DatasetSource, Source, open_table
from fastload.clean.frames import pl
from fastload.clean.missing import MISSING_TEXTS
from fastload.clean.noise import LabelNoise
from fastload.clean.profile import ColumnQuality, Looks, Profile
from fastload.clean.step import DEFAULT_MEMORY_BYTES
from fastload.clean.streaming import usable_bytes
from fastload.errors import ArgumentError, EmptyError, FastloadError, UnknownFieldError
from fastload.ingest.summary import format_table
from fastload.report.numbers import percent_text, significant

JUDGED_ROWS = 20_000  # whose labels are compared with their neighbours'
EXAMPLES = 5
SHOWN_CLASSES = 8


@dataclass(frozen=True)
class LabelQuality:
    """The label. classes : {value: rows}, None where it is no category. judged : rows whose neighbours were asked;
    suspects : those whose neighbours disagree; examples : numbers of some of them. note : why none was judged."""

    name: str
    classes: dict[Any, int] | None
    judged: int = 0
    suspects: int = 0
    examples: list[int] = field(default_factory=list)
    note: str = ""

    @property
    def imbalance(self) -> float | None:
        """Rows of the most frequent class for each of the rarest."""
        if not self.classes or len(self.classes) < 2:
            return None
        return max(self.classes.values()) / min(self.classes.values())


@dataclass(frozen=True)
class Against:
    """Another table beside this one. leaked : its rows that this table holds as well, compared in `compared` columns;
    examples : numbers of some of them. missing_here, missing_there : columns that only the other one has."""

    name: str
    num_rows: int
    leaked: int
    compared: list[str]
    examples: list[int]
    missing_here: list[str]
    missing_there: list[str]
    drifts: list[Drift]

    @property
    def not_compared(self) -> list[str]:
        """Columns of both whose drift is not told: text of more than 1,000 values, other types in both, or nothing in one."""
        return [name for name in self.compared if name not in {drift.name for drift in self.drifts}]


@dataclass(frozen=True)
class QualityReport:
    """What ``check_quality`` found. ``print(report)`` shows it as a table.

    rows_with_missing : also where a cell is of another type than its column.
    duplicates : rows that equal one before them; near_duplicates : further rows that do when rounded.
    """

    name: str
    num_rows: int
    columns: tuple[ColumnQuality, ...]
    rows_with_missing: int | None
    duplicates: int | None
    near_duplicates: int | None
    near_decimals: int | Mapping[str, int]
    label: LabelQuality | None
    against: Against | None
    notes: tuple[str, ...]
    seconds: float
    is_text: bool = False  # a CSV: that its numbers are text is no surprise

    @property
    def num_cells(self) -> int:
        return self.num_rows * len(self.columns)

    @property
    def num_missing(self) -> int:
        """Cells."""
        return sum(column.num_missing for column in self.columns)

    def column(self, name: str) -> ColumnQuality:
        for column in self.columns:
            if column.name == name:
                return column
        raise UnknownFieldError(f"no column {name!r}; the columns are {', '.join(c.name for c in self.columns)}")

    @property
    def constant_columns(self) -> list[str]:
        return [column.name for column in self.columns if column.is_constant]

    @property
    def duplicate_columns(self) -> dict[str, str]:
        """{column: the one before it that it repeats}."""
        return {column.name: column.twin for column in self.columns if column.twin is not None}

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a script; what is not finite is None."""
        return _plain(
            {
                **vars(self),
                "columns": [vars(column) for column in self.columns],
                "label": None if self.label is None else {**vars(self.label), "imbalance": self.label.imbalance},
                "against": None
                if self.against is None
                else {
                    **vars(self.against),
                    "drifts": [{**vars(d), "has_drifted": d.has_drifted} for d in self.against.drifts],
                },
                "missing_cells": self.num_missing,
                "constant_columns": self.constant_columns,
                "duplicate_columns": self.duplicate_columns,
            }
        )

    def __str__(self) -> str:
        return "\n".join([*_head_lines(self), "", *_column_lines(self), *_label_lines(self), *_against_lines(self)]
                         + [f"note: {note}" for note in self.notes])  # fmt: skip


def check_quality(
    table: Any,
    *,
    against: Any = None,
    label: str | None = None,
    rules: Mapping[str, Mapping[str, Any]] | None = None,
    missing_texts: Sequence[str] = MISSING_TEXTS,
    missing_numbers: Sequence[float] | Mapping[str, Sequence[float]] = (),
    near_decimals: int | Mapping[str, int] = 3,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> QualityReport:
    """Looks for all that is commonly wrong with a table; changes nothing.

    Missing values are counted by kind (null, NaN, blank text, words such as NA, declared numbers) and are then alike. Text that
    holds numbers, dates or truth values is judged as these (`RepairTypes`). Rows are compared by 128-bit hashes.

    Parameters
    ----------
    table : path (csv, parquet, arrow, a fastload data set), Dataset, or a table that `Step.fit` takes
    against : the same, optional
        Another table, the test data say: rows of it that this one holds as well (leakage), and columns that have drifted.
    label : column, optional
        Its classes are counted, and rows found whose neighbours contradict it (`LabelNoise`, over 20,000 rows at most).
    rules : {column: rule}, optional
        What is possible: see `ImpossibleValues`.
    missing_texts, missing_numbers
        What means missing: see `MarkMissing`. Numbers that look like it (-999, far from all others) are told in any case.
    near_decimals : int or {column: int}
        Near duplicates are rows that are equal when floats are rounded to so many decimals (`DropDuplicates`).
    memory_bytes : int
        For tables in files: as for ``clean_file``. Quartiles and outliers' fences are exact while an eighth of it holds the
        columns of numbers, and from a random sample beyond; a note says so.

    Returns
    -------
    QualityReport

    Raises
    ------
    EmptyError
        The table has no row.
    IngestError, UnknownFieldError, ArgumentError

    Examples
    --------
    >>> report = check_quality({"age": [31, 31, 57, -999], "town": ["Oslo", "Oslo", "?", "Bergen"]}, missing_numbers=[-999])
    >>> report.duplicates, report.column("town").missing, report.column("age").missing
    (1, {'text': 1}, {'number': 1})
    """
    start_s = time.perf_counter()
    looks = Looks(label, rules or {}, missing_texts, missing_numbers, near_decimals)
    source, profile = _profile(table, looks, memory_bytes)
    notes = []
    if profile.sample.note():
        notes.append(f"quartiles, fences and neighbours are {profile.sample.note()}")
    return QualityReport(
        source.name,
        profile.num_rows,
        tuple(profile.columns.values()),
        profile.rows_with_missing,
        profile.duplicates,
        profile.near_duplicates,
        near_decimals,
        None if label is None else _label_quality(profile, label),
        None if against is None else _compare(profile, against, looks, memory_bytes),
        tuple(notes),
        time.perf_counter() - start_s,
        source.is_text,
    )


def check_statistics(dataset: Dataset | str | os.PathLike[str], *, label: str | None = None) -> QualityReport:
    """What the statistics in a data set's files tell, at once and without reading a row.

    That is missing values, ranges, means, deviations, constant columns and classes; not duplicates, outliers, types or drift.

    Raises
    ------
    NotADatasetError, UnknownFieldError, FormatError

    Examples
    --------
    >>> import tempfile, fastload as fl
    >>> ds = fl.write(tempfile.mkdtemp() + "/d.fl", {"a": np.array([1.0, np.nan]), "b": np.array([5, 5])})
    >>> report = check_statistics(ds)
    >>> report.column("a").missing, report.constant_columns, report.duplicates
    ({'NaN': 1}, ['b'], None)
    """
    start_s = time.perf_counter()
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    source = DatasetSource(dataset)
    columns: list[ColumnQuality] = []
    for stored in dataset.schema:
        found = dataset.statistics[stored.name]
        if stored.name in source.vectors:
            columns += [
                _of_statistics(name, stored.dtype, found, i) for i, name in enumerate(source.vectors[stored.name])
            ]
        else:
            columns.append(_of_statistics(stored.name, "category" if stored.categories else stored.dtype, found, None))
    if label is not None:
        dataset.schema[label]  # raises where there is none
    return QualityReport(
        str(dataset.path),
        dataset.num_rows,
        tuple(columns),
        None,
        None,
        None,
        0,
        None if label is None else LabelQuality(label, _most_frequent_first(dataset.statistics[label].class_counts)),
        None,
        ("from the statistics in the files: duplicates, outliers, types and drift need the rows",),
        time.perf_counter() - start_s,
    )


def _most_frequent_first(counts: Mapping[Any, int] | None) -> dict[Any, int] | None:
    return None if counts is None else dict(sorted(counts.items(), key=lambda item: -item[1]))


def _of_statistics(name: str, dtype: str, found: FieldStatistics, place: int | None) -> ColumnQuality:
    def one(values: Any) -> Any:
        return np.asarray(values).reshape(-1)[place or 0].item()

    column = ColumnQuality(name, dtype)
    column.missing = {k: int(n) for k, n in (("null", found.nulls), ("NaN", one(found.nans))) if n}
    column.values = _most_frequent_first(found.class_counts)
    is_text = dtype in ("string", "bytes", "category")
    if not is_text and np.size(found.min) > (place or 0) and (place is not None or np.ndim(found.min) == 0):
        column.infinite = int(one(found.infinities))
        column.min, column.max, column.mean, column.std = map(one, (found.min, found.max, found.mean, found.std))
        column.is_constant = not column.missing and column.min == column.max
    if found.class_counts is not None and not column.missing:
        column.is_constant = len(found.class_counts) == 1
    return column


# --- the parts -----------------------------------------------------------------------------------


def _profile(table: Any, looks: Looks, memory_bytes: int, repair: Any = None) -> tuple[Source, Profile]:
    source = open_table(table)
    held_bytes = usable_bytes(memory_bytes, source.reader_bytes)
    in_memory = not isinstance(table, (str, os.PathLike, Dataset))
    profile = Profile(source, looks, None if in_memory else held_bytes, repair)
    if not profile.num_rows:
        raise EmptyError(f"a table to check must hold at least one row; {source.name} has none")
    return source, profile


def _label_quality(profile: Profile, label: str) -> LabelQuality:
    classes = profile.columns[label].values
    if classes is None:
        return LabelQuality(label, None, note="has more than 1,000 values: no classes to compare with neighbours'")
    frame = profile.sample.frame
    rows = np.arange(len(frame))
    if len(frame) > JUDGED_ROWS:
        rows = np.sort(np.random.default_rng(0).permutation(len(frame))[:JUDGED_ROWS])
        frame = frame[rows]
    columns = [name for name in profile.schema if profile.schema[name].is_numeric() and name != label]
    step = LabelNoise(label, columns=columns, max_rows=JUDGED_ROWS)
    survey = step._survey(None)
    try:
        survey.add(frame)
        survey.finish()
    except FastloadError as error:  # one class, no numbers, too few rows without gaps
        return LabelQuality(label, classes, note=f"was not compared with neighbours': {error}")
    suspect, judged = survey.suspects(frame)
    examples = rows[suspect][:EXAMPLES].tolist() if profile.sample.is_whole else []
    return LabelQuality(label, classes, judged, int(suspect.sum()), examples)


def _compare(profile: Profile, against: Any, looks: Looks, memory_bytes: int) -> Against:
    others = Looks(None, {}, looks.missing_texts, looks.missing_numbers, looks.near_decimals)
    known = profile.repair
    first = next(open_table(against).batches(1 << 20), None)
    repair = None
    if first is not None:  # text is read by the types found here: the same cell must mean the same
        repair = type(known)()
        repair.dtypes_ = {n: d for n, d in known.dtypes_.items() if n in first.columns}
    source, other = _profile(against, others, memory_bytes, repair)
    common = [name for name in profile.columns if name in other.columns]
    if not common:
        raise ArgumentError(
            f"tables to compare must have columns in common; {source.name} has none of {profile.columns}"
        )
    casts = {
        n: _common_type(profile.schema[n], other.schema[n]) for n in common if profile.schema[n] != other.schema[n]
    }
    here, there = (p.keyed(common, casts, memory_bytes) for p in (profile, other))
    leaked = there.found_in(here)
    return Against(
        source.name,
        other.num_rows,
        len(leaked),
        common,
        leaked[:EXAMPLES].tolist(),
        [name for name in other.columns if name not in profile.columns],
        [name for name in profile.columns if name not in other.columns],
        [d for d in (_drift(profile, other, name) for name in common) if d is not None],
    )


def _common_type(a: pl.DataType, b: pl.DataType) -> pl.DataType:
    return pl.Float64() if a.is_numeric() and b.is_numeric() else pl.String()


def _drift(here: Profile, there: Profile, name: str) -> Drift | None:
    a, b = here.columns[name], there.columns[name]
    missing = (a.num_missing / here.num_rows, b.num_missing / there.num_rows)
    kinds = [schema[name] for schema in (here.schema, there.schema)]
    if all(kind.is_numeric() for kind in kinds) or (kinds[0].is_temporal() and kinds[0] == kinds[1]):
        return number_drift(name, _numbers(here, name), _numbers(there, name), missing)
    if a.values is not None and b.values is not None and kinds[0] == kinds[1]:
        return category_drift(name, a.values, b.values, missing)
    return None


def _numbers(profile: Profile, name: str) -> np.ndarray:
    return profile.sample.frame[name].cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


# --- as text -------------------------------------------------------------------------------------


def counted(count: int, total: int) -> str:
    """
    >>> counted(12, 400), counted(0, 400)
    ('12 (3 %)', '0')
    """
    return f"{count:,} ({percent_text(count / total)})" if count and total else f"{count:,}"


def _head_lines(report: QualityReport) -> list[str]:
    lines = [f"{report.name}: {report.num_rows:,} rows, {len(report.columns)} columns"]
    rows = [("missing cells", counted(report.num_missing, report.num_cells), "")]
    if report.duplicates is not None:
        decimals = report.near_decimals
        how = f"rounded to {decimals} decimals" if isinstance(decimals, int) else "rounded as declared"
        rows += [
            ("rows with a missing cell", counted(report.rows_with_missing, report.num_rows), ""),
            ("duplicate rows", counted(report.duplicates, report.num_rows), "equal to one before them"),
            ("near duplicates", counted(report.near_duplicates, report.num_rows), f"further ones, {how}"),
        ]
    rows.append(("constant columns", f"{len(report.constant_columns)}", ", ".join(report.constant_columns)))
    if report.duplicates is not None:
        twins = ", ".join(f"{name} = {twin}" for name, twin in report.duplicate_columns.items())
        rows.append(("duplicate columns", f"{len(report.duplicate_columns)}", twins))
    return lines + format_table(("", "", ""), rows, right=(1,))[1:]


COLUMN_HEADER = ("column", "type", "missing", "min", "median", "max", "outliers", "what is odd")


def column_rows(report: QualityReport) -> list[tuple[str, ...]]:
    """A row of COLUMN_HEADER for each column. Outliers by the IQR fences."""
    return [
        (
            column.name,
            column.read_as or column.dtype,
            counted(column.num_missing, report.num_rows) if column.num_missing else "",
            *(
                "" if v is None else _number(v)
                for v in (column.min, column.quartiles[1] if column.quartiles else None, column.max)
            ),
            counted(column.outliers["iqr"], report.num_rows) if column.outliers.get("iqr") else "",
            "; ".join(oddities(column, report.is_text)),
        )
        for column in report.columns
    ]


def oddities(column: ColumnQuality, is_text: bool) -> list[str]:
    """What is wrong with a column, in a few words each. is_text : all cells of its file are text."""
    found = []
    if column.read_as and not is_text:
        found.append(f"text that reads as {column.read_as}")
    if column.is_constant:
        found.append("constant")
    if column.twin is not None:
        found.append(f"same as {column.twin}")
    kinds = {k: n for k, n in column.missing.items() if k in ("blank", "text", "number")}
    found += [f"{n:,} missing as {k}" for k, n in kinds.items()]
    found += [f"{n:,} x {_number(v)}: missing?" for v, n in column.suspected.items()]
    if column.misfits:
        shown = f", such as {column.examples[0][1]}" if column.examples else ""
        found.append(f"{column.misfits:,} of another type{shown}")
    if column.impossible:
        found.append(f"{column.impossible:,} impossible")
    if column.infinite:
        found.append(f"{column.infinite:,} infinite")
    if column.untidy:
        found.append(f"{column.untidy:,} untidy white space")
    if column.dtype in ("text", "category") and not column.read_as and column.values is not None and column.rare():
        found.append(f"{column.rare()} of {len(column.values)} categories rare")
    return found


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1e3:
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.0f}"  # 2013 may be a year
    return significant(value, 4)


def _column_lines(report: QualityReport) -> list[str]:
    rows = column_rows(report)
    filled = [i for i in range(len(COLUMN_HEADER)) if i == 0 or any(row[i] for row in rows)]
    header = tuple(COLUMN_HEADER[i] for i in filled)
    last = [row[-1] for row in rows]
    short = [tuple(row[i] for i in filled if i < len(row) - 1) for row in rows]
    right = tuple(place for place, i in enumerate(filled) if 2 <= i <= 6)
    if filled[-1] != len(COLUMN_HEADER) - 1:
        return format_table(header, short, right=right)
    lines = format_table(header[:-1], short, right=right)
    width = max(map(len, lines))
    return [f"{lines[0]:<{width}}  {header[-1]}"] + [f"{a:<{width}}  {b}".rstrip() for a, b in zip(lines[1:], last)]


def _label_lines(report: QualityReport) -> list[str]:
    label = report.label
    if label is None:
        return []
    lines = ["", f"label {label.name}"]
    if label.classes:
        total = sum(label.classes.values())
        shown = list(label.classes.items())[:SHOWN_CLASSES]
        more = len(label.classes) - len(shown)
        lines.append(
            "  " + ", ".join(f"{v}: {counted(n, total)}" for v, n in shown) + (f" and {more} more" if more else "")
        )
        if label.imbalance is not None:
            lines.append(f"  {significant(label.imbalance)} rows of the most frequent class for one of the rarest")
    if label.judged:
        at = f", such as {', '.join(map(str, label.examples))}" if label.suspects and label.examples else ""
        lines.append(
            f"  suspect labels: {counted(label.suspects, label.judged)} of {label.judged:,} rows judged by their neighbours{at}"
        )
    return lines + ([f"  {label.note}"] if label.note else [])


DRIFT_HEADER = ("column", "kind", "PSI", "distance", "p", "missing", "")


def drift_rows(against: Against) -> list[tuple[str, ...]]:
    """A row of DRIFT_HEADER for each column, those that have drifted furthest first."""
    return [
        (
            d.name,
            d.kind,
            f"{d.psi:.3f}",
            f"{d.distance:.3f}",
            f"{d.p_value:.2g}",
            " -> ".join(percent_text(share) for share in d.missing) if any(d.missing) else "",
            "drifted" if d.has_drifted else "",
        )
        for d in sorted(against.drifts, key=lambda d: -d.psi)
    ]


def column_sets(against: Against) -> list[tuple[str, list[str]]]:
    """Columns that are not in both tables, or whose drift is not told."""
    sets = (
        ("only there", against.missing_here),
        ("only here", against.missing_there),
        ("drift not told, of more than 1,000 texts or another type there", against.not_compared),
    )
    return [(what, names) for what, names in sets if names]


def _against_lines(report: QualityReport) -> list[str]:
    against = report.against
    if against is None:
        return []
    at = f", such as {', '.join(map(str, against.examples))}" if against.examples else ""
    lines = [
        "",
        f"against {against.name}, {against.num_rows:,} rows",
        f"  leaked: {counted(against.leaked, against.num_rows)} of its rows are in {report.name}, too{at}",
    ]
    for what, names in column_sets(against):
        lines.append(f"  {what}: {', '.join(names)}")
    return lines + [f"  {line}" for line in format_table(DRIFT_HEADER, drift_rows(against), right=(2, 3, 4, 5))]
