"""SPDL: a pipeline of threads, each making whole batches by the indexing of `torch_getitems`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers import Batches, Peer
from benchmarks.peers.torch_getitems import dataset_of
from benchmarks.workloads import Workload

THREADS = 2
BATCHES_AHEAD = 8


def open_pipeline(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    from spdl.pipeline import PipelineBuilder

    rows = dataset_of(workload)

    def epoch(number: int) -> Batches:
        order = np.random.default_rng(number).permutation(workload.num_rows)
        batches = (order[at : at + workload.batch_rows] for at in range(0, workload.num_rows, workload.batch_rows))
        pipeline = (
            PipelineBuilder()
            .add_source(batches)
            .pipe(rows.__getitems__, concurrency=THREADS)
            .add_sink(BATCHES_AHEAD)
            .build(num_threads=THREADS)
        )
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    return epoch


_needs = {"needs": ("spdl.pipeline",), "install": "pip install spdl"}
PEERS = [Peer("spdl/2t", workload, open_pipeline, **_needs) for workload in ("w1", "w3")]
