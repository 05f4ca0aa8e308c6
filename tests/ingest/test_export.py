from __future__ import annotations

import errno

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyarrow import feather, parquet

from fastload.block.dataset import Dataset
from fastload.block.writer import Writer, write
from fastload.errors import ArgumentError, DiskFullError, ExistsError, FileIOError, NotADatasetError
from fastload.ingest import arrow_out, convert, export, to_arrow, to_parquet
from fastload.schema import Categorical, Field, Ragged, Schema

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]


def number_values(dtype):
    return hnp.from_dtype(np.dtype(dtype), allow_nan=True).map(lambda v: v.item())


@st.composite
def tables(draw):
    """Arrow tables of the types that have a field of their own, so that they come back as they went in."""
    rows = draw(st.integers(1, 12))
    columns, fields = {}, []
    for i in range(draw(st.integers(1, 4))):
        dtype = draw(st.sampled_from(NUMBERS))
        number = getattr(pa, dtype)()
        kind, value = draw(
            st.sampled_from(
                [
                    (pa.bool_(), st.booleans()),
                    (number, number_values(dtype)),
                    (pa.string(), TEXT),
                    (pa.binary(), st.binary(max_size=6)),
                    (pa.dictionary(pa.int32(), pa.string()), TEXT),
                    (pa.list_(number), st.lists(number_values(dtype), max_size=4)),
                    (pa.list_(number, 3), st.lists(number_values(dtype), min_size=3, max_size=3)),
                    (
                        pa.list_(pa.list_(number, 2), 2),
                        st.lists(st.lists(number_values(dtype), min_size=2, max_size=2), min_size=2, max_size=2),
                    ),
                ]
            )
        )
        nullable = draw(st.booleans())
        values = draw(st.lists(value | st.none() if nullable else value, min_size=rows, max_size=rows))
        name = f"f{i}"
        columns[name] = pa.array(values, kind)
        fields.append(pa.field(name, kind, nullable=columns[name].null_count > 0))
    return pa.table(columns, schema=pa.schema(fields))


def same(a, b):
    """Equal types, nulls and values, NaN equal to NaN, dictionaries by what they stand for."""
    if a.schema.names != b.schema.names:
        return False
    for name in a.schema.names:
        x, y = a.column(name), b.column(name)
        if x.type != y.type or a.schema.field(name).nullable != b.schema.field(name).nullable:
            return False
        if repr(x.to_pylist()) != repr(y.to_pylist()):  # repr tells -0.0 and NaN apart from what they equal
            return False
    return True


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=tables(),
    through=st.sampled_from(["arrow", "parquet", "memory"]),
    block_bytes=st.sampled_from([64, 1 << 20]),
)
def test_round_trip(tmp_path, table, through, block_bytes):
    """pyarrow -> fastload -> pyarrow gives the same table."""
    strings = {f.name: "string" for f in table.schema if pa.types.is_string(f.type)}
    categories = {f.name: "category" for f in table.schema if pa.types.is_dictionary(f.type)}
    source = table
    if through == "arrow":
        source = tmp_path / "in.arrow"
        feather.write_feather(table, source, chunksize=5)
    elif through == "parquet":
        nested = any(
            pa.types.is_fixed_size_list(f.type) and pa.types.is_fixed_size_list(f.type.value_type) for f in table.schema
        )
        if not nested:  # pyarrow does not read those back from Parquet
            source = tmp_path / "in.parquet"
            parquet.write_table(table, source, row_group_size=5)
    convert(
        source,
        tmp_path / "t.fl",
        dtypes={**strings, **categories},
        overwrite=True,
        block_bytes=block_bytes,
        num_workers=0,
    )
    out = to_arrow(tmp_path / "t.fl", tmp_path / "out.arrow", overwrite=True)
    back = pa.ipc.open_file(out).read_all()
    assert same(back, table)


@pytest.fixture
def dataset(tmp_path):
    """Every form of field, with and without nulls, over several blocks and batches."""
    rows, some = 300, np.arange(300) % 7 == 3
    numbers = np.arange(rows)
    schema = Schema(
        [
            Field("i", "int64"),
            Field("h", "float16"),
            Field("b", "bool", nullable=True),
            Field("x", "float32", (2, 3)),
            Field("v", "float32", (2,), nullable=True),
            Field("r", "int16", variable=True),
            Field("s", "string", nullable=True),
            Field("raw", "bytes"),
            Field("c", "int32", nullable=True, categories=True),
            Field("bf", "bfloat16"),
            Field("bv", "bfloat16", (2,)),
        ]
    )
    columns = {
        "i": numbers,
        "h": numbers.astype("float16"),
        "b": np.ma.MaskedArray(numbers % 2 == 0, some),
        "x": np.arange(rows * 6, dtype="float32").reshape(rows, 2, 3),
        "v": np.ma.MaskedArray(np.ones((rows, 2), "float32"), np.repeat(some[:, None], 2, axis=1)),
        "r": [np.arange(i % 4, dtype="int16") for i in range(rows)],
        "s": [None if m else f"ä{i}" for i, m in enumerate(some)],
        "raw": [bytes([i % 256]) * (i % 3) for i in range(rows)],
        "c": Categorical((numbers % 3).astype("int32"), ["a", "b", "c"], ~some),
        "bf": np.full(rows, 0x3FC0, "uint16"),
        "bv": np.full((rows, 2), 0xBFC0, "uint16"),
    }
    with Writer(tmp_path / "d.fl", schema, block_bytes=2048) as writer:
        writer.append(columns)
    return Dataset(tmp_path / "d.fl")


