"""Columns as people hold them -> plain C-contiguous arrays as the engine takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastload import _core
from fastload.errors import DtypeError, SchemaError, ShapeError, UnknownFieldError
from fastload.schema import DTYPES, Categorical, Field, Ragged, Schema


class Column(NamedTuple):
    """values : array [rows, *shape], or all elements of a ragged field. offsets : int64 [rows + 1] or None.
    valid : bool [rows], or None where all rows are present."""

    values: np.ndarray
    offsets: np.ndarray | None
    valid: np.ndarray | None
    num_rows: int


def to_spec(field: Field) -> _core.FieldSpec:
    """The engine's form of a field."""
    return _core.FieldSpec(
        name=field.name,
        dtype=DTYPES.index(field.dtype),
        shape=list(field.shape),
        variable=field.variable,
        nullable=field.nullable,
        categories=field.categories,
    )


def from_spec(spec: _core.FieldSpec) -> Field:
    return Field(spec.name, DTYPES[spec.dtype], tuple(spec.shape), spec.variable, spec.nullable, spec.categories)


def taken_runs(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of unequal length, as values and offsets.

    >>> values, offsets = taken_runs(np.arange(6), np.array([0, 2, 3, 6]), np.array([2, 0]))
    >>> values.tolist(), offsets.tolist()
    ([3, 4, 5, 0, 1], [0, 3, 5])
    """
    lengths = np.diff(offsets)[rows]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(offsets[rows] - ends[:-1], lengths) + np.arange(ends[-1])
    return values[places], ends


def to_column(field: Field, data: Any) -> Column:
    """Check `data` against `field` and lay it out.

    Parameters
    ----------
    field : Field
    data : array-like
        See ``fastload.Writer.append`` for the forms a column may have. Categories come as codes here.

    Raises
    ------
    DtypeError, ShapeError, SchemaError
        Nothing is cast: a value that would change is refused.

    Examples
    --------
    >>> to_column(Field("x", "float32", (2,)), np.zeros((3, 2), np.float32)).num_rows
    3
    """
    column = _to_ragged_column(field, data) if field.is_ragged else _to_fixed_column(field, data)
    if column.valid is not None:
        if len(column.valid) != column.num_rows:
            raise ShapeError(f"field {field.name!r}: {column.num_rows} rows, but validity for {len(column.valid)}")
        if not field.nullable and not column.valid.all():
            row = int(np.argmin(column.valid))
            raise SchemaError(
                f"field {field.name!r} is not nullable, but row {row} is null; declare Field(..., nullable=True) or fill it"
            )
    return column


def _to_fixed_column(field: Field, data: Any) -> Column:
    valid = None
    if isinstance(data, Categorical):
        data, valid = data.codes, data.valid
    if isinstance(data, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(data)
        valid = ~mask.any(axis=tuple(range(1, mask.ndim)))
        data = data.data
    values = np.asarray(data)
    if values.dtype != field.numpy_dtype:
        raise DtypeError(
            f"field {field.name!r} holds {field.dtype}, got an array of {values.dtype}; "
            f"cast it yourself (nothing is cast silently), e.g. .astype('{field.numpy_dtype}')"
        )
    if values.ndim == 0 or values.shape[1:] != field.shape:
        expected = "[rows" + "".join(f", {n}" for n in field.shape) + "]"
        raise ShapeError(f"field {field.name!r} takes arrays of shape {expected}, got {list(values.shape)}")
    return Column(np.ascontiguousarray(values), None, _as_valid(valid), len(values))


def _to_ragged_column(field: Field, data: Any) -> Column:
    is_checked = not isinstance(data, Ragged)
    if is_checked:
        data = _ragged_from_rows(field, data)
    offsets = np.ascontiguousarray(data.offsets, np.int64)
    values = np.asarray(data.values)
    if values.dtype != field.numpy_dtype:
        raise DtypeError(f"field {field.name!r} holds {field.dtype}, got values of {values.dtype}")
    if values.ndim != 1:
        raise ShapeError(
            f"field {field.name!r}: values of a ragged field are one-dimensional, got shape {values.shape}"
        )
    if (
        offsets.ndim != 1
        or len(offsets) < 1
        or offsets[0] < 0
        or (np.diff(offsets) < 0).any()
        or offsets[-1] > len(values)
    ):
        raise ShapeError(
            f"field {field.name!r}: offsets must ascend from 0 to at most {len(values)}, the number of values"
        )
    valid = _as_valid(data.valid)
    if valid is not None and len(valid) == len(offsets) - 1:
        values, offsets = _without_null_elements(values, offsets, valid)
    if field.dtype == "string" and not is_checked:
        _check_utf8(field, values, offsets)
    return Column(np.ascontiguousarray(values), offsets, valid, len(offsets) - 1)


def _without_null_elements(values: np.ndarray, offsets: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Null rows have no elements in a file, whatever stands in their place in memory."""
    lengths = np.diff(offsets)
    if not lengths[~valid].any():
        return values, offsets
    values = values[offsets[0] : offsets[-1]][np.repeat(valid, lengths)]
    return values, np.concatenate([[0], np.cumsum(np.where(valid, lengths, 0))])


def _check_utf8(field: Field, values: np.ndarray, offsets: np.ndarray) -> None:
    used = np.ascontiguousarray(values[offsets[0] : offsets[-1]])
    if not used.size or used.max() < 0x80:
        return
    try:
        str(memoryview(used), "utf-8")
    except UnicodeDecodeError as error:
        row = int(np.searchsorted(offsets, offsets[0] + error.start, "right")) - 1
        raise DtypeError(f"field {field.name!r} holds string, but row {row} is not UTF-8 ({error.reason})") from None
    first_bytes = used[offsets[:-1][np.diff(offsets) > 0] - offsets[0]]
    if (first_bytes & 0xC0 == 0x80).any():
        raise DtypeError(f"field {field.name!r} holds string, but a row starts within a character of UTF-8")


def _ragged_from_rows(field: Field, rows: Any) -> Ragged:
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and field.variable:
        rows = list(rows)
    expected = {"string": str, "bytes": (bytes, bytearray)}.get(field.dtype)
    for i, row in enumerate(rows):
        if row is None:
            continue
        if expected is not None:
            if not isinstance(row, expected):
                raise DtypeError(
                    f"field {field.name!r} holds {field.dtype}, row {i} is a {type(row).__name__}: {row!r:.60}"
                )
        else:
            try:
                array = np.asarray(row)
            except ValueError:  # lists of unequal length in a list
                raise ShapeError(f"field {field.name!r}: row {i} must be one-dimensional, got nested lists") from None
            if array.ndim != 1:
                raise ShapeError(f"field {field.name!r}: row {i} must be one-dimensional, got shape {array.shape}")
            if not (
                _holds(field.numpy_dtype, array) if isinstance(row, (list, tuple)) else array.dtype == field.numpy_dtype
            ):
                raise DtypeError(
                    f"field {field.name!r} holds runs of {field.dtype}, row {i} is of {array.dtype}: {row!r:.60}"
                )
    try:
        return Ragged.from_rows(rows, field.dtype)
    except UnicodeEncodeError as error:
        raise DtypeError(
            f"field {field.name!r}: {error.object!r:.60} cannot be written as UTF-8: {error.reason}"
        ) from None


def _holds(dtype: np.dtype, numbers: np.ndarray) -> bool:
    """Python's numbers fit an element type: integers exactly, floats but for rounding."""
    if not numbers.size:
        return True
    if dtype.kind in "bf":
        return numbers.dtype.kind in {"b": "b", "f": "iuf"}[dtype.kind]
    return numbers.dtype.kind in "iu" and bool((numbers.astype(dtype) == numbers).all())


def _as_valid(valid: Any) -> np.ndarray | None:
    return None if valid is None else np.ascontiguousarray(valid, bool)


def check_lengths(columns: Mapping[str, Column]) -> int:
    """Number of rows of columns that must all be equally long."""
    rows = {name: column.num_rows for name, column in columns.items()}
    if len(set(rows.values())) > 1:
        raise ShapeError(
            "all columns must have equally many rows, got " + ", ".join(f"{n}: {r}" for n, r in rows.items())
        )
    return next(iter(rows.values()))


def check_names(schema: Schema, names: Any) -> None:
    given = set(names)
    missing = [n for n in schema.names if n not in given]
    unknown = [n for n in given if n not in schema]
    if missing or unknown:
        raise UnknownFieldError(
            f"columns must be exactly the fields {', '.join(map(repr, schema.names))}; "
            + "; ".join(
                part
                for part in (
                    f"missing {', '.join(map(repr, missing))}" if missing else "",
                    f"unknown {', '.join(map(repr, sorted(map(str, unknown))))}" if unknown else "",
                )
                if part
            )
        )


def infer_field(name: str, data: Any) -> Field:
    """The field that holds `data` as it is.

    Raises
    ------
    DtypeError
        For objects and other types that have no field.
    ShapeError
        For a single value, and for lists of unequal length.

    Examples
    --------
    >>> infer_field("tokens", [np.array([1, 2], np.int32), np.array([], np.int32)])
    Field(name='tokens', dtype='int32', shape=(), variable=True, nullable=False, categories=False)
    """
    if isinstance(data, Categorical):
        return Field(name, "int32", nullable=data.valid is not None, categories=True)
    if isinstance(data, Ragged):
        dtype = str(np.asarray(data.values).dtype)
        return Field(name, _known(name, dtype), variable=True, nullable=data.valid is not None)
    if isinstance(data, (list, tuple)):
        present = [row for row in data if row is not None]
        nullable = len(present) < len(data)
        if present and all(isinstance(row, str) for row in present):
            return Field(name, "string", nullable=nullable)
        if present and all(isinstance(row, (bytes, bytearray)) for row in present):
            return Field(name, "bytes", nullable=nullable)
        if present and all(isinstance(row, np.ndarray) and row.ndim == 1 for row in present):
            dtypes = {str(row.dtype) for row in present}
            if len(dtypes) > 1:
                raise DtypeError(f"column {name!r} mixes runs of {', '.join(sorted(dtypes))}; one type is needed")
            return Field(name, _known(name, dtypes.pop()), variable=True, nullable=nullable)
    if not isinstance(data, np.ndarray):
        try:
            data = np.asarray(data)
        except ValueError:
            message = "give each row as a 1-D array, or the column as Ragged.from_rows(rows, dtype)"
            raise ShapeError(f"column {name!r} holds rows of unequal length that are no arrays; {message}") from None
    if data.dtype.kind == "U":
        return Field(name, "string")
    if data.ndim == 0:
        raise ShapeError(f"column {name!r} must be an array with one entry a row, got a single value")
    nullable = isinstance(data, np.ma.MaskedArray)
    return Field(name, _known(name, str(data.dtype)), data.shape[1:], nullable=nullable)


def _known(name: str, dtype: str) -> str:
    if dtype not in DTYPES:
        raise DtypeError(f"column {name!r} is of {dtype}, which no field can hold; the dtypes are {', '.join(DTYPES)}")
    return dtype
