"""What the engine hands over -> what the training loop gets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from fastload.block.batch import Parts, column_namer, num_rows, split_rows
from fastload.load.convert import batch_maker
from fastload.plan.random import row_keys
from fastload.schema import Schema

REPEATED, SEEDS = "is_padding", "sample_seed"
MADE = ("made_places", "made_bases", "made_neighbors", "made_parts")  # on their way to a device, which takes them out


class Assembler:
    """Makes batches of parts: a dict of tensors, a list of them for tuple rows, or what `collate_fn` makes of the samples.

    Parameters
    ----------
    schema : of the parts. as_tuple : rows are tuples.
    collate_fn : callable or None
        None: the batch is the columns.
    tensors : bool
        Samples for `collate_fn` are tuples of tensors (a TensorDataset's), not rows of NumPy values.
    masks : names of padded fields that get a mask -> whether they are padded on the left.
    marks_repeated : bool
        Dict rows say which of them only fill up the last batch, as ``is_padding``.
    seeds : (seed, epoch) or None
        Dict rows bring a number to draw from, as ``sample_seed``.
    parents : callable or None
        Dict rows bring what the made ones among them are made of, of their numbers and keys; see `MADE`.
    function : callable or None
        Makes something else of each batch.
    pins : bool
        Batches go to pinned memory.
    """

    def __init__(
        self,
        schema: Schema,
        collate_fn: Callable[[list], Any] | None,
        *,
        as_tuple: bool,
        tensors: bool,
        masks: Mapping[str, bool],
        marks_repeated: bool,
        seeds: tuple[int, int] | None,
        parents: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]] | None,
        function: Callable[[Any], Any] | None,
        pins: bool,
    ) -> None:
        self._schema, self._as_tuple = schema, as_tuple
        self._collate = collate_fn
        self._tensors = tensors
        self._marks_repeated = marks_repeated
        self._seeds, self._parents = seeds, parents
        self._function = function
        self._pins = pins
        self._columns = batch_maker(schema, as_list=as_tuple, masks=masks)
        self._name_columns = column_namer(schema)
        self.python_since: float | None = None  # by time.perf_counter(), where functions of the user's are called
        self._plain = not (collate_fn or marks_repeated or seeds or function or pins)

    def __call__(self, parts: Parts, numbers: np.ndarray | None, repeated: int) -> Any:
        """numbers : of the rows, where seeds are asked for. repeated : so many rows at the end only fill up."""
        if self._plain:
            return self._columns(parts)
        extra = self._extra(parts, numbers, repeated)
        if self._collate is None:
            batch = self._columns(parts)
            for name, column in extra.items():
                batch[name] = torch.from_numpy(column)
            self.python_since = time.perf_counter() if self._function else None
        else:
            samples = self._samples(parts, extra)
            self.python_since = time.perf_counter()
            batch = self._collate(samples)
        if self._function is not None:
            batch = self._function(batch)
        return pin_memory(batch) if self._pins else batch

    def _extra(self, parts: Parts, numbers: np.ndarray | None, repeated: int) -> dict[str, np.ndarray]:
        extra = {}
        if self._marks_repeated:
            count = num_rows(parts)
            extra[REPEATED] = np.arange(count) >= count - repeated
        if self._seeds is not None:
            keys = row_keys(*self._seeds, numbers)
            extra[SEEDS] = keys.view(np.int64)
            if self._parents is not None:
                extra |= zip(MADE, self._parents(numbers, keys), strict=True)
        return extra

    def _samples(self, parts: Parts, extra: Mapping[str, np.ndarray]) -> list[Any]:
        if self._tensors:
            return list(zip(*self._columns(parts), strict=True))
        rows = split_rows(self._schema, self._name_columns(parts), num_rows(parts))
        if self._as_tuple:
            return [tuple(row[name] for name in self._schema.names) for row in rows]
        for name, column in extra.items():
            for row, value in zip(rows, column, strict=True):
                row[name] = value
        return rows
