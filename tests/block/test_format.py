"""The format is what csrc/core/layout.h draws: exact bytes, golden files, and a second reader that agrees."""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import canonical
import golden
import make_golden
import numpy as np
import pure_reader
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pure_reader import crc32c

import fastload as fl
from fastload.schema import DTYPES


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 64)


def section(kind: int, critical: int, payload: bytes) -> bytes:
    return padded(struct.pack("<IIIIQQ", kind, 0, critical, crc32c(payload), len(payload), 0) + payload)


def test_every_byte_of_a_small_data_set_is_pinned(tmp_path: Path) -> None:
    """A change of the format cannot pass unseen. Only the file's id and name are random."""
    fl.write(tmp_path / "a.fl", {"x": np.array([1, -2, 3], np.int16)}, codec="raw")
    (shard,) = (tmp_path / "a.fl").glob("*.flb")
    found = shard.read_bytes()
    file_id = found[32:48]

    header = struct.pack("<8sHBBII12x16s32x44x", b"\x89FLB\r\n\x1a\n", 1, 0, 0, 128, 0, file_id)
    header += struct.pack("<I", crc32c(header))
    chunk = struct.pack("<hhh", 1, -2, 3)
    mean = 2 / 3
    deviations = (1 - mean) ** 2 + (-2 - mean) ** 2 + (3 - mean) ** 2
    footer = (
        section(1, 1, struct.pack("<II HBBBBHII 8s", 1, 0, 1, 2, 0, 0, 0, 0, 0, 0, b"x"))
        + section(2, 1, struct.pack("<QII II QIIIBBBB", 1, 1, 0, 3, 0, 128, 6, 6, crc32c(chunk), 0, 0, 0, 0))
        + section(3, 1, struct.pack("<II", 0, 0))
        + section(4, 0, struct.pack("<QQQQqqdd", 3, 0, 0, 0, -2, 3, mean, deviations))
        + section(5, 0, struct.pack("<II II qqq QQQ", 1, 0, 0, 3, -2, 1, 3, 1, 1, 1))
    )
    size = 128 + 64 + len(footer) + 64
    tail = struct.pack("<8sQQQQ16s", b"\x89FLT\r\n\x1a\n", 192, len(footer), size, 3, file_id)
    tail += struct.pack("<I", crc32c(footer))
    tail += struct.pack("<I", crc32c(tail))
    assert found == header + padded(chunk) + footer + tail

    rest = f'''"format": "fastload",
 "version": 1,
 "generation": 1,
 "rows": 3,
 "schema": [
  {{
   "name": "x",
   "dtype": "int16",
   "shape": [],
   "variable": false,
   "nullable": false,
   "categories": false
  }}
 ],
 "shards": [
  {{
   "name": "{shard.name}",
   "size_bytes": {size},
   "rows": 3,
   "file_id": "{file_id.hex()}",
   "footer_crc32c": {crc32c(footer)}
  }}
 ]
}}
'''.encode()
    manifest = (tmp_path / "a.fl" / "manifest.json").read_bytes()
    assert manifest == b'{"crc32c": "%08x", ' % crc32c(rest) + rest


@pytest.mark.parametrize("name", golden.GOLDEN)
def test_golden_files_are_read_for_ever(name: str) -> None:
    dataset = fl.open(golden.FOLDER / f"{name}.fl")
    dataset.verify()
    assert dataset.schema == golden.GOLDEN[name].schema
    wanted = canonical.given(dataset.schema, golden.expected(name))
    assert not canonical.differs(canonical.engine(dataset), wanted)
    check_statistics(dataset, wanted)


@pytest.mark.parametrize("name", golden.GOLDEN)
def test_the_pure_reader_agrees_on_golden_files(name: str) -> None:
    folder = golden.FOLDER / f"{name}.fl"
    data = pure_reader.read_dataset(folder)
    wanted = canonical.given(golden.GOLDEN[name].schema, golden.expected(name))
    assert not canonical.differs(canonical.pure(data), wanted)
    check_agreement(fl.open(folder), data, wanted)


