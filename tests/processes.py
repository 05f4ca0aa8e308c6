"""What a process holds, seen from outside."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def engine_threads() -> int:
    """Threads of engines in this process; those of dropped loaders that only a cycle keeps go first."""
    gc.collect()
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:  # has ended meanwhile
            continue
    return names.count("fastload")


def becomes(found: Callable[[], Any], wanted: Any, timeout_s: float = 10.0) -> bool:
    """Whether it does in time: the kernel lists a thread for a moment after it was joined."""
    until = time.monotonic() + timeout_s
    while found() != wanted:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
