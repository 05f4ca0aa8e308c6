from __future__ import annotations

import builtins
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, ExistsError, IngestError, MissingExtraError
from fastload.ingest import conversion, convert
from fastload.plan.split import split_keys, split_rows

THREE = {"train": 0.6, "validation": 0.2, "test": 0.2}


@pytest.fixture
def table(tmp_path):
    """A CSV of 1,000 rows with a key of 50 values, and its path."""
    pytest.importorskip("pyarrow")
    path = tmp_path / "in" / "t.csv"
    path.parent.mkdir()
    rows = (f"{i},{i % 50},{i / 8},{'' if i % 10 == 0 else i},w{i % 50}" for i in range(1000))
    path.write_text("i,key,x,gap,word\n" + "\n".join(rows) + "\n")
    return path


# --- packing and choosing -------------------------------------------------------------------------


def test_pack_and_columns(table, tmp_path, read_back):
    summary = convert(table, tmp_path / "t.fl", columns=["word"], pack={"v": ["x", "gap"], "w": ["i"]})
    dataset = Dataset(tmp_path / "t.fl")
    assert dataset.schema.names == ("word", "v", "w")
    values = read_back(tmp_path / "t.fl")
    expected = np.array([[i / 8, np.nan if i % 10 == 0 else i] for i in range(1000)], "float32")
    assert np.array_equal(np.array(values["v"], "float32"), expected, equal_nan=True)
    assert values["w"] == [[i] for i in range(1000)]
    told = {f.name: (f.source, f.stored, f.nulls, f.nans) for f in summary.fields}
    assert told["v"] == ("2 columns: double, int64", "float32 [2]", 0, 100)


