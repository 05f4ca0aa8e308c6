"""One call in a fresh Python process: nothing warm; its CPU seconds and its peak memory are known."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
WATCH_EVERY_S = 0.02
MEGABYTE = 1e6


class RunFailed(RuntimeError):
    """A child process ended without a result; the message holds the last lines it wrote."""


def in_own_process(
    function: Callable[..., dict], /, *, watch_memory: bool = False, timeout_s: float = 900, **arguments: Any
) -> dict:
    """Call a module-level function in a fresh process and return its dict.

    Arguments and result travel as JSON. With `watch_memory` the result also holds ``peak_private_mb``
    (anonymous and shared memory) and ``peak_pss_mb`` (mapped files too) of the process and its children,
    looked at from outside every 20 ms; that slows the child a little, so its times are not for the record.

    Raises RunFailed where the child fails or runs longer than `timeout_s`.

    >>> in_own_process(machine)["python"] == machine()["python"]
    True
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.run_one",
            f"{function.__module__}:{function.__qualname__}",
            json.dumps(arguments),
            str(result),
        ]
        log_path = Path(folder) / "log.txt"
        with log_path.open("wb") as log:
            child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                peak = _watch(child, timeout_s) if watch_memory else _wait(child, timeout_s)
            except BaseException:
                _kill_session(child)
                raise
        if child.returncode or not result.exists():
            lines = log_path.read_text(errors="replace").strip().splitlines()[-12:]
            raise RunFailed(f"{function.__qualname__} ended with code {child.returncode}: " + "\n".join(lines))
        return {**json.loads(result.read_text()), **peak}


def _wait(child: subprocess.Popen, timeout_s: float) -> dict:
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"no result within {timeout_s:.0f} s") from None
    return {}


def _watch(child: subprocess.Popen, timeout_s: float) -> dict:
    deadline = time.monotonic() + timeout_s
    private = pss = 0.0
    while child.poll() is None:
        if time.monotonic() > deadline:
            raise RunFailed(f"no result within {timeout_s:.0f} s")
        now = memory_mb(child.pid)
        private, pss = max(private, now["private_mb"]), max(pss, now["pss_mb"])
        time.sleep(WATCH_EVERY_S)
    return {"peak_private_mb": private, "peak_pss_mb": pss}


def _kill_session(child: subprocess.Popen) -> None:
    try:
        os.killpg(child.pid, 9)  # its worker processes too: the child leads a session of its own
    except ProcessLookupError:
        pass
    child.wait()


def descendants(pid: int) -> list[int]:
    """Process ids of all living children of `pid`, and of theirs."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        more = children.get(queue.pop(), [])
        found += more
        queue += more
    return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat, from the state on (a name may hold blanks); empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds() -> float:
    """CPU seconds so far of this process: all threads, and all child processes, whether ended or alive."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for pid in descendants(os.getpid()):
        if fields := _stat(pid):
            total += sum(map(int, fields[11:15])) * TICK_S  # utime, stime, cutime, cstime
    return total


def memory_mb(pid: int | None = None) -> dict[str, float]:
    """Memory of a process and its children now, in 1e6 bytes.

    ``private_mb``: anonymous and shared memory, that is all that is not a mapped file.
    ``pss_mb``: the proportional set, mapped files included.
    """
    pid = pid or os.getpid()
    private = pss = 0
    for each in [pid, *descendants(pid)]:
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended in between
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        pss += kib.get("Pss", 0)
        private += kib.get("Pss_Anon", 0) + kib.get("Pss_Shmem", 0)
    return {"private_mb": private * 1024 / MEGABYTE, "pss_mb": pss * 1024 / MEGABYTE}


def open_things() -> dict[str, int]:
    """Threads and file descriptors that this process holds now."""
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,
    }


def machine() -> dict[str, str | int]:
    """What the figures were taken on."""
    from importlib.metadata import PackageNotFoundError, version

    facts: dict[str, str | int] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": "unknown",
    }
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            facts["cpu"] = line.split(":")[1].strip()
            break
    for package in ("fastload", "torch", "numpy", "pyarrow", "pylance", "spdl", "blosc2", "datasets", "ffcv"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts
