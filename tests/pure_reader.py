"""An independent reading of the block format, version 1, in pure Python over struct, json, NumPy and lz4.

Slow and strict; written from the drawing in csrc/core/layout.h and the docstring of block/manifest.py alone.
It shares no code with the engine, so that the two can be held against each other, and checks every promise.
"""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import lz4.block
import numpy as np

DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 string bytes"
).split()
RECORD = np.dtype("<u8, <u8, <u8, <u8, V8, V8, <f8, <f8")  # min and max: bits of an i64, u64 or f64
RECORD.names = ("count", "nulls", "nans", "infinities", "min", "max", "mean", "m2")


class Damaged(Exception):
    """A promise of the format does not hold."""


class Data(NamedTuple):
    """A shard, or all shards of a data set.

    columns : per field (values, lengths, valid). values : [rows, *shape], or all elements of a ragged field;
    lengths : int64 [rows] of a ragged field, valid : bool [rows] of a nullable one, else None. statistics :
    per field RECORD [blocks, columns]. class_counts : rows of each value, of fields with few enough values.
    """

    fields: list[dict[str, Any]]  # as in manifest.json
    block_rows: list[int]
    columns: dict[str, tuple]
    dictionaries: dict[str, list[str]]
    statistics: dict[str, np.ndarray]
    class_counts: dict[str, Counter[int]]


def element(field: dict[str, Any]) -> np.dtype:
    name = {"bfloat16": "uint16", "string": "uint8", "bytes": "uint8"}.get(field["dtype"], field["dtype"])
    return np.dtype(name).newbyteorder("<")


def is_ragged(field: dict[str, Any]) -> bool:
    return field["variable"] or field["dtype"] in ("string", "bytes")


def stat_columns(field: dict[str, Any]) -> int:
    shape = field["shape"]
    apart = (len(shape) == 1 and shape[0] <= 1024) or (len(shape) == 3 and shape[2] <= 4)
    return (shape[-1] if apart else field["dtype"] not in ("string", "bytes")) + is_ragged(field)


def need(holds: Any, promise: str) -> None:
    if not holds:
        raise Damaged(promise)


