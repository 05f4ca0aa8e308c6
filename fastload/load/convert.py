"""NumPy arrays and engine parts -> torch tensors, sharing memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from fastload.block.batch import Parts, name_columns
from fastload.schema import Schema


def to_tensor(array: np.ndarray, dtype: str) -> torch.Tensor:
    """A tensor over the array's memory; bit patterns of bfloat16 become torch.bfloat16."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def to_batch(schema: Schema, parts: Parts, *, as_list: bool, masks: Mapping[str, bool] = MappingProxyType({})) -> Any:
    """What default_collate gives for rows of this schema: a dict of tensors, or a list of them for tuple rows.

    masks : names of padded fields that get a mask -> whether they are padded on the left.
    """
    batch = name_columns(schema, parts, to_tensor)
    for name, left in masks.items():
        lengths, width = batch[f"{name}_lengths"][:, None], batch[name].shape[1]
        places = torch.arange(width)
        batch[f"{name}_mask"] = places >= width - lengths if left else places < lengths
    return [batch[name] for name in schema.names] if as_list else batch