def test_golden_files_hold_what_they_are_to_cover() -> None:
    """Every dtype, raw and LZ4, shuffled and not, several blocks and shards, a generation appended later."""
    datasets = {name: fl.open(golden.FOLDER / f"{name}.fl") for name in golden.GOLDEN}
    fields = [(ds.schema[n], size) for ds in datasets.values() for n, size in ds.field_sizes().items()]
    assert {f.dtype for f, _ in fields} == set(DTYPES)
    nullable = {f.dtype for f, _ in fields if f.nullable}
    assert nullable >= {"bool", "int8", "bfloat16", "float32", "string", "bytes"}
    assert any(f.variable and f.nullable for f, _ in fields)
    assert any(f.categories and f.nullable for f, _ in fields)
    assert {len(f.shape) for f, _ in fields} == {0, 1, 2, 3}
    compressed = [size for _, size in fields if size.raw_chunks == 0]
    assert any(size.shuffled_chunks for size in compressed)
    assert any(not size.shuffled_chunks for size in compressed)
    assert datasets["scalars-raw"].field_sizes()["int64"].raw_chunks == 1
    assert datasets["shapes-lz4"].num_blocks > 1
    names = [p.name for p in (golden.FOLDER / "appended-lz4hc.fl").glob("*.flb")]
    assert Counter(name[:6] for name in names) == {"000001": 2, "000002": 2}


def test_make_golden_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(golden.FOLDER, tmp_path / "v1")
    monkeypatch.setattr(golden, "FOLDER", tmp_path / "v1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert make_golden.main() == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


# --- data of every kind --------------------------------------------------------------------------


SHAPES = {"scalar": (), "vector": (3,), "matrix": (2, 3), "image": (2, 2, 3), "stack": (2, 1, 2, 2)}
STYLES = ("bits", "few", "ramp")


@st.composite
def fields(draw: st.DrawFn, dtype: str, name: str) -> fl.Field:
    nullable = draw(st.booleans())
    if dtype in ("string", "bytes"):
        return fl.Field(name, dtype, nullable=nullable)
    kind = draw(st.sampled_from([*SHAPES, "variable", *(["categories"] if dtype == "int32" else [])]))
    shape, variable, categories = SHAPES.get(kind, ()), kind == "variable", kind == "categories"
    return fl.Field(name, dtype, shape, variable=variable, categories=categories, nullable=nullable)


@st.composite
def cases(draw: st.DrawFn, dtype: str) -> dict[str, Any]:
    others = draw(st.lists(st.sampled_from(DTYPES), max_size=2))
    schema = fl.Schema([draw(fields(d, f"field {i}")) for i, d in enumerate([dtype, *others])])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.integers(1, 120))
    return {
        "schema": schema,
        "rows": rows,
        "columns": {f.name: make_column(f, rows, rng, draw(st.sampled_from(STYLES))) for f in schema},
        "cuts": sorted(draw(st.lists(st.integers(0, rows), max_size=3))),
        "append_from": draw(st.none() | st.integers(1, rows)),
        "options": {
            "codec": draw(st.sampled_from(["raw", "lz4", "lz4hc"])),
            "block_bytes": draw(st.sampled_from([1, 64, 1000, 1 << 20])),
            "shard_bytes": draw(st.sampled_from([1, 4000, 1 << 28])),
            "num_workers": draw(st.sampled_from([0, 1, 2])),
        },
        "batch_rows": draw(st.integers(1, 130)),
    }


def make_column(field: fl.Field, rows: int, rng: np.random.Generator, style: str) -> Any:
    valid = rng.random(rows) < rng.choice([0, 0.5, 0.9, 1]) if field.nullable else None
    if field.categories:
        entries = [f"kind {i}" for i in rng.permutation(9)] + ["", "naïve", "end\x00"]
        if rng.random() < 0.5:
            texts = [entries[i] for i in rng.integers(0, len(entries), rows)]
            return texts if valid is None else [t if v else None for t, v in zip(texts, valid, strict=True)]
        return fl.Categorical(rng.integers(0, len(entries), rows), entries, valid)
    if field.dtype == "string":
        words = [golden.WORDS[i] for i in rng.integers(0, len(golden.WORDS), rows)]
        return words if valid is None else [w if v else None for w, v in zip(words, valid, strict=True)]
    if field.is_ragged:  # null rows may have elements here, though not in the file
        lengths = rng.integers(0, 9, rows) * (rng.random(rows) < 0.8)
        offsets = np.concatenate([[0], np.cumsum(lengths)]) + rng.integers(0, 3)
        return fl.Ragged(offsets, make_values(field, offsets[-1] + 2, rng, style), valid)
    values = make_values(field, rows, rng, style)
    if valid is None:
        return values
    mask = ~valid.reshape(-1, *[1] * len(field.shape))
    return np.ma.MaskedArray(values, np.broadcast_to(mask, values.shape))


