"""``fastload.IterableDataset``: finished batches for torch's own DataLoader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset as TorchIterableDataset
from torch.utils.data import get_worker_info

from fastload import _core
from fastload.block.dataset import Dataset
from fastload.block.threads import default_threads
from fastload.errors import ArgumentError
from fastload.load.convert import batch_maker
from fastload.load.serving import PREFETCH_BYTES
from fastload.load.transforming import asked_of, batch_columns
from fastload.plan.random import ROW_KEYS, stream_key
from fastload.transform.recipe import recipe_of


class IterableDataset(TorchIterableDataset):
    """Batches of a data set as an iterable: ``torch.utils.data.DataLoader(IterableDataset(...), batch_size=None)``.

    With several worker processes each gets a lane of the data (see csrc/core/order.h), so that each row comes once an epoch;
    each worker ends with a batch of its own that may be short. ``fastload.DataLoader`` needs no worker processes and is faster.

    Parameters
    ----------
    dataset : path-like or Dataset
    batch_size : int
    shuffle : bool
    seed : int, optional
        With it, pass e (counted by this object, or set by ``set_epoch``) is shuffled by (seed, e). Without it a seed is
        drawn per pass from torch's global generator, the same for all workers of a DataLoader.
    drop_last : bool
    transform : dict of field names to transforms, or callable, optional
        As for ``fastload.DataLoader``.
    memory_bytes : int
        Budget for decoded blocks, of each process.
    num_workers : int, optional
        Native threads of each process; by default the processors allowed (at most 4), shared among torch's workers.

    Raises
    ------
    ArgumentError, and what opening a data set raises

    Examples
    --------
    >>> import numpy as np, tempfile, torch, fastload as fl
    >>> ds = fl.write(tempfile.mkdtemp() + "/d.fl", {"x": np.arange(10)})
    >>> loader = torch.utils.data.DataLoader(fl.IterableDataset(ds, batch_size=4), batch_size=None)
    >>> [batch["x"].tolist() for batch in loader]
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    """

    def __init__(
        self,
        dataset: str | os.PathLike[str] | Dataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        transform: Any = None,
        memory_bytes: int = 1 << 30,
        num_workers: int | None = None,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ArgumentError(f"batch_size must be a positive integer, got {batch_size!r}")
        self.dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.transform = transform
        self._asked = asked_of(transform)
        if self._asked.functions and self.dataset.as_tuple:
            raise ArgumentError(
                "a function for one field needs rows that are dicts: give one function for the whole batch"
            )
        self._recipe = recipe_of(self._asked.kernels, self.dataset)
        self.memory_bytes = memory_bytes
        self.num_workers = num_workers
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next ``iter()`` delivers."""
        self.epoch = int(epoch)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        epoch, self.epoch = self.epoch, self.epoch + 1
        seed = self.seed
        if seed is None:  # a worker's seed is the loader's own number plus the worker's
            seed = info.seed - info.id if info is not None else int(torch.empty((), dtype=torch.int64).random_().item())
        threads = max(1, default_threads() // workers) if self.num_workers is None else self.num_workers
        engine = _core.Engine(self.dataset._source(), threads, self.memory_bytes, PREFETCH_BYTES)
        seed &= (1 << 64) - 1
        order = _core.OrderOptions(
            shuffle=bool(self.shuffle),
            seed=seed,
            epoch=epoch,
            lanes=workers,
            rank=worker,
            world_size=workers,
            ends="uneven",
        )
        columns, key = batch_columns(self._recipe), stream_key(seed, epoch, ROW_KEYS)
        pass_ = engine.start(self.batch_size, self.drop_last, order, True, columns=columns, draw_key=key)
        make = batch_maker(self._recipe.schema, as_list=self.dataset.as_tuple)
        while (found := pass_.next(engine)) is not None:
            yield self._asked.call(make(found[0]))
