"""CSV and TSV files as chunks of columns, by pyarrow's parser. Importing this module imports pyarrow.

pyarrow's own streaming reader parses on one thread and dies at the first value that does not fit the types of its first
block. So the file is cut here, at record ends, into segments of 32 MiB, each parsed by all threads; a segment that does
not parse is read once more as bare bytes to find the very row and value.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastload.errors import ArgumentError, IngestError
from fastload.ingest.arrow import all_failing, arrow_type, casts, first_failing, pa, text_to, types
from fastload.ingest.decisions import Chunk, Decisions
from fastload.ingest.summary import Tally
from fastload.ingest.tabular import check_names, columns_of_batch

SEGMENT_BYTES = 32 << 20
BLOCK_BYTES = 4 << 20  # what one thread parses at a time
MAX_RECORD_BYTES = 256 << 20
MIXED_SAMPLE_ROWS = 10_000
MIXED_SHARE = 0.95
NUMBER = r"^\s*-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
INTEGER = r"^\s*-?\d{1,18}\s*$"


@dataclass
class Segment:
    """Whole records of one file, without its header.

    offset : decoded bytes of the file before it. first_row : number of its first record in the file.
    """

    path: Path
    data: bytes
    offset: int
    first_row: int
    bytes_read: int
    quoted_newlines: bool


class CsvReader:
    """Delimited text files with the same columns.

    paths : files, plain, .gz or .zip (with one file inside).
    names : column names; the files then have no header.
    null_values : cells that mean "missing", beside the empty one; None for the usual words (NA, NaN, null, ...).
    on_bad_rows : "raise" stops at the first row that cannot be read, "skip" leaves such rows out and counts them.
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
        if on_bad_rows not in ("raise", "skip"):
            raise ArgumentError(f'on_bad_rows must be "raise" or "skip", got {on_bad_rows!r}')
        if delimiter is not None and not (
            isinstance(delimiter, str) and len(delimiter) == 1 and delimiter.isascii()
        ):
            raise ArgumentError(f"a delimiter is one ASCII character, got {delimiter!r}")
        try:
            self._encoding = codecs.lookup(encoding).name
        except LookupError:
            raise ArgumentError(
                f"encoding must be a name Python knows, such as 'latin-1'; got {encoding!r}"
            ) from None
        self.kind, self.paths = "CSV", paths
        self.size_bytes = sum(path.stat().st_size for path in paths)
        self.num_rows = None
        self.nullable: set[str] = set()
        self._wanted, self._max_categories = wanted, max_categories
        self._null_values = None if null_values is None else ["", *null_values]
        self._skips = on_bad_rows == "skip"
        self._delimiter = delimiter
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
        bytes_before = 0
        for path in self.paths:
            row = 0
            for segment in self._segments(path):
                segment.first_row = row
                table, rows = self._parse(segment, decisions, tally)
                bytes_read = bytes_before + segment.bytes_read
                start = 0
                for batch in table.to_batches():
                    part = None if rows is None else rows[start : start + len(batch)]
                    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
                    yield columns_of_batch(
                        arrays,
                        decisions,
                        first_row=row + start,
                        bytes_read=bytes_read,
                        path=path,
                        rows=part,
                        encoded_here=True,
                    )
                    start += len(batch)
                row = segment.first_row
            bytes_before += path.stat().st_size

    # --- cutting the file ------------------------------------------------------------------------

    def _read_header(self) -> list[str]:
        first: list[str] | None = None
        for path in self.paths:
            with self._open(path) as stream:
                text, _ = _header_record(stream.read(1 << 20))
            if not text.strip():
                raise IngestError(
                    "a CSV file must begin with a line of column names; the file is empty", path=path
                )
            if self._delimiter is None:
                self._delimiter = _guess_delimiter(text, path)
            record = next(csv.reader(io.StringIO(text), delimiter=self._delimiter))
            names = [name or f"column_{i}" for i, name in enumerate(record)]
            if first is not None and names != first:
                raise IngestError(
                    f"all files must have the same header; found {names} after {first}", path=path
                )
            first = names
        return first or []

    def _segments(self, path: Path) -> Iterator[Segment]:
        with self._open(path) as stream:
            rest, offset = stream.read(SEGMENT_BYTES), 0
            if self._has_header:
                _, header_bytes = _header_record(rest)
                rest, offset = rest[header_bytes:], header_bytes
            at_end = False
            while not at_end or rest:
                more = stream.read(max(SEGMENT_BYTES - len(rest), len(rest)))
                at_end = not more
                data = rest + more if rest else more
                cut, quoted = _record_end(data, self._delimiter or ",")
                cut = len(data) if at_end else cut
                if at_end and b'"' in data and data.count(b'"') % 2:
                    self._check_closed(data, path, offset)
                if cut == 0 and len(data) > MAX_RECORD_BYTES:
                    raise IngestError(
                        f"a record must end within {MAX_RECORD_BYTES >> 20} MiB; a quoted value that begins after line "
                        f"{self._line(path, offset)} does not end",
                        path=path,
                    )
                records, rest = data[:cut], data[cut:]
                if records and not records.isspace():
                    yield Segment(path, records, offset, 0, stream.position(), quoted)
                offset += cut

    def _check_closed(self, data: bytes, path: Path, offset: int) -> None:
        """Refuse a quoted value that the end of the file cuts off: the parser would take it for one long cell."""
        reader = csv.reader(
            io.StringIO(data.decode("utf-8", "replace"), newline=""),
            delimiter=self._delimiter or ",",
            strict=True,
        )
        line = 0
        try:
            for _ in reader:
                line = reader.line_num
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                at = self._line(path, offset) + line
                raise IngestError(
                    f"a quoted value must be closed; one begins in line {at} and never ends", path=path
                ) from None

    @contextmanager
    def _open(self, path: Path) -> Iterator[_Stream]:
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(path.open("rb"))
                inner = raw
                if path.suffix.lower() == ".gz":
                    inner = stack.enter_context(gzip.GzipFile(fileobj=raw))
                elif path.suffix.lower() == ".zip":
                    archive = stack.enter_context(zipfile.ZipFile(raw))
                    inner = stack.enter_context(archive.open(_only_member(archive, path)))
            except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
                raise IngestError(f"the file must be readable; {error}", path=path) from None
            yield _Stream(inner, raw, self._encoding, path)

    def _line(self, path: Path, offset: int) -> int:
        """Number of the line that begins `offset` decoded bytes into the file (1-based)."""
        line, left = 1, offset
        with self._open(path) as stream:
            while left > 0 and (data := stream.read(min(left, SEGMENT_BYTES))):
                line += data[:left].count(b"\n")
                left -= len(data)
        return line

    def _line_of_row(self, segment: Segment, index: int) -> int:
        """Number of the line in which record `index` of the segment ends, blank lines and quoted newlines counted."""
        reader = csv.reader(
            io.StringIO(segment.data.decode("utf-8", "replace"), newline=""), delimiter=self._delimiter or ","
        )
        record = -1
        for cells in reader:
            record += bool(cells)
            if record == index:
                break
        return self._line(segment.path, segment.offset) + reader.line_num - 1

    # --- parsing ---------------------------------------------------------------------------------

    def _parse(
        self, segment: Segment, decisions: Decisions, tally: Tally
    ) -> tuple[pa.Table, np.ndarray | None]:
        """The segment's records, and their row numbers if some were refused. Moves segment.first_row past them."""
        table, bad = None, []
        if not self._types:
            table, bad = self._infer(segment, tally)
        if table is None:
            try:
                table, bad = self._read(segment, self._column_types(decisions))
            except pa.ArrowInvalid:
                self._widen(segment)
                try:
                    table, bad = self._read(segment, self._column_types(decisions))
                except pa.ArrowInvalid as error:
                    return self._salvage(segment, self._column_types(decisions), tally, error)
        if not bad:
            segment.first_row += table.num_rows
            return table, None
        return self._salvage(segment, {f.name: f.type for f in table.schema}, tally, None)

    def _read(
        self,
        segment: Segment,
        column_types: dict[str, pa.DataType],
        *,
        find_categories: bool = False,
        threads: bool = True,
    ) -> tuple[pa.Table, list[tuple[int | None, int, str]]]:
        """Parse with these types; rows with another number of cells are left out and listed as (number, cells, text)."""
        bad: list[tuple[int | None, int, str]] = []

        def set_aside(row: pa.csv.InvalidRow) -> str:
            bad.append((row.number, row.actual_columns, row.text))
            return "skip"

        nulls = {} if self._null_values is None else {"null_values": self._null_values}
        table = pa.csv.read_csv(
            pa.BufferReader(segment.data),
            read_options=pa.csv.ReadOptions(
                column_names=self.names, block_size=BLOCK_BYTES, use_threads=threads
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=self._delimiter or ",",
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
        return table, bad

    def _column_types(self, decisions: Decisions) -> dict[str, pa.DataType]:
        plain = {name: pa.string() for name, kind in self._types.items() if types.is_dictionary(kind)}
        return {
            name: plain[name] if name in plain and decisions.keeps_text(name) else k
            for name, k in self._types.items()
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

    def _infer_types(self, segment: Segment) -> tuple[pa.Table, list[tuple[int | None, int, str]]]:
        try:
            return self._read(segment, self._wanted_types(), find_categories=True)
        except pa.ArrowInvalid:
            try:
                return self._read(segment, {}, find_categories=True)
            except pa.ArrowInvalid as error:
                raise IngestError(
                    f"the file must be readable CSV; pyarrow says: {error}", path=segment.path
                ) from None

    def _infer(
        self, segment: Segment, tally: Tally
    ) -> tuple[pa.Table | None, list[tuple[int | None, int, str]]]:
        """Settle the types from the first segment; its table if that holds as it is."""
        table, bad = self._infer_types(segment)
        wanted = self._wanted_types()
        found = {
            name: wanted.get(name) or self._settle(name, table.column(name), tally) for name in self._chosen
        }
        self._types = found
        return (table, bad) if all(table.column(n).type == kind for n, kind in found.items()) else (None, [])

    def _settle(self, name: str, column: pa.ChunkedArray, tally: Tally) -> pa.DataType:
        """The type of a column, given what pyarrow inferred for it."""
        kind = column.type
        if types.is_binary(kind.value_type if types.is_dictionary(kind) else kind):
            return (
                pa.string()
            )  # inferred only where the text is not UTF-8; parsing it as text then says where
        asked = self._wanted.get(name, "")
        if types.is_string(kind) or types.is_dictionary(kind):
            if asked.startswith("timestamp"):
                unit = asked[len("timestamp[") : -1] or "us"
                zoned = pa.timestamp(unit, "UTC")
                sample = column.slice(0, MIXED_SAMPLE_ROWS).cast(pa.string()).combine_chunks()
                return zoned if casts(sample.drop_null()[:1], zoned) else pa.timestamp(unit)
            return _number_type(column) or kind
        if (
            types.is_floating(kind)
            and (bound := pa.compute.max(pa.compute.abs(column)).as_py())
            and 2**53 <= bound < 2**70
        ):
            tally.note(
                f"column {name!r} holds numbers beyond 2^53, read as float64 with 15 to 17 digits; "
                f"dtypes={{{name!r}: 'string'}} keeps every digit"
            )
        return kind

    def _widen(self, segment: Segment) -> None:
        """Widen types that this segment shows to be too narrow: integers to floats, seconds to nanoseconds, nothing to all."""
        table, _ = self._infer_types(segment)
        for name in self._chosen:
            if name not in self._wanted:
                self._types[name] = _wider(self._types[name], table.column(name).type)

    # --- rows that cannot be read ----------------------------------------------------------------

    def _salvage(
        self, segment: Segment, column_types: dict[str, pa.DataType], tally: Tally, error: Exception | None
    ) -> tuple[pa.Table, np.ndarray]:
        """Read a segment with bad rows: name the first of them, or leave all of them out and count them."""
        bare, ragged = self._read(segment, dict.fromkeys(self._chosen, pa.binary()), threads=False)
        columns = {name: _joined(bare.column(name)) for name in self._chosen}
        total = bare.num_rows + len(ragged)
        rows = np.setdiff1d(np.arange(total), np.array([number - 1 for number, _, _ in ragged], np.int64))
        failing = self._failing_cells(columns, column_types)
        if not self._skips:
            self._raise_first(segment, columns, column_types, ragged, rows, failing, error)
        refused: dict[int, tuple[str, str]] = {}
        for number, cells, text in ragged:
            refused[number - 1] = (f"a row must have {len(self.names)} cells", f"{cells} cells: {text}")
        for name, indices in failing.items():
            for index in indices:
                told = (
                    f"column {name!r} must hold {_describe(column_types[name])}",
                    _show(columns[name][index]),
                )
                refused.setdefault(int(rows[index]), told)
        for row in sorted(refused):
            reason, text = refused[row]
            tally.refuse(reason, segment.first_row + row, text)
        keep = np.ones(bare.num_rows, bool)
        for indices in failing.values():
            keep[indices] = False
        kept = {
            name: text_to(columns[name].filter(pa.array(keep)), kind) for name, kind in column_types.items()
        }
        numbers = segment.first_row + rows[keep]
        segment.first_row += total
        return pa.table(kept), numbers

    def _failing_cells(
        self, columns: dict[str, pa.Array], column_types: dict[str, pa.DataType]
    ) -> dict[str, list[int]]:
        find = all_failing if self._skips else lambda array, kind: [first_failing(array, kind)]
        return {
            name: find(columns[name], kind)
            for name, kind in column_types.items()
            if not types.is_binary(kind) and not casts(columns[name], kind)
        }

    def _raise_first(
        self,
        segment: Segment,
        columns: dict[str, pa.Array],
        column_types: dict[str, pa.DataType],
        ragged: list[tuple[int | None, int, str]],
        rows: np.ndarray,
        failing: dict[str, list[int]],
        error: Exception | None,
    ) -> None:
        places = [(number - 1, None) for number, _, _ in ragged]
        places += [(int(rows[indices[0]]), name) for name, indices in failing.items()]
        if not places:
            raise IngestError(
                f"the file must be readable CSV; pyarrow says: {error}",
                path=segment.path,
                row=segment.first_row,
            )
        index, name = min(places, key=lambda place: place[0])
        where = {"path": segment.path, "row": segment.first_row + index, "field": name}
        line = self._line_of_row(segment, index)
        if name is None:
            cells, text = next((cells, text) for number, cells, text in ragged if number - 1 == index)
            raise IngestError(
                f"every row must have {len(self.names)} cells; line {line} has {cells}: {text[:80]!r}; "
                f'repair the file, or leave such rows out with on_bad_rows="skip"',
                **where,
            )
        cell = columns[name][failing[name][0]]
        raw, kind = cell.as_py(), column_types[name]
        if _is_utf8(raw):
            number = not types.is_floating(kind) and casts(pa.array([raw]), pa.float64())
            wider = "float64" if number else "string"
            message = (
                f"the column must hold {_describe(kind)}; line {line} has {_show(cell)}; widen it with "
                f"dtypes={{{name!r}: {wider!r}}}, read the value as missing with null_values=[{_show(cell)}], "
                f'or leave such rows out with on_bad_rows="skip"'
            )
        else:
            message = (
                f"text must be UTF-8; line {line} has {raw[:40]!r}; name the file's encoding (encoding='latin-1', say), "
                f"keep the bytes with dtypes={{{name!r}: 'bytes'}}, or leave such rows out with on_bad_rows=\"skip\""
            )
        raise IngestError(message, **where)


class _Stream:
    """A file's text as UTF-8 bytes, whatever its encoding and compression; knows its place in the file on disk."""

    def __init__(self, inner: io.BufferedIOBase, raw: io.BufferedReader, encoding: str, path: Path) -> None:
        self._inner, self._raw, self._path = inner, raw, path
        self._decoder = None if encoding in ("utf-8", "ascii") else codecs.getincrementaldecoder(encoding)()
        self._started = False

    def read(self, size_bytes: int) -> bytes:
        """About so many bytes; b"" at the end."""
        try:
            data = self._inner.read(size_bytes)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise IngestError(
                f"the file must be whole; reading it failed: {error}", path=self._path
            ) from None
        if self._decoder is not None:
            ended = not data
            try:
                text = self._decoder.decode(data, final=ended)
                while not text and not ended:  # the bytes so far are the beginning of one character
                    data = self._inner.read(size_bytes)
                    ended = not data
                    text = self._decoder.decode(data, final=ended)
            except UnicodeDecodeError as error:
                message = f"text must be {error.encoding}; {error.reason} near byte {self._raw.tell() - len(data) + error.start}"
                raise IngestError(message, path=self._path) from None
            data = text.encode("utf-8")
        if not self._started and data:
            self._started = True
            data = data.removeprefix(codecs.BOM_UTF8) or self.read(size_bytes)
        return data

    def position(self) -> int:
        return self._raw.tell()


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    members = [
        m.filename for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise IngestError(
            f"a zip must hold one file; found {len(members)}: {', '.join(members[:5])}", path=path
        )
    return members[0]


def _header_record(data: bytes) -> tuple[str, int]:
    """The first record that is not blank, as text, and how many bytes it and what stands before it take."""
    start = 0
    while start < len(data) and data[start : start + 1] in (b"\n", b"\r"):
        start += 1
    end = start
    while end < len(data):
        ends = [e for e in (data.find(b"\n", end), data.find(b"\r", end)) if e >= 0]
        end = min(ends) + 1 if ends else len(data)
        if data[start:end].count(b'"') % 2 == 0:
            break
    text = data[start:end].decode("utf-8", "replace").rstrip("\r\n")
    return text, end + (data[end - 1 : end + 1] == b"\r\n")


def _guess_delimiter(header: str, path: Path) -> str:
    if ".tsv" in [s.lower() for s in path.suffixes]:
        return "\t"
    return next((mark for mark in (",", "\t", ";", "|") if mark in header), ",")


def _record_end(data: bytes, delimiter: str) -> tuple[int, bool]:
    """Where the last whole record of `data` ends, and whether some newline stands inside quotes."""
    newline = b"\n" if b"\n" in data else b"\r"
    if b'"' not in data:
        return data.rfind(newline) + 1, False
    view = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(view == ord(newline))
    inside = (np.searchsorted(_structural_quotes(view, delimiter), newlines) & 1).astype(bool)
    outside = newlines[~inside]
    return (int(outside[-1]) + 1 if len(outside) else 0), bool(inside.any())


def _structural_quotes(view: np.ndarray, delimiter: str) -> np.ndarray:
    """Places of the quotes that may open, close or double: those next to a cell's border or to another quote.

    Others, as in 5" pipe, are text to the parser, and must not count when quotes are paired.
    """
    border = np.zeros(256, bool)
    border[[ord("\n"), ord("\r"), ord('"'), ord(delimiter)]] = True
    quotes = np.flatnonzero(view == ord('"'))
    before = border[view[quotes - 1]] | (quotes == 0)
    after = border[view[np.minimum(quotes + 1, len(view) - 1)]]
    return quotes[before | after]


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
    if (
        types.is_timestamp(old)
        and types.is_timestamp(new)
        and old.tz == new.tz
        and (old.unit, new.unit) == ("s", "ns")
    ):
        return new
    return old


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks else (
        pa.array([], column.type)
    )  # fmt: skip


def _describe(kind: pa.DataType) -> str:
    return "text" if types.is_string(kind) or types.is_dictionary(kind) else f"{kind} values"


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _show(cell: pa.Scalar) -> str:
    return repr(cell.as_py().decode("utf-8", "replace"))[:60]
