"""Columns in one form, however they were given or read, so that two of them can be compared bit by bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pure_reader

import fastload as fl

# (values, lengths, valid). values : array [rows, *shape]; of ragged fields all elements; of categories a list
# of str, None where null. lengths : int64 [rows] of ragged fields. valid : bool [rows] of nullable ones.
Plain = tuple[Any, "np.ndarray | None", "np.ndarray | None"]


def plain(field: fl.Field, column: Any) -> Plain:
    """A column in any form that ``fastload.Writer.append`` takes."""
    if field.categories:
        if not isinstance(column, fl.Categorical):
            return list(column), None, None
        valid = np.ones(len(column.codes), bool) if column.valid is None else column.valid
        codes = zip(column.codes, valid, strict=True)
        return [column.categories[code] if present else None for code, present in codes], None, None
    if field.is_ragged:
        if not isinstance(column, fl.Ragged):
            column = _ragged(field, column)
        values = np.asarray(column.values)[column.offsets[0] : column.offsets[-1]]
        lengths, valid = np.diff(column.offsets), _valid(field, column.valid, len(column.offsets) - 1)
        if valid is not None:  # a null row is empty, whatever stands in its place
            values, lengths = values[np.repeat(valid, lengths)], np.where(valid, lengths, 0)
        return values, lengths, valid
    valid, values = None, np.asarray(column)
    if isinstance(column, np.ma.MaskedArray):
        valid = ~np.ma.getmaskarray(column).any(axis=tuple(range(1, column.ndim)))
        values = column.data.copy()
        values[~valid] = null_value(field)
    return values, None, _valid(field, valid, len(values))


def null_value(field: fl.Field) -> Any:
    """What a null row of a fixed field holds."""
    return {"f": np.nan}.get(field.numpy_dtype.kind, 0x7FC0 if field.dtype == "bfloat16" else 0)


def _valid(field: fl.Field, valid: np.ndarray | None, rows: int) -> np.ndarray | None:
    if not field.nullable:
        return None
    return np.ones(rows, bool) if valid is None else np.asarray(valid)


def _ragged(field: fl.Field, rows: Sequence[Any]) -> fl.Ragged:
    if field.is_text:
        texts = [b"" if r is None else r.encode() if isinstance(r, str) else r for r in rows]
        parts = [np.frombuffer(text, np.uint8) for text in texts]
    else:
        parts = [np.asarray([] if r is None else r, field.numpy_dtype) for r in rows]
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)])
    return fl.Ragged(offsets, np.concatenate(parts), np.array([r is not None for r in rows]))


def given(schema: fl.Schema, columns: Mapping[str, Any]) -> dict[str, Plain]:
    """What was handed to the writer."""
    return {field.name: plain(field, columns[field.name]) for field in schema}


def join(parts: Sequence[dict[str, Plain]]) -> dict[str, Plain]:
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _join(parts: list[Plain]) -> Plain:
    if isinstance(parts[0][0], list):
        return [text for part in parts for text in part[0]], None, None
    return tuple(None if p[0] is None else np.concatenate(p) for p in zip(*parts, strict=True))


def engine(dataset: fl.Dataset, batch_rows: int = 1 << 16) -> dict[str, Plain]:
    """What the engine reads."""
    return join([given(dataset.schema, batch) for batch in dataset.batches(batch_rows)])


def pure(data: pure_reader.Data) -> dict[str, Plain]:
    """What the reader in pure Python reads."""
    found: dict[str, Plain] = dict(data.columns)
    for name, entries in data.dictionaries.items():
        codes, _, valid = data.columns[name]
        present = np.ones(len(codes), bool) if valid is None else valid
        pairs = zip(codes, present, strict=True)
        found[name] = [entries[code] if there else None for code, there in pairs], None, None
    return found


def differs(got: Mapping[str, Plain], wanted: Mapping[str, Plain]) -> str:
    """Says where two differ; empty if nowhere. Bits count: -0.0 is not 0.0, and NaNs have payloads."""
    if list(got) != list(wanted):
        return f"fields {list(got)} instead of {list(wanted)}"
    for name in wanted:
        for what, a, b in zip(("values", "lengths", "validity"), got[name], wanted[name], strict=True):
            if isinstance(b, np.ndarray) and isinstance(a, np.ndarray):
                same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
            else:
                same = type(a) is type(b) and a == b
            if not same:
                return f"{what} of field {name!r}: {a!r} instead of {b!r}"
    return ""
