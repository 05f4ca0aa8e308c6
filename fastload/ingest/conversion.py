"""convert: any source of rows into a data set, or into one for each part of a split."""

from __future__ import annotations

import difflib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastload.block.dataset import Dataset
from fastload.block.writer import Writer
from fastload.errors import ArgumentError, ExistsError, IngestError
from fastload.ingest.changes import Changes
from fastload.ingest.columns import Data, FitError, fit_column, pack_columns, take_rows
from fastload.ingest.decisions import ALL, EARLY_BYTES, FIRST_LOOK_BYTES, Chunk, Decisions, check_dtypes
from fastload.ingest.joined import JoinedReader
from fastload.ingest.progress import Progress, ProgressState, show_progress
from fastload.ingest.sources import Reader, SourceOptions, open_source
from fastload.ingest.summary import ConvertSummary, FieldSummary, Tally
from fastload.plan.split import check_fractions, split_keys, split_rows
from fastload.schema import Field, Schema


def convert(
    source: Any,
    destination: str | PathLike[str],
    *,
    columns: Iterable[str] | None = None,
    dtypes: Mapping[str, object] | None = None,
    pack: Mapping[str, Iterable[str]] | None = None,
    names: Iterable[str] | None = None,
    split: Mapping[str, float] | None = None,
    split_key: str | None = None,
    seed: int = 0,
    codec: str = "lz4",
    block_bytes: int = 1 << 20,
    shard_bytes: int = 1 << 28,
    num_workers: int | None = None,
    overwrite: bool = False,
    max_categories: int = 10_000,
    null_values: Iterable[str] | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    on_bad_rows: str = "raise",
    image_mode: str = "RGB",
    image_size: tuple[int, int] | None = None,
    transform: Mapping[str, Any] | None = None,
    progress: bool | Callable[[ProgressState], None] | None = None,
) -> ConvertSummary:
    """Convert a table, arrays, images or a data set into a fastload data set, streaming, in bounded memory.

    Types are those of the source. In a CSV they are inferred; text becomes categories where at most
    `max_categories` values are distinct and (over the first 8 MiB) each comes twice on average, else
    strings. Dates and times are stored as integers in the source's unit, which the summary tells; decimals as
    float64; lists of numbers as fields of variable length, or of fixed shape where the type says so; structs
    as one field per member. A field is nullable only if values are missing: that is known from statistics, or
    found while reading (``ingest/decisions.py`` says how).

    Images become `image`, uint8 [height, width, channels], and `label`: the class by the folder they lie in,
    as torchvision's ImageFolder has it, or the label in CIFAR's and MNIST's files. A folder that holds train
    and test (CIFAR's, MNIST's, or images in train/<class>/ and test/<class>/) becomes a data set for each:
    ``name.train.fl`` and ``name.test.fl``. Labels are categories where their names are known.

    Parameters
    ----------
    source
        Path of a .csv or .tsv (also .gz, .zip), .parquet, .arrow / .feather / .ipc, .npy or .npz file, of an
        image, of CIFAR's .bin or MNIST's idx file (also .gz); a folder of files of one kind, or a list of
        paths; a dict of arrays, tensors, lists or .npy paths; a table in memory (pyarrow, pandas, polars); a
        fastload Dataset; or any map-style data set, torch's among them. In a folder, names that begin with
        "." or "_" are passed over.
    destination : path
        Folder to write, by habit ``name.fl``. With a split, ``name.train.fl`` and so on beside it.
    columns : names, optional
        Columns to read; all by default.
    dtypes : dict, optional
        {column: dtype} to store, instead of what was found: a dtype of ``fastload.schema.DTYPES``,
        "category", or "timestamp" ("timestamp[ms]" and so on for another unit). Rounding is counted; what
        would change a value's meaning (NaN or 1.5 as an integer, 300 as int8) is an error.
    pack : dict, optional
        {field: columns}: several numeric columns as one float32 vector field [columns], NaN where a value is
        missing. ``dtypes={field: "float64"}`` changes the type.
    names : names, optional
        Column names of a CSV without header, of a .npy, or of a tuple's members.
    split : dict, optional
        {part: share}, shares summing to 1. A row's part is decided by a hash of (seed, row number), or of its
        key.
    split_key : column, optional
        Rows with equal keys go to the same part. The column need not be among `columns`.
    seed : int
        Of the split.
    codec, block_bytes, shard_bytes, num_workers, overwrite
        As for ``fastload.Writer``. num_workers counts threads.
    max_categories : int
        Text with more distinct values is stored as strings.
    null_values, delimiter, encoding
        For CSV: words that mean "missing" beside the empty cell (by default NA, NaN, null and the like,
        unless quoted); the character between cells; and the file's encoding.
    on_bad_rows
        For CSV and image files: what to do with rows that cannot be read: "raise", or "skip", which leaves
        them out and counts them.
    image_mode : {"RGB", "L", "bytes"}
        For image files: decoded to three channels or a grey one, upright, without transparency (the first
        frame of an animation); or each file's bytes as they are, in a field of dtype bytes.
    image_size : (height, width), optional
        Resize all images to this (bilinear). Otherwise all must have one size.
    transform : dict of field names to transforms or lists of them, optional
        What is stored of a field instead, for good (``fastload.Normalize`` and its like). Random ones belong in the loader.
        Nothing is known of the source before it is read, so they must be fitted, unless it is a fastload Dataset.
    progress : bool or function, optional
        None shows a bar where stderr is a terminal; a function is called with a ``ProgressState``.

    Returns
    -------
    ConvertSummary
        What was read, coerced, refused and written; ``summary.datasets`` opens the result.

    Raises
    ------
    IngestError
        The source cannot be read as asked; says file, row and field.
    ArgumentError
        An argument without meaning, or one that this kind of source does not have.
    ExistsError
        The destination exists and `overwrite` is False.
    MissingExtraError
        The source needs pyarrow or Pillow, which is not installed.

    Nothing is left behind unless the conversion ends well, Ctrl-C included.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "late.csv").write_text("hour,wind,late\\n5,3.5,no\\n6,,no\\n7,9.0,yes\\n8,1.5,no\\n")
    >>> summary = convert(folder / "late.csv", folder / "late.fl", pack={"x": ["hour", "wind"]})
    >>> [(f.name, f.stored) for f in summary.fields], summary.rows_written
    ([('x', 'float32 [2]'), ('late', 'category')], {'all': 4})
    """
    start_s = time.perf_counter()
    options = SourceOptions(
        names=None if names is None else tuple(names),
        delimiter=delimiter,
        encoding=encoding,
        null_values=None if null_values is None else tuple(null_values),
        on_bad_rows=on_bad_rows,
        image_mode=image_mode,
        image_size=image_size,
    )
    wanted = check_dtypes(dtypes)
    if not isinstance(max_categories, int) or max_categories < 0:
        raise ArgumentError(f"max_categories must be an integer of at least 0, got {max_categories!r}")
    _check_split(split, split_key)
    packs = {name: tuple(members) for name, members in (pack or {}).items()}
    source_dtypes = {name: dtype for name, dtype in wanted.items() if name not in packs}
    reader = open_source(source, options, source_dtypes, max_categories)
    changes = Changes(transform, source if isinstance(source, Dataset) else None)
    parts = _parts(Path(destination), reader, split)
    _check_apart(source, parts.values())
    layout = Layout.plan(reader, columns, wanted, packs, split_key)
    reader.choose(layout.read)
    changes.check(layout.fields)
    job = _Job(reader, layout, changes, parts, split, split_key, seed)
    writer_options = {
        "codec": codec,
        "block_bytes": block_bytes,
        "shard_bytes": shard_bytes,
        "num_workers": num_workers,
        "overwrite": overwrite,
    }
    if not overwrite:
        for path in parts.values():
            if path.exists():
                raise ExistsError(f"{path} exists; choose another destination or pass overwrite=True")
    decisions = Decisions(source_dtypes, max_categories, reader.nullable)
    with show_progress("convert", progress, total_rows=reader.num_rows, total_bytes=reader.size_bytes or None) as bar:
        tally, written = job.run(decisions, writer_options, bar)
    return job.summary(decisions, tally, written, time.perf_counter() - start_s)


