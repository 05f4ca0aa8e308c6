"""Balancing a data set in files: the command ``fastload balance``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastload.balance.adasyn import ADASYN
from fastload.balance.base import RowSampler, Sampler
from fastload.balance.borderline import BorderlineSMOTE
from fastload.balance.labels import Labels
from fastload.balance.over import RandomOverSampler
from fastload.balance.smote import SMOTE
from fastload.balance.smotenc import SMOTENC
from fastload.balance.under import RandomUnderSampler
from fastload.block.columns import taken_runs
from fastload.block.dataset import Dataset, open_dataset
from fastload.block.writer import Writer
from fastload.errors import ArgumentError, NotNumbersError
from fastload.schema import Categorical, Field, Ragged

METHODS = {
    "smote": SMOTE,
    "borderline": BorderlineSMOTE,
    "adasyn": ADASYN,
    "smotenc": SMOTENC,
    "over": RandomOverSampler,
    "under": RandomUnderSampler,
}
DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()


class Balanced(NamedTuple):
    """What `balance_dataset` wrote: rows of each class before and after, sorted by class."""

    dataset: Dataset
    before: dict[Any, int]
    after: dict[Any, int]


def balance_dataset(
    source: Dataset | str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    label: str,
    method: str = "smote",
    sampling_strategy: Any = "auto",
    k_neighbors: int | None = None,
    seed: int = 0,
    codec: str = "lz4",
    overwrite: bool = False,
) -> Balanced:
    """A data set of the same fields whose classes are balanced. All of it is held in memory.

    Rows given are written as they are; of new rows, whole numbers are cut off.

    Parameters
    ----------
    source : Dataset or path
    destination : path
    label : name of the field that holds the classes: whole numbers, bool, categories or text, without nulls
    method : "smote", "borderline", "adasyn", "smotenc", "over" or "under"
        All but the last two take distances between rows, over all other fields: numbers of fixed shape, without nulls; "smotenc"
        takes categories and bool as well.
    sampling_strategy : str, float, dict or callable
        See `fastload.balance.strategy.rows_per_class`.
    k_neighbors : int, optional
        As of the samplers; by default theirs.
    seed : int
    codec, overwrite : as of `fastload.Writer`

    Raises
    ------
    UnknownFieldError, NotNumbersError, ArgumentError, and what the samplers and the writer raise.

    Examples
    --------
    >>> import tempfile, fastload as fl
    >>> folder = tempfile.mkdtemp()
    >>> x = np.arange(20, dtype="float32")
    >>> data = fl.write(folder + "/few.fl", {"x": x, "late": x > 13})
    >>> balanced = balance_dataset(data, folder + "/even.fl", label="late", k_neighbors=2)
    >>> balanced.before, balanced.after
    ({False: 14, True: 6}, {False: 14, True: 14})
    >>> balanced.dataset.schema == data.schema
    True
    """
    dataset = source if isinstance(source, Dataset) else open_dataset(source)
    if method not in METHODS:
        raise ArgumentError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    label_field = dataset.schema[label]
    columns = next(iter(dataset.batches(len(dataset))))
    y = _classes(label_field, columns[label])
    features = [field for field in dataset.schema if field.name != label]
    sampler = _sampler(method, k_neighbors, sampling_strategy, seed)
    if isinstance(sampler, RowSampler):
        sampler.fit_resample(np.arange(len(y))[:, None], y)
        more, y_more = (
            {name: taken(column, sampler.sample_indices_) for name, column in columns.items()},
            y[sampler.sample_indices_],
        )
        portions = [more]
    else:
        X, categorical = _matrix(features, columns, method)
        if method == "smotenc":
            sampler.set_params(categorical_features=categorical)
        X_more, y_more = sampler.fit_resample(X, y)
        portions = [columns, _new_columns(features, columns, X_more[len(y) :], label, y, y_more[len(y) :])]
    with Writer(destination, dataset.schema, codec=codec, overwrite=overwrite) as writer:
        for portion in portions:
            writer.append(portion)
    return Balanced(open_dataset(destination), Labels(y).counts, Labels(y_more).counts)


def _sampler(method: str, k_neighbors: int | None, sampling_strategy: Any, seed: int) -> Sampler:
    parameters: dict[str, Any] = {"sampling_strategy": sampling_strategy, "random_state": seed}
    if method == "smotenc":
        parameters["categorical_features"] = []  # not known yet
    if k_neighbors is not None:
        if issubclass(METHODS[method], RowSampler):
            raise ArgumentError(f"method {method!r} looks for no neighbours: leave k_neighbors out")
        parameters["n_neighbors" if method == "adasyn" else "k_neighbors"] = k_neighbors
    return METHODS[method](**parameters)


# --- from fields to numbers, and back -----------------------------------------------------------------


def _classes(field: Field, column: Any) -> np.ndarray:
    """The labels [rows]; categories and text as objects."""
    valid = column.valid if isinstance(column, (Ragged, Categorical)) else ~np.ma.getmaskarray(column)
    if field.shape or (field.is_ragged and field.dtype != "string"):
        raise ArgumentError(f"the label must have one value a row, field {field.name!r} has more")
    if valid is not None and not valid.all():
        raise ArgumentError(f"the label must be known for every row, field {field.name!r} has {(~valid).sum()} nulls")
    if isinstance(column, Categorical):
        return np.array(column.categories, object)[column.codes]
    if isinstance(column, Ragged):
        text = column.values.tobytes()
        ends = column.offsets.tolist()
        return np.array([text[a:b].decode() for a, b in pairwise(ends)], object)
    return np.ma.getdata(column)


def _matrix(features: list[Field], columns: Mapping[str, Any], method: str) -> tuple[np.ndarray, list[int]]:
    """All fields side by side [rows, columns], and the numbers of the columns that hold categories."""
    parts, categorical, width = [], [], 0
    for field in features:
        is_category = field.categories or field.dtype == "bool"
        part = _numbers(field, columns[field.name], "smotenc" if is_category and method != "smotenc" else "")
        if is_category:
            categorical += range(width, width + part.shape[1])
        width += part.shape[1]
        parts.append(part)
    if not parts:
        raise NotNumbersError("there is no field but the label: nothing to take distances of")
    dtypes = [part.dtype for part in parts if part.dtype != bool]
    dtype = np.result_type(*dtypes, np.float32) if categorical or len(set(dtypes)) != 1 else dtypes[0]
    return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)).astype(dtype, copy=False), categorical


def _numbers(field: Field, column: Any, needed: str) -> np.ndarray:
    """A field as [rows, columns]."""
    kind = "a category" if field.categories else field.dtype
    if field.is_ragged or needed or (field.dtype not in DTYPES and not field.categories):
        hint = (
            f"use method {needed!r}, or convert it"
            if needed
            else "leave it out of the data set, or convert it to numbers"
        )
        raise NotNumbersError(f"field {field.name!r} ({kind}) has no distances between its rows: {hint}")
    values = column.codes if isinstance(column, Categorical) else np.ma.getdata(column)
    valid = column.valid if isinstance(column, Categorical) else ~np.ma.getmaskarray(column)
    if valid is not None and not np.all(valid):
        raise NotNumbersError(
            f"field {field.name!r} has nulls, which have no distance from anything: fill them in first"
        )
    return values.reshape(len(values), -1)


def _new_columns(
    features: list[Field], columns: Mapping[str, Any], X: np.ndarray, label: str, y: np.ndarray, y_new: np.ndarray
) -> dict[str, Any]:
    """New rows, as the fields they are made of."""
    out, begin = {}, 0
    for field in features:
        width = int(np.prod(field.shape, dtype=np.int64))
        values = X[:, begin : begin + width]
        begin += width
        if field.categories:
            out[field.name] = Categorical(values[:, 0].astype(np.int32), columns[field.name].categories)
        else:
            out[field.name] = values.reshape(len(X), *field.shape).astype(field.numpy_dtype)
    donors = np.empty(len(y_new), np.int64)
    for value in Labels(y).counts:
        donors[y_new == value] = np.flatnonzero(y == value)[0]
    return {**out, label: taken(columns[label], donors)}


def taken(column: Any, rows: np.ndarray) -> Any:
    """Some rows of a column, as `Dataset.batches` gives it."""
    if isinstance(column, Categorical):
        valid = None if column.valid is None else column.valid[rows]
        return Categorical(column.codes[rows], column.categories, valid)
    if not isinstance(column, Ragged):
        return column[rows]
    values, offsets = taken_runs(column.values, column.offsets, rows)
    return Ragged(offsets, values, None if column.valid is None else column.valid[rows])
