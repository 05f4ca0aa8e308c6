"""Writing, publishing and opening data sets; rows by number; statistics."""

from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastload as fl
from fastload import errors


def names_in(path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


@pytest.fixture
def small(tmp_path) -> fl.Dataset:
    x = np.arange(300, dtype=np.float32).reshape(100, 3)
    return fl.write(
        tmp_path / "small.fl",
        {"x": x, "y": np.arange(100) % 4, "name": [f"n{i}" for i in range(100)]},
        block_bytes=200,
    )


def test_rows_by_number_slice_list_and_mask(small):
    assert len(small) == 100
    assert small[7]["x"].tolist() == [21, 22, 23]
    assert small[-1]["name"] == "n99"
    assert small[np.int64(3)]["y"] == 3
    assert small[[3, 1, 1]]["name"] == ["n3", "n1", "n1"]
    assert small[10:14]["y"].tolist() == [2, 3, 0, 1]
    assert small[::-50]["name"] == ["n99", "n49"]
    assert small[np.arange(100) > 97]["name"] == ["n98", "n99"]
    assert small[[]]["x"].shape == (0, 3)
    assert [row["name"] for row in small.__getitems__([5, 0])] == ["n5", "n0"]


@pytest.mark.parametrize("index", [100, -101, [0, 100], np.array([[-101]]).ravel()])
def test_rows_that_are_not_there(small, index):
    with pytest.raises(errors.RowIndexError, match=r"row -?\d+ was asked for; rows are numbered 0 to 99"):
        small[index]


@pytest.mark.parametrize("index", ["3", 1.5, [0.5], np.ones(7, bool)])
def test_rows_are_chosen_by_integers(small, index):
    with pytest.raises(errors.RowIndexError):
        small[index]


def test_selections(small):
    assert small.select("y", "x").schema.names == ("y", "x")
    assert small.select("y")[5] == {"y": 1}
    x, y = small.astuple("x", "y")[5]
    assert (x.tolist(), y) == ([15, 16, 17], 1)
    with pytest.raises(errors.UnknownFieldError, match="no field 'z'; the fields are 'x', 'y', 'name'"):
        small.select("z")
    assert fl.open(small.path, ["name"])[2] == {"name": "n2"}


def test_pickle_opens_again(small):
    again = pickle.loads(pickle.dumps(small.select("y")))
    assert again.schema.names == ("y",)
    assert again[50] == small.select("y")[50]


def test_threads_may_share_a_data_set(small):
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda i: small[[i, 99 - i]]["x"][:, 0].tolist(), range(100)))
    assert batches == [[3 * i, 3 * (99 - i)] for i in range(100)]


DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read(tmp_path_factory, data):
    """Any dtype, shape, codec and block size; statistics equal NumPy's."""
    dtype = data.draw(st.sampled_from(DTYPES))
    rows = data.draw(st.integers(1, 200))
    shape = tuple(data.draw(st.lists(st.integers(1, 4), max_size=3)))
    codec = data.draw(st.sampled_from(["raw", "lz4", "lz4hc"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = rng.integers(-100, 100, (rows, *shape)).astype(dtype)
    path = tmp_path_factory.mktemp("any") / "d.fl"
    ds = fl.write(path, {"v": values}, codec=codec, block_bytes=data.draw(st.integers(1, 3000)))
    np.testing.assert_array_equal(ds[:]["v"], values)
    chosen = rng.integers(0, rows, 20)
    np.testing.assert_array_equal(ds[chosen]["v"], values[chosen])
    np.testing.assert_array_equal(np.concatenate([b["v"] for b in ds.batches(7)]), values)
    ds.verify()
    statistics = ds.statistics["v"]
    wide = values.astype(np.float64)
    columns = len(shape) == 1 or (len(shape) == 3 and shape[-1] <= 4)
    flat = wide.reshape(-1, shape[-1]) if columns else wide.reshape(-1, 1)
    for name, expected in [
        ("mean", flat.mean(0)), ("std", flat.std(0)), ("min", flat.min(0)), ("max", flat.max(0)),
        ("count", np.full(flat.shape[1], len(flat))),
    ]:  # fmt: skip
        np.testing.assert_allclose(np.atleast_1d(getattr(statistics, name)), expected, rtol=1e-12, atol=1e-12)
    if not shape and np.dtype(dtype).kind in "biu":
        found, counts = np.unique(values, return_counts=True)
        assert statistics.class_counts == dict(zip(found.tolist(), counts.tolist(), strict=True))


def test_statistics_of_difficult_values(tmp_path):
    x = np.array([1.0, np.nan, np.inf, -np.inf, 3.0, 1e300], np.float64)
    big = np.array([2**62, 2**62 + 1, -(2**62), 0, 1, 2], np.int64)
    unsigned = np.array([2**64 - 1, 0, 1, 2, 3, 4], np.uint64)
    ds = fl.write(tmp_path / "d.fl", {"x": x, "big": big, "unsigned": unsigned}, block_bytes=50)
    s = ds.statistics["x"]
    assert (s.count, s.nans, s.infinities, s.min, s.max) == (3, 1, 2, -np.inf, np.inf)
    assert s.mean == pytest.approx(1e300 / 3)
    assert (ds.statistics["big"].min, ds.statistics["big"].max) == (-(2**62), 2**62 + 1)  # exact
    assert ds.statistics["unsigned"].max == 2**64 - 1
    empty = fl.write(tmp_path / "e.fl", {"x": np.full(3, np.nan)})
    assert empty.statistics["x"].count == 0
    assert np.isnan(empty.statistics["x"].mean)


def test_values_near_the_largest_float_have_an_infinite_deviation(tmp_path):
    for values in ([1.797e308, -1.797e308], [2.57e300, 1.797e308, 1.797e308, -1e308]):
        s = fl.write(tmp_path / "x.fl", {"x": np.array(values)}, overwrite=True).statistics["x"]
        assert (s.min, s.max, s.std) == (min(values), max(values), np.inf)


def test_mean_and_deviation_far_from_zero(tmp_path):
    """The naive sum of squares loses all digits here."""
    x = 1e8 + np.random.default_rng(0).normal(size=(20_000, 2))
    ds = fl.write(tmp_path / "d.fl", {"x": x}, block_bytes=10_000)
    np.testing.assert_allclose(ds.statistics["x"].std, x.std(0), rtol=1e-7)


def test_categories_grow_over_appends_and_shards(tmp_path):
    path = tmp_path / "c.fl"
    fields = [fl.Field("c", "int32", categories=True, nullable=True)]
    with fl.Writer(path, fields, block_bytes=8, shard_bytes=300) as writer:
        writer.append({"c": ["b", "a", None, "b"]})
        writer.append({"c": fl.Categorical(np.array([1, 0, 0]), ["z", "a"], np.array([True, True, False]))})
    with fl.Writer(path, fields, append=True) as writer:
        writer.append({"c": ["new", "b"]})
    ds = fl.open(path)
    names = ds.categories("c")
    read = [names[r["c"]] if r["c_valid"] else None for r in (ds[i] for i in range(len(ds)))]
    assert read == ["b", "a", None, "b", "a", "z", None, "new", "b"]
    assert ds.statistics["c"].class_counts == {"a": 2, "b": 3, "new": 1, "z": 1}
    assert ds.statistics["c"].nulls == 2
    assert ds.num_shards > 1


def test_overwrite_and_append_leave_only_what_the_manifest_names(tmp_path):
    path = tmp_path / "d.fl"
    fl.write(path, {"x": np.arange(10)})
    with pytest.raises(errors.ExistsError, match="overwrite=True to replace it or append=True"):
        fl.write(path, {"x": np.arange(3)})
    old = fl.open(path)
    fl.write(path, {"x": np.arange(3)}, overwrite=True)
    assert old[9]["x"] == 9  # still mapped
    with fl.Writer(path, [fl.Field("x", "int64")], append=True) as writer:
        writer.append({"x": np.array([7])})
    assert fl.open(path)[:]["x"].tolist() == [0, 1, 2, 7]
    assert len(names_in(path)) == 3
    with pytest.raises(errors.SchemaError, match="cannot append"):
        fl.Writer(path, [fl.Field("x", "int32")], append=True)


def test_a_failing_writer_leaves_nothing(tmp_path):
    path = tmp_path / "d.fl"
    with pytest.raises(ZeroDivisionError), fl.Writer(path, [fl.Field("x", "int64")], shard_bytes=100) as writer:
        writer.append({"x": np.arange(100_000)})
        assert any(name.endswith(".flb") for name in names_in(path))
        raise ZeroDivisionError
    assert not path.exists()
    fl.write(path, {"x": np.arange(4)})
    before = names_in(path)
    with pytest.raises(errors.DtypeError), fl.Writer(path, [fl.Field("x", "int64")], overwrite=True) as writer:
        writer.append({"x": np.arange(5)})
        writer.append({"x": np.arange(5.0)})
    assert names_in(path) == before
    assert fl.open(path)[:]["x"].tolist() == [0, 1, 2, 3]


def test_one_writer_at_a_time(tmp_path):
    with fl.Writer(tmp_path / "d.fl", [fl.Field("x", "int64")]) as writer:
        with pytest.raises(errors.LockedError, match="another writer is at work"):
            fl.Writer(tmp_path / "d.fl", [fl.Field("x", "int64")])
        writer.append({"x": np.arange(3)})
    assert len(fl.open(tmp_path / "d.fl")) == 3
    with pytest.raises(errors.ClosedError):
        writer.append({"x": np.arange(3)})


def test_places_that_are_no_place_for_a_data_set(tmp_path):
    (tmp_path / "file").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("precious")
    data = {"x": np.arange(3)}
    with pytest.raises(errors.ExistsError, match="is a file"):
        fl.write(tmp_path / "file", data)
    with pytest.raises(errors.ExistsError, match="other files in it"):
        fl.write(tmp_path / "folder", data, overwrite=True)
    with pytest.raises(errors.FileIOError, match="cannot make the folder"):
        fl.write(tmp_path / "no" / "where", data)
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "precious"


def test_opening_what_is_no_data_set(tmp_path, small):
    with pytest.raises(errors.NotADatasetError, match="does not exist"):
        fl.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.NotADatasetError, match=r"holds no manifest\.json"):
        fl.open(tmp_path / "empty")
    (tmp_path / "data.csv").write_text("a,b\n")
    with pytest.raises(errors.NotADatasetError, match=r"is a file; make one with fastload\.convert"):
        fl.open(tmp_path / "data.csv")
    manifest = small.path / "manifest.json"
    manifest.write_text(json.dumps({"format": "other"}))
    with pytest.raises(errors.ManifestError, match="must start with its own checksum"):
        fl.open(small.path)


def test_a_folder_without_write_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(errors.FileIOError):
        fl.write(tmp_path / "d.fl", {"x": np.arange(3)})


FIELDS = [
    fl.Field("x", "float32", (2,)),
    fl.Field("tokens", "int32", variable=True),
    fl.Field("text", "string"),
    fl.Field("c", "int32", categories=True),
]


def ragged_text(*rows):
    return fl.Ragged(np.cumsum([0, *map(len, rows)]), np.frombuffer(b"".join(rows), np.uint8))


def columns(**changed):
    return {
        "x": np.zeros((2, 2), np.float32), "tokens": [np.zeros(1, np.int32)] * 2, "text": ["a", "b"], "c": ["u", "v"],
    } | changed  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": np.zeros((2, 2))}, errors.DtypeError, r"field 'x' holds float32, got an array of float64.*astype"),
        ({"x": np.zeros((2, 3), np.float32)}, errors.ShapeError, r"takes arrays of shape \[rows, 2\], got \[2, 3\]"),
        ({"x": np.zeros((3, 2), np.float32)}, errors.ShapeError, r"equally many rows, got x: 3, tokens: 2"),
        ({"x": np.float32(1)}, errors.ShapeError, "takes arrays of shape"),
        ({"x": np.array([["a", "b"]] * 2)}, errors.DtypeError, "got an array of <U1"),
        ({"x": np.ma.masked_all((2, 2), np.float32)}, errors.SchemaError, "is not nullable, but row 0 is null"),
        ({"tokens": [np.zeros(1, np.int64)] * 2}, errors.DtypeError, "row 0 is of int64"),
        ({"tokens": [np.zeros((1, 1), np.int32)] * 2}, errors.ShapeError, "must be one-dimensional"),
        ({"tokens": [np.zeros(1, np.int32), None]}, errors.SchemaError, "row 1 is null"),
        ({"tokens": fl.Ragged(np.array([0, 5, 1]), np.zeros(5, np.int32))}, errors.ShapeError, "offsets must ascend"),
        ({"tokens": fl.Ragged(np.array([0, 1, 9]), np.zeros(5, np.int32))}, errors.ShapeError, "at most 5"),
        ({"tokens": [[1, 2], [1.5]]}, errors.DtypeError, r"runs of int32, row 1 is of float64: \[1.5\]"),
        ({"tokens": [[1, 2], [1 << 40]]}, errors.DtypeError, "row 1 is of int64"),
        ({"tokens": [[1, 2], [1 << 80]]}, errors.DtypeError, "row 1 is of object"),
        ({"tokens": [[1, 2], [True]]}, errors.DtypeError, "row 1 is of bool"),
        ({"tokens": [[1, 2], [[1], [2, 3]]]}, errors.ShapeError, "row 1 must be one-dimensional, got nested lists"),
        ({"text": ["a", 3]}, errors.DtypeError, "holds string, row 1 is a int"),
        ({"text": ["a", "\ud800"]}, errors.DtypeError, "cannot be written as UTF-8: surrogates not allowed"),
        ({"text": ragged_text(b"a", b"\xff")}, errors.DtypeError, "holds string, but row 1 is not UTF-8"),
        ({"text": ragged_text(b"\xc3", b"\xa4")}, errors.DtypeError, "a row starts within a character"),
        ({"c": ["u", "\udfff"]}, errors.DtypeError, "categories must be strings of Unicode text"),
        ({"c": fl.Categorical(np.array([0, 1]), ["u", 1])}, errors.DtypeError, "categories must be strings"),
        ({"text": ["a", b"b"]}, errors.DtypeError, "row 1 is a bytes"),
        ({"c": ["u", 1]}, errors.DtypeError, r"holds categories \(str\), got a int"),
        ({"c": np.zeros(2, np.int32)}, errors.DtypeError, "give str or a Categorical"),
        (
            {"c": fl.Categorical(np.array([0, 2]), ["u", "v"])},
            errors.SchemaError,
            r"must lie in 0 \.\. 1, got 0 \.\. 2",
        ),
        ({"y": np.zeros(2)}, errors.UnknownFieldError, "unknown 'y'"),
    ],
)
def test_columns_that_do_not_fit(tmp_path, changed, error, message):
    with pytest.raises(error, match=message), fl.Writer(tmp_path / "d.fl", FIELDS) as writer:
        writer.append(columns(**changed))
    assert not (tmp_path / "d.fl").exists()