def make_values(field: fl.Field, rows: int, rng: np.random.Generator, style: str) -> np.ndarray:
    shape, dtype = (rows, *field.shape), field.numpy_dtype
    if style == "few":
        return rng.integers(0, 2 if field.dtype == "bool" else 4, shape).astype(dtype)
    if style == "ramp":
        return (np.arange(np.prod(shape, dtype=int)) // 3 % 100).reshape(shape).astype(dtype)
    if field.dtype == "bool":
        return rng.random(shape) < 0.5
    if field.dtype == "float64":  # so that no sum of squares overflows
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-100, 100)
        values[rng.random(shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 5e-324])
        return values
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


def part(column: Any, start: int, stop: int) -> Any:
    if isinstance(column, fl.Categorical):
        valid = None if column.valid is None else column.valid[start:stop]
        return fl.Categorical(column.codes[start:stop], column.categories, valid)
    if isinstance(column, fl.Ragged):
        valid = None if column.valid is None else column.valid[start:stop]
        return fl.Ragged(column.offsets[start : stop + 1], column.values, valid)
    return column[start:stop]


def write(folder: Path, case: dict[str, Any]) -> None:
    rows, middle = case["rows"], case["append_from"] or case["rows"]
    for append, start, stop in ((False, 0, middle), (True, middle, rows)):
        if start == stop:
            continue
        with fl.Writer(folder, case["schema"], append=append, **case["options"]) as writer:
            inner = [cut for cut in case["cuts"] if start < cut < stop]
            for a, b in zip([start, *inner], [*inner, stop], strict=True):
                writer.append({name: part(column, a, b) for name, column in case["columns"].items()})


