"""A writer killed, interrupted or refused by the disk leaves the old data set, the new one, or none."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from children import CONTEXT, call, start

import fastload as fl
from fastload import errors

SCHEMA = fl.Schema([fl.Field("version", "int64"), fl.Field("x", "float32", (16,)), fl.Field("text", "string")])
ROWS, CALLS = 100, 20  # of each append, and of appends for one version


def rows_of(version: int, first: int, rows: int) -> dict[str, object]:
    row = np.arange(first, first + rows)
    return {
        "version": np.full(rows, version),
        "x": (row[:, None] * 16 + np.arange(16)).astype(np.float32) + version,
        "text": [f"{version} {i}" for i in row],
    }


def write(folder: Path, version: int, **options: object) -> None:
    """Two thousand rows that tell their version, in about ten shards."""
    with fl.Writer(folder, SCHEMA, block_bytes=2048, shard_bytes=8192, **options) as writer:
        for call_number in range(CALLS):
            writer.append(rows_of(version, call_number * ROWS, ROWS))


def versions_in(folder: Path) -> list[int]:
    """The versions whose rows the data set holds, each whole and in order; empty without a data set."""
    try:
        dataset = fl.open(folder)
    except errors.NotADatasetError:
        return []
    dataset.verify()
    batch = dataset[:]
    rows = ROWS * CALLS
    found = batch["version"][::rows].tolist()
    wanted = [rows_of(version, 0, rows) for version in found]
    assert len(dataset) == rows * len(found)
    for name in SCHEMA.names:
        assert np.array_equal(batch[name], np.concatenate([w[name] for w in wanted])), name
    return found


def strays_in(folder: Path) -> set[str]:
    """Files that belong to no data set."""
    if not folder.exists():
        return set()
    present = {path.name for path in folder.iterdir()}
    try:
        named = {entry.name for entry in fl.open(folder)._manifest.shards}
    except errors.NotADatasetError:
        named = set()
    return present - named - ({"manifest.json"} if named else set())


# --- killed --------------------------------------------------------------------------------------


def write_once(folder: Path, version: int, begun: Connection, options: dict[str, object]) -> None:
    begun.send("begun")
    write(folder, version, **options)


def kill_while_writing(folder: Path, version: int, delay_s: float, options: dict[str, object]) -> bool:
    """Start a writer and kill it after `delay_s`, or at its end. Returns whether it left a temporary file."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = start(write_once, folder, version, sender, options)
    assert receiver.recv() == "begun"
    time.sleep(delay_s)
    process.kill()
    process.join(20)
    assert process.exitcode in (0, -signal.SIGKILL)
    return any(path.suffix == ".tmp" for path in folder.iterdir()) if folder.exists() else False


