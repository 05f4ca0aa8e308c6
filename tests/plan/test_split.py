from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastload.errors import ArgumentError, DtypeError
from fastload.plan.split import check_fractions, hash_keys, split_keys, split_rows
from fastload.schema import Categorical, Ragged

HALVES = {"a": 0.5, "b": 0.5}
THREE = {"train": 0.8, "validation": 0.1, "test": 0.1}


def test_hashes_are_fixed_for_ever():
    """Changing these numbers would move rows between the splits people already trained on."""
    assert hash_keys(np.array([0, 1, -1, 2**40])).tolist() == [
        0x33FE8BD4F9C57863, 0x45CEC29CD9A24E4B, 0x232F4274F39884F8, 0x1DF3ADEFB7254602,
    ]  # fmt: skip
    assert hash_keys(np.array(["", "a", "abcdefgh", "abcdefghi", "naïve"])).tolist() == [
        0x33FE8BD4F9C57863, 0xFD177F111895B98D, 0x19B38C49999C6CCC, 0x6B8B42791B3BF1A5, 0x756F8B0EB9A2A994,
    ]  # fmt: skip
    assert hash_keys(np.array([0.5, np.nan])).tolist() == [0x3943A3BA32EBE52E, 0xE75ADDAB5DA00C4C]
    assert split_rows(0, 20, THREE, seed=7).tolist() == [
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        2,
        2,
        1,
        0,
        2,
        0,
        0,
        0,
        1,
        1,
        2,
        0,
        0,
    ]


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "uint8", "uint64", "float16", "float32", "float64"]
)
def test_width_of_a_key_does_not_matter(dtype):
    keys = np.array([0, 1, 5, 100])
    assert hash_keys(keys.astype(dtype)).tolist() == hash_keys(keys).tolist()


def test_bools_are_zero_and_one_and_signed_zeros_agree():
    assert hash_keys(np.array([False, True])).tolist() == hash_keys(np.array([0, 1])).tolist()
    assert len(set(hash_keys(np.array([0.0, -0.0])).tolist())) == 1


@pytest.mark.parametrize("big_endian", [">i4", ">f8", ">u2"])
def test_byte_order_of_a_key_does_not_matter(big_endian):
    keys = np.array([3, 700])
    assert hash_keys(keys.astype(big_endian)).tolist() == hash_keys(keys).tolist()


@given(st.lists(st.text(max_size=40), min_size=1, max_size=30))
def test_every_form_of_text_agrees(texts):
    """A key hashes alone as it does among others: the neighbour's bytes must not leak in."""
    alone = [int(hash_keys(Ragged.from_rows([t], "string"))[0]) for t in texts]
    assert hash_keys(Ragged.from_rows(texts, "string")).tolist() == alone
    assert hash_keys(Ragged.from_rows([t.encode() for t in texts], "bytes")).tolist() == alone
    words = sorted(set(texts))
    assert hash_keys(Categorical(np.array([words.index(t) for t in texts]), words)).tolist() == alone


def test_missing_keys_stay_together():
    masked = hash_keys(np.ma.MaskedArray([1, 2, 3], [True, False, True]))
    assert masked[0] == masked[2] != masked[1]
    categories = Categorical(np.array([0, 9]), ["a"], np.array([True, False]))
    ragged = Ragged.from_rows(["a", None], "string")
    assert hash_keys(categories).tolist() == hash_keys(ragged).tolist() == [hash_keys(np.array(["a"]))[0], masked[0]]
    assert hash_keys(Categorical(np.array([0]), [], np.array([False])))[0] == masked[0]


@pytest.mark.parametrize("keys", [np.zeros((2, 2)), np.zeros(2, complex), Ragged.from_rows([[1]], "int32")])
def test_keys_must_be_single_values(keys):
    with pytest.raises(DtypeError, match="a key must be"):
        hash_keys(keys)


@given(st.integers(0, 2**40), st.integers(1, 200), st.integers(0, 199), st.integers(0, 2**64 - 1))
def test_rows_split_alike_however_they_are_chunked(first, count, cut, seed):
    cut = min(cut, count)
    whole = split_rows(first, count, THREE, seed=seed)
    parts = [split_rows(first, cut, THREE, seed=seed), split_rows(first + cut, count - cut, THREE, seed=seed)]
    assert np.concatenate(parts).tolist() == whole.tolist()


def test_shares_come_out_and_seeds_differ():
    """Binomial: 4 standard deviations around the share."""
    rows = 200_000
    first = split_rows(0, rows, THREE, seed=1)
    for place, share in enumerate(THREE.values()):
        assert abs(np.mean(first == place) - share) < 4 * (share * (1 - share) / rows) ** 0.5
    other = split_rows(0, rows, HALVES, seed=2) == split_rows(0, rows, HALVES, seed=3)
    assert abs(np.mean(other) - 0.5) < 4 * (0.25 / rows) ** 0.5


def test_keys_spread_evenly_even_if_they_are_consecutive():
    place = split_keys(np.arange(100_000), HALVES)
    assert abs(np.mean(place) - 0.5) < 0.007
    assert abs(np.corrcoef(place[:-1], place[1:])[0, 1]) < 0.015


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({}, "a split is a dict"),
        ([0.5, 0.5], "a split is a dict"),
        ({"a": 0.5, "b": 0.4}, "must sum to 1"),
        ({"a": 1.0, "b": 0.0}, "above 0"),
        ({"a": 1.5, "b": -0.5}, "above 0"),
        ({"a": float("nan"), "b": 1.0}, "above 0"),
        ({"../a": 1.0}, "letters"),
        ({"": 1.0}, "letters"),
        ({f"p{i}": 1 / 256 for i in range(256)}, "at most 255"),
    ],
)
def test_fractions_are_checked(fractions, message):
    with pytest.raises(ArgumentError, match=message):
        check_fractions(fractions)


def test_fractions_may_miss_one_by_rounding():
    check_fractions({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    check_fractions({"a": 0.5, "b": 0.5 + 5e-10})


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1"])
def test_seed_is_checked(seed):
    with pytest.raises(ArgumentError, match="a seed is an integer"):
        split_rows(0, 1, HALVES, seed=seed)
