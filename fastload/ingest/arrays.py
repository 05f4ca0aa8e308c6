"""Arrays, of files (``npy``) or in memory, as chunks of columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import pairwise
from os import PathLike
from pathlib import Path

import numpy as np

from fastload.errors import IngestError
from fastload.ingest.ahead import read_ahead
from fastload.ingest.columns import NO_VALUES, Column, FitError, encode_categories, take_rows
from fastload.ingest.decisions import Chunk, Decisions
from fastload.ingest.npy import ArraySource, npy_sources, sliced
from fastload.ingest.samples import column_of_values, to_numpy
from fastload.ingest.summary import Tally
from fastload.schema import NUMPY_DTYPES, Categorical, Ragged

CHUNK_BYTES = 8 << 20
STORED = {dtype for dtype in NUMPY_DTYPES if dtype != "bfloat16"}


class ArraysReader:
    """Columns of equal length, each read from its source a few MiB of rows at a time.

    kind : what they are, in a word. paths : the files they are from, if any.
    """

    def __init__(self, kind: str, sources: dict[str, ArraySource], paths: Iterable[Path] = ()) -> None:
        if not sources:
            raise IngestError("a source must hold at least one array; found none")
        self.kind, self.paths = kind, list(paths)
        self.size_bytes = sum(path.stat().st_size for path in self.paths)
        self.nullable: set[str] = set()
        self.names = list(sources)
        self._sources = sources
        lengths = {name: source.num_rows for name, source in sources.items()}
        self.num_rows = next(iter(lengths.values()))
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name!r} {length:,}" for name, length in lengths.items())
            raise IngestError(f"all arrays must have the same number of rows; found {told}", path=self._path)

    @property
    def _path(self) -> Path | None:
        return self.paths[0] if len(self.paths) == 1 else None

    def choose(self, names: Iterable[str]) -> None:
        """Read only these arrays from now on."""
        chosen = set(names)
        self._sources = {name: source for name, source in self._sources.items() if name in chosen}

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        with read_ahead(self._runs()) as runs:
            for start, stop, rows in runs:
                chunk = Chunk({}, stop - start, start, self.size_bytes * stop // self.num_rows, self._path)
                for name, data in rows.items():
                    try:
                        chunk.columns[name] = column_of_data(data, decisions, name)
                    except FitError as error:
                        row = start + error.index
                        raise IngestError(str(error), path=self._path, row=row, field=name) from None
                yield chunk

    def _runs(self) -> Iterator[tuple[int, int, dict[str, object]]]:
        """(first row, row after the last, rows of each array), CHUNK_BYTES at a time."""
        row_bytes = max(1, sum(source.row_bytes for source in self._sources.values()))
        step = max(1, CHUNK_BYTES // row_bytes)
        with ExitStack() as stack:
            readers = {name: source.open(stack) for name, source in self._sources.items()}
            for start in range(0, self.num_rows, step):
                stop = min(start + step, self.num_rows)
                yield start, stop, {name: read(start, stop) for name, read in readers.items()}


def column_of_data(data: object, decisions: Decisions, name: str) -> Column:
    """Rows of an array (or of a list) as a column the writer can take; FitError for what cannot be stored."""
    if isinstance(data, Column):
        return data
    if isinstance(data, Categorical):
        return Column(data, "int32", "dictionary")
    if isinstance(data, Ragged):
        return Column(data, data.values.dtype.name, f"runs of {data.values.dtype.name}")
    if isinstance(data, list):
        return _text_policy(column_of_values(data), decisions, name)
    dtype = data.dtype
    if dtype.kind == "M":
        return _times(data)
    if dtype.kind == "m":
        unit = np.datetime_data(dtype)[0]
        return Column(np.ascontiguousarray(data).astype(np.int64), "int64", f"duration[{unit}]")
    if dtype.kind in "US" and data.ndim == 1:
        return _text_policy(column_of_values(data.tolist(), source=str(dtype)), decisions, name)
    native = dtype.newbyteorder("=")
    if native.name not in STORED:
        raise FitError(f"an array must hold bool, integers, floats of 16 to 64 bits, text or dates; found {dtype}", 0)
    if isinstance(data, np.ma.MaskedArray):
        return Column(_whole_rows(data.astype(native, copy=False)), native.name, native.name)
    return Column(np.ascontiguousarray(data, native), native.name, native.name)


def array_source(name: str, value: object) -> ArraySource:
    """What a dict of arrays may hold: arrays, tensors, lists, Ragged, Categorical, or a .npy file's path."""
    if isinstance(value, (str, PathLike)):
        path = Path(value)
        if path.suffix.lower() != ".npy":
            raise IngestError("a path in a dict must be that of a .npy file", path=path, field=name)
        sources = npy_sources(path, name)
        if name not in sources:
            raise IngestError("a structured array is converted by itself, not in a dict", path=path, field=name)
        return sources[name]
    if isinstance(value, (Ragged, Categorical)):
        rows = value.num_rows if isinstance(value, Ragged) else len(value.codes)
        size_bytes = value.values.nbytes if isinstance(value, Ragged) else value.codes.nbytes
        return ArraySource(
            rows,
            size_bytes // max(1, rows),
            lambda stack: lambda start, stop: take_rows(value, np.arange(start, stop)),
        )
    if isinstance(value, (list, tuple)):
        value = list(value)
        first = value[0] if value else None
        row_bytes = getattr(first, "nbytes", 64)
        return ArraySource(len(value), row_bytes, lambda stack: lambda start, stop: value[start:stop])
    array, dtype = to_numpy(value)
    if array.dtype.hasobject:
        return array_source(name, array.tolist())
    if array.ndim == 0:
        raise IngestError(f"an array must have rows; found a single {array.dtype} value", field=name)
    source = sliced(array)
    if dtype != "bfloat16":
        return source
    # a NumPy array of bit patterns does not say what it is, so the column is made here
    return ArraySource(
        source.num_rows,
        source.row_bytes,
        lambda stack: lambda start, stop: Column(np.ascontiguousarray(array[start:stop]), dtype, dtype),
    )