@pytest.mark.parametrize("to_file", [to_arrow, to_parquet])
def test_every_form_of_field(tmp_path, dataset, to_file, monkeypatch):
    monkeypatch.setattr(arrow_out, "BATCH_ROWS", 64)
    path = to_file(dataset, tmp_path / "out")
    table = feather.read_table(path) if to_file is to_arrow else None
    if table is None:
        columns = [
            name for name in dataset.schema.names if name != "x"
        ]  # pyarrow does not read nested fixed-size lists
        table = parquet.read_table(path, columns=columns)
    some = [i % 7 == 3 for i in range(300)]
    assert table.column("i").to_pylist() == list(range(300))
    assert table.column("b").to_pylist() == [None if m else i % 2 == 0 for i, m in enumerate(some)]
    assert table.column("v").to_pylist() == [None if m else [1.0, 1.0] for m in some]
    assert table.column("r").to_pylist() == [list(range(i % 4)) for i in range(300)]
    assert table.column("s").to_pylist() == [None if m else f"ä{i}" for i, m in enumerate(some)]
    assert table.column("raw").to_pylist() == [bytes([i % 256]) * (i % 3) for i in range(300)]
    assert table.column("c").to_pylist() == [None if m else "abc"[i % 3] for i, m in enumerate(some)]
    assert set(table.column("bf").to_pylist()) == {1.5}
    assert table.column("bv").to_pylist()[0] == [-1.5, -1.5]
    assert pa.types.is_dictionary(table.schema.field("c").type)
    assert [f.name for f in table.schema if f.nullable] == ["b", "v", "s", "c"]
    if to_file is to_arrow:
        assert table.column("x").to_pylist()[299] == np.arange(1794, 1800).reshape(2, 3).tolist()


def test_selected_fields(tmp_path, dataset):
    table = feather.read_table(to_arrow(dataset.select("i", "c"), tmp_path / "out.arrow"))
    assert table.schema.names == ["i", "c"]


def test_an_existing_file_is_kept_unless_told(tmp_path, dataset):
    path = tmp_path / "out.arrow"
    path.write_bytes(b"precious")
    with pytest.raises(ExistsError, match="pass overwrite=True"):
        to_arrow(dataset, path)
    assert path.read_bytes() == b"precious"
    to_arrow(dataset, path, overwrite=True)
    assert feather.read_table(path).num_rows == 300


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("boom")])
def test_nothing_is_left_of_a_failed_export(tmp_path, dataset, error):
    def stop(state):
        raise error

    before = sorted(tmp_path.iterdir())
    with pytest.raises(type(error)):
        to_parquet(dataset, tmp_path / "out.parquet", progress=stop)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EIO, FileIOError)])
def test_a_failing_disk_is_named(tmp_path, dataset, monkeypatch, number, kind):
    def fail(descriptor):
        raise OSError(number, "no luck")

    monkeypatch.setattr(export.os, "fsync", fail)
    with pytest.raises(kind, match=r"cannot be written: .*no luck; nothing was left behind"):
        to_arrow(dataset, tmp_path / "out.arrow")
    assert not list(tmp_path.glob("*out.arrow*"))


def test_arguments(tmp_path, dataset):
    with pytest.raises(ArgumentError, match="compression must be one of"):
        to_arrow(dataset, tmp_path / "o", compression="zip")
    with pytest.raises(NotADatasetError):
        to_arrow(tmp_path, tmp_path / "o")
    with pytest.raises(FileIOError, match="cannot be written"):
        to_arrow(dataset, tmp_path / "no" / "folder" / "o")
    for compression in ("none", "zstd"):
        to_arrow(dataset, tmp_path / "o", compression=compression, overwrite=True)


def test_text_beyond_32_bit_offsets_is_split(monkeypatch):
    monkeypatch.setattr(arrow_out, "MAX_TEXT_BYTES", 10)
    batch = {"s": Ragged.from_rows(["abcde", "f" * 6, "g" * 12, ""], "string"), "i": np.arange(4)}
    parts = list(arrow_out.addressable(batch))
    assert [part["i"].tolist() for part in parts] == [[0], [1], [2], [3]]


def test_progress_is_told(tmp_path, dataset):
    states = []
    to_arrow(dataset, tmp_path / "o", progress=states.append)
    assert states[-1].fraction == 1.0
    assert states[-1].rows == 300


def test_float16_and_nan_survive(tmp_path):
    values = np.array([0.1, np.nan, -0.0, np.inf], "float16")
    write(tmp_path / "t.fl", {"h": values})
    back = feather.read_table(to_arrow(tmp_path / "t.fl", tmp_path / "o.arrow")).column("h").to_numpy()
    assert back.view("uint16").tolist() == values.view("uint16").tolist()
