"""Random rows into a batch, in one thread: ours beside np.take and torch. 1,024 rows of 256 bytes a call."""

from __future__ import annotations

import numpy as np
import pytest
import torch

core = pytest.importorskip("fastload._core", reason="the compiled core is not installed: pip install -e .")

NUM_ROWS, COLUMNS, BATCH_ROWS = 500_000, 64, 1024  # 128 MB: far more than the caches hold
FLOAT32 = 11  # Dtype::float32 in csrc/core/layout.h


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((NUM_ROWS, COLUMNS), dtype=np.float32)


@pytest.fixture(scope="module")
def batches() -> list[np.ndarray]:
    """Row numbers int64, batches of one permutation: no call finds its rows in the caches."""
    return np.array_split(np.random.default_rng(6).permutation(NUM_ROWS), NUM_ROWS // BATCH_ROWS)


def over(batches: list[np.ndarray]):
    """A pytest-benchmark set-up that hands out one batch after the other."""
    at = 0

    def next_batch() -> tuple[tuple[np.ndarray], dict]:
        nonlocal at
        at = (at + 1) % len(batches)
        return (batches[at],), {}

    return next_batch


@pytest.mark.benchmark(group="gather 1,024 rows of 64 float32")
def test_row_reader(benchmark, table, batches):
    field = core.FieldSpec("x", FLOAT32, [COLUMNS], False, False, False)
    source = core.MemorySource([(field, table, table.strides[0], None, None)], NUM_ROWS)
    reader = core.RowReader(source, 1 << 20)
    unsigned = [rows.astype(np.uint64) for rows in batches]
    benchmark.pedantic(reader.read, setup=over(unsigned), rounds=400)
    assert np.array_equal(reader.read(unsigned[0])[0][0], table[batches[0]])


@pytest.mark.benchmark(group="gather 1,024 rows of 64 float32")
def test_engine_next(benchmark, table):
    """With its own permutation, in the consumer's thread; the order is thus part of the time."""
    field = core.FieldSpec("x", FLOAT32, [COLUMNS], False, False, False)
    source = core.MemorySource([(field, table, table.strides[0], None, None)], NUM_ROWS)
    engine = core.Engine(source, 0, 1 << 30, 64 << 20)
    epoch = engine.start(BATCH_ROWS, False, core.OrderOptions(shuffle=True, seed=1), True)
    benchmark.pedantic(epoch.next, args=(engine,), rounds=400)
    position = 400 * BATCH_ROWS
    parts, *_ = epoch.next(engine)
    assert np.array_equal(parts[0][0], table[epoch.order.row_numbers(position, BATCH_ROWS)])


@pytest.mark.benchmark(group="gather 1,024 rows of 64 float32")
def test_numpy_take(benchmark, table, batches):
    benchmark.pedantic(lambda rows: np.take(table, rows, axis=0), setup=over(batches), rounds=400)


@pytest.mark.benchmark(group="gather 1,024 rows of 64 float32")
def test_torch_index_select(benchmark, table, batches):
    tensor = torch.from_numpy(table)
    numbers = [torch.from_numpy(rows) for rows in batches]
    torch.set_num_threads(1)
    benchmark.pedantic(lambda rows: tensor.index_select(0, rows), setup=over(numbers), rounds=400)
