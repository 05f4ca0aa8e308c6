from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, IngestError
from fastload.ingest import convert

UTC = datetime.timezone.utc


def put(table, path):
    """Write a table as the kind of file its name says."""
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=7)
    elif path.suffix == ".arrows":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    else:
        feather.write_feather(table, path, compression="lz4", chunksize=5)
    return path


SOURCES = ("t.parquet", "t.arrow", "t.feather", "t.arrows", "memory")


@pytest.fixture
def load(tmp_path, read_back):
    """Convert a table through one kind of source: (schema, values, summary)."""

    def run(table, source="t.arrow", **options):
        where = table if source == "memory" else put(table, tmp_path / source)
        summary = convert(where, tmp_path / "t.fl", overwrite=True, **options)
        return Dataset(tmp_path / "t.fl").schema, read_back(tmp_path / "t.fl"), summary

    return run


DAY = datetime.date(2020, 1, 2)
MOMENT = datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
# (Arrow type, values, dtype stored, values stored)
TYPES = [
    (pa.bool_(), [True, False], "bool", [True, False]),
    *(
        (getattr(pa, n)(), [1, 2], n, [1, 2])
        for n in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    ),
    *((getattr(pa, n)(), [1.5, -2.0], n, [1.5, -2.0]) for n in ("float16", "float32", "float64")),
    (pa.decimal128(6, 2), [decimal.Decimal("1.25"), decimal.Decimal("-3.5")], "float64", [1.25, -3.5]),
    (pa.date32(), [DAY, DAY], "int32", [18263, 18263]),
    (pa.date64(), [DAY, DAY], "int64", [1577923200000] * 2),
    (pa.time32("s"), [datetime.time(0, 1)] * 2, "int32", [60, 60]),
    (pa.time64("us"), [datetime.time(0, 0, 1)] * 2, "int64", [1000000] * 2),
    (pa.timestamp("ms", "UTC"), [MOMENT, MOMENT], "int64", [1577934245000] * 2),
    (pa.duration("ns"), [datetime.timedelta(seconds=1)] * 2, "int64", [1000000000] * 2),
    (pa.string(), ["ä", "ä"], "category", ["ä", "ä"]),
    (pa.string(), ["ä", ""], "string", ["ä", ""]),
    (pa.large_string(), ["a", "b"], "string", ["a", "b"]),
    (pa.string_view(), ["a", "b"], "string", ["a", "b"]),
    (pa.binary(), [b"a\xff", b""], "bytes", [b"a\xff", b""]),
    (pa.large_binary(), [b"a", b"b"], "bytes", [b"a", b"b"]),
    (pa.binary(2), [b"ab", b"cd"], "bytes", [b"ab", b"cd"]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b"], "category", ["a", "b"]),
    (pa.dictionary(pa.int32(), pa.int64()), [7, 9], "int64", [7, 9]),
    (pa.list_(pa.int16()), [[1, 2], []], "int16 [variable]", [[1, 2], []]),
    (pa.large_list(pa.float32()), [[1.5], [2.5, 3.5]], "float32 [variable]", [[1.5], [2.5, 3.5]]),
    (pa.list_(pa.bool_()), [[True], []], "bool [variable]", [[True], []]),
    (pa.list_(pa.float32(), 2), [[1, 2], [3, 4]], "float32 [2]", [[1, 2], [3, 4]]),
    (pa.list_(pa.list_(pa.int8(), 2), 1), [[[1, 2]], [[3, 4]]], "int8 [1, 2]", [[[1, 2]], [[3, 4]]]),
]


# Parquet gives these back as another type, or not at all
NOT_IN_PARQUET = [
    pa.float16(),
    pa.date64(),
    pa.time32("s"),
    pa.string_view(),
    pa.list_(pa.list_(pa.int8(), 2), 1),
]
IN_FILES = [
    pytest.param(source, *row, id=f"{source}-{row[0]}-{row[2]}")
    for source in ("t.parquet", "t.arrow", "memory")
    for row in TYPES
    if source != "t.parquet" or row[0] not in NOT_IN_PARQUET
]


@pytest.mark.parametrize(("source", "kind", "given", "dtype", "expected"), IN_FILES)
def test_types(load, source, kind, given, dtype, expected):
    _, values, summary = load(pa.table({"f": pa.array(given, kind)}), source)
    assert summary.fields[0].stored == dtype
    assert values["f"] == expected


@pytest.mark.parametrize(
    ("source", "kind", "given", "dtype", "expected"), [p for p in IN_FILES if p.values[0] != "t.parquet"]
)
def test_missing_values_and_slices(load, source, kind, given, dtype, expected):
    """Nulls of every type, in an array that begins in the middle of its buffers."""
    table = pa.table({"f": pa.array([given[0], given[1], None, given[1], given[0], None], kind).slice(1)})
    schema, values, summary = load(table, source)
    assert schema["f"].nullable
    if dtype not in ("string", "category"):
        assert summary.fields[0].stored == dtype
    assert values["f"] == [expected[1], None, expected[1], expected[0], None]
    assert summary.fields[0].nulls == 2


def test_garbage_under_missing_values_is_not_stored(load):
    """Arrow allows anything under a null; nothing of it may reach the file."""
    validity = pa.py_buffer(b"\x02")
    offsets = pa.py_buffer(np.array([0, 6, 9], np.int32))
    text = pa.Array.from_buffers(pa.string(), 2, [validity, offsets, pa.py_buffer(b"secretyes")])
    runs = pa.Array.from_buffers(
        pa.list_(pa.int8()), 2, [validity, offsets], children=[pa.array(np.arange(9, dtype=np.int8))]
    )
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4]), 2, mask=pa.array([True, False]))
    _, values, _ = load(pa.table({"t": text, "r": runs, "x": fixed}), "memory", dtypes={"t": "string"})
    assert values == {"t": [None, "yes"], "r": [None, [6, 7, 8]], "x": [None, [3, 4]]}


