"""The benchmark's own checks: a loader that loses, repeats, garbles or reorders is found out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from benchmarks import measure, workloads
from benchmarks.blocks import blocks_as_read
from benchmarks.peers.numpy_limit import open_padding, open_take

ROWS = 5_000


@pytest.fixture(scope="module", params=["w1", "w3"])
def source(request, tmp_path_factory) -> workloads.Workload:
    return workloads.load(request.param, tmp_path_factory.mktemp("data"), ROWS)


def batches_of(source: workloads.Workload) -> list[tuple[torch.Tensor, torch.Tensor]]:
    opened = open_take if source.name == "w1" else open_padding
    return list(opened(source, source.folder, in_memory=True)(0))


def problems(source: workloads.Workload, batches: list, limit_s: float = 60.0) -> list[str]:
    epoch = measure.consume(batches, limit_s, measure.Record(source))
    return measure.problems_of(epoch, source, source.checker())


def test_a_right_epoch_has_no_problems(source):
    """Every row once, sums as in the source, and fully mixed."""
    batches = batches_of(source)
    assert problems(source, batches) == []
    rows = [source.rows_of(torch.from_numpy(source.marks(x, y).copy())) for x, y in batches]
    assert math.isclose(measure.mix(rows, source.num_rows, source.batch_rows), 1.0, abs_tol=0.05)
    assert all(source.checker().equal(x, y, r) for (x, y), r in zip(batches, rows, strict=True))


def test_a_lost_batch_is_found(source):
    assert "rows never came" in problems(source, batches_of(source)[:-1])[0]


def test_a_repeated_batch_is_found(source):
    batches = batches_of(source)
    assert "rows came more than once" in problems(source, [*batches, batches[0]])[0]


def spoil_x(x: torch.Tensor, y: torch.Tensor) -> None:
    x[3, 1] += 1


def spoil_y(x: torch.Tensor, y: torch.Tensor) -> None:
    y[3] += 1


@pytest.mark.parametrize("spoil", [spoil_x, spoil_y])
def test_a_garbled_value_is_found(source, spoil: Callable):
    batches = batches_of(source)
    spoil(*batches[2])
    assert problems(source, batches) == ["1 batches whose sums are not those of their rows"]
    rows = source.rows_of(batches[2][0][:, 0].clone())
    assert not source.checker().equal(*batches[2], rows)


def test_an_unknown_row_is_found(source):
    batches = batches_of(source)
    batches[0][0][0, 0] = -1
    assert problems(source, batches) == ["rows that the source does not hold"]


def test_blocks_left_whole_have_a_low_mix():
    """Batches in shuffled order, rows as they lie: only a block's worth of neighbours in each."""
    batches = np.random.default_rng(0).permutation(np.arange(100_000).reshape(-1, 1000))
    assert measure.mix(list(batches), 100_000, 1000) < 0.05


def test_blocks_as_read_follows_windows():
    """Two windows of two blocks: inside a window file order, windows as they came."""
    random = np.random.default_rng(0)
    first, second = random.permutation(np.r_[20:30, 0:10]), random.permutation(np.r_[30:40, 10:20])
    assert blocks_as_read(np.concatenate([first, second]), [10, 10, 10, 10]) == [0, 2, 1, 3]
