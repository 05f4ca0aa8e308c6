"""How fast does each loader deliver shuffled token sequences, padded to the longest of the batch (W3)?"""

from __future__ import annotations

from benchmarks.harness import Claim, Options, Runs, at_least
from benchmarks.race import race

PADDING_LOOP, PLAIN_TORCH = "numpy/pad-ram", "torch/default-2w"


def run(options: Options) -> int:
    return race("w3", "w3", options, (PADDING_LOOP, PLAIN_TORCH), claims)


def claims(runs: Runs) -> list[Claim]:
    return [
        at_least(f"{arm}, {epoch} / {PADDING_LOOP}", runs.ratio(arm, PADDING_LOOP, key), 5)
        for arm in ("ours/raw-2t", "ours/lz4-2t")
        for epoch, key in (("first epoch", "first_rate"), ("later epochs", "later_rate"))
    ]
