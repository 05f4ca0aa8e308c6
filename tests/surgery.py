"""Edits of a data set under right checksums, and what becomes of reading it: hostile files for tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import canonical

import fastload as fl
from fastload import _core
from fastload.errors import FastloadError

SCHEMA, BLOCKS, DICTIONARIES, STATISTICS, CLASS_COUNTS = 1, 2, 3, 4, 5


class Patient:
    """A data set of one shard, held in memory: edit `shard` and `manifest`, repair, save.

    Numbers are written by ``put(place, form, value)``; places are offsets in the shard, which ``section``,
    ``chunk`` and ``tail`` know.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        (entry,) = self.manifest["shards"]
        self.path = folder / entry["name"]
        self.shard = bytearray(self.path.read_bytes())

    def put(self, place: int, form: str, value: Any) -> None:
        struct.pack_into("<" + form, self.shard, place, value)

    def get(self, place: int, form: str) -> Any:
        return struct.unpack_from("<" + form, self.shard, place)[0]

    @property
    def tail(self) -> int:
        return len(self.shard) - 64

    @property
    def footer(self) -> int:
        return self.get(self.tail + 8, "Q")

    def heads(self) -> list[int]:
        """Where the footer's sections start."""
        places = [self.footer]
        while places[-1] < self.tail:
            places.append(places[-1] + 32 + self.get(places[-1] + 16, "Q"))
            places[-1] += -places[-1] % 64
        return places[:-1]

    def section(self, kind: int) -> int:
        """Where the payload of a section starts."""
        return next(place for place in self.heads() if self.get(place, "I") == kind) + 32

    def chunk(self, block: int, field: int) -> int:
        """Where the block table's entry of a chunk starts."""
        fields = self.get(self.section(BLOCKS) + 8, "I")
        return self.section(BLOCKS) + 16 + block * (8 + 24 * fields) + 8 + 24 * field

    def stored(self, block: int, field: int) -> slice:
        """Where the stored bytes of a chunk lie."""
        entry = self.chunk(block, field)
        start = self.get(entry, "Q")
        return slice(start, start + self.get(entry + 8, "I"))

    def add_section(self, kind: int, flags: int, payload: bytes) -> None:
        section = struct.pack("<IIIIQQ", kind, 0, flags, 0, len(payload), 0) + payload
        section += bytes(-len(section) % 64)
        tail = self.tail
        self.put(tail + 16, "Q", self.get(tail + 16, "Q") + len(section))
        self.put(tail + 24, "Q", len(self.shard) + len(section))
        self.shard[tail:tail] = section

    def repair_chunks(self) -> None:
        """Make the block table's checksums fit the bytes stored."""
        for block in range(self.get(self.section(BLOCKS), "Q")):
            for field in range(self.get(self.section(BLOCKS) + 8, "I")):
                stored = bytes(self.shard[self.stored(block, field)])
                self.put(self.chunk(block, field) + 16, "I", _core.crc32c(stored))

    def repair(self, heads: list[int] | None = None) -> None:
        """Make the checksums of header, sections, footer and tail fit, and the manifest fit the shard.

        `heads` : where sections started, if that can no longer be told from the sizes in them.
        """
        for place in self.heads() if heads is None else heads:
            size = min(self.get(place + 16, "Q"), self.tail - place)
            self.put(place + 12, "I", _core.crc32c(bytes(self.shard[place + 32 : place + 32 + size])))
        footer = min(self.footer, self.tail)
        self.put(124, "I", _core.crc32c(bytes(self.shard[:124])))
        self.put(self.tail + 56, "I", _core.crc32c(bytes(self.shard[footer : self.tail])))
        self.put(self.tail + 60, "I", _core.crc32c(bytes(self.shard[self.tail : self.tail + 60])))
        (entry,) = self.manifest["shards"]
        entry["footer_crc32c"] = self.get(self.tail + 56, "I")
        entry["size_bytes"] = len(self.shard)
        entry["rows"] = self.manifest["rows"] = self.get(self.tail + 32, "Q")

    def save(self) -> None:
        overwrite(self.path, self.shard)
        write_manifest(self.folder, json.dumps(self.manifest))


def write_manifest(folder: Path, body: str) -> None:
    """`body` : a JSON object; a ``crc32c`` in it is replaced by the right one."""
    members = json.loads(body)
    members.pop("crc32c", None)
    rest = json.dumps(members)[1:].encode()
    overwrite(folder / "manifest.json", b'{"crc32c": "%08x", ' % _core.crc32c(rest) + rest)


def overwrite(path: Path, data: bytes) -> None:
    """In place: a file that is emptied first is written to the disk at once by some file systems."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


Snapshot = tuple[dict[str, canonical.Plain], str]


def snapshot(folder: Path) -> Snapshot:
    """All that can be read of a data set: it is opened, verified and read to its end."""
    dataset = fl.open(folder)
    dataset.verify()
    dataset[:]
    categories = {f.name: dataset.categories(f.name) for f in dataset.schema if f.categories}
    return canonical.engine(dataset), repr((dataset.statistics, categories))


def outcome(folder: Path, wanted: Snapshot) -> str:
    """The error's name, "same", or "silent": other data and no error. What is no FastloadError is raised."""
    try:
        columns, rest = snapshot(folder)
    except FastloadError as error:
        return type(error).__name__
    return "same" if not canonical.differs(columns, wanted[0]) and rest == wanted[1] else "silent"
