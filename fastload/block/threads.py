"""How many native threads to use when nobody says."""

from __future__ import annotations

import os


def default_threads() -> int:
    """As many as the processor set of this process allows, at most 4."""
    return min(4, len(os.sched_getaffinity(0)))
