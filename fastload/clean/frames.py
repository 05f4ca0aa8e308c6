"""Tables of every kind as polars frames, and back. Importing this module imports polars (MissingExtraError without it)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastload.errors import ArgumentError, DtypeError, MissingExtraError, ShapeError, UnknownFieldError
from fastload.ingest.arrow import pa  # polars hands tables over through pyarrow

try:
    import polars as pl
except ImportError:
    raise MissingExtraError("polars", extra="clean") from None


class Handed(NamedTuple):
    """A table as a polars frame, and the way back.

    back : (frame, numbers of the rows that are left or None for all) -> a table of the kind that was given.
    """

    frame: pl.DataFrame
    back: Callable[[pl.DataFrame, np.ndarray | None], Any]


def to_frame(table: Any) -> Handed:
    """A polars or pandas frame, a pyarrow Table, a dict of arrays [rows] or an array [rows, columns], as a polars frame.

    Numbers are not copied where both sides lay them out alike. pandas' index is kept, and its dtypes where the values allow.

    Raises
    ------
    ArgumentError, ShapeError
        Something else, columns of unequal length, or values that are no single value a row.

    Examples
    --------
    >>> handed = to_frame({"x": np.array([1.0, 2.0]), "word": ["a", "b"]})
    >>> handed.frame.columns, handed.back(handed.frame, None)["x"].tolist()
    (['x', 'word'], [1.0, 2.0])
    """
    if isinstance(table, pl.DataFrame):
        handed = Handed(plain(table), lambda frame, rows: _with_categories(frame, table))
    elif isinstance(table, (pa.Table, pa.RecordBatch)):
        handed = _from_arrow(table)
    elif _is_pandas(table):
        handed = _from_pandas(table)
    elif isinstance(table, Mapping):
        handed = _from_arrays(table)
    elif isinstance(table, np.ndarray):
        handed = _from_matrix(table)
    else:
        raise ArgumentError(
            "a table must be a polars or pandas frame, a pyarrow Table, a dict of arrays or an array [rows, columns]; "
            f"got {type(table).__name__}"
        )
    check_names(handed.frame)
    return handed


def kind_of(table: Any) -> str:
    """How `as_kind` calls what `to_frame` takes; "polars" for a file too."""
    if isinstance(table, (pa.Table, pa.RecordBatch)):
        return "arrow"
    if _is_pandas(table):
        return "pandas"
    return "arrays" if isinstance(table, Mapping) else "array" if isinstance(table, np.ndarray) else "polars"


def as_kind(frame: pl.DataFrame, kind: str) -> Any:
    """A frame as a "polars" or "pandas" frame, "arrow" table, dict of "arrays" or "array" [rows, columns].

    >>> as_kind(pl.DataFrame({"a": [1, 2]}), "arrays")
    {'a': array([1, 2])}
    """
    if kind == "arrays":
        return {column.name: column.to_numpy() for column in frame}
    return {
        "polars": pl.DataFrame,
        "pandas": pl.DataFrame.to_pandas,
        "arrow": to_arrow,
        "array": pl.DataFrame.to_numpy,
    }[kind](frame)


def check_names(frame: pl.DataFrame) -> None:
    """ArgumentError for a name that polars takes for a pattern of several names."""
    for name in frame.columns:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise ArgumentError(f"a column must not be called {name!r}, which stands for a pattern of names: rename it")


def numeric_columns(frame: pl.DataFrame) -> list[str]:
    """Columns of numbers; truth values and times are none."""
    return [name for name, dtype in frame.schema.items() if dtype.is_numeric()]


def text_columns(frame: pl.DataFrame) -> list[str]:
    return [name for name, dtype in frame.schema.items() if dtype == pl.String]


def chosen(
    frame: pl.DataFrame, columns: Iterable[str] | None, fits: Callable[[pl.DataFrame], list[str]], what: str
) -> list[str]:
    """The columns to work on: those named, else all that fit.

    Raises
    ------
    UnknownFieldError, DtypeError
        A named column is not there, or holds something else.
    """
    fitting = fits(frame)
    if columns is None:
        return fitting
    names = list(columns)
    check_columns(frame, names)
    for name in names:
        if name not in fitting:
            raise DtypeError(
                f"column {name!r} must hold {what}, it holds {frame.schema[name]}; leave it out, or repair it"
            )
    return names


def check_columns(frame: pl.DataFrame, names: Iterable[str]) -> None:
    """UnknownFieldError for a name that is no column."""
    for name in names:
        if name not in frame.columns:
            raise UnknownFieldError(f"no column {name!r}; the columns are {', '.join(map(repr, frame.columns))}")


def all_columns(frame: pl.DataFrame) -> list[str]:
    return frame.columns


def as_floats(column: pl.Series) -> np.ndarray:
    """float64 [rows], NaN where a value is missing."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def from_arrow(table: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """As `plain` has it."""
    return plain(pl.DataFrame(pl.from_arrow(table)))


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Dictionaries become text: categories of one batch would not be those of the next."""
    coded = [name for name, dtype in frame.schema.items() if dtype in (pl.Categorical, pl.Enum)]
    return frame.with_columns(pl.col(coded).cast(pl.String)) if coded else frame


