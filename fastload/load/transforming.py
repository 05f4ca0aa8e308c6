"""What ``transform=`` asks for: kernels in the engine's threads, and functions of the user's on finished batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from fastload import _core
from fastload.block.columns import to_spec
from fastload.block.dataset import RowAccess
from fastload.errors import ArgumentError
from fastload.kernels import cpu_kernels
from fastload.kernels.calls import Call, runs_on_devices
from fastload.load.assemble import MADE
from fastload.transform.base import Transform
from fastload.transform.compose import as_transform
from fastload.transform.recipe import Recipe


class Asked(NamedTuple):
    """kernels : transforms by field. functions : of single fields. whole : of the batch."""

    kernels: dict[str, Transform]
    functions: dict[str, Callable[[Any], Any]]
    whole: Callable[[Any], Any] | None

    @property
    def calls_python(self) -> bool:
        return bool(self.functions) or self.whole is not None

    def call(self, batch: Any) -> Any:
        """What the functions make of a batch."""
        for name, function in self.functions.items():
            batch[name] = function(batch[name])
        return batch if self.whole is None else self.whole(batch)


def asked_of(transform: Any) -> Asked:
    """What was given as ``transform``, sorted; ArgumentError if it is nothing of that kind."""
    if transform is None:
        return Asked({}, {}, None)
    if isinstance(transform, Transform):
        raise ArgumentError(f"transform must say for which field: transform={{'x': {transform!r}}}")
    if isinstance(transform, Mapping):
        kernels, functions = {}, {}
        for name, one in transform.items():
            if (kernel := as_transform(one)) is not None:
                kernels[name] = kernel
            elif callable(one):
                functions[name] = one
            else:
                raise ArgumentError(
                    f"transform[{name!r}] must be a transform, a list of them, or a function, got {one!r}"
                )
        return Asked(kernels, functions, None)
    if callable(transform):
        return Asked({}, {}, transform)
    raise ArgumentError(f"transform must be a dict of field names to transforms, or a function, got {transform!r}")


class Arrival:
    """What is done to fields of a batch, a dict, once they lie on a device: the small dtype crosses the bus.

    Parameters
    ----------
    fields : name -> the calls, and the dtype of what comes.
    bases : name -> values that made rows lie between, [bases, elements], of fields whose made rows arrive as their bases.
    keys : the entry that random draws are made of, None where nothing is drawn. keeps_keys : it was asked for, too.
    """

    def __init__(
        self,
        fields: Mapping[str, tuple[tuple[Call, ...], torch.dtype]],
        bases: Mapping[str, np.ndarray],
        keys: str | None,
        keeps_keys: bool,
    ) -> None:
        self._fields, self._keys, self._keeps_keys = fields, keys, keeps_keys
        self._bases = {name: torch.from_numpy(values) for name, values in bases.items()}
        self._there: dict[str, torch.Tensor] = {}  # of the bases, from the first batch on

    def transform(
        self, batch: dict[str, Any], mover: Any, move: Callable[[torch.Tensor], torch.Tensor]
    ) -> list[torch.Tensor]:
        """Puts what a Computer makes of each field in its place, and gives a list of what is new. move : to the device."""
        if self._bases:
            places, *parents = (batch.pop(name) for name in MADE)
            for name, values in self._bases.items():
                if name not in self._there:
                    self._there[name] = move(values)
                mover.mix(self._there[name], *parents, places, batch[name])
        keys = None if self._keys is None else batch[self._keys]
        made = []
        for name, (calls, dtype) in self._fields.items():
            made.append(mover.run(calls, batch[name], keys))
            batch[name] = made[-1].view(dtype)
        if self._keys is not None and not self._keeps_keys:
            del batch[self._keys]
        return made


def on_arrival(recipe: Recipe, rows: RowAccess) -> tuple[Recipe, dict[str, tuple[tuple[Call, ...], torch.dtype]]]:
    """The part of a recipe that is left to the CPU, and the fields that devices have kernels for."""
    columns, fields = [], {}
    for column in recipe.columns:
        source = rows.schema[rows.schema.names[column.source]]
        if column.calls and not source.nullable and all(map(runs_on_devices, column.calls)):
            fields[source.name] = (column.calls, getattr(torch, column.field.dtype))
            column = column._replace(field=source, calls=())
        columns.append(column)
    return Recipe(tuple(columns)), fields


def batch_columns(recipe: Recipe) -> _core.BatchColumns | None:
    """The engine's form of a recipe; None where fields stay as they are. The first time numba is imported, and compiles what its
    cache does not hold."""
    if not recipe.transforms:
        return None
    kernel_of = cpu_kernels().kernel_of
    columns = [
        _core.BatchColumn(to_spec(column.field), column.source, [kernel_of(call) for call in column.calls])
        for column in recipe.columns
    ]
    return _core.BatchColumns(columns, recipe.draws)
