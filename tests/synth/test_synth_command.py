"""``fastload synth``: fit, sample, report."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

import fastload as fl
from fastload.cli import main


def people(rows: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    town = draw.choice(["Bergen", "Oslo"], rows, p=[0.3, 0.7])
    age = draw.integers(18, 90, rows)
    income = np.round(draw.normal(300 + 3 * age, 40), 1)
    return pl.DataFrame({"town": town, "age": age, "income": income, "retired": age > 64})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth")
    people(1500, 0).write_csv(folder / "people.csv")
    code = main(["synth", "fit", str(folder / "people.csv"), str(folder / "people.synth"), "--target", "retired", "--quiet",
                 "--batch-size", "200", "--steps", "300", "--holdout", "0.3", "--html", str(folder / "people.html")])  # fmt: skip
    assert code == 0
    return folder


def test_fit_writes_a_model_and_a_page(folder):
    assert (folder / "people.synth").exists()
    page = (folder / "people.html").read_text()
    assert "<svg" in page
    assert "retired" in page


def test_fit_tells_what_it_found(folder, capsys):
    code = main(["synth", "fit", str(folder / "people.csv"), str(folder / "again.synth"), "--target", "retired",
                 "--batch-size", "200", "--steps", "20", "--quiet", "--json"])  # fmt: skip
    assert code == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["num_real"] == 1200
    assert {"pair_trends", "membership_auc", "usefulness"} <= set(json.loads(told.out))


def test_fit_keeps_a_model_that_is_there(folder, capsys):
    assert main(["synth", "fit", str(folder / "people.csv"), str(folder / "people.synth")]) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("conditions", "meets"),
    [
        ([], pl.lit(True)),
        (["retired=true"], pl.col("retired")),
        (["age=30..40", "town=Oslo"], pl.col("age").is_between(30, 40) & (pl.col("town") == "Oslo")),
        (["income=..400"], pl.col("income") <= 400),
        (["town=Oslo,Bergen"], pl.lit(True)),
    ],
)
def test_sample_meets_conditions(folder, tmp_path, conditions, meets, capsys):
    where = [part for condition in conditions for part in ("--where", condition)]
    path = tmp_path / "rows.csv"
    assert main(["synth", "sample", str(folder / "people.synth"), str(path), "--rows", "60", "--force", *where]) == 0
    assert "60 rows" in capsys.readouterr().out
    rows = pl.read_csv(path)
    assert rows.height == 60
    assert rows.select(meets.all()).item()


def test_sample_writes_block_files(folder, tmp_path):
    assert (
        main(["synth", "sample", str(folder / "people.synth"), str(tmp_path / "r.fl"), "--rows", "50", "--force"]) == 0
    )
    assert len(fl.open(tmp_path / "r.fl")) == 50


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("age=old", "no value of that column"),
        ("snow=1", "no column 'snow'"),
        ("town=Narvik", "no row can meet"),
        ("age", "NAME=VALUE"),
    ],
)
def test_sample_tells_what_is_wrong_with_a_condition(folder, tmp_path, condition, said, capsys):
    arguments = ["synth", "sample", str(folder / "people.synth"), str(tmp_path / "r.csv"), "--rows", "5", "--force"]
    try:
        code = main([*arguments, "--where", condition])
    except SystemExit as ended:
        code = ended.code
    assert code in (1, 2)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r.csv").exists()


def test_what_fails_its_check_needs_force(folder, tmp_path, capsys):
    model, rows = str(tmp_path / "m.synth"), str(tmp_path / "r.csv")
    fit = ["synth", "fit", str(folder / "people.csv"), model, "--batch-size", "200", "--steps", "1", "--quiet"]
    assert main([*fit, "--limit", "pair_trends=0.999"]) == 0
    assert "--force" in capsys.readouterr().err
    assert main(["synth", "sample", model, rows, "--rows", "5"]) == 1
    assert "pair trends" in capsys.readouterr().err
    assert main(["synth", "sample", model, rows, "--rows", "5", "--force"]) == 0


def test_report_ranks_a_copy_as_a_copy(folder, tmp_path, capsys):
    people(600, 1).write_csv(tmp_path / "real.csv")
    people(600, 2).write_csv(tmp_path / "holdout.csv")
    report = [
        "synth",
        "report",
        str(tmp_path / "real.csv"),
        str(tmp_path / "real.csv"),
        "--holdout",
        str(tmp_path / "holdout.csv"),
    ]
    assert main([*report, "--html", str(tmp_path / "r.html")]) == 1
    told = capsys.readouterr()
    assert "copies" in told.out
    assert "membership AUC must be at most" in told.err
    assert (tmp_path / "r.html").exists()


def test_a_limit_that_there_is_not(folder, capsys):
    people_csv = str(folder / "people.csv")
    assert main(["synth", "report", people_csv, people_csv, "--limit", "beauty=1"]) == 2
    assert "beauty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--delta", "1e-6"], "give --epsilon, too"),
        (["--holdout", "1"], "less than 1"),
        (["--holdout", "0.01"], "100 rows or more"),
        (["--target", "beauty"], "no column 'beauty'"),
    ],
)
def test_what_cannot_be_is_told_before_training(folder, tmp_path, arguments, said, capsys):
    assert main(["synth", "fit", str(folder / "people.csv"), str(tmp_path / "m"), *arguments]) in (1, 2)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_without_a_holdout_privacy_is_not_measured(folder, tmp_path, capsys):
    fit = ["synth", "fit", str(folder / "people.csv"), str(tmp_path / "m"), "--steps", "2", "--quiet"]
    assert main([*fit, "--batch-size", "200", "--target", "retired", "--holdout", "0"]) == 0
    assert "not measured" in capsys.readouterr().out


def test_the_separator_is_told_by_the_header(folder, tmp_path):
    people(300, 3).write_csv(tmp_path / "p.csv", separator=";")
    fit = [
        "synth",
        "fit",
        str(tmp_path / "p.csv"),
        str(tmp_path / "m"),
        "--steps",
        "2",
        "--batch-size",
        "100",
        "--quiet",
    ]
    assert main([*fit, "--holdout", "0"]) == 0
    assert main(["synth", "sample", str(tmp_path / "m"), str(tmp_path / "r.csv"), "--rows", "5", "--force"]) == 0
    assert pl.read_csv(tmp_path / "r.csv").columns == ["town", "age", "income", "retired"]


def test_a_method_without_differential_privacy(folder, tmp_path, capsys):
    code = main(["synth", "fit", str(folder / "people.csv"), str(tmp_path / "m"), "--method", "gan", "--epsilon", "1"])
    assert code == 2
    assert "--epsilon" in capsys.readouterr().err
