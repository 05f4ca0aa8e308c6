"""Whatever happens to a file, reading it gives the data or a named error: nothing silent, no signal."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from children import call
from surgery import (
    BLOCKS,
    CLASS_COUNTS,
    DICTIONARIES,
    SCHEMA,
    STATISTICS,
    Patient,
    outcome,
    overwrite,
    snapshot,
    write_manifest,
)

import fastload as fl
from fastload import errors

CODECS = ("raw", "lz4")


def columns(rows: int, seed: int = 0) -> dict[str, object]:
    """Every layout that a chunk can have: fixed, ragged, nullable, categories; some of it compresses well."""
    rng = np.random.default_rng(seed)
    present = rng.random(rows) < 0.8
    return {
        "x": rng.normal(size=(rows, 3)).astype(np.float32).round(1),
        "text": [f"row {i} {'äb' * (i % 5)}" if present[i] else None for i in range(rows)],
        "tokens": [np.arange(i % 7, dtype=np.int32) for i in range(rows)],
        "kind": fl.Categorical(rng.integers(0, 3, rows), ["a", "b", "c"]),
        "maybe": np.ma.MaskedArray(rng.integers(0, 9, rows), ~present),
    }


def make(folder: Path, codec: str = "lz4", rows: int = 120, seed: int = 0) -> Path:
    """One shard, several blocks."""
    fl.write(folder, columns(rows, seed), codec=codec, block_bytes=2000, num_workers=0)
    return folder


def only_shard(folder: Path) -> Path:
    (path,) = folder.glob("*.flb")
    return path


# --- accidents -----------------------------------------------------------------------------------


def flip_every_bit(folder: Path) -> dict[str, Counter[str]]:
    """Per part of the file, what became of each flipped bit."""
    wanted, shard = snapshot(folder), only_shard(folder)
    patient = Patient(folder)
    parts = {
        "header": (shard, range(128)),
        "footer": (shard, range(patient.footer, patient.tail)),
        "tail": (shard, range(patient.tail, len(patient.shard))),
        "manifest": (folder / "manifest.json", range((folder / "manifest.json").stat().st_size)),
    }
    found = {}
    for part, (path, places) in parts.items():
        descriptor, found[part] = os.open(path, os.O_RDWR), Counter()
        for place in places:
            (byte,) = os.pread(descriptor, 1, place)
            for bit in range(8):
                os.pwrite(descriptor, bytes([byte ^ 1 << bit]), place)
                found[part][outcome(folder, wanted)] += 1
            os.pwrite(descriptor, bytes([byte]), place)
        os.close(descriptor)
    assert outcome(folder, wanted) == "same"
    return found


def test_every_flipped_bit_of_header_footer_and_manifest_is_found(tmp_path: Path) -> None:
    """Not one bit is free: those that mean nothing are checked to be zero."""
    small = {"x": np.array([1, 2, 3], np.int8), "s": ["a", "", "bc"]}
    fl.write(tmp_path / "a.fl", small, num_workers=0)
    found = call(flip_every_bit, tmp_path / "a.fl")
    assert found["header"].total() == 128 * 8
    for part, outcomes in found.items():
        assert not {"same", "silent"} & set(outcomes), (part, outcomes)


def damage(folder: Path, seed: int) -> Counter[str]:
    """Random faults, one at a time, each undone."""
    wanted, shard, rng = snapshot(folder), only_shard(folder), random.Random(seed)
    whole, found = shard.read_bytes(), Counter()

    def trial(kind: str, damaged: bytes) -> None:
        if damaged != whole:
            overwrite(shard, damaged)
            found[kind, outcome(folder, wanted)] += 1

    for _ in range(300):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        trial("bit", whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        start = rng.randrange(len(whole)) // 512 * 512
        trial("sector", whole[:start] + bytes(len(whole[start : start + 512])) + whole[start + 512 :])
        trial("cut", whole[: rng.randrange(len(whole))])
        start, size = rng.randrange(len(whole)), rng.randrange(1, 100)
        trial("burst", whole[:start] + rng.randbytes(len(whole[start : start + size])) + whole[start + size :])
        trial("longer", whole + rng.choice([bytes(64), rng.randbytes(size), whole[-64:], whole]))
        trial("hole", whole[:start] + whole[start + size :])
    for size in [*range(0, 200), *range(len(whole) - 200, len(whole))]:
        trial("cut", whole[:size])
    overwrite(shard, whole)
    assert outcome(folder, wanted) == "same"
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_random_faults_are_found(tmp_path: Path, codec: str) -> None:
    found = call(damage, make(tmp_path / "a.fl", codec), 1)
    assert found.total() > 1800
    assert not [(kind, n) for kind, n in found.items() if kind[1] in ("same", "silent")]


def exchange(folder: Path, repaired: bool) -> Counter[str]:
    """The stored bytes of two chunks of one size, for all pairs: swapped, and one in the place of both."""
    wanted, found = snapshot(folder), Counter()
    blocks = len(fl.open(folder)._shards.readers[0].block_rows)
    for first in range(blocks):
        for second in range(first):
            for both in (True, False):
                patient = Patient(folder)
                a, b = patient.stored(first, 0), patient.stored(second, 0)
                if a.stop - a.start != b.stop - b.start:
                    continue
                at_a, at_b = bytes(patient.shard[a]), bytes(patient.shard[b])
                patient.shard[a] = at_b
                patient.shard[b] = at_a if both else at_b
                untouched, manifest = patient.path.read_bytes(), patient.manifest
                if repaired:
                    before = json.dumps(manifest)
                    patient.repair_chunks()
                    patient.repair()
                    assert json.dumps(manifest) != before  # it is the manifest that finds this one out
                overwrite(patient.path, patient.shard)
                found[outcome(folder, wanted)] += 1
                overwrite(patient.path, untouched)
    return found


@pytest.mark.parametrize(("repaired", "error"), [(False, "ChecksumError"), (True, "ShardChangedError")])
def test_swapped_and_duplicated_blocks_are_found(tmp_path: Path, repaired: bool, error: str) -> None:
    make(tmp_path / "a.fl", "raw", rows=400)
    found = call(exchange, tmp_path / "a.fl", repaired)
    assert found.total() >= 20
    assert set(found) == {error}


def test_a_shard_of_another_data_set_is_found(tmp_path: Path) -> None:
    """Same schema, same sizes, other data; and two shards of one data set that changed places."""
    ours, other = make(tmp_path / "a.fl", "raw"), make(tmp_path / "b.fl", "raw", seed=1)
    shutil.copy(only_shard(other), only_shard(ours))
    with pytest.raises(errors.ShardChangedError, match="not the shard the manifest was written for"):
        fl.open(ours)
    with fl.Writer(other, fl.open(other).schema, append=True, codec="raw") as writer:
        writer.append(columns(120, seed=2))
    first, second = sorted(other.glob("*.flb"))
    first.rename(tmp_path / "between")
    second.rename(first)
    (tmp_path / "between").rename(second)
    with pytest.raises(errors.ShardChangedError):
        fl.open(other)


def test_a_missing_shard_is_found(tmp_path: Path) -> None:
    shard = only_shard(make(tmp_path / "a.fl"))
    shard.unlink()
    with pytest.raises(errors.ShardMissingError, match=f"'{shard.name}' is missing; restore it from a copy"):
        fl.open(tmp_path / "a.fl")


def foreign(kind: str, path: Path) -> None:
    path.unlink()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("row,temp\n1,2\n" * 50)
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.arange(1000))
    elif kind == "magic":
        path.write_bytes(b"\x89FLB\r\n\x1a\n")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)


@pytest.mark.parametrize("kind", ["empty", "text", "npy", "magic", "folder", "pipe", "loop"])
@pytest.mark.parametrize("which", ["shard", "manifest"])
def test_foreign_files_are_refused(tmp_path: Path, kind: str, which: str) -> None:
    folder = make(tmp_path / "a.fl")
    wanted = snapshot(folder)
    foreign(kind, only_shard(folder) if which == "shard" else folder / "manifest.json")
    found = call(outcome, folder, wanted, timeout_s=20)
    assert found not in ("same", "silent")


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "not json", '{"crc32c": "00000000", }', "[" * 100_000])
def test_foreign_manifests_are_refused(tmp_path: Path, content: str) -> None:
    folder = make(tmp_path / "a.fl")
    (folder / "manifest.json").write_text(content)
    with pytest.raises(errors.ManifestError):
        fl.open(folder)
    if content.startswith("{"):
        write_manifest(folder, "{}")
        with pytest.raises(errors.ManifestError):
            fl.open(folder)


# --- a shard cut short while it is mapped --------------------------------------------------------


def read_by_rows(dataset: fl.Dataset) -> None:
    for row in range(len(dataset)):
        dataset[row]


def read_by_lists(dataset: fl.Dataset) -> None:
    for start in range(0, len(dataset), 100):
        dataset[list(range(start, min(start + 100, len(dataset))))]


def read_by_batches(dataset: fl.Dataset) -> None:
    for _ in dataset.batches(100):
        pass


def load(dataset: fl.Dataset, num_workers: int, shuffle: bool) -> None:
    for _ in fl.DataLoader(dataset, batch_size=50, num_workers=num_workers, shuffle=shuffle, memory_bytes=1 << 20):
        pass


READERS: dict[str, Callable[[fl.Dataset], None]] = {
    "rows": read_by_rows,
    "lists": read_by_lists,
    "batches": read_by_batches,
    "verify": fl.Dataset.verify,
}
LOADERS: dict[str, tuple[int, bool]] = {
    "alone": (0, False),
    "alone, shuffled": (0, True),
    "threads": (2, False),
    "threads, shuffled": (2, True),
}


def cut_while_mapped(folder: Path, how: str, warm: bool) -> list[str]:
    """What reading gives after cuts within pages and between them. `warm` : all was read once before."""
    shard = only_shard(folder)
    whole, found = shard.read_bytes(), []
    for size in (0, 4096, 5000, len(whole) // 2 // 4096 * 4096, len(whole) // 2 + 33, len(whole) - 1):
        dataset = fl.open(folder)
        read = READERS.get(how) or (lambda dataset: load(dataset, *LOADERS[how]))
        if warm:
            read(dataset)
        os.truncate(shard, size)
        try:
            read(dataset)
            found.append("silent")
        except errors.FastloadError as error:
            found.append(type(error).__name__)
        overwrite(shard, whole)
    return found


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("how", READERS)
def test_a_shard_cut_short_while_mapped_is_an_error(tmp_path: Path, how: str, codec: str, warm: bool) -> None:
    """Reading beyond the end of a mapped file is a SIGBUS; here it is a MapLostError."""
    make(tmp_path / "a.fl", codec, rows=3000)
    assert call(cut_while_mapped, tmp_path / "a.fl", how, warm) == ["MapLostError"] * 6


def cut_under_loaders(folders: list[Path]) -> dict[tuple[str, str, bool], list[str]]:
    return {
        (folder.name, how, warm): cut_while_mapped(folder, how, warm)
        for folder in folders
        for how in LOADERS
        for warm in (False, True)
    }


def test_a_shard_cut_short_under_a_loader_is_an_error(tmp_path: Path) -> None:
    folders = [make(tmp_path / f"{codec}.fl", codec, rows=3000) for codec in CODECS]
    for case, outcomes in call(cut_under_loaders, folders).items():
        assert outcomes == ["MapLostError"] * 6, case


# --- malice: wrong contents under right checksums ------------------------------------------------


Edit = Callable[[Patient], None]


def put(section: int, place: int, form: str, value: int) -> Edit:
    return lambda patient: patient.put(patient.section(section) + place, form, value)


def put_tail(place: int, form: str, value: int) -> Edit:
    return lambda patient: patient.put(patient.tail + place, form, value)


def put_chunk(field: int, place: int, form: str, value: int) -> Edit:
    return lambda patient: patient.put(patient.chunk(0, field) + place, form, value)


def put_header(place: int, form: str, value: int) -> Edit:
    return lambda patient: patient.put(place, form, value)


def put_head(section: int, place: int, form: str, value: int) -> Edit:
    return lambda patient: patient.put(patient.section(section) - 32 + place, form, value)


def spoil(field: int, place: Callable[[int], int], value: int) -> Edit:
    """A u32 in the raw bytes of a chunk. `place` : from the number of rows."""

    def edit(patient: Patient) -> None:
        rows = patient.get(patient.section(BLOCKS) + 16, "I")
        patient.put(patient.stored(0, field).start + place(rows), "I", value)
        patient.repair_chunks()

    return edit


def end_of_offsets(rows: int) -> int:
    return 64 + -(-4 * (rows + 1) // 64) * 64


def nothing_but_garbage(patient: Patient) -> None:
    for field in range(5):
        place = patient.stored(0, field)
        patient.shard[place] = random.Random(field).randbytes(place.stop - place.start)
    patient.repair_chunks()


# Fields: 0 x, 1 text, 2 tokens, 3 kind, 4 maybe. In a chunk's entry: 0 offset, 8 stored, 12 raw, 16 checksum,
# 20 codec, 21 filter, 22 flags, 23 zero. In a field of the schema: 0 name bytes, 2 dtype, 3 flags,
# 4 dimensions, 8 key group, 16 shape.
HOSTILE: dict[str, tuple[Edit, str]] = {
    "version 2": (put_header(8, "H", 2), "VersionError"),
    "suite 1, sealed": (put_header(10, "B", 1), "SealedError"),
    "header of 256 bytes": (put_header(12, "I", 256), "FormatError"),
    "key groups": (put_header(16, "I", 1), "FormatError"),
    "salt": (put_header(48, "B", 1), "FormatError"),
    "another file id": (put_header(32, "Q", 7), "FormatError"),
    "reserved byte": (put_header(100, "B", 1), "FormatError"),
    "2^31 rows in the tail": (put_tail(32, "Q", 1 << 31), "FormatError"),
    "2^63 rows in the tail": (put_tail(32, "Q", 1 << 63), "LimitError"),
    "footer of 2^63 bytes": (put_tail(16, "Q", 1 << 63), "LimitError"),
    "footer of 2^24 bytes": (put_tail(16, "Q", 1 << 24), "FormatError"),
    "footer at 2^63": (put_tail(8, "Q", 1 << 63), "FormatError"),
    "footer at -64": (put_tail(8, "Q", (1 << 64) - 64), "FormatError"),
    "footer at 1": (put_tail(8, "Q", 1), "FormatError"),
    "2^63 bytes of file": (put_tail(24, "Q", 1 << 63), "TruncatedError"),
    "section of 2^63 bytes": (put_head(STATISTICS, 16, "Q", 1 << 63), "FormatError"),
    "section of -32 bytes": (put_head(STATISTICS, 16, "Q", (1 << 64) - 32), "FormatError"),
    "sealed section": (put_head(STATISTICS, 8, "I", 2), "SealedError"),
    "section of a key group": (put_head(STATISTICS, 4, "I", 1), "SealedError"),
    "unknown flags of a section": (put_head(STATISTICS, 8, "I", 4), "FormatError"),
    "reserved bytes of a section": (put_head(STATISTICS, 24, "Q", 1), "FormatError"),
    "schema twice": (put_head(DICTIONARIES, 0, "I", SCHEMA), "FormatError"),
    "no dictionaries": (put_head(DICTIONARIES, 0, "I", 77), "VersionError"),
    "2^31 fields": (put(SCHEMA, 0, "I", 1 << 31), "LimitError"),
    "no fields": (put(SCHEMA, 0, "I", 0), "LimitError"),
    "more fields than there are": (put(SCHEMA, 0, "I", 4096), "FormatError"),
    "255 dimensions": (put(SCHEMA, 8 + 4, "B", 255), "LimitError"),
    "name of 65535 bytes": (put(SCHEMA, 8, "H", 65535), "LimitError"),
    "name that is no UTF-8": (put(SCHEMA, 8 + 24, "B", 0xFF), "FormatError"),
    "unknown dtype": (put(SCHEMA, 8 + 2, "B", 15), "FormatError"),
    "unknown flags of a field": (put(SCHEMA, 8 + 3, "B", 8), "FormatError"),
    "field of a key group": (put(SCHEMA, 8 + 8, "I", 1), "SealedError"),
    "another dtype": (put(SCHEMA, 8 + 2, "B", 3), "ShardChangedError"),
    "shape of 2^63": (put(SCHEMA, 8 + 16, "Q", 1 << 63), "LimitError"),
    "shape of 2^62 times 4 bytes": (put(SCHEMA, 8 + 16, "Q", 1 << 62), "LimitError"),
    "shape of 0": (put(SCHEMA, 8 + 16, "Q", 0), "LimitError"),
    "shape of 2^20": (put(SCHEMA, 8 + 16, "Q", 1 << 20), "FormatError"),
    "2^60 blocks": (put(BLOCKS, 0, "Q", 1 << 60), "FormatError"),
    "2^31 blocks": (put(BLOCKS, 0, "Q", 1 << 31), "FormatError"),
    "fields of the block table": (put(BLOCKS, 8, "I", 4), "FormatError"),
    "2^31 rows of a block": (put(BLOCKS, 16, "I", 1 << 31), "LimitError"),
    "no rows of a block": (put(BLOCKS, 16, "I", 0), "LimitError"),
    "one row more": (put(BLOCKS, 16, "I", 1000), "FormatError"),
    "chunk at 2^63": (put_chunk(0, 0, "Q", 1 << 63), "FormatError"),
    "chunk over the header": (put_chunk(0, 0, "Q", 0), "FormatError"),
    "overlapping chunks": (put_chunk(1, 0, "Q", 128), "FormatError"),
    "4 GiB stored": (put_chunk(0, 8, "I", (1 << 32) - 1), "LimitError"),
    "128 MiB stored": (put_chunk(0, 8, "I", 1 << 27), "FormatError"),
    "4 GiB raw": (put_chunk(2, 12, "I", (1 << 32) - 1), "LimitError"),
    "256 MiB raw": (put_chunk(2, 12, "I", 1 << 28), "FormatError"),
    "fixed rows of another size": (put_chunk(0, 12, "I", 12), "FormatError"),
    "ragged rows of half an element": (put_chunk(2, 12, "I", 131), "FormatError"),
    "unknown codec": (put_chunk(0, 20, "B", 2), "FormatError"),
    "unknown filter": (put_chunk(0, 21, "B", 2), "FormatError"),
    "sealed chunk": (put_chunk(0, 22, "B", 1), "SealedError"),
    "unknown flags of a chunk": (put_chunk(0, 22, "B", 2), "FormatError"),
    "reserved byte of a chunk": (put_chunk(0, 23, "B", 1), "FormatError"),
    "garbage under right checksums": (nothing_but_garbage, "FormatError"),
    "dictionary of 2^32 - 1 entries": (put(DICTIONARIES, 12, "I", (1 << 32) - 1), "FormatError"),
    "dictionary of 2^63 bytes": (put(DICTIONARIES, 16, "Q", 1 << 63), "FormatError"),
    "dictionary of another field": (put(DICTIONARIES, 8, "I", 0), "FormatError"),
    "dictionary of no field": (put(DICTIONARIES, 8, "I", 99), "FormatError"),
    "dictionary with offsets that descend": (put(DICTIONARIES, 28, "I", 99), "FormatError"),
    "dictionary that is no UTF-8": (put(DICTIONARIES, 40, "B", 0xFF), "FormatError"),
    "2^31 dictionaries": (put(DICTIONARIES, 0, "I", 1 << 31), "FormatError"),
    "2^31 counts": (put(CLASS_COUNTS, 0, "I", 1 << 31), "FormatError"),
    "counts of no field": (put(CLASS_COUNTS, 8, "I", 99), "FormatError"),
    "2^31 classes": (put(CLASS_COUNTS, 12, "I", 1 << 31), "FormatError"),
    "class without a category": (put(CLASS_COUNTS, 16 + 16, "q", 3), "FormatError"),
    "negative class of a category": (put(CLASS_COUNTS, 16, "q", -1), "FormatError"),
    "reserved bytes of counts": (put(CLASS_COUNTS, 4, "I", 1), "FormatError"),
}  # fmt: skip
# The same within chunks, where they are stored raw.
HOSTILE_RAW: dict[str, tuple[Edit, str]] = {
    "validity beyond the last row": (spoil(1, lambda rows: rows // 8, (1 << 32) - 1), "FormatError"),
    "padding after the validity": (spoil(1, lambda rows: 60, 1), "FormatError"),
    "offsets that do not start at 0": (spoil(1, lambda rows: 64, 1), "FormatError"),
    "offsets that descend": (spoil(1, lambda rows: 64 + 8, 1 << 31), "FormatError"),
    "offsets beyond the data": (spoil(1, lambda rows: 64 + 4 * rows, 1 << 20), "FormatError"),
    "padding after the offsets": (spoil(1, lambda rows: end_of_offsets(rows) - 4, 1 << 24), "FormatError"),
    "text that is no UTF-8": (spoil(1, end_of_offsets, (1 << 32) - 1), "FormatError"),
    "code outside the dictionary": (spoil(3, lambda rows: 0, 3), "FormatError"),
    "negative code": (spoil(3, lambda rows: 0, (1 << 32) - 1), "FormatError"),
}


def operate(folder: Path, codec: str) -> dict[str, str]:
    """Every hostile edit on a fresh copy: the error it ends in, in bounded memory."""
    limit_memory()
    make(folder, codec)
    wanted = snapshot(folder)
    found = {}
    for name, (edit, _) in hostile(codec).items():
        patient = Patient(folder)
        before = patient.path.read_bytes(), (folder / "manifest.json").read_bytes()
        heads = patient.heads()
        edit(patient)
        patient.repair(heads)
        patient.save()
        found[name] = described_outcome(folder, wanted)
        overwrite(patient.path, before[0])
        overwrite(folder / "manifest.json", before[1])
    assert outcome(folder, wanted) == "same"
    return found


def hostile(codec: str) -> dict[str, tuple[Edit, str]]:
    return HOSTILE | (HOSTILE_RAW if codec == "raw" else {})


def described_outcome(folder: Path, wanted: object) -> str:
    try:
        return outcome(folder, wanted)
    except Exception as error:  # no named error: the test says so
        return f"{type(error).__name__}: {error}"


def limit_memory() -> None:
    """2 GiB of addresses beyond what is mapped now: what a file declares must not be believed."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (2 << 30), resource.RLIM_INFINITY))


