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


def name_columns(
    schema: Schema, parts: Parts, convert: Callable[[np.ndarray, str], Any] = lambda array, dtype: array
) -> dict[str, Any]:
    """A batch as a dict: ``name``, and beside it ``name_lengths`` (padded fields) and ``name_valid`` (nullable ones).

    parts : one tuple per field of `schema`. convert : turns an array of the named dtype into what is handed out.
    Text comes as a list of str or bytes, None where null.
    """
    batch: dict[str, Any] = {}
    for field, (values, lengths, offsets, valid) in zip(schema.fields, parts, strict=True):
        name = field.name
        if field.is_text:
            rows = decode_text(values, offsets, field.dtype)
            batch[name] = rows if valid is None else [r if v else None for r, v in zip(rows, valid, strict=True)]
        else:
            batch[name] = convert(values, field.dtype)
        if lengths is not None:
            batch[f"{name}_lengths"] = convert(lengths, "int64")
        if valid is not None:
            batch[f"{name}_valid"] = convert(valid, "bool")
    return batch


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