def test_missing_columns_and_empty_data(tmp_path):
    with pytest.raises(errors.UnknownFieldError, match="missing 'x'"), fl.Writer(tmp_path / "d.fl", FIELDS) as writer:
        writer.append({k: v for k, v in columns().items() if k != "x"})
    with pytest.raises(errors.EmptyError, match="at least one row"):
        fl.write(tmp_path / "d.fl", {"x": np.empty((0, 3))})
    with pytest.raises(errors.ArgumentError, match="at least one column"):
        fl.write(tmp_path / "d.fl", {})
    assert not (tmp_path / "d.fl").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "zip"}, "codec must be one of raw, lz4, lz4hc; got 'zip'"),
        ({"block_bytes": 0}, "block_bytes must be 1 to"),
        ({"block_bytes": 1 << 40}, "block_bytes must be 1 to"),
        ({"shard_bytes": 0}, "shard_bytes at least 1"),
        ({"num_workers": -1}, "num_workers must be at least 0"),
    ],
)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        fl.write(tmp_path / "d.fl", {"x": np.arange(3)}, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "int8"), "name must be a str of 1 to 255 bytes"),
        (("x", "int7"), "dtype must be one of bool, int8"),
        (("x", "int8", (0,)), "sizes of at least 1"),
        (("x", "string", (3,)), "no fixed shape"),
        (("x", "float32", (), False, False, True), "categories are scalar int32 codes"),
    ],
)
def test_impossible_fields(arguments, message):
    with pytest.raises(errors.SchemaError, match=message):
        fl.Field(*arguments)


def test_names_beside_a_field_are_taken():
    with pytest.raises(errors.SchemaError, match="'x_valid' comes from field 'x' and from field 'x_valid'"):
        fl.Schema([fl.Field("x", "int8", nullable=True), fl.Field("x_valid", "bool")])


def test_many_rows_at_once_make_shards_of_the_size_asked(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (40_000, 10, 10)).astype(np.uint8)
    ds = fl.write(tmp_path / "d.fl", {"x": x}, codec="raw", block_bytes=20_000, shard_bytes=1_000_000)
    sizes = sorted(p.stat().st_size for p in ds.path.glob("*.flb"))
    assert len(sizes) == 4
    assert sizes[-1] < 1_400_000
    np.testing.assert_array_equal(ds[:]["x"], x)


def test_rows_appended_one_by_one_make_whole_blocks(tmp_path):
    with fl.Writer(tmp_path / "d.fl", [fl.Field("x", "int64")], block_bytes=800) as writer:
        for i in range(450):
            writer.append({"x": np.array([i])})
        assert writer.num_rows == 450
    ds = fl.open(tmp_path / "d.fl")
    assert ds.num_blocks == 5
    assert ds[:]["x"].tolist() == list(range(450))
