"""``balance=``: draws by class, and rows of the rarer classes that no file holds, made while batches are filled."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from fastload import _core
from fastload.block.columns import taken_runs, to_spec
from fastload.block.dataset import RowAccess
from fastload.errors import ArgumentError, DtypeError, UnknownFieldError
from fastload.kernels import cpu_kernels
from fastload.load.neighbor_table import Mixture, neighbor_table
from fastload.plan.random import words
from fastload.plan.row_plan import fingerprint_of
from fastload.plan.samplers import WeightedSampler
from fastload.schema import NUMPY_DTYPES, Field

LABELS_AT_ONCE = 1 << 20  # rows whose labels are read together
HALVES = ("float16", "bfloat16")
SLOT_BASE, SLOT_NEIGHBOR, SLOT_PART = 16, 17, 18  # as in csrc/core/synthesis.cpp


def check_alone(balance: Any, sampler: Any, batch_sampler: Any, shuffle: Any, packing: Any) -> None:
    """ArgumentError where something else says already which rows come."""
    if not isinstance(balance, (str, Mapping)):
        raise ArgumentError(f"balance must be the name of the label, or a dict of it and a sampler; got {balance!r}")
    other = {"sampler": sampler, "batch_sampler": batch_sampler, "packing": packing}
    if isinstance(balance, str) and isinstance(
        sampler, WeightedSampler
    ):  # a framework builds a loader again of its parts
        other["sampler"] = None
    given = [name for name, value in other.items() if value is not None]
    if given:
        raise ArgumentError(f"balance and {given[0]} exclude each other: both say which rows come")
    if isinstance(balance, str) and shuffle is False:
        raise ArgumentError("balance by a label draws rows, so that there is no order to keep: leave shuffle=False out")


def balanced(rows: RowAccess, balance: Mapping[str, Any], memory_bytes: int) -> BalancedRows:
    """The rows, and those that `balance` adds; once, if a framework builds a loader again of the parts of another."""
    if isinstance(rows, BalancedRows):
        return rows
    return BalancedRows(rows, balance, memory_bytes)


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


def rows_to_add(sampler: Any, values: np.ndarray, codes: np.ndarray) -> dict[int, int]:
    """Place of a class -> rows that the sampler adds to it."""
    from fastload.balance.strategy import rows_per_class  # scikit-learn comes with it

    counts = dict(zip(values.tolist(), np.bincount(codes, minlength=len(values)).tolist(), strict=True))
    places = {value: place for place, value in enumerate(counts)}
    added = rows_per_class(
        sampler.sampling_strategy, counts, "over", values[codes] if callable(sampler.sampling_strategy) else None
    )
    return {places[value]: rows for value, rows in added.items() if rows}


def mixture_of(sampler: Any, rows: RowAccess, label: str) -> Mixture:
    """What the sampler mixes of which fields.

    Raises
    ------
    ArgumentError
        It does not stream, has options that do not, or fields cannot be mixed.
    """
    from fastload.balance import SMOTE, SMOTENC, RandomOverSampler  # scikit-learn comes with them

    name = type(sampler).__name__
    if not isinstance(sampler, (SMOTE, SMOTENC, RandomOverSampler)):
        raise ArgumentError(
            f"balance takes SMOTE, SMOTENC and RandomOverSampler, got {name}: what others make of all rows together cannot be made "
            "of a batch; use their fit_resample, and write what comes"
        )
    if isinstance(sampler, RandomOverSampler):
        if sampler.shrinkage is not None:
            raise ArgumentError("balance takes no RandomOverSampler with shrinkage: use its fit_resample")
        return Mixture(0, (), ())
    if not isinstance(sampler.k_neighbors, (int, np.integer)) or sampler.k_neighbors < 1:
        raise ArgumentError(f"balance needs k_neighbors as a positive number, got {sampler.k_neighbors!r}")
    others = [field for field in rows.schema if field.name != label]
    categorical = _categorical(sampler, others) if isinstance(sampler, SMOTENC) else ()
    numeric = tuple(field.name for field in others if field.name not in categorical)
    for field in (rows.schema[name] for name in numeric):
        if (
            field.is_ragged
            or field.categories
            or np.dtype(NUMPY_DTYPES[field.dtype]).kind not in "fiu"
            or field.dtype in HALVES
        ):
            raise ArgumentError(
                f"{name} makes rows between two others, and field {field.name!r} is {_kind(field)}: select other fields"
                + (
                    ""
                    if field.is_ragged or field.dtype in HALVES
                    else ", or use SMOTENC with it among categorical_features"
                )
            )
    if not numeric:
        raise ArgumentError(f"{name} needs a field of numbers beside the label {label!r}: there is none")
    return Mixture(int(sampler.k_neighbors), numeric, categorical)


def _kind(field: Field) -> str:
    if field.categories:
        return "categories"
    return f"{field.dtype} of variable length" if field.variable else field.dtype


def _categorical(sampler: Any, fields: list[Field]) -> tuple[str, ...]:
    """The fields that are voted on."""
    asked = sampler.categorical_features
    if isinstance(asked, str) and asked == "auto":
        return tuple(f.name for f in fields if f.categories or f.dtype in ("string", "bool"))
    names = [field.name for field in fields]
    if isinstance(asked, str) or not all(isinstance(name, str) for name in asked):
        raise ArgumentError(f"categorical_features must be names of fields, or 'auto'; got {asked!r}")
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise UnknownFieldError(
            f"categorical_features names {unknown[0]!r}; the fields are {', '.join(map(repr, names))}"
        )
    for field in (f for f in fields if f.name in asked):
        if field.shape or field.variable:
            raise ArgumentError(f"a category is one value; field {field.name!r} is {_kind(field)} {field.shape or ''}")
    return tuple(asked)


def _check_values(rows: RowAccess, mixture: Mixture, parts: list[tuple[Any, Any, Any, Any]], bases: np.ndarray) -> None:
    """ArgumentError where a row to make others of lacks a number."""
    for field, (values, _, _, valid) in zip(rows.schema, parts, strict=True):
        if field.name not in mixture.numeric:
            continue
        fits = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if valid is not None:
            fits &= valid
        if not fits.all():
            raise ArgumentError(
                f"field {field.name!r}: row {bases[np.argmin(fits)]} has no number to measure distances with; of the "
                f"{len(fits):,} rows of classes that are added to, {int((~fits).sum()):,} have none: fill them at conversion "
                "(fastload.Impute), or select other fields"
            )


class Parents(NamedTuple):
    """Of the made ones among some rows: which of the rows they are; which of the bases they lie between, and how far from the one
    to the other. int64, int64, int64, float64."""

    places: np.ndarray
    bases: np.ndarray
    neighbors: np.ndarray
    parts: np.ndarray


class Origins(NamedTuple):
    """Where rows come from, for each of them. `base` and `neighbor` : int64, the rows of the data set that a made one lies
    between, -1 for others. `part` : float64, how far from the one to the other, 0 .. 1."""

    is_synthetic: np.ndarray
    base: np.ndarray
    neighbor: np.ndarray
    part: np.ndarray


class BalancedRows(RowAccess):
    """The rows of a data set, and after them those that a sampler adds, class after class. What is added is made anew in every
    epoch, each row of (seed, epoch, its number) and of nothing else; what it is made of stays in memory.

    Parameters
    ----------
    rows : RowAccess
    balance : mapping of one field, the label, to a sampler
        ``fastload.SMOTE``, ``SMOTENC`` or ``RandomOverSampler``; see ``fastload.DataLoader``.
    memory_bytes : int
        The loader's budget, which the rows to make others of, and their neighbours, must fit.

    Raises
    ------
    ArgumentError, UnknownFieldError, DtypeError, and what the sampler raises for its options or too few rows of a class
    """

    def __init__(self, rows: RowAccess, balance: Mapping[str, Any], memory_bytes: int) -> None:
        if len(balance) != 1:
            raise ArgumentError(f"balance must name one label, got {list(balance)}")
        ((label, sampler),) = balance.items()
        self.balance = balance
        self.schema, self.as_tuple = rows.schema, rows.as_tuple
        self._rows = rows
        values, codes = classes_of(rows, label)
        mixture = mixture_of(sampler, rows, label)
        added = rows_to_add(sampler, values, codes)
        bases = [np.flatnonzero(codes == c) for c in added]
        self._bases = np.concatenate([np.zeros(0, np.int64), *bases])
        first = np.cumsum([0, *map(len, bases)])
        self._classes = [(n, int(at), len(b)) for n, at, b in zip(added.values(), first, bases)]
        self.added_rows = {values[c]: n for c, n in added.items()}
        self._check_room(memory_bytes, mixture.k_neighbors)
        self._resident = rows.read_rows(self._bases, False)
        self._neighbors = np.zeros((len(self._bases), 0), np.int32)
        self._fields = []
        if mixture.k_neighbors and len(self._bases):
            _check_values(rows, mixture, self._resident, self._bases)
            table = neighbor_table(rows, mixture, self._bases, first, self._resident)
            self._neighbors = table.neighbors
            index = {name: i for i, name in enumerate(rows.schema.names)}
            self._fields = [(index[name], rows.schema[name].dtype) for name in mixture.numeric]
            for name in mixture.categorical:
                self._resident[index[name]] = _taken(self._resident[index[name]], table.votes[name])
        self._num_rows = rows.num_rows + sum(added.values())
        self.fingerprint = fingerprint_of(self._neighbors, self._bases.tobytes(), self._classes)  # of what is added

    def _check_room(self, memory_bytes: int, k: int) -> None:
        raw = sum(_row_bytes(field) for field in self.schema)
        self.resident_bytes = len(self._bases) * (raw + 4 * k)
        if self.resident_bytes > memory_bytes // 2:
            raise ArgumentError(
                f"balance keeps {len(self._bases):,} rows of the classes it adds to, about {self.resident_bytes:,} bytes, and may "
                f"take half of memory_bytes, which is {memory_bytes:,}: raise it to {2 * self.resident_bytes:,}, or select fewer "
                "fields"
            )

    @property
    def num_rows(self) -> int:
        return self._num_rows

    def __getattr__(self, name: str) -> Any:
        if name in ("statistics", "categories"):  # those of the data set
            return getattr(self._rows, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _held_at(self) -> tuple[int, ...]:
        return self._rows._held_at()

    def _source(self) -> _core.Source:
        interpolator = cpu_kernels().interpolator if self._fields else None
        columns = [
            (
                to_spec(field),
                values,
                field.row_bytes,
                offsets,
                None if valid is None else np.packbits(valid, bitorder="little"),
            )
            for field, (values, _, offsets, valid) in zip(self.schema, self._resident, strict=True)
        ]
        fields = [(index, interpolator(dtype)) for index, dtype in self._fields]
        return _core.SynthesizingSource(self._rows._source(), columns, self._classes, self._neighbors, fields)

    def place_of(self, row: int) -> tuple[str, int, int]:
        """Where a row lies, as ``Dataset.place_of`` says; made rows lie in "synthetic"."""
        if row >= self._rows.num_rows:
            return "synthetic", 0, row - self._rows.num_rows
        return self._rows.place_of(row) if hasattr(self._rows, "place_of") else ("memory", 0, row)

    def parents(self, rows: np.ndarray, keys: np.ndarray) -> Parents:
        """What the made ones among rows with these numbers and keys are made of."""
        places = np.flatnonzero(rows >= self._rows.num_rows)
        ends = np.cumsum([0, *(n for n, _, _ in self._classes)])
        number = np.searchsorted(ends[1:], rows[places] - self._rows.num_rows, side="right")
        _, first, count = (np.array(column, np.int64) for column in np.array([*self._classes, (0, 0, 0)]).T)
        keys = keys[places]
        bases = first[number] + _below(keys, SLOT_BASE, count[number])
        if not self._neighbors.shape[1]:
            return Parents(places, bases, bases, np.zeros(len(places)))
        neighbors = self._neighbors[bases, _below(keys, SLOT_NEIGHBOR, self._neighbors.shape[1])].astype(np.int64)
        return Parents(places, bases, neighbors, (words(keys, SLOT_PART) >> np.uint64(11)) * 2.0**-53)

    def origins(self, rows: np.ndarray, keys: np.ndarray) -> Origins:
        """Where rows with these numbers and keys come from."""
        places, bases, neighbors, parts = self.parents(rows, keys)
        found = Origins(np.zeros(len(rows), bool), np.full(len(rows), -1), np.full(len(rows), -1), np.zeros(len(rows)))
        found.is_synthetic[places], found.part[places] = True, parts
        found.base[places], found.neighbor[places] = self._bases[bases], self._bases[neighbors]
        return found

    def without_mixing(self, names: Collection[str]) -> tuple[BalancedRows, dict[str, np.ndarray]]:
        """The same rows, but of float fields among these the made ones are their bases alone: a device makes them what they are to
        be, of the values of all bases, [bases, elements of a row]."""
        index = {name: i for i, name in enumerate(self.schema.names)}
        left = {name: index[name] for name in names if (index[name], self.schema[name].dtype) in self._fields}
        left = {name: i for name, i in left.items() if self.schema[name].dtype in ("float32", "float64")}
        view = copy(self)
        view._fields = [(i, dtype) for i, dtype in self._fields if i not in left.values()]
        return view, {name: self._resident[i][0].reshape(len(self._bases), -1) for name, i in left.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_reader")}

    def __repr__(self) -> str:
        return f"BalancedRows({self._rows!r}, {sum(self.added_rows.values())} rows added)"


def _below(keys: np.ndarray, slot: int, count: Any) -> np.ndarray:
    high = np.uint64(32)
    return (((words(keys, slot) >> high) * np.uint64(count)) >> high).astype(np.int64)


def _row_bytes(field: Field) -> int:
    return 16 if field.is_ragged else field.row_bytes  # what strings hold is not known beforehand


def _taken(part: tuple[Any, Any, Any, Any], rows: np.ndarray) -> tuple[Any, Any, Any, Any]:
    """These rows of a field's part (values, lengths, offsets, valid)."""
    values, _, offsets, valid = part
    valid = None if valid is None else valid[rows]
    if offsets is None:
        return np.ascontiguousarray(values[rows]), None, None, valid
    values, offsets = taken_runs(values, offsets, rows)
    return values, None, offsets, valid
