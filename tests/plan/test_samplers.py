"""Rows come as often as their weights say."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload.errors import ArgumentError, EmptyError, ShapeError
from fastload.plan.random import uniforms
from fastload.plan.samplers import WeightedSampler

WEIGHTS = st.lists(st.sampled_from([0.0, 5e-324, 1e-9, 0.3, 1.0, 7.0, 1e300]), min_size=1, max_size=60).filter(any)


def check_frequencies(counts, probabilities) -> None:
    """Pearson's chi-square, at most five standard deviations (and a bit, for few cells) above its mean."""
    counts, probabilities = np.asarray(counts), np.asarray(probabilities)
    assert not counts[probabilities == 0].any()
    counts, expected = counts[probabilities > 0], counts.sum() * probabilities[probabilities > 0]
    degrees = len(counts) - 1
    assert ((counts - expected) ** 2 / expected).sum() < degrees + 5 * np.sqrt(2 * degrees) + 6


@pytest.mark.parametrize(
    "weights",
    [[1, 1, 1, 1], [0, 1, 2, 3, 0, 0, 4, 0], [1e-3, 1, 1e3], [5e-324, 1e-323], [1e308, 1e308, 1.7e308], [3.0]],
    ids=str,
)
def test_rows_come_as_often_as_their_weights_say(weights):
    weights = np.array(weights, float)
    rows = WeightedSampler(weights, 100_000).rows(1, 0, np.arange(100_000))
    check_frequencies(np.bincount(rows, minlength=len(weights)), weights / weights.max() / sum(weights / weights.max()))


def test_draws_are_independent():
    """Pairs of neighbours, and the same position of two epochs, have the product of the probabilities."""
    weights = np.array([1, 2, 3, 4])
    sampler, positions = WeightedSampler(weights, 100_000), np.arange(100_000)
    here, later = sampler.rows(1, 0, positions), sampler.rows(1, 1, positions)
    expected = np.outer(weights, weights).ravel() / 100
    check_frequencies(np.bincount(here[:-1] * 4 + here[1:], minlength=16), expected)
    check_frequencies(np.bincount(here * 4 + later, minlength=16), expected)


@settings(deadline=None)
@given(weights=WEIGHTS, seed=st.integers(0, 2**64 - 1))
def test_with_replacement_the_uniform_is_found_in_the_sums(weights, seed):
    """Against the plain search; so a row of weight 0 never comes."""
    positions = np.arange(300)
    sums = np.cumsum(np.array(weights) / max(weights))
    expected = np.searchsorted(sums, uniforms(seed, 4, positions) * sums[-1], side="right")
    rows = WeightedSampler(weights, 300).rows(seed, 4, positions)
    assert rows.tolist() == expected.tolist()
    assert np.all(np.array(weights)[rows] > 0)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53], ids=["lowest", "half", "highest"])