@dataclass(frozen=True)
class Layout:
    """Which columns are read, and which fields are made of them.

    read : columns to read. fields : {field: its column, or the tuple of columns packed into it}.
    pack_dtypes : {packed field: its dtype}.
    """

    read: tuple[str, ...]
    fields: dict[str, str | tuple[str, ...]]
    pack_dtypes: dict[str, str]

    @classmethod
    def plan(
        cls,
        reader: Reader,
        columns: Iterable[str] | None,
        wanted: dict[str, str],
        packs: dict[str, tuple[str, ...]],
        split_key: str | None,
    ) -> Layout:
        """Check every name the user gave against the source's, and put packed fields where their first column
        stood."""
        if isinstance(columns, str):
            raise ArgumentError(f"columns must be a list of names, got {columns!r}")
        stored = list(reader.names if columns is None else columns)
        members = [name for group in packs.values() for name in group]
        path = reader.paths[0] if reader.paths else None
        for argument, given in (
            ("columns", stored),
            ("dtypes", [name for name in wanted if name not in packs]),
            ("pack", members),
            ("split_key", [split_key] if split_key is not None else []),
        ):
            for name in given:
                _check_known(name, argument, reader.names, path)
        for name, group in packs.items():
            if not group:
                raise ArgumentError(f"pack[{name!r}] must name at least one column")
            if name in reader.names and name not in group:
                raise ArgumentError(f"pack[{name!r}] must not have the name of another column; choose another")
            if wanted.get(name, "float32") not in ("float32", "float64"):
                raise ArgumentError(
                    f"dtypes[{name!r}] must be float32 or float64, as of any packed field, got {wanted[name]!r}"
                )
        fields: dict[str, str | tuple[str, ...]] = {}
        for name in dict.fromkeys([*stored, *members]):
            owners = [packed for packed, group in packs.items() if name in group]
            for packed in owners:
                fields.setdefault(packed, packs[packed])
            if not owners:
                fields[name] = name
        key = [] if split_key is None else [split_key]
        read = tuple(dict.fromkeys([*stored, *members, *key]))
        return cls(read, fields, {name: wanted.get(name, "float32") for name in packs})


