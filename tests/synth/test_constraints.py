"""Relations between columns: what obeys, what does not, what real data must, and what can be saved."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload.errors import ArgumentError, DtypeError, NotFittedError, StateError, UnknownFieldError
from fastload.synth import columns as columns_module
from fastload.synth.constraints import (
    FixedCombinations,
    Inequality,
    Predicate,
    constraint_of_state,
    valid_rows,
)

CELLS = st.sampled_from([None, 0, 1, 2])


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=20), strict=st.booleans())
def test_inequalities_are_those_of_numbers(rows, strict):
    frame = pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.Float64}, orient="row")
    wanted = [a is None or b is None or (a < b if strict else a <= b) for a, b in rows]
    assert Inequality("a", "b", strict=strict).check(frame).tolist() == wanted


def test_inequalities_of_times_and_of_gaps():
    days = [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]
    assert Inequality("a", "b").check({"a": days, "b": days[::-1]}).tolist() == [True, False]
    assert Inequality("a", "b").check({"a": [np.nan, 2.0], "b": [1.0, np.nan]}).all()


@settings(max_examples=100, deadline=None)
@given(
    real=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20), rows=st.lists(st.tuples(CELLS, CELLS), max_size=20)
)
def test_combinations_are_those_seen(real, rows):
    schema = {"row": pl.Int64, "1": pl.Int64}
    constraint = FixedCombinations("row", "1").fit(pl.DataFrame(real, schema=schema, orient="row"))
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    wanted = [row in set(real) for row in rows]
    assert constraint.check(frame).tolist() == wanted
    again = constraint_of_state(json.loads(json.dumps(constraint.state())))
    assert again.check(frame).tolist() == wanted


def test_combinations_of_every_type_are_saved():
    frame = pl.DataFrame(
        {
            "text": ["a", "b", None],
            "when": [dt.datetime(2024, 1, day, 3) for day in (1, 2, 3)],
            "truth": [True, None, False],
            "x": [0.5, float("nan"), -1.0],
        }
    )
    constraint = FixedCombinations(*frame.columns).fit(frame)
    again = constraint_of_state(json.loads(json.dumps(constraint.state())))
    assert again.check(frame).all()
    assert again.check(frame.with_columns(x=pl.col("x").reverse())).tolist() == [False, True, False]


def test_predicates_may_give_series_or_arrays():
    table = {"a": np.arange(4), "b": np.arange(4)[::-1]}
    for function in (lambda f: f["a"] < f["b"], lambda f: f["a"].to_numpy() < f["b"].to_numpy()):
        assert Predicate(function).fit({"a": [1], "b": [2]}).check(table).tolist() == [True, True, False, False]
    for function in (lambda f: f["a"], lambda f: True, lambda f: f["a"].head(1) == 1, lambda f: pl.col("a") > 1):
        with pytest.raises(ArgumentError, match="must give a boolean for each of 4 rows"):
            Predicate(function).check(table)


def test_valid_rows_obey_all():
    frame = pl.DataFrame({"a": [1, 2, 3, 4], "b": [2, 1, 4, 5], "c": list("xyxy")})
    pairs = FixedCombinations("a", "c").fit(frame.head(3))
    assert valid_rows(frame, [Inequality("a", "b"), pairs]).tolist() == [True, False, True, False]
    assert valid_rows(frame.to_pandas(), []).all()


def test_real_data_must_obey():
    real = {"a": [1, 5, 6], "b": [2, 3, 4]}
    with pytest.raises(
        ArgumentError, match=r"Inequality\('a', 'b'\) .* in 2 of 3 rows, first in row 1, {'a': 5, 'b': 3}:"
    ):
        Inequality("a", "b").fit(real)
    with pytest.raises(ArgumentError, match=r"Predicate\(small\) must hold in the real data"):

        def small(frame):
            return frame["a"] < 2

        Predicate(small).fit(real)
    constraint = Inequality("b", "a", strict=True)
    assert constraint.fit({"a": [3], "b": [1]}) is constraint
    assert repr(constraint) == "Inequality('b', 'a', strict=True)"
    again = constraint_of_state(constraint.state())
    assert repr(again) == repr(constraint)


def test_real_data_may_be_files(tmp_path, monkeypatch):
    frame = pl.DataFrame({"a": np.arange(900), "b": np.arange(900) // 3, "c": np.arange(900) % 7})
    frame.write_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(columns_module, "BATCH_BYTES", 2048)
    assert FixedCombinations("b", "c").fit(tmp_path / "t.parquet").check(frame).all()
    assert Inequality("b", "a").fit(tmp_path / "t.parquet")
    with pytest.raises(ArgumentError, match=r"in 100 of 900 rows, first in row 800, {'a': 800"):
        Predicate(lambda f: f["a"] < 800).fit(tmp_path / "t.parquet")


def test_what_is_refused():
    with pytest.raises(DtypeError, match="hold String and Int64"):
        Inequality("a", "b").check({"a": ["x"], "b": [1]})
    with pytest.raises(DtypeError, match="hold String and String"):
        Inequality("a", "b").check({"a": ["x"], "b": ["y"]})
    with pytest.raises(DtypeError, match="'a' must hold Int64"):
        FixedCombinations("a", "b").fit({"a": [1], "b": [1]}).check({"a": ["x"], "b": [1]})
    for constraint in (Inequality("a", "c"), FixedCombinations("a", "c")):
        with pytest.raises(UnknownFieldError, match="'c'"):
            constraint.fit({"a": [1], "b": [1]})
    for names in ((), ("a",), ("a", "a")):
        with pytest.raises(ArgumentError, match="two columns or more"):
            FixedCombinations(*names)
    with pytest.raises(NotFittedError, match="call fit"):
        FixedCombinations("a", "b").check({"a": [1], "b": [1]})
    with pytest.raises(StateError, match="declare it again"):
        Predicate(len).state()