def usual_time_s(folder: Path) -> float:
    """How long a writer takes in a process of its own."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = start(write_once, folder, 0, sender, {})
    receiver.recv()
    begun = time.monotonic()
    process.join(60)
    assert process.exitcode == 0
    shutil.rmtree(folder)
    return time.monotonic() - begun


@pytest.mark.parametrize("how", ["new", "overwrite", "append"])
def test_a_killed_writer_leaves_no_torn_data_set(tmp_path: Path, how: str) -> None:
    """Kills at random moments, until six came while a temporary file was there."""
    rng, folder = random.Random(1), tmp_path / "a.fl"
    whole_s, torn, before = usual_time_s(folder), 0, []
    for version in range(1, 200):
        if how == "new":
            shutil.rmtree(folder, ignore_errors=True)
            before, options, complete = [], {}, [version]
        else:
            if version == 1:
                write(folder, 0)
                before = [0]
            options, complete = {how: True}, [version] if how == "overwrite" else [*before, version]
        torn += kill_while_writing(folder, version, rng.random() * whole_s, options)
        after = versions_in(folder)
        assert after in (before, complete)
        before = after
        if version >= 12 and torn >= 6:
            break
    assert torn >= 6
    write(folder, 999, overwrite=True)
    assert versions_in(folder) == [999]
    assert not strays_in(folder)


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "a.fl"
    whole_s = usual_time_s(folder)
    while not kill_while_writing(folder, 1, 0.5 * whole_s, {}):
        shutil.rmtree(folder, ignore_errors=True)
    assert strays_in(folder)
    with pytest.raises(errors.NotADatasetError, match=r"holds no manifest\.json"):
        fl.open(folder)
    write(folder, 2)
    assert versions_in(folder) == [2]
    assert not strays_in(folder)


# --- interrupted ---------------------------------------------------------------------------------


def write_until_interrupted(folder: Path, begun: Connection, options: dict[str, object]) -> None:
    try:
        with fl.Writer(folder, SCHEMA, **options) as writer:
            for number in range(10**9):
                writer.append(rows_of(7, number * ROWS, ROWS * 100))
                if number == 1:
                    begun.send("begun")
    except KeyboardInterrupt:
        os._exit(77)


@pytest.mark.parametrize("codec", ["raw", "lz4", "lz4hc"])
@pytest.mark.parametrize("exists", [False, True])
def test_ctrl_c_ends_a_writer_within_a_second_and_leaves_nothing(tmp_path: Path, codec: str, exists: bool) -> None:
    folder, options = tmp_path / "a.fl", {"codec": codec, "shard_bytes": 4 << 20, "overwrite": exists}
    if exists:
        write(folder, 1)
    needed_s = []
    for delay_s in (0.01, 0.1):
        receiver, sender = CONTEXT.Pipe(duplex=False)
        process = start(write_until_interrupted, folder, sender, options)
        assert receiver.recv() == "begun"
        time.sleep(delay_s)
        asked = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        process.join(20)
        needed_s.append(time.monotonic() - asked)
        assert process.exitcode == 77
        assert versions_in(folder) == ([1] if exists else [])
        assert not strays_in(folder)
        assert folder.exists() == exists
    assert min(needed_s) < 1


@pytest.mark.parametrize("where", ["fsync", "replace", "unlink"])
def test_an_interrupt_around_publishing_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Just after the manifest was renamed, its shards belong to the data set and must not be cleaned away."""
    folder = tmp_path / "a.fl"
    write(folder, 1)
    real, interrupts = getattr(os, where), []

    def interrupted(*arguments: object, **options: object) -> object:
        result = real(*arguments, **options)
        interrupts.append(where)
        raise KeyboardInterrupt
        return result

    monkeypatch.setattr(os, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(folder, 2, overwrite=True)
    monkeypatch.undo()
    assert interrupts
    assert versions_in(folder) in ([1], [2])
    write(folder, 3, overwrite=True)
    assert versions_in(folder) == [3]
    assert not strays_in(folder)


def fork_while_writing(folder: Path) -> list[int]:
    with fl.Writer(folder, SCHEMA, block_bytes=2048, shard_bytes=8192) as writer:
        for call_number in range(CALLS):
            writer.append(rows_of(1, call_number * ROWS, ROWS))
        child = os.fork()
        if child == 0:
            refused = 0
            for use in (writer.close, lambda: writer.append(rows_of(2, 0, 1))):
                try:
                    use()
                except errors.ClosedError as error:
                    refused += "belongs to the parent process" in str(error)
            writer.abort()
            del writer
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    return versions_in(folder)


def test_a_forked_child_does_not_touch_its_parents_data_set(tmp_path: Path) -> None:
    assert call(fork_while_writing, tmp_path / "a.fl") == [1]


# --- refused by the disk -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing_calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the library that makes system calls fail")
    library = tmp_path_factory.mktemp("shim") / "failing_calls.so"
    source = Path(__file__).with_name("failing_calls.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


def write_small(folder: Path, version: int, **options: object) -> None:
    """The same in two shards, with fewer system calls."""
    with fl.Writer(folder, SCHEMA, block_bytes=65536, shard_bytes=50000, num_workers=1, **options) as writer:
        for call_number in range(2):
            writer.append(rows_of(version, call_number * ROWS * CALLS // 2, ROWS * CALLS // 2))


def fail_each_call(library: str, parent: str, error: str) -> None:
    """The counted loop: the n-th call fails, for n = 1, 2, ... until a run has no call left to fail."""
    fail_call = ctypes.CDLL(library).fail_call
    number, found = getattr(errno, error), Counter()
    for how in ("new", "overwrite", "append"):
        folder = Path(parent) / f"{how}.fl"
        for n in range(1, 1000):
            shutil.rmtree(folder, ignore_errors=True)
            if how != "new":
                write_small(folder, 1)
            options = {} if how == "new" else {how: True}
            old = {path.name for path in folder.glob("*.flb")}
            fail_call(n, number, 0)
            try:
                write_small(folder, 2, **options)
                outcome, message = "written", parent
            except fl.errors.FastloadError as problem:
                outcome, message = type(problem).__name__, str(problem)
            seen = fail_call(0, 0, 0)
            found[how, outcome] += 1
            before, after = ([], [1])[how != "new"], {"new": [2], "overwrite": [2], "append": [1, 2]}[how]
            where = f"{how}, call {n}: {outcome}: {message}"
            assert parent in message, where
            assert outcome in ("written", "DiskFullError", "FileIOError"), where
            assert versions_in(folder) == after if outcome == "written" else versions_in(folder) in (before, after), (
                where
            )
            # Where the last sync failed the old files stay: without it the old manifest may come back.
            assert strays_in(folder) <= (old if versions_in(folder) == after else set()), where
            assert folder.exists() or how == "new", where
            assert versions_in(folder) or not folder.exists(), where
            if seen < n:
                assert outcome == "written"
                break
        else:
            raise AssertionError("the loop has no end")
        assert n > 10, f"only {n} calls were seen: the library is not in the way of the calls"
    sys.stdout.write(repr(dict(found)))


def write_bit_by_bit(library: str, parent: str) -> None:
    ctypes.CDLL(library).fail_call(0, 0, 10)
    write_small(Path(parent) / "a.fl", 2)
    assert ctypes.CDLL(library).fail_call(0, 0, 0) > 1000
    assert versions_in(Path(parent) / "a.fl") == [2]


def run_with(library: Path, function: Callable[..., None], *arguments: str) -> str:
    """A function of this module in a fresh process that has `library` before all others."""
    preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)]))
    code = f"import sys, test_kill; test_kill.{function.__name__}(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(library), *arguments],
        env={**os.environ, "LD_PRELOAD": preload, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_any_call_that_the_disk_refuses_is_a_named_error(tmp_path: Path, failing_calls: Path, error: str) -> None:
    outcomes = run_with(failing_calls, fail_each_call, str(tmp_path), error)
    assert ("DiskFullError" in outcomes) == (error != "EIO"), outcomes
    assert ("FileIOError" in outcomes) or error != "EIO", outcomes


def test_writes_that_take_only_a_part_are_continued(tmp_path: Path, failing_calls: Path) -> None:
    run_with(failing_calls, write_bit_by_bit, str(tmp_path))


def write_with_limit(folder: Path) -> str:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    with pytest.raises(errors.FileIOError, match=r"cannot write .*File too large"):
        write(folder, 2, overwrite=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "refused"


def test_a_file_that_may_not_grow_is_a_named_error(tmp_path: Path) -> None:
    folder = tmp_path / "a.fl"
    assert call(write_with_limit, folder) == "refused"
    assert not folder.exists()
    write(folder, 1)
    assert call(write_with_limit, folder) == "refused"
    assert versions_in(folder) == [1]
    assert not strays_in(folder)


# --- read while it is replaced -------------------------------------------------------------------


def test_a_reader_sees_the_old_or_the_new_while_a_writer_replaces_it(tmp_path: Path) -> None:
    folder, stop = tmp_path / "a.fl", threading.Event()
    write_small(folder, 0)

    def replace() -> None:
        for version in range(1, 20):
            write_small(folder, version, overwrite=True)
        stop.set()

    thread = threading.Thread(target=replace)
    thread.start()
    opened = 0
    try:
        while not stop.is_set():
            versions = fl.open(folder)[:]["version"]
            assert len(versions) == ROWS * CALLS
            assert len(set(versions.tolist())) == 1
            opened += 1
    finally:
        thread.join()
    assert opened > 10
