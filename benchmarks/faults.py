"""What happens to damaged files? Random faults in our files and in the formats people train from.

One data set (512 rows of 256 float32 and an int64 label, integers 0..999) is written in each format. Then one
fault at a time is put into its files: a flipped bit, a zeroed sector of 512 bytes, a cut at a random place.
Then all is read back, in a process of its own that goes on with the next fault unless this one kills it.

detected   an exception (ours: one of fastload's own, anything else counts as a crash)
silent     other data and no error
same       the right data: the fault fell on bytes that mean nothing
crash      killed by a signal, or no end

Ours besides: every bit of header, footer, tail and manifest of a small data set; blocks of one size swapped
and duplicated; writers killed at random moments.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import process
from benchmarks.harness import note, table, write_csv

ROWS, COLUMNS, SECTOR_BYTES = 512, 256, 512
VERDICTS = ("detected", "silent", "same", "crash")
TRIAL_LIMIT_S = 20
CONTEXT = multiprocessing.get_context("forkserver")

Arrays = tuple[np.ndarray, np.ndarray]  # x float32 [rows, columns], y int64 [rows]


def make_arrays(rows: int = ROWS, columns: int = COLUMNS) -> Arrays:
    rng = np.random.default_rng(0)
    return rng.integers(0, 1000, (rows, columns)).astype(np.float32), rng.integers(0, 1000, rows)


# --- formats -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """write : (folder, x, y) puts files into an empty folder; read : folder -> arrays, from the files alone.

    expects : the errors that count as detected. package : what must be installed.
    """

    name: str
    package: str
    write: Callable[[Path, np.ndarray, np.ndarray], None]
    read: Callable[[Path], Arrays]
    expects: str = "any"

    @property
    def is_ours(self) -> bool:
        return self.package == "fastload"


def write_ours(folder: Path, x: np.ndarray, y: np.ndarray, codec: str) -> None:
    import fastload as fl

    fl.write(folder / "rows.fl", {"x": x, "y": y}, codec=codec, block_bytes=1 << 16)


def read_ours(folder: Path) -> Arrays:
    import fastload as fl

    batch = fl.open(folder / "rows.fl")[:]
    return batch["x"], batch["y"]


def write_npy(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)


def read_npy(folder: Path) -> Arrays:
    return np.load(folder / "x.npy"), np.load(folder / "y.npy")


def write_npz(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    np.savez(folder / "rows.npz", x=x, y=y)


def read_npz(folder: Path) -> Arrays:
    with np.load(folder / "rows.npz") as arrays:
        return arrays["x"], arrays["y"]


def write_safetensors(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    from safetensors.numpy import save_file

    save_file({"x": x, "y": y}, folder / "rows.safetensors")


def read_safetensors(folder: Path) -> Arrays:
    from safetensors.numpy import load_file

    arrays = load_file(folder / "rows.safetensors")
    return arrays["x"], arrays["y"]


def to_table(x: np.ndarray, y: np.ndarray) -> Any:
    import pyarrow as pa

    return pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1]), "y": y})


def from_table(rows: Any) -> Arrays:
    x, y = rows["x"].combine_chunks(), rows["y"].combine_chunks()
    return x.flatten().to_numpy(zero_copy_only=False).reshape(len(y), -1), y.to_numpy(zero_copy_only=False)


def write_parquet(folder: Path, x: np.ndarray, y: np.ndarray, checksums: bool) -> None:
    import pyarrow.parquet as pq

    pq.write_table(to_table(x, y), folder / "rows.parquet", write_page_checksum=checksums)


def read_parquet(folder: Path, checksums: bool) -> Arrays:
    import pyarrow.parquet as pq

    return from_table(pq.read_table(folder / "rows.parquet", page_checksum_verification=checksums))


def write_arrow(folder: Path, x: np.ndarray, y: np.ndarray, compression: str | None) -> None:
    import pyarrow as pa

    rows = to_table(x, y)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(str(folder / "rows.arrow"), rows.schema, options=options) as writer:
        writer.write_table(rows, max_chunksize=128)


def read_arrow(folder: Path) -> Arrays:
    import pyarrow as pa

    with pa.memory_map(str(folder / "rows.arrow")) as source:
        return from_table(pa.ipc.open_file(source).read_all())


def formats() -> list[Format]:
    return [
        Format("fastload, raw", "fastload", lambda *a: write_ours(*a, "raw"), read_ours, "FastloadError"),
        Format("fastload, lz4", "fastload", lambda *a: write_ours(*a, "lz4"), read_ours, "FastloadError"),
        Format("npy", "numpy", write_npy, read_npy),
        Format("npz", "numpy", write_npz, read_npz),
        Format("safetensors", "safetensors", write_safetensors, read_safetensors),
        Format(
            "Parquet",
            "pyarrow",
            lambda *a: write_parquet(*a, False),
            lambda f: read_parquet(f, checksums=False),
        ),
        Format(
            "Parquet, page checksums written and verified",
            "pyarrow",
            lambda *a: write_parquet(*a, True),
            lambda f: read_parquet(f, checksums=True),
        ),
        Format("Arrow IPC", "pyarrow", lambda *a: write_arrow(*a, None), read_arrow),
        Format("Arrow IPC, lz4", "pyarrow", lambda *a: write_arrow(*a, "lz4"), read_arrow),
    ]


# --- faults --------------------------------------------------------------------------------------

Damage = tuple[Path, bytes]  # a file, and what it holds instead
Files = dict[Path, bytes]


def flip(files: Files, rng: random.Random) -> Damage:
    path, place = random_place(files, rng)
    return flip_bit(files, path, place, rng.randrange(8))


def flip_bit(files: Files, path: Path, place: int, bit: int) -> Damage:
    whole = files[path]
    return path, whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]


def zero_sector(files: Files, rng: random.Random) -> Damage:
    while True:
        path, place = random_place(files, rng)
        start, whole = place // SECTOR_BYTES * SECTOR_BYTES, files[path]
        sector = whole[start : start + SECTOR_BYTES]
        if any(sector):
            return path, whole[:start] + bytes(len(sector)) + whole[start + SECTOR_BYTES :]


def cut(files: Files, rng: random.Random) -> Damage:
    path, place = random_place(files, rng)
    return path, files[path][:place]


def random_place(files: Files, rng: random.Random) -> tuple[Path, int]:
    """A byte of all files, each as likely as the others."""
    place = rng.randrange(sum(map(len, files.values())))
    for path, whole in files.items():
        if place < len(whole):
            return path, place
        place -= len(whole)
    raise AssertionError


KINDS: dict[str, Callable[[Files, random.Random], Damage]] = {
    "bit": flip,
    "sector": zero_sector,
    "cut": cut,
}


def files_in(folder: Path) -> Files:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def restore(path: Path, content: bytes) -> None:
    """In place: a file that is emptied first is written to the disk at once by some file systems."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def damages_of(files: Files, task: tuple[Any, ...]) -> Iterator[Damage]:
    """task : ("bit" | "sector" | "cut", seed), ("every bit", path, from, to) or ("damage", path, content)."""
    if task[0] == "every bit":
        _, path, start, stop = task
        for place in range(start, stop):
            for bit in range(8):
                yield flip_bit(files, path, place, bit)
    elif task[0] == "damage":
        yield task[1], task[2]
    else:
        kind, seed = task
        yield KINDS[kind](files, random.Random(seed))


