"""What does a second thread add when every epoch is decoded anew from LZ4, with 64 MiB of memory?

Asked twice: of a consumer that sums every batch, as everywhere else, and of one that only takes them. With two
processors the first one is a third thread on them and takes its share.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median

from benchmarks import measure, peers, process, workloads
from benchmarks.harness import Claim, Options, Runs, at_least, finish, low_median_high, run_rounds, shown, shown_spread

ONE, TWO = "ours/lz4-64MiB-1t", "ours/lz4-64MiB-2t"
CONSUMERS = {"summed": True, "only taken": False}


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    source = {"workload": "w1", "data": str(options.data), "num_rows": num_rows}
    arms = {}
    for name in (ONE, TWO):
        peer = peers.find(f"w1:{name}")
        process.in_own_process(measure.prepare_peer, **source, peer=peer.key, fresh=options.fresh)
        for consumer, summed in CONSUMERS.items():
            arms[f"{name}, {consumer}"] = partial(
                process.in_own_process, rates, **source, peer=peer.key, epochs=options.epochs, summed=summed
            )
    runs = run_rounds(arms, options.repeats)
    summary = [
        {
            "arm": arm,
            **low_median_high(runs.values(arm, "first_rate"), "first_rate"),
            **low_median_high(runs.values(arm, "later_rate"), "later_rate"),
            "cpu_s_per_gb": runs.median(arm, "cpu_s_per_gb"),
        }
        for arm in arms
    ]
    screen = [
        {
            "loader": row["arm"],
            "first Mrows/s": shown_spread(row, "first_rate", 1e-6, 3),
            "later Mrows/s": shown_spread(row, "later_rate", 1e-6, 3),
            "CPU s/GB": shown(row["cpu_s_per_gb"]),
        }
        for row in summary
    ]
    return finish("second_thread", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    return [
        at_least(
            f"2 threads / 1 thread, batches {consumer}, {epoch}",
            runs.ratio(f"{TWO}, {consumer}", f"{ONE}, {consumer}", key),
            1.6,
        )
        for consumer in CONSUMERS
        for epoch, key in (("first epoch", "first_rate"), ("later epochs", "later_rate"))
    ]


def rates(*, workload: str, data: str, num_rows: int | None, peer: str, epochs: int, summed: bool) -> dict:
    """Rows a second of the first epoch and of later ones; one more epoch is checked. To be called in a fresh process."""
    source, chosen, folder = measure.set_up(workload, data, num_rows, peer)
    measure.settle_memory()
    records = [measure.Record(source) for _ in range(epochs + 1)]
    epoch = chosen.open(source, folder)
    found, cpu_before = [], process.cpu_seconds()
    for number in range(epochs):
        started, rows = time.perf_counter(), 0
        for x, y in epoch(number):
            rows += len(x)
            if summed:
                records[number].note(x, y)
        found.append(rows / (time.perf_counter() - started))
    cpu_s = process.cpu_seconds() - cpu_before
    checked = measure.consume(epoch(epochs), float("inf"), records[-1])
    return {
        "first_rate": found[0],
        "later_rate": median(found[1:]) if epochs > 1 else None,
        "cpu_s_per_gb": cpu_s / (epochs * checked.nbytes / measure.GIGABYTE),
        "problems": measure.problems_of(checked, source, source.checker()),
    }
