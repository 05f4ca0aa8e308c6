"""The data that loaders are timed on: made once, the same everywhere, each row knows its number.

W1  2,000,000 rows of 64 float32 and an int64 label, 528 MB; every second column is rounded to 1/32, so that a
    byte-wise codec finds something, but little (LZ4 takes about a tenth off).
W2  50,000 uint8 images of 32 x 32 x 3, 154 MB; a batch is cut out of the image with 4 pixels around it, flipped by half,
    normalised, float32 with the channels first.
W3  200,000 int32 token sequences of 16 to 1,024 tokens, short ones far more frequent, tokens Zipf-like; a
    batch is padded with 0 to its longest.

Column 0 of `x` tells which row it is, in a form that is exact and that does not stand out: ``row / 2**24`` in
W1, the token ``row + 1`` in W3; in W2 it is `y`. So a batch of any loader can be checked against the source.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

CHUNK_ROWS = 1 << 16
MAX_W1_ROWS = 1 << 24  # every multiple of 2**-24 below 1 is exact in float32


class Made:
    """What all workloads have: a name, a number of rows, and a folder of files under `root`."""

    @property
    def key(self) -> str:
        return f"{self.name}-{self.num_rows}"

    @property
    def folder(self) -> Path:
        return self.root / self.key

    @property
    def files(self) -> list[Path]:
        return [self.folder / "x.npy", self.folder / "y.npy"]

    def marks(self, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
        """Of a batch, what tells its rows."""
        return x.numpy()[:, 0]

    def units(self, rows: np.ndarray) -> int:
        return len(rows)


@dataclass(frozen=True)
class W1(Made):
    """A table of rows of one size: x float32 [rows, 64] and y int64 [rows] (10 classes).

    >>> W1(Path("data"), num_rows=1000).key
    'w1-1000'
    """

    root: Path
    num_rows: int = 2_000_000
    batch_rows: int = 1024

    name = "w1"
    unit = "rows"
    dtype = "float32"  # of x
    columns = 64
    quick_rows = 200_000

    def make(self) -> W1:
        """Write the files unless they are there; returns self."""
        if not 0 < self.num_rows <= MAX_W1_ROWS:
            raise ValueError(f"W1 holds 1 to {MAX_W1_ROWS:,} rows, found {self.num_rows:,}; give another --rows")
        return _once(self, self._write)

    def _write(self, folder: Path) -> None:
        x = _new(folder / "x.npy", np.float32, (self.num_rows, self.columns))
        y = _new(folder / "y.npy", np.int64, (self.num_rows,))
        sums = _new(folder / "row_sums.npy", np.float64, (self.num_rows,))
        for start in range(0, self.num_rows, CHUNK_ROWS):
            rows = np.arange(start, min(start + CHUNK_ROWS, self.num_rows))
            random = np.random.default_rng([1, start])
            part = random.standard_normal((len(rows), self.columns), dtype=np.float32)
            part[:, 1::2] = np.round(part[:, 1::2] * 32) / 32
            part[:, 0] = rows / MAX_W1_ROWS
            x[rows] = part
            y[rows] = np.digitize(part[:, 1] + part[:, 2], [-2.0, -1.4, -0.8, -0.4, 0.0, 0.4, 0.8, 1.4, 2.0])
            sums[rows] = part.sum(1, dtype=np.float64)

    def arrays(self, in_memory: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """x [rows, 64] and y [rows], mapped read-only or read into memory."""
        return tuple(np.load(path, mmap_mode=None if in_memory else "r") for path in self.files)

    def rows_of(self, first_column: torch.Tensor) -> np.ndarray:
        """Row numbers int64 from column 0 of x; -1 where it holds none."""
        scaled = first_column.numpy().astype(np.float64) * MAX_W1_ROWS
        return np.where((scaled == np.floor(scaled)) & (0 <= scaled) & (scaled < self.num_rows), scaled, -1).astype(
            np.int64
        )

    def checker(self) -> Checker:
        x, y = self.arrays()
        sums = np.load(self.folder / "row_sums.npy")

        def equal(got_x: torch.Tensor, got_y: torch.Tensor, rows: np.ndarray) -> bool:
            return np.array_equal(got_x.numpy(), x[rows]) and np.array_equal(got_y.numpy(), y[rows])

        # float32 sums of a batch: relative to the 64k values of about 0.8 that were added, not to their total
        return Checker(sums, np.asarray(y), 1e-5 * self.columns, equal)


@dataclass(frozen=True)
class W2(Made):
    """Images to augment: x uint8 [rows, 32, 32, 3], and y int64 [rows], the row's number.

    A batch is x float32 [rows, 3, 32, 32]: a window from anywhere in the image with `pad` black pixels around it, mirrored or
    not, (level - MEAN) / STD; and y.

    >>> W2(Path("data"), num_rows=1000).key
    'w2-1000'
    """

    root: Path
    num_rows: int = 50_000
    batch_rows: int = 256

    name = "w2"
    unit = "images"
    dtype = "int64"  # of what tells the rows
    quick_rows = 5_000
    size, pad = 32, 4
    MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
    compared_images = 8  # of a batch

    def make(self) -> W2:
        """Write the files unless they are there; returns self."""
        return _once(self, self._write)

    def _write(self, folder: Path) -> None:
        x = _new(folder / "x.npy", np.uint8, (self.num_rows, self.size, self.size, 3))
        slope = np.linspace(0, 160, self.size, dtype=np.float32)
        for start in range(0, self.num_rows, 4096):
            rows = np.arange(start, min(start + 4096, self.num_rows))
            random = np.random.default_rng([2, start])
            tilt = random.random((len(rows), 1, 1, 3), np.float32)
            smooth = tilt * slope[:, None, None] + (1 - tilt) * slope[:, None]
            x[rows] = smooth + random.integers(0, 96, (len(rows), self.size, self.size, 3))
        np.save(folder / "y.npy", np.arange(self.num_rows))

    def arrays(self, in_memory: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """x [rows, 32, 32, 3] and y [rows], mapped read-only or read into memory."""
        return tuple(np.load(path, mmap_mode=None if in_memory else "r") for path in self.files)

    def marks(self, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
        """Of a batch, what tells its rows."""
        return y.numpy()

    def rows_of(self, marks: torch.Tensor) -> np.ndarray:
        rows = marks.numpy()
        return np.where((0 <= rows) & (rows < self.num_rows), rows, -1)

    def checker(self) -> Checker:
        x, y = self.arrays()

        def equal(got_x: torch.Tensor, got_y: torch.Tensor, rows: np.ndarray) -> bool:
            if got_x.shape[1:] != (3, self.size, self.size) or got_x.dtype != torch.float32:
                return False
            return all(
                self._is_window(got_x[i].numpy(), x[rows[i]]) for i in range(min(len(rows), self.compared_images))
            )

        return Checker(np.zeros(self.num_rows), np.asarray(y), float("inf"), equal)

    def _is_window(self, got: np.ndarray, image: np.ndarray) -> bool:
        """Whether it is one of those that can be drawn of an image."""
        padded = np.pad(image, ((self.pad,) * 2, (self.pad,) * 2, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (self.size, self.size), axis=(0, 1))
        scaled = (windows - np.float32(self.MEAN)[:, None, None]) / np.float32(self.STD)[:, None, None]
        return any((np.abs(scaled - one).max(axis=(2, 3, 4)) < 1e-4).any() for one in (got, got[:, :, ::-1]))


@dataclass(frozen=True)
class W3(Made):
    """Token sequences: row i is ``tokens[offsets[i]:offsets[i + 1]]``.

    A batch is x int32 [rows, longest], padded with 0, and y int64 [rows], the lengths.

    >>> W3(Path("data"), num_rows=1000).key
    'w3-1000'
    """

    root: Path
    num_rows: int = 200_000
    batch_rows: int = 64

    name = "w3"
    unit = "tokens"
    dtype = "int32"  # of x
    quick_rows = 20_000
    shortest, longest, vocabulary = 16, 1024, 32_000

    @property
    def files(self) -> list[Path]:
        return [self.folder / "tokens.npy", self.folder / "offsets.npy"]

    def make(self) -> W3:
        """Write the files unless they are there; returns self."""
        if not 0 < self.num_rows < 1 << 31:
            raise ValueError(f"W3 holds 1 to 2**31 - 1 rows, found {self.num_rows:,}; give another --rows")
        return _once(self, self._write)

    def _write(self, folder: Path) -> None:
        random = np.random.default_rng(3)
        low, high = self.shortest**-0.5, (self.longest + 1) ** -0.5
        lengths = (low - random.random(self.num_rows) * (low - high)) ** -2  # density ~ length**-1.5, mean 128
        offsets = np.zeros(self.num_rows + 1, np.int64)
        np.cumsum(lengths.astype(np.int64), out=offsets[1:])
        tokens = ((random.zipf(1.2, offsets[-1]) - 1) % self.vocabulary + 1).astype(np.int32)
        tokens[offsets[:-1]] = np.arange(1, self.num_rows + 1)
        np.save(folder / "tokens.npy", tokens)
        np.save(folder / "offsets.npy", offsets)
        np.save(folder / "row_sums.npy", np.add.reduceat(tokens, offsets[:-1], dtype=np.int64))

    def arrays(self, in_memory: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """tokens int32 [all], mapped or read into memory, and offsets int64 [rows + 1], in memory."""
        return np.load(self.files[0], mmap_mode=None if in_memory else "r"), np.load(self.files[1])

    def rows_of(self, first_column: torch.Tensor) -> np.ndarray:
        """Row numbers int64 from column 0 of x; -1 where it holds none."""
        rows = first_column.numpy().astype(np.int64) - 1
        return np.where((0 <= rows) & (rows < self.num_rows), rows, -1)

    def units(self, rows: np.ndarray) -> int:
        return int(np.diff(np.load(self.files[1]))[rows].sum())

    def checker(self) -> Checker:
        tokens, offsets = self.arrays()
        lengths = np.diff(offsets)

        def equal(got_x: torch.Tensor, got_y: torch.Tensor, rows: np.ndarray) -> bool:
            want = pad(tokens, offsets, rows)
            return np.array_equal(got_x.numpy(), want) and np.array_equal(got_y.numpy(), lengths[rows])

        return Checker(np.load(self.folder / "row_sums.npy"), lengths, 0.0, equal)


@dataclass(frozen=True)
class Checker:
    """What a batch must add up to, and a comparison of all its values with the source.

    x_sums, y_values : [rows], the sum of each row's x, and y. tolerance : allowed difference of a batch's sum
    of x, for each of its rows.
    """

    x_sums: np.ndarray
    y_values: np.ndarray
    tolerance: float
    equal: Callable[[torch.Tensor, torch.Tensor, np.ndarray], bool]

    def sums_agree(self, x_sum: float, y_sum: float, rows: np.ndarray) -> bool:
        off = abs(self.x_sums[rows].sum() - x_sum)
        return bool(off <= self.tolerance * len(rows)) and int(self.y_values[rows].sum()) == int(y_sum)


Workload = W1 | W2 | W3
WORKLOADS: dict[str, type] = {"w1": W1, "w2": W2, "w3": W3}


def load(name: str, root: str | Path, num_rows: int | None = None) -> Workload:
    """The workload by name, its files written if need be. `num_rows` None: its full size."""
    kind = WORKLOADS[name]
    return (kind(Path(root), num_rows) if num_rows else kind(Path(root))).make()


def pad(tokens: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The padding loop that one writes by hand: int32 [len(rows), longest], 0 behind each row's end.

    >>> pad(np.array([7, 8, 9]), np.array([0, 1, 3]), np.array([0, 1])).tolist()
    [[7, 0], [8, 9]]
    """
    starts, ends = offsets[rows], offsets[rows + 1]
    lengths = ends - starts
    out = np.zeros((len(rows), lengths.max()), np.int32)
    for row, start, end, length in zip(out, starts.tolist(), ends.tolist(), lengths.tolist(), strict=True):
        row[:length] = tokens[start:end]
    return out


def _new(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _once(workload: Workload, write: Callable[[Path], None]) -> Workload:
    """Run `write` into a draft folder and rename it, so that a workload is there whole or not at all."""
    if not workload.folder.exists():
        draft = workload.folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        write(draft)
        draft.rename(workload.folder)
    return workload