@pytest.mark.parametrize("source", SOURCES)
def test_sources_agree(load, source):
    rows = 23
    table = pa.table({"i": range(rows), "x": [None, *np.arange(rows - 1) / 4], "t": [f"w{i % 3}" for i in range(rows)]})
    schema, values, summary = load(table, source)
    assert values == table.to_pydict()
    assert [f.nullable for f in schema] == [False, True, False]
    assert summary.rows_read == rows


def test_a_null_known_only_from_a_late_row(load, monkeypatch):
    """IPC files have no statistics: the first missing value restarts, and an Arrow text column becomes
    strings.
    """
    monkeypatch.setattr("fastload.ingest.conversion.FIRST_LOOK_BYTES", 1)
    monkeypatch.setattr("fastload.ingest.conversion.EARLY_BYTES", 1)
    table = pa.table({"i": [*range(40), None], "t": [*["a", "b"] * 20, "c"]})
    schema, values, _ = load(table, "t.arrows", max_categories=2)
    assert schema["i"].nullable
    assert schema["t"].dtype == "string"
    assert values == table.to_pydict()


def test_missing_elements_of_lists(load):
    _, values, _ = load(pa.table({"x": pa.array([[1.0, None]], pa.list_(pa.float32()))}))
    assert np.isnan(values["x"][0][1])
    with pytest.raises(IngestError, match="must not have missing elements") as caught:
        load(pa.table({"x": pa.array([[1], [], [2, None]], pa.list_(pa.int64()))}))
    assert (caught.value.row, caught.value.field) == (2, "x")
    with pytest.raises(IngestError, match="must not have missing elements") as caught:
        load(pa.table({"x": pa.array([None, [1, 2], [2, None]], pa.list_(pa.int64(), 2))}))
    assert caught.value.row == 2


