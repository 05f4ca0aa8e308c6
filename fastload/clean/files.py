"""Tables in files, a batch at a time: csv, parquet, arrow and fastload data sets in and out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from fastload.block.dataset import Dataset
from fastload.clean.frames import check_names, from_arrow, pl, plain, to_arrow, to_frame
from fastload.errors import ArgumentError, EmptyError, ExistsError, IngestError
from fastload.ingest.arrow import pa
from fastload.ingest.arrow_out import arrow_array, arrow_schema
from fastload.ingest.decisions import Decisions
from fastload.ingest.delimited import CsvReader, guess_delimiter
from fastload.ingest.export import published
from fastload.ingest.sources import ARROW, CSV, PARQUET
from fastload.ingest.summary import Tally
from fastload.ingest.tabular import reading
from fastload.schema import Field, Ragged

WRITER_BYTES = 48 << 20  # what making a data set takes beside its rows
MAX_HEADER_BYTES = 1 << 20
MAX_VECTOR_COLUMNS = 1024  # a vector of more is no row of a table


class Source(Protocol):
    """A table that can be read more than once, each time from its first row.

    name : what to call it. num_rows : None where that takes reading. is_text : cells come as they are written (CSV).
    vectors : {vector field: its columns, called "field[0]" and so on}. reader_bytes : memory that reading takes in any case.
    """

    name: str
    num_rows: int | None
    is_text: bool
    vectors: dict[str, list[str]]
    reader_bytes: int

    def batches(self, batch_bytes: int) -> Iterator[pl.DataFrame]:
        """All rows in order, about so many bytes at a time."""


def open_table(source: Any) -> Source:
    """A path, a data set or a table in memory as a Source.

    Raises
    ------
    IngestError
        No such file, or of a kind that is not read here.
    ArgumentError
        Something else altogether.

    Examples
    --------
    >>> open_table({"a": [1, 2]}).num_rows
    2
    """
    if isinstance(source, Dataset):
        return DatasetSource(source)
    if not isinstance(source, (str, os.PathLike)):
        return MemorySource(to_frame(source).frame)
    path = Path(source)
    if path.is_dir():
        return DatasetSource(Dataset(path))
    if not path.exists():
        raise IngestError("the source must exist; there is no such file", path=path)
    for suffixes, kind in ((CSV, CsvSource), (PARQUET, ParquetSource), (ARROW, ArrowSource)):
        if path.name.lower().endswith(suffixes):
            return kind(path)
    known = ", ".join((*CSV, *PARQUET, *ARROW))
    raise IngestError(f"a table to clean must be a fastload data set or a file that ends in one of {known}", path=path)


def read_csv(path: Path) -> pl.DataFrame:
    """A CSV file as a frame, its columns of the types that all their cells fit; empty cells and words as NA are null.

    Raises
    ------
    IngestError
        It cannot be read as a table.
    """
    block_bytes = max(1 << 20, min(path.stat().st_size, 1 << 30))  # types are those of the first block: of all cells
    try:
        with pa.input_stream(path) as file:
            header = file.read(MAX_HEADER_BYTES).split(b"\n")[0].decode(errors="replace")
        return from_arrow(
            pa.csv.read_csv(
                path,
                read_options=pa.csv.ReadOptions(block_size=block_bytes),
                parse_options=pa.csv.ParseOptions(delimiter=guess_delimiter(header, path), newlines_in_values=True),
                convert_options=pa.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
            )
        )
    except pa.ArrowInvalid as error:
        raise IngestError(f"a CSV file must hold a table: {error}; fastload convert tells more", path=path) from None


class MemorySource:
    """A frame, in one batch."""

    name, is_text, reader_bytes = "table", False, 0

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame, self.num_rows = frame, len(frame)
        self.vectors: dict[str, list[str]] = {}

    def batches(self, batch_bytes: int) -> Iterator[pl.DataFrame]:
        yield self._frame


class CsvSource:
    """All cells as text, empty ones as null: what a cell means is for the steps to say."""

    is_text, reader_bytes = True, 128 << 20

    def __init__(self, path: Path) -> None:
        self.name, self.num_rows, self._path = str(path), None, path
        self.vectors: dict[str, list[str]] = {}

    def batches(self, batch_bytes: int) -> Iterator[pl.DataFrame]:
        wanted: dict[str, str] = {}
        reader = CsvReader([self._path], wanted, null_values=(), max_categories=0)
        wanted.update(dict.fromkeys(reader.names, "string"))
        for chunk in reader.chunks(Decisions(wanted, 0), Tally()):
            columns = {name: _text_series(name, column.data) for name, column in chunk.columns.items()}
            yield from _sliced(pl.DataFrame(list(columns.values())), batch_bytes)
            pa.default_memory_pool().release_unused()  # it would keep several times of what it needs


def _text_series(name: str, data: Ragged) -> pl.Series:
    array = arrow_array(data, Field(name, "string", nullable=True))
    return pl.Series(name, pl.from_arrow(array))


class ParquetSource:
    """Read by polars, slice by slice: pyarrow holds a whole row group several times over."""

    is_text, reader_bytes = False, 0

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self.name, self._path = str(path), path
        self.vectors: dict[str, list[str]] = {}
        with reading("Parquet", path, None), parquet.ParquetFile(path) as file:
            self.num_rows = file.metadata.num_rows
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            self._row_bytes = max(1, sum(g.total_byte_size for g in groups) // max(1, self.num_rows))

    def batches(self, batch_bytes: int) -> Iterator[pl.DataFrame]:
        batch_rows = max(1, batch_bytes // self._row_bytes)
        for row in range(0, self.num_rows, batch_rows):
            try:
                frame = pl.scan_parquet(self._path, glob=False).slice(row, batch_rows).collect()
            except (pl.exceptions.PolarsError, OSError) as error:
                message = f"the source must be readable Parquet data from here on; polars says: {error}"
                raise IngestError(message, path=self._path, row=row) from None
            yield from _sliced(plain(frame), batch_bytes)


class ArrowSource:
    is_text, reader_bytes = False, 0

    def __init__(self, path: Path) -> None:
        self.name, self.num_rows, self._path = str(path), None, path
        self.vectors: dict[str, list[str]] = {}

    def batches(self, batch_bytes: int) -> Iterator[pl.DataFrame]:
        with reading("Arrow IPC", self._path, None), pa.OSFile(str(self._path)) as file:
            head = file.read(6)
            file.seek(0)
            reader = pa.ipc.open_file(file) if head == b"ARROW1" else pa.ipc.open_stream(file)
            batches = (
                (reader.get_batch(i) for i in range(reader.num_record_batches)) if head == b"ARROW1" else iter(reader)
            )
            for batch in batches:
                yield from _sliced(from_arrow(batch), batch_bytes)
                pa.default_memory_pool().release_unused()


class DatasetSource:
    """A fastload data set; the entries of a float vector field are columns of their own.

    Its files are mapped: what the system caches of them is not counted as memory taken.
    """

    is_text, reader_bytes = False, 32 << 20

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.name, self.num_rows = dataset, str(dataset.path), dataset.num_rows
        self.vectors = {
            field.name: [f"{field.name}[{i}]" for i in range(field.shape[0])]
            for field in dataset.schema
            if len(field.shape) == 1 and field.dtype in ("float32", "float64") and not field.nullable
            if field.shape[0] <= MAX_VECTOR_COLUMNS
        }

    def batches(self, batch_bytes: int) -> Iterator[pl.DataFrame]:
        schema = arrow_schema(self.dataset)
        categories = {f.name: self.dataset.categories(f.name) for f in self.dataset.schema if f.categories}
        row_bytes = max(1, self.dataset.raw_bytes // self.dataset.num_rows)
        batch_rows = max(1, batch_bytes // row_bytes)
        blocks_bytes = max(4 * batch_bytes, 16 << 20, 4 * self.dataset.raw_bytes // self.dataset.num_blocks)
        for batch in self.dataset.batches(batch_rows, memory_bytes=blocks_bytes):
            columns: list[pl.Series] = []
            for field, kind in zip(self.dataset.schema, schema, strict=True):
                data = batch[field.name]
                if field.name in self.vectors:
                    columns += [pl.Series(name, data[:, i]) for i, name in enumerate(self.vectors[field.name])]
                else:
                    array = arrow_array(data, field, categories.get(field.name))
                    columns += from_arrow(pa.table([array], pa.schema([kind]))).get_columns()
            yield from _sliced(pl.DataFrame(columns), batch_bytes)


def _sliced(frame: pl.DataFrame, batch_bytes: int) -> Iterator[pl.DataFrame]:
    check_names(frame)
    step = max(1, len(frame) * batch_bytes // max(1, frame.estimated_size()))
    yield from frame.iter_slices(step) if step < len(frame) else iter([frame])


# --- writing -------------------------------------------------------------------------------------


class Sink(Protocol):
    def write(self, frame: pl.DataFrame) -> None: ...


def writer_bytes(path: Path) -> int:
    """Memory that writing this takes in any case."""
    return WRITER_BYTES if path.suffix in ("", ".fl") else 0


@contextmanager
def writing(path: Path, vectors: dict[str, list[str]], *, overwrite: bool) -> Iterator[Sink]:
    """A place for frames, one after the other; the file or data set appears when the block ends well, and not at all else.

    By the path's suffix: csv, parquet, arrow / feather / ipc, or a fastload data set for ``.fl`` and for none.

    Raises
    ------
    ExistsError, ArgumentError, DiskFullError, FileIOError
    """
    if path.exists() and not overwrite:
        raise ExistsError(f"{path} exists; choose another path or pass overwrite=True")
    name = path.name.lower()
    if name.endswith((".csv", ".tsv")):
        with published(path) as file:
            yield _CsvSink(file, "\t" if name.endswith(".tsv") else ",")
    elif name.endswith(PARQUET):
        with published(path) as file, _ArrowSink(file, as_parquet=True) as sink:
            yield sink
    elif name.endswith(ARROW):
        with published(path) as file, _ArrowSink(file, as_parquet=False) as sink:
            yield sink
    elif path.suffix in ("", ".fl"):
        yield from _dataset_sink(path, vectors, overwrite)
    else:
        known = ", ".join((".fl", ".csv", ".tsv", *PARQUET, *ARROW))
        raise ArgumentError(f"what is written must end in one of {known}; got {path.name!r}")


class _CsvSink:
    def __init__(self, file: Any, separator: str) -> None:
        self._file, self._separator, self._is_first = file, separator, True

    def write(self, frame: pl.DataFrame) -> None:
        frame.write_csv(self._file, include_header=self._is_first, separator=self._separator)
        self._is_first = False


class _ArrowSink:
    """Record batches to a Parquet or Arrow IPC file, all of the first one's schema."""

    def __init__(self, file: Any, *, as_parquet: bool) -> None:
        self._file, self._as_parquet, self._writer = file, as_parquet, None

    def write(self, frame: pl.DataFrame) -> None:
        table = to_arrow(frame)
        if self._writer is None:
            self._writer = self._open(table.schema)
        self._writer.write_table(table.cast(self._writer.schema) if self._as_parquet else table)

    def _open(self, schema: pa.Schema) -> Any:
        if self._as_parquet:
            from pyarrow import parquet

            texts = [
                field.name for field in schema if pa.types.is_large_string(field.type)
            ]  # of numbers it takes memory only
            return parquet.ParquetWriter(self._file, schema, compression="zstd", use_dictionary=texts)
        return pa.ipc.new_file(self._file, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def __enter__(self) -> _ArrowSink:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _dataset_sink(path: Path, vectors: dict[str, list[str]], overwrite: bool) -> Iterator[Sink]:
    """By way of an Arrow file beside the data set: what its fields are is known when all rows have been seen."""
    from fastload.ingest import convert

    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        table = folder / "table.arrow"
        with table.open("wb") as file, _ArrowSink(file, as_parquet=False) as sink:
            yield sink
        if not table.stat().st_size:
            raise EmptyError(f"no row is left to write to {path}")
        with pa.OSFile(str(table)) as file:
            names = pa.ipc.open_file(file).schema.names
        whole = {field: members for field, members in vectors.items() if set(members) <= set(names)}
        convert(table, path, pack=whole, overwrite=overwrite, progress=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
