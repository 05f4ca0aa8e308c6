"""A data set out to Parquet or Arrow IPC, streaming, exactly as it is."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, DiskFullError, ExistsError, FastloadError, FileIOError
from fastload.ingest.columns import cast_values, take_rows
from fastload.ingest.progress import ProgressState, show_progress
from fastload.schema import Categorical, Field, Ragged

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 65536
MAX_TEXT_BYTES = 2**31 - 1  # what the 32-bit offsets of Arrow's string and list can address


def to_parquet(
    dataset: Dataset | str | PathLike[str],
    path: str | PathLike[str],
    *,
    compression: str = "zstd",
    overwrite: bool = False,
    progress: bool | Callable[[ProgressState], None] | None = None,
) -> Path:
    """Write a data set to one Parquet file, row groups of 65,536 rows.

    Nulls stay nulls; categories become dictionaries, fields of variable length lists, fixed shapes fixed-size
    lists (one level per dimension). Times were stored as integers and stay integers. bfloat16, which Arrow
    lacks, becomes float32, exactly.

    Parameters
    ----------
    dataset : Dataset or path
    path : path
        The file appears when it is whole, and not at all if writing fails or is interrupted.
    compression : str
        "zstd", "snappy", "lz4", "gzip", "brotli" or "none".

    Raises
    ------
    ExistsError, DiskFullError, FileIOError, ArgumentError, MissingExtraError

    Examples
    --------
    >>> import tempfile, fastload as fl
    >>> folder = tempfile.mkdtemp()
    >>> dataset = fl.write(folder + "/d.fl", {"x": np.zeros((3, 2), "float32"), "word": ["a", None, "b"]})
    >>> to_parquet(dataset, folder + "/d.parquet").name
    'd.parquet'
    """
    from fastload.ingest.arrow import pa

    def open_writer(file: Any, schema: pa.Schema) -> Any:
        return pa.parquet.ParquetWriter(file, schema, compression=compression)

    _check_compression(compression, ("zstd", "snappy", "lz4", "gzip", "brotli", "none"))
    return _export(dataset, Path(path), open_writer, overwrite, progress)


def to_arrow(
    dataset: Dataset | str | PathLike[str],
    path: str | PathLike[str],
    *,
    compression: str = "lz4",
    overwrite: bool = False,
    progress: bool | Callable[[ProgressState], None] | None = None,
) -> Path:
    """Write a data set to one Arrow IPC file (Feather version 2), record batches of 65,536 rows.

    Types and errors as for ``to_parquet``. compression is "lz4", "zstd" or "none"; an uncompressed file can
    be mapped.

    Examples
    --------
    >>> import tempfile, fastload as fl
    >>> folder = tempfile.mkdtemp()
    >>> dataset = fl.write(folder + "/d.fl", {"x": np.arange(5)})
    >>> to_arrow(dataset, folder + "/d.arrow", compression="none").name
    'd.arrow'
    """
    from fastload.ingest.arrow import pa

    def open_writer(file: Any, schema: pa.Schema) -> Any:
        chosen = None if compression == "none" else compression
        return pa.ipc.new_file(file, schema, options=pa.ipc.IpcWriteOptions(compression=chosen))

    _check_compression(compression, ("lz4", "zstd", "none"))
    return _export(dataset, Path(path), open_writer, overwrite, progress)


def arrow_field(field: Field) -> pa.Field:
    """The Arrow field that holds a field's values exactly."""
    from fastload.ingest.arrow import pa

    if field.categories:
        kind = pa.dictionary(pa.int32(), pa.string())
    else:
        names = {"bool": "bool_", "string": "string", "bytes": "binary", "bfloat16": "float32"}
        kind = getattr(pa, names.get(field.dtype, field.dtype))()
        if field.variable:
            kind = pa.list_(kind)
        for size in reversed(field.shape):
            kind = pa.list_(kind, size)
    return pa.field(field.name, kind, nullable=field.nullable)


