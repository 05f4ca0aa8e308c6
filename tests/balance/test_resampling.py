"""What new rows are made of, what types come out, and what is said about input that cannot be balanced."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import clone

import fastload as fl
from fastload.balance.interpolate import DTYPES
from fastload.balance.labels import Labels
from fastload.balance.neighbors import nearest
from fastload.errors import (
    ArgumentError,
    EmptyError,
    NoForeignNeighborsError,
    NotFiniteError,
    NothingInDangerWarning,
    NotNumbersError,
    OneClassError,
    ShapeError,
    StrategyError,
    TooFewRowsError,
    UnknownClassError,
)

OVER = ["SMOTE", "BorderlineSMOTE", "ADASYN", "RandomOverSampler"]
BETWEEN = ["SMOTE", "BorderlineSMOTE", "ADASYN"]


def clouds(seed=0, rows=(120, 30), columns=4, dtype=np.float64, apart=1.0):
    random = np.random.default_rng(seed)
    y = random.permutation(np.repeat(np.arange(len(rows)), rows))
    return random.normal(y[:, None] * apart, 1.0, (len(y), columns)).astype(dtype), y


# --- what new rows are -------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(BETWEEN),
    dtype=st.sampled_from([np.float32, np.float64]),
    columns=st.integers(1, 20),
    k=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_new_rows_lie_between_a_row_and_its_neighbour(name, dtype, columns, k, seed):
    X, y = clouds(seed, (90, 40), columns, dtype, apart=0.5)
    parameter = "n_neighbors" if name == "ADASYN" else "k_neighbors"
    sampler = getattr(fl, name)(random_state=seed, **{parameter: k})
    X_more, y_more = sampler.fit_resample(X, y)
    np.testing.assert_array_equal(X_more[: len(X)], X)
    np.testing.assert_array_equal(y_more[: len(y)], y)
    new, minority = X_more[len(X) :].astype(np.float64), X[y == 1].astype(np.float64)
    assert (y_more[len(y) :] == 1).all()
    _, found = nearest(minority, k + 1, minority)
    pairs = np.array([(row, other) for row, others in enumerate(found) for other in others])
    ways = minority[pairs[:, 1]] - minority[pairs[:, 0]]
    lengths = np.maximum((ways**2).sum(axis=1), 1e-30)
    for row in new:  # the nearest point of each way, and how far it is from the row
        part = np.clip(((row - minority[pairs[:, 0]]) * ways).sum(axis=1) / lengths, 0, 1)
        off = np.abs(minority[pairs[:, 0]] + part[:, None] * ways - row).max(axis=1)
        assert off.min() < 1e-5


def test_parts_of_the_way_and_pairs_are_uniform():
    X = np.array([[0.0], [1.0], [10.0], [11.0], [100.0], *[[k * 1.0 + 500] for k in range(20_000)]])
    y = np.array([1, 1, 1, 1, 0] + [0] * 20_000)
    X_more, _ = fl.SMOTE(k_neighbors=1, random_state=3).fit_resample(X, y)
    new = X_more[len(X) :, 0]
    parts = np.where(new <= 1, new, new - 10)
    assert stats.kstest(parts, "uniform").pvalue > 0.01
    assert abs((new <= 1).mean() - 0.5) < 0.02


def test_borderline_rows_start_at_rows_in_danger():
    X, y = clouds(2, (300, 60), 2)
    sampler = fl.BorderlineSMOTE(random_state=0, k_neighbors=1)
    X_more, _ = sampler.fit_resample(X, y)
    _, around = nearest(X, 11, X[y == 1])
    foreign = (y[around[:, 1:]] != 1).sum(axis=1)
    np.testing.assert_array_equal(sampler.in_danger_indices[1], np.flatnonzero(y == 1)[(foreign >= 5) & (foreign < 10)])
    bases = X[sampler.in_danger_indices[1]]
    partners = X[y == 1][nearest(X[y == 1], 2, bases)[1][:, 1]]
    low, high = np.minimum(bases, partners) - 1e-9, np.maximum(bases, partners) + 1e-9
    inside = (X_more[len(X) :, None] >= low) & (X_more[len(X) :, None] <= high)
    assert inside.all(axis=2).any(axis=1).all()


@pytest.mark.parametrize("dtype", [*DTYPES, np.dtype("float16"), np.dtype(bool)], ids=str)
@pytest.mark.parametrize("name", ["SMOTE", "RandomOverSampler", "RandomUnderSampler"])
def test_dtypes_are_kept(name, dtype):
    X, y = clouds(1)
    X = (X > 0) if dtype.kind == "b" else np.clip(X * 20, 0, 100).astype(dtype)
    X_more, _ = getattr(fl, name)(random_state=0).fit_resample(X, y)
    assert X_more.dtype == dtype


def test_unsigned_numbers_do_not_wrap():
    X, y = clouds(1)
    X = np.clip(X * 30 + 100, 0, 255).astype(np.uint8)
    X_more, _ = fl.SMOTE(random_state=0).fit_resample(X, y)
    assert X_more[len(X) :].max() <= X[y == 1].max()
    assert X_more[len(X) :].min() >= X[y == 1].min()


@pytest.mark.parametrize("name", OVER)
def test_nothing_given_is_changed(name):
    X, y = clouds()
    before = X.copy(), y.copy()
    X.setflags(write=False), y.setflags(write=False)
    getattr(fl, name)(random_state=0).fit_resample(X, y)
    np.testing.assert_array_equal(X, before[0])


def test_same_in_any_layout():
    X, y = clouds(columns=8)
    expected, _ = fl.SMOTE(random_state=0).fit_resample(X, y)
    for form in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X[::-1][::-1]):
        np.testing.assert_array_equal(fl.SMOTE(random_state=0).fit_resample(form, y)[0], expected)


# --- types in and out --------------------------------------------------------------------------------

LABELS = {
    "list": lambda y: y.tolist(),
    "of text": lambda y: np.array(["no", "yes"])[y].tolist(),
    "objects": lambda y: np.array(["no", "yes"], object)[y],
    "bool": lambda y: y == 1,
    "int8": lambda y: y.astype(np.int8),
    "float": lambda y: y.astype(np.float32),
    "series": lambda y: pd.Series(y, name="late", index=np.arange(len(y)) + 7),
    "text series": lambda y: pd.Series(np.array(["no", "yes"])[y], name="late", dtype="str"),
    "categories": lambda y: pd.Series(np.array(["no", "yes"])[y], dtype="category"),
    "one column": lambda y: y[:, None],
    "frame": lambda y: pd.DataFrame({"late": y}),
    "one-hot": lambda y: np.eye(2, dtype=np.int64)[y],
    "one-hot frame": lambda y: pd.DataFrame(np.eye(2, dtype=np.int8)[y], columns=["no", "yes"]),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("name", ["SMOTE", "RandomOverSampler", "RandomUnderSampler"])
def test_labels_come_out_as_they_came_in(name, kind):
    X, plain = clouds()
    y = LABELS[kind](plain)
    _, expected = getattr(fl, name)(random_state=0).fit_resample(X, plain)
    _, found = getattr(fl, name)(random_state=0).fit_resample(X, y)
    assert type(found) is type(y)
    assert Labels(found).counts == dict.fromkeys(Labels(y).counts, (expected == 0).sum())
    np.testing.assert_array_equal(
        np.asarray(found), np.asarray(LABELS[kind](expected)).reshape(np.asarray(found).shape)
    )
    if isinstance(y, pd.Series):
        assert found.name == y.name
    if hasattr(y, "dtype"):
        assert found.dtype == y.dtype
    if isinstance(y, pd.DataFrame):
        pd.testing.assert_series_equal(found.dtypes, y.dtypes)


def test_frames_keep_columns_and_dtypes():
    X, y = clouds()
    frame = pd.DataFrame(
        {"a": X[:, 0], "b": (X[:, 1] * 10).astype(np.int32), "3": X[:, 2].astype(np.float32)}, index=y * 0 + 5
    )
    for name in ("SMOTE", "RandomOverSampler", "RandomUnderSampler"):
        found, _ = getattr(fl, name)(random_state=0).fit_resample(frame, y)
        pd.testing.assert_series_equal(found.dtypes, frame.dtypes)
        assert list(found.columns) == list(frame.columns)
    sampler = fl.SMOTE(random_state=0)
    found, _ = sampler.fit_resample(frame, y)
    assert sampler.feature_names_in_.tolist() == ["a", "b", "3"]
    assert found.index.equals(pd.RangeIndex(len(found)))
    narrow, _ = sampler.fit_resample(frame.astype(np.float32).set_axis([1, 2, 3], axis=1), y)
    assert (narrow.dtypes == np.float32).all()


def test_whole_numbers_that_may_be_missing():
    X, y = clouds()
    frame = pd.DataFrame({"a": pd.array((X[:, 0] * 10).astype(int), dtype="Int64"), "b": X[:, 1]})
    found, _ = fl.SMOTE(random_state=0).fit_resample(frame, y)
    assert found.dtypes.tolist() == frame.dtypes.tolist()


def test_rows_given_stay_exact():
    """Though numbers like these are no float64."""
    X, y = clouds()
    frame = pd.DataFrame({"a": np.arange(len(X)) + (1 << 60) + 1, "b": X[:, 1].astype(np.float32)})
    found, _ = fl.SMOTE(random_state=0).fit_resample(frame, y)
    pd.testing.assert_frame_equal(found[: len(X)], frame)


def test_random_samplers_take_any_frame():
    X, y = clouds()
    frame = pd.DataFrame({
        "text": np.array(["a", None], object)[y], "when": pd.Timestamp("2013-01-01") + pd.to_timedelta(y, unit="h"),
        "kind": pd.Categorical(np.array(["x", "y"])[y]), "number": np.where(y == 1, np.nan, X[:, 0]),
    }, index=np.arange(len(y)) * 10)  # fmt: skip
    for name in ("RandomOverSampler", "RandomUnderSampler"):
        sampler = getattr(fl, name)(random_state=1)
        found, labels = sampler.fit_resample(frame, pd.Series(y))
        expected = frame.iloc[sampler.sample_indices_]
        if name == "RandomOverSampler":
            expected = expected.reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected)
        assert found.index.equals(labels.index)


def test_samplers_can_be_copied_and_stored():
    X, y = clouds()
    for name in [*OVER, "RandomUnderSampler"]:
        sampler = getattr(fl, name)(random_state=4)
        expected, _ = sampler.fit_resample(X, y)
        for other in (clone(sampler), pickle.loads(pickle.dumps(sampler))):
            np.testing.assert_array_equal(other.fit_resample(X, y)[0], expected)


# --- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OVER, "RandomUnderSampler"])
def test_wrong_labels(name):
    X, y = clouds()
    sampler = getattr(fl, name)()
    with pytest.raises(OneClassError, match="found 1 class: 3"):
        sampler.fit_resample(X, np.full(len(X), 3))
    with pytest.raises(ValueError, match="Unknown label type"):
        sampler.fit_resample(X, np.linspace(0, 1, len(X)))
    with pytest.raises(ValueError, match="NaN"):
        sampler.fit_resample(X, np.where(y == 1, np.nan, 0.0))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        sampler.fit_resample(X, y[:-1])
    with pytest.raises(ArgumentError, match="Multilabel and multioutput targets are not supported"):
        sampler.fit_resample(X, np.ones((len(X), 2)))
    with pytest.raises(ArgumentError, match="must have one 1 in every row, found none in row 0"):
        sampler.fit_resample(X, np.zeros((len(X), 2)))
    with pytest.raises(ShapeError):
        sampler.fit_resample(X, np.zeros((len(X), 2, 2)))
    with pytest.raises(UnknownClassError, match=r"names a class that no label is of: 'x'; the classes are 0, 1"):
        clone(sampler).set_params(sampling_strategy={"x": 3}).fit_resample(X, y)


def test_strategies_that_cannot_be():
    X, y = clouds()
    over, under = fl.SMOTE(sampling_strategy={0: 110}), fl.RandomUnderSampler(sampling_strategy={1: 31})
    with pytest.raises(
        StrategyError, match=r"over-sampling removes no rows: class 0 has 120, and sampling_strategy asks for 110"
    ):
        over.fit_resample(X, y)
    with pytest.raises(
        StrategyError, match=r"under-sampling adds no rows: class 1 has 30, and sampling_strategy asks for 31"
    ):
        under.fit_resample(X, y)
    with pytest.raises(StrategyError, match=r"there are 30 rows of 1 to 120 of 0, 0.25"):
        fl.SMOTE(sampling_strategy=0.25).fit_resample(X, y)
    with pytest.raises(StrategyError, match="must return a dict"):
        fl.SMOTE(sampling_strategy=lambda y: 5).fit_resample(X, y)


@pytest.mark.parametrize("name", BETWEEN)
def test_values_that_have_no_distance(name):
    X, y = clouds()
    sampler = getattr(fl, name)()
    for value, word in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
        wrong = X.copy()
        wrong[17, 2] = value
        with pytest.raises(NotFiniteError, match=rf"contains {word} \(1 such values, the first in row 17, column 2\)"):
            sampler.fit_resample(wrong, y)
        with pytest.raises(NotFiniteError, match="column 'c'"):
            sampler.fit_resample(pd.DataFrame(wrong, columns=list("abcd")), y)
    with pytest.raises(NotNumbersError, match=r"column 'b' (is of str|holds text)"):
        sampler.fit_resample(pd.DataFrame({"a": X[:, 0], "b": "x"}), y)
    with pytest.raises(NotNumbersError, match="column 'b' is of category"):
        sampler.fit_resample(pd.DataFrame({"a": X[:, 0], "b": pd.Categorical(y)}), y)
    with pytest.raises(NotNumbersError, match="could not convert string to float"):
        sampler.fit_resample(np.full(X.shape, "x", object), y)
    with pytest.raises(NotNumbersError, match="array of <U1"):
        sampler.fit_resample(np.full(X.shape, "x"), y)


def test_large_values_are_finite():
    X, y = clouds(dtype=np.float32)
    X_more, _ = fl.SMOTE(random_state=0).fit_resample(X * np.float32(1e36), y)
    assert np.isfinite(X_more).all()


@pytest.mark.parametrize("name", BETWEEN)
def test_classes_that_are_too_small(name):
    X, y = clouds(rows=(60, 4))
    with pytest.raises(
        TooFewRowsError, match=r"class 1 must have more rows than ._neighbors: found n_samples = 4, and 5 nei"
    ):
        getattr(fl, name)(random_state=0).fit_resample(X * 0 + np.arange(len(X))[:, None] % 7, y)
    with pytest.raises(TooFewRowsError):
        getattr(fl, name)().fit_resample(X[:3], [0, 0, 1])


def test_nothing_in_danger_is_said():
    X, y = clouds(apart=60.0)
    with pytest.warns(NothingInDangerWarning, match="no row of class 1 is in danger.*stays as it is, with 30 rows"):
        X_more, y_more = fl.BorderlineSMOTE().fit_resample(X, y)
    with pytest.warns(NothingInDangerWarning) as said:
        fl.BorderlineSMOTE().fit_resample(X, y)
    assert said[0].filename == __file__  # not a place inside of fastload
    assert len(X_more) == len(y_more) == len(X)


def test_adasyn_without_foreign_neighbours():
    with pytest.raises(NoForeignNeighborsError, match="no row of class 1 has one among its nearest"):
        fl.ADASYN().fit_resample(*clouds(apart=60.0))
    with pytest.raises(RuntimeError):
        fl.ADASYN().fit_resample(*clouds(apart=60.0))
    with pytest.raises(EmptyError, match="No samples will be generated: 1 new rows of class 1"):
        fl.ADASYN(sampling_strategy={1: 31}).fit_resample(*clouds(apart=0.0))


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (fl.SMOTE(k_neighbors=0), "k_neighbors must be at least 1, got 0"),
        (fl.SMOTE(k_neighbors="5"), "k_neighbors must be a number, or an object"),
        (fl.SMOTE(k_neighbors=True), "k_neighbors must be a number"),
        (fl.ADASYN(n_neighbors=-1), "n_neighbors must be at least 1"),
        (fl.BorderlineSMOTE(m_neighbors=0), "m_neighbors must be at least 1"),
        (fl.BorderlineSMOTE(kind="borderline-3"), "kind must be one of borderline-1, borderline-2"),
        (fl.RandomOverSampler(shrinkage=-1.0), "shrinkage must not be negative"),
        (fl.RandomOverSampler(shrinkage={0: 1.0}), "it has none for 1"),
        (fl.RandomOverSampler(shrinkage="much"), "shrinkage must be a number"),
    ],
    ids=str,
)
def test_parameters_without_meaning(sampler, message):
    with pytest.raises(ArgumentError, match=message):
        sampler.fit_resample(*clouds())


def test_smoothed_rows_keep_float32():
    X, y = clouds(dtype=np.float32)
    X_more, _ = fl.RandomOverSampler(shrinkage=1.0, random_state=0).fit_resample(X, y)
    exact, _ = fl.RandomOverSampler(shrinkage=1.0, random_state=0).fit_resample(X.astype(np.float64), y)
    assert X_more.dtype == np.float32
    np.testing.assert_allclose(X_more, exact, rtol=1e-5, atol=1e-5)


def test_without_scikit_learn():
    """It is an extra: importing fastload does not need it, and a sampler says what to install."""
    program = (
        "import sys, importlib.util as u; find = u.find_spec; u.find_spec = lambda n, *a: None if n == 'sklearn' else find(n, *a);"
        "import fastload as fl\ntry:\n    fl.SMOTE\nexcept ImportError as e:\n    print(e)\nprint('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 'pip install "fastload[balance]"' in done.stdout
    assert done.stdout.endswith("False\n")
