"""Transforms at conversion: what is stored of a field instead of what was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, UnknownFieldError
from fastload.ingest.columns import Data
from fastload.schema import Field, Schema
from fastload.transform.base import Transform, run_chain
from fastload.transform.chain import Chain
from fastload.transform.compose import as_transform


class Changes:
    """Transforms by field. `source` : the data set that is read, whose statistics serve where nothing was fitted."""

    def __init__(self, transforms: Mapping[str, Any] | None, source: Dataset | None = None) -> None:
        self._transforms: dict[str, Transform] = {}
        for name, given in (transforms or {}).items():
            transform = as_transform(given)
            if transform is None:
                raise ArgumentError(
                    f"transform[{name!r}] must be a transform or a list of them, got {given!r}; change other things before"
                )
            self._transforms[name] = transform
        self._statistics = source.statistics if source is not None and self._transforms else {}
        self._chains: dict[str, Chain] = {}

    def check(self, fields: Iterable[str]) -> None:
        unknown = set(self._transforms) - set(fields)
        if unknown:
            raise UnknownFieldError(
                f"a transform is given for field {min(unknown)!r}; the fields are {', '.join(fields)}"
            )

    def of_schema(self, schema: Schema) -> Schema:
        """The schema of what is stored."""
        self._chains = {}
        fields: list[Field] = []
        for field in schema:
            if field.name not in self._transforms:
                fields.append(field)
                continue
            chain = Chain(field, self._statistics.get(field.name))
            self._transforms[field.name].extend(chain)
            fields.append(chain.finish())
            self._check(chain)
            self._chains[field.name] = chain
        return Schema(fields)

    def _check(self, chain: Chain) -> None:
        if chain.draws:
            raise ArgumentError(
                f"field {chain.name!r}: what is drawn at random would be drawn once for all; give it to the loader"
            )
        if chain.masks:
            raise ArgumentError(
                f"field {chain.name!r}: masks of missing values are for loaders; a nullable field keeps its own"
            )
        if chain.source.categories:
            raise ArgumentError(
                f"field {chain.name!r} holds categories, whose codes are not settled yet; encode them in the loader"
            )

    def of_columns(self, columns: dict[str, Data], row: int) -> dict[str, Data]:
        """What is stored of a chunk that begins at `row`."""
        return {
            name: self._changed(name, data, row) if name in self._chains else data for name, data in columns.items()
        }

    def _changed(self, name: str, data: Any, row: int) -> Data:
        mask = np.ma.getmaskarray(data) if isinstance(data, np.ma.MaskedArray) else None
        values = np.ascontiguousarray(np.ma.getdata(data))
        chain = self._chains[name]
        valid = None
        if chain.nullable:
            valid = np.ones(len(values), bool) if mask is None else ~mask.reshape(len(values), -1).any(axis=1)
        out = run_chain(chain, values, valid, first_row=row)
        if valid is None:
            return out
        return np.ma.MaskedArray(out, np.broadcast_to(~valid.reshape(-1, *[1] * (out.ndim - 1)), out.shape))
