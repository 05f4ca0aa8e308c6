"""What a file knows of its values without reading them: the footers' records, merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastload.schema import Field

RECORD = np.dtype(
    [
        ("count", "<u8"), ("nulls", "<u8"), ("nans", "<u8"), ("infinities", "<u8"),
        ("min", "<u8"), ("max", "<u8"), ("mean", "<f8"), ("m2", "<f8"),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class FieldStatistics:
    """Statistics of one field over all rows.

    count : finite values; nulls : rows without a value; nans, infinities : values that are; min, max : without NaN, in
    the field's kind of number (int64, uint64 or float64), NaN or 0 where there is no value; mean, std : of the finite
    values, std with the divisor ``count``. Numbers for a scalar field, arrays [columns] for a vector (its entries) and
    for an image (its channels). lengths : of a ragged field's rows. class_counts : rows per value, None where the field
    is no integer or has more than 4096 values.
    """

    count: Any
    nulls: int
    nans: Any
    infinities: Any
    min: Any
    max: Any
    mean: Any
    std: Any
    lengths: FieldStatistics | None = None
    class_counts: dict[Any, int] | None = None


def merge_records(records: np.ndarray, kind: str) -> FieldStatistics:
    """Join records [blocks, columns]: two-pass over the blocks' means, after Chan, Golub and LeVeque (1979).

    kind : numpy kind of the field's values, "i", "u" or "f".
    """
    count = records["count"].sum(axis=0)
    safe = np.maximum(count, 1)
    # values near the largest float: an infinite deviation is the honest answer
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (records["mean"] * (records["count"] / safe)).sum(axis=0)
        m2 = records["m2"].sum(axis=0) + ((np.sqrt(records["count"]) * (records["mean"] - mean)) ** 2).sum(axis=0)
        m2 = np.where(np.isfinite(mean), m2, np.inf)
    view = {"i": np.int64, "u": np.uint64, "f": np.float64}[kind]
    present = (records["count"] + records["infinities"]) > 0
    low = np.ascontiguousarray(records["min"]).view(view)
    high = np.ascontiguousarray(records["max"]).view(view)
    info = np.finfo(view) if kind == "f" else np.iinfo(view)
    least = np.where(present, low, np.inf if kind == "f" else info.max).min(axis=0)
    most = np.where(present, high, -np.inf if kind == "f" else info.min).max(axis=0)
    empty = ~present.any(axis=0)
    nothing = np.nan if kind == "f" else 0
    return FieldStatistics(
        count=count,
        nulls=int(records["nulls"].sum(axis=0)[0]) if records.shape[1] else 0,
        nans=records["nans"].sum(axis=0),
        infinities=records["infinities"].sum(axis=0),
        min=np.where(empty, nothing, least),
        max=np.where(empty, nothing, most),
        mean=np.where(count > 0, mean, np.nan),
        std=np.where(count > 0, np.sqrt(m2 / safe), np.nan),
    )


def _scalars(statistics: FieldStatistics, **extra: Any) -> FieldStatistics:
    def first(values: Any) -> Any:
        return np.asarray(values).reshape(-1)[0].item()

    names = ("count", "nans", "infinities", "min", "max", "mean", "std")
    return FieldStatistics(nulls=statistics.nulls, **{n: first(getattr(statistics, n)) for n in names}, **extra)


def field_statistics(
    field: Field, records: np.ndarray, value_columns: int, class_counts: dict[Any, int] | None
) -> FieldStatistics:
    """records : [blocks, stat columns of this field] of RECORD."""
    kind = {"b": "u", "i": "i", "u": "u", "f": "f"}[field.numpy_dtype.kind] if field.dtype != "bfloat16" else "f"
    lengths = None
    if field.is_ragged:
        lengths = _scalars(merge_records(records[:, value_columns:], "u"))
    if value_columns == 0:
        return lengths
    values = merge_records(records[:, :value_columns], kind)
    nulls = lengths.nulls if lengths is not None else values.nulls
    if field.shape:
        return FieldStatistics(**{**values.__dict__, "nulls": nulls, "class_counts": class_counts})
    scalars = _scalars(values)
    return FieldStatistics(**{**scalars.__dict__, "nulls": nulls, "lengths": lengths, "class_counts": class_counts})


def merge_class_counts(parts: Sequence[tuple[list[int], list[int]] | None]) -> dict[int, int] | None:
    """Counts of several shards; None if one of them has too many classes to count."""
    total: dict[int, int] = {}
    for part in parts:
        if part is None:
            return None
        for value, rows in zip(*part, strict=True):
            total[value] = total.get(value, 0) + rows
    return dict(sorted(total.items()))
