"""``balance=``: draws by class, and rows of the rarer classes that no file holds, made while batches are filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastload import _core
from fastload.block.columns import to_spec
from fastload.block.dataset import RowAccess
from fastload.errors import ArgumentError, DtypeError, UnknownFieldError
from fastload.kernels import cpu_kernels
from fastload.load import neighbor_table
from fastload.plan.random import outputs
from fastload.plan.samplers import WeightedSampler
from fastload.schema import Field

LABELS_AT_ONCE = 1 << 20  # rows whose labels are read together
SLOT_BASE, SLOT_NEIGHBOR, SLOT_PART = 16, 17, 18  # as in csrc/core/synthesis.cpp


def class_balanced(rows: RowAccess, label: str) -> WeightedSampler:
    """Every class equally likely, with replacement."""
    values, codes = classes_of(rows, label)
    return WeightedSampler(1 / np.bincount(codes, minlength=len(values))[codes])


def classes_of(rows: RowAccess, label: str) -> tuple[np.ndarray, np.ndarray]:
    """The classes, sorted, and the place of each row's among them, intp [rows]. Categories count by their names."""
    if label not in rows.schema:
        raise UnknownFieldError(
            f"balance names the label {label!r}; the fields are {', '.join(map(repr, rows.schema.names))}"
        )
    field = rows.schema[label]
    if field.shape or (field.is_ragged and field.dtype != "string"):
        raise DtypeError(f"a label is one value for each row; field {label!r} is {field}")
    one, labels = rows.select(label), []
    for first in range(0, rows.num_rows, LABELS_AT_ONCE):
        got = one[np.arange(first, min(rows.num_rows, first + LABELS_AT_ONCE))]
        got = {label: got[0]} if one.as_tuple else got
        if field.nullable and not got[f"{label}_valid"].all():
            row = first + int(np.argmin(got[f"{label}_valid"]))
            raise ArgumentError(f"row {row} has no label: drop rows whose {label!r} is missing, or fill it")
        labels.append(np.asarray(got[label]))
    values, codes = np.unique(np.concatenate(labels), return_inverse=True)
    if field.categories:
        names = np.array(rows.categories(label))[values]
        order = np.argsort(names)
        values, codes = names[order], np.argsort(order)[codes]
    return values, codes


class Origins(NamedTuple):
    """Where rows that were made come from, for each of them: the rows of the data set that it lies between, and how far from
    the first to the second, 0 .. 1; -1 and 0 for rows of the data set itself."""

    is_synthetic: np.ndarray  # bool
    base: np.ndarray  # int64
    neighbor: np.ndarray  # int64
    part: np.ndarray  # float64


class BalancedRows(RowAccess):
    """The rows of a data set, and after them those that a sampler adds, class after class. What is added is made anew in every
    epoch, each row of (seed, epoch, its number) and of nothing else; what it is made of stays in memory.

    Parameters
    ----------
    rows : RowAccess
    balance : mapping of one field, the label, to a sampler
        ``fastload.SMOTE``, ``SMOTENC`` or ``RandomOverSampler``; see ``fastload.DataLoader``.
    memory_bytes : int
        The loader's budget, which these rows and their neighbours must fit.

    Raises
    ------
    ArgumentError, UnknownFieldError, DtypeError, and what the sampler raises for too few rows of a class
    """

    def __init__(self, rows: RowAccess, balance: Mapping[str, Any], memory_bytes: int) -> None:
        if len(balance) != 1:
            raise ArgumentError(f"balance must name one label, got {list(balance)}")
        ((label, sampler),) = balance.items()
        self.balance = balance
        self.schema, self.as_tuple = rows.schema, rows.as_tuple
        self._rows = rows
        values, codes = classes_of(rows, label)
        added = rows_to_add(sampler, values, np.bincount(codes, minlength=len(values)))
        self.classes = [(values[c], n) for c, n in enumerate(added) if n]
        bases = [np.flatnonzero(codes == c) for c, n in enumerate(added) if n]
        first = np.cumsum([0, *map(len, bases)])
        self._classes = [(n, int(at), len(b)) for (_, n), at, b in zip(self.classes, first, bases)]
        self._bases = np.concatenate([np.zeros(0, np.int64), *bases])
        self._check_room(memory_bytes)
        self._resident = rows.read_rows(self._bases, False) if len(self._bases) else []
        how = interpolation_of(sampler, rows, label)
        self._interpolated = how.fields
        self._neighbors = np.zeros((len(self._bases), 0), np.int32)
        if how.k_neighbors and len(self._bases):
            self._neighbors = neighbor_table.of(rows, how, self._bases, first, self._resident)
            self._vote(how)
        self.resident_bytes = self._neighbors.nbytes + sum(
            part.nbytes for parts in self._resident for part in parts if part is not None
        )
