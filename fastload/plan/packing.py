"""Documents packed whole into rows of a fixed number of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastload._core import Permutation, count_packed_rows, pack_pool
from fastload.errors import ArgumentError
from fastload.plan.random import BASE_ORDER, POOL_ORDER, outputs, stream_key
from fastload.plan.row_plan import Recent, by_pool, checked_count, checked_lengths, checked_positions, fingerprint_of

MAX_ROW_TOKENS = 1 << 24  # memory is taken for each possible length

Pieces = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _PackedPool:
    """Row r of the pool holds the pieces ``first_piece[b] .. first_piece[b + 1]``, where b is ``order[r]``."""

    documents: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    first_piece: np.ndarray
    order: np.ndarray

    def pieces(self, rows: np.ndarray, bins: np.ndarray) -> Pieces:
        """The pieces of these rows, one row after the other; ``bins[i]`` is what row ``rows[i]`` is called."""
        begins, ends = self.first_piece[self.order[rows]], self.first_piece[self.order[rows] + 1]
        counts = ends - begins
        before = np.cumsum(counts) - counts
        pieces = np.repeat(begins - before, counts) + np.arange(counts.sum())
        return self.documents[pieces], self.starts[pieces], self.lengths[pieces], np.repeat(bins, counts)


class SequencePacking:
    """Which documents, or pieces of them, fill which row of `row_tokens` places: a pure function of (seed, epoch, position).

    Documents come in a base order (a permutation by seed and epoch, or the file's), `pool_documents` of them are packed at a
    time by best fit decreasing (csrc/core/packing.h tells the method and its sources), and the packed rows of a pool come
    in an order drawn by (seed, epoch, pool). Positions count packed rows. The pieces in a row are in base order.

    How many rows a pool takes is known once it was packed: the first question about an epoch packs all of its pools,
    30 ns a document, and keeps the numbers of the latest two epochs. After that a jump costs one pool, 0.7 ms for pools of
    16,384.

    200,000 documents, lengths with density ~ length**-1.5 from 16 to 1,024 tokens (mean 128), rows of 4,096:
    0.1 % of the places stay empty with the default pools, 1.5 % with pools of 1,024.

    Parameters
    ----------
    lengths : integer array [documents]
        Tokens of each: ``np.diff(offsets)`` of a variable-length field. Documents of none take no place and appear in no
        row; ``empty_documents`` tells how many there are.
    row_tokens : int
        Places of a row, at most 2^24.
    pool_documents : int
        Documents that are packed together. More leave fewer places empty and make a jump more costly.
    long : "split" or "error"
        What becomes of a document longer than a row: it is cut into full rows and a rest, which is packed like any
        other; or it is refused.
    shuffle : bool
        False: the base order is the file's and rows come in the order of their first pieces, the same in every epoch.

    Raises
    ------
    ArgumentError, DtypeError, ShapeError
        A length below 0 or, for "error", above `row_tokens`; lengths that are not integers or not one for each document;
        sizes that have no meaning.

    Examples
    --------
    >>> packing = SequencePacking([5, 2, 12, 3, 0, 1], row_tokens=8, shuffle=False)
    >>> packing.num_rows(seed=0, epoch=0)
    3
    >>> documents, starts, lengths, bins = packing.documents(0, 0, np.arange(3))
    >>> list(zip(bins.tolist(), documents.tolist(), starts.tolist(), lengths.tolist()))
    [(0, 0, 0, 5), (0, 3, 0, 3), (1, 1, 0, 2), (1, 2, 8, 4), (1, 5, 0, 1), (2, 2, 0, 8)]
    """

    def __init__(
        self,
        lengths: Any,
        row_tokens: int,
        pool_documents: int = 16_384,
        long: str = "split",
        shuffle: bool = True,
    ) -> None:
        self.row_tokens = checked_count("row_tokens", row_tokens)
        if self.row_tokens > MAX_ROW_TOKENS:
            raise ArgumentError(f"row_tokens must be at most {MAX_ROW_TOKENS}, got {row_tokens}")
        if long not in ("split", "error"):
            raise ArgumentError(f"long must be 'split' or 'error', got {long!r}")
        self.shuffle = bool(shuffle)
        self._lengths = checked_lengths(lengths)
        too_long = np.flatnonzero(self._lengths > self.row_tokens)
        if long == "error" and len(too_long):
            raise ArgumentError(
                f"a row holds {self.row_tokens} tokens; document {too_long[0]} has {self._lengths[too_long[0]]}, and "
                f"{len(too_long)} are too long in all; leave them out, give longer rows or cut them with long='split'"
            )
        self.pool_documents = min(checked_count("pool_documents", pool_documents), max(1, len(self._lengths)))
        self.empty_documents = int(np.count_nonzero(self._lengths == 0))
        self.dataset_rows = len(self._lengths)
        self.fingerprint = fingerprint_of(self._lengths, self.row_tokens, self.pool_documents, self.shuffle)
        self._pool_starts = Recent(capacity=2)
        self._pools = Recent(capacity=4)

    def num_rows(self, seed: int, epoch: int) -> int:
        """Packed rows of this epoch: other orders of the documents may take some more or less."""
        return int(self._starts(seed, epoch)[-1])

    def waste(self, seed: int, epoch: int) -> float:
        """Share of the places that stay empty over the epoch, 0 to 1."""
        places = self.num_rows(seed, epoch) * self.row_tokens
        return 1 - int(self._lengths.sum()) / places if places else 0.0

    def documents(self, seed: int, epoch: int, positions: np.ndarray) -> Pieces:
        """What fills the packed rows at `positions` (int64).

        Returns
        -------
        documents, starts, lengths, bins : int64 arrays, an entry for each piece
            Tokens ``starts .. starts + lengths`` of the document stand in the row at ``positions[bins]``. In the order of
            `positions`, then of the places in the row: pieces follow each other from the first place on.

        Raises
        ------
        RowIndexError
            A position that is not in 0 .. num_rows - 1.
        """
        pool_starts = self._starts(seed, epoch)
        positions = checked_positions(positions, int(pool_starts[-1]))
        parts = [(np.zeros(0, np.int64),) * 4]
        for pool, places in by_pool(np.searchsorted(pool_starts, positions, side="right") - 1):
            packed = self._pools.get((seed, epoch, pool), lambda pool=pool: self._pack(seed, epoch, pool))
            parts.append(packed.pieces(positions[places] - pool_starts[pool], places))
        documents, starts, lengths, bins = (np.concatenate(column) for column in zip(*parts))
        order = np.argsort(bins, kind="stable")
        return documents[order], starts[order], lengths[order], bins[order]

    def _starts(self, seed: int, epoch: int) -> np.ndarray:
        """The position at which each pool's rows begin, and the end."""

        def count() -> np.ndarray:
            rows = count_packed_rows(self._lengths, self.row_tokens, self.pool_documents, self._base_key(seed, epoch))
            return np.concatenate([[0], np.cumsum(rows)])

        return self._pool_starts.get((seed, epoch), count)

    def _pack(self, seed: int, epoch: int, pool: int) -> _PackedPool:
        base_key = self._base_key(seed, epoch)
        *pieces, first_piece = pack_pool(self._lengths, self.row_tokens, self.pool_documents, base_key, pool)
        num_rows = len(first_piece) - 1
        order = np.arange(num_rows)
        if self.shuffle:
            key = outputs(stream_key(seed, epoch, POOL_ORDER), np.array([pool]))[0]
            order = Permutation(num_rows, key).apply(0, num_rows).astype(np.int64)
        return _PackedPool(*pieces, first_piece, order)

    def _base_key(self, seed: int, epoch: int) -> int | None:
        return stream_key(seed, epoch, BASE_ORDER) if self.shuffle else None