class _Job:
    """One conversion: reads, decides, fits, splits and writes."""

    def __init__(
        self,
        reader: Reader,
        layout: Layout,
        changes: Changes,
        parts: dict[str, Path],
        split: Mapping[str, float] | None,
        split_key: str | None,
        seed: int,
    ) -> None:
        self._reader, self._layout, self._changes, self._parts = reader, layout, changes, parts
        self._split, self._split_key, self._seed = split, split_key, seed
        self._notes: list[str] = []
        self._seen_bytes = 0
        self.path = reader.paths[0] if len(reader.paths) == 1 else None

    def run(self, decisions: Decisions, writer_options: dict[str, Any], bar: Progress) -> tuple[Tally, dict[str, int]]:
        """Read and write; again where a row contradicts what was decided: once early, once late at most."""
        for _ in range(3):
            self._seen_bytes = 0
            tally = Tally(notes=self._notes)
            with closing(_told(self._reader.chunks(decisions, tally), bar)) as chunks:
                written = self._write_all(chunks, decisions, writer_options, tally)
                if written is not None:
                    return tally, written
                bar.label = "survey"
                is_late = self._seen_bytes > EARLY_BYTES
                for chunk in chunks:
                    self._learn(chunk, decisions)
                    if self._seen_bytes > EARLY_BYTES and not is_late:
                        break
            decisions.restart()
            bar.label = "convert"
        message = "a source must not change while it is read; its columns differ between two readings"
        raise IngestError(message, path=self.path)

    def _write_all(
        self, chunks: Iterator[Chunk], decisions: Decisions, writer_options: dict[str, Any], tally: Tally
    ) -> dict[str, int] | None:
        """Rows written to each part; None, and nothing written, where a row contradicts the schema."""
        head = []
        for chunk in chunks:
            self._learn(chunk, decisions)
            head += [chunk] if chunk.num_rows else []
            if self._seen_bytes >= FIRST_LOOK_BYTES or decisions.stale:
                break
        if not head:
            self._refuse_empty(tally)
        decisions.settle()
        if decisions.stale:
            return None
        schema = self._schema(decisions)
        try:
            with _writers(self._parts, self._changes.of_schema(schema), writer_options) as writers:
                row = 0
                for chunk in chain(_drained(head), self._learned(chunks, decisions)):
                    columns = self._changes.of_columns(self._fit(chunk, decisions, schema, tally), row)
                    self._write(chunk, columns, row, writers)
                    row += chunk.num_rows
                written = {name: writer.num_rows for name, writer in writers.items()}
                self._refuse_empty_parts(written)
        except _StaleError:
            return None
        return written

    def _learn(self, chunk: Chunk, decisions: Decisions) -> None:
        decisions.learn(chunk)
        self._seen_bytes += chunk.size_bytes

    def _learned(self, chunks: Iterator[Chunk], decisions: Decisions) -> Iterator[Chunk]:
        for chunk in chunks:
            self._learn(chunk, decisions)
            if decisions.stale:
                raise _StaleError
            yield chunk

    def _write(self, chunk: Chunk, columns: dict[str, Data], row: int, writers: dict[str, Writer]) -> None:
        """Append a chunk, whose first row is number `row` of those kept, to the parts its rows belong to."""
        if self._split is None:
            writers[chunk.part].append(columns)
            return
        places = self._places(chunk, row)
        for place, writer in enumerate(writers.values()):
            rows = np.flatnonzero(places == place)
            if len(rows):
                writer.append({name: take_rows(data, rows) for name, data in columns.items()})

    def _fit(self, chunk: Chunk, decisions: Decisions, schema: Schema, tally: Tally) -> dict[str, Data]:
        columns = {}
        for name, origin in self._layout.fields.items():
            try:
                if isinstance(origin, tuple):
                    members = [(member, chunk.columns[member]) for member in origin]
                    columns[name], changed = pack_columns(members, self._layout.pack_dtypes[name])
                else:
                    columns[name], changed = fit_column(chunk.columns[origin], schema[name])
            except FitError as error:
                hint = f"; say what to store with dtypes={{{name!r}: ...}}" if name not in decisions.wanted else ""
                raise IngestError(f"{error}{hint}", path=chunk.path, row=chunk.row(error.index), field=name) from None
            tally.coerce(name, changed)
        return columns

    def _places(self, chunk: Chunk, row: int) -> np.ndarray:
        if self._split_key is None:
            return split_rows(row, chunk.num_rows, self._split, seed=self._seed)
        column = chunk.columns[self._split_key]
        if column.dtype == "bfloat16" or (isinstance(column.data, np.ndarray) and column.data.ndim > 1):
            raise IngestError(
                f"a split key must be one number or text a row; it is {column.source}",
                path=self.path,
                field=self._split_key,
            )
        return split_keys(column.data, self._split, seed=self._seed)

    def _schema(self, decisions: Decisions) -> Schema:
        fields = []
        for name, origin in self._layout.fields.items():
            if isinstance(origin, tuple):
                for member in origin:
                    self._check_packable(member, decisions)
                fields.append(Field(name, self._layout.pack_dtypes[name], (len(origin),)))
            else:
                fields.append(decisions.field(name))
        return Schema(fields)

    def _check_packable(self, name: str, decisions: Decisions) -> None:
        field, source = decisions.field(name), decisions.sources[name]
        is_time = source.startswith(("timestamp", "date", "time", "duration"))
        if field.is_ragged or field.categories or field.shape or is_time:
            held = "text" if field.categories or field.is_text else source
            raise IngestError(
                f"only single numbers can be packed; this column holds {held}; take it out of pack, or "
                f"read it as numbers with dtypes={{{name!r}: 'float32'}}",
                path=self.path,
                field=name,
            )

    def _refuse_empty(self, tally: Tally) -> None:
        refused = tally.num_refused
        told = f"all {refused:,} rows were refused" if refused else "it has none"
        examples = "".join(f"; {r.reason}, row {r.examples[0][0]}: {r.examples[0][1]}" for r in tally.refusals.values())
        raise IngestError(f"a source must hold at least one row; {told}{examples}", path=self.path)

    def _refuse_empty_parts(self, written: dict[str, int]) -> None:
        for name, rows in written.items():
            if rows == 0:
                total = sum(written.values())
                remedy = "give it a larger share, or change seed" if self._split else "convert the others by themselves"
                raise IngestError(
                    f"every part of a split must get rows; {name!r} got none of {total:,}: {remedy}",
                    path=self.path,
                )

    def summary(self, decisions: Decisions, tally: Tally, written: dict[str, int], seconds: float) -> ConvertSummary:
        datasets = [Dataset(path) for path in self._parts.values()]
        statistics = [dataset.statistics for dataset in datasets]
        fields = []
        for field in datasets[0].schema:
            origin = self._layout.fields[field.name]
            parts = [s[field.name] for s in statistics]
            nulls = sum(int(p.nulls) for p in parts)
            nans = sum(int(np.sum(p.nans)) for p in parts)
            source = _source_text(origin, decisions)
            fields.append(
                FieldSummary(field.name, source, _stored_text(field), nulls, nans, tally.coerced.get(field.name, 0))
            )
        total = sum(written.values())
        return ConvertSummary(
            kind=self._reader.kind,
            rows_read=total + tally.num_refused,
            rows_written=written,
            refusals=tuple(tally.refusals.values()),
            fields=tuple(fields),
            notes=tuple(tally.notes),
            seconds=seconds,
            bytes_in=self._reader.size_bytes,
            bytes_out=sum(dataset.size_bytes for dataset in datasets),
            paths=dict(self._parts),
        )


