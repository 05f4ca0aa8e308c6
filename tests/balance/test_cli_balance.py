"""``fastload balance``: every kind of field comes through, classes are told, the plot is one, errors are one paragraph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastload as fl
from fastload.balance.datasets import balance_dataset
from fastload.cli import main
from fastload.errors import ArgumentError, NotNumbersError, UnknownFieldError

ROWS = 200
LATE = np.arange(ROWS) % 5 == 0  # 40 of 200
random = np.random.default_rng(0)
NUMBERS = {
    "x": random.normal(LATE[:, None, None], 1, (ROWS, 2, 2)).astype("float32"),
    "half": random.normal(LATE, 1).astype("float16"),
    "count": random.integers(0, 99, ROWS),
}
LABELS = {
    "int": LATE.astype("int8"),
    "bool": LATE,
    "category": fl.Categorical(LATE.astype("int32"), ["on time", "late"]),
    "text": ["late" if late else "on time" for late in LATE],
}
OTHERS = {
    "carrier": fl.Categorical(random.integers(0, 3, ROWS).astype("int32"), ["AA", "B6", "UA"]),
    "night": random.random(ROWS) < 0.3,
}
ANY = {
    "tokens": [np.arange(i % 7, dtype="int32") for i in range(ROWS)],
    "name": [None if i % 9 == 0 else f"naïve {i}" for i in range(ROWS)],
    "maybe": np.ma.MaskedArray(random.normal(size=ROWS), np.arange(ROWS) % 7 == 0),
}


@pytest.fixture
def write(tmp_path: Path):
    return lambda **columns: fl.write(tmp_path / "in.fl", columns)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def rows_of(dataset, rows):
    """Rows as text, to compare: NaN equals NaN."""
    return [
        repr({name: value.tolist() if hasattr(value, "tolist") else value for name, value in dataset[int(row)].items()})
        for row in rows
    ]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("method", ["smote", "borderline", "adasyn", "smotenc"])
def test_new_rows_of_every_kind_of_label(write, tmp_path, method, label):
    others = OTHERS if method == "smotenc" else {}
    source = write(y=LABELS[label], **NUMBERS, **others)
    found = balance_dataset(source, tmp_path / "out.fl", label="y", method=method, k_neighbors=3)
    assert found.dataset.schema == source.schema
    assert sorted(found.before.values()) == [40, 160]
    assert min(found.after.values()) >= 150
    assert rows_of(found.dataset, range(ROWS)) == rows_of(source, range(ROWS))
    new = found.dataset[np.arange(ROWS, len(found.dataset))]
    assert (new["x"].min(axis=0) >= NUMBERS["x"][LATE].min(axis=0)).all()
    assert (new["count"].max() <= NUMBERS["count"][LATE].max()).all()
    if label == "category":
        assert found.dataset.categories("y") == ["on time", "late"]
        assert (new["y"] == 1).all()
    if method == "smotenc":
        assert found.dataset.categories("carrier") == ["AA", "B6", "UA"]
        assert set(new["carrier"].tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("method", ["over", "under"])
def test_rows_of_any_kind_are_taken_as_they_are(write, tmp_path, method):
    source = write(y=LABELS["category"], row=np.arange(ROWS), **NUMBERS, **OTHERS, **ANY)
    found = balance_dataset(source, tmp_path / "out.fl", label="y", method=method, seed=3)
    assert set(found.after.values()) == ({160} if method == "over" else {40})
    rows = [found.dataset[i]["row"] for i in range(len(found.dataset))]
    assert rows_of(found.dataset, range(0, len(rows), 7)) == rows_of(source, rows[::7])


def test_command(write, tmp_path, capsys):
    source = write(y=LABELS["category"], **NUMBERS)
    code, out, err = run(
        capsys, "balance", source.path, tmp_path / "out.fl", "--label", "y", "--plot", tmp_path / "c.svg"
    )
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["y", "before", "share", "after", "share"]
    assert "40" in out
    assert out.endswith("out.fl: 320 rows, before 200 rows\n")
    assert "late, after" in (tmp_path / "c.svg").read_text()
    code, _, err = run(capsys, "balance", source.path, tmp_path / "out.fl", "--label", "y")
    assert code == 1
    assert "out.fl" in err
    code, out, _ = run(
        capsys, "balance", source.path, tmp_path / "out.fl", "--label", "y", "--overwrite", "--json", "--method", "under",
        "--sampling-strategy", "on time=70", "--plot", tmp_path / "c.html",
    )  # fmt: skip
    assert json.loads(out) | {"path": ""} == {
        "path": "", "rows": 110, "before": {"late": 40, "on time": 160}, "after": {"late": 40, "on time": 70},
    }  # fmt: skip
    assert "<table" in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize(
    ("label", "strategy"), [("int", "1=90"), ("bool", "true=90"), ("text", "late=90"), ("int", "0.5625")]
)
def test_strategies(write, tmp_path, capsys, label, strategy):
    source = write(y=LABELS[label], **NUMBERS)
    code, out, err = run(
        capsys,
        "balance",
        source.path,
        tmp_path / "o.fl",
        "--label",
        "y",
        "--sampling-strategy",
        strategy,
        "--json",
        "--seed",
        4,
    )
    assert (code, err) == (0, "")
    assert sorted(json.loads(out)["after"].values()) == [90, 160]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--label", "z"], 1, "z"),
        (["--label", "y", "--sampling-strategy", "late=90"], 2, "whole numbers"),
        (["--label", "y", "--sampling-strategy", "7=90"], 1, "a class that no label is of: 7"),
        (["--label", "y", "--sampling-strategy", "1=39"], 1, "over-sampling removes no rows"),
        (["--label", "y", "--sampling-strategy", "most"], 1, "must be one of"),
        (["--label", "y", "--k-neighbors", "40"], 1, "found n_samples = 40"),
        (["--label", "y", "--k-neighbors", "3", "--method", "under"], 2, "looks for no neighbours"),
        (["--label", "x"], 2, "must have one value a row"),
    ],
)
def test_what_cannot_be_balanced(write, tmp_path, capsys, arguments, code, message):
    source = write(y=LABELS["int"], **NUMBERS)
    found, out, err = run(capsys, "balance", source.path, tmp_path / "out.fl", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.fl").exists()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"name": ANY["name"]}, r"field 'name' \(string\) has no distances.*leave it out"),
        ({"tokens": ANY["tokens"]}, "field 'tokens'"),
        ({"maybe": ANY["maybe"]}, "field 'maybe' has nulls"),
        ({"carrier": OTHERS["carrier"]}, "field 'carrier' .*use method 'smotenc'"),
        ({"night": OTHERS["night"]}, "field 'night' .*use method 'smotenc'"),
    ],
)
def test_fields_without_distances(write, tmp_path, column, message):
    with pytest.raises(NotNumbersError, match=message):
        balance_dataset(write(y=LATE, **NUMBERS, **column), tmp_path / "out.fl", label="y")


def test_more_errors(write, tmp_path):
    source = write(y=LATE, **NUMBERS, **ANY)
    with pytest.raises(ArgumentError, match="method must be one of"):
        balance_dataset(source, tmp_path / "out.fl", label="y", method="magic")
    with pytest.raises(ArgumentError, match="known for every row"):
        balance_dataset(source, tmp_path / "out.fl", label="name", method="over")
    with pytest.raises(UnknownFieldError):
        balance_dataset(source, tmp_path / "out.fl", label="nothing")
    alone = fl.write(tmp_path / "alone.fl", {"y": LATE})
    with pytest.raises(NotNumbersError, match="no field but the label"):
        balance_dataset(alone, tmp_path / "out.fl", label="y")
