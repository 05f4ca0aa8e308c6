"""Columns between a foreign source and the writer: what one is, its natural field, and how it is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from fastload.block.bfloat16 import bfloat16_bits
from fastload.errors import IngestError
from fastload.schema import NUMPY_DTYPES, Categorical, Field, Ragged

Data = np.ndarray | np.ma.MaskedArray | Ragged | Categorical
NO_VALUES = "null"  # source type of a column in which nothing but missing values was seen so far


@dataclass
class Column:
    """A run of rows of one source column.

    data : ndarray [rows, *shape], MaskedArray (mask True = missing), Ragged or Categorical.
    dtype : its element's name in ``fastload.schema.DTYPES``, which `data` alone does not say for text and
    bfloat16.
    source : its type in the source's own words, such as "timestamp[ms]".
    """

    data: Data
    dtype: str
    source: str

    @property
    def num_rows(self) -> int:
        if isinstance(self.data, Ragged):
            return self.data.num_rows
        return len(self.data.codes if isinstance(self.data, Categorical) else self.data)

    @cached_property
    def missing(self) -> np.ndarray | None:
        """bool [rows], True where the value is missing; None where none is."""
        if isinstance(self.data, (Ragged, Categorical)):
            missing = None if self.data.valid is None else ~self.data.valid
        elif isinstance(self.data, np.ma.MaskedArray):
            missing = np.ma.getmaskarray(self.data)
            if missing.ndim > 1:
                missing = missing.reshape(len(missing), -1).all(axis=1)
        else:
            missing = None
        return missing if missing is not None and missing.any() else None

    @property
    def size_bytes(self) -> int:
        """Memory the values take, categories aside."""
        if isinstance(self.data, Ragged):
            return self.data.offsets.nbytes + self.data.values.nbytes
        return (self.data.codes if isinstance(self.data, Categorical) else self.data).nbytes

    def natural_field(self, name: str) -> Field:
        """The field that holds these rows unchanged."""
        nullable = self.missing is not None
        if isinstance(self.data, Categorical):
            return Field(name, "int32", nullable=nullable, categories=True)
        if isinstance(self.data, Ragged):
            return Field(name, self.dtype, variable=self.dtype not in ("string", "bytes"), nullable=nullable)
        shape = self.data.shape[1:]
        if shape == (0,):
            return Field(name, self.dtype, variable=True, nullable=nullable)
        if 0 in shape:
            raise IngestError(f"a value must hold at least one element, got shape {shape}", field=name)
        return Field(name, self.dtype, shape, nullable=nullable)


class FitError(Exception):
    """A value that the field cannot hold; the caller knows where it stands and turns this into an
    IngestError."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def take_rows(data: Data, rows: np.ndarray) -> Data:
    """Some rows of a column, in the order given; `rows` is an integer array."""
    if isinstance(data, Categorical):
        return Categorical(data.codes[rows], data.categories, None if data.valid is None else data.valid[rows])
    if not isinstance(data, Ragged):
        return data[rows]
    lengths = np.diff(data.offsets)[rows]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    # element e of the output comes from its row's start in the input plus its place within the row
    source = np.arange(offsets[-1]) + np.repeat(data.offsets[rows] - offsets[:-1], lengths)
    return Ragged(offsets, data.values[source], None if data.valid is None else data.valid[rows])


def decode_categories(data: Categorical) -> Ragged:
    """Codes into categories -> the UTF-8 text itself."""
    words = Ragged.from_rows([*data.categories, ""], "string")  # the last stands in for what is missing
    codes = np.asarray(data.codes, np.int64)
    if data.valid is not None:
        codes = np.where(data.valid, codes, len(data.categories))
    return take_rows(words, codes)._replace(valid=data.valid)


def encode_categories(texts: list[str | None]) -> Categorical:
    """Text -> codes into its distinct values, in order of appearance."""
    seen: dict[str, int] = {}
    codes = np.fromiter((0 if t is None else seen.setdefault(t, len(seen)) for t in texts), np.int32, len(texts))
    valid = np.fromiter((t is not None for t in texts), bool, len(texts))
    return Categorical(codes, list(seen), None if valid.all() else valid)


def fit_column(column: Column, field: Field) -> tuple[Data, int]:
    """The column in the form `field` asks of the writer, and how many values had to change (rounded).

    Raises FitError at the first value the field cannot hold.
    """
    if column.source == NO_VALUES:
        return missing_column(column.num_rows, field), 0
    data = column.data
    if field.categories:
        return (data if isinstance(data, Categorical) else encode_categories(_texts(column))), 0
    if field.dtype in ("string", "bytes"):
        return (_as_text(column, field.dtype)), 0
    if isinstance(data, Categorical) or column.dtype in ("string", "bytes"):
        return _parse_numbers(_texts(column), field.dtype), 0
    if isinstance(data, Ragged):
        values, changed = cast_values(data.values, column.dtype, field.dtype)
        return data._replace(values=values), changed
    missing = np.ma.getmaskarray(data) if isinstance(data, np.ma.MaskedArray) else None
    values, changed = cast_values(np.ma.getdata(data), column.dtype, field.dtype, missing)
    if field.variable:
        return _rows_of_equal_length(values, column.missing), changed
    return (values if missing is None else np.ma.MaskedArray(values, missing)), changed