def to_arrow(frame: pl.DataFrame) -> pa.Table:
    """With the types that every version of pyarrow knows."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


# --- the kinds -----------------------------------------------------------------------------------


def _is_pandas(table: Any) -> bool:
    return type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns")


def _from_arrow(table: pa.Table | pa.RecordBatch) -> Handed:
    frame = from_arrow(table)

    def back(result: pl.DataFrame, rows: np.ndarray | None) -> pa.Table:
        arrow = to_arrow(result)
        kinds = [
            table.schema.field(name).type if frame.schema.get(name) == result.schema[name] else arrow.field(name).type
            for name in result.columns
        ]
        return arrow.cast(pa.schema(list(zip(result.columns, kinds, strict=True))))

    return Handed(frame, back)


def _with_categories(frame: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
    """Text that came as categories, as these again, where it still is among them."""
    coded = {
        n: d for n, d in given.schema.items() if d in (pl.Categorical, pl.Enum) and frame.schema.get(n) == pl.String
    }
    for name, dtype in coded.items():
        if dtype == pl.Categorical or frame[name].drop_nulls().is_in(dtype.categories.implode()).all():
            frame = frame.with_columns(pl.col(name).cast(dtype))
    return frame


def _from_pandas(table: Any) -> Handed:
    names = {str(name): name for name in table.columns}
    if len(names) != len(table.columns):
        raise ArgumentError("the columns of a frame must have names of their own")
    frame = pl.DataFrame([_series_of_pandas(name, table[key]) for name, key in names.items()])

    def back(result: pl.DataFrame, rows: np.ndarray | None) -> Any:
        import pandas

        columns = {}
        for name in result.columns:
            values = result[name].to_pandas()
            if name in names and frame.schema[name] == result.schema[name]:
                kind = table[names[name]].dtype
                if hasattr(kind, "categories") and not values.dropna().isin(kind.categories).all():
                    kind = values.dtype  # as categories the new texts would be missing
                if values.dtype != kind and not (values.isna().any() and getattr(kind, "kind", "") in "biu"):
                    values = values.astype(kind)
            columns[names.get(name, name)] = values.to_numpy() if values.dtype.kind in "biufM" else values.array
        index = table.index if rows is None else table.index[rows]
        return pandas.DataFrame(columns, index=index)

    return Handed(frame, back)


def _series_of_pandas(name: str, values: Any) -> pl.Series:
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
        return pl.Series(name, values.to_numpy())  # NaN stays NaN: a kind of gap of its own
    try:
        series = pl.Series(name, pl.from_pandas(values))
    except (pa.ArrowException, TypeError, ValueError):  # objects of several kinds: as they are written
        texts = [None if missing else str(v) for v, missing in zip(values, values.isna(), strict=True)]
        return pl.Series(name, texts, pl.String)
    return series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series


def _from_arrays(table: Mapping[str, Any]) -> Handed:
    arrays = {name: np.asarray(values) for name, values in table.items()}
    lengths = {name: len(values) if values.ndim == 1 else -1 for name, values in arrays.items()}
    if len(set(lengths.values())) > 1 or -1 in lengths.values():
        shapes = ", ".join(f"{name} {values.shape}" for name, values in arrays.items())
        raise ShapeError(f"columns must be arrays [rows] of one length, got {shapes}")
    frame = pl.DataFrame([_series_of_array(name, values) for name, values in arrays.items()])

    def back(result: pl.DataFrame, rows: np.ndarray | None) -> dict[str, np.ndarray]:
        return {name: _array_of(result[name], arrays.get(name)) for name in result.columns}

    return Handed(frame, back)


def _series_of_array(name: str, values: np.ndarray) -> pl.Series:
    if isinstance(values, np.ma.MaskedArray):
        return pl.Series(name, np.ma.getdata(values)).set(pl.Series(np.ma.getmaskarray(values)), None)
    if values.dtype.kind in "OUS":
        try:
            return pl.Series(name, values.tolist(), strict=True)
        except (TypeError, pl.exceptions.PolarsError):
            return pl.Series(name, [None if v is None or v != v else str(v) for v in values.tolist()], pl.String)
    return pl.Series(name, values)


def _array_of(column: pl.Series, given: np.ndarray | None) -> np.ndarray:
    array = column.to_numpy()
    if given is None or given.dtype == array.dtype:
        return array
    if given.dtype.kind in "US" and column.dtype == pl.String and column.null_count() == 0:
        return array.astype(given.dtype.kind)
    return array.astype(given.dtype) if given.dtype.kind == "f" and array.dtype.kind == "f" else array


def _from_matrix(table: np.ndarray) -> Handed:
    if table.ndim != 2 or table.dtype.kind not in "biuf":
        raise ShapeError(f"an array must hold numbers [rows, columns], got {table.dtype} {table.shape}")
    frame = pl.DataFrame({f"x{i}": table[:, i] for i in range(table.shape[1])})

    def back(result: pl.DataFrame, rows: np.ndarray | None) -> np.ndarray:
        gaps = any(result[name].null_count() for name in result.columns)
        if gaps or any(dtype.is_float() for dtype in result.dtypes):
            kind = table.dtype if table.dtype.kind == "f" else np.dtype("float64")
        else:
            kind = table.dtype
        columns: Sequence[np.ndarray] = [
            (as_floats(result[n]) if kind.kind == "f" else result[n].to_numpy()) for n in result.columns
        ]
        return np.column_stack(columns).astype(kind, copy=False)

    return Handed(frame, back)
