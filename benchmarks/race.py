"""The loaders of one workload side by side: rates, CPU, memory, mixing, and whether the rows are right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import measure, peers, process, workloads
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    finish,
    low_median_high,
    note,
    run_rounds,
    shown,
    shown_spread,
)
from benchmarks.peers import Peer
from benchmarks.workloads import WORKLOADS
from fastload.report.figures import Bar, bar_chart

COMPARED_BATCHES = 64


def race(
    name: str,
    workload: str,
    options: Options,
    baselines: tuple[str, ...],
    claims: Callable[[Runs], list[Claim]],
    default_peers: str = "",
) -> int:
    """Time the wanted peers that are installed; print and write the outcome. Returns the exit code.

    baselines : names of peers; the table holds every rate's ratio to theirs, taken within each round.
    """
    kind = WORKLOADS[workload]
    num_rows = options.num_rows or (kind.quick_rows if options.quick else None)
    source = {"workload": workload, "data": str(options.data), "num_rows": num_rows}
    workloads.load(workload, options.data, num_rows)  # made, and its size checked, once and for all
    chosen = _installed(peers.of_workload(workload, options.peers or default_peers))
    ready, failed = _prepared(chosen, source, options)

    def arm(peer: Peer, watch_memory: bool = False) -> dict:
        return process.in_own_process(
            measure.measure_loader,
            watch_memory=watch_memory,
            **source,
            peer=peer.key,
            epochs=min(options.epochs, 2) if watch_memory else options.epochs,
            limit_s=options.limit_s,
            compared_batches=COMPARED_BATCHES,
            watched=watch_memory,
        )

    runs = run_rounds({peer.name: partial(arm, peer) for peer in ready}, options.repeats)
    runs.failures.update(failed)
    memory = run_rounds(
        {p.name: partial(arm, p, True) for p in ready if p.name not in runs.failures},
        1 if options.memory else 0,
    )
    runs.failures.update(memory.failures)
    runs.failures.update({r["arm"]: "; ".join(r["problems"]) for r in memory.records if r["problems"]})
    summary = summarise(runs, memory, [p.name for p in chosen], baselines)
    what = f"{workload.upper()}, {num_rows or kind.num_rows:,} rows, shuffled, batches of {kind.batch_rows}"
    for epoch in ("first", "later"):
        draw(options.out / f"{name}-{epoch}.svg", summary, epoch, kind.unit, what)
    return finish(name, options, runs, summary, for_the_screen(summary, baselines, kind.unit), claims(runs))


def _installed(wanted: list[Peer]) -> list[Peer]:
    for peer in wanted:
        if peer.missing:
            note(f"skipped {peer.name}: no module {', '.join(peer.missing)}; to get it: {peer.install}")
    return [peer for peer in wanted if not peer.missing]


def _prepared(chosen: list[Peer], source: dict, options: Options) -> tuple[list[Peer], dict[str, str]]:
    ready, failed, written = [], {}, set()
    for peer in chosen:
        note(f"files for {peer.name}")
        fresh = options.fresh and peer.files not in written
        written.add(peer.files)
        try:
            process.in_own_process(measure.prepare_peer, **source, peer=peer.key, fresh=fresh)
            ready.append(peer)
        except process.RunFailed as error:
            failed[peer.name] = str(error)
            note(f"FAILED {peer.name}: {error}")
    return ready, failed


def summarise(runs: Runs, memory: Runs, names: list[str], baselines: tuple[str, ...]) -> list[dict]:
    """One row a peer, fastest first: rates with spread, ratios, CPU, memory, mixing, correctness."""

    def best(name: str) -> float:
        return runs.median(name, "later_rate") or runs.median(name, "first_rate") or 0.0

    rows = []
    for name in sorted(names, key=best, reverse=True):
        mine = [r for r in runs.records if r["arm"] == name]
        if not mine:
            continue
        watched = next((r for r in memory.records if r["arm"] == name), {})
        row = {
            "loader": name,
            **low_median_high(runs.values(name, "first_rate"), "first_rate"),
            **low_median_high(runs.values(name, "later_rate"), "later_rate"),
        }
        for baseline in baselines:
            row[f"first / {baseline}"] = runs.ratio(name, baseline, "first_rate")
            row[f"later / {baseline}"] = _later_ratio(runs, name, baseline)
        for key in (
            "mb_per_s",
            "first_cpu_s_per_gb",
            "later_cpu_s_per_gb",
            "open_ms",
            "first_batch_ms",
            "disk_mb",
            "mix",
        ):
            row[key] = runs.median(name, key)
        for key in ("before_private_mb", "peak_private_mb", "peak_pss_mb"):
            row[key] = watched.get(key)
        rows.append(row | {"reorders": all(r["reorders"] for r in mine), "each_row_once": _verdict(mine)})
    return rows


def for_the_screen(summary: list[dict], baselines: tuple[str, ...], unit: str) -> list[dict]:
    """The columns that fit on a screen. x A / B: first epoch and later epochs, as multiples of a baseline."""

    def pair(row: dict, first: str, later: str, digits: int) -> str:
        return f"{shown(row[first], digits)} / {shown(row[later], digits)}"

    return [
        {
            "loader": row["loader"],
            f"first M{unit}/s": shown_spread(row, "first_rate", 1e-6, 3),
            f"later M{unit}/s": shown_spread(row, "later_rate", 1e-6, 3),
            **{f"x {b}": pair(row, f"first / {b}", f"later / {b}", 2) for b in baselines},
            "CPU s/GB": pair(row, "first_cpu_s_per_gb", "later_cpu_s_per_gb", 2),
            "1st batch ms": shown(row["first_batch_ms"], 1),
            "private MB": shown(row["peak_private_mb"], 0),
            "PSS MB": shown(row["peak_pss_mb"], 0),
            "disk MB": shown(row["disk_mb"], 0),
            "mix": shown(row["mix"]),
            "each once": row["each_row_once"],
        }
        for row in summary
    ]


def draw(path: Path, summary: list[dict], epoch: str, unit: str, what: str) -> None:
    """One bar a loader: the median, a whisker from the slowest to the fastest run. Self-contained SVG."""
    key = f"{epoch}_rate"
    bars = [
        Bar(row["loader"], row[key], row[f"{key}_min"], row[f"{key}_max"], row["loader"].startswith("ours/"))
        for row in sorted(summary, key=lambda row: row[key] or 0.0, reverse=True)
        if row[key]
    ]
    if bars:
        path.parent.mkdir(parents=True, exist_ok=True)
        title = f"{unit.capitalize()} a second, " + ("first epoch" if epoch == "first" else "later epochs")
        path.write_text(bar_chart(bars, title=title, description=what))


def _later_ratio(runs: Runs, name: str, baseline: str) -> float | None:
    """Later epochs against later ones; a baseline without later epochs lends its first."""
    later = runs.ratio(name, baseline, "later_rate")
    if later is not None or not runs.values(name, "later_rate"):
        return later
    first = runs.median(baseline, "first_rate")
    return runs.median(name, "later_rate") / first if first else None


def _verdict(records: list[dict]) -> str:
    if any(r["problems"] for r in records):
        return "NO"
    return "yes" if all(r["whole_epochs"] for r in records) else "no duplicates"
