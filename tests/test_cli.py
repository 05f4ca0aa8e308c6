"""The command line: exit codes, messages in one paragraph, JSON that parses, nothing left after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastload as fl
from fastload.cli import main


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 200 rows: day, temp (some missing), wind, carrier, late."""
    rows = [
        f"{i % 20},{'' if i % 10 == 0 else i / 4},{i % 7},{'ABC'[i % 3]}{i % 3},{int(i % 9 == 0)}" for i in range(200)
    ]
    path = tmp_path / "table.csv"
    path.write_text("day,temp,wind,carrier,late\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """300 rows of every kind of field."""
    rng = np.random.default_rng(0)
    present = np.arange(300) % 5 > 0
    fl.write(
        tmp_path / "all.fl",
        {
            "x": rng.normal(size=(300, 3)).astype("float32"),
            "image": rng.integers(0, 255, (300, 4, 5), np.uint8),
            "tokens": [np.arange(i % 7, dtype="int32") for i in range(300)],
            "name": [f"naïve {i}" for i in range(300)],
            "label": rng.integers(0, 3, 300),
            "maybe": np.ma.MaskedArray(rng.normal(size=300), ~present),
        },
    )
    return tmp_path / "all.fl"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def assert_one_paragraph(text: str) -> None:
    assert text.startswith("fastload: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text


# --- convert -------------------------------------------------------------------------------------


def test_convert_packs_splits_and_says_so(table: Path, tmp_path: Path, capsys) -> None:
    code, out, err = run(capsys, "convert", table, tmp_path / "t.fl", "--pack", "x=temp,wind",
                         "--dtype", "late=int8",
                         "--split", "train=.8,validation=.2", "--split-key", "day", "--quiet")  # fmt: skip
    assert (code, err) == (0, "")
    assert "200 rows read" in out
    train, validation = fl.open(tmp_path / "t.train.fl"), fl.open(tmp_path / "t.validation.fl")
    assert train.num_rows + validation.num_rows == 200
    assert train.schema["x"].shape == (2,)
    assert train.schema["late"].dtype == "int8"
    days = [set(ds.statistics["day"].class_counts) for ds in (train, validation)]
    assert not days[0] & days[1]


def test_convert_json_counts_every_row(table: Path, tmp_path: Path, capsys) -> None:
    code, out, _ = run(capsys, "convert", table, tmp_path / "t.fl", "--json", "--quiet")
    found = json.loads(out)
    assert code == 0
    assert found["rows_read"] == 200
    assert found["rows_written"] == {"all": 200}


def test_convert_does_not_overwrite_unless_told(table: Path, tmp_path: Path, capsys) -> None:
    arguments = ("convert", table, tmp_path / "t.fl", "--quiet")
    assert run(capsys, *arguments)[0] == 0
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert_one_paragraph(err)
    assert "t.fl" in err
    assert run(capsys, *arguments, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n3\n", "row"),
        ("a,b\n1,\xff\n", "utf-8"),
        ("", "empty"),
        ("a,b\n", ""),
    ],
    ids=["ragged row", "bad encoding", "zero bytes", "no rows"],
)
def test_convert_of_a_bad_csv_names_the_file_and_leaves_nothing(
    content: str, words: str, tmp_path: Path, capsys
) -> None:
    source = tmp_path / "bad.csv"
    source.write_bytes(content.encode("latin-1"))
    code, out, err = run(capsys, "convert", source, tmp_path / "bad.fl", "--quiet")
    assert (code, out) == (1, "")
    assert_one_paragraph(err)
    assert "bad.csv" in err
    assert words.lower() in err.lower()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.csv"]


# --- info, verify --------------------------------------------------------------------------------


def test_info_shows_fields_sizes_and_classes(dataset: Path, capsys) -> None:
    code, out, err = run(capsys, "info", dataset)
    assert (code, err) == (0, "")
    assert "300 rows" in out
    for words in ("float32 [3]", "uint8 [4, 5]", "int32 [*]", "string", "float64 or null", "ratio"):
        assert words in out


def test_info_json_agrees_with_the_data_set(dataset: Path, capsys) -> None:
    code, out, _ = run(capsys, "info", dataset, "--json")
    found = json.loads(out)
    ds = fl.open(dataset)
    assert code == 0
    assert (found["rows"], found["size_bytes"], found["raw_bytes"]) == (300, ds.size_bytes, ds.raw_bytes)
    fields = {field["name"]: field for field in found["fields"]}
    assert list(fields) == list(ds.schema.names)
    assert fields["x"]["statistics"]["mean"] == pytest.approx(ds.statistics["x"].mean.tolist())
    assert sum(fields["label"]["class_counts"].values()) == 300
    assert fields["maybe"]["statistics"]["nulls"] == 60


def test_verify_of_a_sound_data_set(dataset: Path, capsys) -> None:
    code, out, _ = run(capsys, "verify", dataset)
    assert code == 0
    assert "sound" in out
    code, out, _ = run(capsys, "verify", dataset, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["ok"] is True
    assert found["stored_bytes"] > 0


def test_verify_of_a_changed_byte_says_where(dataset: Path, capsys) -> None:
    shard = next(dataset.glob("*.flb"))
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    code, out, err = run(capsys, "verify", dataset)
    assert (code, out) == (1, "")
    assert_one_paragraph(err)
    assert shard.name in err
    code, out, err = run(capsys, "verify", dataset, "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False
    assert json.loads(out)["error"] == "ChecksumError"


@pytest.mark.parametrize("command", ["info", "verify", "bench"])
def test_what_is_no_data_set_is_named(command: str, tmp_path: Path, capsys) -> None:
    code, out, err = run(capsys, command, tmp_path / "nothing.fl")
    assert (code, out) == (1, "")
    assert_one_paragraph(err)
    assert "nothing.fl" in err
    assert "does not exist" in err


# --- usage, Ctrl-C, pipes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice"),
        (["convert", "a.csv"], "destination"),
        (["convert", "a.csv", "b.fl", "--pack", "x"], "NAME=VALUE"),
        (["convert", "a.csv", "b.fl", "--pack", "x=a,,b"], "commas"),
        (["convert", "a.csv", "b.fl", "--split", "train=much"], "a number as the share"),
        (["convert", "a.csv", "b.fl", "--codec", "zip"], "invalid choice"),
        (["bench", "a.fl", "--batch-size", "0"], "at least 1"),
        (["bench", "a.fl", "--epochs", "many"], "at least 1"),
        (["demo", "--seeds", "0"], "at least 1"),
    ],
)
def test_a_wrong_command_ends_with_2_and_points_to_the_help(arguments: list[str], words: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    assert (stopped.value.code, out) == (2, "")
    assert_one_paragraph(err)
    assert words in err
    assert "--help" in err


def test_an_argument_without_meaning_ends_with_2(table: Path, tmp_path: Path, capsys) -> None:
    code, _, err = run(capsys, "convert", table, tmp_path / "t.fl", "--split", "train=.8,validation=.8", "--quiet")
    assert code == 2
    assert_one_paragraph(err)
    assert not list(tmp_path.glob("*.fl"))


@pytest.mark.parametrize("command", ["convert", "info", "verify", "bench", "demo"])
def test_every_command_has_help_with_an_example(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"fastload {command}" in capsys.readouterr().out


def test_version(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"fastload {fl.__version__}\n"


@pytest.mark.parametrize("arguments", [["--debug", "info"], ["info", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], tmp_path: Path, capsys) -> None:
    code, _, err = run(capsys, *arguments, tmp_path / "nothing.fl")
    assert code == 1
    assert "Traceback" in err


def test_help_loads_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, fastload.cli\n"
        "try: fastload.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'pyarrow', 'numba', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stderr == "[]\n"


def test_runs_as_a_module(dataset: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "fastload", "verify", str(dataset)], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0
    assert "sound" in found.stdout


def test_ctrl_c_during_convert_ends_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "long.csv"
    source.write_text("a,b,c\n" + "1,2.5,some text\n" * 3_000_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "fastload", "convert", str(source), str(tmp_path / "long.fl"), "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline_s = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline_s:  # until it writes
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    sent_s = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - sent_s < 2
    assert err == "fastload: interrupted\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.csv"]


def test_a_closed_pipe_is_no_error(dataset: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        found = subprocess.run(
            [sys.executable, "-m", "fastload", "info", str(dataset)],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert "Traceback" not in found.stderr
    assert "Exception ignored" not in found.stderr
