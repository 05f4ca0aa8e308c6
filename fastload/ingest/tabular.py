"""Parquet files, Arrow IPC files and tables in memory, as chunks of columns; imports pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from fastload.errors import IngestError
from fastload.ingest.ahead import read_ahead
from fastload.ingest.arrow import check_names, chunk_of_arrays, pa, types
from fastload.ingest.decisions import Chunk, Decisions
from fastload.ingest.summary import Tally

CHUNK_BYTES = 8 << 20  # large enough to amortise a call, small enough to stop quickly
MAX_CHUNK_ROWS = 1 << 17
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def flatten(name: str, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """A struct column as one column per member, called "column.member"; other columns as they are."""
    if types.is_struct(array.type):
        for member, child in zip(array.type, array.flatten(), strict=True):
            yield from flatten(f"{name}.{member.name}", child)
    else:
        yield name, array


def _flat_names(name: str, kind: pa.DataType) -> Iterator[str]:
    if types.is_struct(kind):
        for member in kind:
            yield from _flat_names(f"{name}.{member.name}", member.type)
    else:
        yield name


class _TableReader:
    """What the readers below share: a schema known beforehand, and columns chosen by name.

    kind, paths, size_bytes, num_rows (None where not known), names (of all columns), nullable (known to miss
    values).
    """

    def __init__(self, kind: str, paths: list[Path], schemas: list[pa.Schema]) -> None:
        self.kind, self.paths = kind, paths
        self.size_bytes = sum(path.stat().st_size for path in paths)
        self.num_rows: int | None = None
        self.nullable: set[str] = set()
        self._chosen: set[str] | None = None
        self._schema = _unify(schemas, paths)
        self._tops = {flat: field.name for field in self._schema for flat in _flat_names(field.name, field.type)}
        flat_names = [flat for field in self._schema for flat in _flat_names(field.name, field.type)]
        check_names(flat_names, paths[0] if paths else None)
        self.names = flat_names

    def choose(self, names: Iterable[str]) -> None:
        """Read only these columns from now on."""
        self._chosen = set(names)

    def _top_names(self) -> list[str]:
        """Columns of the file that hold the chosen ones."""
        tops = (top for flat, top in self._tops.items() if self._chosen is None or flat in self._chosen)
        return list(dict.fromkeys(tops))

    def _arrays(self, batch: pa.RecordBatch, path: Path | None, row: int) -> dict[str, pa.Array]:
        arrays = {}
        for top in self._top_names():
            index = batch.schema.get_field_index(top)
            if index < 0:
                continue
            array = batch.column(index)
            with reading(self.kind, path, row, top):
                array.validate(full=True)  # foreign offsets and text are trusted from here on
                kind = self._schema.field(top).type
                array = array if array.type == kind else array.cast(kind)
            for flat, child in flatten(top, array):
                if self._chosen is None or flat in self._chosen:
                    arrays[flat] = child
        return arrays

    def _slices(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        try:
            size_bytes = batch.nbytes
        except pa.ArrowTypeError:  # up to pyarrow 22, views cannot be measured
            size_bytes = batch.get_total_buffer_size()
        row_bytes = max(1, size_bytes // max(1, batch.num_rows))
        step = max(1, min(MAX_CHUNK_ROWS, CHUNK_BYTES // row_bytes))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)


class ParquetReader(_TableReader):
    """Parquet files of one schema, row group by row group. `root` is the folder they were found in."""

    def __init__(self, paths: list[Path], root: Path | None = None) -> None:
        from pyarrow import parquet  # here, since CSV and Arrow do without

        self._open = parquet.ParquetFile
        files = []
        for path in paths:
            with reading("Parquet", path, None):
                files.append(self._open(path))
        super().__init__("Parquet", paths, [f.schema_arrow for f in files])
        self.num_rows = sum(f.metadata.num_rows for f in files)
        for file in files:
            self.nullable |= _nullable_columns(file)
            file.close()
        self._partitions = _partitions(paths, root, self.names)
        self.names += [name for name in self._partitions if name not in self.names]

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        bytes_before = 0
        for number, path in enumerate(self.paths):
            size_bytes, row = path.stat().st_size, 0
            with reading("Parquet", path, None):
                file = self._open(path)
            with file, read_ahead(self._batches(file, path)) as batches:
                total = max(1, file.metadata.num_rows)
                for batch in batches:
                    arrays = self._arrays(batch, path, row)
                    for name, (values, kind) in self._partitions.items():
                        if self._chosen is None or name in self._chosen:
                            arrays[name] = pa.array([values[number]], kind).take(
                                pa.array(np.zeros(len(batch), np.int32))
                            )
                    bytes_read = bytes_before + size_bytes * (row + len(batch)) // total
                    yield chunk_of_arrays(arrays, decisions, first_row=row, bytes_read=bytes_read, path=path)
                    row += len(batch)
            bytes_before += size_bytes

    def _batches(self, file: object, path: Path) -> Iterator[pa.RecordBatch]:
        metadata = file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        row_bytes = max(1, sum(g.total_byte_size for g in groups) // max(1, metadata.num_rows))
        step = max(1, min(MAX_CHUNK_ROWS, CHUNK_BYTES // row_bytes))
        row = 0
        batches = file.iter_batches(batch_size=step, columns=self._top_names())
        while True:
            with reading("Parquet", path, row):
                batch = next(batches, None)
            if batch is None:
                return
            row += len(batch)
            yield batch


class ArrowReader(_TableReader):
    """Arrow IPC (Feather version 2) files and streams, record batch by record batch."""

    def __init__(self, paths: list[Path]) -> None:
        schemas = []
        for path in paths:
            with reading("Arrow IPC", path, None), _open_ipc(path) as reader:
                schemas.append(reader.schema)
        super().__init__("Arrow IPC", paths, schemas)

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        bytes_before = 0
        for path in self.paths:
            row, size_bytes = 0, path.stat().st_size
            for batch, share in self._batches(path):
                for part in self._slices(batch):
                    arrays = self._arrays(part, path, row)
                    bytes_read = bytes_before + int(size_bytes * share)
                    yield chunk_of_arrays(arrays, decisions, first_row=row, bytes_read=bytes_read, path=path)
                    row += len(part)
            bytes_before += size_bytes

    def _batches(self, path: Path) -> Iterator[tuple[pa.RecordBatch, float]]:
        """Record batches, and the share of the file read with them."""
        row = 0
        with reading("Arrow IPC", path, None):
            reader = _open_ipc(path)
        with reader:
            if isinstance(reader, pa.ipc.RecordBatchFileReader):
                count = reader.num_record_batches
                for i in range(count):
                    with reading("Arrow IPC", path, row):
                        batch = reader.get_batch(i)
                    yield batch, (i + 1) / count
                    row += len(batch)
                return
            while True:
                with reading("Arrow IPC", path, row):
                    batch = next(reader, None)
                if batch is None:
                    return
                yield batch, 0.0  # a stream does not say how far it has come
                row += len(batch)


class MemoryReader(_TableReader):
    """A table in memory that speaks the Arrow stream protocol (pyarrow, pandas, polars, DuckDB)."""

    def __init__(self, source: object) -> None:
        with reading("table", None, None):
            self._table = source if isinstance(source, pa.Table) else pa.table(source)
        super().__init__("table in memory", [], [self._table.schema])
        self.num_rows = self._table.num_rows
        self.nullable = {name for name in self._table.column_names if self._table.column(name).null_count}

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        row = 0
        for batch in self._table.to_batches():
            for part in self._slices(batch):
                yield chunk_of_arrays(self._arrays(part, None, row), decisions, first_row=row, bytes_read=0, path=None)
                row += len(part)


@contextmanager
def reading(kind: str, path: Path | None, row: int | None, field: str | None = None) -> Iterator[None]:
    """Turn what pyarrow says about a damaged or foreign file into an IngestError that says where."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        where = "" if row is None else " from here on"
        message = f"the source must be readable {kind} data{where}; pyarrow says: {error}"
        raise IngestError(message, path=path, row=row, field=field) from None


