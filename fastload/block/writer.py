"""Writing data sets: columns in, shards and a manifest out, published in one step or not at all."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from fastload import _core
from fastload.block.columns import Column, check_lengths, check_names, infer_field, to_column, to_spec
from fastload.block.dataset import Dataset, open_shards
from fastload.block.manifest import (
    NAME,
    Manifest,
    ShardEntry,
    io_error,
    named_shards,
    publish,
    read_manifest,
    remove_strays,
    sync_folder,
)
from fastload.block.threads import default_threads
from fastload.errors import (
    ArgumentError,
    ClosedError,
    DtypeError,
    EmptyError,
    ExistsError,
    FastloadError,
    LockedError,
    SchemaError,
)
from fastload.schema import Categorical, Field, Schema

CODECS = ("raw", "lz4", "lz4hc")
_FOOTER_BYTES = 8 << 20  # a shard is closed well before its footer meets the format's limit of 16 MiB


class Writer:
    """Streams columns into a data set, in bounded memory.

    A context manager: leaving it normally publishes the data set; leaving it by an exception, Ctrl-C included, removes
    everything this writer made. Until then nothing that opens has changed. Threads encode blocks and live as long as
    the writer; one writer at a time may work in a folder.

    Parameters
    ----------
    path : path-like
        The folder to make, by habit ``name.fl``.
    schema : Schema or iterable of Field
    codec : {"lz4", "raw", "lz4hc"}
        "lz4hc" packs tighter and reads as fast, but writes at 10 to 20 MB/s.
    block_bytes : int
        Raw bytes of a block: the unit of compression and of reading.
    shard_bytes : int
        A file is closed when it has grown to this.
    num_workers : int, optional
        Threads that encode; 0 encodes in the caller's thread. Default: the processors allowed, at most 4.
    overwrite, append : bool
        What may happen to a data set that exists. Readers of the old one are not disturbed: its files are removed only
        after the new manifest is in place.

    Raises
    ------
    ExistsError, LockedError, SchemaError, ArgumentError, DiskFullError, FileIOError

    Examples
    --------
    >>> import numpy as np, tempfile, fastload as fl
    >>> folder = tempfile.mkdtemp() + "/squares.fl"
    >>> with fl.Writer(folder, [fl.Field("x", "int64"), fl.Field("square", "int64")]) as writer:
    ...     for start in range(0, 1000, 100):
    ...         x = np.arange(start, start + 100)
    ...         writer.append({"x": x, "square": x * x})
    >>> int(fl.open(folder)[12]["square"])
    144
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        schema: Schema | list[Field] | tuple[Field, ...],
        *,
        codec: str = "lz4",
        block_bytes: int = 1 << 20,
        shard_bytes: int = 1 << 28,
        num_workers: int | None = None,
        overwrite: bool = False,
        append: bool = False,
    ) -> None:
        self.path = Path(path)
        self.schema = schema if isinstance(schema, Schema) else Schema(schema)
        if codec not in CODECS:
            raise ArgumentError(f"codec must be one of {', '.join(CODECS)}; got {codec!r}")
        if overwrite and append:
            raise ArgumentError("overwrite and append exclude each other")
        if not 1 <= block_bytes <= 1 << 28 or shard_bytes < 1:
            raise ArgumentError(
                f"block_bytes must be 1 to {1 << 28} and shard_bytes at least 1, got {block_bytes} and {shard_bytes}"
            )
        self._threads = default_threads() if num_workers is None else num_workers
        if self._threads < 0:
            raise ArgumentError(f"num_workers must be at least 0, got {num_workers}")
        self._codec = getattr(_core.WriteCodec, codec)
        self._block_bytes, self._shard_bytes = block_bytes, shard_bytes
        self._dictionaries: dict[str, dict[str, int]] = {f.name: {} for f in self.schema if f.categories}
        self._shard: _core.ShardWriter | None = None
        self._shard_name = self._file_id = ""
        self._made: list[ShardEntry] = []
        self._open = True
        self._process = os.getpid()
        self._folder_is_new = False
        self._lock_descriptor = -1
        try:
            before = self._enter_folder(overwrite, append)
            self._kept = before.shards if before is not None and append else ()
            self._generation = before.generation + 1 if before is not None else 1
        except BaseException as error:
            self.abort()
            if isinstance(error, OSError) and not isinstance(error, FastloadError):
                raise io_error(f"cannot write to '{self.path}'", error) from error
            raise

    def _enter_folder(self, overwrite: bool, append: bool) -> Manifest | None:
        try:
            self._folder_is_new = not self.path.exists()  # before it is made: Ctrl-C may strike just after
            self.path.mkdir()
        except FileExistsError:
            self._folder_is_new = False
        except OSError as error:
            raise io_error(f"cannot make the folder '{self.path}'", error) from error
        if not self.path.is_dir():
            raise ExistsError(f"'{self.path}' is a file; a data set is a folder: give another path")
        self._lock_descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"another writer is at work in '{self.path}'; wait for it or give another path") from None
        if not (self.path / NAME).exists():
            others = [p.name for p in self.path.iterdir() if p.suffix not in (".flb", ".tmp")]
            if others:
                raise ExistsError(
                    f"'{self.path}' is a folder with other files in it ({others[0]!r}); give another path"
                )
            return None
        if not overwrite and not append:
            raise ExistsError(f"'{self.path}' exists; pass overwrite=True to replace it or append=True to add to it")
        if overwrite:
            try:
                return read_manifest(self.path)
            except Exception:  # whatever it is, it is to be replaced
                return None
        before = read_manifest(self.path)
        if before.schema != self.schema:
            raise SchemaError(f"cannot append to '{self.path}': it has the schema {before.schema}, got {self.schema}")
        for name, entries in open_shards(self.path, before).dictionaries.items():
            self._dictionaries[name] = {text: code for code, text in enumerate(entries)}
        return before

    @property
    def num_rows(self) -> int:
        """Rows appended so far."""
        return sum(s.rows for s in self._made) + (self._shard.rows if self._shard is not None else 0)

    def append(self, columns: Mapping[str, Any]) -> None:
        """Append rows.

        Parameters
        ----------
        columns : mapping of str to column
            One column per field, all equally long. A column is an array [rows, *shape] of the field's dtype (nothing is
            cast); for nullable fields a ``numpy.ma.MaskedArray``; for variable fields a list of 1-D arrays or a
            ``Ragged``; for string and bytes a list, an array of str, or a ``Ragged`` of uint8; None in a list is null;
            for categories a list or array of str, or a ``Categorical``.

        Raises
        ------
        UnknownFieldError, DtypeError, ShapeError, SchemaError, DiskFullError, ClosedError
        """
        if not self._open:
            raise ClosedError(f"the writer of '{self.path}' is closed")
        self._check_process()
        check_names(self.schema, columns)
        prepared = {f.name: to_column(f, self._coded(f, columns[f.name])) for f in self.schema}
        rows = check_lengths(prepared)
        if rows == 0:
            return
        for start, stop in self._portions(prepared, rows):
            if self._shard is None:
                self._begin_shard()
            self._shard.append([_part(f, prepared[f.name], start, stop) for f in self.schema], stop - start)
            if self._shard.size_bytes >= self._shard_bytes or self._shard.footer_estimate_bytes >= _FOOTER_BYTES:
                self._end_shard()

    def _portions(self, columns: Mapping[str, Column], rows: int) -> list[tuple[int, int]]:
        """Row ranges of some blocks each, so that a shard is closed near its size whatever one append() brings."""
        raw_bytes = sum(c.values.nbytes for c in columns.values()) + rows
        portion = max(1, rows * 8 * self._block_bytes // raw_bytes)
        return [(start, min(rows, start + portion)) for start in range(0, rows, portion)]

    def _coded(self, field: Field, data: Any) -> Any:
        """Strings of a categories field as codes of the dictionary, which grows."""
        if not field.categories:
            return data
        if not isinstance(data, Categorical):
            if isinstance(data, np.ndarray) and data.dtype.kind not in "UO":
                raise DtypeError(f"field {field.name!r} holds categories: give str or a Categorical, got {data.dtype}")
            texts = ["" if t is None else t for t in data]
            unlike = next((t for t in texts if not isinstance(t, str)), None)
            if unlike is not None:
                raise DtypeError(
                    f"field {field.name!r} holds categories (str), got a {type(unlike).__name__}: {unlike!r:.60}"
                )
            valid = np.array([t is not None for t in data], bool)
            entries = sorted({str(t) for t, v in zip(texts, valid, strict=True) if v})
            codes = {text: code for code, text in enumerate(entries)}
            all_codes = np.fromiter((codes.get(t, 0) for t in texts), np.int32, len(texts))
            data = Categorical(all_codes, entries, None if valid.all() else valid)
        codes = np.asarray(data.codes)
        if codes.dtype.kind not in "iu":
            raise DtypeError(f"field {field.name!r}: codes must be integers, got {codes.dtype}")
        present = codes if data.valid is None else codes[data.valid]
        if present.size and (present.min() < 0 or present.max() >= len(data.categories)):
            raise SchemaError(
                f"field {field.name!r}: codes must lie in 0 .. {len(data.categories) - 1}, got {present.min()} .. {present.max()}"
            )
        dictionary = self._dictionaries[field.name]
        try:
            "".join(data.categories).encode("utf-8")
        except (TypeError, UnicodeEncodeError) as error:
            raise DtypeError(f"field {field.name!r}: categories must be strings of Unicode text: {error}") from None
        remap = np.array([dictionary.setdefault(text, len(dictionary)) for text in data.categories] or [0], np.int32)
        return Categorical(remap[np.where(data.valid, codes, 0) if data.valid is not None else codes], [], data.valid)

    def _begin_shard(self) -> None:
        token = secrets.token_hex(4)
        self._shard_name = f"{self._generation:06d}-{len(self._made):05d}-{token}.flb"
        file_id = secrets.token_bytes(16)
        self._file_id = file_id.hex()
        self._shard = _core.ShardWriter(
            temporary_path=str(self.path / f".{self._shard_name}.tmp"),
            fields=[to_spec(f) for f in self.schema],
            file_id=file_id,
            codec=self._codec,
            block_bytes=self._block_bytes,
            threads=self._threads,
        )

    def _end_shard(self) -> None:
        dictionaries = {
            i: [text.encode("utf-8") for text in self._dictionaries[f.name]]
            for i, f in enumerate(self.schema)
            if f.categories
        }
        rows, size_bytes, footer_crc32c = self._shard.finish(dictionaries, str(self.path / self._shard_name))
        self._made.append(ShardEntry(self._shard_name, size_bytes, rows, self._file_id, footer_crc32c))
        self._shard = None

    def close(self) -> None:
        """Publish. Raises EmptyError when there is no row, and then leaves nothing behind."""
        if not self._open:
            return
        self._check_process()
        try:
            if self._shard is not None:
                self._end_shard()
            shards = (*self._kept, *self._made)
            if not shards:
                raise EmptyError(f"a data set needs at least one row; nothing was appended to '{self.path}'")
            manifest = Manifest(self._generation, self.schema, shards)
            sync_folder(self.path)
            if self._folder_is_new:
                sync_folder(self.path.absolute().parent)
            publish(self.path, manifest)
            remove_strays(self.path, manifest)
        except BaseException:
            self.abort()
            raise
        self._leave()

    def abort(self) -> None:
        """Remove everything this writer made, but for what is published already."""
        if not self._open or os.getpid() != self._process:
            return
        try:
            self._shard = None  # removes its temporary file
            made = {self._shard_name, *(entry.name for entry in self._made)} - {""}
            for name in made - named_shards(self.path):
                with suppress(OSError):  # the next writer tries again
                    (self.path / name).unlink(missing_ok=True)
            if self._folder_is_new:
                with suppress(OSError):  # it is published, or somebody put something into it
                    self.path.rmdir()
        finally:
            self._leave()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError(
                f"the writer of '{self.path}' belongs to the parent process; a forked child cannot use it"
            )

    def _leave(self) -> None:
        self._open = False
        if self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)  # and with it the lock
            self._lock_descriptor = -1

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.abort()


