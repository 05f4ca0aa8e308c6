"""How much longer does training take with fl.DataLoader than with the same batches lying ready in memory?

A network 64-128-10 on W1, plain SGD, all cores. Each run trains on the loader's batches and, from the same
start, on the same batches kept from an epoch before; the losses must be equal bit for bit. Also with torch's
DataLoader, for scale.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

import torch
from torch import nn

from benchmarks import measure, peers, process, workloads
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_most,
    finish,
    low_median_high,
    run_rounds,
    shown,
    shown_spread,
)

ARMS = ("ours/raw-2t", "ours/lz4-2t", "ours/lz4-64MiB-2t", "torch/getitems-0w", "torch/default-2w")


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    source = {"workload": "w1", "data": str(options.data), "num_rows": num_rows}
    ready = [peer for peer in (peers.find(f"w1:{name}") for name in ARMS) if not peer.missing]
    for peer in ready:
        process.in_own_process(measure.prepare_peer, **source, peer=peer.key, fresh=False)
    runs = run_rounds(
        {p.name: partial(process.in_own_process, train_both, **source, peer=p.key) for p in ready},
        options.repeats,
    )
    summary = [
        {
            "arm": peer.name,
            **low_median_high(runs.values(peer.name, "rows_per_s"), "rows_per_s"),
            **low_median_high(runs.values(peer.name, "longer"), "longer"),
            **{key: runs.median(peer.name, key) for key in ("loader_s", "ready_s", "loss")},
        }
        for peer in ready
    ]
    screen = [
        {
            "loader": row["arm"],
            "epoch s": shown(row["loader_s"]),
            "from memory s": shown(row["ready_s"]),
            "rows/s": shown(row["rows_per_s"], 0),
            "times as long": shown_spread(row, "longer", digits=3),
            "loss": shown(row["loss"], 4),
        }
        for row in summary
    ]
    return finish("train", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    return [
        at_most(f"training time {arm} / same batches in memory", runs.median(arm, "longer"), 1.10)
        for arm in ARMS
        if arm.startswith("ours/")
    ]


class Recorder:
    """Hands batches on and keeps a copy of each."""

    def __init__(self, batches: Iterable) -> None:
        self.batches, self.kept = batches, []

    def __iter__(self):
        for x, y in self.batches:
            self.kept.append((x.clone(), y.clone()))
            yield x, y


def train_both(*, workload: str, data: str, num_rows: int | None, peer: str) -> dict:
    """A warm-up epoch, then two from the loader and two from memory. To be called in a fresh process."""
    source = workloads.load(workload, data, num_rows)
    chosen = peers.find(peer)
    folder = peers.folder_of(chosen, source)
    measure.warm_up(source, folder, chosen)
    epoch = chosen.open(source, folder)
    recorder = Recorder(epoch(0))
    first_loss, _ = train(recorder)
    again_loss, _ = train(recorder.kept)
    problems = [] if first_loss == again_loss else [f"loss {first_loss} from the loader, {again_loss} from memory"]
    loss, loader_s = train(epoch(1))
    _, ready_s = train(recorder.kept)
    _, ready_again_s = train(recorder.kept)
    _, loader_again_s = train(epoch(2))
    loader_s, ready_s = (loader_s + loader_again_s) / 2, (ready_s + ready_again_s) / 2
    return {
        "loader_s": loader_s,
        "ready_s": ready_s,
        "longer": loader_s / ready_s,
        "loss": loss,
        "rows_per_s": source.num_rows / loader_s,
        "problems": problems,
    }


def train(batches: Iterable) -> tuple[float, float]:
    """Train a new network, always from the same weights; its last loss and the seconds it took."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    started = time.perf_counter()
    for x, y in batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
    return loss.item(), time.perf_counter() - started
