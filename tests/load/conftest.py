from __future__ import annotations

import numpy as np
import pytest

import fastload as fl

NUM_ROWS = 1000


def make_columns(num_rows: int = NUM_ROWS) -> dict[str, object]:
    """Every kind of field; `row` numbers the rows, and everything else follows from it."""
    rng = np.random.default_rng(1)
    row = np.arange(num_rows)
    return {
        "row": row,
        "x": (row[:, None] * 3 + np.arange(5)).astype(np.float32),
        "image": (row[:, None, None] + np.arange(12).reshape(3, 4)).astype(np.uint8),
        "tokens": [np.arange(n, dtype=np.int32) + r for r, n in enumerate(rng.integers(0, 30, num_rows))],
        "text": [None if r % 11 == 0 else f"row {r} äöü" for r in range(num_rows)],
        "maybe": np.ma.MaskedArray(row.astype(np.float32), row % 3 == 0),
        "flag": row % 2 == 0,
    }


@pytest.fixture(scope="session")
def columns() -> dict[str, object]:
    return make_columns()


@pytest.fixture(scope="session", params=["lz4", "raw"])
def dataset(request, tmp_path_factory, columns) -> fl.Dataset:
    """About 40 blocks in 4 shards."""
    path = tmp_path_factory.mktemp("data") / "all.fl"
    return fl.write(path, columns, codec=request.param, block_bytes=4000, shard_bytes=30000)