def missing_column(num_rows: int, field: Field) -> Data:
    """`num_rows` rows without a value."""
    if field.categories:
        return Categorical(np.zeros(num_rows, np.int32), [], np.zeros(num_rows, bool))
    if field.is_ragged:
        return Ragged(np.zeros(num_rows + 1, np.int64), np.empty(0, field.numpy_dtype), np.zeros(num_rows, bool))
    return np.ma.MaskedArray(np.zeros((num_rows, *field.shape), field.numpy_dtype), True)


def pack_columns(columns: list[tuple[str, Column]], dtype: str) -> tuple[np.ndarray, int]:
    """Scalar columns side by side -> array [rows, columns] with NaN for missing, and how many values were
    rounded.

    Raises FitError at the first value `dtype` cannot hold.
    """
    packed = np.empty((columns[0][1].num_rows, len(columns)), dtype)
    changed = 0
    for j, (name, column) in enumerate(columns):
        if column.source == NO_VALUES:
            packed[:, j] = np.nan
            continue
        missing = column.missing
        try:
            values, rounded = cast_values(np.ma.getdata(column.data), column.dtype, dtype, missing)
        except FitError as error:
            raise FitError(f"column {name!r}: {error}", error.index) from None
        packed[:, j] = values
        if missing is not None:
            packed[missing, j] = np.nan
        changed += rounded
    return packed, changed


