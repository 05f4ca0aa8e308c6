"""The fields that a model is trained on, wherever their rows are: chosen, checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, DtypeError, NotFiniteError, ShapeError, UnknownFieldError

_T = TypeVar("_T")


def chosen(data: Any, names: Sequence[str]) -> Any:
    """Fields of the data, by name: a dict of arrays of what is in memory, a Dataset of what is in files. Anything else gives
    batches, and comes back as it is.

    Raises
    ------
    UnknownFieldError
    ArgumentError
        There are more arrays than names for them.
    ShapeError
        They are not of equally many rows.
    """
    if isinstance(data, (str, os.PathLike)):
        data = Dataset(data)
    if isinstance(data, Dataset):
        return data.select(*names)
    if isinstance(data, (tuple, list)):
        data = by_name(data, names)
    elif not isinstance(data, Mapping) and hasattr(data, "__array__"):
        data = {names[0]: data}
    if not isinstance(data, Mapping):
        return data
    arrays = {name: array_of(values) for name, values in named(data, names).items()}
    rows = {name: len(values) for name, values in arrays.items()}
    if len(set(rows.values())) > 1:
        raise ShapeError(f"all fields must have equally many rows, got {rows}")
    return arrays


def by_name(parts: Sequence[_T], names: Sequence[str]) -> dict[str, _T]:
    """Parts that have no names, by these; ArgumentError if there are more of them."""
    if len(parts) > len(names):
        raise ArgumentError(f"data without names must be at most {', '.join(names)}; got {len(parts)} parts")
    return dict(zip(names, parts))


def named(fields: Mapping[str, _T], names: Sequence[str]) -> dict[str, _T]:
    """Those of these names.

    Raises
    ------
    UnknownFieldError
    """
    for name in names:
        if name not in fields:
            raise UnknownFieldError(f"the data must have a field {name!r}; they have {', '.join(map(repr, fields))}")
    return {name: fields[name] for name in names}


def array_of(values: Any) -> np.ndarray:
    """What is in memory, as an array where it lies; missing values of a masked array become NaN.

    >>> array_of(torch.ones(2, dtype=torch.bfloat16))
    array([1., 1.], dtype=float32)
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype is torch.bfloat16 else values).numpy()
    if isinstance(values, np.ma.MaskedArray):
        return values.astype(np.float64).filled(np.nan)
    return np.asarray(values)


def parts_of(data: Any, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """All rows of these fields, part by part, of what `chosen` gives. A loader that knows its state is afterwards where it was.

    Raises
    ------
    UnknownFieldError
    """
    if isinstance(data, Mapping):
        yield named(data, names)
        return
    if isinstance(data, Dataset):
        for columns in data.select(*names).batches():
            yield {name: array_of(columns[name]) for name in names}
        return
    before = getattr(data, "state_dict", dict)()
    for batch in data:
        if not isinstance(batch, Mapping):
            batch = by_name((batch,) if isinstance(batch, Tensor) else batch, names)
        yield {name: array_of(values) for name, values in named(batch, names).items()}
    if before:
        data.load_state_dict(before)


def check_rows(rows: np.ndarray, name: str, shape: Sequence[int], first_row: int = 0) -> None:
    """
    Parameters
    ----------
    rows : array [n, ...]
    name : str
        Of the field, for messages.
    shape : that each row must have
    first_row : int
        Number of the first one.

    Raises
    ------
    DtypeError
        They are no numbers.
    ShapeError
    NotFiniteError
        The message names the first row and column that is NaN or infinite.
    """
    if rows.dtype.kind not in "biuf":
        raise DtypeError(f"field {name!r} must hold numbers, got {rows.dtype}: encode it first")
    if rows.shape[1:] != tuple(shape):
        raise ShapeError(f"field {name!r} must be [rows, {_listed(shape)}], got {list(rows.shape)}")
    if rows.dtype.kind != "f" or np.isfinite(rows).all():
        return
    row, *place = np.argwhere(~np.isfinite(rows))[0]
    raise NotFiniteError(
        f"field {name!r} must be finite, and is {rows[(row, *place)]} at row {first_row + row}, column {_listed(place)}. Fill in "
        "such values first (fastload.Impute), or leave the row out"
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
