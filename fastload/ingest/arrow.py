"""Arrow arrays as columns, without copying where the bytes already lie as needed.

Importing this module imports pyarrow (MissingExtraError without it): do so inside the function that needs it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastload.errors import IngestError, MissingExtraError
from fastload.ingest.columns import NO_VALUES, Column, FitError
from fastload.ingest.decisions import Chunk, Decisions
from fastload.schema import Categorical, Ragged

try:
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.ipc
    from pyarrow import types
except ImportError:
    raise MissingExtraError("pyarrow", extra="arrow") from None


def check_names(names: list[str], path: Path | None) -> None:
    """Raise IngestError where two columns share a name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise IngestError(
                "column names must be unique; this one comes twice, rename one of them", path=path, field=name
            )
        seen.add(name)


def chunk_of_arrays(
    arrays: dict[str, pa.Array],
    decisions: Decisions,
    *,
    first_row: int,
    bytes_read: int,
    path: Path | None,
    rows: np.ndarray | None = None,
    encoded_here: bool = False,
) -> Chunk:
    """Arrow arrays of equal length -> Chunk; IngestError names the row and field that cannot be stored.

    encoded_here : dictionaries are the parser's doing, not the source's, which holds plain text.
    """
    num_rows = len(next(iter(arrays.values())))
    chunk = Chunk({}, num_rows, first_row, bytes_read, path, rows)
    for name, array in arrays.items():
        try:
            chunk.columns[name] = column_from_arrow(
                array,
                wanted=decisions.wanted.get(name),
                keep_text=decisions.keeps_text(name),
                max_categories=decisions.max_categories,
            )
        except FitError as error:
            raise IngestError(str(error), path=path, row=chunk.row(error.index), field=name) from None
        if encoded_here and types.is_dictionary(array.type):
            chunk.columns[name].source = "string"
    return chunk


def column_from_arrow(array: pa.Array, *, wanted: str | None, keep_text: bool, max_categories: int) -> Column:
    """One Arrow array as a column.

    wanted : the dtype the user asked for, if any. Only what must be known to read text and times rightly is
        done here; numbers are cast later, by ``fit_column``.
    keep_text : give text as it is; otherwise as categories, if there are at most `max_categories` in these
    rows.

    Raises
    ------
    FitError : a type that cannot be stored, or text that does not read as `wanted`.
    """
    array = _plain(array)
    source = NO_VALUES if array.null_count == len(array) and types.is_null(array.type) else str(array.type)
    if wanted is not None:
        array = _as_wanted(array, wanted)
        source = str(array.type) if wanted.startswith("timestamp") else source
    kind = array.type
    if types.is_null(kind):
        return Column(np.ma.MaskedArray(np.zeros(len(array)), True), "float64", NO_VALUES)
    if types.is_dictionary(kind):
        return Column(_categorical(array), "int32", _short(source))
    if types.is_string(kind) and wanted != "string" and (wanted == "category" or not keep_text):
        encoded = array.dictionary_encode()
        if wanted == "category" or len(encoded.dictionary) <= max_categories:
            return Column(_categorical(encoded), "int32", source)
    if types.is_string(kind) or types.is_binary(kind):
        return Column(_text(array), "string" if types.is_string(kind) else "bytes", source)
    if types.is_list(kind) or types.is_large_list(kind):
        return _runs(array, source)
    if types.is_fixed_size_list(kind):
        return _fixed(array, source)
    values = _numbers(array)
    missing = _missing(array)
    return Column(values if missing is None else np.ma.MaskedArray(values, missing), values.dtype.name, source)