def test_tensors_and_structs(load):
    tensor = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int32(), (2, 3)),
        pa.array([list(range(6)), list(range(6, 12))], pa.list_(pa.int32(), 6)),
    )
    struct = pa.array(
        [{"lat": 1.0, "at": {"h": 5}}, None],
        pa.struct({"lat": pa.float64(), "at": pa.struct({"h": pa.int8()})}),
    )
    schema, values, _ = load(pa.table({"x": tensor, "s": struct}), "t.arrow")
    assert schema["x"].shape == (2, 3)
    assert values == {
        "x": np.arange(12).reshape(2, 2, 3).tolist(),
        "s.lat": [1.0, None],
        "s.at.h": [5, None],
    }
    _, values, _ = load(pa.table({"x": tensor, "s": struct}), "t.arrow", columns=["s.lat"])
    assert values == {"s.lat": [1.0, None]}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.list_(pa.string()), ["a"]),
        (pa.list_(pa.list_(pa.int8())), [[1]]),
        (pa.map_(pa.string(), pa.int8()), [("a", 1)]),
        (pa.month_day_nano_interval(), (1, 2, 3)),
    ],
)
def test_types_that_have_no_field(load, kind, value):
    with pytest.raises(IngestError, match=r"a (list|column) must hold") as caught:
        load(pa.table({"i": [1], "f": pa.array([value], kind)}), "t.arrow")
    assert caught.value.field == "f"


def test_overrides(load):
    table = pa.table(
        {
            "f": [0.1, 2.0],
            "i": [1, 2],
            "s": ["1", " 2"],
            "w": [3, 3],
            "d": pa.array([DAY, DAY]),
            "m": pa.array([MOMENT, MOMENT], pa.timestamp("s")),
            "iso": ["2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z"],
            "b": [b"x", b"y"],
        }
    )
    wanted = {
        "f": "float32",
        "i": "bfloat16",
        "s": "int8",
        "w": "category",
        "d": "timestamp",
        "m": "timestamp[ms]",
        "iso": "timestamp",
        "b": "string",
    }
    schema, values, summary = load(table, dtypes=wanted)
    assert [f.dtype for f in schema] == [
        "float32",
        "bfloat16",
        "int8",
        "int32",
        "int64",
        "int64",
        "int64",
        "string",
    ]
    assert values["s"] == [1, 2]
    assert values["w"] == ["3", "3"]
    assert values["d"] == [1577923200] * 2
    assert values["m"] == [1577934245000] * 2
    assert values["iso"] == [1577934245000000] * 2
    assert values["b"] == ["x", "y"]
    told = {f.name: (f.source, f.coerced) for f in summary.fields}
    assert told["f"] == ("double", 1)
    assert told["m"] == ("timestamp[ms]", 0)


@pytest.mark.parametrize(
    ("values", "dtype", "message", "row"),
    [
        ([1.0, float("nan")], "int64", "int64 cannot hold it; found nan", 1),
        ([1.0, 1.5], "int8", "whole numbers only; found 1.5", 1),
        ([1, 300], "int8", "holds -128 to 127; found 300", 1),
        (["1", "x"], "float32", "float was asked for; found 'x'", 1),
        ([1, 2], "timestamp", "a timestamp must come from dates or times", 0),
        (["2020-01-01", "soon"], "timestamp", "found 'soon'", 1),
        ([b"a", b"\xff"], "string", "string was asked for", 1),
        ([1, 2], "bytes", "bytes must come from text or bytes", 0),
    ],
)
def test_overrides_that_values_do_not_fit(load, tmp_path, values, dtype, message, row):
    with pytest.raises(IngestError, match=message) as caught:
        load(pa.table({"f": values}), "t.arrow", dtypes={"f": dtype})
    assert (caught.value.row, caught.value.field, caught.value.path.name) == (row, "f", "t.arrow")
    assert not list(tmp_path.glob("*.fl"))


