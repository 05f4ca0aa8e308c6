"""The same steps over files, in batches: the same result as in memory, within the memory given."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import fastload as fl
from fastload.clean import (
    DropConstant,
    DropDuplicateColumns,
    DropDuplicates,
    DropMissing,
    FillMissing,
    FlagMissing,
    IsolatedRows,
    LabelNoise,
    OrdinalCodes,
    Outliers,
    Plan,
    RareCategories,
    Standardize,
    check_quality,
    check_statistics,
    clean_file,
    streaming,
)
from fastload.clean.files import open_table, writing
from fastload.clean.hashes import RowHashes
from fastload.clean.sample import Sample
from fastload.clean.step import collect
from fastload.errors import ArgumentError, EmptyError, ExistsError, IngestError


@pytest.fixture
def frame():
    """2,000 rows: gaps, duplicates (far apart as well), outliers, a constant and a repeated column, a label."""
    random = np.random.default_rng(4)
    a = random.normal(10, 2, 1900)
    a[::50] = 99
    frame = pl.DataFrame(
        {
            "a": pl.Series(a).scatter(list(range(7, 1900, 90)), None),
            "b": np.where(np.arange(1900) % 37 == 0, np.nan, random.normal(size=1900)),
            "n": random.integers(0, 1000, 1900),
            "word": random.choice(["x", "y", "z"], 1900, p=[0.6, 0.399, 0.001]),
            "same": ["s"] * 1900,
            "label": random.choice(["u", "v"], 1900),
        }
    ).with_columns(again="n")
    return pl.concat([frame, frame[:60], frame[500:540]])


PLANS = {
    "rows": lambda: [DropDuplicates(keep="last"), DropMissing(columns=["a"]), Outliers(columns=["a"])],
    "learned": lambda: [DropConstant(), DropDuplicateColumns(), FlagMissing(), FillMissing("median"), Standardize()],
    "text": lambda: [RareCategories(min_share=0.05), OrdinalCodes(), FillMissing("most_frequent", columns=["word"])],
    "none": lambda: [
        DropDuplicates(keep="none", columns=["n", "a"], decimals=1),
        FillMissing("mean", columns=["a", "b"]),
    ],
    "far": lambda: [Outliers("mad", action="flag", columns=["a"]), IsolatedRows(columns=["a", "n"])],
    "noise": lambda: [LabelNoise("label", columns=["a", "n"], action="drop")],
}


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "fl"])
@pytest.mark.parametrize("name", PLANS)
def test_files_are_cleaned_as_tables_are(name, kind, frame, tmp_path, monkeypatch):
    source = tmp_path / f"in.{kind}"
    if kind == "csv":
        frame.write_csv(source)
        frame = pl.read_csv(source)  # NaN is text there: taken for missing by either way
        frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
    else:
        with writing(source, {}, overwrite=False) as sink:
            sink.write(frame[:1100])
            sink.write(frame[1100:])
    monkeypatch.setattr(streaming, "BATCH_SHARE", 8192)  # batches of 8 KB
    batches = list(open_table(source).batches(8192))
    assert kind == "fl" or len(batches) > 5
    expected_plan = Plan(PLANS[name]())
    expected = expected_plan.fit_transform(frame)
    for suffix in ("parquet", "arrow"):
        plan = Plan(PLANS[name]())
        report = clean_file(
            source,
            tmp_path / f"out.{suffix}",
            plan,
            memory_bytes=(64 + 128 * (kind == "csv") + 32 * (kind == "fl")) << 20,
        )
        read = pl.read_parquet if suffix == "parquet" else pl.read_ipc
        found = read(tmp_path / f"out.{suffix}")
        assert_equal(found, expected)
        steps = report.steps[2:] if kind == "csv" else report.steps
        told = [(s.step, s.rows_in, s.rows_out, s.cells) for s in steps]
        assert told == [(s.step, s.rows_in, s.rows_out, s.cells) for s in expected_plan.report_.steps]


def assert_equal(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert found.columns == expected.columns
    for name in found.columns:
        if expected.schema[name].is_float():
            a, b = (frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for frame in (found, expected))
            np.testing.assert_allclose(a, b, rtol=1e-9)
        else:
            assert found[name].to_list() == expected[name].to_list()


@pytest.mark.parametrize("kind", ["parquet", "csv", "fl"])
def test_files_are_checked_as_tables_are(kind, frame, tmp_path):
    source = tmp_path / f"in.{kind}"
    if kind == "csv":
        frame.write_csv(source)
    else:
        with writing(source, {}, overwrite=False) as sink:
            sink.write(frame)
    expected, found = check_quality(frame, label="label"), check_quality(source, label="label", memory_bytes=192 << 20)
    assert found.num_missing == expected.num_missing
    assert (found.duplicates, found.near_duplicates) == (expected.duplicates, expected.near_duplicates) == (100, 0)
    assert found.constant_columns == expected.constant_columns == ["same"]
    assert found.duplicate_columns == expected.duplicate_columns == {"again": "n"}
    assert found.label.classes == expected.label.classes
    assert found.label.suspects == expected.label.suspects
    for name in frame.columns:
        assert found.column(name).outliers == expected.column(name).outliers
        assert found.column(name).values == expected.column(name).values


def test_statistics_of_a_data_set_tell_the_same_as_its_rows(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 2)).astype("float32")
    x[4, 1] = np.nan
    columns = {
        "x": x,
        "maybe": np.ma.MaskedArray(random.normal(size=300), np.arange(300) % 7 == 0),
        "same": np.full(300, 3),
        "y": random.integers(0, 3, 300),
    }
    dataset = fl.write(tmp_path / "d.fl", columns)
    rows, quick = check_quality(dataset, label="y"), check_statistics(dataset, label="y")
    for name in ("x[0]", "x[1]", "maybe", "same", "y"):
        a, b = rows.column(name), quick.column(name)
        assert a.missing == b.missing
        assert (a.min, a.max) == (b.min, b.max)
        np.testing.assert_allclose((a.mean, a.std), (b.mean, b.std), rtol=1e-6)
    assert rows.constant_columns == quick.constant_columns == ["same"]
    assert rows.label.classes == quick.label.classes


def test_a_data_set_keeps_its_vectors(tmp_path):
    fl.write(tmp_path / "in.fl", {"x": np.arange(12, dtype="float32").reshape(6, 2) % 8, "word": list("ababab")})
    clean_file(tmp_path / "in.fl", tmp_path / "out.fl", Plan([DropDuplicates()]))
    out = fl.open(tmp_path / "out.fl")
    assert out.schema["x"].shape == (2,)
    assert out.num_rows == 4
    assert out[[0, 3]]["x"].tolist() == [[0, 1], [6, 7]]


def test_what_is_no_cell_of_a_table_comes_through(tmp_path):
    random = np.random.default_rng(0)
    columns = {
        "image": random.integers(0, 255, (300, 4, 5, 3), np.uint8),
        "tokens": [np.arange(i % 7, dtype="int32") for i in range(300)],
        "name": [f"naïve {i}" for i in range(300)],
        "maybe": np.ma.MaskedArray(random.normal(size=300), np.arange(300) % 5 == 0),
        "codes": random.integers(0, 9, (300, 4)),
    }
    dataset = fl.write(tmp_path / "in.fl", columns)
    report = check_quality(dataset)
    assert (report.num_missing, report.duplicates, report.constant_columns) == (60, 0, [])
    clean_file(dataset, tmp_path / "out.fl", Plan([DropMissing(), DropDuplicates()]))
    out = fl.open(tmp_path / "out.fl")
    assert [(f.dtype, f.shape, f.variable) for f in out.schema] == [
        (f.dtype, f.shape, f.variable) for f in dataset.schema
    ]
    rows = np.flatnonzero(np.arange(300) % 5)
    for name in ("image", "codes"):
        assert (out[:][name] == columns[name][rows]).all()
    assert out[5]["tokens"].tolist() == columns["tokens"][rows[5]].tolist()
    assert out[7]["name"] == columns["name"][rows[7]]


def test_text_of_a_csv_is_read_as_what_it_was_in_the_training_data(tmp_path):
    (tmp_path / "train.csv").write_text("a,b\n1,x\n2,y\n?,x\n")
    (tmp_path / "test.csv").write_text("a,b\n,x\n1.5,z\n7,y\n")
    plan = Plan([FillMissing("median")])
    clean_file(tmp_path / "train.csv", tmp_path / "train.parquet", plan)
    assert [s.kind() for s in plan.steps] == ["mark_missing", "repair_types", "fill_missing"]
    plan.save(tmp_path / "plan.toml")
    report = clean_file(tmp_path / "test.csv", tmp_path / "test.parquet", Plan.load(tmp_path / "plan.toml"))
    found = pl.read_parquet(tmp_path / "test.parquet")
    assert found["a"].to_list() == [1.5, 1.5, 7.0]  # 1.5 is no whole number: missing, and filled; told by repair_types
    assert report.steps[1].examples == [(1, "a", "'1.5'")]


def test_a_failed_run_leaves_nothing(frame, tmp_path):
    frame.write_parquet(tmp_path / "in.parquet")
    for name in ("out.parquet", "out.fl", "out.csv"):
        with pytest.raises(EmptyError):
            clean_file(tmp_path / "in.parquet", tmp_path / name, Plan([DropMissing(columns=["a"]), _Nothing()]))
    assert [p.name for p in tmp_path.iterdir()] == ["in.parquet"]


class _Nothing(DropMissing):
    """Drops everything."""

    def _apply(self, frame, work):
        return work.keep(frame, pl.repeat(False, len(frame), eager=True), "all of it")


def test_wrong_places_are_refused(frame, tmp_path):
    frame.write_parquet(tmp_path / "in.parquet")
    (tmp_path / "there.csv").write_text("")
    plan = Plan([DropMissing()])
    with pytest.raises(ExistsError):
        clean_file(tmp_path / "in.parquet", tmp_path / "there.csv", plan)
    with pytest.raises(ArgumentError, match="must end in"):
        clean_file(tmp_path / "in.parquet", tmp_path / "out.xlsx", plan)
    with pytest.raises(ArgumentError, match="67108864"):
        clean_file(tmp_path / "in.parquet", None, plan, memory_bytes=1000)
    for name in ("gone.csv", "in.xlsx"):
        (tmp_path / "in.xlsx").write_text("")
        with pytest.raises(IngestError):
            clean_file(tmp_path / name, None, plan)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(IngestError, match="Parquet"):
        check_quality(tmp_path / "bad.parquet")
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(EmptyError):
        check_quality(tmp_path / "empty.csv")


# --- what is kept between batches ----------------------------------------------------------------


def test_hashes_on_disk_tell_what_those_in_memory_do():
    random = np.random.default_rng(2)
    values = random.integers(0, 3000, 9000)
    frame = pl.DataFrame({"a": values, "t": (values % 7).astype(str).tolist()})
    held, spilled = RowHashes(), RowHashes(100_000)
    for part in frame.iter_slices(500):
        held.add(part)
        spilled.add(part)
    assert spilled.is_spilled
    assert not held.is_spilled
    for keep in ("first", "last", "none"):
        expected = frame.to_pandas().duplicated(keep=False if keep == "none" else keep)
        assert (held.kept(keep) == ~expected).all()
        assert (spilled.kept(keep) == ~expected).all()
    assert held.num_duplicates() == spilled.num_duplicates() == frame.to_pandas().duplicated().sum()
    other = RowHashes()
    other.add(pl.DataFrame({"a": [values[5], -1, values[7]], "t": [str(values[5] % 7), "0", str(values[7] % 7)]}))
    assert other.found_in(spilled).tolist() == [0, 2]
    folder = spilled._folder
    del spilled
    assert not folder.exists()


def test_a_sample_is_fair_and_stays_within_its_bounds():
    shares = []
    for seed in range(30):
        sample = Sample(40_000, seed)
        for start in range(0, 20_000, 500):
            sample.add(pl.DataFrame({"a": np.arange(start, start + 500)}))
        assert not sample.is_whole
        assert 2000 < len(sample.frame) <= 5000
        assert sample.frame["a"].is_sorted()
        shares.append((sample.frame["a"] < 10_000).mean())
    assert abs(np.mean(shares) - 0.5) < 0.01


def test_fences_of_a_sample_are_near_those_of_all_rows():
    values = np.random.default_rng(0).normal(size=100_000)
    whole, part = Outliers(), Outliers()
    collect(whole._learn(None), iter([pl.DataFrame({"a": values})]))
    collect(part._learn(160_000), iter(pl.DataFrame({"a": values}).iter_slices(5000)))
    assert part.low_["a"] == pytest.approx(whole.low_["a"], abs=0.1)
    assert part.low_ != whole.low_


CHILD = """
import json, resource, sys, threading, time
from pathlib import Path
import fastload.clean as clean
from fastload.clean.files import open_table

