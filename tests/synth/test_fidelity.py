"""Likeness: sdmetrics' own numbers, and what each measure says of rows that are known to be alike, or not."""

from __future__ import annotations

import warnings
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tables import weather

from fastload.errors import ArgumentError, DtypeError, EmptyError, NotFiniteError, TooFewRowsError, UnknownFieldError
from fastload.synth.aligned import align
from fastload.synth.fidelity import (
    MAX_CELLS,
    column_shape,
    correlation_error,
    detection_auc,
    independent,
    mean_trend,
    pair_trends,
    usefulness,
)

SDTYPES = {
    "heat": "numerical", "humid": "numerical", "rain": "numerical", "town": "categorical", "wet": "boolean", "grade": "categorical",
    "day": "datetime",
}  # fmt: skip


@pytest.fixture(scope="module", params=[(0, 1.0, 0.0), (1, 1.4, 0.0), (2, 0.7, 0.1)], ids=["fresh", "wider", "gaps"])
def compared(request):
    """(columns as aligned here, what sdmetrics tells of the same tables)"""
    reports = pytest.importorskip("sdmetrics.reports")
    import pandas as pd

    seed, spread, gaps = request.param
    real, synthetic = weather(800, seed, gaps), weather(600, 100 + seed, gaps)
    synthetic["humid"] = [spread * value for value in synthetic["humid"]]
    synthetic["town"] = ["east" if i % 50 == 0 else town for i, town in enumerate(synthetic["town"])]
    frames = [pd.DataFrame(table).assign(day=lambda f: pd.to_datetime(f["day"])) for table in (real, synthetic)]
    report = reports.QualityReport()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metadata = {"tables": {"t": {"columns": {name: {"sdtype": kind} for name, kind in SDTYPES.items()}}}}
        report.generate(*({"t": frame} for frame in frames), metadata, verbose=False)
    return align(*(pl.DataFrame(table, strict=False) for table in (real, synthetic))), report


def test_shapes_are_those_of_sdmetrics(compared):
    columns, report = compared
    theirs = report.get_details("Column Shapes").set_index("Column")["Score"]
    ours = {column.name: column_shape(column).score for column in columns}
    assert ours == pytest.approx(theirs.to_dict(), abs=1e-8)  # an unknown category counts as 1e-6 rows there


def test_pair_trends_are_those_of_sdmetrics(compared):
    columns, report = compared
    details = report.get_details("Column Pair Trends").set_index(["Column 1", "Column 2"])
    trends = pair_trends(columns)
    assert len(trends) == len(details) == 21
    for trend in trends:
        theirs = details.loc[(trend.first, trend.second)]
        assert trend.is_strong == theirs["Meets Threshold?"]
        strength = theirs["Real Correlation" if trend.measure == "correlation" else "Real Association"]
        assert trend.real == pytest.approx(strength, abs=1e-9)
        if trend.is_strong:
            assert trend.score == pytest.approx(theirs["Score"], abs=1e-9)
    mean = report.get_properties().set_index("Property")["Score"]["Column Pair Trends"]
    assert mean_trend(trends) == pytest.approx(mean, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    real=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=40),
    synthetic=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=40),
)
def test_contingency_of_any_counts_is_the_shared_part_of_them(real, synthetic):
    tables = [{"a": [str(a) for a, _ in rows], "b": [str(b) for _, b in rows]} for rows in (real, synthetic)]
    (trend,) = pair_trends(align(*tables))
    shared = sum(min(real.count(pair) / len(real), synthetic.count(pair) / len(synthetic)) for pair in set(real))
    varies = all(len({row[i] for row in real}) > 1 for i in (0, 1))
    assert trend.score == (pytest.approx(shared, abs=1e-9) if varies else None)


