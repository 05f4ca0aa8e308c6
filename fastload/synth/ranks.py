"""Training by several processes, where torch.distributed was initialised for them; by one, all of this does nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank_and_world() -> tuple[int, int]:
    """Which process this is, and of how many.

    >>> rank_and_world()
    (0, 1)
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def agree(value: Any) -> Any:
    """Rank 0's value, a plain one, on all ranks."""
    if rank_and_world()[1] == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def take_from_first(modules: Iterable[nn.Module], *, buffers_only: bool = False) -> None:
    """Weights and buffers become those of rank 0."""
    if rank_and_world()[1] == 1:
        return
    for module in modules:
        for tensor in [*module.buffers(), *([] if buffers_only else module.parameters())]:
            dist.broadcast(tensor.detach(), src=0)


def average(tensors: Sequence[Tensor]) -> None:
    """Each tensor, in place, becomes its mean over the ranks; they are of one dtype, and go as one message."""
    world = rank_and_world()[1]
    if world == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(part.view_as(tensor))
