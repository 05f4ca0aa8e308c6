"""SMOTE for tables of numbers and categories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state
from sklearn.utils.sparsefuncs import mean_variance_axis
from sklearn.utils.validation import check_array, validate_data

from fastload.balance.base import Sampler
from fastload.balance.interpolate import check_enough_rows, drawn_pairs, neighbors_object, neighbors_of, rows_between
from fastload.balance.labels import Labels
from fastload.balance.neighbors import NearestNeighbors, nearest_mixed
from fastload.balance.tables import (
    as_dtype,
    as_numbers_error,
    check_finite,
    check_numbers,
    frame_of,
    is_frame,
    is_sparse_frame,
    restored,
)
from fastload.balance.tags import BalanceTags, tags_of
from fastload.errors import ArgumentError, DtypeError


class MixedTable(NamedTuple):
    """A table that was checked."""

    values: Any  # frame or array [rows, columns]
    numbers: list[np.ndarray]  # of each continuous column [rows]


class NewRows(NamedTuple):
    """Rows that are made of one class."""

    label: Any
    numbers: np.ndarray  # [new rows, continuous columns]
    donors: list[np.ndarray]  # for each categorical column, int64 [new rows]: the rows of X that it is taken from


class SMOTENC(Sampler):
    """SMOTE for tables that have columns of numbers and columns of categories.

    Chawla, Bowyer, Hall, Kegelmeyer: "SMOTE: synthetic minority over-sampling technique", JAIR 16, 2002, section 6.1. Two rows are
    as far apart as their numbers are, and each category that differs adds the median of the standard deviations of the class's
    continuous columns. A new row lies between a row and one of its neighbours; its categories are the most frequent ones among all
    of the row's neighbours. Order and draws, ties among categories too, are those of imbalanced-learn; among neighbours at equal
    distances, which are common here, others may be found.

    Categories are compared as codes: there is no matrix of a column for each category, and no `categorical_encoder`. A missing
    category is a category of its own.

    Parameters
    ----------
    categorical_features : "auto", or sequence of int, bool or str
        The columns that hold categories: their numbers, one truth value a column, or, of a frame, their names. "auto": those of a
        frame whose dtype is a category.
    sampling_strategy : str, float, dict or callable
        See `SMOTE`.
    random_state : int, RandomState or None
    k_neighbors : int or object
        Neighbours of each row; or what finds them, as for `SMOTE`: it gets a sparse matrix with a column for each category.

    Attributes
    ----------
    sampling_strategy_ : OrderedDict, class -> rows to add
    categorical_features_, continuous_features_ : int64 array, numbers of columns
    median_std_ : dict, class -> what a differing category adds to the distance
    nn_k_ : what found the neighbours, if it was given

    Raises
    ------
    OneClassError, UnknownClassError, StrategyError, ArgumentError, TooFewRowsError
    NotFiniteError, NotNumbersError
        Of columns that are not declared to hold categories.

    Examples
    --------
    >>> X = np.array([[1, "a"], [2, "a"], [3, "b"], [7, "c"], [8, "c"], [9, "c"], [9, "b"]], dtype=object)
    >>> sampler = SMOTENC([1], k_neighbors=2, random_state=0)
    >>> X_more, y_more = sampler.fit_resample(X, [1, 1, 1, 0, 0, 0, 0])
    >>> y_more[7:], round(X_more[7, 0], 2), X_more[7, 1]
    ([1], 2.41, 'a')
    """

    def __init__(
        self,
        categorical_features: Any,
        *,
        sampling_strategy: Any = "auto",
        random_state: Any = None,
        k_neighbors: Any = 5,
    ) -> None:
        self.categorical_features = categorical_features
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state
        self.k_neighbors = k_neighbors

    def _check_parameters(self) -> None:
        self.nn_k_ = neighbors_object("k_neighbors", self.k_neighbors)

    def _table(self, X: Any) -> MixedTable:
        validate_data(self, X=X, reset=True, skip_check_array=True)
        values = X if is_frame(X) else check_array(X, dtype=None, ensure_all_finite=False)
        columns = values.shape[1]
        self.categorical_features_ = _column_numbers(values, self.categorical_features)
        self.continuous_features_ = np.setdiff1d(np.arange(columns), self.categorical_features_)
        if not 0 < len(self.categorical_features_) < columns:
            raise ArgumentError(
                f"SMOTENC needs columns of numbers and columns of categories, found {len(self.categorical_features_)} of "
                f"categories among {columns}; for numbers alone there is SMOTE"
            )
        return MixedTable(values, [_finite_column(values, c) for c in self.continuous_features_])

    def _resampled(self, X: Any, table: MixedTable, labels: Labels) -> tuple[Any, Any]:
        y = labels.values
        made = list(self._new_rows(table, y))
        more = labels.restored(np.concatenate([y, *(np.full(len(m.numbers), m.label, y.dtype) for m in made)]))
        if is_frame(X):
            new = (self._new_column(X, made, c) if made else X.iloc[:0, c] for c in range(X.shape[1]))
            return frame_of(X, new), more
        return restored(self._put_together(table.values, made), X), more

    def _new_rows(self, table: MixedTable, y: np.ndarray) -> Iterator[NewRows]:
        self.median_std_ = {}
        for label, count in self.sampling_strategy_.items():
            if not count:
                continue
            rows = np.flatnonzero(y == label)
            numbers = np.column_stack([column[rows] for column in table.numbers])
            codes = np.stack([_codes(_column(table.values, c), rows) for c in self.categorical_features_])
            self.median_std_[label] = np.median(np.sqrt(mean_variance_axis(sparse.csr_matrix(numbers), axis=0)[1]))
            found = self._neighbors(numbers, codes, label)
            pairs = drawn_pairs(label, np.arange(len(rows)), found, count, self.random_state)
            random_state = check_random_state(self.random_state)  # a number is the seed of the votes, too
            yield NewRows(
                label, rows_between(numbers, pairs), [rows[_voted(c, found, pairs.bases, random_state)] for c in codes]
            )

    def _neighbors(self, numbers: np.ndarray, codes: np.ndarray, label: Any) -> np.ndarray:
        """int64 [rows, k], without the rows themselves. numbers : [rows, columns]. codes : int32 [code columns, rows]."""
        half = self.median_std_[label] / np.sqrt(2)  # two places of a one-hot row differ where a category does
        half = numbers.dtype.type(half) if numbers.dtype.kind == "f" else float(half)
        what = f"class {label!r}"
        if isinstance(self.nn_k_, NearestNeighbors):
            check_enough_rows(self.nn_k_.n_neighbors, len(numbers), what, "k_neighbors")
            return nearest_mixed(numbers, codes, 2 * float(half) ** 2, self.nn_k_.n_neighbors)[1][:, 1:]
        encoded = sparse.hstack([sparse.csr_matrix(numbers), *(_one_hot(c, half) for c in codes)], format="csr")
        return neighbors_of(self.nn_k_, encoded, encoded, what, "k_neighbors")

    def _put_together(self, given: np.ndarray, made: list[NewRows]) -> np.ndarray:
        out = np.empty((len(given) + sum(len(m.numbers) for m in made), given.shape[1]), given.dtype)
        out[: len(given)] = given
        end = len(given)
        for new in made:
            begin, end = end, end + len(new.numbers)
            out[begin:end, self.continuous_features_] = new.numbers
            for column, donors in zip(self.categorical_features_, new.donors):
                out[begin:end, column] = given[donors, column]
        return out

    def _new_column(self, given: Any, made: list[NewRows], column: int) -> Any:
        """The new rows of one column of a frame, in its dtype."""
        import pandas as pd

        if column in self.categorical_features_:
            i = self.categorical_features_.tolist().index(column)
            return given.iloc[np.concatenate([m.donors[i] for m in made]), column]
        i = self.continuous_features_.tolist().index(column)
        return pd.concat([as_dtype(m.numbers[:, i], given.dtypes.iloc[column]) for m in made])

    def __sklearn_tags__(self) -> BalanceTags:
        return tags_of(sparse=False, anything=False, sample_indices=False)


# --- columns ----------------------------------------------------------------------------------------


def _column_numbers(table: Any, given: Any) -> np.ndarray:
    """What `categorical_features` says, as numbers of columns, in the order given."""
    columns = table.shape[1]
    if isinstance(given, str) and given == "auto":
        if not is_frame(table):
            raise ArgumentError(
                "categorical_features='auto' reads the dtypes of a DataFrame; name the columns of an array"
            )
        import pandas as pd

        return np.flatnonzero([isinstance(dtype, pd.CategoricalDtype) for dtype in table.dtypes])
    if isinstance(given, str) or np.ndim(given) != 1:
        raise ArgumentError(f"categorical_features must be 'auto' or a list of columns, got {given!r}")
    asked = list(given)
    if asked and all(isinstance(entry, (bool, np.bool_)) for entry in asked):
        if len(asked) != columns:
            raise ArgumentError(
                f"categorical_features must have a truth value for each of {columns} columns, got {len(asked)}"
            )
        return np.flatnonzero(asked)
    names = list(table.columns) if is_frame(table) else []
    found = []
    for entry in asked:
        if isinstance(entry, str) and entry in names:
            found.append(names.index(entry))
        elif isinstance(entry, (int, np.integer)) and -columns <= entry < columns:
            found.append(int(entry) % columns)
        else:
            raise ArgumentError(
                f"categorical_features names a column that X does not have: {entry!r}; X has n_features = {columns}"
                + (f": {', '.join(map(str, names))}" if names else "")
            )
    return np.array(found, np.int64)


def _column(table: Any, column: int) -> Any:
    return table.iloc[:, column] if is_frame(table) else table[:, column]


def _finite_column(table: Any, column: int) -> np.ndarray:
    """A continuous column as numbers [rows]; says its name if it cannot be one."""
    name = table.columns[column] if is_frame(table) else int(column)
    values = table.iloc[:, [column]] if is_frame(table) else table[:, column : column + 1]
    check_numbers(values, "SMOTENC")
    try:
        values = values.sparse.to_dense() if is_sparse_frame(values) else values
        values = check_array(values, ensure_all_finite=False)
    except ValueError as error:
        raise as_numbers_error(error, f"SMOTENC (column {name!r})", values) from None
    check_finite(values, "SMOTENC", [name])
    return values[:, 0]


def _codes(column: Any, rows: np.ndarray) -> np.ndarray:
    """int32 [rows]: the categories of some rows, numbered in ascending order; what is missing comes last."""
    values = np.asarray(column.iloc[rows] if hasattr(column, "iloc") else column[rows])
    if values.dtype.kind != "O":
        return np.unique(values, return_inverse=True)[1].astype(np.int32)
    listed = values.tolist()
    present = {value for value in listed if value is not None and value == value}
    try:
        code_of = {value: code for code, value in enumerate(sorted(present))}
    except TypeError:
        kinds = sorted({type(value).__name__ for value in present})
        raise DtypeError(
            f"the categories of one column must be of one type, found {' and '.join(kinds)}: convert them, to str say"
        ) from None
    return np.array([code_of.get(value, len(code_of)) for value in listed], np.int32)


def _one_hot(codes: np.ndarray, value: Any) -> sparse.csr_matrix:
    return sparse.csr_matrix(
        (np.full(len(codes), value), (np.arange(len(codes)), codes)), dtype=np.asarray(value).dtype
    )


def _voted(codes: np.ndarray, found: np.ndarray, bases: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """For each new row, a row that has the most frequent category among the neighbours of its base; of several such categories one
    is drawn, as imbalanced-learn does: all of them in one shuffled list, the first of each row counts.

    codes : [rows]. found : int64 [rows, k]. bases : int64 [new rows]. Returns int64 [new rows], numbers of rows.
    """
    order = np.argsort(codes[found], axis=1, kind="stable")
    voters = np.take_along_axis(found, order, axis=1)
    votes = codes[voters]
    counts = sum((votes == votes[:, [j]]).astype(np.int64) for j in range(votes.shape[1]))
    leads = counts == counts.max(axis=1, keepdims=True)
    leads[:, 1:] &= votes[:, 1:] != votes[:, :-1]  # one voter for each category
    num_leads = leads.sum(axis=1)
    candidates, first = voters[leads], np.cumsum(num_leads) - num_leads
    each = num_leads[bases]
    begins = np.cumsum(each) - each
    shuffled = random_state.permutation(each.sum())
    place = np.empty_like(shuffled)
    place[shuffled] = np.arange(len(shuffled))
    chosen = shuffled[np.minimum.reduceat(place, begins)] - begins
    return candidates[first[bases] + chosen]
