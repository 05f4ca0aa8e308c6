"""The binary files of CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html): records of bytes.

    CIFAR-10    label | 1,024 red | 1,024 green | 1,024 blue    data_batch_1.bin ... data_batch_5.bin, test_batch.bin
    CIFAR-100   coarse label | label | the same three planes    train.bin, test.bin

A plane is 32 rows of 32, from the top. What the labels mean stands in text files beside the records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastload.errors import IngestError
from fastload.ingest.arrays import ArraysReader
from fastload.ingest.decisions import ALL
from fastload.ingest.npy import ArraySource
from fastload.schema import Categorical

SIDE, CHANNELS = 32, 3
IMAGE_BYTES = CHANNELS * SIDE * SIDE
COMPANIONS = ("batches.meta.txt", "coarse_label_names.txt", "fine_label_names.txt", "readme.html")


@dataclass(frozen=True)
class Label:
    """One byte of a record. names_file : where its classes are named, one a line."""

    field: str
    num_classes: int
    names_file: str


@dataclass(frozen=True)
class Records:
    """How the files of one data set are called, and the labels at the head of a record, in their order."""

    kind: str
    name: re.Pattern[str]
    labels: tuple[Label, ...]

    @property
    def record_bytes(self) -> int:
        return len(self.labels) + IMAGE_BYTES


CIFAR_10 = Records(
    "CIFAR-10",
    re.compile(r"(data_batch_\d+|test_batch)\.bin"),
    (Label("label", 10, "batches.meta.txt"),),
)
CIFAR_100 = Records(
    "CIFAR-100",
    re.compile(r"(train|test)\.bin"),
    (Label("coarse_label", 20, "coarse_label_names.txt"), Label("label", 100, "fine_label_names.txt")),
)


def record_files(paths: list[Path]) -> list[Path]:
    """The files of a folder without those that come beside the records in the archive."""
    if not any(records.name.fullmatch(path.name) for path in paths for records in (CIFAR_10, CIFAR_100)):
        return paths
    return [path for path in paths if path.name not in COMPANIONS]


def record_readers(paths: list[Path], records: Records, *, divide: bool) -> list[tuple[str, ArraysReader]]:
    """(part, reader) of each file; divided into train and test, or all of one part."""
    members = []
    for path in paths:
        part = ("test" if path.name.startswith("test") else "train") if divide else ALL
        members.append((part, ArraysReader(records.kind, _sources(path, records), [path])))
    return sorted(members, key=lambda member: member[0], reverse=True)  # train first; else in their order


def _sources(path: Path, records: Records) -> dict[str, ArraySource]:
    """The columns of one file: `image` uint8 [32, 32, 3] and the labels, as categories where their names are
    known."""
    size_bytes = path.stat().st_size
    num_rows, rest = divmod(size_bytes, records.record_bytes)
    if rest or not num_rows:
        raise IngestError(
            f"a file of {records.kind} must hold whole records of {records.record_bytes:,} bytes; it has "
            f"{size_bytes:,} bytes and ends within this record: get the file anew",
            path=path,
            row=num_rows,
        )
    table = np.memmap(path, np.uint8, "r", shape=(num_rows, records.record_bytes))

    def images(start: int, stop: int) -> np.ndarray:
        planes = table[start:stop, -IMAGE_BYTES:].reshape(-1, CHANNELS, SIDE, SIDE)
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))  # channels last, as images are stored here

    sources = {"image": ArraySource(num_rows, IMAGE_BYTES, lambda stack: images)}
    for column, label in reversed(list(enumerate(records.labels))):  # the finer one comes before the coarser one
        sources[label.field] = _label_source(table[:, column], label, path)
    return sources


def _label_source(codes: np.ndarray, label: Label, path: Path) -> ArraySource:
    names = _class_names(path.parent / label.names_file, label.num_classes)

    def labels(start: int, stop: int) -> np.ndarray | Categorical:
        found = np.array(codes[start:stop])
        wrong = np.flatnonzero(found >= label.num_classes)
        if len(wrong):
            raise IngestError(
                f"a label must lie in 0 .. {label.num_classes - 1}; found {found[wrong[0]]}: the file is damaged, "
                f"or not one of CIFAR's",
                path=path,
                row=start + int(wrong[0]),
                field=label.field,
            )
        return Categorical(found.astype(np.int32), names) if names else found

    return ArraySource(len(codes), 1, lambda stack: labels)


def _class_names(path: Path, num_classes: int) -> list[str] | None:
    """One a line, as they are numbered; None where there is no such file."""
    if not path.is_file():
        return None
    names = [line.strip() for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise IngestError(
            f"the file must name {num_classes} classes, one a line; found {len(set(names))} different names in "
            f"{len(names)} lines (without the file, labels are stored as numbers)",
            path=path,
        )
    return names