def cast_values(
    values: np.ndarray, source: str, target: str, missing: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """Numbers of dtype `source` as dtype `target`, and how many were rounded on the way.

    Rounding to fewer digits is allowed and counted. What would change the meaning is refused with FitError:
    an integer out of range, a fraction or NaN as an integer, a finite number that becomes infinite, anything
    but 0 and 1 as bool.
    """
    if source == target:
        return values, 0
    if source == "bfloat16":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if missing is not None and missing.any():
        values = np.where(missing, np.zeros((), values.dtype), values)  # what lies under a missing value is no matter
    if target == "bfloat16":
        return _to_bfloat16(values)
    dtype = NUMPY_DTYPES[target]
    if dtype.kind == "b":
        _refuse((values != 0) & (values != 1), values, "true or false must be 0 or 1")
        return values.astype(bool), 0
    if dtype.kind in "iu":
        return _to_integers(values, dtype), 0
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    is_long = values.dtype.kind in "iu" and values.dtype.itemsize == 8  # NumPy calls int64 -> float64 safe
    if not is_long and np.can_cast(values.dtype, dtype, "safe"):
        return cast, 0
    _refuse(np.isinf(cast) & np.isfinite(values), values, f"{target} cannot hold so large a number")
    return cast, _count_rounded(values, cast)


def _count_rounded(values: np.ndarray, cast: np.ndarray) -> int:
    if values.dtype.kind == "f":
        same = (cast.astype(values.dtype) == values) | np.isnan(values)
        return int(values.size - np.count_nonzero(same))
    exact = 2 ** (np.finfo(cast.dtype).nmant + 1)  # every integer up to here has an exact float
    if not values.size or (values.max() <= exact and values.min() >= -exact):
        return 0
    return int(np.count_nonzero(cast.astype(np.longdouble) != values.astype(np.longdouble)))


def _to_integers(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        _refuse(~np.isfinite(values), values, f"{dtype} cannot hold it")
        _refuse(np.trunc(values) != values, values, f"{dtype} holds whole numbers only")
        # compared as floats: the upper limit of 64-bit types rounds up to a power of two, itself out of range
        _refuse(
            (values < float(limits.min)) | (values >= float(limits.max) + 1),
            values,
            f"{dtype} cannot hold it",
        )
    elif (
        values.dtype.kind in "iu" and values.size and (int(values.min()) < limits.min or int(values.max()) > limits.max)
    ):
        below = values < limits.min if values.dtype.kind == "i" else np.zeros(values.shape, bool)
        above = values > limits.max if np.iinfo(values.dtype).max > limits.max else np.zeros(values.shape, bool)
        _refuse(below | above, values, f"{dtype} holds {limits.min} to {limits.max}")
    return values.astype(dtype)


def _to_bfloat16(values: np.ndarray) -> tuple[np.ndarray, int]:
    single, _ = cast_values(values, values.dtype.name, "float32")
    out = bfloat16_bits(single)
    back, _ = cast_values(out, "bfloat16", "float32")
    _refuse(np.isinf(back) & np.isfinite(values), values, "bfloat16 cannot hold so large a number")
    return out, _count_rounded(values, back)


def _refuse(bad: np.ndarray, values: np.ndarray, rule: str) -> None:
    if bad.any():
        place = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise FitError(f"{rule}; found {values[place].item()!r}", int(place[0]))


def _rows_of_equal_length(values: np.ndarray, missing: np.ndarray | None) -> Ragged:
    """Array [rows, length] -> Ragged of the rows; missing rows become empty."""
    if values.ndim != 2:
        raise FitError(
            f"a field of variable length holds runs of numbers; found a value of shape {values.shape[1:]}", 0
        )
    lengths = np.full(len(values), values.shape[1])
    if missing is not None:
        lengths[missing] = 0
        values = values[~missing]
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Ragged(offsets, np.ascontiguousarray(values).reshape(-1), None if missing is None else ~missing)


def _texts(column: Column) -> list[Any]:
    """Any scalar column as a list of str, None where missing."""
    data, missing = column.data, column.missing
    if isinstance(data, Categorical):
        texts = [data.categories[c] if c < len(data.categories) else None for c in data.codes.tolist()]
    elif isinstance(data, Ragged) and column.dtype == "string":
        texts = _slices(data, str)
    elif isinstance(data, np.ndarray) and data.ndim == 1:
        values = cast_values(np.ma.getdata(data), "bfloat16", "float32")[0] if column.dtype == "bfloat16" else data
        texts = [str(v) for v in np.ma.getdata(values).tolist()]
    else:
        raise FitError(f"text must come from text or single numbers, not from {column.source}", 0)
    return texts if missing is None else [None if m else t for t, m in zip(texts, missing.tolist(), strict=True)]


def _slices(data: Ragged, kind: type) -> list[Any]:
    whole, offsets = data.values.tobytes(), data.offsets.tolist()
    parts = [whole[a:b] for a, b in pairwise(offsets)]
    return [p.decode("utf-8") for p in parts] if kind is str else parts


def _as_text(column: Column, dtype: str) -> Ragged:
    data = column.data
    if isinstance(data, Categorical):
        return decode_categories(data)
    if isinstance(data, Ragged) and (column.dtype == dtype or (column.dtype, dtype) == ("string", "bytes")):
        return data
    if isinstance(data, Ragged) and column.dtype == "bytes":
        for index, part in enumerate(_slices(data, bytes)):
            try:
                part.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FitError(f"a string must be valid UTF-8; found {part[:40]!r} ({error.reason})", index) from None
        return data
    if dtype == "bytes":
        raise FitError(f"bytes must come from text or bytes, not from {column.source}", 0)
    return Ragged.from_rows(_texts(column), "string")


def _parse_numbers(texts: list[str | None], dtype: str) -> Data:
    """Text -> numbers, one by one: only sources without a parser of their own come here (str arrays,
    samples)."""
    kind = NUMPY_DTYPES[dtype].kind
    words = {"true": True, "false": False, "1": True, "0": False}
    read = {"b": lambda t: words[t.strip().lower()], "i": int, "u": int}.get(kind, float)
    values: list[Any] = []
    for index, text in enumerate(texts):
        try:
            values.append(0 if text is None else read(text))
        except (ValueError, KeyError):
            raise FitError(f"{dtype} must be written as a number; found {text!r}", index) from None
    parsed = {"b": "bool", "i": "int64", "u": "uint64"}.get(kind, "float64")
    missing = np.array([t is None for t in texts], bool)
    try:
        array = np.array(values, parsed)
    except OverflowError:
        index = next(i for i, v in enumerate(values) if not np.iinfo(parsed).min <= v <= np.iinfo(parsed).max)
        raise FitError(f"{dtype} cannot hold it; found {values[index]!r}", index) from None
    array, _ = cast_values(array, parsed, dtype, missing)
    return np.ma.MaskedArray(array, missing) if missing.any() else array


def merge_fields(old: Field, new: Field) -> Field:
    """The narrowest field that holds the rows of both; FitError where none does without losing meaning."""
    nullable = old.nullable or new.nullable
    if old.is_text or new.is_text or old.categories or new.categories:
        texts = [f for f in (old, new) if f.dtype == "string" or f.categories]
        if len(texts) == 2:
            wider = old if old.dtype == "string" else new
            return replace(wider, nullable=nullable)
        if old.dtype != new.dtype:
            raise FitError(f"a column must keep one type; found {_kind(old)} and then {_kind(new)}", 0)
        return replace(old, nullable=nullable)
    dtype = _common_dtype(old, new)
    if old.shape == new.shape and old.variable == new.variable:
        return replace(old, dtype=dtype, nullable=nullable)
    if all(f.variable or len(f.shape) == 1 for f in (old, new)):
        return replace(old, dtype=dtype, shape=(), variable=True, nullable=nullable)
    raise FitError(f"values must keep one shape (or be runs of numbers); found {_kind(old)} and then {_kind(new)}", 0)


def _common_dtype(old: Field, new: Field) -> str:
    if old.dtype == new.dtype:
        return old.dtype
    kinds = {f.numpy_dtype.kind for f in (old, new)}
    if "bfloat16" in (old.dtype, new.dtype) or ("b" in kinds and len(kinds) > 1):
        raise FitError(f"a column must keep one type; found {_kind(old)} and then {_kind(new)}", 0)
    return np.result_type(old.numpy_dtype, new.numpy_dtype).name


def _kind(field: Field) -> str:
    if field.categories:
        return "text"
    if field.variable:
        return f"{field.dtype} of variable length"
    return f"{field.dtype}{list(field.shape) or ''}"
