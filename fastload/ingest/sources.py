"""Which reader serves which source. pyarrow and Pillow are imported only where the source needs them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, IngestError
from fastload.ingest.arrays import ArraysReader, sources_of_mapping
from fastload.ingest.cifar import CIFAR_10, CIFAR_100, Records, record_files, record_readers
from fastload.ingest.columns import Column
from fastload.ingest.decisions import Chunk, Decisions
from fastload.ingest.idx import NAME as IDX_NAME
from fastload.ingest.idx import idx_readers
from fastload.ingest.images import EXTENSIONS as IMAGES
from fastload.ingest.images import ImageOptions, image_readers
from fastload.ingest.joined import JoinedReader
from fastload.ingest.npy import npy_sources, npz_sources
from fastload.ingest.samples import SamplesReader
from fastload.ingest.summary import Tally

CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zip", ".tsv.zip")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc", ".arrows")
SUPPORTED = (*CSV, *PARQUET, *ARROW, ".npy", ".npz", *IMAGES)


@dataclass(frozen=True)
class SourceOptions:
    """What only some sources can use; given for another, it is an error rather than ignored."""

    names: tuple[str, ...] | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    null_values: tuple[str, ...] | None = None
    on_bad_rows: str = "raise"
    image_mode: str = "RGB"
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.on_bad_rows not in ("raise", "skip"):
            raise ArgumentError(f'on_bad_rows must be "raise" or "skip", got {self.on_bad_rows!r}')

    def refuse_all_but(self, allowed: Iterable[str], kind: str) -> None:
        for field in fields(self):
            if field.name not in allowed and getattr(self, field.name) != field.default:
                raise ArgumentError(f"{field.name} has no meaning for {kind}; leave it out")


class Reader(Protocol):
    """A source of columns. Its rows can be read more than once, each time from the first.

    kind : what it is, in a word. paths : its files. size_bytes : their size. names : all its columns, in
    order.
    num_rows : None where that takes reading. nullable : columns known to have missing values.
    """

    kind: str
    paths: list[Path]
    size_bytes: int
    num_rows: int | None
    nullable: set[str]
    names: list[str]

    def choose(self, names: Iterable[str]) -> None:
        """Read only these columns from now on."""

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        """All rows in order, a few MiB at a time; refused rows are counted in `tally`."""


def open_source(source: Any, options: SourceOptions, wanted: dict[str, str], max_categories: int) -> Reader:
    """The reader for a path, a folder, a list of paths, a dict of arrays, a table in memory or a map-style
    data set.

    Raises
    ------
    IngestError
        Nothing reads it: no such file, an extension that is not supported (the message lists those that are),
        a folder with files of several kinds, an object of another sort.
    ArgumentError
        An option that has no meaning for this kind of source.
    """
    if isinstance(source, (str, PathLike)):
        return _open_paths(*_find_files(Path(source)), options, wanted, max_categories)
    if isinstance(source, (list, tuple)) and source and all(isinstance(part, (str, PathLike)) for part in source):
        paths = [Path(part) for part in source]
        for path in paths:
            _must_be_file(path)
        return _open_paths(paths, None, options, wanted, max_categories)
    if isinstance(source, Dataset):
        options.refuse_all_but((), "a fastload data set")
        return DatasetReader(source)
    if isinstance(source, Mapping):
        options.refuse_all_but((), "a dict of arrays")
        return ArraysReader("arrays", sources_of_mapping(source))
    if hasattr(source, "__arrow_c_stream__"):
        options.refuse_all_but((), "a table in memory")
        from fastload.ingest.tabular import MemoryReader

        return MemoryReader(source)
    options.refuse_all_but(("names",), "a data set")
    if hasattr(source, "shape") and hasattr(source, "dtype"):
        name = options.names[0] if options.names else "x"
        return ArraysReader("array", sources_of_mapping({name: source}))
    if hasattr(source, "__getitem__") or hasattr(source, "__getitems__"):
        return SamplesReader(source, options.names)
    raise IngestError(
        f"a source must be a path, a dict of arrays, a table or a data set with __len__ and __getitem__; "
        f"got {type(source).__name__} (an IterableDataset or a generator is written with fastload.Writer)"
    )


class DatasetReader:
    """A fastload data set, to be written anew: another codec, other fields, a split."""

    def __init__(self, dataset: Dataset) -> None:
        self.kind, self.paths, self.size_bytes = "fastload data set", [Path(dataset.path)], dataset.size_bytes
        self.num_rows, self.names = dataset.num_rows, list(dataset.schema.names)
        self.nullable = {field.name for field in dataset.schema if field.nullable}
        self._dataset, self._chosen = dataset, self.names

    def choose(self, names: Iterable[str]) -> None:
        """Read only these fields from now on."""
        chosen = set(names)
        self._chosen = [name for name in self.names if name in chosen]

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        row = 0
        for batch in self._dataset.select(*self._chosen).batches():
            columns = {}
            for name in self._chosen:
                field = self._dataset.schema[name]
                columns[name] = Column(batch[name], field.dtype, "dictionary" if field.categories else field.dtype)
            num_rows = next(iter(columns.values())).num_rows
            row += num_rows
            bytes_read = self.size_bytes * row // max(1, self.num_rows)
            yield Chunk(columns, num_rows, row - num_rows, bytes_read, self.paths[0])


def _open_paths(
    paths: list[Path], root: Path | None, options: SourceOptions, wanted: dict[str, str], max_categories: int
) -> Reader:
    paths = record_files(paths)
    kinds = [_kind_of(path) for path in paths]
    known = set(kinds) - {None}
    if len(known) > 1:
        raise IngestError(
            f"all files of a source must be of one kind; found {', '.join(sorted(known))}",
            path=root or paths[0],
        )
    if None in kinds and known != {"images"}:  # among images the reader says so, or skips it
        raise _unknown_kind(paths[kinds.index(None)])
    return _OPENERS[known.pop()](paths, root, options, wanted, max_categories)


def _open_csv(
    paths: list[Path], root: Path | None, options: SourceOptions, wanted: dict[str, str], max_categories: int
) -> Reader:
    options.refuse_all_but(("names", "delimiter", "encoding", "null_values", "on_bad_rows"), "CSV")
    from fastload.ingest.delimited import CsvReader

    return CsvReader(
        paths,
        wanted,
        names=options.names,
        delimiter=options.delimiter,
        encoding=options.encoding,
        null_values=options.null_values,
        on_bad_rows=options.on_bad_rows,
        max_categories=max_categories,
    )


def _open_parquet(paths: list[Path], root: Path | None, options: SourceOptions, *_: object) -> Reader:
    options.refuse_all_but((), "Parquet")
    from fastload.ingest.tabular import ParquetReader

    return ParquetReader(paths, root)


def _open_arrow(paths: list[Path], root: Path | None, options: SourceOptions, *_: object) -> Reader:
    options.refuse_all_but((), "Arrow IPC")
    from fastload.ingest.tabular import ArrowReader

    return ArrowReader(paths)


def _open_npy(paths: list[Path], root: Path | None, options: SourceOptions, *_: object) -> Reader:
    options.refuse_all_but(("names",), "NumPy files")
    if len(paths) > 1:
        raise IngestError("give several .npy files as a dict of field name -> path", path=root or paths[0])
    name = options.names[0] if options.names else None
    return ArraysReader("npy", npy_sources(paths[0], name), paths)


def _open_npz(paths: list[Path], root: Path | None, options: SourceOptions, *_: object) -> Reader:
    options.refuse_all_but((), "an .npz, whose arrays have names")
    if len(paths) > 1:
        raise IngestError("an .npz is converted by itself; found several", path=root or paths[0])
    return ArraysReader("npz", npz_sources(paths[0]), paths)


def _open_images(paths: list[Path], root: Path | None, options: SourceOptions, *_: object) -> Reader:
    options.refuse_all_but(("on_bad_rows", "image_mode", "image_size"), "image files")
    image_options = ImageOptions(options.image_mode, options.image_size, skips_bad=options.on_bad_rows == "skip")
    return JoinedReader(image_readers(paths, root, image_options))


def _open_cifar(records: Records) -> Callable[..., Reader]:
    def open_records(paths: list[Path], root: Path | None, options: SourceOptions, *_: object) -> Reader:
        options.refuse_all_but((), f"files of {records.kind}")
        return JoinedReader(record_readers(paths, records, divide=root is not None))

    return open_records


def _open_idx(paths: list[Path], root: Path | None, options: SourceOptions, *_: object) -> Reader:
    options.refuse_all_but((), "idx files")
    return JoinedReader(idx_readers(paths, divide=root is not None))


_OPENERS: dict[str, Callable[..., Reader]] = {
    "CSV": _open_csv,
    "Parquet": _open_parquet,
    "Arrow": _open_arrow,
    "npy": _open_npy,
    "npz": _open_npz,
    "images": _open_images,
    "idx": _open_idx,
    "CIFAR-10": _open_cifar(CIFAR_10),
    "CIFAR-100": _open_cifar(CIFAR_100),
}


def _kind_of(path: Path) -> str | None:
    """By its name; None where that says nothing."""
    name = path.name.lower()
    for kind, endings in (
        ("CSV", CSV),
        ("Parquet", PARQUET),
        ("Arrow", ARROW),
        ("npy", (".npy",)),
        ("npz", (".npz",)),
        ("images", IMAGES),
    ):
        if name.endswith(endings):
            return kind
    for kind, pattern in (("idx", IDX_NAME), (CIFAR_10.kind, CIFAR_10.name), (CIFAR_100.kind, CIFAR_100.name)):
        if pattern.fullmatch(path.name):
            return kind
    return None


def _unknown_kind(path: Path) -> IngestError:
    if re.fullmatch(r"data_batch_\d|test_batch|batches\.meta", path.name):
        return IngestError(
            "CIFAR's Python version holds pickles, which are never read here; get the binary version, or give "
            "torchvision's data set itself",
            path=path,
        )
    return IngestError(
        f"the file's extension must be one of {', '.join(SUPPORTED)}, or its name one of CIFAR's .bin or MNIST's "
        f"idx files; found {path.suffix or 'none'!r}",
        path=path,
    )


def _must_be_file(path: Path) -> None:
    if not path.is_file():
        raise IngestError("a source must be a file or a folder that exists", path=path)


def _find_files(path: Path) -> tuple[list[Path], Path | None]:
    """The files of a source in order of their names, and the folder they were found in."""
    if not path.is_dir():
        _must_be_file(path)
        return [path], None
    if (path / "manifest.json").is_file():
        raise IngestError("this is a fastload data set already; give fastload.open(path) to write it anew", path=path)
    hidden = lambda file: any(part.startswith((".", "_")) for part in file.relative_to(path).parts)  # noqa: E731
    files = sorted(file for file in path.rglob("*") if file.is_file() and not hidden(file))
    if not files:
        raise IngestError(f"a folder must hold files to convert ({', '.join(SUPPORTED)}); found none", path=path)
    return files, path
