"""Names for what the engine hands over: per field a tuple (values, lengths, offsets, valid) becomes a dict of columns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from fastload.errors import FormatError
from fastload.schema import Schema

Parts = list[tuple[Any, Any, Any, Any]]


def decode_text(values: np.ndarray, offsets: np.ndarray, dtype: str) -> list[Any]:
    """Rows of a string or bytes field as Python objects."""
    data = values.tobytes()
    bounds = offsets.tolist()
    rows = [data[a:b] for a, b in pairwise(bounds)]
    try:
        return [row.decode("utf-8") for row in rows] if dtype == "string" else rows
    except UnicodeDecodeError as error:
        raise FormatError(
            f"a row of a string field is not UTF-8 ({error}); whatever wrote it was not fastload"
        ) from error


def column_namer(
    schema: Schema, converter: Callable[[str], Callable[[np.ndarray], Any]] = lambda dtype: lambda array: array
) -> Callable[[Parts], dict[str, Any]]:
    """A function that makes a batch of parts (one tuple per field of `schema`): a dict with ``name``, and beside it
    ``name_lengths`` (padded fields) and ``name_valid`` (nullable ones).

    converter : for a dtype's name, what turns its arrays into what is handed out. Text comes as a list of str or bytes,
    None where null.
    """
    # looked up here and not for each batch: a small batch costs little more than this bookkeeping
    plan = [
        (f.name, f"{f.name}_lengths", f"{f.name}_valid", f.dtype if f.is_text else None, converter(f.dtype))
        for f in schema
    ]
    convert_lengths, convert_valid = converter("int64"), converter("bool")

    def name_columns(parts: Parts) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for (name, name_lengths, name_valid, text, convert), (values, lengths, offsets, valid) in zip(plan, parts):
            if text is None:
                batch[name] = convert(values)
            else:
                rows = decode_text(values, offsets, text)
                batch[name] = rows if valid is None else [r if v else None for r, v in zip(rows, valid, strict=True)]
            if lengths is not None:
                batch[name_lengths] = convert_lengths(lengths)
            if valid is not None:
                batch[name_valid] = convert_valid(valid)
        return batch

    return name_columns


def split_rows(schema: Schema, batch: dict[str, Any], num_rows: int) -> list[dict[str, Any]]:
    """A batch as a list of rows; padding is cut off again."""
    rows: list[dict[str, Any]] = [{} for _ in range(num_rows)]
    for field in schema:
        column = batch[field.name]
        lengths = batch.get(f"{field.name}_lengths") if field.variable else None
        for i, row in enumerate(rows):
            row[field.name] = column[i] if lengths is None else column[i][: int(lengths[i])]
            if field.nullable:
                row[f"{field.name}_valid"] = batch[f"{field.name}_valid"][i]
    return rows


def num_rows(parts: Parts) -> int:
    values, _, offsets, _ = parts[0]
    return len(values) if offsets is None else len(offsets) - 1


def without_rows(parts: Parts, rows: np.ndarray) -> Parts:
    """The parts without these rows of the batch, which have no elements in fields of unequal length."""
    kept = []
    for values, lengths, offsets, valid in parts:
        if offsets is None:
            values = np.delete(values, rows, axis=0)
        else:
            offsets = np.delete(offsets, rows)
        lengths, valid = (None if column is None else np.delete(column, rows) for column in (lengths, valid))
        kept.append((values, lengths, offsets, valid))
    return kept
