"""Rows told apart by 128-bit hashes: 16 bytes a row in memory, or in parts on disk where even these would not fit."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from fastload.clean.frames import pl

RECORD = np.dtype([("a", "<u8"), ("b", "<u8"), ("row", "<u8")])
PARTS = 64
SEEDS = (0x5EED, 0xF00D)
WORKING_BYTES = 96  # a row needs while equal ones are sought: its record, and polars' tables over it


def hash_rows(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Two independent 64-bit hashes a row, uint64 [rows] each. Missing values are alike, whatever kind they are of; 0.0 is -0.0.

    By polars' hash with two seeds: equal within one version of polars, so hashes are never written to a file that stays.
    """
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    frame = frame.with_columns(pl.col(floats).fill_nan(None)) if floats else frame
    first, second = (frame.hash_rows(seed).to_numpy() for seed in SEEDS)
    return first, second


def rounded(frame: pl.DataFrame, decimals: int | Mapping[str, int]) -> pl.DataFrame:
    """Numbers rounded and text without case and outer white space: rows that are then equal are near duplicates."""
    places = {
        name: decimals[name] if isinstance(decimals, Mapping) else decimals
        for name, dtype in frame.schema.items()
        if dtype.is_float() and (not isinstance(decimals, Mapping) or name in decimals)
    }
    whole = {
        name: decimals[name]
        for name, dtype in frame.schema.items()
        if dtype.is_integer() and isinstance(decimals, Mapping) and name in decimals
    }
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    return frame.with_columns(
        *[_round(name, n) for name, n in (places | whole).items()],
        *[pl.col(name).str.strip_chars().str.to_lowercase() for name in texts],
    )


def _round(name: str, decimals: int) -> pl.Expr:
    scale = 10.0**decimals
    # + 0.0: what rounds to -0.0 is 0.0
    return ((pl.col(name).cast(pl.Float64) * scale).round() / scale + 0.0).alias(name)


class RowHashes:
    """Hashes of all rows of a table, batch by batch.

    Not safe with threads. What lies on disk is removed with the object.

    memory_bytes : beyond this, records (24 bytes a row) go to PARTS files by their first bits; None for never.
    """

    def __init__(self, memory_bytes: int | None = None) -> None:
        self.num_rows = 0
        self._memory_bytes = memory_bytes
        self._held: list[np.ndarray] = []
        self._folder: Path | None = None

    def add(self, frame: pl.DataFrame) -> None:
        first, second = hash_rows(frame)
        records = np.empty(len(first), RECORD)
        records["a"], records["b"] = first, second
        records["row"] = np.arange(self.num_rows, self.num_rows + len(first), dtype=np.uint64)
        self.num_rows += len(first)
        if self._folder is not None:
            self._write(records)
            return
        self._held.append(records)
        if self._memory_bytes is not None and self.num_rows * WORKING_BYTES > self._memory_bytes:
            self.spill()

    def spill(self) -> None:
        """Put the records on disk, and those to come."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="fastload-hashes-"))
            weakref.finalize(self, shutil.rmtree, self._folder, True)
            for records in self._held:
                self._write(records)
            self._held = []

    @property
    def is_spilled(self) -> bool:
        return self._folder is not None

    def _write(self, records: np.ndarray) -> None:
        parts = (records["a"] >> np.uint64(58)).astype(np.uint8)
        order = np.argsort(parts, kind="stable")
        ends = np.searchsorted(parts[order], np.arange(PARTS + 1))
        for part, (start, end) in enumerate(pairwise(ends)):
            if end > start:
                with (self._folder / str(part)).open("ab") as file:
                    file.write(records[order[start:end]].tobytes())

    def parts(self) -> Iterator[pl.DataFrame]:
        """Frames of columns a, b, row; equal rows are in one of them."""
        if self._folder is None:
            yield _frame_of(np.concatenate(self._held) if self._held else np.empty(0, RECORD))
            return
        for part in range(PARTS):
            path = self._folder / str(part)
            yield _frame_of(np.fromfile(path, RECORD) if path.exists() else np.empty(0, RECORD))

    def kept(self, keep: str) -> np.ndarray:
        """Which rows stay: the first or the last of equal ones, or only those that have no equal. bool [rows].

        keep : "first", "last" or "none".
        """
        kept = np.zeros(self.num_rows, bool)
        for part in self.parts():
            kept[part.unique(subset=["a", "b"], keep=keep)["row"].to_numpy()] = True
        return kept

    def num_duplicates(self) -> int:
        """Rows that have an equal one before them."""
        return self.num_rows - sum(part.select(pl.struct("a", "b").n_unique()).item() for part in self.parts())

    def found_in(self, other: RowHashes) -> np.ndarray:
        """Numbers of the rows that `other` has as well, ascending."""
        if self.is_spilled or other.is_spilled:
            self.spill()
            other.spill()
        pairs = zip(self.parts(), other.parts(), strict=True)
        found = [mine.join(theirs, on=["a", "b"], how="semi")["row"].to_numpy() for mine, theirs in pairs]
        return np.sort(np.fromiter(chain.from_iterable(found), np.int64))


def _frame_of(records: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({name: np.ascontiguousarray(records[name]) for name in RECORD.names})