@pytest.mark.parametrize("count", [1, 3, 1000])
def test_the_ends_of_the_uniforms_stay_inside(monkeypatch, uniform, count):
    monkeypatch.setattr("fastload.plan.samplers.uniforms", lambda seed, epoch, at: np.full(len(at), uniform))
    weights = np.concatenate([np.zeros(5), np.full(count, 0.1), np.zeros(5)])
    rows = WeightedSampler(weights).rows(0, 0, np.arange(3))
    expected = {0.0: 5, 0.5: 5 + count // 2, 1 - 2**-53: 4 + count}[uniform]
    assert rows.tolist() == [expected] * 3
    assert len(set(WeightedSampler(weights, replacement=False).rows(0, 0, np.arange(count)))) == count


def test_a_point_on_a_sum_belongs_to_the_next_row_with_a_weight(monkeypatch):
    """Sums 1/4, 1/4, 1/4, 5/4, 2: an eighth of the total is the end of row 0, and inside a cell of the guide."""
    monkeypatch.setattr("fastload.plan.samplers.uniforms", lambda seed, epoch, at: np.array([1 / 8 - 2**-53, 1 / 8]))
    assert WeightedSampler([0.25, 0, 0, 1, 0.75]).rows(0, 0, np.arange(2)).tolist() == [0, 3]


@settings(deadline=None)
@given(weights=WEIGHTS, seed=st.integers(0, 2**64 - 1), data=st.data())
def test_without_replacement_no_row_comes_twice(weights, seed, data):
    drawable = set(np.flatnonzero(weights).tolist())
    num_samples = data.draw(st.integers(1, len(drawable)))
    rows = WeightedSampler(weights, num_samples, replacement=False).rows(seed, 0, np.arange(num_samples)).tolist()
    assert len(set(rows)) == num_samples
    assert set(rows) <= drawable
    # fewer samples are the first of more
    every = WeightedSampler(weights, replacement=False)
    assert every.num_rows(seed, 0) == len(drawable)
    assert every.rows(seed, 0, np.arange(num_samples)).tolist() == rows


def test_without_replacement_each_draw_is_from_those_left():
    """Over 20,000 epochs, every ordered triple of four rows as often as drawing one by one gives it."""
    weights = np.array([1.0, 2.0, 0.0, 3.0, 4.0])
    sampler = WeightedSampler(weights, 3, replacement=False)
    triples = list(permutations(np.flatnonzero(weights).tolist(), 3))
    counts = dict.fromkeys(triples, 0)
    for epoch in range(20_000):
        counts[tuple(sampler.rows(9, epoch, np.arange(3)).tolist())] += 1
    w, total = weights, weights.sum()
    expected = [w[a] / total * w[b] / (total - w[a]) * w[c] / (total - w[a] - w[b]) for a, b, c in triples]
    check_frequencies([counts[t] for t in triples], expected)


def test_more_rows_than_torch_allows():
    """torch.multinomial ends at 2^24 categories."""
    weights = np.zeros(2**24 + 100)
    weights[-100:] = 1
    rows = WeightedSampler(weights, 10_000).rows(0, 0, np.arange(10_000))
    check_frequencies(np.bincount(rows - 2**24, minlength=100), np.full(100, 0.01))


@pytest.mark.parametrize(
    "labels",
    [np.repeat([3, -1, 7], [900, 90, 10]), np.repeat(["a", "b", "c"], [10, 900, 90]), np.repeat([0.5, 2.0, np.nan], 9)],
    ids=["integers", "text", "floats"],
)
def test_balanced_classes_are_equally_likely_and_rows_in_them(labels):
    rows = WeightedSampler.balanced(labels, 60_000).rows(2, 0, np.arange(60_000))
    _, classes = np.unique(labels, return_inverse=True)
    check_frequencies(np.bincount(classes[rows]), np.full(3, 1 / 3))
    check_frequencies(np.bincount(rows, minlength=len(labels)), 1 / 3 / np.bincount(classes)[classes])


def test_an_epoch_has_as_many_rows_as_the_data_unless_it_is_said():
    assert WeightedSampler([1, 0, 2]).num_rows(0, 0) == 3
    assert WeightedSampler([1, 0, 2], replacement=False).num_rows(0, 0) == 2
    assert WeightedSampler([1, 0, 2], 7).num_rows(0, 0) == 7
    assert WeightedSampler.balanced(["a", "b"]).num_rows(0, 0) == 2


def test_weights_are_copied():
    for replacement in (True, False):
        weights = np.array([1.0, 1.0])
        sampler = WeightedSampler(weights, 1, replacement)
        before = [sampler.rows(0, epoch, np.arange(1)).tolist() for epoch in range(20)]
        weights[:] = 0, 1
        assert [sampler.rows(0, epoch, np.arange(1)).tolist() for epoch in range(20)] == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, np.nan],), ArgumentError, "row 1 has nan"),
        (([-0.5, 1],), ArgumentError, "row 0 has -0.5"),
        (([1, 2, np.inf],), ArgumentError, "row 2 has inf"),
        (([0, 0],), ArgumentError, "must be above 0; all 2 are 0"),
        (([],), EmptyError, "at least one row"),
        (([[1, 2]],), ShapeError, r"shape \(1, 2\)"),
        (([1, 2], 0), ArgumentError, "num_samples must be a positive integer, got 0"),
        (([1, 0, 2], 3, False), ArgumentError, "3 samples .* without replacement; 2 rows have a weight above 0"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        WeightedSampler(*arguments)


def test_labels_are_checked():
    with pytest.raises(ShapeError, match="labels must be one for each row"):
        WeightedSampler.balanced([[1, 2]])
    with pytest.raises(EmptyError):
        WeightedSampler.balanced([])
