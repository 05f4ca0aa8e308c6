"""pyarrow's Feather: mapped, with one take a batch; or LZ4 record batches through a shuffle pool."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import Batches, Peer
from benchmarks.workloads import Workload

BLOCK_ROWS = 16_384
POOL_BLOCKS = 8


def write(workload: Workload, folder: Path, compression: str, rows_per_block: int | None) -> None:
    from pyarrow import feather

    feather.write_feather(
        table_of(workload),
        str(folder / "rows.feather"),
        compression=compression,
        chunksize=rows_per_block or workload.num_rows,
    )


def table_of(workload: Workload):
    """W1 as a pyarrow Table: x fixed_size_list<float>[64], y int64. No copy."""
    import pyarrow as pa

    x, y = workload.arrays()
    return pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1]), "y": pa.array(y)})


def numpy_of(batch) -> tuple[np.ndarray, np.ndarray]:
    """A record batch of W1's table as NumPy arrays x [rows, 64] and y [rows], no copy."""
    x = batch.column("x").flatten().to_numpy()
    return x.reshape(batch.num_rows, -1), batch.column("y").to_numpy()


def open_mapped(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    import pyarrow as pa

    reader = pa.ipc.open_file(pa.memory_map(str(folder / "rows.feather")))
    x, y = numpy_of(reader.get_batch(0))

    def epoch(number: int) -> Batches:
        order = np.random.default_rng(number).permutation(workload.num_rows)
        for start in range(0, workload.num_rows, workload.batch_rows):
            rows = order[start : start + workload.batch_rows]
            yield torch.from_numpy(np.take(x, rows, axis=0)), torch.from_numpy(np.take(y, rows))

    return epoch


def open_blocks(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    import pyarrow as pa

    reader = pa.ipc.open_file(pa.memory_map(str(folder / "rows.feather")))
    return partial(through_pool, workload, reader.num_record_batches, lambda block: numpy_of(reader.get_batch(block)))


def through_pool(
    workload: Workload, num_blocks: int, read: Callable[[int], tuple[np.ndarray, np.ndarray]], number: int
) -> Batches:
    """Blocks in random order, `POOL_BLOCKS` at a time permuted together and cut into batches."""
    random = np.random.default_rng(number)
    blocks = random.permutation(num_blocks)
    rest_x, rest_y = np.empty((0, workload.columns), np.float32), np.empty(0, np.int64)
    for start in range(0, num_blocks, POOL_BLOCKS):
        parts = [read(int(block)) for block in blocks[start : start + POOL_BLOCKS]]
        pool_x, pool_y = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = random.permutation(len(pool_y))
        needed = -len(rest_y) % workload.batch_rows if len(rest_y) else 0
        if needed:
            rows, order = order[:needed], order[needed:]
            rest_x, rest_y = np.concatenate([rest_x, pool_x[rows]]), np.concatenate([rest_y, pool_y[rows]])
            if len(rest_y) == workload.batch_rows:
                yield torch.from_numpy(rest_x), torch.from_numpy(rest_y)
                rest_x, rest_y = rest_x[:0], rest_y[:0]
        whole = len(order) - len(order) % workload.batch_rows
        for at in range(0, whole, workload.batch_rows):
            rows = order[at : at + workload.batch_rows]
            yield torch.from_numpy(np.take(pool_x, rows, axis=0)), torch.from_numpy(np.take(pool_y, rows))
        if whole < len(order):
            rest_x, rest_y = pool_x[order[whole:]], pool_y[order[whole:]]
    if len(rest_y):
        yield torch.from_numpy(rest_x), torch.from_numpy(rest_y)


_needs = {"needs": ("pyarrow",), "install": "pip install pyarrow"}
PEERS = [
    Peer(
        "feather/mapped-take",
        "w1",
        open_mapped,
        partial(write, compression="uncompressed", rows_per_block=None),
        "feather-raw",
        **_needs,
    ),
    Peer(
        "feather/lz4-pool",
        "w1",
        open_blocks,
        partial(write, compression="lz4", rows_per_block=BLOCK_ROWS),
        "feather-lz4",
        **_needs,
    ),
]