def _times(data: np.ndarray) -> Column:
    """datetime64 -> int64 in its own unit; NaT is a missing value."""
    unit, count = np.datetime_data(data.dtype)
    if unit == "D" and count == 1:
        data, unit = data.astype("datetime64[s]"), "s"
    if unit not in ("s", "ms", "us", "ns") or count != 1:
        raise FitError(f"dates must count days, s, ms, us or ns; found {data.dtype}", 0)
    missing = np.isnat(data)
    values = np.ascontiguousarray(data).astype(f"datetime64[{unit}]").view(np.int64)
    return Column(np.ma.MaskedArray(values, missing) if missing.any() else values, "int64", f"timestamp[{unit}]")


def _whole_rows(data: np.ma.MaskedArray) -> np.ma.MaskedArray:
    """A row is missing as a whole or not at all: single masked elements become NaN; integers are refused."""
    mask = np.ma.getmaskarray(data)
    if data.ndim == 1 or not mask.any():
        return data
    per_row = mask.reshape(len(mask), -1)
    parts = per_row.any(axis=1) & ~per_row.all(axis=1)
    if not parts.any():
        return data
    if data.dtype.kind != "f":
        raise FitError(f"a {data.dtype} row must be masked as a whole or not at all", int(np.argmax(parts)))
    values = np.where(mask, np.array(np.nan, data.dtype), np.ma.getdata(data))
    whole = per_row.all(axis=1).reshape(-1, *[1] * (data.ndim - 1))
    return np.ma.MaskedArray(values, np.broadcast_to(whole, mask.shape).copy())


def _text_policy(column: Column, decisions: Decisions, name: str) -> Column:
    """Text as categories while that may be what is stored."""
    if column.dtype != "string" or column.source == NO_VALUES or decisions.keeps_text(name):
        return column
    texts = column.data
    whole, offsets = texts.values.tobytes(), texts.offsets.tolist()
    words: list[str | None] = [whole[a:b].decode("utf-8") for a, b in pairwise(offsets)]
    if texts.valid is not None:
        words = [w if v else None for w, v in zip(words, texts.valid.tolist(), strict=True)]
    return Column(encode_categories(words), "int32", column.source)


def sources_of_mapping(source: Mapping[str, object]) -> dict[str, ArraySource]:
    """A dict of arrays, tensors, lists or .npy paths -> sources by name."""
    return {str(name): array_source(str(name), value) for name, value in source.items()}
