"""Where the time of a pass went, and what that says: does the loop wait for data, or the data for the loop?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

WAITING_SHARE = 0.1  # below it the loop hardly waits
LOADING_SHARE = 0.4  # above it, it mostly does

_ADVICE = {
    "read": "the disk: compress (codec='lz4'), or keep the data where the page cache holds them",
    "verify": "checksums of stored bytes: more num_workers",
    "decode": "decoding: a memory_bytes that holds the data (each block is then decoded once), more num_workers, or codec='raw'",
    "gather": "gathering rows: more num_workers, or fewer bytes a row (select the fields that are used)",
    "kernels": "transforms: more num_workers, fewer steps, or store what they make (fastload.convert(..., transform=))",
    "transform": "functions of yours (collate_fn, transform), which run in the consumer's own thread: cheaper ones, or none",
    "hand_over": "the consumer's own thread, which takes what the threads deliver: larger batches",
    "copy": "copying to the device: smaller dtypes, fewer fields, larger batches",
}

_OWN = ("transform", "hand_over", "copy")  # stages of the consumer's thread; those of the others run side by side

logger = logging.getLogger("fastload.load")


def verdict(wait_s: float, busy_s: float, stages: Mapping[str, float], threads: int) -> str:
    """One sentence: who waits for whom, and what to change.

    Parameters
    ----------
    wait_s : seconds the loop spent in ``next()``. busy_s : seconds between its calls.
    stages : seconds by stage, see ``DataLoader.stats``. threads : that read, verify, decode, gather and transform.

    Examples
    --------
    >>> verdict(0.1, 9.9, {"decode": 2.0, "hand_over": 0.1}, 2)
    'model-bound: the loop waits 1 % of the time; faster loading would change nothing'
    >>> verdict(6.0, 4.0, {"gather": 11.0, "hand_over": 0.1}, 2).split(":")[:2]
    ['loader-bound', ' the loop waits 60 % of the time, mostly for gathering rows']
    """
    total_s = wait_s + busy_s
    if total_s <= 0:
        return "nothing was delivered"
    share = wait_s / total_s
    waits = f"the loop waits {share:.0%} of the time".replace("%", " %")
    if share < WAITING_SHARE:
        return f"model-bound: {waits}; faster loading would change nothing"
    weights = {name: s if name in _OWN else s / max(1, threads) for name, s in stages.items()}
    advice = _ADVICE[max(weights, key=weights.__getitem__)]
    if share < LOADING_SHARE:
        return f"balanced: {waits}; what it waits for is mostly {advice}"
    return f"loader-bound: {waits}, mostly for {advice}"


def log_pass(stats: Mapping[str, Any]) -> None:
    """One line about a pass, at level INFO of the logger ``fastload.load``."""
    if not logger.isEnabledFor(logging.INFO):
        return
    total_s = stats["wait_s"] + stats["busy_s"]
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in stats["stages_s"].items())
    logger.info(
        "%s rows in %.2f s (%.2f million a second), waited %.2f s; stages in seconds: %s; %s",
        f"{stats['delivered_rows']:,}",
        total_s,
        stats["delivered_rows"] / total_s / 1e6 if total_s else 0.0,
        stats["wait_s"],
        stages,
        stats["verdict"],
    )
