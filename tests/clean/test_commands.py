"""fastload check, fastload clean and convert --check: what they print, write and refuse."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

import fastload as fl
from fastload.clean import Plan
from fastload.clean.gate import FIGURES, Condition
from fastload.cli import main
from fastload.errors import ArgumentError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 210 rows, ten of which are repeated; gaps, a far value, a constant column."""
    rows = [
        f"{i},{'?' if i % 20 == 3 else i % 30},{'9999.5' if i == 50 else i / 7},v1,{' ' * (i % 40 == 0)}Oslo,{'ab'[i % 2]}"
        for i in range(200)
    ]
    path = tmp_path / "table.csv"
    path.write_text("id,age,x,version,town,y\n" + "\n".join([*rows, *rows[:10]]) + "\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def test_check_prints_writes_and_passes_the_gate(table, tmp_path, capsys):
    code, out, err = run(capsys, "check", table, "--label", "y", "--json", tmp_path / "q.json",
                         "--html", tmp_path / "q.html", "--fail-on", "duplicates>5%", "missing:age>5.5%")  # fmt: skip
    assert (code, err) == (0, "")
    assert "duplicate rows" in out
    assert re.search(r"version +text .*constant", out)
    found = json.loads((tmp_path / "q.json").read_text())
    assert (found["duplicates"], found["constant_columns"]) == (10, ["version"])
    page = (tmp_path / "q.html").read_text()
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in page
    HTMLParser().feed(page)


def test_the_gate_fails_with_the_reason(table, capsys):
    code, out, err = run(capsys, "check", table, "--fail-on", "duplicates>1%", "--fail-on", "constant_columns>=1")
    assert code == 1
    assert "duplicate rows" in out
    assert err.splitlines() == [
        "fastload: the check failed: duplicates>1%: found 10 of 210, 4.76 %",
        "fastload: the check failed: constant_columns>=1: found 1 of 6, 16.7 %",
    ]


def test_check_against_another_table(table, tmp_path, capsys):
    other = tmp_path / "other.csv"
    lines = table.read_text().splitlines()
    other.write_text(
        "\n".join([lines[0], *lines[11:16], *(f"{900 + i},{60 + i},0.5,v1,Rome,a" for i in range(40))]) + "\n"
    )
    code, out, err = run(capsys, "check", table, "--against", other, "--label", "y", "--fail-on", "leaked>0", "drift>0.2",
                         "--html", tmp_path / "q.html")  # fmt: skip
    assert code == 1
    assert "leaked: 5 (11.1 %) of its rows" in out
    assert re.search(r"age .* drifted", out)
    assert "leaked>0: found 5 of 45" in err
    assert "Against" in (tmp_path / "q.html").read_text()


def test_ranges_and_allowed_values_are_declared(table, capsys):
    code, out, _ = run(capsys, "check", table, "--range", "age=0..20", "--range", "x=..100", "--allowed", "y=a",
                       "--missing-numbers=9999.5", "--json", "-")  # fmt: skip
    columns = {c["name"]: c for c in json.loads(out)["columns"]}
    assert code == 0
    assert columns["age"]["impossible"] == 51  # 21 to 29, six times, without three gaps
    assert columns["y"]["impossible"] == 105
    assert columns["x"]["missing"] == {"number": 1}
    assert columns["x"]["impossible"] == 0


def test_quick_reads_the_statistics_alone(table, tmp_path, capsys):
    run(capsys, "convert", table, tmp_path / "t.fl", "--quiet")
    code, out, err = run(
        capsys, "check", tmp_path / "t.fl", "--quick", "--label", "y", "--fail-on", "constant_columns>0"
    )
    assert code == 1
    assert "from the statistics" in out
    assert "constant_columns>0: found 1 of 6" in err
    assert run(capsys, "check", tmp_path / "t.fl", "--quick", "--fail-on", "duplicates>0")[0] == 2
    assert run(capsys, "check", tmp_path / "t.fl", "--quick", "--against", table)[0] == 2
    assert run(capsys, "check", table, "--quick")[0] == 1


def test_clean_auto_writes_a_plan_that_new_data_follow(table, tmp_path, capsys):
    code, out, err = run(
        capsys, "clean", table, tmp_path / "out.fl", "--auto", "--label", "y", "--write-plan", tmp_path / "p.toml"
    )
    assert (code, err) == (0, "")
    assert out.startswith("210 rows x 6 columns -> 200 rows x 5 columns")
    dataset = fl.open(tmp_path / "out.fl")
    assert dataset.schema.names == ("id", "age", "x", "town", "y")
    assert dataset.statistics["age"].nulls == 0
    plan = Plan.load(tmp_path / "p.toml")
    assert plan.is_fitted
    new = tmp_path / "new.csv"
    new.write_text("id,age,x,version,town,y\n1,?,9999.5,v2, Oslo,a\n")
    code, out, err = run(capsys, "clean", new, tmp_path / "new.parquet", "--plan", tmp_path / "p.toml")
    assert (code, err) == (0, "")
    found = pl.read_parquet(tmp_path / "new.parquet").row(0, named=True)
    learned = {key: value for step in plan.steps for key, value in getattr(step, "values_", {}).items()}
    assert found["age"] == learned["age"]
    assert found["x"] < 100
    assert found["town"] == "Oslo"


def test_a_dry_run_writes_the_proposal_and_no_table(table, tmp_path, capsys):
    code, out, _ = run(capsys, "clean", table, "--auto", "--dry-run", "--write-plan", tmp_path / "p.toml")
    assert code == 0
    assert "nothing was written" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.toml", "table.csv"]
    text = (tmp_path / "p.toml").read_text()
    assert "# 10 rows equal one before them" in text
    assert "[step.learned" not in text.split("version = 1")[1]
    assert run(capsys, "clean", table, tmp_path / "o.csv", "--plan", tmp_path / "p.toml", "--json")[0] == 0


def test_convert_check_compares_the_parts(table, tmp_path, capsys):
    code, out, _ = run(capsys, "convert", table, tmp_path / "t.fl", "--split", "train=.5,test=.5", "--quiet", "--check")
    assert code == 0
    assert "leaked: " in out
    assert out.count("duplicate rows") == 2
    code, out, _ = run(capsys, "convert", table, tmp_path / "t.fl", "--quiet", "--check", "--json")
    assert json.loads(out)["quality"]["all"]["duplicates"] == 10


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["check", "gone.csv"], 1, "no such file"),
        (["check", "TABLE", "--label", "gone"], 1, "no column 'gone'"),
        (["check", "TABLE", "--fail-on", "duplicates"], 2, "looks like"),
        (["check", "TABLE", "--fail-on", "doubles>1"], 2, "one of missing"),
        (["check", "TABLE", "--fail-on", "leaked>0"], 2, "--against"),
        (["check", "TABLE", "--fail-on", "missing:gone>0"], 1, "no column 'gone'"),
        (["check", "TABLE", "--fail-on", "duplicates:age>0"], 2, "not of a column"),
        (["check", "TABLE", "--fail-on", "label_noise>0"], 2, "--label"),
        (["check", "TABLE", "--memory-limit", "1MB"], 2, "at least 201326592 (192 MiB)"),
        (["check", "TABLE", "--range", "gone=0..1"], 1, "no column 'gone'"),
        (["clean", "TABLE", "out.csv"], 2, "--plan FILE, or --auto"),
        (["clean", "TABLE", "out.csv", "--plan", "p", "--auto"], 2, "--plan FILE, or --auto"),
        (["clean", "TABLE", "--auto"], 2, "where to write"),
        (["clean", "TABLE", "TABLE", "--auto"], 1, "exists"),
        (["clean", "TABLE", "out.csv", "--plan", "gone.toml"], 1, "gone.toml"),
        (["clean", "TABLE", "out.csv", "--plan", "p", "--label", "late"], 2, "are for --auto"),
        (["clean", "TABLE", "out.csv", "--plan", "p", "--near-decimals", "1"], 2, "are for --auto"),
        (["check", "TABLE", "--quick", "--missing-numbers=-999"], 2, "--missing-numbers needs the rows"),
        (["clean", "TABLE", "out.csv", "--plan", "TABLE"], 1, "must be TOML"),
        (["clean", "TABLE", "out.csv", "--auto", "--write-plan", "TABLE"], 1, "exists"),
        (["clean", "TABLE", "out.xlsx", "--auto"], 2, "must end in"),
    ],
)
def test_wrong_commands_say_what_is_wrong(arguments, code, words, table, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run(capsys, *(str(table) if a == "TABLE" else a for a in arguments))
    assert found[0] == code
    assert words in found[2]
    assert found[2].count("\n") == 1
    assert "Traceback" not in found[2]
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("value", ["age", "age=1", "age=..", "age=a..b"])
def test_a_range_that_is_none_is_refused(value, table, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["check", str(table), "--range", value])
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "size"), [("64MiB", 64 << 20), ("2GB", 2 * 10**9), ("1.5kb", 1500), ("100", 100)])
def test_sizes_have_units(text, size):
    from fastload.cli import _bytes

    assert _bytes(text) == size


def test_conditions_know_every_figure():
    for name in FIGURES:
        assert Condition.parse(f" {name} >= 2.5 ").limit == 2.5
    with pytest.raises(ArgumentError):
        Condition.parse("missing>x")
