"""The fields that a model is trained on: chosen, checked, held out in part."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastload.block.dataset import Dataset
from fastload.errors import (
    ArgumentError,
    DtypeError,
    NotFiniteError,
    ShapeError,
    TooFewRowsError,
    UnknownFieldError,
)


def chosen(data: Any, names: Sequence[str]) -> Any:
    """Fields of the data, by name: a dict of arrays of what is in memory, a Dataset of what is in files. Anything else gives
    batches, and comes back as it is.

    Raises
    ------
    UnknownFieldError
    ArgumentError
        There are more arrays than names for them.
    """
    if isinstance(data, (str, os.PathLike)):
        data = Dataset(data)
    if isinstance(data, Dataset):
        return data.select(*names)
    if isinstance(data, (tuple, list)):
        if len(data) > len(names):
            raise ArgumentError(f"data without names must be at most {', '.join(names)}; got {len(data)} parts")
        data = dict(zip(names, data))
    elif not isinstance(data, Mapping) and hasattr(data, "__array__"):
        data = {names[0]: data}
    if not isinstance(data, Mapping):
        return data
    for name in names:
        if name not in data:
            raise UnknownFieldError(f"the data must have a field {name!r}; they have {', '.join(map(repr, data))}")
    return {name: array_of(data[name]) for name in names}


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


def parts_of(data: Any, name: str) -> Iterator[np.ndarray]:
    """All rows of a field, part by part, of what `chosen` gives. A loader that knows its state is afterwards where it was.

    Raises
    ------
    UnknownFieldError
    """
    if isinstance(data, Mapping):
        yield data[name]
        return
    if isinstance(data, Dataset):
        for columns in data.select(name).batches():
            yield array_of(columns[name])
        return
    before = getattr(data, "state_dict", dict)()
    for batch in data:
        if not isinstance(batch, Mapping):
            batch = {name: batch if isinstance(batch, Tensor) else batch[0]}
        if name not in batch:
            raise UnknownFieldError(f"batches must have a field {name!r}; they have {', '.join(map(repr, batch))}")
        yield array_of(batch[name])
    if before:
        data.load_state_dict(before)


def split(rows: int, share: float, seed: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows to train on, and of those held out, drawn by `seed`.

    Raises
    ------
    TooFewRowsError
        Those to train on do not fill a batch.

    Examples
    --------
    >>> [part.tolist() for part in split(5, 0.4, seed=0, batch_size=2)]
    [[1, 2, 3], [0, 4]]
    """
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).numpy()
    held_out, training = np.split(order, [int(rows * share)])
    if len(training) < batch_size:
        raise TooFewRowsError(
            f"the rows must fill a batch: {len(training)} of {rows} are left to train on, and batch_size is {batch_size}; make "
            "it smaller"
        )
    return np.sort(training), np.sort(held_out)  # read in the order of memory


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