CRC_TABLE = [*range(256)]
for _ in range(8):
    CRC_TABLE = [value >> 1 ^ 0x82F63B78 * (value & 1) for value in CRC_TABLE]


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Cursor:
    """Walks through bytes and never beyond them."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        need(self.at + count <= len(self.data), f"{count} bytes at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def get(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def array(self, dtype: Any, count: int) -> np.ndarray:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count), dtype)

    def pad(self, alignment: int) -> None:
        need(not any(self.take(-self.at % alignment)), "padding is zero")

    def end(self) -> None:
        need(self.at == len(self.data), "nothing after the contents")


def read_sections(footer: bytes) -> dict[int, Cursor]:
    sections, cursor = {}, Cursor(footer)
    while cursor.at < len(footer):
        kind, key_group, flags, crc, size, zero = cursor.get("IIIIQQ")
        payload = cursor.take(size)
        cursor.pad(64)
        need(flags <= 1 and key_group == zero == 0 and kind not in sections, f"{kind} is plain, stands once")
        need(crc32c(payload) == crc, f"section {kind} is whole")
        need(1 <= kind <= 5 or not flags, f"critical section {kind} is known")
        sections[kind] = Cursor(payload)
    need({1, 2, 3} <= set(sections), "schema, blocks and dictionaries are there")
    return sections


def read_schema(cursor: Cursor) -> list[dict[str, Any]]:
    count, zero = cursor.get("II")
    need(1 <= count <= 4096 and zero == 0, "1 to 4096 fields")
    fields = []
    for _ in range(count):
        name_bytes, dtype, flags, dimensions, *zeros = cursor.get("HBBBBHII")
        need(dtype < 15 and flags < 8 and dimensions <= 8 and 1 <= name_bytes <= 255, "within limits")
        shape, name = cursor.get(f"{dimensions}Q"), cursor.take(name_bytes).decode("utf-8")
        cursor.pad(8)
        need(all(shape) and not any(zeros), "reserved bytes are zero, shapes are not")
        kind = {"variable": bool(flags & 1), "nullable": bool(flags & 2), "categories": bool(flags & 4)}
        fields.append({"name": name, "dtype": DTYPES[dtype], "shape": [*shape], **kind})
        need(not (is_ragged(fields[-1]) and shape), "ragged fields have no shape")
        need(flags & 4 == 0 or (dtype, shape, flags & 1) == (3, (), 0), "categories are scalar int32")
    cursor.end()
    need(len({field["name"] for field in fields}) == count, "names are unique")
    return fields


def read_chunk(field: dict, rows: int, stored: bytes, raw_bytes: int, codec: int, filtered: int, codes: int):
    need(codec <= 1 and filtered <= 1 and raw_bytes <= 256 << 20, "known codec and filter, raw size in limit")
    need(codec or (filtered == 0 and raw_bytes == len(stored)), "raw chunks are stored as they are")
    raw = lz4.block.decompress(stored, uncompressed_size=raw_bytes) if codec else stored
    need(len(raw) == raw_bytes, "decodes to its raw size")
    if filtered:
        raw = np.frombuffer(raw, "u1").reshape(element(field).itemsize, -1).T.tobytes()
    cursor, elements, valid, lengths = Cursor(raw), rows * prod(field["shape"]), None, None
    present = np.ones(rows, bool)
    if field["nullable"]:
        bits = np.unpackbits(cursor.array("u1", (rows + 7) // 8), bitorder="little")
        valid = present = bits[:rows].astype(bool)
        cursor.pad(64)
        need(not bits[rows:].any(), "bits beyond the rows are zero")
    if is_ragged(field):
        offsets = cursor.array("<u4", rows + 1).astype(np.int64)
        cursor.pad(64)
        lengths, elements = np.diff(offsets), int(offsets[-1])
        need(offsets[0] == 0 and (lengths >= 0).all(), "offsets ascend from 0")
        need(not lengths[~present].any(), "null rows have no elements")
    values = cursor.array(element(field), elements)
    cursor.end()
    if field["dtype"] == "string":
        [values[start:stop].tobytes().decode("utf-8") for start, stop in pairwise(offsets)]
    if not is_ragged(field):
        values = values.reshape(rows, *field["shape"])
        null = values[~present]
        is_nan = null & 0x7FFF > 0x7F80 if field["dtype"] == "bfloat16" else null != null
        need((is_nan if "float" in field["dtype"] else null == 0).all(), "null rows hold NaN or zero")
    need(not field["categories"] or ((values >= 0) & (values < codes))[present].all(), "codes have an entry")
    return values, lengths, valid


def read_dictionaries(cursor: Cursor, fields: list[dict[str, Any]]) -> dict[str, list[str]]:
    dictionaries: dict[str, list[str]] = {}
    count, zero = cursor.get("II")
    for _ in range(count):
        index, entries, text_bytes = cursor.get("IIQ")
        bounds, text = cursor.array("<u4", entries + 1).tolist(), cursor.take(text_bytes)
        cursor.pad(8)
        need(fields[index]["categories"] and (name := fields[index]["name"]) not in dictionaries, "one each")
        need(bounds[0] == 0 and bounds[-1] == text_bytes and bounds == sorted(bounds), "all text is covered")
        dictionaries[name] = [text[a:b].decode("utf-8") for a, b in pairwise(bounds)]
    cursor.end()
    need(zero == 0, "reserved bytes are zero")
    return dictionaries


def read_class_counts(cursor: Cursor, fields: list[dict[str, Any]]) -> dict[str, Counter[int]]:
    counts: dict[str, Counter[int]] = {}
    count, zero = cursor.get("II")
    for _ in range(count):
        index, classes = cursor.get("II")
        values, rows = cursor.array("<i8", classes).tolist(), cursor.array("<u8", classes).tolist()
        need((name := fields[index]["name"]) not in counts and len({*values}) == classes, "each value once")
        counts[name] = Counter(dict(zip(values, rows, strict=True)))
    cursor.end()
    need(zero == 0, "reserved bytes are zero")
    return counts


def read_shard(data: bytes) -> Data:
    need(len(data) >= 192, "a header and a tail")
    magic, version, *plain, zero, same_id, salt, pad, crc = struct.unpack("<8sHBBII12s16s32s44sI", data[:128])
    need(magic == b"\x89FLB\r\n\x1a\n" and crc == crc32c(data[:124]), "the header is whole")
    need((version, *plain) == (1, 0, 0, 128, 0), "version 1, plain")
    need(not any(zero + salt + pad), "reserved bytes are zero")
    magic, start, footer_bytes, size, rows, file_id, footer_crc, crc = struct.unpack("<8s4Q16sII", data[-64:])
    need(magic == b"\x89FLT\r\n\x1a\n" and crc == crc32c(data[-64:-4]), "the tail is whole")
    need(size == len(data) and file_id == same_id and rows <= 1 << 48, "the tail is of this file")
    need(start % 64 == 0 and footer_bytes <= 16 << 20 and start + footer_bytes + 64 == size, "a footer fits")
    need(crc32c(data[start:-64]) == footer_crc, "the footer is whole")
    sections = read_sections(data[start:-64])
    fields, table = read_schema(sections[1]), sections[2]
    dictionaries = read_dictionaries(sections[3], fields)
    blocks, table_fields, zero = table.get("QII")
    need((table_fields, zero) == (len(fields), 0), "the block table has the schema's fields")
    chunks: dict[str, list[tuple]] = {field["name"]: [] for field in fields}
    block_rows, at = [], 128
    for _ in range(blocks):
        count, zero = table.get("II")
        need(1 <= count <= 1 << 28 and zero == 0, "1 to 2^28 rows of a block")
        block_rows.append(count)
        for field in fields:
            offset, stored_bytes, raw_bytes, crc, codec, filtered, flags, zero = table.get("QIIIBBBB")
            stored, end = data[at : at + stored_bytes], at + stored_bytes + -stored_bytes % 64
            need(offset == at and end <= start and flags == zero == 0, "plain chunks that follow each other")
            need(crc32c(stored) == crc and not any(data[at + stored_bytes : end]), "the chunk is whole")
            codes = len(dictionaries.get(field["name"], ()))
            chunks[field["name"]].append(read_chunk(field, count, stored, raw_bytes, codec, filtered, codes))
            at = end
    table.end()
    need(at == start and sum(block_rows) == rows, "blocks reach to the footer and hold the rows")
    ends = np.cumsum([stat_columns(field) for field in fields])
    records = np.frombuffer(sections[4].data if 4 in sections else b"", RECORD)
    need(records.size == blocks * ends[-1] or 4 not in sections, "a record for each block, field and column")
    parts = np.split(records.reshape(-1, ends[-1]), ends[:-1], axis=1)
    statistics = {field["name"]: part for field, part in zip(fields, parts, strict=True)}
    counts = read_class_counts(sections[5], fields) if 5 in sections else {}
    return Data(fields, block_rows, {n: join(c) for n, c in chunks.items()}, dictionaries, statistics, counts)


def join(columns: list[tuple]) -> tuple:
    return tuple(None if parts[0] is None else np.concatenate(parts) for parts in zip(*columns, strict=True))


def read_dataset(folder: str | Path) -> Data:
    """The shards that manifest.json names, as one. Raises Damaged, or what Python raises at such bytes."""
    content = (Path(folder) / "manifest.json").read_bytes()
    start = re.match(rb'\{"crc32c": "([0-9a-f]{8})", ', content)
    need(start and int(start[1], 16) == crc32c(content[start.end() :]), "the manifest is whole")
    manifest = json.loads(content)
    need((manifest["format"], manifest["version"]) == ("fastload", 1), "format and version")
    shards = []
    for entry in manifest["shards"]:
        need(re.fullmatch(r"[0-9A-Za-z_-]{1,80}\.flb", entry["name"]), "a shard's name is no path")
        data = (Path(folder) / entry["name"]).read_bytes()
        shards.append(shard := read_shard(data))
        found = (len(data), sum(shard.block_rows), data[32:48].hex(), *struct.unpack("<I", data[-8:-4]))
        named = (entry["size_bytes"], entry["rows"], entry["file_id"], entry["footer_crc32c"])
        need(found == named and shard.fields == manifest["schema"], "the shard is the one named")
    need(manifest["rows"] == sum(entry["rows"] for entry in manifest["shards"]), "rows of all shards")
    names = [field["name"] for field in manifest["schema"]]
    dictionaries = {n: max((s.dictionaries[n] for s in shards), key=len) for n in shards[0].dictionaries}
    for name, longest in dictionaries.items():
        shorter = [s.dictionaries[name] for s in shards]
        need(all(entries == longest[: len(entries)] for entries in shorter), "dictionaries only grow")
    counted = [n for n in names if all(n in s.class_counts for s in shards)]
    return Data(
        manifest["schema"],
        [rows for s in shards for rows in s.block_rows],
        {n: join([s.columns[n] for s in shards]) for n in names},
        dictionaries,
        {n: np.concatenate([s.statistics[n] for s in shards]) for n in names},
        {n: sum((s.class_counts[n] for s in shards), Counter()) for n in counted},
    )
