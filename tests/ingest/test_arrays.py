from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from fastload.block.dataset import Dataset
from fastload.errors import ArgumentError, IngestError
from fastload.ingest import arrays, convert
from fastload.schema import Categorical, Ragged

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


@pytest.fixture
def load(tmp_path, read_back):
    def run(source, **options):
        summary = convert(source, tmp_path / "t.fl", overwrite=True, **options)
        return Dataset(tmp_path / "t.fl").schema, read_back(tmp_path / "t.fl"), summary

    return run


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 64)


def saved(path, value, **options):
    np.save(path, value, **options) if path.suffix == ".npy" else np.savez(path, **value)
    return path


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 2)])
def test_npy(tmp_path, load, small_chunks, dtype, order, shape):
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype, order=order)
    schema, stored, _ = load(saved(tmp_path / "a.npy", values), names=["v"])
    assert (schema["v"].dtype, schema["v"].shape, schema["v"].nullable) == (dtype, shape[1:], False)
    assert stored["v"] == values.tolist()


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz(tmp_path, load, small_chunks, write):
    values = {
        "x": np.arange(30, dtype="float32").reshape(10, 3),
        "y": np.arange(10),
        "f": np.asfortranarray(np.arange(20).reshape(10, 2)),
        "s": np.array([f"w{i}" for i in range(10)]),
        "big": np.arange(10, dtype=">i4"),
    }
    write(tmp_path / "a.npz", **values)
    schema, stored, _ = load(tmp_path / "a.npz")
    assert stored == {name: value.tolist() for name, value in values.items()}
    assert schema["big"].dtype == "int32"


def test_structured_arrays_are_columns(tmp_path, load):
    values = np.array([(1, 2.5), (3, 4.5)], [("i", "<i4"), ("x", ">f8")])
    schema, stored, _ = load(saved(tmp_path / "a.npy", values))
    assert stored == {"i": [1, 3], "x": [2.5, 4.5]}
    assert schema["x"].dtype == "float64"


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (np.array(["2020-01-02", "NaT"], "datetime64[D]"), "timestamp[s]", [1577923200, None]),
        (np.array(["2020-01-02T00:00:00.001"], "datetime64[ms]"), "timestamp[ms]", [1577923200001]),
        (np.array([5], "timedelta64[us]"), "duration[us]", [5]),
        (np.array([b"a", b"b\xff"]), "|S2", [b"a", b"b\xff"]),
        (np.array(["a", "a"]), "<U1", ["a", "a"]),
    ],
)
def test_times_and_text(tmp_path, load, value, dtype, expected):
    _, stored, summary = load(saved(tmp_path / "a.npy", value))
    assert stored["x"] == expected
    assert summary.fields[0].source == dtype


def test_a_dict_of_anything_array_like(tmp_path, load):
    torch = pytest.importorskip("torch")
    values = {
        "path": saved(tmp_path / "a.npy", np.arange(3)),
        "tensor": torch.arange(6, dtype=torch.float32).reshape(3, 2).requires_grad_(),
        "half": torch.tensor([1.5, -2.0, 0.1], dtype=torch.bfloat16),
        "list": [1, 2, 3],
        "words": ["a", None, "a"],
        "runs": [np.array([1, 2]), np.array([], int), np.array([3])],
        "ragged": Ragged.from_rows([[1], [2, 3], []], "int8"),
        "codes": Categorical(np.array([0, 1, 0]), ["p", "q"]),
        "masked": np.ma.MaskedArray([1, 2, 3], [False, True, False]),
        "objects": np.array([[1, 2], [3], [4]], object),
    }
    schema, stored, _ = load(values)
    assert stored == {
        "path": [0, 1, 2],
        "tensor": [[0, 1], [2, 3], [4, 5]],
        "half": [0x3FC0, 0xC000, 0x3DCD],
        "list": [1, 2, 3],
        "words": ["a", None, "a"],
        "runs": [[1, 2], [], [3]],
        "ragged": [[1], [2, 3], []],
        "codes": ["p", "q", "p"],
        "masked": [1, None, 3],
        "objects": [[1, 2], [3], [4]],
    }
    assert schema["half"].dtype == "bfloat16"
    assert schema["runs"].variable


def test_one_array_and_masked_rows(load):
    assert load(np.arange(4).reshape(2, 2), names=["v"])[1] == {"v": [[0, 1], [2, 3]]}
    values = np.ma.MaskedArray([[1.0, 2.0], [3.0, 4.0]], [[False, True], [True, True]])
    _, stored, _ = load({"x": values})
    assert stored["x"][1] is None
    assert np.isnan(stored["x"][0][1])
    with pytest.raises(IngestError, match="masked as a whole or not at all") as caught:
        load({"x": np.ma.MaskedArray([[1, 2], [3, 4]], [[False, False], [True, False]])})
    assert caught.value.row == 1


