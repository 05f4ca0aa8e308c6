"""Reading data sets: rows, batches of rows, statistics. NumPy out; torch is the loader's business."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastload import _core
from fastload.block.batch import column_namer, split_rows
from fastload.block.columns import check_lengths, from_spec, infer_field, to_column, to_spec
from fastload.block.manifest import Manifest, read_manifest
from fastload.block.padding import Entry
from fastload.block.statistics import RECORD, FieldStatistics, field_statistics, merge_class_counts
from fastload.errors import (
    ArgumentError,
    EmptyError,
    FileIOError,
    FormatError,
    RowIndexError,
    ShardChangedError,
    ShardMissingError,
    UnknownFieldError,
)
from fastload.schema import Categorical, Field, Ragged, Schema

ROW_CACHE_BYTES = 256 << 20  # decoded blocks kept for random access


@dataclass(frozen=True)
class Shards:
    """The opened files of a data set, and the dictionaries they agree on."""

    readers: tuple[_core.ShardReader, ...]
    dictionaries: dict[str, list[str]]


def open_shards(folder: Path, manifest: Manifest) -> Shards:
    """Open and check every shard that the manifest names."""
    readers = []
    for entry in manifest.shards:
        path = folder / entry.name
        try:
            reader = _core.ShardReader(str(path))
        except FileIOError:
            if path.exists():
                raise
            raise ShardMissingError(
                f"'{folder}' is not whole: shard '{entry.name}' is missing; restore it from a copy"
            ) from None
        found = (reader.file_bytes, reader.rows, reader.file_id.hex(), reader.footer_crc32c)
        if found != (entry.size_bytes, entry.rows, entry.file_id, entry.footer_crc32c):
            raise ShardChangedError(
                f"'{path}' is not the shard the manifest was written for "
                f"(file id {found[2]}, {found[1]} rows; expected {entry.file_id}, {entry.rows} rows); restore it from a copy"
            )
        if Schema(from_spec(s) for s in reader.fields) != manifest.schema:
            raise ShardChangedError(f"'{path}' has another schema than the manifest")
        readers.append(reader)
    return Shards(tuple(readers), _join_dictionaries(folder, manifest.schema, readers))


def _open_latest(folder: Path) -> tuple[Manifest, Shards]:
    """The version that is visible now, also while a writer replaces it."""
    manifest = read_manifest(folder)
    while True:
        try:
            return manifest, open_shards(folder, manifest)
        except ShardMissingError:
            newer = read_manifest(folder)
            if newer == manifest:
                raise
            manifest = newer


def _join_dictionaries(folder: Path, schema: Schema, readers: Sequence[_core.ShardReader]) -> dict[str, list[str]]:
    """Dictionaries only grow from shard to shard: each is the beginning of the longest."""
    joined: dict[str, list[bytes]] = {f.name: [] for f in schema if f.categories}
    names = schema.names
    for reader in readers:
        for index, entries in reader.dictionaries().items():
            known = joined[names[index]]
            shorter = min(len(known), len(entries))
            if known[:shorter] != entries[:shorter]:
                raise FormatError(f"'{folder}': the shards disagree on the categories of field {names[index]!r}")
            if len(entries) > len(known):
                joined[names[index]] = entries
    return {name: [e.decode("utf-8") for e in entries] for name, entries in joined.items()}


class RowAccess:
    """Rows by number over a source of the engine: what files and arrays in memory have in common.

    Map-style in torch's sense, without knowing torch: ``len(ds)``, ``ds[i]``, ``ds.__getitems__(indices)``. Safe to use
    from several threads; a forked child opens its own cache.
    """

    schema: Schema
    as_tuple: bool = False
    resident_bytes: int = 0  # held beside decoded blocks

    def _source(self) -> _core.Source:
        raise NotImplementedError

    def _held_at(self) -> tuple[int, ...]:
        """Something else once the rows lie elsewhere in memory: what was made of `_source` is then to be made anew."""
        return ()

    @property
    def num_rows(self) -> int:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.num_rows

    def _row_reader(self) -> _core.RowReader:
        made_for = (os.getpid(), self._held_at())
        if getattr(self, "_reader_made_for", None) != made_for:
            self._reader = _core.RowReader(self._source(), ROW_CACHE_BYTES)
            self._reader_made_for = made_for
        return self._reader

    def read_rows(
        self,
        rows: np.ndarray,
        padding: list[Entry] | bool = True,
        reader: _core.RowReader | None = None,
        costs: _core.ReadCosts | None = None,
        columns: _core.BatchColumns | None = None,
        draw_key: int = 0,
    ) -> list[tuple[Any, Any, Any, Any]]:
        """The engine's parts of the rows asked for, in that order (see ``block.batch``, ``block.padding``). reader : one
        over this source, to be used instead of the small one every data set has. costs : what it takes is added to them.
        columns, draw_key : what is made of the rows (see csrc/core/transform.h)."""
        rows = np.asarray(rows, np.int64)
        if rows.size and (rows.min() < -self.num_rows or rows.max() >= self.num_rows):
            worst = int(rows.max() if rows.max() >= self.num_rows else rows.min())
            raise RowIndexError(f"row {worst} was asked for; rows are numbered 0 to {self.num_rows - 1}")
        return (reader or self._row_reader()).read(
            np.where(rows < 0, rows + self.num_rows, rows).astype(np.uint64), padding, costs, columns, draw_key
        )

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._shape_batch(self.read_rows(np.arange(*index.indices(self.num_rows))))
        if isinstance(index, (list, tuple, np.ndarray)) or (hasattr(index, "__array__") and getattr(index, "ndim", 0)):
            array = np.asarray(index)
            if array.dtype == bool:
                if array.shape != (self.num_rows,):
                    raise RowIndexError(f"a boolean mask needs {self.num_rows} entries, got {array.shape}")
                array = np.flatnonzero(array)
            if array.size and array.dtype.kind not in "iu":
                raise RowIndexError(f"rows are chosen by integers, got an array of {array.dtype}")
            return self._shape_batch(self.read_rows(array.astype(np.int64)))
        try:
            row = operator.index(index)
        except TypeError:
            raise RowIndexError(
                f"rows are chosen by an integer, a slice or a list, got {type(index).__name__}"
            ) from None
        return self.__getitems__([row])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Rows for the given numbers: what torch's loader calls once a batch."""
        batch = column_namer(self.schema)(self.read_rows(np.asarray(indices, np.int64)))
        return self.shape_rows(split_rows(self.schema, batch, len(indices)))

    def shape_rows(self, rows: list[dict[str, Any]]) -> list[Any]:
        return [tuple(row[n] for n in self.schema.names) for row in rows] if self.as_tuple else rows

    def _shape_batch(self, parts: list[tuple[Any, Any, Any, Any]]) -> Any:
        batch = column_namer(self.schema)(parts)
        return tuple(batch[n] for n in self.schema.names) if self.as_tuple else batch


