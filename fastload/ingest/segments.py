"""A delimited text file, cut at record ends into pieces that are parsed one by one.

A piece lies in one buffer that is filled again for the next, so that a file of any size is read without
touching fresh memory. Whatever the file's encoding and compression, a piece is UTF-8.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastload.errors import IngestError

SEGMENT_BYTES = 8 << 20
MAX_RECORD_BYTES = 256 << 20
HEADER_BYTES = 2 << 20  # 4,096 names of 255 bytes fit


@dataclass
class Segment:
    """Whole records of one file, without its header.

    data : their bytes, valid until the next segment is asked for. offset : decoded bytes of the file before
    them.
    bytes_read : place in the file on disk. quoted_newlines : some record spans lines.
    first_row : number of the first record in the file, set by whoever counts records.
    """

    file: TextFile
    data: memoryview
    offset: int
    bytes_read: int
    quoted_newlines: bool
    first_row: int = 0


class TextFile:
    """One file, plain, .gz or .zip (with one file inside).

    encoding : a codec's name. delimiter : the ASCII character between cells, None as long as it is not known.
    """

    def __init__(self, path: Path, encoding: str, delimiter: str | None = None) -> None:
        self.path, self._encoding, self.delimiter = path, encoding, delimiter

    def header(self) -> str:
        """The first record that is not blank; "" in an empty file."""
        with self._open() as stream:
            buffer = bytearray(HEADER_BYTES)
            filled = _fill(stream, buffer, 0)
        return _header_record(buffer, filled)[0]

    def segments(self, *, has_header: bool) -> Iterator[Segment]:
        """All records, in pieces of about SEGMENT_BYTES (larger where one record is)."""
        with self._open() as stream:
            buffer = bytearray(SEGMENT_BYTES)
            filled = _fill(stream, buffer, 0)
            start = _mark_bytes(buffer)
            while has_header and (start := _header_record(buffer, filled)[1]) == filled == len(buffer):
                buffer += bytes(len(buffer))
                filled = _fill(stream, buffer, filled)
            offset = start
            while filled > start:
                at_end = filled < len(buffer)
                end, quoted = _record_end(buffer, start, filled, self.delimiter or ",")
                if at_end:
                    if buffer.count(b'"', start, filled) % 2:
                        self._check_closed(bytes(memoryview(buffer)[start:filled]), offset)
                    end = filled
                if end > start:
                    segment = Segment(self, memoryview(buffer)[start:end], offset, stream.position(), quoted)
                    if not _is_blank(segment.data):
                        yield segment
                    offset += end - start
                    start = end
                elif filled - start > MAX_RECORD_BYTES:
                    line = self._line_at(offset)
                    limit = f"{MAX_RECORD_BYTES >> 20} MiB"
                    message = f"a record must end within {limit}; the one that begins in line {line} does not"
                    raise IngestError(message, path=self.path)
                if at_end:
                    return
                rest = bytes(memoryview(buffer)[start:filled])
                if 2 * len(rest) > len(buffer):
                    buffer = bytearray(2 * len(buffer))
                buffer[: len(rest)] = rest
                start, filled = 0, _fill(stream, buffer, len(rest))

    def line_of(self, segment: Segment, index: int) -> int:
        """Number of the line (1-based) in which a record of the segment ends; blank lines and those in quotes
        count."""
        text = bytes(segment.data).decode("utf-8", "replace")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter or ",")
        record = -1
        for cells in reader:
            record += bool(cells)
            if record == index:
                break
        return self._line_at(segment.offset) + reader.line_num - 1

    def _line_at(self, offset: int) -> int:
        """Number of the line that begins `offset` decoded bytes into the file."""
        line, left, buffer = 1, offset, bytearray(SEGMENT_BYTES)
        with self._open() as stream:
            while left > 0 and (filled := _fill(stream, buffer, 0)):
                line += buffer.count(b"\n", 0, min(left, filled))
                left -= filled
        return line

    def _check_closed(self, text: bytes, offset: int) -> None:
        """Refuse a quoted value that the end of the file cuts off: the parser would take it for one long
        cell."""
        lines = io.StringIO(text.decode("utf-8", "replace"), newline="")
        reader = csv.reader(lines, delimiter=self.delimiter or ",", strict=True)
        line = 0
        try:
            for _ in reader:
                line = reader.line_num
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                at = self._line_at(offset) + line
                message = f"a quoted value must be closed; one begins in line {at} and never ends"
                raise IngestError(message, path=self.path) from None

    @contextmanager
    def _open(self) -> Iterator[_Stream]:
        ending = self.path.suffix.lower()
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(self.path.open("rb"))
                inner = raw
                if ending == ".gz":
                    inner = stack.enter_context(gzip.GzipFile(fileobj=raw))
                elif ending == ".zip":
                    archive = stack.enter_context(zipfile.ZipFile(raw))
                    inner = stack.enter_context(archive.open(_only_member(archive, self.path)))
            except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
                raise IngestError(f"the file must be readable; {error}", path=self.path) from None
            yield _Stream(inner, raw, self._encoding, self.path)


class _Stream:
    """A file's text as UTF-8 bytes; knows its place in the file on disk."""

    def __init__(self, inner: io.BufferedIOBase, raw: io.BufferedReader, encoding: str, path: Path) -> None:
        self._inner, self._raw, self._path = inner, raw, path
        self._decoder = None if encoding in ("utf-8", "ascii") else codecs.getincrementaldecoder(encoding)()
        self._decoded = memoryview(b"")

    def readinto(self, view: memoryview) -> int:
        """Fill the beginning of `view`; the number of bytes, 0 at the end."""
        if self._decoder is None:
            return self._checked(self._inner.readinto, view)
        ended = False
        while not self._decoded and not ended:
            data = self._checked(self._inner.read, len(view))
            ended = not data
            try:
                self._decoded = memoryview(self._decoder.decode(data, final=ended).encode("utf-8"))
            except UnicodeDecodeError as error:
                message = f"text must be {error.encoding}; {error.reason} before byte {self._raw.tell()}"
                raise IngestError(message, path=self._path) from None
        count = min(len(view), len(self._decoded))
        view[:count] = self._decoded[:count]
        self._decoded = self._decoded[count:]
        return count

    def _checked(self, read: Callable[[Any], Any], argument: Any) -> Any:
        try:
            return read(argument)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            message = f"the file must be whole; reading it failed: {error}"
            raise IngestError(message, path=self._path) from None

    def position(self) -> int:
        return self._raw.tell()


