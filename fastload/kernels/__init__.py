"""Arithmetic on rows: what is asked (calls), on the CPU (cpu), on CUDA devices (cuda), and in plain NumPy (reference)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fastload.errors import MissingExtraError


def cpu_kernels() -> Any:
    """The module of the CPU's kernels, which imports numba; MissingExtraError where that is not installed."""
    return _import("cpu", "numba")


def nearest_kernels() -> Any:
    """The module of the kernels that look for neighbours, which imports numba; MissingExtraError where that is not installed."""
    return _import("nearest", "numba")


def cuda_kernels() -> Any:
    """The module of the kernels for CUDA devices; MissingExtraError where numba's CUDA compiler is not installed."""
    return _import("cuda", "cuda")


def _import(name: str, extra: str) -> Any:
    try:
        return import_module(f"fastload.kernels.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("numba"):
            raise
        raise MissingExtraError(error.name, extra=extra) from None
