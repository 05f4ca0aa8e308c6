"""A data set's columns as Arrow arrays, on the same memory where it is laid out alike; imports pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from fastload.block.dataset import Dataset
from fastload.ingest.arrow import pa
from fastload.ingest.columns import cast_values, take_rows
from fastload.schema import Categorical, Field, Ragged

BATCH_ROWS = 65536
MAX_TEXT_BYTES = 2**31 - 1  # what the 32-bit offsets of Arrow's string and list can address


def parquet_writer(file: BinaryIO, schema: pa.Schema, compression: str) -> Any:
    """Takes ``write_batch`` of record batches, each a row group."""
    from pyarrow import parquet

    return parquet.ParquetWriter(file, schema, compression=compression)


def ipc_writer(file: BinaryIO, schema: pa.Schema, compression: str) -> pa.ipc.RecordBatchFileWriter:
    """Takes ``write_batch`` of record batches."""
    codec = None if compression == "none" else compression
    return pa.ipc.new_file(file, schema, options=pa.ipc.IpcWriteOptions(compression=codec))


def arrow_schema(dataset: Dataset) -> pa.Schema:
    """The Arrow schema that holds a data set exactly."""
    return pa.schema([arrow_field(field) for field in dataset.schema])


def record_batches(dataset: Dataset) -> Iterator[pa.RecordBatch]:
    """All rows in order, at most BATCH_ROWS at a time."""
    schema = arrow_schema(dataset)
    categories = {field.name: dataset.categories(field.name) for field in dataset.schema if field.categories}
    for batch in dataset.batches(batch_rows=BATCH_ROWS):
        for part in addressable(batch):
            arrays = [arrow_array(part[f.name], f, categories.get(f.name)) for f in dataset.schema]
            yield pa.record_batch(arrays, schema=schema)


def arrow_field(field: Field) -> pa.Field:
    """The Arrow field that holds a field's values exactly."""
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
    """One column of ``Dataset.batches`` as an Arrow array of ``arrow_field(field)``'s type."""
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
        return pa.Array.from_buffers(kind, rows, [validity, offsets], children=[_flat_array(data.values, field)])
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
        array = pa.FixedSizeListArray.from_arrays(array, size, mask=None if missing is None else pa.array(missing))
    return array


def _flat_array(values: np.ndarray, field: Field) -> pa.Array:
    if field.dtype == "bfloat16":
        values, _ = cast_values(values, "bfloat16", "float32")
    return pa.array(np.ascontiguousarray(values), from_pandas=False)


def _bitmap(valid: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def addressable(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A batch, halved until its text and lists can be addressed with 32-bit offsets."""
    ragged = [data for data in batch.values() if isinstance(data, Ragged)]
    rows = ragged[0].num_rows if ragged else 0
    if rows < 2 or all(data.offsets[-1] <= MAX_TEXT_BYTES for data in ragged):
        yield batch
        return
    for half in (np.arange(rows // 2), np.arange(rows // 2, rows)):
        yield from addressable({name: take_rows(data, half) for name, data in batch.items()})