@pytest.mark.parametrize("dtype", DTYPES)
def test_engine_and_pure_reader_agree(dtype: str) -> None:
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases(dtype))
    def check(case: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "data.fl"
            write(folder, case)
            dataset, data = fl.open(folder), pure_reader.read_dataset(folder)
            wanted = canonical.given(case["schema"], case["columns"])
            assert not canonical.differs(canonical.engine(dataset, case["batch_rows"]), wanted)
            assert not canonical.differs(canonical.pure(data), wanted)
            assert dataset.verify().blocks == len(data.block_rows)
            check_agreement(dataset, data, wanted)
            check_statistics(dataset, wanted)

    check()


# --- what the data must add up to, by NumPy ------------------------------------------------------


def check_agreement(dataset: fl.Dataset, data: pure_reader.Data, wanted: dict[str, canonical.Plain]) -> None:
    """Engine and pure reader say the same about a data set, and its records are NumPy's, block by block."""
    assert dataset.schema.to_json() == data.fields
    assert dataset.num_rows == sum(data.block_rows)
    assert dataset.num_blocks == len(data.block_rows)
    starts = np.cumsum([0, *data.block_rows[:-1]])
    for field in dataset.schema:
        if field.categories:
            assert dataset.categories(field.name) == data.dictionaries[field.name]
        check_class_counts(field, data, wanted[field.name])
        for records, start, rows in zip(data.statistics[field.name], starts, data.block_rows, strict=True):
            columns = stat_columns(field, *rows_of(data.columns[field.name], start, start + rows))
            for record, (numbers, nulls) in zip(records, columns, strict=True):
                found = {key: record[key] for key in ("count", "nulls", "nans", "infinities", "mean", "m2")}
                for key in ("min", "max"):
                    found[key] = np.frombuffer(record[key].tobytes(), f"<{kind_of(numbers)}8")[0]
                check_summary(found, numbers, nulls)


def check_class_counts(field: fl.Field, data: pure_reader.Data, column: canonical.Plain) -> None:
    values, _, valid = column
    counts = data.class_counts.get(field.name)
    if field.categories:
        entries = data.dictionaries[field.name]
        assert {entries[code]: n for code, n in counts.items()} == Counter(v for v in values if v is not None)
    elif is_countable(field):
        present = values if valid is None else values[valid]
        assert counts == Counter(present.astype(np.int64, casting="unsafe").tolist())
    else:
        assert counts is None


def is_countable(field: fl.Field) -> bool:
    return not (field.shape or field.is_ragged or "float" in field.dtype)


def check_statistics(dataset: fl.Dataset, wanted: dict[str, canonical.Plain]) -> None:
    """``Dataset.statistics``, merged over blocks and shards, against NumPy on all rows."""
    for field in dataset.schema:
        found, (values, lengths, valid) = dataset.statistics[field.name], wanted[field.name]
        if field.categories:
            assert found.class_counts == Counter(text for text in values if text is not None)
            continue
        nulls = 0 if valid is None else int((~valid).sum())
        assert found.nulls == nulls
        if is_countable(field):
            present = values if valid is None else values[valid]
            assert found.class_counts == Counter(present.tolist())
        else:
            assert found.class_counts is None
        columns = stat_columns(field, values, lengths, valid)
        parts = [found] if lengths is None or field.is_text else [found, found.lengths]
        for statistics in parts:
            keys = ("count", "nans", "infinities", "min", "max", "mean", "std")
            arrays = {key: np.atleast_1d(getattr(statistics, key)) for key in keys}
            for column in range(len(arrays["count"])):
                record = {key: array[column] for key, array in arrays.items()} | {"nulls": statistics.nulls}
                check_summary(record, *columns.pop(0), nulls=statistics.nulls)
        assert not columns


def stat_columns(
    field: fl.Field, values: np.ndarray, lengths: np.ndarray | None, valid: np.ndarray | None
) -> list[tuple[np.ndarray, int]]:
    """The columns that have statistics: their numbers without null rows, and how many rows are null."""
    nulls = 0 if valid is None else int((~valid).sum())
    if field.dtype == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    if lengths is not None:
        present = lengths if valid is None else lengths[valid]
        return [*([] if field.is_text else [(values, 0)]), (present.astype(np.uint64), nulls)]
    present = values if valid is None else values[valid]
    if len(field.shape) in (1, 3):
        return [(present[..., i].reshape(-1), nulls) for i in range(field.shape[-1])]
    return [(present.reshape(-1), nulls)]


def rows_of(column: canonical.Plain, start: int, stop: int) -> canonical.Plain:
    values, lengths, valid = column
    valid = None if valid is None else valid[start:stop]
    if lengths is None:
        return values[start:stop], None, valid
    offsets = np.cumsum([0, *lengths])
    return values[offsets[start] : offsets[stop]], lengths[start:stop], valid


def kind_of(numbers: np.ndarray) -> str:
    return {"b": "u"}.get(numbers.dtype.kind, numbers.dtype.kind)


def check_summary(found: dict[str, Any], numbers: np.ndarray, column_nulls: int, nulls: int | None = None) -> None:
    """`found` : count, nulls, nans, infinities, min, max, mean, and m2 or std. `nulls` : where those of the
    whole field are told instead of the column's."""
    finite = numbers[np.isfinite(numbers)].astype(np.float64)
    ordered = numbers[~np.isnan(numbers)]
    assert found["count"] == len(finite)
    assert found["nulls"] == (column_nulls if nulls is None else nulls)
    assert found["nans"] == len(numbers) - len(ordered)
    assert found["infinities"] == len(ordered) - len(finite)
    if len(ordered):
        assert (found["min"], found["max"]) == (ordered.min(), ordered.max())
    if len(finite):
        scale = np.abs(finite).max()
        m2 = found["m2"] if "m2" in found else found["std"] ** 2 * len(finite)
        np.testing.assert_allclose(found["mean"], finite.mean(), rtol=1e-12, atol=1e-12 * scale)
        wanted = ((finite - finite.mean()) ** 2).sum()
        np.testing.assert_allclose(m2, wanted, rtol=1e-9, atol=1e-12 * scale**2)
