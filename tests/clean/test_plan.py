"""Plans: steps in order, as TOML, and proposed from a report."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload.clean import (
    DropDuplicates,
    DropMissing,
    FillMissing,
    ImpossibleValues,
    MarkMissing,
    Outliers,
    Plan,
    check_quality,
    check_statistics,
    propose_plan,
    toml,
)
from fastload.errors import ArgumentError, EmptyError, PlanError

SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(st.characters(codec="utf-8"))
)
VALUES = st.recursive(
    st.one_of(SCALARS, st.lists(SCALARS, max_size=30)),
    lambda inner: st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=5), st.text(st.characters(codec="utf-8"))
)
def test_what_is_written_is_read_back(values, comment):
    text = toml.tables("step", [(values, comment)])
    assert toml.loads(text) == {"step": [values]}


def test_a_plan_applies_what_the_training_data_taught():
    train = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0, 100.0, None], "t": ["x"] * 6})
    plan = Plan([Outliers(action="clip", columns=["a"]), FillMissing("median")]).fit(train)
    again = Plan.from_toml(plan.to_toml("for a test"))
    new = pl.DataFrame({"a": [None, 50.0], "t": ["x", "y"]})
    assert again.transform(new)["a"].to_list() == [3.0, 7.0]
    assert again.transform(new).equals(plan.transform(new))
    assert again.to_toml("for a test") == plan.to_toml("for a test")


def test_each_step_sees_what_those_before_it_left():
    plan = Plan([MarkMissing(numbers=[-999]), FillMissing("mean")])
    assert plan.fit_transform({"a": [1.0, -999.0, 3.0]})["a"].tolist() == [1.0, 2.0, 3.0]
    assert str(plan.report_).splitlines()[0] == "3 rows x 1 columns -> 3 rows x 1 columns"


def test_a_dry_run_changes_nothing_and_tells_the_same():
    table = {"a": [1.0, 1.0, float("nan")]}
    plan = Plan([DropDuplicates(), FillMissing("median")])
    report = plan.dry_run(table)
    assert not plan.is_fitted
    plan.fit_transform(table)
    assert report == plan.report_


def test_row_numbers_are_those_of_the_table_that_was_given():
    table = pl.DataFrame({"a": [None, 1.0, 1.0, -5.0], "b": [0, 1, 1, 2]})
    plan = Plan([DropMissing(), DropDuplicates(), ImpossibleValues({"a": {"low": 0}})])
    report = plan.dry_run(table)
    assert [step.examples[0][0] for step in report.steps] == [0, 2, 3]
    pandas = table.to_pandas()
    assert plan.transform(pandas).index.tolist() == [1, 3]


def test_a_plan_that_leaves_nothing_names_the_step():
    with pytest.raises(EmptyError, match="drop_missing would leave none of 2 rows"):
        Plan([DropMissing()]).fit_transform(pl.DataFrame({"a": [None, None], "b": [1, 2]}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 1\n[[step]]\nkind = ", "must be TOML"),
        ("[[step]]\nkind = 'drop_missing'\n", "must begin with: version = 1; found None"),
        ("version = 2\n", "found 2"),
        ("version = 1\n", "at least one"),
        ("version = 1\nsteps = 3\n", "found 'steps'"),
        (
            "version = 1\n[[step]]\nkind = 'drop_all'\n",
            "step 1 of 1: the kind of a step must be one of .*; got 'drop_all'",
        ),
        (
            "version = 1\n[[step]]\nkind = 'drop_missing'\nshare = 1\n",
            "no parameter 'share'; it has columns, max_share",
        ),
        ("version = 1\n[[step]]\nkind = 'drop_missing'\nmax_share = 3\n", "max_share must be a share"),
        ("version = 1\n[[step]]\nkind = 'drop_columns'\n", "columns"),
        ("version = 1\n[[step]]\nkind = 'standardize'\n[step.learned.median]\na = 1\n", "learns no 'median'"),
    ],
)
def test_a_plan_that_cannot_be_read_says_where(text, words, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(PlanError, match=words) as error:
        Plan.load(path)
    assert "plan.toml" in str(error.value)


# --- proposed ------------------------------------------------------------------------------------


def test_the_proposed_plan_mends_what_was_found():
    random = np.random.default_rng(0)
    rows = 400
    age = random.integers(20, 80, rows).astype(object)
    age[::40], age[5] = "?", "-999"
    age[6] = age[7] = "-999"
    income = np.append(random.normal(100, 10, rows - 1), 1e6)
    income[9] = np.inf
    table = pl.DataFrame(
        {
            "age": [str(v) for v in age],
            "income": income,
            "town": [" Oslo", "Bergen"] * (rows // 2),
            "same": [1] * rows,
            "empty": [None] * (rows - 10) + [1.0] * 10,
            "y": [*["a", "b"] * (rows // 2 - 1), "a", None],
        }
    )
    table = pl.concat([table, table.head(3)])
    report = check_quality(table, label="y")
    plan = propose_plan(report)
    found = plan.fit_transform(table)
    assert found.columns == ["age", "income", "town", "y"]
    after = check_quality(found, label="y")
    assert (after.num_missing, after.duplicates, after.constant_columns) == (0, 0, [])
    assert found["age"].dtype.is_numeric()
    assert found["age"].min() >= 20
    assert found["income"].max() < 1000
    assert set(found["town"]) == {"Oslo", "Bergen"}
    assert len(found) == rows - 1
    assert "is that a number, or a gap?" in plan.to_toml()


def test_a_clean_table_gets_a_plan_that_changes_nothing():
    table = {"a": np.arange(100.0)}
    plan = propose_plan(check_quality(table))
    assert plan.fit_transform(table)["a"].tolist() == table["a"].tolist()
    assert "nothing was found to mend" in plan.to_toml()


def test_statistics_alone_are_too_little_for_a_plan(tmp_path):
    import fastload as fl

    dataset = fl.write(tmp_path / "d.fl", {"a": np.arange(3)})
    with pytest.raises(ArgumentError, match="statistics alone"):
        propose_plan(check_statistics(dataset))
