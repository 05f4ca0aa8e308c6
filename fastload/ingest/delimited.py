"""CSV and TSV files as chunks of columns, by pyarrow's parser. Importing this module imports pyarrow.

pyarrow's own streaming reader parses on one thread and dies at the first value that does not fit the types of
its first block. So a file is cut at record ends (``segments``), each piece is parsed by all threads, and a
piece that does not parse is read once more as bare bytes, to find the very row and value (``salvage``).
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fastload.errors import ArgumentError, IngestError
from fastload.ingest.ahead import read_ahead
from fastload.ingest.arrow import arrow_type, casts, check_names, chunk_of_arrays, pa, types
from fastload.ingest.decisions import Chunk, Decisions
from fastload.ingest.salvage import BareSegment, RaggedRow
from fastload.ingest.segments import Segment, TextFile
from fastload.ingest.summary import Tally

BLOCK_BYTES = 2 << 20  # what one thread parses at a time
MIXED_SAMPLE_ROWS = 10_000
MIXED_SHARE = 0.95
NUMBER = r"^\s*-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
INTEGER = r"^\s*-?\d{1,18}\s*$"


class CsvReader:
    """Delimited text files with the same columns.

    paths : files, plain, .gz or .zip (with one file inside).
    names : column names; the files then have no header.
    null_values : cells that mean "missing", beside the empty one; None for the usual words (NA, NaN, null,
    ...).
    on_bad_rows : "raise" stops at the first row that cannot be read, "skip" leaves such rows out and counts
    them.
    """

    def __init__(
        self,
        paths: list[Path],
        wanted: dict[str, str],
        *,
        names: Iterable[str] | None = None,
        delimiter: str | None = None,
        encoding: str = "utf-8",
        null_values: Iterable[str] | None = None,
        on_bad_rows: str = "raise",
        max_categories: int,
    ) -> None:
        if delimiter is not None and not (isinstance(delimiter, str) and len(delimiter) == 1 and delimiter.isascii()):
            raise ArgumentError(f"a delimiter is one ASCII character, got {delimiter!r}")
        try:
            codec = codecs.lookup(encoding).name
        except LookupError:
            raise ArgumentError(f"encoding must be one that Python knows, 'latin-1' say; got {encoding!r}") from None
        self.kind, self.paths = "CSV", paths
        self.size_bytes = sum(path.stat().st_size for path in paths)
        self.num_rows = None
        self.nullable: set[str] = set()
        self._wanted, self._max_categories = wanted, max_categories
        self._null_values = None if null_values is None else ["", *null_values]
        self._skips = on_bad_rows == "skip"
        self._files = [TextFile(path, codec, delimiter) for path in paths]
        self._has_header = names is None
        self.names = list(names) if names is not None else self._read_header()
        check_names(self.names, paths[0])
        self._chosen = self.names
        self._types: dict[str, pa.DataType] = {}  # found so far; only ever widened

    def choose(self, names: Iterable[str]) -> None:
        """Read only these columns from now on."""
        chosen = set(names)
        self._chosen = [name for name in self.names if name in chosen]

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        with read_ahead(self._tables(decisions, tally)) as tables:
            for table, rows, place in tables:
                done = 0
                for batch in table.combine_chunks().to_batches():  # one dictionary a column
                    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
                    part = None if rows is None else rows[done : done + len(batch)]
                    first_row = place["first_row"] + done
                    yield chunk_of_arrays(
                        arrays, decisions, **{**place, "first_row": first_row}, rows=part, encoded_here=True
                    )
                    done += len(batch)

    def _tables(
        self, decisions: Decisions, tally: Tally
    ) -> Iterator[tuple[pa.Table, np.ndarray | None, dict[str, object]]]:
        """The segments' records, their row numbers if some were refused, and where they are from."""
        bytes_before = 0
        for file in self._files:
            first_row = 0
            for segment in file.segments(has_header=self._has_header):
                segment.first_row = first_row
                table, rows, num_records = self._parse(segment, decisions, tally)
                bytes_read = bytes_before + segment.bytes_read
                yield table, rows, {"path": file.path, "first_row": first_row, "bytes_read": bytes_read}
                first_row += num_records
            bytes_before += file.path.stat().st_size

    def _read_header(self) -> list[str]:
        names: list[str] = []
        for file in self._files:
            text = file.header()
            if not text.strip():
                message = "a CSV file must begin with a line of column names; the file is empty"
                raise IngestError(message, path=file.path)
            file.delimiter = file.delimiter or guess_delimiter(text, file.path)
            cells = next(csv.reader(io.StringIO(text), delimiter=file.delimiter))
            found = [name or f"column_{i}" for i, name in enumerate(cells)]
            if names and names != found:
                raise IngestError(f"all files must have the same header; found {found} after {names}", path=file.path)
            names = found
        return names

    # --- parsing ---------------------------------------------------------------------------------

    def _parse(self, segment: Segment, decisions: Decisions, tally: Tally) -> tuple[pa.Table, np.ndarray | None, int]:
        """The segment's records, their row numbers in the file if some were refused, and how many records
        there were."""
        table, ragged, refusal = None, [], None
        if not self._types:
            table, ragged = self._infer(segment, tally)
        if table is None:
            try:
                table, ragged = self._read(segment, self._column_types(decisions))
            except pa.ArrowInvalid:
                self._widen(segment)
                try:
                    table, ragged = self._read(segment, self._column_types(decisions))
                except pa.ArrowInvalid as error:
                    refusal = error
        if refusal is None and not ragged:
            return table, None, table.num_rows
        bare = self._read_bare(segment, self._column_types(decisions))
        if not self._skips:
            bare.raise_first(refusal)
        return (*bare.leave_out(tally), bare.num_records)

    def _read(
        self,
        segment: Segment,
        column_types: dict[str, pa.DataType],
        *,
        find_categories: bool = False,
        threads: bool = True,
    ) -> tuple[pa.Table, list[RaggedRow]]:
        """Parse with these types. Records with a wrong number of cells are left out and listed; without
        threads they are numbered."""
        ragged: list[RaggedRow] = []

        def set_aside(row: pa.csv.InvalidRow) -> str:
            ragged.append(RaggedRow((row.number or 0) - 1, row.actual_columns, row.text))
            return "skip"

        nulls = {} if self._null_values is None else {"null_values": self._null_values}
        table = pa.csv.read_csv(
            pa.BufferReader(segment.data),
            read_options=pa.csv.ReadOptions(column_names=self.names, block_size=BLOCK_BYTES, use_threads=threads),
            parse_options=pa.csv.ParseOptions(
                delimiter=segment.file.delimiter or ",",
                newlines_in_values=segment.quoted_newlines,
                invalid_row_handler=set_aside,
            ),
            convert_options=pa.csv.ConvertOptions(
                include_columns=self._chosen,
                column_types=column_types,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                auto_dict_encode=find_categories,
                auto_dict_max_cardinality=self._max_categories,
                **nulls,
            ),
        )
        return table, ragged

    def _read_bare(self, segment: Segment, column_types: dict[str, pa.DataType]) -> BareSegment:
        table, ragged = self._read(segment, dict.fromkeys(self._chosen, pa.binary()), threads=False)
        columns = {name: _joined(table.column(name)) for name in self._chosen}
        return BareSegment(segment, columns, ragged, column_types, len(self.names))

    # --- types -----------------------------------------------------------------------------------

    def _column_types(self, decisions: Decisions) -> dict[str, pa.DataType]:
        """Types to parse by: those found, but plain text where no categories will be stored."""
        return {
            name: pa.string() if types.is_dictionary(kind) and decisions.keeps_text(name) else kind
            for name, kind in self._types.items()
        }

    def _wanted_types(self) -> dict[str, pa.DataType]:
        """Types the user asked for. Times are left to inference, which also sees whether they name a zone."""
        special = {
            "category": pa.dictionary(pa.int32(), pa.string()),
            "string": pa.string(),
            "bytes": pa.binary(),
        }
        return {
            name: special.get(dtype) or arrow_type(dtype)
            for name, dtype in self._wanted.items()
            if name in self._chosen and not dtype.startswith("timestamp")
        }

    def _infer(self, segment: Segment, tally: Tally) -> tuple[pa.Table | None, list[RaggedRow]]:
        """Settle the types from the first segment; its table if that holds as it is."""
        table, ragged = self._infer_types(segment)
        wanted = self._wanted_types()
        for name in self._chosen:
            self._types[name] = wanted.get(name) or self._settle(name, table.column(name), tally)
        holds = all(table.column(name).type == kind for name, kind in self._types.items())
        return (table, ragged) if holds else (None, [])

    def _infer_types(self, segment: Segment) -> tuple[pa.Table, list[RaggedRow]]:
        try:
            return self._read(segment, self._wanted_types(), find_categories=True)
        except pa.ArrowInvalid:
            try:
                return self._read(segment, {}, find_categories=True)
            except pa.ArrowInvalid as error:
                message = f"the file must be readable CSV; pyarrow says: {error}"
                raise IngestError(message, path=segment.file.path, row=segment.first_row) from None

    def _settle(self, name: str, column: pa.ChunkedArray, tally: Tally) -> pa.DataType:
        """The type of a column, given what pyarrow inferred for it."""
        kind, asked = column.type, self._wanted.get(name, "")
        if types.is_binary(kind.value_type if types.is_dictionary(kind) else kind):
            return pa.string()  # inferred only where the text is not UTF-8; parsing it as text then says where
        if types.is_string(kind) or types.is_dictionary(kind):
            return _time_type(column, asked) if asked.startswith("timestamp") else _number_type(column) or kind
        if types.is_floating(kind):
            largest = pa.compute.max(pa.compute.abs(column)).as_py()
            if largest is not None and 2**53 <= largest < 2**70:
                tally.note(
                    f"column {name!r} holds numbers beyond 2^53, read as float64 with 15 to 17 digits; "
                    f"dtypes={{{name!r}: 'string'}} keeps every digit"
                )
        return kind

    def _widen(self, segment: Segment) -> None:
        """Widen what this segment shows to be too narrow: integers to floats, seconds to nanoseconds."""
        table, _ = self._infer_types(segment)
        for name in self._chosen:
            if name not in self._wanted:
                self._types[name] = _wider(self._types[name], table.column(name).type)


