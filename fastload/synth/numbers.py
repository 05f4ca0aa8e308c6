"""Columns of numbers and times: each quantile bin has a code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastload.clean.frames import pl
from fastload.errors import UnknownCategoryError
from fastload.synth.column_kinds import (
    Kind,
    as_numbers,
    cast,
    check_finite,
    dtype_of_state,
    state_of_dtype,
    without_nan,
)
from fastload.synth.conditions import ranges_of
from fastload.synth.tally import Tally

MAX_LEVELS = 4096  # distinct numbers of a column that are kept one by one
PIECES = 8  # of a bin, between whose ends numbers are drawn where a column has more distinct ones
MAX_CELLS = 1 << 16  # of the table that a column's numbers are drawn from
MAX_DECIMALS = 9
NARROWEST = 1e-9  # share of a piece that a single number is taken for


class Numbers(Kind):
    """Numbers and times: a code for each bin of about as many rows, in ascending order, and one more for what is missing.

    A number that would fill a bin has one of its own. A code is decoded to one of the levels of its bin, drawn by their weights:
    the numbers seen in it, or else the pieces between quantiles of these, from the lowest one to the highest one seen.

    low, high : int64, uint64 or float64 [levels], ends of each level, ascending. weights : float64 [levels].
    begins : int64 [bins + 1], the first level of each bin.
    step : what all numbers are apart by multiples of; for floats 10 ** -decimals, or 0 where they have too many.
    """

    def __init__(
        self, dtype: pl.DataType, low: np.ndarray, high: np.ndarray, weights: np.ndarray, begins: np.ndarray, *,
        step: float, has_missing: bool,
    ) -> None:  # fmt: skip
        self.dtype, self.low, self.high, self.weights, self.begins = dtype, low, high, weights, begins
        self.step, self.has_missing = step, has_missing
        self.bins = len(begins) - 1
        self.sizes = (self.bins + has_missing,)
        self._tabulate()

    @classmethod
    def fit(cls, tally: Tally, bins: int) -> Numbers:
        values, counts, dtype = as_numbers(tally.values), tally.counts, tally.values.dtype
        check_finite(tally.name, values)
        begins = bin_begins(counts, bins)
        has_missing, step = tally.missing > 0, step_of(values, dtype)
        if len(values) <= MAX_LEVELS:
            weights = counts.astype(np.float64)
            return cls(dtype, values, values, weights, begins, step=step, has_missing=has_missing)
        ends = values[pieces_of(counts, begins)]  # [bins, pieces + 1]
        low, high = ends[:, :-1].ravel(), ends[:, 1:].ravel()
        begins = np.arange(len(begins)) * PIECES
        return cls(dtype, low, high, np.ones(len(low)), begins, step=step, has_missing=has_missing)

    def _tabulate(self) -> None:
        """Cells to draw from, as many for each level as its weight says: one random number finds one, whatever the weights."""
        weights = self.weights
        if weights.sum() > MAX_CELLS or (weights % 1).any():
            weights = weights * (MAX_CELLS / weights.sum())
        repeats = np.maximum(np.rint(weights).astype(np.int64), 1)
        ends = np.append(0, np.cumsum(repeats))[self.begins]
        missing = [0] * self.has_missing
        self._first = np.append(ends[:-1], missing).astype(np.int32)  # [codes]
        self._count = np.append(np.diff(ends), missing).astype(np.float32)  # [codes]
        self._cell_low = np.repeat(self.low, repeats)
        self._cell_high = None if np.array_equal(self.low, self.high) else np.repeat(self.high, repeats)

    def encode(self, column: pl.Series, first_row: int = 0) -> Sequence[np.ndarray]:
        are_numbers = column.dtype.is_numeric() and self.dtype.is_numeric()
        column = without_nan(column) if are_numbers else cast(column, self.dtype)
        if not column.null_count():
            return (self._bins_of(column),)
        missing = column.is_null().to_numpy()
        if not self.has_missing:
            raise UnknownCategoryError(
                f"column {column.name!r} missed nothing in training; it does in row {first_row + int(missing.argmax())}: "
                "fill it (fastload clean), or train on data that have such gaps with missing='keep'"
            )
        codes = np.full(len(column), self.bins)
        codes[~missing] = self._bins_of(column.drop_nulls())
        return (codes,)

    def _bins_of(self, column: pl.Series) -> np.ndarray:
        values = as_numbers(column)
        check_finite(column.name, values)
        return np.maximum(np.searchsorted(self.low[self.begins[:-1]], values, side="right") - 1, 0)

    def decode(self, codes: np.ndarray, random: np.random.Generator) -> pl.Series:
        code = codes[:, 0]
        exact = self._cell_high is None
        position = random.random(len(code), dtype=np.float32 if exact else np.float64) * self._count[code]
        cell = position.astype(np.int32)
        place = self._first[code] + cell
        values = self._cell_low[place]
        if not exact:
            values = self._between(values, self._cell_high[place], position - cell)
        column = pl.Series(values).cast(self.dtype)
        return column.set(pl.Series(code == self.bins), None) if self.has_missing else column

    def _between(self, low: np.ndarray, high: np.ndarray, fraction: np.ndarray) -> np.ndarray:
        if low.dtype.kind == "f":
            values = low * (1 - fraction) + high * fraction
            return np.clip(self._rounded(values) if self.step else values, low, high)
        step = np.uint64(self.step)
        steps = (high.view(np.uint64) - low.view(np.uint64)) // step  # modulo 2 ** 64: right whatever the signs
        taken = np.minimum(np.rint(fraction * steps).astype(np.uint64), steps)
        return (low.view(np.uint64) + taken * step).view(low.dtype)

    def narrowed(self, condition: Any) -> tuple[Kind, np.ndarray]:
        ranges, with_missing = ranges_of(condition, self.dtype)
        of_level = np.repeat(np.arange(self.bins), np.diff(self.begins))
        kept = [self._within(low, high) for low, high in ranges]
        level, low, high, weights = (
            (np.concatenate(parts) for parts in zip(*kept)) if kept else 4 * (np.empty(0, np.int64),)
        )
        order = np.argsort(level, kind="stable")
        bins = of_level[level[order]]
        shares = np.bincount(bins, weights[order], self.bins) / np.bincount(of_level, self.weights, self.bins)
        shares = np.append(shares, [float(with_missing)] * self.has_missing)
        if not len(level):
            return self, shares
        begins = np.searchsorted(bins, np.arange(self.bins + 1))
        narrow = Numbers(
            self.dtype, low[order], high[order], weights[order], begins, step=self.step, has_missing=self.has_missing
        )
        return narrow, shares

    def _within(self, lowest: float, highest: float) -> tuple[np.ndarray, ...]:
        """What levels hold between two numbers: their places, low and high ends, and weights."""
        lowest, highest = max(lowest, self.low[0].item()), min(highest, self.high[-1].item())
        if self.step:
            lowest, highest = self._stepped(lowest, up=True), self._stepped(highest, up=False)
        if lowest > highest:
            return tuple(np.empty(0, dtype) for dtype in (np.int64, self.low.dtype, self.high.dtype, np.float64))
        low, high = np.maximum(self.low, lowest), np.minimum(self.high, highest)
        level = np.flatnonzero(low <= high)
        low, high = low[level], high[level]
        part, whole = (b / 2 - a / 2 + self.step / 2 for a, b in ((low, high), (self.low[level], self.high[level])))
        share = np.divide(part, whole, out=np.ones(len(level)), where=whole > 0)
        return level, low, high, self.weights[level] * np.maximum(share, NARROWEST)

    def _rounded(self, values: np.ndarray | float) -> np.ndarray:
        """Floats to the decimals of the data, as the data type has them."""
        rounded = np.round(values, round(-math.log10(self.step)))
        return rounded.astype(np.float32).astype(np.float64) if self.dtype == pl.Float32 else rounded

    def _stepped(self, number: float, *, up: bool) -> float:
        """The nearest number that there can be, from this one on up or down."""
        if self.low.dtype.kind == "f":
            rounded = self._rounded(number)
            wrong = rounded < number if up else rounded > number
            return self._rounded(rounded + (self.step if up else -self.step)) if wrong else rounded
        first, step = self.low[0].item(), int(self.step)
        steps = -((first - math.ceil(number)) // step) if up else (math.floor(number) - first) // step
        return first + steps * step

    def held(self) -> str:
        low, high = pl.Series(np.array([self.low[0], self.high[-1]])).cast(self.dtype)
        return f"{low} to {high}"

    def state(self) -> dict[str, Any]:
        return {
            "kind": "numbers", "dtype": state_of_dtype(self.dtype), "low": self.low, "high": self.high,
            "weights": self.weights, "begins": self.begins, "step": self.step, "has_missing": self.has_missing,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Numbers:
        dtype = dtype_of_state(state["dtype"])
        arrays = (state[name] for name in ("low", "high", "weights", "begins"))
        return cls(dtype, *arrays, step=state["step"], has_missing=state["has_missing"])


def bin_begins(counts: np.ndarray, bins: int) -> np.ndarray:
    """Distinct values, of which each was seen so often, in bins of about as many rows: the first value of each bin, and the end.

    >>> bin_begins(np.array([1, 1, 50, 1, 1, 1, 1]), bins=2).tolist()
    [0, 2, 3, 7]
    """
    if len(counts) <= bins:
        return np.arange(len(counts) + 1)
    share = counts * (bins / counts.sum())  # in bins
    fills = share >= 1
    stretch = np.cumsum(fills | np.append(False, fills[:-1]))  # a value that fills a bin, or all between two such
    length = np.bincount(stretch, share)
    middle = np.cumsum(share) - share / 2
    middle -= (np.cumsum(length) - length)[stretch]
    parts = np.maximum(np.rint(length), 1)
    part = np.floor(middle / length[stretch] * parts[stretch])
    begins = np.flatnonzero((np.diff(stretch) > 0) | (np.diff(part) != 0)) + 1
    return np.concatenate(([0], begins, [len(counts)]))


def pieces_of(counts: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """int64 [bins, pieces + 1]: the values at which the pieces of each bin end, as many rows of it between two of them."""
    seen = np.append(0, np.cumsum(counts))
    first, last = seen[begins[:-1]], seen[begins[1:]] - 1  # rows [bins]
    rows = np.rint(np.linspace(first, last, PIECES + 1, axis=1)).astype(np.int64)
    return np.searchsorted(seen, rows, side="right") - 1


def step_of(values: np.ndarray, dtype: pl.DataType) -> float:
    """What all `values`, ascending, are apart by multiples of; of floats the last decimal, 0 where they have too many."""
    if values.dtype.kind != "f":
        return int(np.gcd.reduce(np.diff(values.view(np.uint64)))) if len(values) > 1 else 1
    narrow = np.float32 if dtype == pl.Float32 else np.float64
    some = values[:: 1 + len(values) // 64]
    with np.errstate(over="ignore", invalid="ignore"):
        for decimals in range(MAX_DECIMALS + 1):
            if all((np.round(part, decimals).astype(narrow) == part).all() for part in (some, values)):
                return 10.0**-decimals
    return 0
