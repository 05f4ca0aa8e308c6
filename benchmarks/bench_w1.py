"""How fast does each loader deliver shuffled rows of one size (W1), first epoch and later ones?"""

from __future__ import annotations

from benchmarks.harness import Claim, Options, Runs, at_least
from benchmarks.race import race

BEST_TORCH, PLAIN_TORCH = "torch/getitems-0w", "torch/default-2w"


def run(options: Options) -> int:
    return race("w1", "w1", options, (BEST_TORCH, PLAIN_TORCH), claims)


def claims(runs: Runs) -> list[Claim]:
    def first(arm: str, base: str) -> float | None:
        return runs.ratio(arm, base, "first_rate")

    def later(arm: str, base: str) -> float | None:
        return runs.ratio(arm, base, "later_rate")

    raw, lz4, small, tensors = "ours/raw-2t", "ours/lz4-2t", "ours/lz4-64MiB-2t", "ours/tensordataset-2t"
    return [
        at_least(f"uncompressed, first epoch / {BEST_TORCH}", first(raw, BEST_TORCH), 6),
        at_least(f"uncompressed, later epochs / {BEST_TORCH}", later(raw, BEST_TORCH), 9),
        at_least(f"uncompressed, first epoch / {PLAIN_TORCH}", first(raw, PLAIN_TORCH), 60),
        at_least("uncompressed, mix", runs.median(raw, "mix"), 0.95),
        at_least(f"LZ4 within the budget, first epoch / {BEST_TORCH}", first(lz4, BEST_TORCH), 4),
        at_least(f"LZ4 within the budget, later epochs / {BEST_TORCH}", later(lz4, BEST_TORCH), 6),
        at_least("LZ4 within the budget, mix", runs.median(lz4, "mix"), 0.95),
        at_least(f"LZ4 with 64 MiB, first epoch / {BEST_TORCH}", first(small, BEST_TORCH), 4),
        at_least(f"LZ4 with 64 MiB, later epochs / {BEST_TORCH}", later(small, BEST_TORCH), 4),
        at_least("LZ4 with 64 MiB, mix", runs.median(small, "mix"), 0.3),
        at_least("TensorDataset / torch/tensordataset-0w", first(tensors, "torch/tensordataset-0w"), 40),
        at_least("TensorDataset / torch/tensordataset-2w", first(tensors, "torch/tensordataset-2w"), 40),
    ]
