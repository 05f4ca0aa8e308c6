"""Real and synthetic tables, column by column, as numbers and codes that mean the same in all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastload.clean.frames import as_floats, check_columns, pl, to_frame
from fastload.errors import ArgumentError, DtypeError, EmptyError, NotFiniteError
from fastload.synth.column_kinds import are_few


class Column(NamedTuple):
    """One column of each table.

    Arrays are float64 [rows] where `is_number`, NaN where a value is missing; else int64 [rows], codes from 0 on, -1 where one is.

    values : of categories, what each code means, ascending.
    """

    name: str
    is_number: bool
    values: list[Any]
    real: np.ndarray
    synthetic: np.ndarray
    holdout: np.ndarray | None = None
    test: np.ndarray | None = None

    @property
    def kind(self) -> str:
        return "number" if self.is_number else "category"

    @property
    def has_gaps(self) -> bool:
        """A value is missing in one of the tables."""
        tables = [values for values in (self.real, self.synthetic, self.holdout, self.test) if values is not None]
        return any(np.isnan(values).any() if self.is_number else (values < 0).any() for values in tables)


def align(
    real: Any, synthetic: Any, *, holdout: Any = None, test: Any = None, discrete: Iterable[str] = ()
) -> list[Column]:
    """The columns of the tables.

    Text and truth values are categories, so are integers of few values, and the columns named in `discrete`. Other numbers
    and times are numbers, times counted in the unit of their type.

    Parameters
    ----------
    real, synthetic, holdout, test : tables that `fastload.clean.frames.to_frame` takes
        All of the same columns, in any order.
    discrete : names of columns

    Raises
    ------
    UnknownFieldError, ArgumentError, DtypeError
        The tables are not of the same columns, or not of the same types; `discrete` names a column that is not there.
    EmptyError, NotFiniteError

    Examples
    --------
    >>> a, b = align({"a": [0.5, None], "b": ["x", "y"]}, {"b": ["y", "z"], "a": [1, 2]})
    >>> a.real.tolist(), a.synthetic.tolist(), b.values, b.real.tolist(), b.synthetic.tolist()
    ([0.5, nan], [1.0, 2.0], ['x', 'y', 'z'], [0, 1], [1, 2])
    """
    given = {"real": real, "synthetic": synthetic, "holdout": holdout, "test": test}
    frames = {role: to_frame(table).frame for role, table in given.items() if table is not None}
    names, discrete = frames["real"].columns, set(discrete)
    check_columns(frames["real"], sorted(discrete))
    for role, frame in frames.items():
        check_columns(frame, names)
        if len(frame.columns) > len(names):
            more = ", ".join(repr(name) for name in frame.columns if name not in names)
            raise ArgumentError(
                f"tables to compare must have the same columns; only the {role} one has {more}: leave it out"
            )
        if frame.is_empty():
            raise EmptyError(f"a table to compare must hold at least one row; the {role} one has none")
    return [_column({role: frame[name] for role, frame in frames.items()}, name in discrete) for name in names]


def _column(parts: dict[str, pl.Series], is_discrete: bool) -> Column:
    real = parts["real"]
    for role, part in parts.items():
        _check_type(real, part, role)
    if not is_discrete and _holds_numbers(real):
        return Column(real.name, True, [], **{role: _numbers(part, real.dtype, role) for role, part in parts.items()})
    together = pl.concat([_plain(part).to_frame() for part in parts.values()], how="vertical_relaxed").to_series()
    codes = together.rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1
    ends = np.cumsum([len(part) for part in parts.values()])
    split = dict(zip(parts, np.split(codes, ends[:-1]), strict=True))
    return Column(real.name, False, together.unique().drop_nulls().sort().to_list(), **split)


def _holds_numbers(column: pl.Series) -> bool:
    if column.dtype.is_integer():
        return not are_few(column.drop_nulls().n_unique(), len(column))
    return column.dtype.is_numeric() or column.dtype.is_temporal()


def _plain(column: pl.Series) -> pl.Series:
    """NaN is null; a column without any value is one of text."""
    if column.dtype == pl.Null:
        return column.cast(pl.String)
    return column.fill_nan(None) if column.dtype.is_float() else column


def _numbers(column: pl.Series, dtype: pl.DataType, role: str) -> np.ndarray:
    numbers = as_floats(column.cast(dtype).to_physical() if dtype.is_temporal() else column)
    if np.isinf(numbers).any():
        row = int(np.flatnonzero(np.isinf(numbers))[0])
        raise NotFiniteError(
            f"column {column.name!r} of the {role} table must be finite to be compared; it is not at row {row}"
        )
    return numbers


def _check_type(real: pl.Series, other: pl.Series, role: str) -> None:
    kinds = [_kind(column) for column in (real, other)]
    if "other" in kinds or len({*kinds} - {"nothing"}) > 1:
        raise DtypeError(
            f"column {real.name!r} must hold numbers, text, truth values or times, and the same in all tables; it holds "
            f"{real.dtype} in the real one and {other.dtype} in the {role} one"
        )


def _kind(column: pl.Series) -> str:
    dtype = column.dtype
    if dtype == pl.Null:
        return "nothing"
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype.is_temporal():
        return "time of day" if dtype == pl.Time else "span" if dtype == pl.Duration else "time"
    return "text" if dtype == pl.String else "other"
