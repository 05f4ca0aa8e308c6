"""Transforms by field name -> what a batch's fields are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastload.block.dataset import RowAccess
from fastload.errors import ArgumentError, FormatError, UnknownFieldError
from fastload.kernels.calls import Call
from fastload.schema import Field, Schema
from fastload.transform.base import Transform
from fastload.transform.chain import Chain


class Column(NamedTuple):
    """A field of the batch: what `calls` make of field number `source` of the data set."""

    field: Field
    source: int
    calls: tuple[Call, ...]


class Recipe(NamedTuple):
    """How batches are made of a data set's fields."""

    columns: tuple[Column, ...]

    @property
    def schema(self) -> Schema:
        return Schema([column.field for column in self.columns])

    @property
    def transforms(self) -> bool:
        return any(column.calls for column in self.columns)

    @property
    def unchanged(self) -> set[str]:
        """Fields that the CPU delivers as the data set has them, and makes nothing else of."""
        changed = {column.source for column in self.columns if column.calls}
        return {column.field.name for column in self.columns if column.source not in changed}

    @property
    def draws(self) -> bool:
        return any(call.draws for column in self.columns for call in column.calls)


def recipe_of(transforms: Mapping[str, Transform], rows: RowAccess) -> Recipe:
    """The recipe for the rows of a data set, whose statistics serve where nothing was fitted.

    Raises
    ------
    UnknownFieldError, ArgumentError, NotFittedError

    Examples
    --------
    >>> import numpy as np, tempfile, fastload as fl
    >>> data = fl.write(tempfile.mkdtemp() + "/d.fl", {"x": np.eye(3, dtype="float32"), "y": np.arange(3)})
    >>> [column.field.dtype for column in recipe_of({"y": fl.Normalize()}, data).columns]
    ['float32', 'float32']
    """
    for name in transforms:
        if name not in rows.schema:
            raise UnknownFieldError(
                f"a transform is given for field {name!r}; the fields are {', '.join(map(repr, rows.schema.names))}"
            )
    columns = []
    for source, field in enumerate(rows.schema):
        if field.name not in transforms:
            columns.append(Column(field, source, ()))
            continue
        chain = Chain(field, _statistics(rows, field.name), rows.categories(field.name) if field.categories else None)
        transforms[field.name].extend(chain)
        columns.append(Column(chain.finish(), source, tuple(chain.calls)))
        for suffix, calls in chain.masks:
            mask = Field(f"{field.name}_{suffix}", "bool", field.shape)
            if mask.name in rows.schema or rows.as_tuple:
                raise ArgumentError(
                    f"batches would get an entry {mask.name!r}, for which "
                    + ("a tuple has no place: use dicts" if rows.as_tuple else "a field is named: rename it")
                )
            columns.append(Column(mask, source, tuple(calls)))
    return Recipe(tuple(columns))


def _statistics(rows: RowAccess, name: str) -> Any:
    try:
        return rows.statistics.get(name) if hasattr(rows, "statistics") else None
    except FormatError:  # a file without any
        return None