@pytest.mark.parametrize("codec", CODECS)
def test_hostile_files_end_in_named_errors(tmp_path: Path, codec: str) -> None:
    found = call(operate, tmp_path / "a.fl", codec)
    assert found == {name: error for name, (_, error) in hostile(codec).items()}


def mutate(folder: Path, seed: int, trials: int) -> Counter[str]:
    """Random numbers in random places of header, footer and tail, under right checksums."""
    limit_memory()
    wanted, rng, found = snapshot(folder), random.Random(seed), Counter()
    shard, manifest = Patient(folder).path.read_bytes(), (folder / "manifest.json").read_bytes()
    for _ in range(trials):
        patient = Patient(folder)
        heads = patient.heads()
        for _ in range(rng.randrange(1, 4)):
            size, form = rng.choice([(1, "B"), (2, "H"), (4, "I"), (8, "Q")])
            start, end = rng.choice(
                [(8, 120), (patient.tail + 8, patient.tail + 56)] + [(h, h + 600) for h in heads] * 3
            )
            place = rng.randrange(start, min(end, patient.tail + 56) - size) // size * size
            value = rng.choice([0, 1, 2, 127, 255, 256, 1 << 15, 1 << 28, 1 << 31, 1 << 32, 1 << 48, 1 << 63, -1, -64])
            patient.put(place, form, (value + rng.randrange(-1, 2)) % (1 << 8 * size))
        patient.repair(heads)
        patient.save()
        found[outcome(folder, wanted)] += 1
        overwrite(patient.path, shard)
        overwrite(folder / "manifest.json", manifest)
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_random_edits_under_right_checksums_never_crash(tmp_path: Path, codec: str) -> None:
    """What such a file then holds is what its writer meant; but it opens, or says by name why not."""
    found = call(mutate, make(tmp_path / "a.fl", codec), 1, 400)
    assert found.total() == 400
    assert found["FormatError"] > 100


