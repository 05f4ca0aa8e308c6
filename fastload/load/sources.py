"""What people hand to a loader -> rows the engine can gather, where it can."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from fastload import _core
from fastload.block.columns import to_column
from fastload.block.dataset import Dataset, MemoryDataset, RowAccess


def to_rows(dataset: Any) -> tuple[Any, RowAccess | None]:
    """The data set as the user will see it (``loader.dataset``), and as the engine gathers it; None if it cannot.

    A path opens a data set; a mapping of names to arrays, tensors or lists gives dict rows; a tuple or list of arrays or
    tensors, and exactly ``TensorDataset``, give tuple rows. Anything else is left to torch.
    """
    if isinstance(dataset, (str, os.PathLike)):
        opened = Dataset(dataset)
        return opened, opened
    if isinstance(dataset, RowAccess):
        return dataset, dataset
    if isinstance(dataset, Mapping) and all(isinstance(name, str) for name in dataset):
        rows = TensorRows(dataset)
        return rows, rows
    if (
        isinstance(dataset, (tuple, list))
        and dataset
        and all(isinstance(c, (np.ndarray, torch.Tensor)) for c in dataset)
    ):
        if len({len(c) for c in dataset if c.ndim}) == 1 and all(_is_column(c) for c in dataset):
            rows = _tuple_rows(dataset)
            return rows, rows
    if type(dataset) is TensorDataset and len(dataset) and all(_is_column(t) for t in dataset.tensors):
        return dataset, _tuple_rows(dataset.tensors)
    return dataset, None


class TensorRows(MemoryDataset):
    """Columns of which some are tensors, read where these lie. Tensors can move: ``share_memory_()`` moves them, and so does
    pickling them for a torch worker."""

    def __init__(self, columns: Mapping[str, Any], *, as_tuple: bool = False) -> None:
        self._tensors = {name: c.detach() for name, c in columns.items() if isinstance(c, torch.Tensor)}
        super().__init__({**columns, **self._arrays()}, as_tuple=as_tuple)
        self._taken_at = self._held_at()

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in self._tensors.items()}

    def _held_at(self) -> tuple[int, ...]:
        return tuple(tensor.data_ptr() for tensor in self._tensors.values())

    def _source(self) -> _core.Source:
        if self._taken_at != self._held_at():
            arrays = self._arrays()
            moved = {f.name: to_column(f, arrays[f.name]) for f in self.schema if f.name in arrays}
            self._columns, self._taken_at = self._columns | moved, self._held_at()
        return super()._source()

    def __getstate__(self) -> dict[str, Any]:
        """The tensors stand for their columns."""
        columns = {name: column for name, column in self._columns.items() if name not in self._tensors}
        return super().__getstate__() | {"_columns": columns, "_taken_at": None}


def _tuple_rows(columns: Any) -> MemoryDataset:
    return TensorRows({str(i): c for i, c in enumerate(columns)}, as_tuple=True)


_TENSOR_DTYPES = {
    torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.float32, torch.float64,
}  # fmt: skip


def _is_column(column: np.ndarray | torch.Tensor) -> bool:
    if isinstance(column, torch.Tensor):
        plain = column.layout is torch.strided and column.device.type == "cpu" and not column.requires_grad
        return plain and column.dtype in _TENSOR_DTYPES and column.ndim >= 1 and 0 not in column.shape
    return column.dtype.kind in "biufU" and column.ndim >= 1 and 0 not in column.shape
