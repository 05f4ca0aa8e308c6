"""What figures were taken on, in a line."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from importlib import metadata


def machine_text(packages: Sequence[str] = ("fastload", "torch", "numpy")) -> str:
    """CPUs this process may use, system, versions of `packages` (without importing them), date.

    >>> machine_text(["numpy"]).startswith(f"{cpu_count()} CPU")
    True
    """
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    cpus = cpu_count()
    return (
        f"{cpus} CPU{'s' if cpus > 1 else ''} ({platform.machine()}, {platform.system()}), "
        f"Python {platform.python_version()}, {versions}; {time.strftime('%Y-%m-%d')}"
    )


def cpu_count() -> int:
    """CPUs this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
