"""Columns: what a table becomes as codes, what comes back, and which codes a condition leaves."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastload as fl
from fastload.errors import (
    ArgumentError,
    ConditionError,
    DtypeError,
    EmptyError,
    NotFiniteError,
    StateError,
    UnknownCategoryError,
    UnknownFieldError,
)
from fastload.synth import columns as columns_module
from fastload.synth import numbers as numbers_module
from fastload.synth import tally as tally_module
from fastload.synth.column_kinds import as_numbers
from fastload.synth.columns import Columns
from fastload.synth.numbers import bin_begins
from fastload.synth.tally import Tally

INTEGERS = {pl.Int8: (-128, 127), pl.UInt16: (0, 65535), pl.Int64: (-(2**63), 2**63 - 1), pl.UInt64: (0, 2**64 - 1)}
VALUES = {
    pl.String: st.text(max_size=2),
    pl.Boolean: st.booleans(),
    pl.Float64: st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-30, 30).map(lambda n: n / 10)
    | st.sampled_from([0.0, -0.0, 7.25]),
    pl.Float32: st.floats(-(2.0**120), 2.0**120, width=32)
    | st.integers(-30, 30).map(lambda n: float(np.float32(n / 100))),
    pl.Date: st.dates(),
    pl.Datetime("us", "Europe/Oslo"): st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1)).map(
        lambda when: when.replace(tzinfo=dt.timezone.utc)
    ),
    pl.Datetime("ms"): st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1)),
    pl.Duration("us"): st.timedeltas(dt.timedelta(-9), dt.timedelta(9)),
    pl.Time: st.times(),
    pl.Decimal(12, 2): st.decimals(-1000, 1000, places=2),
} | {dtype: st.integers(*bounds) | st.integers(0, 9) for dtype, bounds in INTEGERS.items()}


@st.composite
def tables(draw, with_gaps=True) -> pl.DataFrame:
    rows = draw(st.integers(1, 40))
    table = {}
    for i, dtype in enumerate(draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))):
        values = VALUES[dtype] | st.none() if with_gaps else VALUES[dtype]
        cells = draw(st.lists(values, min_size=rows, max_size=rows))
        kind = {"Datetime": pl.Datetime("us", getattr(dtype, "time_zone", None))}.get(str(dtype.base_type()), dtype)
        table[f"c{i}"] = pl.Series(cells, dtype=kind).cast(dtype)
    return pl.DataFrame(table)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def through_json(state: dict) -> dict:
    """Arrays stay, all else goes through JSON."""
    return {
        name: {
            key: value if isinstance(value, np.ndarray) else json.loads(json.dumps(value))
            for key, value in of_kind.items()
        }
        for name, of_kind in state.items()
    }


# --- there and back ------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    table=tables(),
    bins=st.integers(1, 8),
    max_categories=st.integers(1, 8),
    levels=st.sampled_from([0, 4096]),
    discrete=st.booleans(),
    seed=st.integers(0, 9),
)
def test_what_comes_back_has_the_same_codes(table, bins, max_categories, levels, discrete, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbers_module, "MAX_LEVELS", levels)  # numbers come from pieces of bins, too
        columns = Columns.fit(
            table, bins=bins, max_categories=max_categories, missing="keep", discrete=table.columns[:1] * discrete
        )
    codes = columns.encode(table)
    assert (codes.dtype, codes.shape) == (np.int32, (len(table), len(columns.names)))
    assert (codes >= 0).all()
    assert (codes < columns.sizes).all()

    back = columns.decode(codes, random(seed))
    assert back.schema == table.schema
    assert (columns.encode(back) == codes).all()
    for name in table.columns:
        assert back[name].is_null().equals(table[name].is_null())
        if table.schema[name] in (pl.String, pl.Boolean):
            assert back[name].equals(table[name])
        elif table[name].null_count() < len(table):
            assert back[name].min() >= table[name].min()
            assert back[name].max() <= table[name].max()

    again = Columns.from_state(through_json(columns.state()))
    assert again.fingerprint == columns.fingerprint
    assert (again.names, again.sizes, again.groups) == (columns.names, columns.sizes, columns.groups)
    assert (again.encode(table) == codes).all()
    assert again.decode(codes, random(seed)).equals(back)


@settings(max_examples=100, deadline=None)
@given(table=tables(with_gaps=False))
def test_few_distinct_values_come_back_exactly(table):
    columns = Columns.fit(table, bins=40, discrete=table.columns[:1])
    assert columns.decode(columns.encode(table), random()).equals(table)


def test_numbers_come_back_as_often_as_seen():
    x = np.round(random().gamma(2, 10, 20_000), 0)
    columns = Columns.fit({"x": x})
    back = columns.decode(columns.encode({"x": x}), random(1))["x"].to_numpy()
    values, seen = np.unique(x, return_counts=True)
    assert np.isin(back, values).all()
    came = np.array([(back == value).sum() for value in values])
    assert (((came - seen) ** 2 / seen)[seen > 20] < 20).all()


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32, pl.Int32, pl.Datetime("us"), pl.Decimal(10, 1)])
def test_many_distinct_values_keep_their_step_and_their_distribution(dtype):
    steps = random().normal(0, 3000, 60_000).astype(int)
    steps[:20_000] = 777
    x = pl.Series("x", steps * 15)
    x = x * 1_000_000 if dtype == pl.Datetime else x if dtype == pl.Int32 else x.cast(pl.Float64) / 10
    table = x.cast(dtype).to_frame()
    assert table["x"].n_unique() > numbers_module.MAX_LEVELS
    columns = Columns.fit(table)
    codes = columns.encode(table)
    back = columns.decode(codes, random())
    assert (columns.encode(back) == codes).all()
    assert (back["x"] == table["x"][0]).sum() == (steps == 777).sum()  # it has a bin of its own
    came, seen = as_numbers(back["x"]), as_numbers(table["x"])
    if came.dtype == np.int64:
        assert (came % np.gcd.reduce(seen) == 0).all()
    elif dtype != pl.Float32:
        assert (np.round(came, 1) == came).all()
    levels = (0.1, 0.3, 0.9)
    np.testing.assert_allclose(np.quantile(came, levels), np.quantile(seen, levels), rtol=0.03)


def test_a_number_that_fills_a_bin_has_one_of_its_own():
    x = np.concatenate([np.zeros(900), np.linspace(0.001, 1, 100)])
    columns = Columns.fit({"x": x}, bins=10)
    codes = columns.encode({"x": x})
    assert columns.sizes == [2]
    assert set(codes[:900, 0]) == {0}
    assert set(codes[900:, 0]) == {1}


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=60), bins=st.integers(1, 10))
def test_bins_hold_about_as_many_rows(counts, bins):
    counts = np.array(counts)
    begins = bin_begins(counts, bins)
    assert begins[0] == 0
    assert begins[-1] == len(counts)
    assert (np.diff(begins) > 0).all()
    if len(counts) <= bins:
        return
    share = counts.sum() / bins
    sizes = np.add.reduceat(counts, begins[:-1])
    assert (sizes[np.diff(begins) > 1] < 2.5 * share).all()
    fills = np.flatnonzero(counts >= share)
    assert np.isin(fills, begins).all()
    assert np.isin(fills + 1, begins).all()


def test_tables_of_every_kind_give_the_same_codes():
    table = pl.DataFrame({"town": ["Oslo", "Bergen", "Oslo", None], "x": [0.5, None, 2.5, 4.0], "n": [3, 1, 2, 2]})
    columns = Columns.fit(table, missing="keep")
    codes = columns.encode(table)
    arrays = {
        "town": np.array(["Oslo", "Bergen", "Oslo", None], object),
        "x": np.array([0.5, np.nan, 2.5, 4.0]),
        "n": [3, 1, 2, 2],
    }
    for other in (table.to_pandas(), table.to_arrow(), arrays, table.with_columns(pl.col("town").cast(pl.Categorical))):
        assert (columns.encode(other) == codes).all()
        assert Columns.fit(other, missing="keep").fingerprint == columns.fingerprint
    assert (columns.encode(table.select("n", "x", "town")) == codes).all()
    assert (columns.encode(table.with_columns(more=1)) == codes).all()


def test_constant_and_empty_columns_stay():
    table = pl.DataFrame({"one": [5.0] * 9, "same": ["a"] * 9, "gone": [None] * 9, "nan": [float("nan")] * 9})
    columns = Columns.fit(table, missing="keep")
    assert columns.sizes == [1, 1, 1, 1]
    back = columns.decode(columns.encode(table), random())
    assert back.schema == table.schema
    assert back.equals(table.with_columns(nan=pl.lit(None, pl.Float64)))


def test_which_integers_are_categories():
    def sizes(values, **options):
        return Columns.fit({"n": np.asarray(values)}, **options).sizes

    few = np.arange(2000) % 20
    assert sizes(few) == [20]
    with pytest.raises(UnknownCategoryError, match=r"'n' .* 20 in row 1"):
        Columns.fit({"n": few}).encode({"n": np.array([3, 20])})
    numbers = Columns.fit({"n": np.arange(20)})  # each but once: numbers
    assert numbers.encode({"n": np.array([-5, 7, 99])})[:, 0].tolist() == [0, 7, 19]
    assert Columns.fit({"n": np.array([0, 1, 1])}).code_of("n", 1) == 0
    assert sizes(np.arange(600) % 300, discrete="n", max_categories=300) == [300]


# --- categories of many values -------------------------------------------------------------------


def many(rows: int = 5000) -> pl.DataFrame:
    return pl.DataFrame({"word": [f"w{int(n)}" for n in random().zipf(1.5, rows) % 1000], "x": random(1).random(rows)})


def test_many_categories_have_two_codes():
    table = many()
    distinct = table["word"].n_unique()
    columns = Columns.fit(table, max_categories=100)
    side = int(np.ceil(np.sqrt(distinct)))
    assert columns.names == ["word:high", "word:low", "x"]
    assert columns.groups == {"word": range(2), "x": range(2, 3)}
    assert columns.sizes[1] == side
    assert columns.sizes[0] <= side
    codes = columns.encode(table)
    assert columns.decode(codes, random())["word"].equals(table["word"])
    most = table["word"].mode()[0]
    assert columns.code_of("word", most) == (0, 0)


def test_pairs_that_are_no_category_become_one():
    table = many()
    columns = Columns.fit(table, max_categories=100)
    high, low = columns.sizes[:2]
    codes = np.array([(h, k, 0) for h in range(high) for k in range(low)])
    back = columns.decode(codes, random())["word"]
    assert set(back) == set(table["word"])
    again = columns.encode(pl.DataFrame({"word": back, "x": np.zeros(len(back))}))
    assert (again[:, 0] == codes[:, 0]).all()


def test_codes_grow_with_the_root_of_categories():
    names = [f"name {n}" for n in range(40_000)]
    columns = Columns.fit({"name": names})
    assert max(columns.sizes) == 200


# --- conditions ----------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    table=tables(with_gaps=False),
    bins=st.integers(1, 6),
    levels=st.sampled_from([0, 4096]),
    pick=st.tuples(*2 * [st.integers(0, 39)]),
)
def test_what_meets_a_condition_is_decoded_to_values_that_do(table, bins, levels, pick):
    name, column = table.columns[0], table[table.columns[0]]
    one, other = (column[at % len(column)] for at in pick)
    condition = [one, other] if column.dtype in (pl.String, pl.Boolean) else (min(one, other), max(one, other))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbers_module, "MAX_LEVELS", levels)
        columns = Columns.fit(table, bins=bins)
    meets = column.is_in([one, other]) if isinstance(condition, list) else column.is_between(*condition)

    (weights,) = columns.weights({name: condition}).values()
    codes = columns.encode(table)
    assert (weights[codes[meets.to_numpy(), 0]] > 0).all()
    assert ((weights >= 0) & (weights <= 1)).all()
    if levels:
        shares = np.bincount(codes[:, 0], meets.to_numpy(), columns.sizes[0]) / np.bincount(
            codes[:, 0], minlength=columns.sizes[0]
        )
        np.testing.assert_allclose(weights, shares)

    allowed = columns.codes_matching(name, condition)
    assert allowed.tolist() == np.flatnonzero(weights).tolist()
    codes = codes[np.resize(np.arange(len(codes)), 100)]
    codes[:, 0] = np.resize(allowed, 100)
    back = columns.decode(codes, random(), where={name: condition})[name]
    assert back.dtype == column.dtype
    assert (back.is_in([one, other]) if isinstance(condition, list) else back.is_between(*condition)).all()
    again = pl.DataFrame([back, *(table[other].head(1).new_from_index(0, 100) for other in table.columns[1:])])
    assert (columns.encode(again)[:, 0] == codes[:, 0]).all()


def test_conditions_of_every_form():
    when = [dt.date(2024, 1, 1) + dt.timedelta(n) for n in range(100)]
    x = np.append(np.arange(99) / 4, np.nan)
    table = pl.DataFrame(
        {"x": x, "when": when, "late": np.arange(100) % 2, "town": ["Oslo", "Bergen"] * 50}
    ).with_columns(pl.col("x").cast(pl.Float32).fill_nan(None))
    columns = Columns.fit(table, bins=4, missing="keep")
    codes = columns.encode(table)

    def found(**where):
        (name,) = where
        at = columns.groups[name][0]
        kept = codes[columns.weights(where)[at][codes[:, at]] > 0]
        return set(columns.decode(kept, random(), where)[name])

    assert found(x=(3, 3.3)) == {3, 3.25}
    assert found(x=(None, 0.25)) == {0, 0.25}
    assert found(x=(24.3, None)) == {24.5}
    assert found(x=[1, 2, None]) == {1, 2, None}
    assert found(x=None) == {None}
    assert found(x=np.float32(0.25)) == {0.25}
    assert found(when=(dt.date(2024, 1, 9), dt.datetime(2024, 1, 10, 5))) == set(when[8:10])
    assert found(when=when[3]) == {when[3]}
    assert found(late=1) == found(late=True) == found(late=1.0) == found(late=(1, None)) == {1}
    assert found(town="Oslo") == found(town=["Oslo", "Rome"]) == {"Oslo"}


def test_conditions_on_two_codes_look_up_the_second_by_the_first():
    table = many()
    columns = Columns.fit(table, max_categories=100)
    wanted = table["word"].unique().sort().to_list()[::50]
    pairs = columns.codes_matching("word", wanted)
    weights = columns.weights({"word": wanted})
    assert set(weights) == {0, 1}
    assert {tuple(pair) for pair in pairs} == {columns.code_of("word", word) for word in wanted}
    assert set(np.flatnonzero(weights[0])) == set(pairs[:, 0])
    assert weights[1].shape == tuple(columns.sizes[:2])
    assert (weights[1][pairs[:, 0], pairs[:, 1]] == 1).all()
    assert weights[1].sum() == len(pairs)
    codes = np.column_stack([pairs, np.zeros(len(pairs), int)])
    assert set(columns.decode(codes, random(), where={"word": wanted})["word"]) == set(wanted)
    high = pd.Series(columns.encode(table)[:, 0])
    np.testing.assert_allclose(weights[0], table["word"].is_in(wanted).to_pandas().groupby(high).mean())


def test_conditions_that_nothing_meets():
    columns = Columns.fit({"x": np.arange(0, 100, 5), "town": ["Oslo", "Bergen"] * 10, "y": random().random(20)})
    for where, said in (
        ({"x": (101, None)}, "x = .101, None.: .* held 0 to 95"),
        ({"x": (51, 54)}, "held 0 to 95"),
        ({"x": 50.5}, "no row can meet"),
        ({"x": (9, 2)}, "no row can meet"),
        ({"x": None}, "no row can meet"),
        ({"town": "Rome"}, r"held 'Bergen', 'Oslo' \(2 values\)"),
        ({"town": 3}, "no row can meet"),
        ({"town": []}, "no row can meet"),
    ):
        with pytest.raises(ConditionError, match=said):
            columns.weights(where)
        with pytest.raises(ConditionError):
            columns.decode(columns.encode({"x": [5], "town": ["Oslo"], "y": [0.5]}), random(), where)
    for where in ({"town": ("Bergen", "Oslo")}, {"x": "much"}, {"x": (1, 2, 3)}, {"x": float("nan")}, {"x": (1, "b")}):
        with pytest.raises(ArgumentError):
            columns.weights(where)
    with pytest.raises(UnknownFieldError, match="'z'"):
        columns.code_of("z", 1)


# --- files ---------------------------------------------------------------------------------------


def test_files_are_read_in_batches(tmp_path, monkeypatch):
    table = many(3000).with_columns(n=pl.Series(np.arange(3000)), b=pl.Series(np.arange(3000) % 3 == 0))
    table.write_parquet(tmp_path / "t.parquet")
    fl.convert(tmp_path / "t.parquet", tmp_path / "t.fl", progress=False)
    columns = Columns.fit(table, max_categories=50)
    codes = columns.encode(table)
    monkeypatch.setattr(columns_module, "BATCH_BYTES", 4096)
    for source in (tmp_path / "t.parquet", str(tmp_path / "t.fl"), fl.open(tmp_path / "t.fl")):
        assert len(list(columns_module.frames_of(source))) > 5
        assert Columns.fit(source, max_categories=50).fingerprint == columns.fingerprint
        assert (columns.encode(source) == codes).all()
    with pytest.raises(UnknownCategoryError, match=f"in row {int((table['word'] == 'w1').arg_max())} was not"):
        Columns.fit(table.filter(pl.col("word") != "w1")).encode(tmp_path / "t.parquet")


def test_text_files_have_no_types(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ArgumentError, match="convert it first"):
        Columns.fit(tmp_path / "t.csv")


def test_tallies_of_too_many_numbers_are_thinned(monkeypatch):
    monkeypatch.setattr(tally_module, "MAX_DISTINCT", 1000)
    x = random().normal(size=20_000)
    thin = sum((Tally.of(pl.Series(part)) for part in np.split(x, 20)[1:]), Tally.of(pl.Series(x[:1000])))
    assert len(thin.values) <= 1000
    assert thin.num_rows == 20_000
    assert not thin.is_exact
    assert (thin.values[0], thin.values[-1]) == (x.min(), x.max())
    ranks = np.cumsum(thin.counts) / 20_000
    assert np.abs(ranks - np.searchsorted(np.sort(x), thin.values.to_numpy(), side="right") / 20_000).max() < 0.02
    with pytest.raises(ArgumentError, match="'x' holds more than"):
        Columns.fit({"x": x}, discrete=["x"])


# --- what is refused -----------------------------------------------------------------------------


def test_gaps_need_a_policy():
    table = {"a": [1.0, 2.0, 3.0], "b": ["x", None, None]}
    with pytest.raises(ArgumentError, match=r"'b' must have no gaps, it has 2 in 3 rows: .* missing='keep'"):
        Columns.fit(table)
    with pytest.raises(ArgumentError, match="'a' must have no gaps"):
        Columns.fit({"a": [1.0, np.nan]})
    columns = Columns.fit({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "y"]}, missing="keep")
    with pytest.raises(UnknownCategoryError, match=r"'b' .* None in row 1"):
        columns.encode(table)
    with pytest.raises(UnknownCategoryError, match="'a' missed nothing in training; it does in row 1"):
        columns.encode({"a": [1.0, np.nan], "b": ["x", "x"]})


def test_wrong_tables():
    with pytest.raises(EmptyError):
        Columns.fit(pl.DataFrame({"a": []}))
    with pytest.raises(EmptyError):
        Columns.fit(pl.DataFrame())
    with pytest.raises(NotFiniteError, match="'a' must hold finite numbers, it holds inf"):
        Columns.fit({"a": [1.0, np.inf]})
    with pytest.raises(DtypeError, match="'a' holds List"):
        Columns.fit(pl.DataFrame({"a": [[1], [2]]}))
    with pytest.raises(UnknownFieldError, match="'b'"):
        Columns.fit({"a": [1]}, discrete=["b"])
    with pytest.raises(ArgumentError, match="rename"):
        Columns.fit({"a": list("abcd"), "a:low": [1, 2, 3, 4]}, max_categories=2)
    for wrong in ({"bins": 0}, {"bins": 2.5}, {"max_categories": 0}, {"missing": "drop"}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Columns.fit({"a": [1]}, **wrong)

    columns = Columns.fit({"a": np.arange(100.0), "b": list("xy") * 50})
    with pytest.raises(UnknownFieldError, match="'b'"):
        columns.encode({"a": [1.0]})
    with pytest.raises(DtypeError, match="'a' must hold Float64"):
        columns.encode({"a": ["1"], "b": ["x"]})
    with pytest.raises(DtypeError, match="'a' must hold Float64"):
        columns.encode(pl.DataFrame({"a": [dt.date(2024, 1, 1)], "b": ["x"]}))
    with pytest.raises(NotFiniteError, match="'a'"):
        columns.encode({"a": [np.inf], "b": ["x"]})


def test_wrong_codes():
    columns = Columns.fit({"a": np.arange(100.0), "b": list("xy") * 50})
    for wrong in ([[0, 2]], [[-1, 0]], [[0, 0, 0]], [[0.0, 0.0]], [0, 0]):
        with pytest.raises(ArgumentError, match="codes must be"):
            columns.decode(np.array(wrong), random())
    assert columns.decode(np.empty((0, 2), np.int64), random()).shape == (0, 2)
    with pytest.raises(ArgumentError, match="meet"):
        columns.decode(np.array([[0, 0]]), random(), where={"a": (90, None)})


def test_fingerprints_tell_columns_apart():
    table = {"a": np.arange(100.0), "b": list("xy") * 50}
    prints = [
        Columns.fit(table).fingerprint,
        Columns.fit(table, bins=23).fingerprint,
        Columns.fit({"c" if name == "a" else name: values for name, values in table.items()}).fingerprint,
        Columns.fit(table | {"a": np.arange(100.0) + 1}).fingerprint,
        Columns.fit(table | {"b": list("xz") * 50}).fingerprint,
        Columns.fit(table | {"a": np.arange(100)}).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert Columns.fit(table).fingerprint == prints[0]


def test_states_of_something_else():
    state = Columns.fit({"a": [1.5, 2.5]}).state()
    for wrong in (
        {"a": state["a"] | {"kind": "images"}},
        {"a": state["a"] | {"dtype": {"name": "read_csv"}}},
        {"a": {"kind": "numbers"}},
        {"a": 1},
        [1],
    ):
        with pytest.raises(StateError):
            Columns.from_state(wrong)


def test_pandas_frames_of_categories():
    frame = pd.DataFrame({"a": pd.Categorical(["x", "y", "x"], categories=["x", "y", "never"]), "n": [1.5, 2.5, 3.5]})
    columns = Columns.fit(frame)
    assert columns.sizes == [2, 3]
    assert columns.decode(columns.encode(frame), random())["a"].to_list() == ["x", "y", "x"]