def test_unknown_sections_are_skipped_unless_they_are_critical(tmp_path: Path) -> None:
    folder = make(tmp_path / "a.fl")
    wanted = snapshot(folder)
    for kind in (6, 77):
        patient = Patient(folder)
        patient.add_section(kind, 0, b"from the future")
        patient.repair()
        patient.save()
        assert outcome(folder, wanted) == "same"
    patient.add_section(78, 1, b"")
    patient.repair()
    patient.save()
    with pytest.raises(
        errors.VersionError, match="type 78 is critical and unknown to this build; a newer fastload wrote it"
    ):
        fl.open(folder)


def test_a_manifest_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "a.fl")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    write_manifest(folder, json.dumps(manifest | {"version": 2}))
    with pytest.raises(errors.VersionError, match="is of version 2, this build reads 1; update fastload"):
        fl.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 1 << 31},
        {"rows": "120"},
        {"format": "parquet"},
        {"generation": "first"},
        {"schema": []},
        {"schema": [{"name": "x"}]},
        {"schema": [{"name": "x", "dtype": ["int8"], "shape": [], "variable": 0, "nullable": 0, "categories": 0}]},
        {"shards": []},
        {"shards": [], "rows": 0},
        {"shards": {}},
        {"shards": [{"name": "../a.flb"}]},
    ],
)
def test_manifests_that_make_no_sense_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    folder = make(tmp_path / "a.fl")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    write_manifest(folder, json.dumps(manifest | change))
    with pytest.raises(errors.ManifestError):
        fl.open(folder)


@pytest.mark.parametrize("name", ["/etc/passwd", "../b.fl/x.flb", ".flb", "x.flb/", "a" * 90 + ".flb", 7, None])
def test_a_manifest_names_no_files_elsewhere(tmp_path: Path, name: object) -> None:
    folder = make(tmp_path / "a.fl")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["shards"][0]["name"] = name
    write_manifest(folder, json.dumps(manifest))
    with pytest.raises(errors.ManifestError):
        fl.open(folder)


def test_a_shard_named_twice_is_refused(tmp_path: Path) -> None:
    """Else its rows would be there twice."""
    folder = make(tmp_path / "a.fl")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["shards"] *= 2
    manifest["rows"] *= 2
    write_manifest(folder, json.dumps(manifest))
    with pytest.raises(errors.ManifestError):
        fl.open(folder)
