"""The same rows for torch: memory-mapped arrays, and map-style data sets over them as people write them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from fastload.block.dataset import Dataset
from fastload.errors import DiskFullError
from fastload.schema import Categorical, Field, Ragged, Schema


class Column(NamedTuple):
    """One field: values [rows, *shape], or the elements of all runs where offsets [rows + 1] are given."""

    field: Field
    values: np.ndarray
    offsets: np.ndarray | None = None


class Export(NamedTuple):
    """The rows as torch reads them, and what an epoch sums up to: name -> (sum, sum of magnitudes).

    with_nan : fields that hold NaN, which the sums leave out.
    """

    columns: dict[str, Column]
    num_rows: int
    sums: dict[str, tuple[float, float]]
    with_nan: frozenset[str]


def export_rows(dataset: Dataset, folder: Path) -> Export:
    """Write every field's plain values to a file of its own in `folder`, and map them.

    Raises
    ------
    DiskFullError
        The decoded rows would not fit on the disk of `folder`.
    """
    free_bytes = shutil.disk_usage(folder).free
    if dataset.raw_bytes > 0.9 * free_bytes:
        message = (
            f"the comparison writes the decoded rows ({dataset.raw_bytes:,} bytes) to {folder}, which has "
            f"{free_bytes:,} bytes free; name a folder with more room"
        )
        raise DiskFullError(message)
    fields = [field for whole in dataset.schema for field in (whole, *_valid_field(whole))]
    sums = {field.name: (0.0, 0.0) for field in fields}
    with_nan = set()
    lengths: dict[str, list[np.ndarray]] = {field.name: [] for field in fields if field.is_ragged}
    with ExitStack() as stack:
        files = {f.name: stack.enter_context(_file(folder, n).open("wb")) for n, f in enumerate(fields)}
        for batch in dataset.batches():
            for name, values in _plain(dataset.schema, batch):
                field = dataset.schema[name] if name in dataset.schema else None
                np.ascontiguousarray(values).tofile(files[name])
                total, size, nan = _sums(field, values)
                sums[name] = (sums[name][0] + total, sums[name][1] + size)
                if nan:
                    with_nan.add(name)
                if isinstance(batch.get(name), Ragged):
                    lengths[name].append(np.diff(batch[name].offsets))
    columns = {}
    for number, field in enumerate(fields):
        offsets = None
        if field.is_ragged:
            offsets = np.concatenate([[0], *lengths[field.name]]).cumsum()
        count = dataset.num_rows if offsets is None else int(offsets[-1])
        columns[field.name] = Column(field, _map(_file(folder, number), field, count), offsets)
    return Export(columns, dataset.num_rows, sums, frozenset(with_nan))


def _valid_field(field: Field) -> Iterator[Field]:
    if field.nullable:
        yield Field(f"{field.name}_valid", "bool")


def _plain(schema: Schema, batch: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Every column of a batch as plain values, validity as a column of its own."""
    for field in schema:
        column = batch[field.name]
        if isinstance(column, (Ragged, Categorical)):
            values = column.values if isinstance(column, Ragged) else column.codes
            valid, rows = column.valid, len(column.offsets) - 1 if isinstance(column, Ragged) else len(values)
        else:
            values, valid, rows = np.ma.getdata(column), ~np.ma.getmaskarray(column), len(column)
        yield field.name, values
        if field.nullable:
            yield f"{field.name}_valid", np.ones(rows, bool) if valid is None else valid


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number}.raw"


def _map(path: Path, field: Field, count: int) -> np.ndarray:
    """Array [count, *shape] over the file. Copy-on-write: torch takes no read-only memory; nobody writes."""
    if not count:
        return np.empty((0, *field.shape), field.numpy_dtype)
    return np.asarray(np.memmap(path, field.numpy_dtype, "c", shape=(count, *field.shape)))


def _sums(field: Field | None, values: np.ndarray) -> tuple[float, float, bool]:
    """(sum, sum of magnitudes, is there NaN), as the consumer of batches sums; text counts characters."""
    if field is not None and field.dtype == "string":
        count = float(np.count_nonzero((values & 0xC0) != 0x80))  # bytes of UTF-8 that start a character
        return count, count, False
    if field is not None and field.dtype == "bytes":
        return float(len(values)), float(len(values)), False
    if field is not None and field.dtype == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    wide = values.astype(np.float64)
    return float(np.nansum(wide)), float(np.nansum(np.abs(wide))), bool(np.isnan(wide).any())


class RowDataset(torch.utils.data.Dataset):
    """One row a call, collated by torch. Scalars are Python numbers: torch collates those fastest."""

    def __init__(self, export: Export) -> None:
        self.num_rows = export.num_rows
        self._takers = {name: _row_taker(column) for name, column in export.columns.items()}

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: take(row) for name, take in self._takers.items()}


class WholeBatchDataset(torch.utils.data.Dataset):
    """The fastest form torch knows: it hands over a batch's row numbers, and one index takes them all."""

    def __init__(self, export: Export) -> None:
        self.num_rows = export.num_rows
        self._takers = {name: _batch_taker(column) for name, column in export.columns.items()}

    def __len__(self) -> int:
        return self.num_rows

    def __getitems__(self, rows: list[int]) -> dict[str, Any]:
        index = np.asarray(rows)
        return {name: take(index) for name, take in self._takers.items()}


def collate_padded(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """torch's default collation, with runs of unequal length padded to the longest of the batch."""
    batch = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if isinstance(values[0], _Run):
            batch[name] = pad_sequence([run.values for run in values], batch_first=True)
            batch[f"{name}_lengths"] = torch.tensor([len(run.values) for run in values])
        else:
            batch[name] = default_collate(values)
    return batch


class _Run(NamedTuple):
    values: Tensor


def _tensor(column: Column) -> Tensor:
    tensor = torch.from_numpy(column.values)
    return tensor.view(torch.bfloat16) if column.field.dtype == "bfloat16" else tensor


def _row_taker(column: Column) -> Callable[[int], Any]:
    field, values, offsets = column
    if offsets is not None and field.is_text:
        decode = _decoder(field)
        return lambda row: decode(values[offsets[row] : offsets[row + 1]])
    tensor = _tensor(column)
    if offsets is not None:
        return lambda row: _Run(tensor[offsets[row] : offsets[row + 1]])
    if field.shape or field.dtype == "bfloat16":
        return lambda row: tensor[row]
    return lambda row: values[row].item()


def _batch_taker(column: Column) -> Callable[[np.ndarray], Any]:
    field, values, offsets = column
    if offsets is not None and field.is_text:
        decode = _decoder(field)
        return lambda rows: [decode(values[offsets[row] : offsets[row + 1]]) for row in rows]
    if offsets is not None:
        tensor = _tensor(column)
        return lambda rows: pad_sequence([tensor[offsets[r] : offsets[r + 1]] for r in rows], batch_first=True)
    if field.dtype == "bfloat16":
        return lambda rows: torch.from_numpy(values.take(rows, axis=0)).view(torch.bfloat16)
    return lambda rows: torch.from_numpy(values.take(rows, axis=0))  # take is the fastest gather from a map


def _decoder(field: Field) -> Callable[[np.ndarray], Any]:
    return (lambda run: run.tobytes().decode()) if field.dtype == "string" else (lambda run: run.tobytes())
