"""NumPy arrays and engine parts -> torch tensors, sharing memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from fastload.block.batch import Parts, column_namer
from fastload.schema import Schema


def to_tensor(dtype: str) -> Callable[[np.ndarray], torch.Tensor]:
    """What makes tensors over the memory of arrays of this dtype; bit patterns of bfloat16 become torch.bfloat16."""
    if dtype == "bfloat16":
        return lambda array: torch.from_numpy(array).view(torch.bfloat16)
    return torch.from_numpy


def batch_maker(
    schema: Schema, *, as_list: bool, masks: Mapping[str, bool] = MappingProxyType({})
) -> Callable[[Parts], Any]:
    """parts -> what default_collate gives for rows of this schema: a dict of tensors, or a list of them for tuple rows.

    masks : names of padded fields that get a mask -> whether they are padded on the left.
    """
    name_columns = column_namer(schema, to_tensor)

    def with_masks(parts: Parts) -> dict[str, Any]:
        batch = name_columns(parts)
        for name, left in masks.items():
            lengths, width = batch[f"{name}_lengths"][:, None], batch[name].shape[1]
            places = torch.arange(width)
            batch[f"{name}_mask"] = places >= width - lengths if left else places < lengths
        return batch

    make = with_masks if masks else name_columns
    if not as_list:
        return make
    names = schema.names

    def as_tuple(parts: Parts) -> list[Any]:
        batch = make(parts)
        return [batch[name] for name in names]

    return as_tuple
