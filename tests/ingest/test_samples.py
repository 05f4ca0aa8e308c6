from __future__ import annotations

from collections import namedtuple
from datetime import datetime

import numpy as np
import pytest

from fastload.block.dataset import Dataset
from fastload.errors import IngestError
from fastload.ingest import convert, samples


class Rows:
    """A map-style data set over a function of the row number."""

    def __init__(self, get, count=40):
        self.get, self.count = get, count

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        if not 0 <= row < self.count:
            raise IndexError(row)
        return self.get(row)


@pytest.fixture
def load(tmp_path, read_back):
    def run(source, **options):
        summary = convert(source, tmp_path / "t.fl", overwrite=True, **options)
        return Dataset(tmp_path / "t.fl").schema, read_back(tmp_path / "t.fl"), summary

    return run


def test_dicts_of_everything(load):
    def get(i):
        return {
            "x": np.full((2, 2), i, "float32"),
            "i": i,
            "f": i / 2,
            "b": i % 2 == 0,
            "word": f"w{i % 3}",
            "raw": bytes([i]),
            "runs": list(range(i % 4)),
            "gap": None if i % 5 == 0 else i,
            "nested": {"a": np.int8(i), "t": (i, i + 1)},
            "when": datetime(2020, 1, 2),
        }

    schema, stored, summary = load(Rows(get))
    assert {f.name: f.dtype for f in schema} == {
        "x": "float32",
        "i": "int64",
        "f": "float64",
        "b": "bool",
        "word": "int32",
        "raw": "bytes",
        "runs": "int64",
        "gap": "int64",
        "nested.a": "int8",
        "nested.t.0": "int64",
        "nested.t.1": "int64",
        "when": "int64",
    }
    assert stored["x"][3] == [[3, 3], [3, 3]]
    assert stored["runs"] == [list(range(i % 4)) for i in range(40)]
    assert stored["gap"] == [None if i % 5 == 0 else i for i in range(40)]
    assert stored["word"] == [f"w{i % 3}" for i in range(40)]
    assert stored["raw"] == [bytes([i]) for i in range(40)]
    assert stored["nested.t.1"] == list(range(1, 41))
    assert summary.kind == "data set (Rows)"
    assert next(f.source for f in summary.fields if f.name == "when") == "timestamp[ns]"


@pytest.mark.parametrize(
    ("sample", "names", "fields"),
    [
        ((1, 2), None, ["x", "y"]),
        ([1.0, "a"], None, ["x", "y"]),
        ((1, 2, 3), None, ["x0", "x1", "x2"]),
        ((1, 2, 3), ["a", "b", "c"], ["a", "b", "c"]),
        (namedtuple("Pair", "image label")(1, 2), None, ["image", "label"]),
        (5, None, ["x"]),
        (5, ["v"], ["v"]),
        ([1, 2, 3], None, ["x"]),
    ],
)
def test_names_of_members(load, sample, names, fields):
    assert list(load(Rows(lambda i: sample), names=names)[0].names) == fields


def test_torch_data_sets(load):
    torch = pytest.importorskip("torch")
    x, y = torch.arange(80.0).reshape(40, 2), torch.arange(40)
    for source in (
        torch.utils.data.TensorDataset(x, y),
        torch.utils.data.Subset(torch.utils.data.TensorDataset(x, y), range(40)),
    ):
        schema, stored, _ = load(source)
        assert [(f.name, f.dtype, f.shape) for f in schema] == [("x", "float32", (2,)), ("y", "int64", ())]
        assert stored == {"x": x.tolist(), "y": y.tolist()}
    half = Rows(lambda i: torch.full((2,), 1.5, dtype=torch.bfloat16, requires_grad=True))
    schema, stored, _ = load(half)
    assert schema["x"].dtype == "bfloat16"
    assert stored["x"][0] == [0x3FC0, 0x3FC0]


def test_getitems_is_asked_for_many_rows_at_once(load):
    calls = []

    class Batched(Rows):
        def __getitems__(self, rows):
            calls.append(len(rows))
            return [self.get(row) for row in rows]

        def __getitem__(self, row):
            raise AssertionError("not called")

    assert load(Batched(lambda i: i, 5000))[1] == {"x": list(range(5000))}
    assert len(calls) < 6