def _open_ipc(path: Path) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
    source = pa.OSFile(str(path))  # not a map: a file that shrinks must not end the process
    head = source.read(6)
    source.seek(0)
    if head[:4] == b"FEA1":
        raise pa.ArrowInvalid("Feather version 1 is not read; write it anew with pyarrow.feather.write_feather")
    return pa.ipc.open_file(source) if head == b"ARROW1" else pa.ipc.open_stream(source)


def _unify(schemas: list[pa.Schema], paths: list[Path]) -> pa.Schema:
    """One schema for all files: same columns everywhere, each as the widest of its types."""
    first = schemas[0]
    for schema, path in zip(schemas[1:], paths[1:], strict=True):
        different = set(first.names) ^ set(schema.names)
        if different:
            name = min(different)
            lacking = path if name in first.names else paths[0]
            raise IngestError(
                "all files of a source must have the same columns; this file lacks one",
                path=lacking,
                field=name,
            )
    if len(schemas) == 1:
        return first.remove_metadata()
    try:
        return pa.unify_schemas([s.remove_metadata() for s in schemas], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise IngestError(
            f"all files of a source must agree on their columns' types; {error}", path=paths[0].parent
        ) from None


def _nullable_columns(file: object) -> set[str]:
    """Columns that miss values according to the file's statistics; those without statistics are left out."""
    metadata, nullable = file.metadata, set()
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        for c in range(metadata.num_columns):
            chunk = group.column(c)
            statistics = chunk.statistics
            if statistics is not None and statistics.has_null_count and statistics.null_count:
                nullable.add(chunk.path_in_schema)  # equals the column's name where it is not nested
    return nullable


def _partitions(paths: list[Path], root: Path | None, names: list[str]) -> dict[str, tuple[list[object], pa.DataType]]:
    """Columns told by folder names such as "year=2013": {name: (value for each file, type)}."""
    told = [
        dict(part.split("=", 1) for part in path.relative_to(root).parts[:-1] if "=" in part) if root else {}
        for path in paths
    ]
    partitions = {}
    for name in dict.fromkeys(name for parts in told for name in parts if name not in names):
        texts = [parts.get(name, HIVE_NULL) for parts in told]
        values = [None if text == HIVE_NULL else unquote(text) for text in texts]
        present = [v for v in values if v is not None]
        whole = present and all(v.lstrip("-").isdigit() and len(v) < 19 for v in present)
        kind = pa.int64() if whole else pa.string()
        partitions[name] = ([None if v is None else int(v) for v in values] if whole else values, kind)
    return partitions
