"""NumPy's files: .npy and the arrays of an .npz, streamed row by row, never unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastload.errors import IngestError

Rows = Callable[[int, int], object]
_OBJECTS = (
    "an array must hold numbers or text; this one holds Python objects, which are stored as pickles and "
    "never read here; save it anew with a plain dtype (or lists as a dict of arrays)"
)


@dataclass(frozen=True)
class ArraySource:
    """One column of `num_rows` rows of `row_bytes` each.

    open(stack) gives a function (start, stop) -> those rows, to be called in order from row 0; what it holds
    open is closed with the stack.
    """

    num_rows: int
    row_bytes: int
    open: Callable[[ExitStack], Rows]


def sliced(array: np.ndarray) -> ArraySource:
    """An array that is at hand, in memory or mapped."""
    row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    return ArraySource(len(array), row_bytes, lambda stack: lambda start, stop: array[start:stop])


def npy_sources(path: Path, name: str | None = None) -> dict[str, ArraySource]:
    """A .npy file: one column, or one for each member of a structured array.

    Rows that lie one after another are read as a stream; structured and column-major arrays are mapped.
    """
    with _reading(path), path.open("rb") as file:
        header = _Header.read(file)
        header.check(path)
        if file.tell() + header.num_rows * header.row_bytes > path.stat().st_size:
            raise ValueError(f"the file ends before its {header.num_rows:,} rows")
    if header.is_streamable:
        return {name or "x": header.source(path, lambda stack: stack.enter_context(path.open("rb")))}
    with _reading(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.names:
        return {member: sliced(array[member]) for member in array.dtype.names}
    return {name or "x": sliced(array)}


def npz_sources(path: Path) -> dict[str, ArraySource]:
    """The arrays of an .npz file, each streamed from its place in the archive."""
    sources = {}
    with _reading(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            with _reading(path, name), archive.open(member) as file:
                header = _Header.read(file)
            header.check(path, name)
            sources[name] = header.source(path, lambda stack, member=member: _open_member(path, member, stack), name)
    return sources


def _open_member(path: Path, member: str, stack: ExitStack) -> BinaryIO:
    return stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(member))


@dataclass(frozen=True)
class _Header:
    """What stands before the elements of an array."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype

    @classmethod
    def read(cls, file: BinaryIO) -> _Header:
        version = np.lib.format.read_magic(file)
        first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        return cls(*read(file))

    @property
    def num_rows(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def is_streamable(self) -> bool:
        return not (self.is_fortran and len(self.shape) > 1) and not self.dtype.names

    def check(self, path: Path, name: str | None = None) -> None:
        if self.dtype.hasobject:
            raise IngestError(_OBJECTS, path=path, field=name)
        if not self.shape:
            raise IngestError(f"an array must have rows; found a single {self.dtype} value", path=path, field=name)

    def source(self, path: Path, open_file: Callable[[ExitStack], BinaryIO], name: str | None = None) -> ArraySource:
        """Rows read in order from a file that begins with this header."""

        def open_rows(stack: ExitStack) -> Rows:
            with _reading(path, name):
                file = open_file(stack)
                _Header.read(file)
            if not self.is_streamable:
                whole = self._read(file, self.num_rows, path, name)
                return lambda start, stop: whole[start:stop]
            return lambda start, stop: self._read(file, stop - start, path, name)

        return ArraySource(self.num_rows, self.row_bytes, open_rows)

    def _read(self, file: BinaryIO, num_rows: int, path: Path, name: str | None) -> np.ndarray:
        shape = (num_rows, *self.shape[1:])
        rows = np.empty(shape, self.dtype, "F" if self.is_fortran else "C")
        view, filled = memoryview(rows.reshape(-1, order="A").view(np.uint8)), 0
        with _reading(path, name):
            while filled < len(view):
                count = file.readinto(view[filled:])
                if not count:
                    raise ValueError(f"the array ends {len(view) - filled:,} bytes early")
                filled += count
        return rows


@contextmanager
def _reading(path: Path, field: str | None = None) -> Iterator[None]:
    """Turn what NumPy and zipfile say about a damaged or foreign file into an IngestError that says where."""
    try:
        yield
    except IngestError:
        raise
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        if any(word in str(error) for word in ("allow_pickle", "Object arrays", "Python objects")):
            message = _OBJECTS
        else:
            message = f"the file must be a whole NumPy file; reading it says: {error}"
        raise IngestError(message, path=path, field=field) from None