def test_chunks_are_bounded_in_bytes(load, monkeypatch):
    """Large samples are read a few at a time."""
    monkeypatch.setattr(samples, "CHUNK_BYTES", 4000)
    most = [0]

    class Batched(Rows):
        def __getitems__(self, rows):
            most[0] = max(most[0], len(rows))
            return [np.zeros(100) for _ in rows]

    load(Batched(None, 60))
    assert most[0] == 16  # the first chunk; later ones hold 4000 / 800 rows


def test_later_samples_widen_the_field(load, monkeypatch):
    monkeypatch.setattr("fastload.ingest.conversion.FIRST_LOOK_BYTES", 1)
    monkeypatch.setattr("fastload.ingest.conversion.EARLY_BYTES", 1)

    def get(i):
        return {
            "f": i if i < 30 else i + 0.5,
            "v": [1] * (2 if i < 30 else 5),
            "n": i if i < 30 else None,
        }

    schema, stored, _ = load(Rows(get))
    assert schema["f"].dtype == "float64"
    assert schema["v"].variable
    assert schema["n"].nullable
    assert stored["f"][-1] == 39.5
    assert stored["v"] == [get(i)["v"] for i in range(40)]
    assert stored["n"][28:32] == [28, 29, None, None]


def test_a_fastload_data_set_is_written_anew(tmp_path, load, read_back):
    def get(i):
        return {
            "w": f"w{i % 3}",
            "r": [i] * (i % 3),
            "g": None if i % 4 == 0 else f"text {i}",
            "h": np.float16(i),
        }

    before, values, _ = load(Rows(get), dtypes={"g": "string"})
    convert(Dataset(tmp_path / "t.fl"), tmp_path / "u.fl", codec="raw", columns=["g", "w", "r"])
    after = Dataset(tmp_path / "u.fl")
    assert after.schema == before.select(["w", "r", "g"]) or after.schema == before.select(["g", "w", "r"])
    assert read_back(tmp_path / "u.fl") == {name: values[name] for name in after.schema.names}


# --- bad input ------------------------------------------------------------------------------------


def boom(i):
    if i == 33:
        raise ZeroDivisionError("no row here")
    return i


@pytest.mark.parametrize(
    ("get", "message", "row", "field"),
    [
        (boom, "the data set must give every row; it raised ZeroDivisionError: no row here", 33, None),
        (
            lambda i: {"a": 1} if i < 20 else {"b": 1},
            r"the same members; this one differs in \['a', 'b'\]",
            20,
            None,
        ),
        (lambda i: "a" if i != 5 else 7, "must keep one type; found str and then int", 5, "x"),
        (lambda i: i if i != 5 else "a", "must be a tensor, array, number, str or bytes; found str", 5, "x"),
        (lambda i: i if i < 16 else "a", "must keep one type; found int64 and then text", 16, "x"),
        (lambda i: {1, 2}, "found set", 0, "x"),
        (lambda i: np.zeros((2, 2)) if i != 5 else np.zeros((2, 3)), "must keep one shape", 5, "x"),
        (lambda i: np.zeros((2, 2)) if i < 16 else np.zeros((2, 3)), "must keep one shape", 16, "x"),
        (lambda i: True if i else 1.5, "must keep one type", 1, "x"),
        (lambda i: 2**70, "found int", 0, "x"),
    ],
)
def test_bad_samples(tmp_path, get, message, row, field):
    with pytest.raises(IngestError, match=message) as caught:
        convert(Rows(get), tmp_path / "t.fl")
    assert (caught.value.row, caught.value.field) == (row, field)
    assert not list(tmp_path.glob("*.fl"))


def test_sources_of_no_use(tmp_path):
    torch = pytest.importorskip("torch")

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield 1

    with pytest.raises(IngestError, match="has no length"):
        convert(Stream(), tmp_path / "t.fl")
    with pytest.raises(IngestError, match="a source must be a path"):
        convert((i for i in range(3)), tmp_path / "t.fl")
    with pytest.raises(IngestError, match="at least one row"):
        convert(Rows(lambda i: i, 0), tmp_path / "t.fl")
    with pytest.raises(IngestError, match="got 2 names for 3 members"):
        convert(Rows(lambda i: (1, 2, 3)), tmp_path / "t.fl", names=["a", "b"])

    class Short(Rows):
        def __getitems__(self, rows):
            return [0] * (len(rows) - (len(rows) > 1))

    with pytest.raises(IngestError, match="one sample a row; asked for 16, got 15"):
        convert(Short(None), tmp_path / "t.fl")
