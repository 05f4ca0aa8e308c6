"""What ``transform=`` asks for: kernels in the engine's threads, and functions of the user's on finished batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from fastload import _core
from fastload.block.columns import to_spec
from fastload.block.dataset import RowAccess
from fastload.errors import ArgumentError
from fastload.kernels import cpu_kernels
from fastload.kernels.calls import Call, runs_on_devices
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


class Arrival(NamedTuple):
    """What is done to fields of a batch, a dict, once they lie on a device: the small dtype crosses the bus.

    fields : name -> the calls, and the dtype of what comes. keys : the entry that random draws are made of, None where nothing is
    drawn. keeps_keys : it was asked for, too.
    """

    fields: dict[str, tuple[tuple[Call, ...], torch.dtype]]
    keys: str | None
    keeps_keys: bool

    def transform(self, batch: dict[str, Any], run: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        """Puts what `run` makes of each field in its place, and gives a list of it."""
        keys = None if self.keys is None else batch[self.keys]
        made = []
        for name, (calls, dtype) in self.fields.items():
            made.append(run(calls, batch[name], keys))
            batch[name] = made[-1].view(dtype)
        if self.keys is not None and not self.keeps_keys:
            del batch[self.keys]
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
