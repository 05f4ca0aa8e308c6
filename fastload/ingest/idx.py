"""The idx files of MNIST and its kin, plain or .gz, streamed.

    0 | 0 | type | number of dimensions | their sizes, four bytes each | elements, row by row     big-endian

What a file holds and whether it is for training is told by its name: train-images-idx3-ubyte,
train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastload.errors import IngestError
from fastload.ingest.arrays import ArraysReader
from fastload.ingest.decisions import ALL
from fastload.ingest.npy import ArraySource, Rows

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r".*[-.]idx\d+-(ubyte|byte|short|int|float|double)(\.gz)?")
PARTS = {"train": "train", "test": "test", "t10k": "test"}  # {word in a file's name: its part}
MAX_DEFLATE_RATIO = 1032  # nothing unpacks to more


def idx_readers(paths: list[Path], *, divide: bool) -> list[tuple[str, ArraysReader]]:
    """(part, reader) of each file, those of images with the labels found beside them; divided into train and
    test, or all of one part."""
    paths = [path for path in paths if path.suffix != ".gz" or path.with_suffix("") not in paths]
    labels = {path: found for path in paths if (found := _labels_beside(path))}
    mains = [path for path in paths if path not in labels.values()]
    parts = _parts(mains) if divide and len(mains) > 1 else [ALL] * len(mains)
    members = []
    for part, path in zip(parts, mains, strict=True):
        sources, files = {_column(path): idx_source(path)}, [path]
        if path in labels:
            sources["label"] = idx_source(labels[path])
            files.append(labels[path])
            _check_equal(sources, files)
        members.append((part, ArraysReader("idx", sources, files)))
    return sorted(members, key=lambda member: member[0], reverse=True)  # train first; else in their order


def idx_source(path: Path) -> ArraySource:
    """The rows of one file. Images of one channel get the axis for it: [height, width, 1]."""
    with _reading(path), _open(path) as file:
        header = _Header.read(file, path)
    header.check_size(path)
    shape = header.shape[1:]
    if _column(path) == "image" and len(shape) == 2:
        shape = (*shape, 1)

    def open_rows(stack: ExitStack) -> Rows:
        with _reading(path):
            file = stack.enter_context(_open(path))
            _Header.read(file, path)

        def rows(start: int, stop: int) -> np.ndarray:
            num_bytes = (stop - start) * header.row_bytes
            with _reading(path):
                elements = file.read(num_bytes)
                is_longer = stop == header.num_rows and bool(file.read(1))
            if len(elements) < num_bytes:
                raise _size_error(header, path, "ends early", start + len(elements) // header.row_bytes)
            if is_longer:
                raise _size_error(header, path, "goes on after them")
            return np.frombuffer(elements, header.dtype).reshape(-1, *shape)

        return rows

    return ArraySource(header.num_rows, header.row_bytes, open_rows)


@dataclass(frozen=True)
class _Header:
    """What stands before the elements."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @classmethod
    def read(cls, file: BinaryIO, path: Path) -> _Header:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not magic[3]:
            raise IngestError(
                f"an idx file must begin with 0, 0, a type ({', '.join(f'{t:#04x}' for t in TYPES)}) and a number of "
                f"dimensions; found the bytes {magic.hex(' ') or 'of an empty file'}",
                path=path,
            )
        sizes = file.read(4 * magic[3])
        if len(sizes) < 4 * magic[3]:
            raise IngestError(f"an idx file must give the sizes of its {magic[3]} dimensions; it ends early", path=path)
        return cls(np.dtype(TYPES[magic[2]]), tuple(np.frombuffer(sizes, ">u4").tolist()))

    @property
    def num_rows(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape[1:])

    def check_size(self, path: Path) -> None:
        """Refuse a header that promises more than the file can hold, before anything is allocated for it."""
        num_bytes = path.stat().st_size * (MAX_DEFLATE_RATIO if _is_packed(path) else 1)
        if not self.row_bytes or self.num_rows * self.row_bytes > num_bytes:
            raise _size_error(self, path, "is too short for them" if self.row_bytes else "has rows without elements")


def _size_error(header: _Header, path: Path, found: str, row: int | None = None) -> IngestError:
    told = " x ".join(map(str, header.shape))
    return IngestError(
        f"an idx file must hold what its header says, {told} elements; it {found}: get the file anew",
        path=path,
        row=row,
    )


def _parts(paths: list[Path]) -> list[str]:
    """The part each file belongs to, by its name."""
    words = [re.findall("|".join(PARTS), path.name) for path in paths]
    parts = [PARTS[found[0]] if found else "" for found in words]
    if "" in parts or len(set(parts)) < len(parts):
        raise IngestError(
            f"a folder of idx files must hold one file of images for train and one for t10k or test; found "
            f"{', '.join(path.name for path in paths)}: convert them one by one",
            path=paths[0].parent,
        )
    return parts


def _column(path: Path) -> str:
    """What a file holds, by its name."""
    return next((column for column in ("image", "label") if f"{column}s" in path.name), "x")


def _labels_beside(path: Path) -> Path | None:
    """train-images-idx3-ubyte -> train-labels-idx1-ubyte, if there is one, plain or packed."""
    if _column(path) != "image":
        return None
    plain = re.sub(r"\.gz$", "", re.sub(r"idx\d+", "idx1", path.name.replace("images", "labels")))
    beside = (path.with_name(plain), path.with_name(f"{plain}.gz"))
    return next((labels for labels in beside if labels != path and labels.is_file()), None)


def _check_equal(sources: dict[str, ArraySource], files: list[Path]) -> None:
    images, labels = (source.num_rows for source in sources.values())
    if images != labels:
        raise IngestError(f"there must be one label an image; found {labels:,} for {images:,} images", path=files[1])


def _is_packed(path: Path) -> bool:
    return path.suffix == ".gz"


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if _is_packed(path) else path.open("rb")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what gzip and the system say about a damaged file into an IngestError that says where."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise IngestError(f"the file must be readable to its end; reading it says: {error}", path=path) from None