def test_packed_fields_stand_where_their_first_column_stood(table, tmp_path):
    convert(table, tmp_path / "t.fl", pack={"v": ["gap", "key"]}, dtypes={"v": "float64"})
    schema = Dataset(tmp_path / "t.fl").schema
    assert schema.names == ("i", "v", "x", "word")
    assert schema["v"].dtype == "float64"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"pack": {"v": ["x", "word"]}},
            IngestError,
            "only single numbers can be packed; this column holds text",
        ),
        ({"pack": {"v": []}}, ArgumentError, "at least one column"),
        ({"pack": {"i": ["x", "gap"]}}, ArgumentError, "the name of another column"),
        ({"pack": {"v": ["x"]}, "dtypes": {"v": "int64"}}, ArgumentError, "must be float32 or float64"),
        ({"split": {"a": 0.5, "b": 0.6}}, ArgumentError, "must sum to 1"),
        ({"split": THREE, "split_key": "nope"}, IngestError, "split_key must name columns of the source"),
        ({"split": THREE, "seed": -1}, ArgumentError, "a seed is an integer"),
        ({"codec": "zip"}, ArgumentError, "codec must be one of"),
    ],
)
def test_arguments(table, tmp_path, options, kind, message):
    with pytest.raises(kind, match=message):
        convert(table, tmp_path / "t.fl", **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_times_are_not_packed(tmp_path):
    source = {"t": np.array(["2020-01-01"], "datetime64[s]"), "x": np.zeros(1)}
    with pytest.raises(IngestError, match=r"this column holds timestamp\[s\]") as caught:
        convert(source, tmp_path / "t.fl", pack={"v": ["x", "t"]})
    assert caught.value.field == "t"


def test_a_number_too_large_for_its_pack(tmp_path):
    with pytest.raises(
        IngestError, match="column 'b': float32 cannot hold so large a number; found 1e\\+300"
    ) as caught:
        convert({"a": np.zeros(2), "b": np.array([1.0, 1e300])}, tmp_path / "t.fl", pack={"v": ["a", "b"]})
    assert (caught.value.row, caught.value.field) == (1, "v")


# --- splitting ------------------------------------------------------------------------------------


def test_split_by_row(table, tmp_path, read_back):
    summary = convert(table, tmp_path / "t.fl", split=THREE, seed=5)
    place = split_rows(0, 1000, THREE, seed=5)
    for number, name in enumerate(THREE):
        assert read_back(tmp_path / f"t.{name}.fl")["i"] == np.flatnonzero(place == number).tolist()
    assert summary.rows_written == dict(zip(THREE, np.bincount(place).tolist(), strict=True))
    assert [len(dataset) for dataset in summary.datasets.values()] == list(summary.rows_written.values())


@pytest.mark.parametrize("key", ["key", "word", "x"])
def test_split_by_key(table, tmp_path, read_back, key):
    convert(table, tmp_path / "t.fl", split=THREE, split_key=key, columns=["i"], seed=1)
    values = {
        "key": np.arange(1000) % 50,
        "word": np.array([f"w{i % 50}" for i in range(1000)]),
        "x": np.arange(1000) / 8,
    }
    place = split_keys(values[key], THREE, seed=1)
    for number, name in enumerate(THREE):
        assert read_back(tmp_path / f"t.{name}.fl") == {"i": np.flatnonzero(place == number).tolist()}


def test_split_of_every_form_of_column(tmp_path, read_back):
    """Ragged, masked and categorical columns are dealt out row by row."""
    rows = range(200)
    source = {
        "i": np.arange(200),
        "r": [list(range(i % 3)) for i in rows],
        "m": np.ma.MaskedArray(np.arange(200), np.arange(200) % 3 == 0),
        "w": [None if i % 7 == 0 else f"w{i % 4}" for i in rows],
        "x": np.arange(400).reshape(200, 2),
    }
    convert(source, tmp_path / "plain", split={"a": 0.5, "b": 0.5})
    seen = []
    for name in "ab":
        values = read_back(tmp_path / f"plain.{name}")
        for i, r, m, w, x in zip(*values.values(), strict=True):
            assert (r, m, w, x) == (
                list(range(i % 3)),
                None if i % 3 == 0 else i,
                None if i % 7 == 0 else f"w{i % 4}",
                [2 * i, 2 * i + 1],
            )
            seen.append(i)
    assert sorted(seen) == list(rows)


def test_a_part_without_rows_is_an_error(table, tmp_path):
    with pytest.raises(IngestError, match="'b' got none of 1,000: give it a larger share, or change seed"):
        convert(table, tmp_path / "t.fl", split={"a": 1 - 1e-6, "b": 1e-6})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_vector_is_no_split_key(tmp_path):
    with pytest.raises(IngestError, match="a split key must be one number or text a row"):
        convert({"x": np.zeros((9, 2))}, tmp_path / "t.fl", split=THREE, split_key="x")


# --- where it is written --------------------------------------------------------------------------


def test_existing_destinations(table, tmp_path):
    convert(table, tmp_path / "t.fl")
    before = Dataset(tmp_path / "t.fl").num_rows
    with pytest.raises(ExistsError, match="pass overwrite=True"):
        convert({"x": np.zeros(3)}, tmp_path / "t.fl")
    assert Dataset(tmp_path / "t.fl").num_rows == before
    with pytest.raises(IngestError, match="at least one row"):
        convert({"x": np.zeros(0)}, tmp_path / "t.fl", overwrite=True)
    assert Dataset(tmp_path / "t.fl").num_rows == before
    convert({"x": np.zeros(3)}, tmp_path / "t.fl", overwrite=True)
    assert Dataset(tmp_path / "t.fl").num_rows == 3
    convert(table, tmp_path / "u.fl", split=THREE)
    with pytest.raises(ExistsError, match=r"u\.validation\.fl|u\.train\.fl"):
        convert(table, tmp_path / "u.fl", split=THREE)


def test_destination_must_lie_apart(table, tmp_path):
    for destination in (table, table.parent / "t.fl", tmp_path):
        if destination == table.parent / "t.fl":
            with pytest.raises(ArgumentError, match="must lie apart from the source"):
                convert(table.parent, destination)
        else:
            with pytest.raises(ArgumentError, match="must lie apart from the source"):
                convert(table, destination, overwrite=True)
    assert table.exists()


def test_what_is_no_source(tmp_path):
    with pytest.raises(IngestError, match="a file or a folder that exists"):
        convert(tmp_path / "no.csv", tmp_path / "t.fl")
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(IngestError, match=r"one of \.csv, \.tsv, .*\.npz, .*; found '\.xlsx'"):
        convert(tmp_path / "t.xlsx", tmp_path / "t.fl")
    convert({"x": np.zeros(3)}, tmp_path / "t.fl")
    with pytest.raises(IngestError, match="a fastload data set already"):
        convert(tmp_path / "t.fl", tmp_path / "u.fl")
    with pytest.raises(IngestError, match="a source must be a path"):
        convert(3, tmp_path / "u.fl")


def test_pyarrow_missing(table, tmp_path):
    """In a process of its own, since pyarrow cannot be unloaded."""
    code = f"""
    import sys
    sys.modules["pyarrow"] = None
    import numpy as np
    from fastload.errors import MissingExtraError
    from fastload.ingest import convert, to_arrow
    convert({{"x": np.arange(3)}}, {str(tmp_path / "t.fl")!r})
    for job, source in ((convert, {str(table)!r}), (to_arrow, {str(tmp_path / "t.fl")!r})):
        try:
            job(source, "never-written")
        except MissingExtraError as error:
            print(error)
    """
    out = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert out.stdout.count('pip install "fastload[arrow]"') == 2
    assert issubclass(MissingExtraError, ImportError)


def test_importing_ingest_is_light():
    heavy = ["pyarrow", "torch", "numba", "rich", "pandas"]
    code = f"import sys, fastload.ingest; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# --- failing and stopping -------------------------------------------------------------------------


class Interrupting:
    """A data set whose reader is told to stop at a row, as by Ctrl-C."""

    def __len__(self):
        return 100_000

    def __getitem__(self, row):
        if row == 50_000:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.001)
        return {"x": np.zeros(64, "float32"), "i": row}