def guess_delimiter(header: str, path: Path) -> str:
    """What stands between the cells of a CSV file, told by its name and its first line."""
    if ".tsv" in [suffix.lower() for suffix in path.suffixes]:
        return "\t"
    return next((mark for mark in (",", "\t", ";", "|") if mark in header), ",")


def _time_type(column: pa.ChunkedArray, asked: str) -> pa.DataType:
    """Text that pyarrow did not take for times, although the user says so: parsing it will tell what is
    wrong."""
    unit = asked[len("timestamp[") : -1] or "us"
    first = _joined(column.slice(0, MIXED_SAMPLE_ROWS).cast(pa.string())).drop_null()[:1]
    zoned = pa.timestamp(unit, "UTC")
    return zoned if casts(first, zoned) else pa.timestamp(unit)


def _number_type(column: pa.ChunkedArray) -> pa.DataType | None:
    """The type of a column of numbers among which a few cells are text; None for a column of text."""
    sample = _joined(column.slice(0, MIXED_SAMPLE_ROWS).cast(pa.string())).drop_null()
    if not len(sample):
        return None
    numbers = pa.compute.match_substring_regex(sample, NUMBER)
    if pa.compute.sum(numbers).as_py() < MIXED_SHARE * len(sample):
        return None
    whole = pa.compute.match_substring_regex(sample.filter(numbers), INTEGER)
    return pa.int64() if pa.compute.all(whole).as_py() else pa.float64()


def _wider(old: pa.DataType, new: pa.DataType) -> pa.DataType:
    """The type that holds cells of both, if reading all of them by it loses nothing; else `old`."""
    if types.is_null(old):
        return new
    if types.is_integer(old) and types.is_floating(new):
        return new
    if types.is_date(old) and types.is_timestamp(new) and new.tz is None:
        return new
    if types.is_timestamp(old) and types.is_timestamp(new) and (old.unit, new.unit, new.tz) == ("s", "ns", old.tz):
        return new
    return old


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