class _StaleError(Exception):
    """A row contradicts the schema already being written."""


@contextmanager
def _writers(parts: dict[str, Path], schema: Schema, options: dict[str, Any]) -> Iterator[dict[str, Writer]]:
    """One writer for each part. They publish one after the other; if one fails, those before it are taken
    back."""
    writers, fresh = {}, []
    try:
        with ExitStack() as stack:
            for name, path in parts.items():
                is_fresh = not path.exists()
                writers[name] = stack.enter_context(Writer(path, schema, **options))
                fresh += [path] * is_fresh
            yield writers
    except BaseException:
        for path in fresh:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _told(chunks: Iterator[Chunk], bar: Progress) -> Iterator[Chunk]:
    """The chunks, with the bar moved once each has been dealt with."""
    rows = 0
    with closing(chunks):
        for chunk in chunks:
            yield chunk
            rows += chunk.num_rows
            bar.at(rows, chunk.bytes_read)


def _drained(chunks: list[Chunk]) -> Iterator[Chunk]:
    """The chunks, each let go of once it was used."""
    chunks.reverse()
    while chunks:
        yield chunks.pop()


def _check_split(split: Mapping[str, float] | None, split_key: str | None) -> None:
    if split is not None:
        check_fractions(split)
    elif split_key is not None:
        raise ArgumentError("split_key has no meaning without split; add split={'train': 0.8, 'test': 0.2}, say")


