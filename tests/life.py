"""Loaders in processes that fork, are interrupted, or end: programs that are let run, and what is wrong with their ends.

``python tests/life.py`` is the long run: 1,000 forks, 500 programs ended by a signal, 500 interrupts caught in one, and a
table. ``load/test_process_life.py`` asks for a few of each. Moments are drawn from a seed.

A program runs in an interpreter of its own: this file, called with the program's name. It prints what it `Found` as JSON.
A child that hangs is ended, and the stacks of its threads are told.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from processes import becomes, engine_threads

import fastload as fl
from fastload.errors import ClosedError

ROWS, FEW_ROWS, DOCUMENTS = 200_000, 1500, 20_000
LIMIT_S = 20.0  # a child that has not ended by then hangs
DataLoader = fl.DataLoader  # imports torch, before anything forks
KINDS = ("windows", "persistent", "named rows", "packed", "caller's thread", "short passes")
SIGNALS = {
    "Ctrl-C": (signal.SIGINT, -signal.SIGINT),
    "Ctrl-C, async for": (signal.SIGINT, -signal.SIGINT),
    "SIGTERM": (signal.SIGTERM, -signal.SIGTERM),
    "SIGTERM, with a handler": (signal.SIGTERM, 77),
}


@dataclass
class Found:
    """What came of a number of forks or interrupts."""

    count: int = 0
    slowest_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def ends(self, child: int, wanted: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Waits for the end of a child process, which should have the code `wanted`; ends it if it hangs."""
        began = time.monotonic()
        self.count += 1
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > began + LIMIT_S:
                self.problems.append("a child hung; its stacks are told beside")
                os.kill(child, signal.SIGUSR1)  # tells them
                time.sleep(1)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return
            meanwhile()
            time.sleep(0.001)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        code = os.waitstatus_to_exitcode(ended[1])
        if code != wanted:
            self.problems.append(f"a child ended with code {code}, not {wanted}")

    def says(self, log: TextIO, wanted: str) -> None:
        """What a child wrote is a traceback that ends in `wanted`, or nothing."""
        log.seek(0)
        said = log.read()
        if said.strip().rpartition("\n")[2] != wanted or "xception ignored" in said:
            self.problems.append(f"a child said: {said}")


def fork_that_tells(log: TextIO) -> int:
    """os.fork(); what the child writes to stderr goes to a file."""
    child = os.fork()
    if child == 0:
        os.dup2(log.fileno(), 2)
    return child


# --- loaders -------------------------------------------------------------------------------------


def write(folder: Path) -> None:
    """Rows that compress, more than a loader keeps ready, in 140 blocks; and documents of a few tokens."""
    fl.write(folder / "rows.fl", columns_of(ROWS), codec="lz4", block_bytes=1 << 17)
    tokens = [np.full(1 + number % 60, number, np.int32) for number in range(DOCUMENTS)]
    fl.write(folder / "documents.fl", {"tokens": tokens}, codec="lz4", block_bytes=1 << 15)


def columns_of(rows: int) -> dict[str, np.ndarray]:
    row = np.arange(rows)
    return {"row": row, "x": (row[:, None] % 1000 + np.arange(20)).astype(np.float32)}


