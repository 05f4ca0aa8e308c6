"""What do the counters behind ``loader.stats()`` cost a batch and stage?

Their cost is far below what the noise between two runs hides, so it is measured by itself: the clocks of the engine's threads
in a C++ program that takes them as the engine does, the consumer's in a pass that does nothing else. How many of them a batch
of W1 needs is asked of a loader that decodes every block anew (LZ4, 64 MiB).
"""

from __future__ import annotations

import subprocess
import tempfile
import timeit
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks import measure, peers, process, workloads
from benchmarks.harness import Claim, Options, Runs, at_most, finish, low_median_high, run_rounds, shown_spread

HERE = Path(__file__).parent
PEER = "w1:ours/lz4-64MiB-2t"
STAGES = ("read, verify, decode", "gather", "transform", "hand_over, wait, busy")
BAR_NS = 100.0


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    source = {"workload": "w1", "data": str(options.data), "num_rows": num_rows}
    process.in_own_process(measure.prepare_peer, **source, peer=PEER, fresh=options.fresh)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "counters"
        command = ["c++", "-O2", "-std=c++17", f"-I{HERE.parent / 'csrc/core'}", str(HERE / "kernels/counters.cpp")]
        subprocess.run([*command, "-o", str(program)], check=True)
        arms = {"counters": partial(process.in_own_process, costs, **source, program=str(program))}
        runs = run_rounds(arms, options.repeats)
    summary = [{"stage": stage, **low_median_high(runs.values("counters", stage), "ns")} for stage in STAGES]
    screen = [{"stages": row["stage"], "ns a batch": shown_spread(row, "ns")} for row in summary]
    return finish("counters", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    found = []
    for stage in STAGES:
        ns = runs.median("counters", stage)
        each = None if ns is None else ns / (stage.count(",") + 1)
        found.append(at_most(f"{stage}: ns a batch and stage", each, BAR_NS))
    return found


def costs(*, workload: str, data: str, num_rows: int | None, peer: str = PEER, program: str) -> dict[str, Any]:
    """Nanoseconds a batch, by stages. To be called in a fresh process."""
    source, _, folder = measure.set_up(workload, data, num_rows, peer)
    chunks = chunks_a_batch(folder, source.batch_rows)
    said = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout
    rounds = [list(map(float, line.split())) for line in said.splitlines()]
    chunk_ns, part_ns = (median(column) for column in list(zip(*rounds, strict=True))[:2])
    transform_ns, pass_ns = consumers_ns()
    return dict(zip(STAGES, (chunk_ns * chunks, part_ns, transform_ns, pass_ns), strict=True)) | {
        "chunks_a_batch": chunks,
        "problems": [],
    }


def chunks_a_batch(folder: Path, batch_rows: int) -> float:
    import fastload as fl

    loader = fl.DataLoader(
        folder / "rows.fl", batch_size=batch_rows, shuffle=True, num_workers=2, memory_bytes=peers.ours.SMALL_BUDGET
    )
    for _ in loader:
        pass
    stats = loader.stats()
    return stats["loaded_blocks"] * 2 / stats["delivered_batches"]  # x and y


def consumers_ns(times: int = 20_000, rounds: int = 50) -> tuple[float, float]:
    """Of what a collate_fn's time needs besides, and of a pass beside the same calls without counters."""
    from fastload.load.passes import Pass

    class Make:
        python_since: float | None = None

        def __call__(self, *_: None) -> None:
            pass

    class Collating(Make):
        def __call__(self, *_: None) -> None:
            self.python_since = perf_counter()

    class Counted(Pass):
        def _take(self) -> tuple[None, None, int]:
            return (None, None, 0)

    class Bare:
        def __init__(self, make: Make) -> None:
            self._make = make

        def _take(self) -> tuple[None, None, int]:
            return (None, None, 0)

        def __next__(self) -> None:
            return self._make(*self._take())

    passes = (Bare(Make()), Counted(Make(), 1, 0, 0.0), Counted(Collating(), 1, 0, 0.0))
    best = [float("inf")] * len(passes)
    for _ in range(rounds):  # in turns, or a slow moment of the machine would be one of theirs
        for i, batches in enumerate(passes):
            taken_s = timeit.timeit("next(batches)", globals={"batches": batches}, number=times)
            best[i] = min(best[i], 1e9 * taken_s / times)
    bare, counted, collating = best
    return collating - counted, counted - bare
