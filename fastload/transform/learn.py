"""What can be learned of values in one pass: count, mean, deviations, bounds of each column."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastload import _core
from fastload.block.batch import column_namer
from fastload.block.columns import infer_field, to_spec
from fastload.block.dataset import Dataset, RowAccess
from fastload.block.statistics import RECORD, FieldStatistics, field_statistics
from fastload.block.threads import default_threads
from fastload.errors import ArgumentError, EmptyError


def statistics_of(X: Any) -> FieldStatistics:
    """Statistics of an array [rows, ...], or of a data set of one field (from its footers, where it lies in a file).

    >>> statistics_of(np.array([[1.0, 5.0], [3.0, np.nan]])).mean.tolist()
    [2.0, 5.0]
    """
    if isinstance(X, Dataset):
        return X.statistics[only_field(X)]
    values = array_of(X)
    field = infer_field("X", values)
    records = (
        _core.summarize(to_spec(field), values, default_threads()).view(RECORD).reshape(-1, to_spec(field).stat_columns)
    )
    return field_statistics(field, records, to_spec(field).value_columns, None)


def array_of(X: Any) -> np.ndarray:
    """Values of an array, or of a data set of one field, without rows that are null; EmptyError if there are none."""
    if isinstance(X, RowAccess):
        name = only_field(X)
        parts = column_namer(X.schema)(X.read_rows(np.arange(X.num_rows)))
        X = parts[name] if f"{name}_valid" not in parts else parts[name][parts[f"{name}_valid"]]
    values = np.ascontiguousarray(X)
    if values.ndim == 0 or len(values) == 0:
        raise EmptyError(f"fit needs at least one row, got an array of shape {values.shape}")
    return values


def only_field(rows: RowAccess) -> str:
    if len(rows.schema.names) != 1:
        raise ArgumentError(
            f"fit takes one field, and the data set has {', '.join(rows.schema.names)}: give dataset.select('...')"
        )
    return rows.schema.names[0]