def test_text_that_is_not_utf_8(load):
    array = pa.array([b"a", b"\xff"]).view(pa.string())
    with pytest.raises(IngestError, match="Invalid UTF8") as caught:
        load(pa.table({"t": array}), "t.arrow")
    assert caught.value.field == "t"


def test_folders(tmp_path, read_back):
    """Files in order of names, hidden ones left out, a narrower type widened, folder names as columns."""
    for year, kind in ((2012, pa.int32()), (2013, pa.int64())):
        folder = tmp_path / "data" / f"year={year}" / "city=a%20b"
        folder.mkdir(parents=True)
        put(pa.table({"i": pa.array([year * 10], kind)}), folder / "p.parquet")
    (tmp_path / "data" / "_SUCCESS").touch()
    (tmp_path / "data" / ".part.crc").touch()
    convert(tmp_path / "data", tmp_path / "t.fl")
    assert read_back(tmp_path / "t.fl") == {"i": [20120, 20130], "year": [2012, 2013], "city": ["a b", "a b"]}
    convert(tmp_path / "data", tmp_path / "u.fl", columns=["year"])
    assert read_back(tmp_path / "u.fl") == {"year": [2012, 2013]}


def test_folders_that_do_not_fit_together(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(IngestError, match="must hold files to convert"):
        convert(folder, tmp_path / "t.fl")
    put(pa.table({"i": [1]}), folder / "a.parquet")
    put(pa.table({"j": [1]}), folder / "b.parquet")
    with pytest.raises(IngestError, match="must have the same columns"):
        convert(folder, tmp_path / "t.fl")
    put(pa.table({"i": ["x"]}), folder / "b.parquet")
    with pytest.raises(IngestError, match="must agree on their columns' types"):
        convert(folder, tmp_path / "t.fl")
    put(pa.table({"i": [1]}), folder / "c.arrow")
    with pytest.raises(IngestError, match="of one kind; found Arrow, Parquet"):
        convert(folder, tmp_path / "t.fl")


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.arrows"])
def test_damaged_and_foreign_files(tmp_path, name):
    path = tmp_path / name
    for content in (b"", b"PAR1", b"ARROW1\0\0", b"not a table at all, but long enough to look like one"):
        path.write_bytes(content)
        with pytest.raises(IngestError, match=r"must be readable|at least one row") as caught:
            convert(path, tmp_path / "t.fl")
        assert caught.value.path == path
    put(pa.table({"i": range(100)}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IngestError, match="must be readable"):
        convert(path, tmp_path / "t.fl")
    assert not list(tmp_path.glob("*.fl"))


def test_feather_version_1_is_named(tmp_path):
    (tmp_path / "t.feather").write_bytes(b"FEA1" + bytes(60))
    with pytest.raises(IngestError, match="Feather version 1 is not read"):
        convert(tmp_path / "t.feather", tmp_path / "t.fl")


@pytest.mark.parametrize("source", SOURCES)
def test_no_rows(load, source):
    with pytest.raises(IngestError, match="at least one row; it has none"):
        load(pa.table({"i": pa.array([], pa.int64())}), source)


def test_duplicate_columns(load):
    with pytest.raises(IngestError, match="column names must be unique") as caught:
        load(pa.table([[1], [2]], names=["a", "a"]), "t.arrow")
    assert caught.value.field == "a"


def test_csv_options_have_no_meaning_here(load):
    for source in ("t.parquet", "t.arrow", "memory"):
        with pytest.raises(ArgumentError, match="delimiter has no meaning for"):
            load(pa.table({"i": [1]}), source, delimiter=";")


def test_pandas_frames(tmp_path, read_back):
    pandas = pytest.importorskip("pandas")
    convert(pandas.DataFrame({"i": [1, 2], "t": pandas.Categorical(["a", "b"])}), tmp_path / "t.fl")
    assert read_back(tmp_path / "t.fl") == {"i": [1, 2], "t": ["a", "b"]}
