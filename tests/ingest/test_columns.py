from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastload.errors import IngestError
from fastload.ingest.columns import (
    NO_VALUES,
    Column,
    FitError,
    cast_values,
    decode_categories,
    encode_categories,
    fit_column,
    merge_fields,
    pack_columns,
    take_rows,
)
from fastload.schema import Categorical, Field, Ragged


@pytest.mark.parametrize(
    ("values", "source", "target", "message", "index"),
    [
        ([1.0, 1.5], "float64", "int32", "whole numbers only; found 1.5", 1),
        ([1.0, np.nan], "float64", "int64", "cannot hold it; found nan", 1),
        ([1.0, np.inf], "float32", "int8", "cannot hold it; found inf", 1),
        ([1.0, 2.0**63], "float64", "int64", "cannot hold it", 1),
        ([1.0, -1.0], "float64", "uint8", "cannot hold it; found -1.0", 1),
        ([1, 300], "int64", "int8", "holds -128 to 127; found 300", 1),
        ([1, -1], "int64", "uint64", "found -1", 1),
        ([1, 2**63], "uint64", "int64", "found 9223372036854775808", 1),
        ([0, 2], "int64", "bool", "must be 0 or 1; found 2", 1),
        ([1.0, 1e300], "float64", "float32", "so large a number", 1),
        ([1.0, 70000.0], "float32", "float16", "so large a number", 1),
        ([1.0, 3.4e38], "float64", "bfloat16", "so large a number", 1),
    ],
)
def test_what_would_change_meaning_is_refused(values, source, target, message, index):
    with pytest.raises(FitError, match=message) as caught:
        cast_values(np.array(values, source), source, target)
    assert caught.value.index == index


def test_rounding_is_counted():
    assert cast_values(np.array([0.1, 0.5, np.nan]), "float64", "float32")[1] == 1
    assert cast_values(np.array([2**24, 2**24 + 1]), "int64", "float32")[1] == 1
    assert cast_values(np.array([2**53 + 1, 2**62]), "int64", "float64")[1] == 1
    assert cast_values(np.array([1, 2], "int8"), "int8", "float32")[1] == 0
    bits, rounded = cast_values(np.array([1.0, 1.01], "float32"), "float32", "bfloat16")
    assert (bits.tolist(), rounded) == ([0x3F80, 0x3F81], 1)


def test_values_under_a_mask_do_not_matter():
    values, _ = cast_values(np.array([1.0, np.nan]), "float64", "int32", np.array([False, True]))
    assert values.dtype == np.int32
    assert values[0] == 1


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_bfloat16_is_the_nearest(values):
    """Against the definition: no neighbouring pattern is closer."""
    values = np.array(values, "float32")
    values = values[np.abs(values) < 3.3e38]
    bits, _ = cast_values(values, "float32", "bfloat16")
    here = cast_values(bits, "bfloat16", "float32")[0].astype(float)
    for step in (-1, 1):
        there = cast_values((bits.astype(np.int32) + step).astype(np.uint16), "bfloat16", "float32")[0].astype(float)
        closer = np.abs(there - values) < np.abs(here - values)
        assert not np.any(closer & np.isfinite(there))


@given(st.lists(st.lists(st.integers(0, 255), max_size=5) | st.none(), min_size=1), st.data())
def test_taking_rows_of_a_ragged_column_is_taking_rows(rows, data):
    picks = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    taken = take_rows(Ragged.from_rows(rows, "int64"), np.array(picks, np.int64))
    runs = [taken.values[a:b].tolist() for a, b in zip(taken.offsets[:-1], taken.offsets[1:], strict=True)]
    assert runs == [rows[i] or [] for i in picks]
    if taken.valid is not None:
        assert taken.valid.tolist() == [rows[i] is not None for i in picks]


@given(st.lists(st.text(max_size=5) | st.none(), min_size=1))
def test_categories_decode_to_what_was_encoded(texts):
    decoded = decode_categories(encode_categories(texts))
    expected = Ragged.from_rows(texts, "string")
    assert decoded.offsets.tolist() == expected.offsets.tolist()
    assert decoded.values.tobytes() == expected.values.tobytes()


