"""Numbers without a state: fixed for ever, uniform, and streams that tell nothing about each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastload import _core
from fastload.errors import ArgumentError
from fastload.plan.random import BASE_ORDER, POOL_ORDER, ROW_KEYS, UNIFORMS, outputs, row_keys, stream_key, uniforms

WORDS = st.integers(0, 2**64 - 1)


def plain_mix64(value: int) -> int:
    """SplitMix64's step from the paper, in whole numbers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


@given(st.lists(WORDS, max_size=20))
def test_mix64_is_splitmix64(values):
    expected = [plain_mix64(value) for value in values]
    assert _core.mix64(np.array(values, np.uint64)).tolist() == expected
    assert [_core.mix64(value) for value in values] == expected


@given(WORDS, WORDS, st.integers(0, 2**62))
def test_formulas_are_as_documented(seed, epoch, counter):
    epoch_key = plain_mix64(plain_mix64(seed) ^ epoch)
    rows, numbers = (
        plain_mix64((plain_mix64(epoch_key ^ stream) + counter * 0x9E3779B97F4A7C15) % 2**64)
        for stream in (int.from_bytes(b"row keys", "big"), int.from_bytes(b"uniforms", "big"))
    )
    assert row_keys(seed, epoch, np.array([counter])).tolist() == [rows]
    assert uniforms(seed, epoch, np.array([counter])).tolist() == [(numbers >> 11) / 2**53]


def test_numbers_are_fixed_for_ever():
    """Changing these would change what people's runs drew."""
    assert row_keys(7, 2, np.array([0, 1, 2**40])).tolist() == [
        0xE2B66B2180CADB58, 0x58DCCC3D8A3D7189, 0x28CCC3133109C1EF,
    ]  # fmt: skip
    expected = [float.fromhex(x) for x in ("0x1.08b23ff857bb4p-1", "0x1.8e04d01d313a4p-2", "0x1.b00eb8168fd70p-1")]
    assert uniforms(7, 2, np.array([0, 1, 2**40])).tolist() == expected
    assert [stream_key(7, 2, stream) for stream in (BASE_ORDER, POOL_ORDER)] == [0x657530B08EF8D3AF, 0x63DBA0601280B5ED]


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
def test_the_width_of_a_counter_does_not_matter(dtype):
    counters = np.array([[0, 1], [7, 2**31 - 1]])
    np.testing.assert_array_equal(outputs(5, counters.astype(dtype)), outputs(5, counters))


def chi_square(counts: np.ndarray, expected: float) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("step", [1, 64, 4096], ids="every {}".format)
def test_uniforms_are_uniform_whatever_positions_a_rank_takes(step):
    """Cells of (here, next) are equally full: five standard deviations of the chi-square."""
    cells, count = 32, 200_000
    numbers = uniforms(3, 1, np.arange(count) * step)
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    cell = (numbers * cells).astype(np.int64)
    pairs = np.bincount(cell[:-1] * cells + cell[1:], minlength=cells**2)
    assert abs(chi_square(pairs, (count - 1) / cells**2) - cells**2) < 5 * np.sqrt(2 * cells**2)


def test_streams_epochs_and_seeds_tell_nothing_about_each_other():
    counters = np.arange(100_000)
    uniform = [
        (outputs(stream_key(seed, epoch, stream), counters) >> np.uint64(11)) * 2.0**-53
        for seed, epoch, stream in [(0, 0, ROW_KEYS), (0, 0, UNIFORMS), (0, 1, ROW_KEYS), (1, 0, ROW_KEYS), (1, 1, ROW_KEYS)]
    ]  # fmt: skip
    correlations = np.corrcoef(uniform)[np.triu_indices(len(uniform), 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(len(counters))


@pytest.mark.parametrize("wrong", [-1, 2**64, 1.5, "1", None])
def test_seed_and_epoch_are_checked(wrong):
    with pytest.raises(ArgumentError, match=r"a seed is an integer in 0 \.\. 2\^64 - 1, got"):
        row_keys(wrong, 0, np.arange(1))
    with pytest.raises(ArgumentError, match="an epoch is an integer"):
        uniforms(0, wrong, np.arange(1))