def _fill(stream: _Stream, buffer: bytearray, filled: int) -> int:
    """Read until the buffer is full or the file ends; the bytes it then holds."""
    view = memoryview(buffer)
    while filled < len(buffer) and (count := stream.readinto(view[filled:])):
        filled += count
    return filled


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    names = [m.filename for m in archive.infolist() if not m.is_dir()]
    names = [name for name in names if not name.startswith("__MACOSX/")]
    if len(names) != 1:
        raise IngestError(f"a zip must hold one file; found {len(names)}: {', '.join(names[:5])}", path=path)
    return names[0]


def _mark_bytes(data: bytearray) -> int:
    return len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0


def _header_record(data: bytearray, filled: int) -> tuple[str, int]:
    """The first record that is not blank, as text, and how many bytes it and what stands before it take."""
    start = _mark_bytes(data)
    while start < filled and data[start] in b"\r\n":
        start += 1
    end = start
    while end < filled:
        ends = [e for e in (data.find(b"\n", end, filled), data.find(b"\r", end, filled)) if e >= 0]
        end = min(ends) + 1 if ends else filled
        if data.count(b'"', start, end) % 2 == 0:
            break
    text = data[start:end].decode("utf-8", "replace").rstrip("\r\n")
    return text, min(filled, end + (data[end - 1 : end + 1] == b"\r\n"))


def _record_end(buffer: bytearray, start: int, end: int, delimiter: str) -> tuple[int, bool]:
    """Where the last whole record ends (`start` if none does), and whether some newline is inside quotes."""
    newline = b"\n" if buffer.find(b"\n", start, end) >= 0 else b"\r"
    if buffer.find(b'"', start, end) < 0:
        return max(start, buffer.rfind(newline, start, end) + 1), False
    view = np.frombuffer(buffer, np.uint8)[start:end]
    newlines = np.flatnonzero(view == ord(newline))
    inside = (np.searchsorted(_structural_quotes(view, delimiter), newlines) & 1).astype(bool)
    outside = newlines[~inside]
    return (start + int(outside[-1]) + 1 if len(outside) else start), bool(inside.any())


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


def _is_blank(data: memoryview) -> bool:
    return bytes(data[:4096]).isspace() and bytes(data).isspace()
