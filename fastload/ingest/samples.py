"""Any map-style data set as chunks of columns: whatever has a length and gives samples, torch's among them.

torch itself is not imported; tensors are taken by what they offer (`detach`, `cpu`, NumPy's array protocol).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from fastload.errors import IngestError
from fastload.ingest.columns import NO_VALUES, Column, FitError, encode_categories
from fastload.ingest.decisions import Chunk, Decisions
from fastload.ingest.summary import Tally
from fastload.schema import NUMPY_DTYPES, Ragged

CHUNK_BYTES = 8 << 20
MAX_CHUNK_ROWS = 8192
FIRST_CHUNK_ROWS = 16  # enough to see how large a sample is
_ONE_VALUE = "a value must be a tensor, array, number, str or bytes"


class SamplesReader:
    """A data set with `__len__` and `__getitem__` (or `__getitems__`, which is called with lists of row
    numbers).

    A sample may be a dict, a tuple (or named tuple), or a single value; dicts and tuples may be nested.
    Values may be tensors, arrays, numbers, str, bytes, lists of numbers, or None for missing.
    names : of the members of a tuple; by default the named tuple's own, "x" and "y" for pairs, else "x0",
    "x1", ...
    """

    def __init__(self, source: Any, names: Iterable[str] | None = None) -> None:
        self._source, self._given_names = source, None if names is None else list(names)
        try:
            self.num_rows = len(source)
        except TypeError:
            raise IngestError(
                f"a data set must have a length and be read by row number; {type(source).__name__} has no "
                f"length (an IterableDataset is written with fastload.Writer)"
            ) from None
        self.kind, self.paths, self.size_bytes = f"data set ({type(source).__name__})", [], 0
        self.nullable: set[str] = set()
        self.names: list[str] = []
        if self.num_rows:
            self.names = list(self._fields(self._get([0])[0], 0))
        self._chosen = set(self.names)

    def choose(self, names: Iterable[str]) -> None:
        """Store only these fields."""
        self._chosen = set(names)

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        start, step = 0, FIRST_CHUNK_ROWS
        while start < self.num_rows:
            stop = min(start + step, self.num_rows)
            samples = [self._fields(sample, start + i) for i, sample in enumerate(self._get(list(range(start, stop))))]
            chunk = Chunk({}, stop - start, start, 0)
            for name in self.names:
                if name in self._chosen:
                    chunk.columns[name] = self._column(name, samples, start, decisions)
            yield chunk
            row_bytes = max(1, chunk.size_bytes // chunk.num_rows)
            step = max(1, min(MAX_CHUNK_ROWS, CHUNK_BYTES // row_bytes))
            start = stop

    def _column(self, name: str, samples: list[dict[str, Any]], start: int, decisions: Decisions) -> Column:
        try:
            values = [sample[name] for sample in samples]
            column = column_of_values(values)
        except FitError as error:
            raise IngestError(str(error), row=start + error.index, field=name) from None
        if column.dtype == "string" and column.source != NO_VALUES and not decisions.keeps_text(name):
            return Column(encode_categories(values), "int32", column.source)
        return column

    def _get(self, rows: list[int]) -> list[Any]:
        try:
            if callable(getattr(self._source, "__getitems__", None)):
                samples = list(self._source.__getitems__(rows))
                if len(samples) != len(rows):
                    raise IngestError(
                        f"__getitems__ must give one sample a row; asked for {len(rows)}, got {len(samples)}",
                        row=rows[0],
                    )
                return samples
        except IngestError:
            raise
        except Exception as error:
            raise IngestError(f"the data set must give every row; it raised {_told(error)}", row=rows[0]) from error
        samples = []
        for row in rows:
            try:
                samples.append(self._source[row])
            except Exception as error:
                raise IngestError(f"the data set must give every row; it raised {_told(error)}", row=row) from error
        return samples

    def _fields(self, sample: Any, row: int) -> dict[str, Any]:
        fields = dict(_flatten(sample, "", self._given_names))
        if self.names and fields.keys() != set(self.names):
            different = sorted(fields.keys() ^ set(self.names))
            raise IngestError(f"every sample must have the same members; this one differs in {different}", row=row)
        return fields


def column_of_values(values: list[Any], source: str | None = None) -> Column:
    """One value a row, None for missing -> Column. FitError names the first that differs from the rest."""
    present = [(i, v) for i, v in enumerate(values) if v is not None]
    if not present:
        return Column(np.ma.MaskedArray(np.zeros(len(values)), True), "float64", NO_VALUES)
    for kind, dtype in ((str, "string"), (bytes, "bytes")):
        if isinstance(present[0][1], kind):
            _same_kind(present, kind)
            return Column(Ragged.from_rows(values, dtype), dtype, source or kind.__name__)
    valid = None if len(present) == len(values) else np.array([v is not None for v in values], bool)
    arrays, dtypes = _arrays(present)
    if source is None and _is_time(present[0][1]):
        source = "timestamp[ns]"
    dtype = _common_dtype(present, arrays, dtypes)
    numpy_dtype = NUMPY_DTYPES[dtype]
    shapes = {a.shape for a in arrays}
    if len(shapes) == 1:
        stacked = np.stack(arrays).astype(numpy_dtype, copy=False)
        if valid is None:
            return Column(stacked, dtype, source or dtype)
        whole = np.zeros((len(values), *stacked.shape[1:]), numpy_dtype)
        whole[valid] = stacked
        mask = np.broadcast_to(~valid.reshape(-1, *[1] * (stacked.ndim - 1)), whole.shape).copy()
        return Column(np.ma.MaskedArray(whole, mask), dtype, source or dtype)
    for (index, _), array in zip(present, arrays, strict=True):
        if array.ndim != 1 and array.shape != arrays[0].shape:
            raise FitError(
                f"values must keep one shape, or be runs; found {arrays[0].shape} and then {array.shape}",
                index,
            )
    lengths = np.zeros(len(values), np.int64)
    lengths[[i for i, _ in present]] = [len(a) for a in arrays]
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Column(
        Ragged(offsets, np.concatenate(arrays).astype(numpy_dtype, copy=False), valid),
        dtype,
        source or f"runs of {dtype}",
    )


def to_numpy(value: Any) -> tuple[np.ndarray, str]:
    """A tensor, array, list or number as an array, and the name of its dtype (bfloat16 as its uint16
    pattern)."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            single = np.ascontiguousarray(np.asarray(value.float()))  # exact; its upper half is the pattern
            return (single.view(np.uint32) >> np.uint32(16)).astype(np.uint16), "bfloat16"
    array = np.asanyarray(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    return array, array.dtype.name


def _arrays(present: list[tuple[int, Any]]) -> tuple[list[np.ndarray], list[str]]:
    arrays, dtypes = [], []
    for index, value in present:
        try:
            array, dtype = to_numpy(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise FitError(
                f"{_ONE_VALUE}; found {type(value).__name__} ({error})",
                index,
            ) from None
        if _is_time(value):
            array = array.astype("datetime64[ns]").view(np.int64)
            dtype = "int64"
        if dtype not in NUMPY_DTYPES or array.dtype.kind not in "biuf":
            raise FitError(
                f"{_ONE_VALUE}; found {type(value).__name__} ({dtype})",
                index,
            )
        arrays.append(array.astype(array.dtype.newbyteorder("="), copy=False))
        dtypes.append("" if isinstance(value, list) and not value else dtype)  # NumPy would call [] float64
    return arrays, dtypes


def _is_time(value: Any) -> bool:
    return isinstance(value, (datetime, np.datetime64)) or (isinstance(value, np.ndarray) and value.dtype.kind == "M")


def _common_dtype(present: list[tuple[int, Any]], arrays: list[np.ndarray], dtypes: list[str]) -> str:
    distinct = set(dtypes) - {""}
    if len(distinct) > 1 and ({"bool", "bfloat16"} & distinct):
        index = next(i for (i, _), dtype in zip(present, dtypes, strict=True) if dtype not in (dtypes[0], ""))
        raise FitError(f"a column must keep one type; found {dtypes[0]} and then another", index)
    if len(distinct) <= 1:
        return distinct.pop() if distinct else "float64"
    return np.result_type(*(np.dtype(dtype) for dtype in distinct)).name


def _same_kind(present: list[tuple[int, Any]], kind: type) -> None:
    for index, value in present:
        if not isinstance(value, kind):
            raise FitError(f"a column must keep one type; found {kind.__name__} and then {type(value).__name__}", index)


def _flatten(sample: Any, prefix: str, names: list[str] | None) -> Iterator[tuple[str, Any]]:
    if isinstance(sample, Mapping):
        for key, value in sample.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key), None)
    elif isinstance(sample, tuple) or (
        isinstance(sample, list) and not all(isinstance(v, (int, float)) for v in sample)
    ):
        members = names or getattr(sample, "_fields", None) or _member_names(len(sample), prefix)
        if len(members) != len(sample):
            raise IngestError(
                f"names must name all members of a sample; got {len(members)} names for {len(sample)} members"
            )
        for member, value in zip(members, sample, strict=True):
            yield from _flatten(value, f"{prefix}.{member}" if prefix else member, None)
    else:
        yield prefix or (names[0] if names else "x"), sample


def _member_names(count: int, prefix: str) -> list[str]:
    if prefix:
        return [str(i) for i in range(count)]
    return ["x", "y"] if count == 2 else [f"x{i}" for i in range(count)]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