# --- readers in processes of their own -----------------------------------------------------------


def serve(connection: Connection, name: str, folder: Path) -> None:
    """Answers each task with the verdicts of its faults. Ends with the pipe."""
    limit_memory()
    reader = next(f for f in formats() if f.name == name)
    files, wanted = files_in(folder), reader.read(folder)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        verdicts: Counter[str] = Counter()
        for path, content in damages_of(files, task):
            restore(path, content)
            verdicts[verdict(reader, folder, wanted)] += 1
            restore(path, files[path])
        connection.send(verdicts)


def verdict(reader: Format, folder: Path, wanted: Arrays) -> str:
    try:
        found = reader.read(folder)
        same = all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    except Exception as error:
        if reader.expects == "any" or any(kind.__name__ == reader.expects for kind in type(error).__mro__):
            return "detected"
        return f"crash ({type(error).__name__})"
    return "same" if same else "silent"


def limit_memory() -> None:
    """A damaged size may ask for all the memory there is: 8 GiB of addresses more than now."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (8 << 30), resource.RLIM_INFINITY))


class Readers:
    """One reading process at a time: a fault that kills or hangs it is a crash, and a new one goes on."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.files = name, folder, files_in(folder)
        self._start()

    def _start(self) -> None:
        self._connection, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=serve, args=(theirs, self.name, self.folder), daemon=True)
        self._process.start()
        theirs.close()

    def verdicts(self, task: tuple[Any, ...]) -> Counter[str]:
        self._connection.send(task)
        try:
            if self._connection.poll(TRIAL_LIMIT_S):
                return self._connection.recv()
            cause = "hang"
        except (EOFError, ConnectionResetError):
            self._process.join()
            cause = signal.Signals(-self._process.exitcode).name if self._process.exitcode < 0 else "exit"
        self.close()
        for path, content in self.files.items():
            restore(path, content)
        self._start()
        return Counter({f"crash ({cause})": 1})

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()


