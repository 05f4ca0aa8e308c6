"""How fast does each loader deliver shuffled token sequences, padded to the longest of the batch (W3)?"""

from __future__ import annotations

from statistics import median

from benchmarks.harness import Claim, Options, Runs, at_least, at_most
from benchmarks.race import race

PADDING_LOOP, READY, PLAIN_TORCH = "numpy/pad-ram", "numpy/made-beforehand", "torch/default-2w"
ARMS = ("ours/raw-2t", "ours/lz4-2t")
EPOCHS = (("first epoch", "first_rate"), ("later epochs", "later_rate"))


def run(options: Options) -> int:
    return race("w3", "w3", options, (PADDING_LOOP, PLAIN_TORCH), claims)


def claims(runs: Runs) -> list[Claim]:
    """Summing the batches takes a third of the padding loop's time by itself, so no loader can be five times as fast
    as that loop; what can be compared beside the rates is the time that each adds to the summing."""
    rates = [
        at_least(f"{arm}, {epoch} / {PADDING_LOOP}", runs.ratio(arm, PADDING_LOOP, key), 5)
        for arm in ARMS
        for epoch, key in EPOCHS
    ]
    added = [
        at_most(
            f"{arm}, {epoch}: time added to {READY} / the time {PADDING_LOOP} adds", added_share(runs, arm, key), 0.2
        )
        for arm in ARMS
        for epoch, key in EPOCHS
    ]
    return rates + added


def added_share(runs: Runs, arm: str, key: str) -> float | None:
    """Seconds a token beyond those of batches that lie ready: `arm`'s as a share of the padding loop's."""
    times_s = [[1 / rate for rate in runs.values(name, key)] for name in (arm, READY, PADDING_LOOP)]
    if not all(times_s):
        return None
    ours, ready, loop = map(median, times_s)
    return (ours - ready) / (loop - ready)
