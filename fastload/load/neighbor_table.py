"""Who is near whom among the rows of a class: found once, and kept beside the data set's files."""

from __future__ import annotations

import hashlib
import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastload.block.dataset import Dataset, RowAccess
from fastload.block.writer import write
from fastload.errors import FastloadError, TooFewRowsError
from fastload.schema import Schema

logger = logging.getLogger("fastload.load")


class Mixture(NamedTuple):
    """What rows are made of: `k_neighbors`, 0 if rows come again as they are; the fields whose values lie between those of two
    rows, and those whose values the neighbours vote on."""

    k_neighbors: int
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]


class NeighborTable(NamedTuple):
    """neighbors : int32 [bases, k], places among the bases. votes : by categorical field, the place of a base that has the value
    most neighbours have, int64 [bases]."""

    neighbors: np.ndarray
    votes: dict[str, np.ndarray]


def neighbor_table(
    rows: RowAccess, mixture: Mixture, bases: np.ndarray, first: np.ndarray, parts: list[tuple[Any, Any, Any, Any]]
) -> NeighborTable:
    """The table of these rows; from the data set's folder if it was made before, for this very content.

    Parameters
    ----------
    bases : int64 [bases]
        Rows of the data set, class after class.
    first : int64 [classes + 1]
        Where each class begins among them.
    parts : of `bases`, as ``RowAccess.read_rows`` gives them.

    Raises
    ------
    TooFewRowsError
        A class has too few rows to have so many neighbours.
    """
    smallest = int(np.diff(first).min())
    if smallest <= mixture.k_neighbors:
        raise TooFewRowsError(
            f"k_neighbors={mixture.k_neighbors} needs {mixture.k_neighbors + 1} rows of each class that is added to; the smallest "
            f"has {smallest}: ask for fewer neighbours, or leave the class out by sampling_strategy"
        )
    kept = _kept_at(rows, mixture, bases) if isinstance(rows, Dataset) else None
    table = _read(kept, mixture, bases) if kept is not None and kept.exists() else None
    if table is None:
        table = _make(rows.schema, mixture, first, parts)
        if kept is not None:
            _keep(kept, mixture, bases, table)
    return table


def _make(schema: Schema, mixture: Mixture, first: np.ndarray, parts: list[tuple[Any, Any, Any, Any]]) -> NeighborTable:
    columns = dict(zip(schema.names, parts, strict=True))
    numbers = np.concatenate(
        [columns[name][0].reshape(first[-1], -1) for name in mixture.numeric], axis=1, dtype=_common(schema, mixture)
    )
    codes = np.empty((first[-1], len(mixture.categorical)), np.int64)
    for place, name in enumerate(mixture.categorical):
        codes[:, place] = _codes(columns[name])
    neighbors = np.empty((first[-1], mixture.k_neighbors), np.int32)
    votes = np.empty(codes.shape, np.int64)
    for begin, end in pairwise(first):
        mine = slice(begin, end)
        found = _nearest(numbers[mine], codes[mine], mixture.k_neighbors)
        neighbors[mine] = begin + found
        votes[mine] = begin + _votes(codes[mine], found)
    return NeighborTable(neighbors, {name: votes[:, place] for place, name in enumerate(mixture.categorical)})


def _nearest(numbers: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """The k nearest other rows of each, int64 [rows, k]; a category that differs counts as in SMOTENC."""
    from fastload.balance.interpolate import neighbors_of  # scikit-learn comes with it
    from fastload.balance.neighbors import NearestNeighbors, nearest_mixed

    if not codes.shape[1]:
        return neighbors_of(NearestNeighbors(k + 1), numbers, numbers, "a class", "k_neighbors")
    differs = float(np.median(numbers.std(axis=0, dtype=np.float64)) ** 2)
    return nearest_mixed(numbers, np.ascontiguousarray(codes.T, np.int32), differs, k + 1)[1][:, 1:]


def _common(schema: Schema, mixture: Mixture) -> str:
    """float32 where that holds every value."""
    small = all(schema[name].dtype in ("float32", "int8", "int16", "uint8", "uint16") for name in mixture.numeric)
    return "float32" if small else "float64"


def _votes(codes: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    """For each row and each category, a neighbour with the value that most of them have: of the nearest one among equals."""
    votes = np.empty(codes.shape, np.int64)
    for place in range(codes.shape[1]):
        near = codes[neighbors, place]
        have = (near[:, :, None] == near[:, None, :]).sum(axis=2)
        votes[:, place] = np.take_along_axis(neighbors, have.argmax(axis=1)[:, None], axis=1)[:, 0]
    return votes


def _codes(part: tuple[Any, Any, Any, Any]) -> np.ndarray:
    """A number for each value of a field; null is one."""
    values, _, offsets, valid = part
    if offsets is not None:
        data, ends = values.tobytes(), offsets.tolist()
        values = np.array([data[a:b] for a, b in pairwise(ends)], object)
    codes = np.unique(values, return_inverse=True)[1]
    return codes if valid is None else np.where(valid, codes, -1)


# --- kept beside the data ---------------------------------------------------------------------------


def _kept_at(rows: Dataset, mixture: Mixture, bases: np.ndarray) -> Path:
    """Named by all that it is a function of, so that it is never used for anything else."""
    shards = [(shard.file_id, shard.footer_crc32c) for shard in rows._manifest.shards]
    content = json.dumps([1, shards, mixture]).encode() + bases.tobytes()
    return rows.path / f"neighbors-{hashlib.sha256(content).hexdigest()[:16]}.fl"


def _read(path: Path, mixture: Mixture, bases: np.ndarray) -> NeighborTable | None:
    try:
        found = Dataset(path)[:]
        votes = {name: found[f"vote_{i}"] for i, name in enumerate(mixture.categorical)}
        table = NeighborTable(found["neighbors"], votes)
    except (FastloadError, KeyError) as error:
        logger.warning("%s cannot be used and is made anew: %s", path, error)
        return None
    places = [table.neighbors, *votes.values()]
    fits = table.neighbors.shape == (len(bases), mixture.k_neighbors) and all(
        ((place >= 0) & (place < len(bases))).all() for place in places
    )
    return table if fits and np.array_equal(found["row"], bases) else None


def _keep(path: Path, mixture: Mixture, bases: np.ndarray, table: NeighborTable) -> None:
    votes = {f"vote_{i}": table.votes[name] for i, name in enumerate(mixture.categorical)}
    try:
        write(path, {"row": bases, "neighbors": table.neighbors, **votes}, overwrite=True)
    except (FastloadError, OSError) as error:  # a folder that is not ours, or another rank at it
        logger.info("the neighbours found are not kept: %s", error)