def arrow_array(data: Any, field: Field, categories: list[str] | None = None) -> pa.Array:
    """One column of ``Dataset.batches`` as an Arrow array of ``arrow_field(field)``'s type, its buffers
    shared."""
    from fastload.ingest.arrow import pa

    kind = arrow_field(field).type
    if isinstance(data, Categorical):
        mask = None if data.valid is None else ~data.valid
        codes = pa.array(np.asarray(data.codes, np.int32), mask=mask)
        return pa.DictionaryArray.from_arrays(codes, pa.array(categories or data.categories, pa.string()))
    if isinstance(data, Ragged):
        offsets = pa.py_buffer(np.ascontiguousarray(data.offsets, np.int32))
        validity = None if data.valid is None else _bitmap(data.valid)
        rows = data.num_rows
        if field.is_text:
            return pa.Array.from_buffers(kind, rows, [validity, offsets, pa.py_buffer(data.values)])
        return pa.Array.from_buffers(
            kind, rows, [validity, offsets], children=[_flat_array(data.values, field)]
        )
    mask = np.ma.getmaskarray(data) if isinstance(data, np.ma.MaskedArray) else None
    values = np.ma.getdata(data)
    if not field.shape:
        if field.dtype == "bfloat16":
            values, _ = cast_values(values, "bfloat16", "float32")
        return pa.array(values, kind, mask=mask, from_pandas=False)
    rows = len(values)
    array = _flat_array(values.reshape(-1), field)
    for depth, size in reversed(list(enumerate(field.shape))):
        missing = mask.reshape(rows, -1).all(axis=1) if mask is not None and depth == 0 else None
        array = pa.FixedSizeListArray.from_arrays(
            array, size, mask=None if missing is None else pa.array(missing)
        )
    return array


def _flat_array(values: np.ndarray, field: Field) -> pa.Array:
    from fastload.ingest.arrow import pa

    if field.dtype == "bfloat16":
        values, _ = cast_values(values, "bfloat16", "float32")
    return pa.array(np.ascontiguousarray(values), from_pandas=False)


def _bitmap(valid: np.ndarray) -> pa.Buffer:
    from fastload.ingest.arrow import pa

    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _export(
    dataset: Dataset | str | PathLike[str],
    path: Path,
    open_writer: Callable[[Any, Any], Any],
    overwrite: bool,
    progress: bool | Callable[[ProgressState], None] | None,
) -> Path:
    from fastload.ingest.arrow import pa

    if not isinstance(dataset, Dataset):
        dataset = Dataset(dataset)
    if path.exists() and not overwrite:
        raise ExistsError(f"{path} exists; choose another path or pass overwrite=True")
    fields = list(dataset.schema)
    schema = pa.schema([arrow_field(field) for field in fields])
    categories = {field.name: dataset.categories(field.name) for field in fields if field.categories}
    with (
        _published(path) as file,
        open_writer(file, schema) as writer,
        show_progress("export", progress, total_rows=dataset.num_rows) as bar,
    ):
        rows = size_bytes = 0
        for batch in dataset.batches(batch_rows=BATCH_ROWS):
            for part in _addressable(batch):
                arrays = [
                    arrow_array(part[field.name], field, categories.get(field.name)) for field in fields
                ]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                rows += len(arrays[0])
                size_bytes += sum(array.nbytes for array in arrays)
            bar.at(rows, size_bytes)
    return path


def _addressable(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A batch, halved until its text and lists can be addressed with 32-bit offsets."""
    ragged = [data for data in batch.values() if isinstance(data, Ragged)]
    rows = ragged[0].num_rows if ragged else 0
    if rows < 2 or all(data.offsets[-1] <= MAX_TEXT_BYTES for data in ragged):
        yield batch
        return
    for half in (np.arange(rows // 2), np.arange(rows // 2, rows)):
        yield from _addressable({name: take_rows(data, half) for name, data in batch.items()})


@contextmanager
def _published(path: Path) -> Iterator[Any]:
    """A file to write under a temporary name; it takes its own name when it is whole and on disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except FastloadError:
        raise
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else FileIOError
        raise kind(f"{path} cannot be written: {error}; nothing was left behind") from error
    finally:
        temporary.unlink(missing_ok=True)


def _check_compression(compression: str, known: tuple[str, ...]) -> None:
    if compression not in known:
        raise ArgumentError(f"compression must be one of {', '.join(known)}; got {compression!r}")