def test_packing_puts_nan_for_missing_and_keeps_order():
    columns = [
        ("a", Column(np.ma.MaskedArray(np.array([1, 2]), [False, True]), "int64", "int64")),
        ("b", Column(np.array([True, False]), "bool", "bool")),
        ("c", Column(np.ma.MaskedArray(np.zeros(2), True), "float64", NO_VALUES)),
        ("d", Column(np.array([2**24 + 1, 0]), "int64", "int64")),
    ]
    packed, rounded = pack_columns(columns, "float32")
    assert np.array_equal(packed, np.array([[1, 1, np.nan, 2**24], [np.nan, 0, np.nan, 0]], "float32"), equal_nan=True)
    assert rounded == 1


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        (Field("f", "int64"), Field("f", "float64"), Field("f", "float64")),
        (Field("f", "int8"), Field("f", "int32", nullable=True), Field("f", "int32", nullable=True)),
        (Field("f", "int32", categories=True), Field("f", "string"), Field("f", "string")),
        (
            Field("f", "string"),
            Field("f", "int32", categories=True, nullable=True),
            Field("f", "string", nullable=True),
        ),
        (Field("f", "float32", (3,)), Field("f", "float32", (4,)), Field("f", "float32", variable=True)),
        (Field("f", "int64", variable=True), Field("f", "int64", (2,)), Field("f", "int64", variable=True)),
    ],
)
def test_fields_merge_to_what_holds_both(old, new, merged):
    assert merge_fields(old, new) == merged


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Field("f", "int64"), Field("f", "string")),
        (Field("f", "bool"), Field("f", "int64")),
        (Field("f", "int32", categories=True), Field("f", "float64")),
        (Field("f", "string"), Field("f", "bytes")),
        (Field("f", "bfloat16"), Field("f", "float32")),
        (Field("f", "float32", (2, 2)), Field("f", "float32", (2, 3))),
        (Field("f", "float32"), Field("f", "float32", (2,))),
    ],
)
def test_fields_that_mean_different_things_do_not_merge(old, new):
    with pytest.raises(FitError, match="must keep one"):
        merge_fields(old, new)


def test_a_column_without_values_fits_every_field():
    empty = Column(np.ma.MaskedArray(np.zeros(2), True), "float64", NO_VALUES)
    for field in (
        Field("f", "int8", (2,), nullable=True),
        Field("f", "string", nullable=True),
        Field("f", "int32", nullable=True, categories=True),
        Field("f", "float32", variable=True, nullable=True),
    ):
        data, _ = fit_column(empty, field)
        assert Column(data, field.dtype, "int8").missing.tolist() == [True, True]


def test_text_and_numbers_become_each_other():
    words = Column(
        Categorical(np.array([0, 1, 0], np.int32), ["1", "2"], np.array([True, True, False])),
        "int32",
        "string",
    )
    numbers, _ = fit_column(words, Field("f", "int16", nullable=True))
    assert numbers.tolist() == [1, 2, None]
    texts, _ = fit_column(Column(np.array([1.5, 2.0]), "float64", "float64"), Field("f", "string"))
    assert texts.values.tobytes() == b"1.52.0"
    with pytest.raises(FitError, match="must be written as a number; found 'x'"):
        fit_column(Column(Ragged.from_rows(["1", "x"], "string"), "string", "str"), Field("f", "float32"))
    with pytest.raises(FitError, match="bytes must come from text"):
        fit_column(Column(np.array([1]), "int64", "int64"), Field("f", "bytes"))


def test_a_row_without_elements_has_no_fixed_shape():
    assert Column(np.zeros((2, 0)), "float64", "float64").natural_field("f") == Field("f", "float64", variable=True)
    with pytest.raises(IngestError, match="at least one element"):
        Column(np.zeros((2, 3, 0)), "float64", "float64").natural_field("f")