def try_format(name: str, folder: Path, counts: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """Rows of the result: one for each kind of fault."""
    fmt = next(f for f in formats() if f.name == name)
    folder.mkdir(parents=True)
    fmt.write(folder, *make_arrays())
    readers, rows = Readers(name, folder), []
    for kind, count in counts.items():
        found: Counter[str] = Counter()
        for number in range(count):
            found += readers.verdicts((kind, f"{seed} {kind} {number}"))
        rows.append(as_row(f"{name} ({version(fmt.package)})", kind, found))
    readers.close()
    return rows


def as_row(name: str, fault: str, found: Counter[str]) -> dict[str, Any]:
    row = {"format": name, "fault": fault, "n": found.total()}
    row |= {v: sum(n for key, n in found.items() if key.startswith(v)) for v in VERDICTS}
    row["crashes"] = "; ".join(f"{key[7:-1]} {n}" for key, n in found.items() if key.startswith("crash"))
    return row


# --- ours alone ----------------------------------------------------------------------------------


def every_bit(folder: Path) -> dict[str, Any]:
    """Every bit of header, footer, tail and manifest of a data set of three rows."""
    import fastload as fl

    folder.mkdir(parents=True)
    fl.write(folder / "rows.fl", {"x": make_arrays(3, 2)[0], "y": make_arrays(3, 2)[1]}, codec="raw")
    readers, found = Readers("fastload, raw", folder), Counter()
    for path, content in readers.files.items():
        ranges = [(0, len(content))]
        if path.suffix == ".flb":
            tail = len(content) - 64
            footer = int.from_bytes(content[tail + 8 : tail + 16], "little")
            ranges = [(0, 128), (footer, len(content))]
        for start, stop in ranges:
            for place in range(start, stop, 16):  # a task must end within the time of one trial
                found += readers.verdicts(("every bit", path, place, min(stop, place + 16)))
    readers.close()
    return as_row("fastload", "every bit of header, footer, tail, manifest", found)


def exchanged_blocks(folder: Path) -> dict[str, Any]:
    """The stored bytes of each two blocks of one size: swapped, and one in the place of both."""
    import fastload as fl

    folder.mkdir(parents=True)
    write_ours(folder, *make_arrays(), "raw")
    (reader,) = fl.open(folder / "rows.fl")._shards.readers
    ranges = [slice(offset, offset + size) for offset, size in reader.chunk_ranges()]
    readers, found = Readers("fastload, raw", folder), Counter()
    path = next(path for path in readers.files if path.suffix == ".flb")
    whole = readers.files[path]
    for i, a in enumerate(ranges):
        for b in ranges[:i]:
            if a.stop - a.start == b.stop - b.start:
                for swapped in (True, False):
                    damaged = bytearray(whole)
                    damaged[a] = whole[b]
                    if swapped:
                        damaged[b] = whole[a]
                    found += readers.verdicts(("damage", path, bytes(damaged)))
    readers.close()
    return as_row("fastload", "swapped or duplicated blocks", found)


SHARDS = 12


def write_version(folder: Path, number: int, overwrite: bool, begun: Connection) -> None:
    import fastload as fl

    x, y = make_arrays()
    fields = [fl.Field("x", "float32", (COLUMNS,)), fl.Field("y", "int64")]
    begun.send("begun")
    with fl.Writer(folder, fields, block_bytes=1 << 16, shard_bytes=1 << 18, overwrite=overwrite) as writer:
        for _ in range(SHARDS):
            writer.append({"x": x + number, "y": y + number})


def version_in(folder: Path) -> str:
    """Number of the version that is there whole; "none", or "torn" and how."""
    import fastload as fl

    try:
        batch = fl.open(folder)[:]
    except fl.errors.NotADatasetError:
        return "none"
    except Exception as error:
        return f"torn: {error}"
    x, y = make_arrays()
    number = int(batch["y"][0]) - int(y[0])
    whole = np.array_equal(batch["x"], np.tile(x + number, (SHARDS, 1)))
    whole &= np.array_equal(batch["y"], np.tile(y + number, SHARDS))
    return str(number) if whole else "torn: wrong rows"


def start_writer(folder: Path, number: int, overwrite: bool) -> multiprocessing.process.BaseProcess:
    receiver, sender = CONTEXT.Pipe(duplex=False)
    writer = CONTEXT.Process(target=write_version, args=(folder, number, overwrite, sender), daemon=True)
    writer.start()
    receiver.recv()
    return writer


def killed_writers(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Writers of new data sets and of new versions, in turn, killed at random moments.

    Goes on until `kills` were sent, and six of ten of them while a temporary file was there.
    """
    folder.mkdir(parents=True)
    target, rng, found = folder / "rows.fl", random.Random(seed), Counter()
    writer, started = start_writer(target, 0, False), time.monotonic()
    writer.join()
    usual_s, while_writing, number = time.monotonic() - started, 0, 0
    while number < kills or (while_writing < 0.6 * kills and number < 10 * kills):
        number += 1
        shutil.rmtree(target, ignore_errors=True)
        overwrite = number % 2 == 0
        if overwrite:
            start_writer(target, 0, False).join()
        writer = start_writer(target, number, overwrite)
        time.sleep(rng.random() * usual_s)
        writer.kill()
        writer.join()
        while_writing += target.exists() and any(path.suffix == ".tmp" for path in target.iterdir())
        after = version_in(target)
        names = {
            "none": "torn: gone" if overwrite else "nothing",
            "0": "the old one",
            str(number): "the new one",
        }
        found[names.get(after, after)] += 1
    return {
        "kills": number,
        "while a file was being written": while_writing,
        **{key: found[key] for key in ("nothing", "the old one", "the new one")},
        "torn": sum(n for key, n in found.items() if key.startswith("torn")),
        "how": "; ".join(key for key in found if key.startswith("torn")),
    }


# --- the command ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    few = 10 if given.quick else 1
    counts = {"bit": given.flips // few, "sector": given.sectors // few, "cut": given.cuts // few}
    CONTEXT.set_forkserver_preload(["benchmarks.faults", "fastload.block.writer"])
    memory = Path("/dev/shm")  # faults need no disk
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as parent:
        rows = []
        for number, fmt in enumerate(formats()):
            if given.formats not in fmt.name:
                continue
            if find_spec(fmt.package) is None:
                note(f"skipped {fmt.name}: pip install {fmt.package}")
                continue
            note(f"{fmt.name}: {sum(counts.values())} faults")
            rows += try_format(fmt.name, Path(parent) / str(number), counts, given.seed)
        note("fastload: every bit, exchanged blocks")
        own = [every_bit(Path(parent) / "bits"), exchanged_blocks(Path(parent) / "blocks")]
    with tempfile.TemporaryDirectory() as parent:  # writers are killed where writing takes its time
        note(f"fastload: {given.kills // few} killed writers")
        kills = killed_writers(Path(parent) / "kills", given.kills // few, given.seed)
    note("")
    return report(given.out, rows, own, kills)


def report(out: Path, rows: list[dict[str, Any]], own: list[dict[str, Any]], kills: dict[str, Any]) -> int:
    """Tables on the screen and in files; the exit code is 1 where ours let a fault through."""
    write_csv(out / "faults.csv", [*rows, *own])
    write_csv(out / "faults-kills.csv", [kills])
    (out / "faults-machine.json").write_text(json.dumps(process.machine(), indent=1) + "\n")
    text = as_text(rows, own, kills)
    (out / "faults.md").write_text(text)
    print(text)
    print(f"written: {out / 'faults.md'}, faults.csv, faults-kills.csv, faults-machine.json")
    ours = [row for row in rows if row["format"].startswith("fastload")] + own
    return int(any(row["silent"] or row["crash"] for row in ours) or bool(kills["torn"]))


def as_text(rows: list[dict[str, Any]], own: list[dict[str, Any]], kills: dict[str, Any]) -> str:
    heads = {"bit": "one bit flipped", "sector": "one sector zeroed", "cut": "cut short"}
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        lines.setdefault(row["format"], {"format": row["format"]})[heads[row["fault"]]] = percents(row)
    parts = [
        "Of 100 faults: detected / silent / same / crash (number of trials)",
        table(list(lines.values())),
    ]
    for row in own:
        found = ", ".join(f"{row[v]:,} {v}" for v in VERDICTS)
        parts.append(f"fastload, {row['fault']}: {row['n']:,} faults, {found}")
    parts.append("fastload, writers killed: " + ", ".join(f"{k} {v}" for k, v in kills.items() if v != ""))
    return "\n\n".join(parts) + "\n"


def percents(row: dict[str, Any]) -> str:
    """
    >>> percents({"n": 200, "detected": 199, "silent": 1, "same": 0, "crash": 0})
    '99.5 / 0.5 / 0 / 0 (200)'
    """
    shares = (f"{100 * row[v] / row['n']:.2f}".rstrip("0").rstrip(".") for v in VERDICTS)
    return " / ".join(shares) + f" ({row['n']})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks faults", description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=2000, help="flipped bits for each format (default: 2000)")
    parser.add_argument("--sectors", type=int, default=500, help="zeroed sectors (default: 500)")
    parser.add_argument("--cuts", type=int, default=500, help="truncations (default: 500)")
    parser.add_argument("--kills", type=int, default=50, help="writers killed (default: 50)")
    parser.add_argument("--formats", default="", help="only formats with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