def test_many_categories_take_no_table_of_all_pairs():
    values = [str(i) for i in range(1500)]
    assert len(values) ** 2 > MAX_CELLS
    (trend,) = pair_trends(align({"a": values, "b": values}, {"a": values[:750], "b": values[:750]}))
    assert trend.score == pytest.approx(0.5)
    assert trend.real == pytest.approx(1)


def test_columns_drawn_independently_have_their_shapes_and_no_trends():
    columns = independent(align(weather(2000, 0), weather(2000, 1)))
    assert all(column_shape(column).score == pytest.approx(1) for column in columns)
    fresh = pair_trends(align(weather(2000, 0), weather(2000, 1)))
    apart = pair_trends(columns)
    assert mean_trend(apart) < mean_trend(fresh) - 0.15
    assert correlation_error(apart) > 10 * correlation_error(fresh)


def test_a_trend_that_a_constant_column_lost_counts():
    real = {"a": np.arange(100.0), "b": np.arange(100.0)}
    flat = {"a": np.arange(100.0), "b": np.zeros(100)}
    assert mean_trend(pair_trends(align(real, flat))) == pytest.approx(0.5)
    assert mean_trend(pair_trends(align(flat, real))) is None


def test_validity_counts_cells_beyond_what_is_real():
    real = {"n": [0.0, 1.0, None], "c": ["x", "y", "y"], "none": [None, None, None]}
    synthetic = {"n": [1.5, 0.5, None, -1.0], "c": ["x", "z", None, "y"], "none": [None, None, "a", None]}
    tables = [
        pl.DataFrame(table, schema={"n": pl.Float64, "c": pl.String, "none": pl.String}) for table in (real, synthetic)
    ]
    shapes = {shape.name: shape for shape in map(column_shape, align(*tables))}
    assert {name: shape.validity for name, shape in shapes.items()} == {"n": 0.5, "c": 0.5, "none": 0.75}
    assert shapes["none"].score is None
    assert shapes["c"].missing == (0.0, 0.25)
    lost = column_shape(align({"n": [1.0, 2.5]}, {"n": np.array([np.nan, np.nan])})[0])
    assert (lost.score, lost.validity) == (0.0, 0.0)


def test_a_classifier_finds_what_is_off():
    real = weather(800, 0)
    fresh = detection_auc(align(real, weather(800, 1)))
    shuffled = detection_auc(independent(align(real, weather(800, 1))))
    shifted = weather(800, 2)
    shifted["rain"] = [value + 0.05 for value in shifted["rain"]]
    assert fresh == pytest.approx(0.5, abs=0.07)
    assert shuffled > 0.8
    assert detection_auc(align(real, shifted)) > 0.95
    with pytest.raises(TooFewRowsError, match="the smaller one has 19"):
        detection_auc(align(real, weather(19, 0)))


@pytest.mark.parametrize("target", ["wet", "humid"])
def test_what_is_learnt_from_fresh_rows_is_of_use_and_from_shuffled_ones_is_not(target):
    columns = align(weather(900, 0), weather(900, 1), test=weather(2000, 2))
    fresh, shuffled = (usefulness(given, target) for given in (columns, independent(columns)))
    assert fresh.measure == ("R2" if target == "humid" else "AUC")
    assert fresh.test_rows == 2000
    assert fresh.kept == pytest.approx(1, abs=0.1)
    assert shuffled.kept < 0.2
    assert fresh.real == shuffled.real
    assert fresh.bootstrap.score == pytest.approx(fresh.real.score, abs=0.1)


def test_several_classes_are_each_told_from_the_rest():
    found = usefulness(align(weather(200, 0), weather(200, 1), test=weather(2000, 2)), "town")
    assert found.measure == "AUC"
    assert found.kept == pytest.approx(1, abs=0.15)