@pytest.mark.parametrize("split", [None, THREE])
def test_ctrl_c_leaves_nothing(tmp_path, split, monkeypatch):
    monkeypatch.setattr(conversion, "FIRST_LOOK_BYTES", 1)
    with pytest.raises(KeyboardInterrupt):
        convert(Interrupting(), tmp_path / "t.fl", split=split)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_a_csv_ends_within_a_second(tmp_path):
    """A process converts 75 MB; interrupted in the middle, it is gone within a second and leaves nothing."""
    pytest.importorskip("pyarrow")
    source = tmp_path / "t.csv"
    line = ",".join(["1.25", "7", "word"] * 5) + "\n"
    source.write_text(",".join(f"c{i}" for i in range(15)) + "\n" + line * 1_000_000)
    code = (
        "import sys; from fastload.ingest import convert; "
        "convert(*sys.argv[1:], split={'a': .5, 'b': .5}, progress=lambda state: print('.', flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, source, tmp_path / "t.fl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.stdout.readline()
        sent_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert time.monotonic() - sent_s < 1
    finally:
        process.kill()
        process.wait()
    assert "KeyboardInterrupt" in errors
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_parts_already_published_are_taken_back(table, tmp_path, monkeypatch):
    """The second of two writers fails while publishing: the first must not stay behind alone."""
    whole = conversion.Writer.close

    def close(writer):
        if writer.path.name == "t.a.fl":  # left last
            raise RuntimeError("boom")
        whole(writer)

    monkeypatch.setattr(conversion.Writer, "close", close)
    with pytest.raises(RuntimeError, match="boom"):
        convert(table, tmp_path / "t.fl", split={"a": 0.5, "b": 0.5})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def readings(monkeypatch, source, early_bytes):
    """Convert with a first look of one chunk; how often each row was read."""
    monkeypatch.setattr(conversion, "FIRST_LOOK_BYTES", 1)
    monkeypatch.setattr(conversion, "EARLY_BYTES", early_bytes)
    monkeypatch.setattr("fastload.ingest.samples.MAX_CHUNK_ROWS", 100)
    seen = np.zeros(len(source), int)

    class Counting:
        def __len__(self):
            return len(source)

        def __getitems__(self, rows):
            seen[rows] += 1
            return [{"a": source[row]} for row in rows]

    return Counting(), seen


def test_an_early_surprise_costs_only_the_beginning(tmp_path, monkeypatch, read_back):
    """8 bytes a row, and chunks begin at rows 16, 116 ...: row 150 is seen within the first 400 rows."""
    values = [None if row == 150 else row for row in range(1000)]
    source, seen = readings(monkeypatch, values, early_bytes=3200)
    convert(source, tmp_path / "t.fl")
    assert read_back(tmp_path / "t.fl") == {"a": values}
    assert set(seen[1:416]) == {2}
    assert set(seen[616:]) == {1}


def test_a_late_surprise_costs_a_second_reading(tmp_path, monkeypatch, read_back):
    values = [None if row == 150 else row + 0.5 * (row == 950) for row in range(1000)]
    source, seen = readings(monkeypatch, values, early_bytes=1)
    convert(source, tmp_path / "t.fl")
    assert read_back(tmp_path / "t.fl") == {"a": values}
    assert set(seen[1:]) == {2}


def test_early_and_late_surprises(tmp_path, monkeypatch, read_back):
    values = [None if row == 150 else row + 0.5 * (row == 950) for row in range(1000)]
    source, seen = readings(monkeypatch, values, early_bytes=3200)
    convert(source, tmp_path / "t.fl")
    assert read_back(tmp_path / "t.fl") == {"a": values}
    assert seen.max() <= 4  # the first row is also read to learn the names


def test_a_source_that_changes_between_readings(tmp_path, monkeypatch):
    """Each reading brings another surprise: the source is not to be trusted."""
    last = iter([(None, 1, 1), (1.5, 1, 1), (1, None, 1), (1, 1, None)])
    monkeypatch.setattr(conversion, "FIRST_LOOK_BYTES", 1)
    monkeypatch.setattr(conversion, "EARLY_BYTES", 1)

    class Unsteady:
        def __len__(self):
            return 40

        def __getitem__(self, row):
            return (row, row, row) if row < 39 else next(last)

    with pytest.raises(IngestError, match="a source must not change while it is read"):
        convert(Unsteady(), tmp_path / "t.fl")
    assert list(tmp_path.iterdir()) == []


# --- what is told ---------------------------------------------------------------------------------


def test_summary(table, tmp_path):
    summary = convert(table, tmp_path / "t.fl", columns=["i", "gap", "word"])
    text = str(summary)
    assert text.splitlines()[0] == "CSV: 1,000 rows read, 1,000 written, 0 refused"
    assert ["gap", "int64", "int64", "100", "0", "0"] in [line.split() for line in text.splitlines()]
    assert summary.bytes_in == table.stat().st_size
    assert summary.bytes_out == Dataset(tmp_path / "t.fl").size_bytes
    assert summary.to_json()["rows_written"] == {"all": 1000}
    assert summary.seconds > 0


def test_progress(table, tmp_path, capsys):
    states = []
    convert(table, tmp_path / "t.fl", progress=states.append)
    assert (states[-1].rows, states[-1].fraction, states[-1].size_bytes) == (1000, 1.0, table.stat().st_size)
    convert(table, tmp_path / "t.fl", overwrite=True)
    assert capsys.readouterr() == ("", "")  # stderr is no terminal here


def test_no_public_function_shares_its_name_with_a_module():
    import fastload.ingest as package

    for name in package.__all__:
        with pytest.raises(ImportError):
            builtins.__import__(f"fastload.ingest.{name}")
