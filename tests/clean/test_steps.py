"""What each step does, against plain pandas; every kind of table; bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastload.clean as clean
from fastload.clean.step import _KINDS
from fastload.errors import (
    ArgumentError,
    DtypeError,
    EmptyError,
    NotFittedError,
    ShapeError,
    UnknownFieldError,
)

CELLS = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32), st.just(float("nan")))
COLUMNS = st.integers(1, 40).flatmap(
    lambda rows: st.fixed_dictionaries(
        {
            "a": st.lists(CELLS, min_size=rows, max_size=rows),
            "b": st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.5]), min_size=rows, max_size=rows),
            "t": st.lists(st.sampled_from(["x", "y", None]), min_size=rows, max_size=rows),
        }
    )
)
quick = settings(max_examples=60, deadline=None)


@pytest.fixture
def table():
    """A small table of numbers, text and truth values, without defects."""
    random = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "a": random.normal(10, 2, 200),
            "n": random.integers(0, 50, 200),
            "word": random.choice(["x", "y", "z"], 200),
            "yes": random.random(200) < 0.5,
        }
    )


def frames(columns):
    """The same table in polars and in pandas (where None and NaN are one)."""
    frame = pl.DataFrame(columns, schema={"a": pl.Float64, "b": pl.Float64, "t": pl.String})
    other = pd.DataFrame({"a": pd.array(columns["a"], dtype="float64"), "b": columns["b"]})
    other["t"] = pd.Series(columns["t"], dtype=object)
    return frame, other


def assert_same(frame: pl.DataFrame, other: pd.DataFrame) -> None:
    assert frame.columns == list(other.columns)
    for name in frame.columns:
        mine = [None if v is None or v != v else v for v in frame[name].to_list()]
        theirs = [None if pd.isna(v) else v for v in other[name].tolist()]
        assert len(mine) == len(theirs)
        if frame.schema[name].is_numeric():
            np.testing.assert_allclose(
                np.array(mine, float), np.array(theirs, float), rtol=1e-9, atol=1e-9
            )  # None is NaN here
        else:
            assert mine == theirs


# --- against pandas ------------------------------------------------------------------------------


@quick
@given(COLUMNS)
def test_drop_missing_is_dropna(columns):
    frame, other = frames(columns)
    expected = other.dropna()
    if expected.empty:
        with pytest.raises(EmptyError):
            clean.DropMissing().transform(frame)
    else:
        assert_same(clean.DropMissing().transform(frame), expected)
    subset = other.dropna(subset=["t"])
    if len(subset):
        assert_same(clean.DropMissing(columns=["t"]).transform(frame), subset)


@quick
@given(COLUMNS, st.sampled_from(["first", "last", "none"]))
def test_drop_duplicates_is_pandas(columns, keep):
    frame, other = frames(columns)
    expected = other.drop_duplicates(keep=False if keep == "none" else keep)
    step = clean.DropDuplicates(keep=keep)
    report = step.dry_run(frame)
    assert (report.rows_in, report.rows_out) == (len(other), len(expected))
    if len(expected):
        found = step.transform(frame)
        assert_same(found, expected)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")  # pandas, of a column without values
@quick
@given(COLUMNS, st.sampled_from(["median", "mean", "most_frequent"]))
def test_fill_missing_is_fillna(columns, strategy):
    frame, other = frames(columns)
    found = clean.FillMissing(strategy, columns=["a", "b"]).fit_transform(frame)
    values = {
        name: {"median": other[name].median, "mean": other[name].mean}.get(strategy, lambda n=name: _mode(other[n]))()
        for name in ("a", "b")
    }
    assert_same(found, other.fillna({name: value for name, value in values.items() if not pd.isna(value)}))


def _mode(column: pd.Series) -> float:
    modes = column.mode()
    return modes.min() if len(modes) else np.nan


@pytest.mark.filterwarnings("ignore:Mean of empty slice")  # pandas, of a column without values
@quick
@given(COLUMNS, st.sampled_from(["drop", "clip", "missing"]), st.sampled_from(["iqr", "z-score", "mad"]))
def test_outliers_are_those_of_pandas(columns, action, method):
    frame, other = frames(columns)
    step = clean.Outliers(method, action=action, columns=["a"]).fit(frame)
    a = other["a"]
    low, mid, high = a.quantile(0.25), a.median(), a.quantile(0.75)
    center = {"iqr": (low, high), "z-score": (a.mean(), a.mean()), "mad": (mid, mid)}[method]
    spread = {"iqr": high - low, "z-score": a.std(ddof=0), "mad": 1.4826 * (a - mid).abs().median()}[method]
    threshold = {"iqr": 1.5, "z-score": 3.0, "mad": 3.5}[method]
    if "a" not in step.low_:
        assert not spread > 1e-9
        return
    bounds = center[0] - threshold * spread, center[1] + threshold * spread
    np.testing.assert_allclose((step.low_["a"], step.high_["a"]), bounds, rtol=1e-6, atol=1e-3)
    out = (a < step.low_["a"]) | (a > step.high_["a"])
    if action == "drop":
        assert_same(step.transform(frame), other[~out])
        assert step.report_.rows_dropped == out.sum()
    else:
        other["a"] = a.clip(step.low_["a"], step.high_["a"]) if action == "clip" else a.mask(out)
        assert_same(step.transform(frame), other)
        assert step.report_.cells.get("a", 0) == out.sum()


@quick
@given(COLUMNS, st.integers(0, 3))
def test_near_duplicates_are_duplicates_of_the_rounded(columns, decimals):
    frame, other = frames(columns)
    for name in ("a", "b"):
        other[name] = np.rint(other[name] * 10.0**decimals) / 10.0**decimals + 0.0
    found = clean.DropDuplicates(decimals=decimals).dry_run(frame)
    assert found.rows_dropped == other.duplicated().sum()


@quick
@given(COLUMNS)
def test_codes_are_places_among_the_sorted_texts(columns):
    frame, other = frames(columns)
    codes = other["t"].astype("category").cat.codes
    found = clean.OrdinalCodes().fit_transform(frame)["t"].fill_null(-1)
    assert found.to_list() == codes.tolist()


@quick
@given(COLUMNS)
def test_standardize_is_the_z_score(columns):
    frame, other = frames(columns)
    found = clean.Standardize(columns=["a"]).fit_transform(frame)
    spread = other["a"].std(ddof=0)
    if spread > 1e-6:
        np.testing.assert_allclose(found["a"].to_numpy(), (other["a"] - other["a"].mean()) / spread, atol=1e-6)


@quick
@given(COLUMNS)
def test_constant_and_duplicate_columns(columns):
    frame, other = frames(columns)
    frame = frame.with_columns(again=pl.col("a"))
    constant = clean.DropConstant().fit(frame).columns_
    assert constant == [n for n in frame.columns if other[n.replace("again", "a")].nunique(dropna=False) == 1]
    assert clean.DropDuplicateColumns().fit(frame).columns_[-1:] == ["again"]


# --- every kind of table -------------------------------------------------------------------------


def test_pandas_keeps_index_and_dtypes(table):
    frame = table.to_pandas().assign(day=pd.Timestamp("2024-01-01"), kind=pd.Categorical(["u", "v"] * 100))
    frame.index = pd.Index(np.arange(200) * 10, name="id")
    frame.loc[30, "a"] = np.nan
    found = clean.DropMissing().transform(frame)
    pd.testing.assert_frame_equal(found, frame.drop(index=30), check_column_type=False)


def test_categories_stay_categories_unless_new_ones_come(table):
    enum = table.with_columns(pl.col("word").cast(pl.Enum(["x", "y", "z"])), other=pl.col("word").cast(pl.Categorical))
    assert clean.DropMissing().transform(enum).schema == enum.schema
    rare = clean.RareCategories(min_share=0.34, columns=["word"])
    found = rare.fit_transform(enum)
    assert found["word"].dtype == pl.String
    assert "other" in found["word"]
    pandas = pd.DataFrame({"word": pd.Categorical(table["word"].to_list())})
    assert clean.DropMissing().transform(pandas)["word"].dtype == pandas["word"].dtype
    assert rare.transform(pandas)["word"].tolist() == found["word"].to_list()


def test_every_type_of_polars_comes_through_check_and_steps():
    import datetime
    import decimal

    day = datetime.date(2024, 1, 31)
    frame = pl.DataFrame(
        {
            "decimal": [decimal.Decimal("1.50"), None, decimal.Decimal("-999.00")],
            "small": pl.Series([1, 2, 99], dtype=pl.Int8),
            "unsigned": pl.Series([1, 2, 255], dtype=pl.UInt8),
            "date": [day, None, day],
            "time": [datetime.time(1), None, datetime.time(2)],
            "span": [datetime.timedelta(1), None, datetime.timedelta(2)],
            "bytes": [b"a", None, b"b"],
            "list": [[1], None, [2, 3]],
            "struct": [{"a": 1}, None, {"a": 2}],
            "nothing": pl.Series([None, None, None], dtype=pl.Null),
            "truth": [True, None, False],
        }
    )
    report = clean.check_quality(frame, missing_numbers=[-999], against=frame)
    assert report.column("decimal").missing == {"null": 1, "number": 1}
    assert report.against.leaked == 3
    assert report.against.not_compared == ["bytes", "list", "struct", "nothing"]
    assert report.constant_columns == ["nothing"]
    plan = clean.Plan(
        [
            clean.MarkMissing(),
            clean.DropDuplicates(),
            clean.DropConstant(),
            clean.FillMissing("median"),
            clean.Outliers(),
        ]
    )
    found = plan.fit_transform(frame)
    assert found.width == 10
    assert found["list"].to_list() == frame["list"].to_list()
    json = report.to_json()
    assert json["num_rows"] == 3
    assert str(report)


def test_arrow_keeps_its_types(table):
    arrow = table.to_arrow().cast(
        pa.schema([("a", pa.float32()), ("n", pa.int16()), ("word", pa.string()), ("yes", pa.bool_())])
    )
    found = clean.DropDuplicates().transform(pa.concat_tables([arrow, arrow]))
    assert found.equals(arrow)
    coded = arrow.set_column(2, "word", arrow["word"].dictionary_encode())
    assert clean.DropMissing().transform(coded).schema == coded.schema


def test_arrays_keep_their_dtypes():
    found = clean.FillMissing("constant", value=0.0).fit_transform(np.array([[1, np.nan], [3, 4]], np.float32))
    assert found.dtype == np.float32
    assert found.tolist() == [[1, 0], [3, 4]]
    columns = {"x": np.array([1, 2, 2], np.int32), "t": np.array(["a", "b", "b"])}
    found = clean.DropDuplicates().transform(columns)
    assert found["x"].dtype == np.int32
    assert found["t"].tolist() == ["a", "b"]


def test_objects_of_several_kinds_are_read_as_they_are_written():
    frame = pd.DataFrame({"x": pd.Series([1, "two", None, 3.5], dtype=object)})
    found = clean.RepairTypes(min_share=0.5).fit(frame)
    assert found.dtypes_ == {"x": "float64"}
    assert found.transform(frame)["x"].tolist()[0] == 1.0
    assert found.report_.cells == {"x": 1}
    assert found.report_.examples == [(1, "x", "'two'")]


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ([1, 2], ArgumentError),
        ({"a": [1], "b": [1, 2]}, ShapeError),
        ({"a": np.zeros((2, 2))}, ShapeError),
        (np.zeros(3), ShapeError),
        ({"^a.*$": [1]}, ArgumentError),
    ],
)
def test_what_is_no_table_is_refused(table, error):
    with pytest.raises(error):
        clean.DropMissing().transform(table)


# --- single steps --------------------------------------------------------------------------------


def test_mark_missing_counts_by_column_and_shows_examples():
    frame = {"t": ["NA", " ", "ok", "-999", None], "x": [1.0, float("nan"), -999.0, 2.0, float("inf")]}
    step = clean.MarkMissing(numbers=[-999], infinite=True)
    found = step.transform(frame)
    assert found["t"].tolist() == [None, None, "ok", None, None]
    assert step.report_.cells == {"t": 3, "x": 3}
    assert np.isnan(found["x"]).tolist() == [False, True, True, False, True]
    assert step.report_.examples == [(0, "t", "'NA'"), (1, "t", "' '"), (3, "t", "'-999'")]


def test_flags_come_for_the_columns_of_the_training_data():
    step = clean.FlagMissing().fit({"a": [None, 1.0], "b": [1, 2]})
    assert list(step.transform({"a": [1.0, 2.0], "b": [None, 2]})) == ["a", "b", "a_missing"]
    with pytest.raises(ArgumentError, match="a_missing"):
        step.transform({"a": [1.0], "a_missing": [2]})


def test_columns_dropped_for_gaps_are_those_of_the_training_data():
    step = clean.DropMissingColumns(max_share=0.4).fit({"a": [None, 1], "b": [1, 2]})
    assert list(step.transform({"a": [1, 1], "b": [None, 2]})) == ["b"]
    assert step.report_.columns_dropped == ["a"]


def test_a_median_between_whole_numbers_makes_floats_in_every_batch():
    step = clean.FillMissing("median").fit(pl.DataFrame({"a": [1, 2, None]}))
    assert step.values_ == {"a": 1.5}
    assert step.transform(pl.DataFrame({"a": [7]})).schema["a"] == pl.Float64
    assert clean.FillMissing("median").fit_transform(pl.DataFrame({"a": [1, 3, None]})).schema["a"] == pl.Int64


def test_a_constant_that_the_type_does_not_hold_is_refused():
    step = clean.FillMissing("constant", value=300, columns=["a"])
    with pytest.raises(DtypeError, match="which Int8 does not hold"):
        step.fit_transform(pl.DataFrame({"a": pl.Series([1, None], dtype=pl.Int8)}))


def test_a_column_without_values_stays_and_is_told():
    step = clean.FillMissing("mean").fit(
        pl.DataFrame({"a": [None, None], "b": [1.0, None]}, schema={"a": pl.Float64, "b": pl.Float64})
    )
    found = step.transform(pl.DataFrame({"a": [None], "b": [None]}, schema={"a": pl.Float64, "b": pl.Float64}))
    assert found.rows() == [(None, 1.0)]
    assert "a had no value" in step.report_.notes[0]


def test_clipped_whole_numbers_stay_whole_and_inside():
    values = [*range(10), 1000]
    step = clean.Outliers(action="clip").fit({"a": values})
    found = step.transform({"a": np.array(values)})["a"]
    assert found.dtype.kind == "i"
    assert found[-1] <= step.high_["a"] < found[-1] + 1


def test_infinite_values_are_outliers_and_teach_nothing():
    values = np.append(np.arange(100.0), [np.inf, -np.inf])
    for method in ("iqr", "z-score", "mad"):
        found = clean.Outliers(method).fit_transform({"a": values})["a"]
        assert found.tolist() == values[:100].tolist()


def test_constant_columns_have_no_outliers():
    step = clean.Outliers("iqr", columns=["a"]).fit({"a": [5.0] * 10})
    assert len(step.transform({"a": [5.0, 1e9]})["a"]) == 2
    assert "no spread" in step.report_.notes[0]


def test_isolated_rows_are_found_and_the_forest_is_kept_as_rows():
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 3))
    x[::100] += 12
    x[7, 0] = np.nan
    step = clean.IsolatedRows(share=0.01, action="flag").fit(x)
    found = step.transform(x)[:, 3]
    assert np.flatnonzero(found).tolist() == [0, 100, 200, 300, 400]
    assert "judged as medians" in step.report_.notes[0]
    again = clean.step.step_from_dict(step.to_dict()).transform(x)[:, 3]
    assert (again == found).all()


def test_types_are_repaired_by_what_most_cells_are():
    frame = {
        "whole": ["1", " 2 ", "3", "1,000"],
        "float": ["1.5", "2e3", "-0.5", "7"],
        "code": ["00123", "00456", "10000", "99999"],
        "date": ["2024-01-31", "2024-02-01", "2024-03-05", None],
        "german": ["31.01.2024", "01.02.2024", "05.03.2024", "06.03.2024"],
        "american": ["01/31/2024", "02/01/2024", "03/05/2024", "03/06/2024"],
        "either": ["01/02/2024", "02/03/2024", "03/04/2024", "04/05/2024"],
        "truth": ["true", "FALSE", "True", None],
        "long": ["12345678901234567890", "1", "2", "3"],
        "word": ["a", "b", "1", "2"],
    }
    step = clean.RepairTypes().fit(frame)
    assert step.dtypes_ == {
        "whole": "int64",
        "float": "float64",
        "date": "date %Y-%m-%d",
        "german": "date %d.%m.%Y",
        "american": "date %m/%d/%Y",
        "truth": "bool",
    }
    found = step.transform(pl.DataFrame(frame))
    assert found["whole"].to_list() == [1, 2, 3, 1000]
    assert found["code"].to_list() == frame["code"]
    assert step.report_.cells == {}


def test_later_cells_decide_the_type_as_well():
    step = clean.RepairTypes(min_share=0.9)
    learning = step._learn(None)
    learning.add(pl.DataFrame({"a": ["1", "2"] * 10}))
    learning.add(pl.DataFrame({"a": ["1.5", "x"] + ["3.5"] * 18}))
    learning.finish()
    assert step.dtypes_ == {"a": "float64"}


def test_rare_and_new_categories_become_one():
    step = clean.RareCategories(min_share=0.3).fit({"a": ["x"] * 5 + ["y"] * 4 + ["z"]})
    assert step.kept_ == {"a": ["x", "y"]}
    assert step.transform({"a": ["x", "z", "new", None, "other"]})["a"].tolist() == [
        "x",
        "other",
        "other",
        None,
        "other",
    ]
    assert step.report_.cells == {"a": 2}


def test_a_text_that_the_training_data_did_not_have_is_missing_and_counted():
    step = clean.OrdinalCodes().fit({"a": ["x", "y"]})
    assert step.transform(pl.DataFrame({"a": ["y", "new", None]}))["a"].to_list() == [1, None, None]
    assert step.report_.cells == {"a": 1}


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"low": 0, "high": 10}, [0.0, 5.5, None, None, None]),
        ({"whole": True}, [0.0, None, -3.0, 99.0, None]),
        ({"allowed": [0, 99]}, [0.0, None, None, 99.0, None]),
        ({"type": "text"}, [None] * 5),
    ],
)
def test_impossible_values_become_missing(rule, kept):
    step = clean.ImpossibleValues({"a": rule})
    found = step.transform(pl.DataFrame({"a": [0.0, 5.5, -3.0, 99.0, None]}))["a"].to_list()
    assert found == kept
    assert step.report_.cells.get("a", 0) == 4 - sum(v is not None for v in kept)


def test_text_where_numbers_are_declared_is_impossible_and_counted():
    step = clean.ImpossibleValues({"a": {"low": 0}}, action="drop")
    assert step.transform(pl.DataFrame({"a": ["1", "x", "-4", None]}))["a"].to_list() == ["1", None]
    assert step.report_.rows_dropped == 2


def test_rows_that_cannot_be_judged_stay_and_are_counted():
    x = np.append(np.linspace(0, 1, 30), [np.nan, np.inf])
    y = np.array(["a", "b"] * 16)
    step = clean.LabelNoise("y", k_neighbors=3, action="drop")
    report = step.dry_run({"x": x, "y": y})
    assert "2 rows miss a value and were not judged" in report.notes[0]


@pytest.mark.parametrize(
    ("y", "words"), [(["a"] * 20, "two classes"), (["a", "b"] + [None] * 18, "10 neighbours need more than 10 rows")]
)
def test_label_noise_needs_classes_and_rows(y, words):
    with pytest.raises(ArgumentError, match=words):
        clean.LabelNoise("y").transform({"x": np.arange(20.0), "y": y})


# --- bad input and what all steps have in common -------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: clean.DropMissing(columns=["gone"]), UnknownFieldError),
        (lambda: clean.Outliers(columns=["word"]), DtypeError),
        (lambda: clean.FillMissing("median", columns=["word"]), DtypeError),
        (lambda: clean.OrdinalCodes(columns=["a"]), DtypeError),
        (lambda: clean.ImpossibleValues({"gone": {"low": 0}}), UnknownFieldError),
        (lambda: clean.MarkMissing(numbers={"gone": [1]}), UnknownFieldError),
        (lambda: clean.DropDuplicates(decimals={"word": 1}), DtypeError),
        (lambda: clean.LabelNoise("gone"), UnknownFieldError),
        (lambda: clean.Outliers("sigma"), ArgumentError),
        (lambda: clean.Outliers(threshold=0), ArgumentError),
        (lambda: clean.DropDuplicates(keep="all"), ArgumentError),
        (lambda: clean.DropMissing(max_share=2), ArgumentError),
        (lambda: clean.FillMissing("constant"), ArgumentError),
        (lambda: clean.FillMissing("median", value=1), ArgumentError),
        (lambda: clean.ImpossibleValues({"a": {"lowest": 1}}), ArgumentError),
        (lambda: clean.ImpossibleValues({"a": {"low": 2, "high": 1}}), ArgumentError),
        (lambda: clean.IsolatedRows(share=0.9), ArgumentError),
        (lambda: clean.RareCategories(min_share=0), ArgumentError),
        (lambda: clean.MarkMissing(texts="NA"), ArgumentError),
        (lambda: clean.DropColumns("a"), ArgumentError),
    ],
)
def test_wrong_arguments_and_columns_are_refused(make, error, table):
    with pytest.raises(error):
        make().fit(table)


def test_an_empty_result_is_an_error_that_counts(table):
    with pytest.raises(EmptyError, match="none of 200 rows"):
        clean.ImpossibleValues({"a": {"low": 1e9}}, action="drop").transform(table)


def test_a_result_without_columns_is_an_error():
    with pytest.raises(EmptyError, match="none of 2 columns"):
        clean.DropConstant().fit_transform({"a": [1, 1], "b": [2, 2]})


@pytest.mark.parametrize("table", [{}, {"a": np.array([], float)}])
def test_a_table_without_rows_teaches_nothing_and_stays_as_it_is(table):
    assert list(clean.DropMissing().transform(table)) == list(table)
    for learn in (clean.FillMissing("mean").fit, clean.Plan([clean.Standardize()]).fit, clean.check_quality):
        with pytest.raises(EmptyError):
            learn(table)


def test_a_step_that_has_not_learned_says_so(table):
    with pytest.raises(NotFittedError, match="outliers has not learned low yet"):
        clean.Outliers().transform(table)


STEPS = {
    "drop_columns": clean.DropColumns(["n"]),
    "fill_missing": clean.FillMissing("mean"),
    "impossible_values": clean.ImpossibleValues({"a": {"low": 8}}),
    "label_noise": clean.LabelNoise("word"),
    "rare_categories": clean.RareCategories(min_share=0.34),
}


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_every_step_is_saved_and_read_and_does_the_same(kind, table):
    step = STEPS.get(kind) or _KINDS[kind]()
    before = table.clone()
    expected = step.fit(table).transform(table)
    assert table.equals(before)
    assert step.report_.rows_in - step.report_.rows_dropped == len(expected)
    again = clean.Plan.from_toml(clean.Plan([step]).to_toml())
    assert again.is_fitted
    assert again.transform(table).equals(expected)
    assert step.dry_run(table) == step.report_
