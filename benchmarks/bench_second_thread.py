"""What does a second thread add when every epoch is decoded anew from LZ4, with 64 MiB of memory?"""

from __future__ import annotations

from benchmarks.harness import Claim, Options, Runs, at_least
from benchmarks.race import race

ONE, TWO = "ours/lz4-64MiB-1t", "ours/lz4-64MiB-2t"


def run(options: Options) -> int:
    return race("second_thread", "w1", options, (ONE,), claims, f"{ONE},{TWO}")


def claims(runs: Runs) -> list[Claim]:
    return [
        at_least("2 threads / 1 thread, first epoch", runs.ratio(TWO, ONE, "first_rate"), 1.6),
        at_least("2 threads / 1 thread, later epochs", runs.ratio(TWO, ONE, "later_rate"), 1.6),
    ]