def cast_or_find(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast, or raise FitError at the first value that has no such form."""
    try:
        return array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        index = first_failing(array, kind)
        raise FitError(f"{kind} was asked for; found {_show(array[index])} ({error})"[:300], index) from None


def first_failing(array: pa.Array, kind: pa.DataType) -> int:
    """Index of the first value that cannot be cast (some value must fail), in log2(rows) casts."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        if casts(array[low:middle], kind):
            low = middle
        else:
            high = middle
    return low


def all_failing(array: pa.Array, kind: pa.DataType) -> list[int]:
    """Indices of all values that cannot be cast, by halving the runs that hold one."""
    failing, runs = [], [(0, len(array))]
    while runs:
        low, high = runs.pop()
        if high > low and not casts(array[low:high], kind):
            if high - low == 1:
                failing.append(low)
            else:
                middle = (low + high) // 2
                runs += [(low, middle), (middle, high)]
    return sorted(failing)


def casts(array: pa.Array, kind: pa.DataType) -> bool:
    """Each value has a form of this type; bytes are read as UTF-8 text, dictionaries by their values."""
    try:
        text_to(array, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def text_to(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast text (or bytes holding text) to any type, spaces around numbers allowed; pyarrow's own errors."""
    if types.is_binary(array.type) and not types.is_binary(kind):
        array = array.cast(pa.string())
    if types.is_dictionary(kind):
        return array.cast(kind.value_type).dictionary_encode()
    if types.is_string(array.type) and not (types.is_string(kind) or types.is_binary(kind)):
        array = pa.compute.utf8_trim_whitespace(array)
    return array.cast(kind)


def _plain(array: pa.Array) -> pa.Array:
    """Resolve what only wraps: extension types, wide offsets, views, run ends, dictionaries of numbers."""
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        if kind.permutation not in (None, list(range(len(kind.shape)))):
            raise FitError(f"a tensor must lie in row-major order; found {kind}", 0)
        return _nest(array.storage, kind.shape)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(array.storage)
    if types.is_run_end_encoded(kind):
        return _plain(pa.compute.run_end_decode(array))
    if types.is_dictionary(kind):
        words = array.dictionary
        if _is_text(words.type) and words.null_count == 0:
            plain = words if types.is_string(words.type) else words.cast(pa.string())
            return array if plain is words else pa.DictionaryArray.from_arrays(array.indices, plain)
        return (
            _plain(words.take(array.indices))
            if not _is_text(words.type)
            else words.take(array.indices).cast(pa.string())
        )
    if _is_text(kind):
        return array if types.is_string(kind) else array.cast(pa.string())
    if types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    if types.is_decimal(kind):
        return array.cast(pa.float64())
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return array.cast(pa.list_(kind.value_type))
    known = (types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_binary,
             types.is_date, types.is_time, types.is_timestamp, types.is_duration, types.is_list,
             types.is_large_list, types.is_fixed_size_list)  # fmt: skip
    if not any(is_kind(kind) for is_kind in known):
        raise FitError(f"a column must hold numbers, text, bytes, times or lists of numbers; found {kind}", 0)
    return array


def _nest(storage: pa.Array, shape: list[int]) -> pa.Array:
    """fixed_size_list of all elements -> one list level per dimension."""
    mask = storage.is_null() if storage.null_count else None
    values = storage.values[storage.offset * storage.type.list_size :][: len(storage) * storage.type.list_size]
    for size in reversed(shape[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return pa.FixedSizeListArray.from_arrays(values, shape[0], mask=mask)


def _as_wanted(array: pa.Array, wanted: str) -> pa.Array:
    kind = array.type
    is_text = types.is_string(kind) or types.is_dictionary(kind)
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    if wanted.startswith("timestamp"):
        return _as_timestamp(array, wanted)
    if wanted == "category":
        is_scalar = is_number or types.is_temporal(kind)
        return array if is_text or types.is_null(kind) or not is_scalar else array.cast(pa.string())
    if wanted == "string":
        if types.is_dictionary(kind):
            return array.cast(pa.string())
        if types.is_binary(kind):
            return cast_or_find(array, pa.string())
        return array.cast(pa.string()) if is_number or types.is_temporal(kind) else array
    if wanted == "bytes":
        return array.cast(pa.string()).cast(pa.binary()) if is_text else array
    if is_text:
        target = arrow_type(wanted)
        text = pa.compute.utf8_trim_whitespace(array.cast(pa.string()))
        return cast_or_find(text, target)
    return array


def _as_timestamp(array: pa.Array, wanted: str) -> pa.Array:
    kind = array.type
    unit = wanted[len("timestamp[") : -1] if "[" in wanted else None
    if types.is_null(kind):
        return array
    if types.is_string(kind) or types.is_dictionary(kind):
        text = array.cast(pa.string())
        zoned = pa.timestamp(unit or "us", "UTC")
        return text.cast(zoned) if casts(text, zoned) else cast_or_find(text, pa.timestamp(unit or "us"))
    if types.is_date(kind):
        return cast_or_find(array, pa.timestamp(unit or ("s" if types.is_date32(kind) else "ms")))
    if types.is_timestamp(kind):
        return array if unit in (None, kind.unit) else cast_or_find(array, pa.timestamp(unit, kind.tz))
    raise FitError(f"a timestamp must come from dates or times; the column is {kind}", 0)


def arrow_type(dtype: str) -> pa.DataType:
    """The Arrow type that text is parsed to for a dtype of numbers."""
    return {"bool": pa.bool_(), "float16": pa.float32(), "bfloat16": pa.float32()}.get(dtype) or getattr(pa, dtype)()


def _is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _missing(array: pa.Array) -> np.ndarray | None:
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def _numbers(array: pa.Array) -> np.ndarray:
    """Fixed-width values in place, undefined where missing; times as the integers they are stored as."""
    kind = array.type
    if types.is_boolean(kind):
        return (array.fill_null(False) if array.null_count else array).to_numpy(zero_copy_only=False)
    if types.is_temporal(kind):
        dtype = np.dtype(f"int{kind.bit_width}")
    else:
        dtype = np.dtype(kind.to_pandas_dtype())
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype, len(array), array.offset * dtype.itemsize)


def _categorical(array: pa.DictionaryArray) -> Categorical:
    missing = _missing(array)
    codes = _numbers(array.indices)
    words = array.dictionary.to_pylist()
    if missing is None:
        return Categorical(codes, words)
    return Categorical(np.where(missing, codes.dtype.type(0), codes), words, ~missing)


def _text(array: pa.Array) -> Ragged:
    missing = _missing(array)
    if missing is not None:
        array = array.fill_null(b"" if types.is_binary(array.type) else "")
    _, offsets_buffer, values_buffer = array.buffers()
    if offsets_buffer is None or len(array) == 0:
        return Ragged(np.zeros(len(array) + 1, np.int64), np.empty(0, np.uint8), None if missing is None else ~missing)
    offsets = np.frombuffer(offsets_buffer, np.int32, len(array) + 1, array.offset * 4).astype(np.int64)
    values = np.empty(0, np.uint8) if values_buffer is None else np.frombuffer(values_buffer, np.uint8)
    values = values[offsets[0] : offsets[-1]]
    return Ragged(offsets - offsets[0], values, None if missing is None else ~missing)


def _elements(array: pa.Array, outer: pa.DataType) -> np.ndarray:
    """The elements of lists as numbers; a missing element is NaN among floats and refused among integers."""
    array = _plain(array)
    kind = array.type
    is_number = types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)
    if not (is_number or types.is_temporal(kind) or types.is_null(kind)):
        raise FitError(f"a list must hold numbers; found {outer}", 0)
    if types.is_null(kind):
        return np.full(len(array), np.nan)
    if array.null_count and not types.is_floating(kind):
        raise FitError(f"a list of {kind} must not have missing elements", -1)
    if array.null_count:
        array = array.fill_null(np.nan)
    return _numbers(array)


def _runs(array: pa.Array, source: str) -> Column:
    """Lists of any length -> Ragged."""
    missing = _missing(array)
    lengths = array.value_lengths()
    lengths = (lengths.fill_null(0) if lengths.null_count else lengths).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    flat = array.flatten()  # leaves out what lies under missing lists
    try:
        values = _elements(flat, array.type)
    except FitError as error:
        if error.index == -1:
            element = int(np.argmax(flat.is_null().to_numpy(zero_copy_only=False)))
            raise FitError(str(error), int(np.searchsorted(offsets, element, side="right")) - 1) from None
        raise
    return Column(Ragged(offsets, values, None if missing is None else ~missing), values.dtype.name, source)


def _fixed(array: pa.Array, source: str) -> Column:
    """Lists of one length, nested as deep as the shape has dimensions -> array [rows, *shape]."""
    missing = _missing(array)
    shape, flat, rows = [], array, len(array) - array.null_count
    while types.is_fixed_size_list(flat.type):
        shape.append(flat.type.list_size)
        if shape[1:] and flat.null_count:
            raise FitError(f"a value of fixed shape must be whole; found missing parts in {array.type}", 0)
        flat = flat.flatten()
    try:
        values = _elements(flat, array.type).reshape(rows, *shape)
    except FitError as error:
        if error.index == -1:
            element = int(np.argmax(flat.is_null().to_numpy(zero_copy_only=False)))
            present = np.arange(len(array)) if missing is None else np.flatnonzero(~missing)
            raise FitError(str(error), int(present[element // int(np.prod(shape))])) from None
        raise
    if missing is not None:
        whole = np.zeros((len(array), *shape), values.dtype)
        whole[~missing] = values
        values = np.ma.MaskedArray(whole, np.broadcast_to(missing.reshape(-1, *[1] * len(shape)), whole.shape).copy())
    return Column(values, np.ma.getdata(values).dtype.name, source)


def _short(source: str) -> str:
    return source.replace(", ordered=0", "")


def _show(scalar: pa.Scalar) -> str:
    value = scalar.as_py()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return repr(value)[:60]
