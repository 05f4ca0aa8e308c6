"""Batches of a loader over a table, as codes: training from data that stay on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fastload.block.dataset import Dataset, RowAccess
from fastload.clean.frames import pl
from fastload.errors import ArgumentError, DtypeError
from fastload.schema import Field
from fastload.synth.columns import Columns


class CodedBatches:
    """What a loader gives, each batch as ``{"codes": int32 [b, code columns]}``.

    Parameters
    ----------
    loader : fastload.DataLoader or fastload.IterableDataset
        Over a data set that `check_table` takes.
    """

    def __init__(self, loader: Any, columns: Columns) -> None:
        self._loader, self._columns, self._rows = loader, columns, loader.dataset

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for batch in self._loader:
            yield {"codes": torch.from_numpy(self._columns.encode(frame_of_batch(batch, self._rows)))}

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self._loader, "set_epoch"):
            self._loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        return getattr(self._loader, "state_dict", dict)()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._loader.load_state_dict(state)


def check_table(rows: Any) -> Dataset:
    """What a loader is over, if it is a data set that holds a table.

    Raises
    ------
    ArgumentError
        It is none of files, whose columns could be learned.
    DtypeError
        A field is no column of numbers, truth values or categories.
    """
    if not isinstance(rows, Dataset) or rows.as_tuple:
        raise ArgumentError(
            f"a table on disk must be a fastload data set whose rows are dicts, got {type(rows).__name__}"
        )
    for field in rows.schema:
        if field.shape or field.is_ragged:
            raise DtypeError(
                f"a table has one number, truth value or category a cell; field {field.name!r} is {field}: leave it out, or "
                "convert text to categories"
            )
    return rows


def frame_of_batch(batch: Mapping[str, Tensor], rows: RowAccess) -> pl.DataFrame:
    """A batch of such a data set as a polars frame."""
    return pl.DataFrame([_series(batch, field, rows) for field in rows.schema])


def batch_of_frame(frame: pl.DataFrame, rows: RowAccess) -> dict[str, Tensor]:
    """A frame as a batch of that data set.

    Raises
    ------
    ArgumentError
        A value is none that the data set's field can hold.
    """
    batch = {}
    for field in rows.schema:
        column = frame[field.name]
        if column.null_count() and not field.nullable:
            raise ArgumentError(f"field {field.name!r} has no missing values in the data set, and has in the frame")
        if field.nullable:
            batch[f"{field.name}_valid"] = torch.from_numpy(column.is_not_null().to_numpy())
        if field.categories:
            names = rows.categories(field.name)
            codes = pl.Series(range(len(names)), dtype=pl.Int32)
            column = column.replace_strict(pl.Series(names), codes, return_dtype=pl.Int32)
        filled = column.fill_null(False if column.dtype == pl.Boolean else 0)
        batch[field.name] = torch.from_numpy(filled.to_numpy().astype(field.numpy_dtype))
    return batch


def _series(batch: Mapping[str, Tensor], field: Field, rows: RowAccess) -> pl.Series:
    values = pl.Series(field.name, batch[field.name].numpy())
    if field.categories:
        values = pl.Series(field.name, rows.categories(field.name)).gather(values)
    if field.nullable:
        values = values.zip_with(
            pl.Series(batch[f"{field.name}_valid"].numpy()),
            pl.Series(field.name, [None], values.dtype).new_from_index(0, len(values)),
        )
    return values
