"""How much of its rate does a loader keep while another Python thread spins (``while True: pass``)?

A spinning thread costs in two ways. It takes a processor's share: with two processors, two native threads and the
consumer were three already. And it holds the GIL for 5 ms (`sys.getswitchinterval`) before it hands it over, so that
whoever lets go of the GIL waits that long to get it back; the claim is about this. So the loader is also measured beside a
spinning *process*, which takes a processor and no GIL: between these two the difference is the GIL's.

The consumer only takes the batches, and keeps them until the clock has stopped: torch lets go of the GIL in every
operation, a sum too, and wherever a tensor is dropped, whoever loaded it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

import torch

from benchmarks import measure, peers, process, workloads
from benchmarks.harness import Claim, Options, Runs, at_least, finish, low_median_high, run_rounds, shown, shown_spread

SPINNERS = ("nobody", "a thread", "a process")
CLAIMED = ("ours/lz4-1t", "ours/lz4-64MiB-1t")  # two processors: a third busy thread would share one in any case
LOADERS = (*CLAIMED, "ours/lz4-2t", "ours/lz4-64MiB-2t", "torch/getitems-0w")
BAR = 0.6


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    source = {"workload": "w1", "data": str(options.data), "num_rows": num_rows}
    arms = {}
    for name in LOADERS:
        peer = peers.find(f"w1:{name}")
        process.in_own_process(measure.prepare_peer, **source, peer=peer.key, fresh=options.fresh)
        for spinner in SPINNERS:
            arms[f"{name}, {spinner} spins"] = partial(
                process.in_own_process,
                rate,
                **source,
                peer=peer.key,
                epochs=options.epochs,
                limit_s=options.limit_s / 4,
                spinner=spinner,
            )
    runs = run_rounds(arms, options.repeats)
    summary = [
        {
            "arm": f"{name}, {spinner} spins",
            **low_median_high(runs.values(f"{name}, {spinner} spins", "rate"), "rate"),
            "kept": kept(runs, name, spinner),
        }
        for name in LOADERS
        for spinner in SPINNERS
    ]
    screen = [
        {
            "loader": row["arm"],
            "Mrows/s": shown_spread(row, "rate", 1e-6, 3),
            "of the undisturbed": shown(row["kept"]),
        }
        for row in summary
    ]
    return finish("spinning", options, runs, summary, screen, claims(runs))


def kept(runs: Runs, name: str, spinner: str) -> float | None:
    return runs.ratio(f"{name}, {spinner} spins", f"{name}, nobody spins", "rate")


def claims(runs: Runs) -> list[Claim]:
    return [at_least(f"{name}, beside a spinning thread", kept(runs, name, "a thread"), BAR) for name in CLAIMED]


def rate(
    *, workload: str, data: str, num_rows: int | None, peer: str, epochs: int, limit_s: float, spinner: str
) -> dict:
    """Rows a second: the median over `epochs` of them, after one in which nothing spins. To be called in a fresh process."""
    source, chosen, folder = measure.set_up(workload, data, num_rows, peer)
    epoch = chosen.open(source, folder)
    checked = measure.consume(epoch(0), float("inf"), measure.Record(source))  # decodes what fits the memory
    found = []
    for number in range(1, epochs + 1):
        measure.settle_memory()
        with spinning(spinner):
            found.append(rate_of(epoch(number), limit_s))
    return {"rate": median(found), "problems": measure.problems_of(checked, source, source.checker())}


def rate_of(batches: Iterator[tuple[torch.Tensor, torch.Tensor]], limit_s: float) -> float:
    kept = []
    started_at = time.perf_counter()
    for batch in batches:
        kept.append(batch)
        if (now := time.perf_counter()) - started_at > limit_s:
            break
    return sum(len(x) for x, _y in kept) / (now - started_at)


@contextmanager
def spinning(spinner: str) -> Iterator[None]:
    """Beside the body, a thread of this interpreter or a process of its own runs in a circle."""
    if spinner == "a process":
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
            try:
                yield
            finally:
                child.kill()
        return
    over = threading.Event()
    if spinner == "a thread":
        threading.Thread(target=spin, args=(over,)).start()
    try:
        yield
    finally:
        over.set()


def spin(over: threading.Event) -> None:
    while not over.is_set():
        pass