def _check_ragged(field: Field) -> None:
    if not field.is_ragged:
        raise ArgumentError(f"field {field.name!r} is not of variable length: all its rows are alike")


@dataclass(frozen=True)
class VerifyReport:
    """What ``Dataset.verify`` read and found whole."""

    shards: int
    blocks: int
    chunks: int
    stored_bytes: int


class Dataset(RowAccess):
    """A data set on disk, opened for reading.

    Rows are dicts of fields (tuples after ``astuple``): scalars, arrays of the field's shape, 1-D arrays for variable
    fields, str and bytes. Nullable fields bring ``<name>_valid`` along. Picklable: it is opened again by path.

    Parameters
    ----------
    path : path-like
    columns : sequence of str, optional
        Fields to read, in this order; the other ones are not touched.

    Raises
    ------
    NotADatasetError, ManifestError, ShardMissingError, ShardChangedError, FormatError and its kinds, UnknownFieldError

    Examples
    --------
    >>> import numpy as np, tempfile, fastload as fl
    >>> ds = fl.write(tempfile.mkdtemp() + "/d.fl", {"x": np.eye(4, dtype="float32"), "name": list("abcd")})
    >>> ds[2]["name"], ds[[3, 1]]["x"].shape, ds.statistics["x"].mean.tolist()
    ('c', (2, 4), [0.25, 0.25, 0.25, 0.25])
    """

    def __init__(self, path: str | os.PathLike[str], columns: Iterable[str] | None = None) -> None:
        self.path = Path(path)
        self._manifest, self._shards = _open_latest(self.path)
        self.schema = self._manifest.schema if columns is None else self._manifest.schema.select(columns)

    # --- what it is ---------------------------------------------------------------------------------

    @property
    def num_rows(self) -> int:
        return self._manifest.rows

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards on disk."""
        return sum(s.size_bytes for s in self._manifest.shards)

    @property
    def num_shards(self) -> int:
        return len(self._manifest.shards)

    @property
    def num_blocks(self) -> int:
        return sum(len(reader.block_rows) for reader in self._shards.readers)

    @property
    def raw_bytes(self) -> int:
        """Bytes of the selected fields when decoded."""
        return sum(size.raw_bytes for size in self.field_sizes().values())

    def field_sizes(self) -> dict[str, FieldSize]:
        """Per selected field: bytes on disk and decoded, and how its chunks are stored."""
        totals = np.sum([reader.sizes() for reader in self._shards.readers], axis=0)
        index = {name: i for i, name in enumerate(self._manifest.schema.names)}
        return {name: FieldSize(*map(int, totals[index[name]]), self.num_blocks) for name in self.schema.names}

    def categories(self, name: str) -> list[str]:
        """The strings that the codes of a categories field stand for."""
        if not self.schema[name].categories:
            raise UnknownFieldError(f"field {name!r} has no categories; it holds {self.schema[name].dtype}")
        return list(self._shards.dictionaries[name])

    @cached_property
    def statistics(self) -> Mapping[str, FieldStatistics]:
        """Statistics of every selected field, from the footers alone."""
        specs = [to_spec(f) for f in self._manifest.schema]
        ends = np.cumsum([s.stat_columns for s in specs])
        records = [r.statistics().view(RECORD).reshape(-1, int(ends[-1])) for r in self._shards.readers]
        everything = np.concatenate(records)
        if len(everything) != self.num_blocks:
            raise FormatError(f"'{self.path}': not every shard keeps statistics; write the data set again to have them")
        counts = [reader.class_counts() for reader in self._shards.readers]
        out = {}
        for i, (field, spec, end) in enumerate(zip(self._manifest.schema, specs, ends, strict=True)):
            if field.name not in self.schema:
                continue
            classes = merge_class_counts([c.get(i) for c in counts])
            if classes is not None and field.categories:
                names = self._shards.dictionaries[field.name]
                classes = {names[code]: rows for code, rows in classes.items()}
            elif classes is not None and field.dtype == "uint64":  # kept as signed numbers of the same bits
                classes = {value % 2**64: rows for value, rows in classes.items()}
            columns = everything[:, end - spec.stat_columns : end]
            out[field.name] = field_statistics(field, columns, spec.value_columns, classes)
        return {name: out[name] for name in self.schema.names}

    def __repr__(self) -> str:
        return f"Dataset('{self.path}', {self.num_rows} rows, fields {', '.join(self.schema.names)})"

    # --- other views of it --------------------------------------------------------------------------

    def select(self, *names: str) -> Dataset:
        """The same data set with these fields only, in this order."""
        return self._view(self.schema.select(names), self.as_tuple)

    def astuple(self, *names: str) -> Dataset:
        """The same data set with rows as tuples of these fields (all of them if none is named)."""
        schema = self.schema.select(names) if names else self.schema
        with_companions = [f.name for f in schema if f.companion]
        if with_companions:
            raise ArgumentError(
                f"a tuple has no place for the lengths or validity of field {with_companions[0]!r}; use dicts"
            )
        return self._view(schema, True)

    def _view(self, schema: Schema, as_tuple: bool) -> Dataset:
        view = object.__new__(Dataset)
        view.path, view._manifest, view._shards = self.path, self._manifest, self._shards
        view.schema, view.as_tuple = schema, as_tuple
        return view

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "names": self.schema.names, "as_tuple": self.as_tuple, "manifest": self._manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.as_tuple, self._manifest = state["path"], state["as_tuple"], state["manifest"]
        self._shards = open_shards(self.path, self._manifest)
        self.schema = self._manifest.schema.select(state["names"])

    # --- reading ------------------------------------------------------------------------------------

    def _source(self) -> _core.Source:
        index = {name: i for i, name in enumerate(self._manifest.schema.names)}
        return _core.ShardSource(list(self._shards.readers), [index[name] for name in self.schema.names])

    def batches(
        self, batch_rows: int = 65536, *, num_workers: int = 1, memory_bytes: int = 1 << 28
    ) -> Iterator[dict[str, Any]]:
        """All rows in file order, as columns that ``Writer.append`` takes: the way to copy or export.

        memory_bytes : of decoded blocks; a quarter as much of batches is made ahead.

        Yields dicts: arrays; masked arrays for nullable fields; ``Ragged`` for variable fields, string and bytes;
        ``Categorical`` for categories.
        """
        engine = _core.Engine(self._source(), num_workers, memory_bytes, memory_bytes // 4)
        epoch = engine.start(batch_rows, False, _core.OrderOptions(), False)
        while (found := epoch.next(engine)) is not None:
            yield {f.name: self._whole_column(f, part) for f, part in zip(self.schema, found[0], strict=True)}

    def lengths(self, name: str) -> np.ndarray:
        """Elements of each row of a field of variable length, int64 [rows]. Reads that field once.

        >>> import tempfile, fastload as fl
        >>> fl.write(tempfile.mkdtemp() + "/d.fl", {"t": [np.arange(3), np.arange(1)]}).lengths("t").tolist()
        [3, 1]
        """
        _check_ragged(self.schema[name])
        one = self if self.schema.names == (name,) else self.select(name)
        return np.concatenate([np.diff(columns[name].offsets) for columns in one.batches()])

    def place_of(self, row: int) -> tuple[str, int, int]:
        """Where a row lies: path of the shard, block of the shard, row of the block."""
        before = 0
        for entry, reader in zip(self._manifest.shards, self._shards.readers, strict=True):
            starts = before + np.concatenate([[0], np.cumsum(reader.block_rows)])
            if row < starts[-1]:
                block = int(np.searchsorted(starts, row, side="right")) - 1
                return str(self.path / entry.name), block, row - int(starts[block])
            before = int(starts[-1])
        raise RowIndexError(f"row {row} was asked for; rows are numbered 0 to {self.num_rows - 1}")

    def _whole_column(self, field: Any, part: tuple[Any, Any, Any, Any]) -> Any:
        values, _, offsets, valid = part
        if field.is_ragged:
            return Ragged(offsets, values, valid)
        if field.categories:
            return Categorical(values, self._shards.dictionaries[field.name], valid)
        if valid is None:
            return values
        mask = np.broadcast_to(~valid.reshape(-1, *[1] * len(field.shape)), values.shape)
        return np.ma.MaskedArray(values, mask)

    def verify(self) -> VerifyReport:
        """Read every byte of every shard and check it: checksums, padding, and that all chunks decode.

        Raises
        ------
        ChecksumError, FormatError, MapLostError
            Naming file, block and field.
        """
        blocks = 0
        for reader in self._shards.readers:
            for block in range(len(reader.block_rows)):
                reader.verify_block(block)
                blocks += 1
        return VerifyReport(self.num_shards, blocks, blocks * len(self._manifest.schema), self.size_bytes)


@dataclass(frozen=True)
class FieldSize:
    stored_bytes: int
    raw_bytes: int
    raw_chunks: int
    shuffled_chunks: int
    chunks: int


class MemoryDataset(RowAccess):
    """Columns in memory behind the same face; arrays are used where they lie, without a copy.

    Parameters
    ----------
    columns : mapping of str to column
        Equally long; the forms that ``fastload.write`` takes without a schema.
    as_tuple : bool
        Rows and batches as tuples instead of dicts.

    Raises
    ------
    EmptyError, ShapeError, DtypeError

    Examples
    --------
    >>> MemoryDataset({"x": np.arange(6).reshape(3, 2)})[1]["x"].tolist()
    [2, 3]
    """

    def __init__(self, columns: Mapping[str, Any], *, as_tuple: bool = False) -> None:
        if not columns:
            raise EmptyError("at least one column is needed, got none")
        self.schema = Schema([infer_field(name, data) for name, data in columns.items()])
        if any(f.categories for f in self.schema):
            raise ArgumentError("categories need a dictionary in a file: write them with fastload.write() first")
        self.as_tuple = as_tuple
        self._columns = {f.name: to_column(f, columns[f.name]) for f in self.schema}
        self._num_rows = check_lengths(self._columns)
        if self._num_rows == 0:
            raise EmptyError("at least one row is needed, got none")

    @property
    def num_rows(self) -> int:
        return self._num_rows

    def select(self, *names: str) -> MemoryDataset:
        """The same rows with these fields only, in this order."""
        view = copy(self)
        view.schema = self.schema.select(names)
        return view

    def lengths(self, name: str) -> np.ndarray:
        """Elements of each row of a field of variable length, int64 [rows].

        >>> MemoryDataset({"t": [np.arange(3), np.arange(1)]}).lengths("t").tolist()
        [3, 1]
        """
        _check_ragged(self.schema[name])
        return np.diff(self._columns[name].offsets)

    def _source(self) -> _core.Source:
        columns = []
        for field in self.schema:
            values, offsets, valid, _ = self._columns[field.name]
            bitmap = None
            if field.nullable:
                present = np.ones(self._num_rows, bool) if valid is None else valid
                bitmap = np.packbits(present, bitorder="little")
            columns.append((to_spec(field), values, field.row_bytes, offsets, bitmap))
        return _core.MemorySource(columns, self._num_rows)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_reader")}

    def __repr__(self) -> str:
        return f"MemoryDataset({self._num_rows} rows, fields {', '.join(self.schema.names)})"


def open_dataset(path: str | os.PathLike[str], columns: Iterable[str] | None = None) -> Dataset:
    """Open a data set; see ``Dataset``.

    >>> import numpy as np, tempfile, fastload as fl
    >>> folder = tempfile.mkdtemp() + "/d.fl"
    >>> _ = fl.write(folder, {"x": np.arange(3), "y": np.arange(3)})
    >>> fl.open(folder, ["y"]).schema.names
    ('y',)
    """
    return Dataset(path, columns)
