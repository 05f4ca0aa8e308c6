"""What people hand to a loader -> rows the engine can gather, where it can."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

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
        rows = MemoryDataset({name: _to_numpy(c) for name, c in dataset.items()})
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


def _tuple_rows(columns: Any) -> MemoryDataset:
    return MemoryDataset({str(i): _to_numpy(c) for i, c in enumerate(columns)}, as_tuple=True)


_TENSOR_DTYPES = {
    torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.float32, torch.float64,
}  # fmt: skip


def _is_column(column: np.ndarray | torch.Tensor) -> bool:
    if isinstance(column, torch.Tensor):
        plain = column.layout is torch.strided and column.device.type == "cpu" and not column.requires_grad
        return plain and column.dtype in _TENSOR_DTYPES and column.ndim >= 1 and 0 not in column.shape
    return column.dtype.kind in "biufU" and column.ndim >= 1 and 0 not in column.shape


def _to_numpy(column: Any) -> Any:
    return column.detach().numpy() if isinstance(column, torch.Tensor) else column
