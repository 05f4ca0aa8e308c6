"""Text that should be something else: numbers and dates in text, white space, rare categories, categories as codes."""

from __future__ import annotations

from collections.abc import Sequence

from fastload.clean.frames import check_columns, chosen, pl, text_columns
from fastload.clean.step import Step, Work
from fastload.errors import ArgumentError, DtypeError

TIMES = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M",
)
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
PARSED = ("int64", "float64", "bool")
MAX_VALUES = 100_000  # a column with more distinct texts has no categories


def parsed(column: pl.Expr, dtype: str) -> pl.Expr:
    """Text as another type; null where it cannot be read so.

    dtype : "int64", "float64", "bool", or "date FORMAT" and "datetime FORMAT" with a format of strftime.
    """
    bare = column.str.strip_chars()
    kind, _, form = dtype.partition(" ")
    if kind == "date":
        return bare.str.to_date(form, strict=False)
    if kind == "datetime":
        return bare.str.to_datetime(form, strict=False, time_unit="us")
    if kind == "bool":
        return bare.str.to_lowercase().replace_strict(
            {"true": True, "false": False}, default=None, return_dtype=pl.Boolean
        )
    grouped = bare.str.contains(r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$")
    plain = pl.when(grouped).then(bare.str.replace_all(",", "", literal=True)).otherwise(bare)
    return plain.cast(pl.Int64 if kind == "int64" else pl.Float64, strict=False)


class RepairTypes(Step):
    """Text columns that hold numbers, dates, times or truth values become that; cells that do not fit become null, counted.

    Numbers may have thousands separators (1,250.5). Text with leading zeros (00123, a code) or with more than 18 digits stays
    text. Of day/month and month/day the one that reads more cells is taken; where both read the same, the column stays text.

    Parameters
    ----------
    min_share : float
        Of a column's cells, missing ones aside: so many must fit.
    columns : sequence of str, optional
        Text columns; all of them by default.

    Attributes
    ----------
    dtypes_ : {column: "int64", "float64", "bool", "date FORMAT" or "datetime FORMAT"}
        Columns that stay text are left out.

    Examples
    --------
    >>> RepairTypes(min_share=0.6).fit_transform({"a": ["1", " 2", "x"]})["a"].tolist()
    [1.0, 2.0, nan]
    """

    _LEARNED = ("dtypes_",)

    def __init__(self, *, min_share: float = 0.95, columns: Sequence[str] | None = None) -> None:
        if not 0 < min_share <= 1:
            raise ArgumentError(f"min_share must be above 0 and 1 at most, got {min_share!r}")
        self.min_share, self.columns = min_share, columns

    def _check(self, frame: pl.DataFrame) -> None:
        chosen(frame, self.columns, text_columns, "text")

    def _learn(self, memory_bytes: int | None) -> _LearnTypes:
        return _LearnTypes(self)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        check_columns(frame, self.dtypes_)
        todo = {name: dtype for name, dtype in self.dtypes_.items() if frame.schema[name] == pl.String}
        repaired = frame.select(parsed(pl.col(name), dtype).alias(name) for name, dtype in todo.items())
        for name in todo:
            lost = repaired[name].null_count() - frame[name].null_count()
            if lost:
                work.report.changed(name, lost)
                work.example(frame, repaired[name].is_null() & frame[name].is_not_null(), name=name)
        return frame.with_columns(repaired.get_columns()) if todo else frame


class _LearnTypes:
    """Counts, for every text column, how many cells could be read as what; drops a candidate that can no longer do."""

    def __init__(self, step: RepairTypes) -> None:
        self._step, self._present = step, {}
        self._fits: dict[str, dict[str, int]] = {}

    def add(self, frame: pl.DataFrame) -> None:
        for name in chosen(frame, self._step.columns, text_columns, "text"):
            column = frame[name].drop_nulls()
            if not len(column):
                self._present.setdefault(name, 0)
                continue
            is_first = name not in self._fits
            if is_first:
                self._fits[name] = dict.fromkeys(self._plausible(column), 0)
            self._present[name] = self._present.get(name, 0) + len(column)
            for dtype in list(self._fits[name]):
                self._count(name, column, dtype)

    def _plausible(self, column: pl.Series) -> list[str]:
        """What the first cells could be; half of them is enough, later ones may be better."""
        head = column.head(1000)
        known = [*PARSED, *(f"datetime {t}" for t in TIMES), *(f"date {d}" for d in DATES)]
        fits = head.to_frame("x").select(
            parsed(pl.col("x"), dtype).is_not_null().mean().alias(dtype) for dtype in known
        )
        return [dtype for dtype in known if (fits[dtype].item() or 0.0) >= min(0.5, self._step.min_share)]

    def _count(self, name: str, column: pl.Series, dtype: str) -> None:
        cells = column.to_frame("x").lazy()
        if dtype in ("int64", "float64"):
            code = pl.col("x").str.contains(r"^\s*[+-]?(0\d|\d{19})")
            read, codes = (
                cells.select(parsed(pl.col("x"), dtype).is_not_null().sum(), code.any().alias("code")).collect().row(0)
            )
            if codes:
                del self._fits[name][dtype]
                return
        else:
            read = cells.select(parsed(pl.col("x"), dtype).is_not_null().sum()).collect().item()
        self._fits[name][dtype] += read

    def finish(self) -> None:
        self._step.dtypes_ = {}
        for name, fits in self._fits.items():
            enough = {d: n for d, n in fits.items() if n >= self._step.min_share * self._present[name]}
            if "int64" in enough and enough["int64"] == enough.get("float64", 0):
                enough.pop("float64")
            best = max(enough.values(), default=0)
            winners = [dtype for dtype, count in enough.items() if count == best]
            if len(winners) == 1:
                self._step.dtypes_[name] = winners[0]


class StripText(Step):
    """Outer white space goes, and runs of it inside become one blank.

    Parameters
    ----------
    columns : sequence of str, optional
        Text columns; all of them by default.

    Examples
    --------
    >>> StripText().transform({"a": [" New  York ", "Oslo"]})["a"].tolist()
    ['New York', 'Oslo']
    """

    def __init__(self, *, columns: Sequence[str] | None = None) -> None:
        self.columns = columns

    def _check(self, frame: pl.DataFrame) -> None:
        chosen(frame, self.columns, text_columns, "text")

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        names = chosen(frame, self.columns, text_columns, "text")
        untidy = frame.select(untidy_text(pl.col(name)).fill_null(False) for name in names)
        todo = [name for name in names if untidy[name].any()]
        for name in todo:
            work.report.changed(name, untidy[name].sum())
            work.example(frame, untidy[name], name=name)
        return frame.with_columns(pl.col(name).str.strip_chars().str.replace_all(r"\s+", " ") for name in todo)


def untidy_text(column: pl.Expr) -> pl.Expr:
    """True where text has outer white space, or more than one blank inside."""
    return column.str.contains(r"^\s|\s$|\s\s|[\t\n\r]")


class RareCategories(Step):
    """Texts that are rare in the training data become one category; so do those that come up later for the first time.

    Parameters
    ----------
    min_share : float
        Of a column's rows, missing ones aside.
    other : str
    columns : sequence of str, optional
        Text columns; by default all with at most 1,000 distinct texts.

    Attributes
    ----------
    kept_ : {column: sorted texts}

    Examples
    --------
    >>> RareCategories(min_share=0.3).fit_transform({"a": ["x", "x", "y", "x"]})["a"].tolist()
    ['x', 'x', 'other', 'x']
    """

    _LEARNED = ("kept_",)

    def __init__(self, *, min_share: float = 0.01, other: str = "other", columns: Sequence[str] | None = None) -> None:
        if not 0 < min_share < 1:
            raise ArgumentError(f"min_share must be between 0 and 1, got {min_share!r}")
        self.min_share, self.other, self.columns = min_share, other, columns

    def _check(self, frame: pl.DataFrame) -> None:
        chosen(frame, self.columns, text_columns, "text")

    def _learn(self, memory_bytes: int | None) -> _LearnKept:
        return _LearnKept(self)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        names = chosen(frame, self.kept_, text_columns, "text")
        kept = {n: pl.Series([*self.kept_[n], self.other], dtype=pl.String) for n in names}
        rare = frame.select((~pl.col(n).is_in(kept[n].implode())).fill_null(False) for n in names)
        changes = []
        for name in names:
            if rare[name].any():
                work.report.changed(name, rare[name].sum())
                work.example(frame, rare[name], name=name)
                changes.append(pl.when(rare[name]).then(pl.lit(self.other)).otherwise(pl.col(name)).alias(name))
        return frame.with_columns(changes) if changes else frame


class ValueCounts:
    """Rows of each value of some columns, batch by batch; a column with more than `limit` values is given up.

    counts : {column: {value: rows}}, None for a column given up. Missing values are not counted.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frames: dict[str, pl.DataFrame | None] = {}

    def add(self, frame: pl.DataFrame, names: Sequence[str]) -> None:
        for name in names:
            before = self._frames.get(name, frame.clear())
            if before is None:
                continue
            new = frame.select(pl.col(name).alias("value")).drop_nulls().group_by("value").len("rows")
            if len(before):
                new = pl.concat([before, new]).group_by("value").sum()
            self._frames[name] = new if len(new) <= self._limit else None

    @property
    def counts(self) -> dict[str, dict[object, int] | None]:
        """Most frequent first, equals by value."""
        return {
            name: None
            if f is None
            else dict(f.sort("rows", "value", descending=[True, False]).iter_rows())
            if len(f)
            else {}
            for name, f in self._frames.items()
        }


class _LearnKept:
    def __init__(self, step: RareCategories) -> None:
        self._step = step
        self._counts = ValueCounts(MAX_VALUES if step.columns is not None else 1000)

    def add(self, frame: pl.DataFrame) -> None:
        self._counts.add(frame, chosen(frame, self._step.columns, text_columns, "text"))

    def finish(self) -> None:
        self._step.kept_ = {}
        for name, counts in self._counts.counts.items():
            if counts is None:
                if self._step.columns is not None:
                    raise ArgumentError(
                        f"column {name!r} has more than {MAX_VALUES:,} distinct texts: it holds no categories"
                    )
                continue
            total = sum(counts.values())
            self._step.kept_[name] = sorted(v for v, rows in counts.items() if rows >= self._step.min_share * total)


class OrdinalCodes(Step):
    """Texts become their places among the sorted texts of the training data, int32.

    Missing values stay missing; a text that the training data did not have becomes missing, counted.

    Parameters
    ----------
    columns : sequence of str, optional
        Text columns; all of them by default.

    Attributes
    ----------
    categories_ : {column: sorted texts}

    Examples
    --------
    >>> OrdinalCodes().fit_transform({"a": ["y", "x", "y"]})["a"].tolist()
    [1, 0, 1]
    """

    _LEARNED = ("categories_",)

    def __init__(self, *, columns: Sequence[str] | None = None) -> None:
        self.columns = columns

    def _check(self, frame: pl.DataFrame) -> None:
        chosen(frame, self.columns, text_columns, "text")

    def _learn(self, memory_bytes: int | None) -> _LearnCategories:
        return _LearnCategories(self)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        names = chosen(frame, self.categories_, text_columns, "text")
        codes = frame.select(
            pl.col(n).cast(pl.Enum(self.categories_[n]), strict=False).to_physical().cast(pl.Int32) for n in names
        )
        for name in names:
            unknown = codes[name].null_count() - frame[name].null_count()
            if unknown:
                work.report.changed(name, unknown)
                work.example(frame, codes[name].is_null() & frame[name].is_not_null(), name=name)
        return frame.with_columns(codes.get_columns())


class _LearnCategories:
    def __init__(self, step: OrdinalCodes) -> None:
        self._step, self._found = step, {}

    def add(self, frame: pl.DataFrame) -> None:
        names = chosen(frame, self._step.columns, text_columns, "text")
        distinct = frame.select(pl.col(name).unique().sort().implode() for name in names)
        for name in names:
            new = distinct[name][0]
            self._found[name] = pl.concat([self._found[name], new]).unique() if name in self._found else new
            if len(self._found[name]) > MAX_VALUES:
                raise DtypeError(
                    f"column {name!r} has more than {MAX_VALUES:,} distinct texts: it holds no categories; leave it out"
                )

    def finish(self) -> None:
        self._step.categories_ = {name: found.drop_nulls().sort().to_list() for name, found in self._found.items()}
