"""Batches without end, for a training loop: pass after pass, from any place on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastload.block.dataset import Dataset, RowAccess
from fastload.errors import TooFewRowsError
from fastload.load.dataloader import DataLoader
from fastload.synth.fields import by_name

Batch = dict[str, Tensor]


class Batches:
    """An iterator over the batches of a loader, dicts of tensors on `device`, that begins anew where a pass ends.

    Parameters
    ----------
    loader : iterable of batches
        What ``loader_of`` gives. Where it knows its own state, as ``fastload.DataLoader`` does, it goes on from any place at no
        cost; of another one the batches of the pass that were already used are run through again, and ``set_epoch`` is
        called, if it has one.
    names : sequence of str
        What the parts of a batch are called where they have no names.
    """

    def __init__(self, loader: Any, names: Sequence[str], device: torch.device) -> None:
        self._loader, self._names, self._device = loader, names, device
        self._knows_state = bool(getattr(loader, "state_dict", dict)())
        self._epoch = self._used = 0  # the pass, and how many of its batches were handed out
        self._pass: Iterator[Any] | None = None
        self._ahead: tuple[dict[str, Any], Batch] | None = (
            None  # the state before a batch that was only looked at, and it
        )

    def peek(self) -> Batch:
        """The next batch, which stays the next one."""
        if self._ahead is None:
            before = self.state()
            self._ahead = before, next(self)
        return self._ahead[1]

    def __next__(self) -> Batch:
        """
        Raises
        ------
        TooFewRowsError
            A pass has no batch at all.
        """
        if self._ahead is not None:
            (_, batch), self._ahead = self._ahead, None
            return batch
        for _ in range(2):
            if self._pass is None:
                self._pass = self._begun()
            for batch in self._pass:
                self._used += 1
                return self._named(batch)
            self._pass, self._epoch, self._used = None, self._epoch + 1, 0
        raise TooFewRowsError("the loader gives no batch: its data have fewer rows than one needs")

    def _begun(self) -> Iterator[Any]:
        if self._knows_state:
            return iter(self._loader)
        if hasattr(self._loader, "set_epoch"):
            self._loader.set_epoch(self._epoch)
        return islice(self._loader, self._used, None)

    def state(self) -> dict[str, Any]:
        """Where the next batch is: plain values."""
        if self._ahead is not None:
            return self._ahead[0]
        if self._knows_state:
            return self._loader.state_dict()
        return {"epoch": self._epoch, "used": self._used}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """
        Raises
        ------
        StateError
            The state is of a loader of other data or another order.
        """
        self._pass = self._ahead = None
        if self._knows_state:
            self._loader.load_state_dict(state)
        else:
            self._epoch, self._used = state.get("epoch", 0), state.get("used", 0)

    def _named(self, batch: Any) -> Batch:
        if isinstance(batch, Tensor):
            batch = (batch,)
        if not isinstance(batch, Mapping):
            batch = by_name(batch, self._names)
        return {name: part.to(self._device) for name, part in batch.items() if isinstance(part, Tensor)}


def loader_of(data: Any, names: Sequence[str], batch_size: int, seed: int, rank: int, world_size: int) -> Any:
    """`data` itself if it gives batches, else a ``fastload.DataLoader`` over it, shuffled by `seed`, without the last short batch.

    Parameters
    ----------
    data : array or tensor [rows, ...], tuple of such, dict of such by name, path, Dataset, or an iterable of batches
    names : sequence of str
        What the arrays of a tuple, or a single one, are called.
    rank, world_size : int
        Which share of the rows is wanted.

    Raises
    ------
    TooFewRowsError
        There are fewer rows than a batch has, on each rank.
    """
    if isinstance(data, (np.ndarray, Tensor)):
        data = (data,)
    if isinstance(data, (tuple, list)):
        data = by_name(data, names)
    if isinstance(data, (str, os.PathLike)):
        data = Dataset(data)
    if not isinstance(data, (Mapping, RowAccess)):
        return data
    share = {"rank": rank, "world_size": world_size, "ends": "drop"} if world_size > 1 else {}
    generator = torch.Generator()  # a pass draws a number, and torch's global one stays as it is
    loader = DataLoader(data, batch_size, shuffle=True, drop_last=True, seed=seed, generator=generator, **share)
    if not len(loader):
        rows = len(loader.dataset)
        raise TooFewRowsError(
            f"the data must fill a batch on each of {world_size} ranks: they have {rows} rows, and batch_size is {batch_size}; "
            "make it smaller"
            if world_size > 1
            else f"the data must fill a batch: they have {rows} rows, and batch_size is {batch_size}; make it smaller"
        )
    return loader
