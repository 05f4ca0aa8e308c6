"""SMOTENC: imbalanced-learn's rows for a seed, on frames and arrays; columns as they came; wrong declarations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import SMOTENC as Theirs
from sklearn.neighbors import NearestNeighbors as TheirNeighbors

import fastload as fl
from fastload.errors import ArgumentError, DtypeError, NotFiniteError, NotNumbersError, TooFewRowsError

TEXT = ["red", "green", "blue", "black", "white"]


def frame(seed, dtype=np.float64, rows=300, category="category"):
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.2).astype(int)
    table = pd.DataFrame({
        "size": random.normal(y, 1.0).astype(dtype),
        "colour": np.array(TEXT)[random.integers(0, 5, rows)],
        "weight": random.normal(-y, 2.0).astype(dtype),
        "grade": random.integers(0, 3, rows),
        "age": random.normal(50, 9, rows).astype(dtype),
    })  # fmt: skip
    return table.astype({"colour": category, "grade": "category" if category == "category" else "int64"}), y


def assert_same_as_theirs(X, y, features, *, k_neighbors=5, **parameters):
    ours = fl.SMOTENC(features, k_neighbors=k_neighbors, **parameters)
    theirs = Theirs(features, k_neighbors=k_neighbors, **parameters)
    X_ours, y_ours = ours.fit_resample(X, y)
    X_theirs, y_theirs = theirs.fit_resample(X, y)
    np.testing.assert_array_equal(y_ours, y_theirs)
    np.testing.assert_array_equal(ours.categorical_features_, theirs.categorical_features_)
    np.testing.assert_array_equal(ours.continuous_features_, theirs.continuous_features_)
    np.testing.assert_allclose(list(ours.median_std_.values()), list(theirs.median_std_.values()), rtol=1e-6)
    if isinstance(X, pd.DataFrame):
        pd.testing.assert_frame_equal(X_ours, X_theirs, rtol=1e-5, atol=1e-5)
    else:
        assert X_ours.dtype == X.dtype
        for ours_column, theirs_column in zip(X_ours.T, X_theirs.T):
            if X.dtype == object and isinstance(ours_column[0], str):
                assert ours_column.tolist() == theirs_column.tolist()
            else:
                np.testing.assert_allclose(ours_column.astype(float), theirs_column.astype(float), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_random_frames(seed):
    category = ("category", "str", "object")[seed % 3]
    X, y = frame(seed, (np.float64, np.float32)[seed % 2], (150, 300)[seed % 2], category)
    assert_same_as_theirs(
        X, y, ["grade", "colour"] if seed % 4 else [1, 3], random_state=seed, k_neighbors=3 + seed % 4
    )


def test_found_by_dtype():
    X, y = frame(3)
    assert_same_as_theirs(X, y, "auto", random_state=1)


@pytest.mark.parametrize("seed", range(5))
def test_arrays(seed):
    X, y = frame(seed, category="object")
    assert_same_as_theirs(X.to_numpy(object), y, [1, 3], random_state=seed)
    numbers = X.assign(colour=X["colour"].map(TEXT.index)).to_numpy(np.float32)
    assert_same_as_theirs(numbers, y, [False, True, False, True, False], random_state=seed)


def test_three_classes_and_a_generator():
    X, _ = frame(5)
    y = np.random.default_rng(5).choice(["a", "b", "c"], len(X), p=[0.6, 0.3, 0.1])
    assert_same_as_theirs(X, y, "auto", random_state=1)
    X_ours, _ = fl.SMOTENC("auto", random_state=np.random.RandomState(7)).fit_resample(X, y)
    X_theirs, _ = Theirs("auto", random_state=np.random.RandomState(7)).fit_resample(X, y)
    pd.testing.assert_frame_equal(X_ours, X_theirs)


def test_given_neighbours():
    """With whole numbers there are many ties: with the same search, all else is the same."""
    X, y = frame(8)
    X = X.assign(size=X["size"].round(), weight=X["weight"].round(), age=X["age"].round())
    assert_same_as_theirs(X, y, "auto", k_neighbors=TheirNeighbors(n_neighbors=6), random_state=2)


def test_constant_numbers():
    """Then categories add nothing to the distance, and all rows are neighbours."""
    X, y = frame(9)
    X = X.assign(size=1.0, weight=2.0, age=3.0)
    assert_same_as_theirs(X, y, "auto", k_neighbors=TheirNeighbors(n_neighbors=6), random_state=2)


def test_missing_categories_are_a_category():
    X, y = frame(4, category="object")
    X.loc[np.random.default_rng(4).random(len(X)) < 0.3, "colour"] = np.nan  # theirs makes it of None, too
    assert_same_as_theirs(X, y, ["colour"], random_state=2)
    more, _ = fl.SMOTENC(["colour"], random_state=2).fit_resample(X, y)
    assert more["colour"][len(X) :].isna().any()


def test_columns_keep_their_dtypes():
    X, y = frame(6, np.float32)
    X = X.assign(count=np.arange(len(X)), late=np.random.default_rng(0).random(len(X)) < 0.5)
    X.index += 1000
    more, _ = fl.SMOTENC(["colour", "grade", "late"], random_state=0).fit_resample(X, y)
    pd.testing.assert_series_equal(more.dtypes, X.dtypes)
    assert more.index.equals(pd.RangeIndex(len(more)))
    pd.testing.assert_frame_equal(more[: len(X)], X.reset_index(drop=True))


def test_nothing_to_add():
    X, y = frame(6, np.float32)
    for table in (X, X.to_numpy(object)):
        found, labels = fl.SMOTENC([1, 3], sampling_strategy={}).fit_resample(table, y)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(table))
        np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("features", ["colour", 3, [0.5], [True, False], ["taste"], [9], [-6]])
def test_wrong_columns(features):
    X, y = frame(1)
    with pytest.raises(ArgumentError, match="categorical_features"):
        fl.SMOTENC(features).fit_resample(X, y)


def test_errors():
    X, y = frame(1, category="str")
    with pytest.raises(NotNumbersError, match=r"column 'colour' (is of str|holds text)"):
        fl.SMOTENC(["grade"]).fit_resample(X, y)
    with pytest.raises(NotNumbersError, match=r"column 1.*could not convert string to float"):
        fl.SMOTENC([3]).fit_resample(X.to_numpy(object), y)
    with pytest.raises(ArgumentError, match="found 5 of categories among 5"):
        fl.SMOTENC([0, 1, 2, 3, 4]).fit_resample(X, y)
    with pytest.raises(ArgumentError, match="found 0 of categories"):
        fl.SMOTENC("auto").fit_resample(X, y)
    with pytest.raises(ArgumentError, match="'auto' reads the dtypes"):
        fl.SMOTENC("auto").fit_resample(X.to_numpy(object), y)
    with pytest.raises(TooFewRowsError, match="class 1"):
        fl.SMOTENC(["colour", "grade"], k_neighbors=len(X)).fit_resample(X, y)
    for value in (np.nan, np.inf):
        with pytest.raises(NotFiniteError, match=r"row 7, column 'age'"):
            fl.SMOTENC(["colour", "grade"]).fit_resample(X.assign(age=X["age"].where(X.index != 7, value)), y)
    mixed = X.astype({"colour": object})
    mixed.loc[np.flatnonzero(y)[0], "colour"] = 5
    with pytest.raises(DtypeError, match="int and str"):
        fl.SMOTENC(["colour", "grade"]).fit_resample(mixed, y)
