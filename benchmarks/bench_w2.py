"""How fast does each loader deliver shuffled images, cut out at random, mirrored, normalised (W2)?"""

from __future__ import annotations

from benchmarks.harness import Claim, Options, Runs, at_least
from benchmarks.race import race

EXPERT, PLAIN_TORCH = "torch/expert-0w", "torch/default-2w"
ARMS = ("ours/raw-2t", "ours/lz4-2t")


def run(options: Options) -> int:
    return race("w2", "w2", options, (EXPERT, PLAIN_TORCH), claims)


def claims(runs: Runs) -> list[Claim]:
    return [
        at_least(f"{arm}, {epoch} / {base}", runs.ratio(arm, base, key), bar)
        for arm in ARMS
        for base, bar in ((EXPERT, 5), (PLAIN_TORCH, 12))
        for epoch, key in (("first epoch", "first_rate"), ("later epochs", "later_rate"))
    ]