def test_use_is_that_of_scikit_learn_by_hand():
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import average_precision_score, roc_auc_score

    real, synthetic, test = (
        {k: v for k, v in weather(800, seed).items() if k in ("heat", "rain", "wet")} for seed in (0, 1, 2)
    )
    found = usefulness(align(real, synthetic, test=test), "wet")
    x, x_test = (np.column_stack([t["heat"], t["rain"]]) for t in (synthetic, test))
    scores = HistGradientBoostingClassifier(random_state=0).fit(x, synthetic["wet"]).predict_proba(x_test)[:, 1]
    assert found.synthetic.score == pytest.approx(roc_auc_score(test["wet"], scores))
    assert found.synthetic.average_precision == pytest.approx(average_precision_score(test["wet"], scores))


def test_rows_of_one_class_teach_nothing():
    only = weather(300, 1)
    only["wet"] = [False] * 300
    found = usefulness(align(weather(300, 0), only, test=weather(300, 2)), "wet")
    assert found.synthetic is None
    assert found.kept == 0
    noise = {"x": np.random.default_rng(0).normal(size=400), "y": ["a", "b"] * 200}
    assert usefulness(align(noise, noise, test=noise | {"x": noise["x"][::-1]}), "y").kept is None


def test_kinds_of_columns():
    table = {
        "few": [1, 2, 3] * 20, "many": list(range(60)), "two": [0, 1] * 30, "named": [0.5, 1.5] * 30, "none": [None] * 60,
        "when": [date(2024, 1, 1)] * 60,
    }  # fmt: skip
    frame = pl.DataFrame(table)
    kinds = {column.name: column.kind for column in align(frame, frame, discrete=["named"])}
    assert kinds == {
        "few": "category", "many": "number", "two": "category", "named": "category", "none": "category", "when": "number"
    }  # fmt: skip


def test_types_that_mean_the_same_are_taken_alike():
    (column,) = align({"n": [1, 0, 1]}, {"n": [True, False]})
    assert (column.real.tolist(), column.synthetic.tolist()) == ([1, 0, 1], [1, 0])
    wide, narrow = (
        pl.Series("d", [date(2024, 1, 2)] * 30),
        pl.Series("d", [date(2024, 1, 2)] * 30).cast(pl.Datetime("ns")),
    )
    (column,) = align(wide.to_frame(), narrow.to_frame())
    assert column.real[0] == column.synthetic[0]


def test_tables_that_cannot_be_compared():
    good = {"a": [1.5, 2.5], "b": ["x", "y"]}
    for wrong, error, words in (
        ({"a": [1.5]}, UnknownFieldError, "'b'"),
        (good | {"c": [1, 2]}, ArgumentError, "only the synthetic one has 'c'"),
        ({"a": ["1.5", "2"], "b": ["x", "y"]}, DtypeError, "'a' must hold"),
        ({"a": [1.5, np.inf], "b": ["x", "y"]}, NotFiniteError, "row 1"),
        (pl.DataFrame(good).clear(), EmptyError, "the synthetic one has none"),
    ):
        with pytest.raises(error, match=words):
            align(good, wrong)
    with pytest.raises(UnknownFieldError, match="'z'"):
        align(good, good, discrete=["z"])
    with pytest.raises(DtypeError, match="'a' must hold"):
        align(pl.DataFrame({"a": [[1], [2]]}), pl.DataFrame({"a": [[1], [2]]}))


def test_a_target_that_cannot_be_learnt():
    table = {"x": np.arange(60.0), "id": [str(i) for i in range(60)], "one": ["a"] * 60}
    columns = align(table, table, test=table)
    for target, error, words in (
        ("nothing", UnknownFieldError, "no column 'nothing'"),
        ("id", ArgumentError, "'id' has 60"),
        ("one", ArgumentError, "'one' has 1"),
    ):
        with pytest.raises(error, match=words):
            usefulness(columns, target)
    with pytest.raises(ArgumentError, match="give test or holdout"):
        usefulness(align(table, table), "x")
    with pytest.raises(ArgumentError, match="the only one"):
        usefulness(align(*[{"x": table["x"]}] * 2, test={"x": table["x"]}), "x")