def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def plan():
    return clean.Plan([clean.MarkMissing(), clean.DropDuplicates(), clean.Outliers("iqr", action="clip"),
                       clean.FillMissing("median"), clean.Standardize(columns=["x0"])])

small, source, out, limit = sys.argv[1:]
clean.clean_file(small, out, plan(), overwrite=True)  # imports, thread pools
before, peak, done = rss(), 0, threading.Event()

def watch():
    global peak
    while not done.is_set():
        peak = max(peak, rss())
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
report = clean.clean_file(source, out, plan(), memory_bytes=int(limit), overwrite=True)
done.set()
watcher.join()
print(json.dumps({"growth": peak - before, "rows_in": report.rows_in, "rows_out": report.rows_out}))
"""


def test_a_table_four_times_the_memory_limit_is_cleaned_within_it(tmp_path):
    """Peak growth of the resident set of a process of its own, against a table of four times the limit (in memory)."""
    limit = 64 << 20
    random = np.random.default_rng(0)
    rows = 4 * limit // (10 * 8)

    def frame(count: int) -> pl.DataFrame:
        return pl.DataFrame({f"x{i}": random.normal(size=count) for i in range(9)}).with_columns(
            pl.Series("key", random.integers(0, 2**40, count))
        )

    frame(1000).write_parquet(tmp_path / "small.parquet")
    with writing(tmp_path / "large.parquet", {}, overwrite=False) as sink:
        written, first = 0, None
        while written < rows:
            part = frame(min(100_000, rows - written))
            first = part if first is None else first
            sink.write(part)
            written += len(part)
        sink.write(first[:5000])
    arguments = [str(tmp_path / name) for name in ("small.parquet", "large.parquet", "out.parquet")]
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments, str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows_in"] == rows + 5000
    assert found["rows_out"] == rows
    assert found["growth"] <= limit, f"{found['growth'] / 2**20:.0f} MiB"