def test_nan_stays_and_is_counted(load):
    _, stored, summary = load({"y": np.array([1.0, np.nan])})
    assert np.isnan(stored["y"][1])
    assert (summary.fields[0].nans, summary.fields[0].nulls) == (1, 0)
    with pytest.raises(IngestError, match="int64 cannot hold it; found nan") as caught:
        load({"y": np.array([1.0, np.nan])}, dtypes={"y": "int64"})
    assert (caught.value.row, caught.value.field) == (1, "y")


def test_overrides_and_packs(load, small_chunks):
    source = {"a": np.arange(20), "b": np.arange(20) / 3, "t": np.array(["1", "2"] * 10)}
    schema, stored, summary = load(source, dtypes={"t": "int8"}, pack={"x": ["a", "b"]})
    assert [(f.name, f.dtype, f.shape) for f in schema] == [("x", "float32", (2,)), ("t", "int8", ())]
    assert stored["t"] == [1, 2] * 10
    assert np.array_equal(stored["x"], np.stack([source["a"], source["b"]], 1).astype("float32"))
    assert {f.name: f.coerced for f in summary.fields}["x"] == int(np.sum(source["b"] != source["b"].astype("float32")))


# --- bad input ------------------------------------------------------------------------------------


def test_unequal_lengths(tmp_path):
    with pytest.raises(IngestError, match="the same number of rows; found 'x' 2, 'y' 3"):
        convert({"x": np.zeros(2), "y": np.zeros(3)}, tmp_path / "t.fl")
    with pytest.raises(IngestError, match="the same number of rows") as caught:
        convert(saved(tmp_path / "a.npz", {"x": np.zeros(2), "y": np.zeros(3)}), tmp_path / "t.fl")
    assert caught.value.path.name == "a.npz"


def test_pickles_are_never_read(tmp_path):
    """Not even looked into: an object that acts when unpickled does nothing."""
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], object))
    for name, field in (("a.npy", None), ("a.npz", "x")):
        with pytest.raises(IngestError, match="stored as pickles and never read here") as caught:
            convert(tmp_path / name, tmp_path / "t.fl")
        assert caught.value.field == field
    (tmp_path / "b.npy").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(IngestError, match=r"never read here|whole NumPy file"):
        convert(tmp_path / "b.npy", tmp_path / "t.fl")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'", b"no array"])
def test_foreign_npy(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(IngestError, match=r"whole NumPy file|never read here"):
        convert(tmp_path / "a.npy", tmp_path / "t.fl")


def test_truncated_files(tmp_path):
    whole = saved(tmp_path / "a.npy", np.arange(1000)).read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-8])
    with pytest.raises(IngestError, match="whole NumPy file"):
        convert(tmp_path / "a.npy", tmp_path / "t.fl")
    whole = saved(tmp_path / "a.npz", {"x": np.arange(1000)}).read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:-30])
    with pytest.raises(IngestError, match="whole NumPy file"):
        convert(tmp_path / "a.npz", tmp_path / "t.fl")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        file = io.BytesIO()
        np.save(file, np.arange(1000))
        archive.writestr("x.npy", file.getvalue()[:-8])
    with pytest.raises(IngestError, match="the array ends 8 bytes early"):
        convert(tmp_path / "a.npz", tmp_path / "t.fl")
    assert not list(tmp_path.glob("*.fl"))


def test_a_flipped_bit_in_an_npz(tmp_path):
    whole = bytearray(saved(tmp_path / "a.npz", {"x": np.arange(1000)}).read_bytes())
    whole[4000] ^= 1
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(IngestError, match="Bad CRC-32"):
        convert(tmp_path / "a.npz", tmp_path / "t.fl")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"x": np.zeros((0, 3))}, "at least one row; it has none"),
        ({"x": np.float32(1)}, "must have rows; found a single float32 value"),
        ({"x": np.zeros(2, complex)}, "found complex128"),
        ({"x": np.zeros(2, np.longdouble)}, "found float128|found float96"),
        ({"x": np.array([[1, 2], ["a"]], object)}, "a value must be a tensor"),
        ({"x": [1, "a"]}, "a value must be a tensor, array, number|must keep one type"),
        ({"x": ["a", 1]}, "must keep one type; found str and then int"),
        ({"x": np.array(["2020"], "datetime64[Y]")}, "dates must count days"),
        ({}, "at least one array"),
        ({"x": "a.csv"}, "must be that of a .npy file"),
    ],
)
def test_what_cannot_be_stored(tmp_path, source, message):
    with pytest.raises(IngestError, match=message):
        convert(source, tmp_path / "t.fl")
    assert not list(tmp_path.glob("*.fl"))


def test_several_files(tmp_path):
    paths = [saved(tmp_path / f"{n}.npy", np.arange(3)) for n in "ab"]
    with pytest.raises(IngestError, match="as a dict of field name -> path"):
        convert(paths, tmp_path / "t.fl")
    with pytest.raises(ArgumentError, match="names has no meaning for a dict of arrays"):
        convert({"x": np.arange(3)}, tmp_path / "t.fl", names=["y"])
