"""A data set out to Parquet or Arrow IPC, streaming, exactly as it is."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, DiskFullError, ExistsError, FastloadError, FileIOError
from fastload.ingest.progress import ProgressState, show_progress

if TYPE_CHECKING:
    import pyarrow as pa


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
    >>> import tempfile, fastload as fl, numpy as np
    >>> folder = tempfile.mkdtemp()
    >>> dataset = fl.write(folder + "/d.fl", {"x": np.zeros((3, 2), "float32"), "word": ["a", None, "b"]})
    >>> to_parquet(dataset, folder + "/d.parquet").name
    'd.parquet'
    """
    from fastload.ingest.arrow_out import parquet_writer

    _check_compression(compression, ("zstd", "snappy", "lz4", "gzip", "brotli", "none"))
    return _export(dataset, Path(path), parquet_writer, compression, overwrite, progress)


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
    >>> import tempfile, fastload as fl, numpy as np
    >>> folder = tempfile.mkdtemp()
    >>> dataset = fl.write(folder + "/d.fl", {"x": np.arange(5)})
    >>> to_arrow(dataset, folder + "/d.arrow", compression="none").name
    'd.arrow'
    """
    from fastload.ingest.arrow_out import ipc_writer

    _check_compression(compression, ("lz4", "zstd", "none"))
    return _export(dataset, Path(path), ipc_writer, compression, overwrite, progress)


def _export(
    dataset: Dataset | str | PathLike[str],
    path: Path,
    open_writer: Callable[[BinaryIO, pa.Schema, str], Any],
    compression: str,
    overwrite: bool,
    progress: bool | Callable[[ProgressState], None] | None,
) -> Path:
    from fastload.ingest.arrow import pa
    from fastload.ingest.arrow_out import arrow_schema, record_batches

    if not isinstance(dataset, Dataset):
        dataset = Dataset(dataset)
    if path.exists() and not overwrite:
        raise ExistsError(f"{path} exists; choose another path or pass overwrite=True")
    with (
        published(path) as file,
        open_writer(file, arrow_schema(dataset), compression) as writer,
        show_progress("export", progress, total_rows=dataset.num_rows) as bar,
    ):
        rows = size_bytes = 0
        for batch in record_batches(dataset):
            try:
                writer.write_batch(batch)
            except pa.ArrowNotImplementedError as error:  # nullable vectors in Parquet, up to pyarrow 22
                message = f"pyarrow {pa.__version__} must be able to write every field to {path.name}; it says: "
                raise ArgumentError(f"{message}{error}; leave the field out, or use to_arrow") from None
            rows += batch.num_rows
            size_bytes += batch.nbytes
            bar.at(rows, size_bytes)
    return path


@contextmanager
def published(path: Path) -> Iterator[BinaryIO]:
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