def _parts(destination: Path, reader: Reader, split: Mapping[str, float] | None) -> dict[str, Path]:
    """{part: folder}: flights.fl -> flights.train.fl, flights.test.fl."""
    own_parts = reader.parts if isinstance(reader, JoinedReader) else ()
    if own_parts and split is not None:
        raise ArgumentError(
            f"split has no meaning for a source that is divided into {' and '.join(own_parts)} already; give the "
            f"files or the folder of one of them to split it"
        )
    names = own_parts or split
    if not names:
        return {ALL: destination}
    if destination.suffix == ".fl":
        return {name: destination.with_name(f"{destination.stem}.{name}.fl") for name in names}
    return {name: destination.with_name(f"{destination.name}.{name}") for name in names}


def _check_apart(source: Any, destinations: Iterable[Path]) -> None:
    """The destination must not be the source, lie inside it, or hold it."""
    paths = source if isinstance(source, (list, tuple)) else [source.path] if isinstance(source, Dataset) else [source]
    for path in paths:
        if not isinstance(path, (str, PathLike)):
            continue
        origin = Path(path).resolve()
        for destination in destinations:
            target = destination.resolve()
            if target == origin or origin in target.parents or target in origin.parents:
                raise ArgumentError(f"the destination must lie apart from the source; {destination} and {path} overlap")


def _check_known(name: str, argument: str, known: list[str], path: Path | None) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    raise IngestError(f"{argument} must name columns of the source; {hint}it has {shown}", path=path, field=str(name))


def _source_text(origin: str | tuple[str, ...], decisions: Decisions) -> str:
    if isinstance(origin, str):
        return decisions.sources[origin]
    kinds = dict.fromkeys(decisions.sources[name] for name in origin)
    return f"{len(origin)} columns: {', '.join(kinds)}"


def _stored_text(field: Field) -> str:
    if field.categories:
        return "category"
    shape = " [variable]" if field.variable else f" [{', '.join(map(str, field.shape))}]" if field.shape else ""
    return f"{field.dtype}{shape}"