def _part(field: Field, column: Column, start: int, stop: int) -> tuple[Any, Any, Any]:
    valid = None if column.valid is None else column.valid[start:stop]
    if field.is_ragged:
        return column.values, column.offsets[start : stop + 1], valid
    return column.values[start:stop], None, valid


def write(
    path: str | os.PathLike[str],
    columns: Mapping[str, Any],
    *,
    schema: Schema | list[Field] | None = None,
    codec: str = "lz4",
    block_bytes: int = 1 << 20,
    shard_bytes: int = 1 << 28,
    num_workers: int | None = None,
    overwrite: bool = False,
) -> Dataset:
    """Write columns held in memory.

    Parameters
    ----------
    path : path-like
    columns : mapping of str to column
        As for ``Writer.append``. Without `schema` the fields are what the columns are: arrays of any supported dtype and
        shape [rows, ...], a list of 1-D arrays for a variable field, a list of str, masked arrays.
    schema, codec, block_bytes, shard_bytes, num_workers, overwrite
        As for ``Writer``.

    Returns
    -------
    Dataset
        Opened.

    Raises
    ------
    As ``Writer``.

    Examples
    --------
    >>> import numpy as np, tempfile, fastload as fl
    >>> data = {"x": np.random.rand(100, 8).astype("float32"), "y": np.arange(100) % 2}
    >>> len(fl.write(tempfile.mkdtemp() + "/train.fl", data))
    100
    """
    if not isinstance(columns, Mapping) or not columns:
        raise ArgumentError(f"columns must be a dict of at least one column, got {type(columns).__name__}")
    if schema is None:
        schema = Schema([infer_field(name, data) for name, data in columns.items()])
    with Writer(
        path,
        schema,
        codec=codec,
        block_bytes=block_bytes,
        shard_bytes=shard_bytes,
        num_workers=num_workers,
        overwrite=overwrite,
    ) as writer:
        writer.append(columns)
    return Dataset(path)