class Backwards:
    """A sampler of the user's own."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(ROWS - 1, -1, -1))

    def __len__(self) -> int:
        return ROWS


def loader_of(kind: str, folder: Path, **options: Any) -> DataLoader:
    """A loader whose threads have work as long as batches are taken. What it decodes does not fit its memory, except where
    rows are named, of which a loader would warn."""
    memory_bytes = (32 if kind in ("packed", "named rows") else 2) << 20
    options = {"batch_size": 1000, "num_workers": 2, "memory_bytes": memory_bytes} | options
    rows: Any = folder / "rows.fl"
    if kind == "packed":
        rows = folder / "documents.fl"
        options |= {
            "shuffle": True,
            "seed": 1,
            "packing": fl.Packing(length=64, pool_documents=1000),
            "batch_size": 200,
        }
    elif kind == "named rows":
        options |= {"sampler": Backwards()}
    else:
        options |= {"shuffle": True, "seed": 1}
        if kind == "persistent":
            options |= {"persistent_workers": True}
        if kind == "caller's thread":
            options |= {"num_workers": 0}
        if kind == "short passes":
            rows = columns_of(FEW_ROWS)
    return DataLoader(rows, **options)


def some_loaders(rng: random.Random, folder: Path) -> list[tuple[str, DataLoader]]:
    found = []
    for _ in range(rng.choice([1, 1, 2, 4])):
        kind = rng.choice(KINDS)
        workers = rng.choice([1, 3] if kind == "persistent" else [0, 1, 3])
        found.append((kind, loader_of(kind, folder, batch_size=rng.choice([100, 1000, 30_000]), num_workers=workers)))
    return found


def check_pass(kind: str, loader: DataLoader) -> None:
    """A whole pass has each row once, and the values that belong to it. No torch in it, whose threads do not fork."""
    if kind == "packed":
        pairs = [(batch["tokens"].numpy(), batch["tokens_document"].numpy()) for batch in loader]
        found = np.bincount(np.concatenate([tokens[document > 0] for tokens, document in pairs]))
        wanted = 1 + np.arange(DOCUMENTS) % 60
    else:
        batches = [(batch["row"].numpy(), batch["x"].numpy()[:, 0]) for batch in loader]
        rows, first = (np.concatenate(column) for column in zip(*batches, strict=True))
        assert np.array_equal(first, rows % 1000), "values of other rows"
        found, wanted = np.bincount(rows), np.ones(FEW_ROWS if kind == "short passes" else ROWS)
    assert np.array_equal(found, wanted), "rows are missing, or came twice"


def take_for_ever(loaders: list[DataLoader], until: float = math.inf) -> None:
    running = [iter(loader) for loader in loaders]
    while time.monotonic() < until:
        for i, loader in enumerate(loaders):
            if next(running[i], None) is None:
                running[i] = iter(loader)


async def take_for_ever_in_turns(loaders: list[DataLoader], begin: Callable[[], Any] = lambda: None) -> None:
    begin()

    async def take(loader: DataLoader) -> None:
        while True:
            async for _ in loader:
                pass

    await asyncio.gather(*map(take, loaders))


def loader_threads() -> int:
    return engine_threads() + sum(thread.name.startswith("fastload") for thread in threading.enumerate())


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- forks ---------------------------------------------------------------------------------------


def fork_under_load(kind: str, folder: Path, forks: int, seed: int) -> Found:
    """Forks between two batches, and from another thread at any moment. Children end at once, or as interpreters do."""
    rng, found = random.Random(seed), Found()
    loader = loader_of(kind, folder)
    check_pass(kind, loader)
    running = iter(loader)

    def take() -> None:
        nonlocal running
        while next(running, None) is None:
            running = iter(loader)

    for number in range(forks):
        for _ in range(rng.randrange(1, 40)):
            take()
        if number % 3 == 2:
            child = fork_in_thread(lambda: use_in_child(kind, loader, running), take)
        elif not (child := os.fork()):
            use_in_child(kind, loader, running)
            if number % 3 == 1:
                os._exit(0)
            raise SystemExit  # through all of this, to the end of the interpreter
        found.ends(child, 0, take)
    check_pass(kind, loader)
    return found


def fork_in_thread(in_child: Callable[[], None], meanwhile: Callable[[], None]) -> int:
    children = []

    def fork() -> None:
        if child := os.fork():
            children.append(child)
            return
        try:
            in_child()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    thread = threading.Thread(target=fork)
    thread.start()
    while thread.is_alive():
        meanwhile()
    return children[0]


def use_in_child(kind: str, loader: DataLoader, running: Iterator[Any]) -> None:
    """The parent's iterator is refused, its loader can be asked what it did, and goes through a pass of the child's own."""
    told = ""
    try:
        next(running)
    except ClosedError as error:
        told = str(error)
    assert "parent process" in told, f"the parent's iterator was not refused: {told}"
    loader.stats()
    assert loader.state_dict()["version"]
    check_pass(kind, loader)


# --- interrupts ----------------------------------------------------------------------------------


def end_by_signal(how: str, folder: Path, interrupts: int, seed: int) -> Found:
    """Programs that loop over loaders, ended at random moments. Each is a fork of this process, where nothing runs."""
    rng, found = random.Random(seed), Found()
    number, wanted = SIGNALS[how]
    for _ in range(interrupts):
        named = some_loaders(rng, folder)  # their threads begin with the first pass
        delay_s = rng.random() * 0.1
        receiver, sender = os.pipe()
        with tempfile.TemporaryFile("w+") as log:
            if not (child := fork_that_tells(log)):
                if "handler" in how:
                    signal.signal(signal.SIGTERM, lambda *_: sys.exit(77))
                loaders, begin = [loader for _, loader in named], partial(os.write, sender, b"!")
                if "async" in how:  # until asyncio runs it, an interrupt leaves a coroutine, and Python warns of that
                    asyncio.run(take_for_ever_in_turns(loaders, begin))
                begin()
                take_for_ever(loaders)
            os.read(receiver, 1)
            time.sleep(delay_s)
            os.kill(child, number)
            found.ends(child, wanted)
            found.says(log, "KeyboardInterrupt" if number == signal.SIGINT else "")
        os.close(receiver)
        os.close(sender)
    return found


def interrupt_and_go_on(folder: Path, interrupts: int, seed: int) -> Found:
    """Ctrl-C in the loop, caught; then the same loaders go through a whole pass, and leave nothing when they are dropped."""
    rng, found, swallowed = random.Random(seed), Found(), []
    sys.unraisablehook = swallowed.append
    before = open_descriptors()
    for number in range(interrupts):
        named = some_loaders(rng, folder)
        loaders = [loader for _, loader in named]
        send = (signal.raise_signal, lambda given: os.kill(os.getpid(), given))[number % 2]
        timer = threading.Timer(0.002 + rng.random() * 0.1, send, [signal.SIGINT])
        began = time.monotonic()
        try:
            timer.start()
            take_for_ever(loaders, began + LIMIT_S)
            found.problems.append(f"an interrupt was lost: {[str(lost.object) for lost in swallowed]}")
        except KeyboardInterrupt:
            found.slowest_s = max(found.slowest_s, time.monotonic() - began - timer.interval)
        timer.join()
        for kind, loader in named:
            check_pass(kind, loader)
        del named, loaders, loader
        found.count += 1
        if not becomes(loader_threads, 0):
            found.problems.append(f"{loader_threads()} threads are left")
        if open_descriptors() != before:
            found.problems.append(f"{open_descriptors()} descriptors are open, {before} before")
    return found


# --- the end of the interpreter ------------------------------------------------------------------

KEPT: list[Any] = []  # what the interpreter meets at its end


def leave_in_the_middle(kind: str, folder: Path) -> None:
    loader = loader_of(kind, folder)
    iterator = iter(loader)
    KEPT.extend([loader, iterator, next(iterator)])


def leave_after_a_pass(kind: str, folder: Path) -> None:
    KEPT.append(loader_of(kind, folder))
    check_pass(kind, KEPT[0])


def leave_while_awaiting(kind: str, folder: Path) -> None:
    async def leave() -> None:
        KEPT.append(asyncio.ensure_future(take_for_ever_in_turns([loader_of(kind, folder)])))
        await asyncio.sleep(0.02)

    asyncio.run(leave())


def leave_a_daemon_thread(kind: str, folder: Path) -> None:
    """In the middle of a pass, whose batches are kept: to begin a pass or to drop a tensor is torch's work, too, and torch
    aborts where Python ends a thread inside it."""
    iterator = iter(loader_of(kind, folder, batch_size=100))
    threading.Thread(target=KEPT.extend, args=(iterator,), daemon=True).start()
    time.sleep(0.01)


LEAVING = {
    "in the middle": (leave_in_the_middle, KINDS),
    "after a pass": (leave_after_a_pass, ("windows", "packed")),
    "while awaiting": (leave_while_awaiting, ("persistent", "named rows")),
    "a daemon thread": (leave_a_daemon_thread, ("windows", "caller's thread")),
}


def end_as_interpreters_do(way: str, folder: Path) -> Found:
    """Programs that end while they hold a loader. Each is a fork of this process, where nothing runs."""
    found = Found()
    leave, kinds = LEAVING[way]
    for kind in kinds:
        with tempfile.TemporaryFile("w+") as log:
            if not (child := fork_that_tells(log)):
                leave(kind, folder)
                raise SystemExit
            found.ends(child, 0)
            found.says(log, "")
    return found


# --- programs ------------------------------------------------------------------------------------


PROGRAMS = {
    program.__name__: program
    for program in (fork_under_load, end_by_signal, interrupt_and_go_on, end_as_interpreters_do)
}


def run(program: Callable[..., Found], *arguments: Any, limit_s: float = 300) -> Found:
    """What a program of this file found, in an interpreter of its own; what that wrote besides is a problem."""
    given = json.dumps([str(a) if isinstance(a, Path) else a for a in arguments])
    command = [sys.executable, "-X", "faulthandler", __file__, program.__name__, given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, said = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGUSR1)  # tells the stacks
            time.sleep(1)
            process.kill()
            return Found(problems=[f"it hung: {process.communicate()[1]}"])
    if process.returncode:
        return Found(problems=[f"it ended with code {process.returncode}: {said}"])
    found = Found(**json.loads(output))
    found.problems += [said] if said else []
    return found


def campaign(forks: int, interrupts: int, seed: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        jobs: list[tuple[str, tuple[Any, ...]]] = []
        for i, kind in enumerate(KINDS):
            count = forks // len(KINDS) + (i < forks % len(KINDS))
            jobs.append((f"forked: {kind}", (fork_under_load, kind, folder, count, seed)))
        for i, how in enumerate(SIGNALS):
            count = interrupts // len(SIGNALS) + (i < interrupts % len(SIGNALS))
            jobs.append((f"ended: {how}", (end_by_signal, how, folder, count, seed)))
        jobs.append(("interrupted, and goes on", (interrupt_and_go_on, folder, interrupts, seed)))
        jobs += [(f"left: {way}", (end_as_interpreters_do, way, folder)) for way in LEAVING]
        tell = partial(print, flush=True)
        tell(f"{'what':32}{'times':>7}{'slowest end':>14}{'in all':>10}  problems")
        wrong = 0
        for what, job in jobs:
            began = time.monotonic()
            found = run(*job, limit_s=3600)
            took_s = time.monotonic() - began
            tell(f"{what:32}{found.count:7}{found.slowest_s:12.2f} s{took_s:8.0f} s  {len(found.problems)}")
            for problem in found.problems:
                tell(problem, file=sys.stderr)
            wrong += len(found.problems)
    return int(wrong > 0)


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in PROGRAMS:
        faulthandler.register(signal.SIGUSR1)
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        given = [Path(a) if isinstance(a, str) and a.startswith("/") else a for a in json.loads(sys.argv[2])]
        json.dump(asdict(PROGRAMS[sys.argv[1]](*given)), sys.stdout)
        return 0
    parser = argparse.ArgumentParser(description="Forks and interrupts loaders at random moments; told by a table.")
    parser.add_argument("--forks", type=int, default=1000)
    parser.add_argument("--interrupts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    return campaign(given.forks, given.interrupts, given.seed)


if __name__ == "__main__":
    sys.exit(main())
