"""Neighbours are scikit-learn's up to ties, whatever the numbers are; imbalanced-learn's own classes work with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from imblearn import combine, over_sampling, under_sampling
from imblearn.pipeline import make_pipeline
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors as TheirNeighbors

import fastload as fl
from fastload.balance import neighbors
from fastload.balance.neighbors import _by_products, _is_sure, nearest, nearest_mixed
from fastload.errors import TooFewRowsError


def by_hand(rows, queries):
    """All distances, in float64, without any cancellation."""
    return np.sqrt(((rows.astype(np.float64)[None] - queries.astype(np.float64)[:, None]) ** 2).sum(axis=2))


def assert_nearest(rows, k, queries, distances, indices):
    """These rows have these distances, and no others smaller ones; as exactly as scikit-learn has it, which subtracts squares."""
    expected = by_hand(rows, queries)
    tolerance = 1e-14 * rows.shape[1] * (rows.astype(np.float64) ** 2).max()
    for found in (distances, np.take_along_axis(expected, indices, axis=1)):
        np.testing.assert_allclose(found**2, np.sort(expected, axis=1)[:, :k] ** 2, rtol=1e-9, atol=tolerance)
    assert all(len(set(row)) == k for row in indices.tolist())


KINDS = {
    "plain": lambda random, shape: random.standard_normal(shape),
    "far from 0": lambda random, shape: random.standard_normal(shape) + 1e5,
    "outliers": lambda random, shape: random.standard_normal(shape) * 10.0 ** random.integers(0, 8, (shape[0], 1)),
    "twins": lambda random, shape: np.repeat(random.standard_normal(shape), 40, axis=0)[: shape[0]],
    "few values": lambda random, shape: random.integers(0, 2, shape).astype(np.float64),
    "tiny": lambda random, shape: random.standard_normal(shape) * 1e-25,
    "huge": lambda random, shape: random.standard_normal(shape) * 1e25,
    "all alike": lambda random, shape: np.full(shape, 7.25),
    "a line": lambda random, shape: np.linspace(0, 1, shape[0])[:, None] * np.ones(shape[1]) + 1e3,
}


@settings(max_examples=60, deadline=None)
@example(kind="few values", dtype=np.float32, rows=64, columns=17, k=9, seed=0)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    dtype=st.sampled_from([np.float32, np.float64]),
    rows=st.integers(1, 1100),
    columns=st.integers(1, 40),
    k=st.integers(1, 12),
    seed=st.integers(0, 999),
)
def test_products_find_the_nearest(kind, dtype, rows, columns, k, seed):
    random = np.random.default_rng(seed)
    if kind in ("tiny", "huge"):
        dtype = np.float64  # scikit-learn loses the squares of such float32
    table = KINDS[kind](random, (rows, columns)).astype(dtype)
    queries, k = table[random.integers(0, rows, 9)], min(k, rows)
    assert_nearest(table, k, queries, *_by_products(table, k, queries, 2))


@pytest.mark.parametrize(
    ("kind", "few"), [("plain", True), ("far from 0", True), ("twins", False), ("all alike", False), ("tiny", False)]
)
def test_where_float32_is_enough(kind, few, monkeypatch):
    """Usually it is; of twins it cannot tell, nor where numbers are lost."""
    table = KINDS[kind](np.random.default_rng(1), (3000, 20))
    asked = []
    search = neighbors._by_scikit_learn
    monkeypatch.setattr(neighbors, "_by_scikit_learn", lambda *a: asked.append(len(a[2])) or search(*a))
    _by_products(table, 6, table, 2)
    assert sum(asked) < 30 if few else sum(asked) == 3000


def test_a_bound_that_does_not_hold_is_seen():
    """The lowest score of a candidate tells how near others may be."""
    norms, farthest = np.array([5.0]), np.array([1.0])
    at_distance = lambda d: np.array([(25.0 - d * d) / 2], np.float32)  # noqa: E731
    assert _is_sure(farthest, at_distance(1.01), norms, 6.0, 64)[0]
    assert not _is_sure(farthest, at_distance(1.0001), norms, 6.0, 64)[0]
    assert not _is_sure(farthest, at_distance(0.99), norms, 6.0, 64)[0]
    assert _is_sure(farthest, np.array([-np.inf], np.float32), norms, 6.0, 64)[0]


@pytest.mark.parametrize("columns", [3, 15, 16, 40])
@pytest.mark.parametrize("pairs", [0, 10**9])
def test_as_scikit_learn(columns, pairs, monkeypatch):
    monkeypatch.setattr(neighbors, "FEW_PAIRS", pairs)
    random = np.random.default_rng(columns)
    table, queries = random.standard_normal((2000, columns)), random.standard_normal((70, columns))
    ours, theirs = fl.NearestNeighbors(7).fit(table), TheirNeighbors(n_neighbors=7).fit(table)
    for X in (queries, None):
        for found, expected in zip(ours.kneighbors(X), theirs.kneighbors(X)):
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    for mode in ("connectivity", "distance"):
        difference = ours.kneighbors_graph(queries, mode=mode) - theirs.kneighbors_graph(queries, mode=mode)
        assert abs(difference).max() < 1e-6
    np.testing.assert_array_equal(ours.kneighbors(queries, 2, return_distance=False), theirs.kneighbors(queries, 2)[1])


def test_whole_numbers_and_columns_first(monkeypatch):
    monkeypatch.setattr(neighbors, "FEW_PAIRS", 0)
    table = np.random.default_rng(0).integers(-9000, 9000, (500, 17))
    for form in (table, np.asfortranarray(table.astype(np.float32)), table.astype(np.int16)[:, ::-1]):
        assert_nearest(form, 4, form[:20], *nearest(form, 4, form[:20]))


def test_sparse_matrices():
    table = sparse.random(300, 30, 0.2, format="csr", random_state=0)
    assert_nearest(table.toarray(), 3, table.toarray(), *nearest(table, 3, table))


def test_rows_alike_are_no_neighbours_of_themselves():
    twins = np.zeros((9, 2))
    indices = fl.NearestNeighbors(3).fit(twins).kneighbors(return_distance=False)
    assert indices.shape == (9, 3)
    assert (indices != np.arange(9)[:, None]).all()


def test_errors():
    with pytest.raises(TooFewRowsError, match="found 3, and k = 4"):
        fl.NearestNeighbors(4).fit(np.eye(3)).kneighbors(np.eye(3))
    with pytest.raises(TooFewRowsError):
        fl.NearestNeighbors(3).fit(np.eye(3)).kneighbors()
    with pytest.raises(NotFittedError):
        fl.NearestNeighbors(3).kneighbors(np.eye(3))
    with pytest.raises(ValueError, match="NaN"):
        fl.NearestNeighbors(1).fit(np.array([[np.nan]]))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 2500), columns=st.integers(1, 4), code_columns=st.integers(0, 3), seed=st.integers(0, 99))
def test_mixed(rows, columns, code_columns, seed):
    random = np.random.default_rng(seed)
    numbers = random.standard_normal((rows, columns)).round(seed % 3)
    codes = random.integers(0, 4, (code_columns, rows)).astype(np.int32)
    k, weight = min(5, rows), 0.7
    distances, indices = nearest_mixed(numbers, codes, weight, k)
    some = random.integers(0, rows, 20)
    expected = by_hand(numbers, numbers[some]) ** 2 + weight * (codes[:, None, :] != codes[:, some, None]).sum(axis=0)
    np.testing.assert_allclose(distances[some], np.sort(expected, axis=1)[:, :k], atol=1e-12)
    np.testing.assert_allclose(np.take_along_axis(expected, indices[some], axis=1), distances[some], atol=1e-12)


# --- with imbalanced-learn ---------------------------------------------------------------------------


@pytest.fixture
def classes():
    random = np.random.default_rng(11)
    y = random.permutation(np.repeat([0, 1], [500, 100]))
    return random.normal(y[:, None] * 0.9, 1.0, (600, 18)), y


THEIRS = {
    "SMOTE": lambda n: over_sampling.SMOTE(k_neighbors=n(6), random_state=0),
    "SVMSMOTE": lambda n: over_sampling.SVMSMOTE(k_neighbors=n(6), m_neighbors=n(11), random_state=0),
    "KMeansSMOTE": lambda n: over_sampling.KMeansSMOTE(
        k_neighbors=n(3), kmeans_estimator=KMeans(4, n_init=1, random_state=0), cluster_balance_threshold=0.05, random_state=0
    ),
    "ADASYN": lambda n: over_sampling.ADASYN(n_neighbors=n(6), random_state=0),
    "SMOTETomek": lambda n: combine.SMOTETomek(smote=over_sampling.SMOTE(k_neighbors=n(6), random_state=0), random_state=0),
    "EditedNearestNeighbours": lambda n: under_sampling.EditedNearestNeighbours(n_neighbors=n(4)),
    "AllKNN": lambda n: under_sampling.AllKNN(n_neighbors=n(4)),
    "NearMiss": lambda n: under_sampling.NearMiss(n_neighbors=n(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("pairs", [0, 10**9])
def test_their_samplers_take_our_neighbours(name, pairs, classes, monkeypatch):
    monkeypatch.setattr(neighbors, "FEW_PAIRS", pairs)
    X_ours, y_ours = THEIRS[name](fl.NearestNeighbors).fit_resample(*classes)
    X_theirs, y_theirs = THEIRS[name](lambda n: TheirNeighbors(n_neighbors=n)).fit_resample(*classes)
    np.testing.assert_array_equal(y_ours, y_theirs)
    np.testing.assert_allclose(X_ours, X_theirs, rtol=1e-9)


@pytest.mark.parametrize("name", ["SMOTE", "BorderlineSMOTE", "ADASYN", "RandomOverSampler", "RandomUnderSampler"])
def test_our_samplers_in_their_pipeline(name, classes):
    X, y = classes
    steps = getattr(fl, name)(random_state=0), LogisticRegression()
    found = make_pipeline(*steps).fit(X, y).predict_proba(X)
    expected = clone(steps[1]).fit(*clone(steps[0]).fit_resample(X, y)).predict_proba(X)
    np.testing.assert_allclose(found, expected)


def test_our_samplers_take_their_neighbours(classes):
    finder = TheirNeighbors(n_neighbors=6)
    X, _ = fl.SMOTE(k_neighbors=finder, random_state=0).fit_resample(*classes)
    np.testing.assert_allclose(X, fl.SMOTE(random_state=0).fit_resample(*classes)[0])
    assert not hasattr(finder, "n_samples_fit_")  # it was copied
