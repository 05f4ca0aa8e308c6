"""What does packing W3's sequences into rows of 4,096 places cost beside padding them, and what does it save?

Both deliver every token once, shuffled, from the same files; the consumer sums each batch. Padded batches are mostly
padding, so rates count tokens and not places.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any

from benchmarks import measure, peers, process, workloads
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_least,
    at_most,
    finish,
    low_median_high,
    run_rounds,
    shown,
    shown_spread,
)

ROW_TOKENS, BATCH_ROWS = 4096, 8
ARMS = {f"{way}, {codec}": (way, codec) for codec in ("raw", "lz4") for way in ("padded", "packed")}


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W3.quick_rows if options.quick else None)
    source = {"workload": "w3", "data": str(options.data), "num_rows": num_rows}
    for codec in ("raw", "lz4"):
        peer = peers.find(f"w3:ours/{codec}-2t")
        process.in_own_process(measure.prepare_peer, **source, peer=peer.key, fresh=options.fresh)
    arms = {
        arm: partial(process.in_own_process, rates, **source, way=way, codec=codec, epochs=options.epochs)
        for arm, (way, codec) in ARMS.items()
    }
    runs = run_rounds(arms, options.repeats)
    summary = [
        {
            "arm": arm,
            **low_median_high(runs.values(arm, "first_rate"), "first_rate"),
            **low_median_high(runs.values(arm, "later_rate"), "later_rate"),
            "waste": runs.median(arm, "waste"),
        }
        for arm in arms
    ]
    screen = [
        {
            "batches": row["arm"],
            "first Mtokens/s": shown_spread(row, "first_rate", 1e-6, 3),
            "later Mtokens/s": shown_spread(row, "later_rate", 1e-6, 3),
            "empty places": shown(row["waste"]),
        }
        for row in summary
    ]
    return finish("packing", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    return [
        claim
        for codec in ("raw", "lz4")
        for claim in (
            *(
                at_least(
                    f"packed / padded, {codec}, {epoch}", runs.ratio(f"packed, {codec}", f"padded, {codec}", key), 0.5
                )
                for epoch, key in (("first epoch", "first_rate"), ("later epochs", "later_rate"))
            ),
            at_most(f"share of empty places, packed, {codec}", runs.median(f"packed, {codec}", "waste"), 0.03),
        )
    ]


def rates(*, workload: str, data: str, num_rows: int | None, way: str, codec: str, epochs: int) -> dict[str, Any]:
    """Tokens a second of the first epoch and of later ones. To be called in a fresh process."""
    import fastload as fl

    source, _, folder = measure.set_up(workload, data, num_rows, f"w3:ours/{codec}-2t")
    measure.settle_memory()
    tokens, _ = source.arrays()
    options = (
        {"batch_size": BATCH_ROWS, "packing": fl.Packing(ROW_TOKENS)}
        if way == "packed"
        else {"batch_size": source.batch_rows}
    )
    loader = fl.DataLoader(folder / "rows.fl", shuffle=True, seed=1, num_workers=2, **options)
    found, sums, places = [], set(), 0
    for _ in range(epochs):
        started, total, places = time.perf_counter(), 0, 0
        for batch in loader:
            total += batch["x"].sum().item()
            places += batch["x"].numel()
        found.append(len(tokens) / (time.perf_counter() - started))
        sums.add(total)
    problems = [] if sums == {int(tokens.sum())} else [f"the tokens sum up to {sums}, not to {int(tokens.sum())}"]
    if not loader.audit().is_complete:
        problems.append("the audit of the last epoch is not complete")
    return {
        "first_rate": found[0],
        "later_rate": median(found[1:]) if epochs > 1 else None,
        "waste": 1 - len(tokens) / places,
        "problems": problems,
    }
