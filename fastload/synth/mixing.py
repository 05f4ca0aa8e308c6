"""Synthetic rows mixed into the batches of a loader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fastload.block.dataset import Dataset, RowAccess
from fastload.errors import ArgumentError, SchemaError
from fastload.plan.random import checked_word
from fastload.synth.coded_batches import batch_of_frame, check_table
from fastload.synth.tables import TableSynthesizer


class Mixed:
    """A function for ``DataLoader(transform=...)`` that adds newly drawn rows to each batch.

    No row is stored. What is drawn is a function of the seed and of the rows of the batch: other batches, as shuffling makes them
    in every epoch, get other rows, and a loader that goes on from a state gives the same ones, for any number of threads.

    Parameters
    ----------
    model : TableSynthesizer
        Trained on a table of the same columns.
    dataset : Dataset or path
        What the loader is over. Its batches must hold nothing beside the fields.
    ratio : float
        New rows for each row of the batch.
    where : {column: condition}, optional
        As of `TableSynthesizer.sample`: rows of a rare class only, say.
    seed : int

    Raises
    ------
    ArgumentError
        A batch holds more than the fields.
    SchemaError
        The data set has other columns than the model.

    Examples
    --------
    >>> import tempfile, numpy as np, fastload as fl
    >>> from fastload.synth import TableAutoregressor
    >>> data = fl.write(tempfile.mkdtemp() + "/d.fl", {"x": np.arange(100.0), "late": np.arange(100) % 10 == 0})
    >>> model = TableAutoregressor(batch_size=50, max_steps=20).fit(data)
    >>> loader = fl.DataLoader(data, batch_size=20, transform=Mixed(model, data, ratio=0.5, where={"late": True}))
    >>> batch = next(iter(loader))
    >>> len(batch["x"]), bool(batch["late"][20:].all())
    (30, True)
    """

    def __init__(
        self, model: TableSynthesizer, dataset: Any, *, ratio: float, where: Mapping[str, Any] | None = None, seed: int = 0
    ) -> None:  # fmt: skip
        if not ratio > 0:
            raise ArgumentError(f"ratio must be positive, got {ratio!r}")
        self._rows = check_table(dataset if isinstance(dataset, RowAccess) else Dataset(dataset))
        names = sorted(self._rows.schema.names)
        if names != sorted(model.columns.groups):
            raise SchemaError(
                f"the model must be of the same columns as the data: it has {', '.join(sorted(model.columns.groups))}, the data "
                f"{', '.join(names)}"
            )
        self.model, self.ratio, self.where, self.seed = model, float(ratio), where, checked_word("seed", seed)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        names = self._rows.schema.names
        rows = round(len(batch[names[0]]) * self.ratio)
        if not rows:
            return batch
        frame = self.model.sample_frame(
            rows, where=self.where, seed=_digest(self.seed, [batch[name] for name in names])
        )
        new = batch_of_frame(frame, self._rows)
        if more := [name for name in batch if name not in new]:
            raise ArgumentError(
                f"new rows have no {', '.join(map(repr, more))}, which the batch has: leave out what adds it (sample_seeds, "
                'balance; ends="drop" in place of "pad")'
            )
        return {name: torch.cat([values, new[name].to(values)]) for name, values in batch.items()}


def _digest(seed: int, tensors: list[Tensor]) -> int:
    digest = hashlib.blake2b(seed.to_bytes(8, "little"), digest_size=8)
    for tensor in tensors:
        digest.update(tensor.contiguous().view(torch.uint8).numpy())
    return int.from_bytes(digest.digest(), "little") >> 1
