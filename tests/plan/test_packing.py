"""Rows are nearly full, and every token of every document comes once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lengths import long_tailed

from fastload.errors import ArgumentError
from fastload.plan.packing import SequencePacking

LENGTHS = st.lists(st.integers(0, 50), max_size=120)


def pack_all(packing: SequencePacking, seed: int, epoch: int) -> list[np.ndarray]:
    return packing.documents(seed, epoch, np.arange(packing.num_rows(seed, epoch)))


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 60), st.integers(1, 150), st.booleans(), st.integers(0, 2**64 - 1))
def test_every_token_of_every_document_comes_once(lengths, row_tokens, pool_documents, shuffle, seed):
    packing = SequencePacking(lengths, row_tokens, pool_documents, shuffle=shuffle)
    documents, starts, counts, bins = pack_all(packing, seed, 1)
    seen = [np.zeros(length, int) for length in lengths]
    for document, start, count in zip(documents.tolist(), starts.tolist(), counts.tolist()):
        assert 0 < count <= lengths[document] - start
        seen[document][start : start + count] += 1
    assert all((tokens == 1).all() for tokens in seen)

    num_rows = packing.num_rows(seed, 1)
    filled = np.bincount(bins, counts, minlength=num_rows)
    assert len(filled) == num_rows
    assert not num_rows or 0 < filled.min() <= filled.max() <= row_tokens
    expected = 1 - sum(lengths) / (num_rows * row_tokens) if num_rows else 0
    assert packing.waste(seed, 1) == pytest.approx(expected)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 60), st.integers(0, 2**64 - 1))
def test_only_what_is_longer_than_a_row_is_cut(lengths, row_tokens, seed):
    packing = SequencePacking(lengths, row_tokens)
    documents, starts, counts, _ = pack_all(packing, seed, 0)
    for document, length in enumerate(lengths):
        mine = documents == document
        assert sorted(starts[mine].tolist()) == list(range(0, length, row_tokens))
        assert all(counts[mine & (starts + row_tokens <= length)] == row_tokens)
    assert packing.empty_documents == lengths.count(0)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 60), st.integers(1, 40))
def test_in_a_row_pieces_keep_the_base_order(lengths, row_tokens, pool_documents):
    """The file's, without shuffling; and rows come in the order of their first pieces."""
    packing = SequencePacking(lengths, row_tokens, pool_documents, shuffle=False)
    documents, starts, counts, bins = pack_all(packing, 0, 0)
    places = documents * 100 + starts
    assert np.all(np.diff(places)[np.diff(bins) == 0] > 0)
    first_pieces = np.flatnonzero(np.diff(bins, prepend=-1))
    assert np.all(np.diff(places[first_pieces]) > 0)
    other_epoch = pack_all(packing, 5, 7)
    assert all(map(np.array_equal, other_epoch, (documents, starts, counts, bins)))


def test_long_tails_of_tokens_leave_few_places_empty():
    lengths = long_tailed(50_000)
    assert SequencePacking(lengths, 4096).waste(0, 0) < 0.01
    assert SequencePacking(lengths, 4096, pool_documents=1000).waste(0, 0) < 0.03
    assert SequencePacking(lengths, 500).waste(0, 0) < 0.01


def test_rows_come_in_an_order_that_knows_no_length():
    """Best fit decreasing makes the rows of the longest documents first: tenths of an epoch have equal shares of them."""
    lengths = long_tailed(50_000)
    _, _, counts, bins = pack_all(SequencePacking(lengths, 512), 1, 0)
    long = counts > 256
    tenths = np.bincount(bins[long] * 10 // (bins[-1] + 1), minlength=10)
    assert np.abs(tenths / tenths.mean() - 1).max() < 0.15


def test_documents_longer_than_a_row_are_refused_if_asked():
    with pytest.raises(ArgumentError, match=r"a row holds 8 tokens; document 1 has 9, and 2 are too long .*'split'"):
        SequencePacking([8, 9, 30], 8, long="error")
    assert SequencePacking([8, 3], 8, long="error").num_rows(0, 0) == 2


@pytest.mark.parametrize("lengths", [[], [0, 0, 0]])
def test_nothing_to_pack(lengths):
    packing = SequencePacking(lengths, 8, pool_documents=2)
    assert packing.num_rows(0, 0) == 0
    assert packing.waste(0, 0) == 0.0
    assert packing.empty_documents == len(lengths)
    assert [column.tolist() for column in pack_all(packing, 0, 0)] == [[], [], [], []]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"row_tokens": 0}, "row_tokens must be a positive integer, got 0"),
        ({"row_tokens": 2**24 + 1}, "row_tokens must be at most 16777216, got 16777217"),
        ({"row_tokens": 8, "pool_documents": 0}, "pool_documents must be a positive integer"),
        ({"row_tokens": 8, "long": "cut"}, "long must be 'split' or 'error', got 'cut'"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        SequencePacking([1, 2], **arguments)


def test_a_pool_of_more_pieces_than_can_be_counted_is_refused():
    with pytest.raises(ArgumentError, match="document 0, which has 1099511627776 tokens"):
        SequencePacking([2**40], row_tokens=1).num_rows(0, 0)
