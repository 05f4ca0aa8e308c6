"""Where the blocks of a fastload data set lie in its files, and in which order an epoch needed them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Block:
    """Bytes ``[offset, offset + stored_bytes)`` of `path` hold `rows` rows."""

    path: Path
    offset: int
    stored_bytes: int
    rows: int


def blocks_of(dataset: Path) -> list[Block]:
    """All blocks of the data set in a folder, in row order."""
    shards = json.loads((dataset / "manifest.json").read_text())["shards"]
    return [block for shard in shards for block in _blocks_of_shard(dataset / shard["name"])]


def _blocks_of_shard(path: Path) -> list[Block]:
    from fastload import _core

    reader = _core.ShardReader(str(path))
    chunks, num_fields = reader.chunk_ranges(), len(reader.fields)
    found = []
    for number, rows in enumerate(reader.block_rows):
        first, last = chunks[number * num_fields], chunks[(number + 1) * num_fields - 1]
        found.append(Block(path, first[0], last[0] + last[1] - first[0], rows))
    return found


def blocks_as_read(rows: np.ndarray, block_rows: list[int]) -> list[int]:
    """Numbers of the blocks in the order in which a reader needed them, from the row numbers it delivered.

    A window is over where all blocks seen so far are delivered whole; inside a window blocks are taken in
    file order.

    >>> blocks_as_read(np.array([5, 3, 4, 2, 0, 1]), [2, 2, 2])
    [1, 2, 0]
    """
    starts = np.concatenate([[0], np.cumsum(block_rows)])
    block_of_row = np.searchsorted(starts, rows, side="right") - 1
    changes = np.flatnonzero(np.diff(block_of_row, prepend=-1))
    left = dict(enumerate(block_rows))
    order: list[int] = []
    window: set[int] = set()
    unfinished: set[int] = set()
    blocks, counts = block_of_row[changes].tolist(), np.diff(changes, append=len(rows)).tolist()
    for block, count in zip(blocks, counts, strict=True):
        window.add(block)
        unfinished.add(block)
        left[block] -= count
        if not left[block]:
            unfinished.discard(block)
        if not unfinished:
            order += sorted(window)
            window.clear()
    return order + sorted(window)
