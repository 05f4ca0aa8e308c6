"""blosc2: an NDArray of LZ4 chunks on disk, decoded by two threads, chunks shuffled through a pool."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.peers import Batches, Peer
from benchmarks.peers.feather import through_pool
from benchmarks.workloads import Workload

CHUNK_ROWS = 8_192


def write(workload: Workload, folder: Path, shuffle: bool) -> None:
    import blosc2

    chosen = {
        "codec": blosc2.Codec.LZ4,
        "clevel": 5,
        "filters": [blosc2.Filter.SHUFFLE if shuffle else blosc2.Filter.NOFILTER],
    }
    x, y = workload.arrays()
    rows = min(CHUNK_ROWS, workload.num_rows)
    blosc2.asarray(x, chunks=(rows, x.shape[1]), urlpath=str(folder / "x.b2nd"), cparams=chosen)
    blosc2.asarray(y, chunks=(rows,), urlpath=str(folder / "y.b2nd"), cparams=chosen)


def open_chunks(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    import blosc2

    blosc2.set_nthreads(2)
    x, y = (blosc2.open(str(folder / f"{name}.b2nd"), mode="r") for name in "xy")

    def read(chunk: int):
        rows = slice(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)
        return x[rows], y[rows]

    return partial(through_pool, workload, -(-workload.num_rows // CHUNK_ROWS), read)


_needs = {"needs": ("blosc2",), "install": "pip install blosc2"}
PEERS = [
    Peer("blosc2/lz4-pool", "w1", open_chunks, partial(write, shuffle=False), "blosc2-lz4", **_needs),
    Peer(
        "blosc2/shuffle-lz4-pool",
        "w1",
        open_chunks,
        partial(write, shuffle=True),
        "blosc2-shuffle-lz4",
        **_needs,
    ),
]
