"""Columns of categories: each value has a code, or two where there are many."""

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
    is_ordered,
    state_of_values,
    values_of_state,
)
from fastload.synth.conditions import listed, ranges_of
from fastload.synth.tally import Tally


class Categories(Kind):
    """Values with a code each, the most frequent one 0; more than `max_categories` have two, as digits of the place by frequency.

    values : [k], distinct, a missing one the last. counts : int64 [k], how often each was seen.
    """

    def __init__(self, values: pl.Series, counts: np.ndarray, max_categories: int) -> None:
        self.dtype, self.values, self.counts, self._max_categories = values.dtype, values, counts, max_categories
        self._base = 1 + math.isqrt(len(values) - 1) if len(values) > max_categories else 0
        self.sizes = (1 + (len(values) - 1) // self._base, self._base) if self._base else (len(values),)

    @classmethod
    def fit(cls, tally: Tally, max_categories: int) -> Categories:
        order = np.argsort(-tally.counts, kind="stable")
        values, counts = tally.values.gather(order), tally.counts[order]
        if tally.missing:
            values, counts = values.extend_constant(None, 1), np.append(counts, tally.missing)
        return cls(values, counts, max_categories)

    def encode(self, column: pl.Series, first_row: int = 0) -> Sequence[np.ndarray]:
        places = pl.Series(np.arange(len(self.values), dtype=np.int32))
        column = cast(column, self.dtype)
        found = column.replace_strict(self.values, places, default=None, return_dtype=pl.Int32)
        if found.null_count():
            row = int(found.is_null().arg_max())
            raise UnknownCategoryError(
                f"column {column.name!r} must hold values that were there in training; {column[row]!r} in row {first_row + row} "
                "was not: leave out such rows, or train on data that have it"
            )
        place = found.to_numpy()
        return np.divmod(place, self._base) if self._base else (place,)

    def decode(self, codes: np.ndarray, random: np.random.Generator) -> pl.Series:
        if not self._base:
            return self.values.gather(codes[:, 0])
        place = codes[:, 0].astype(np.int64) * self._base + codes[:, 1]
        beyond = np.flatnonzero(place >= len(self.values))
        if len(beyond):  # they begin with the last of the first codes: one of its values, as often as seen
            first = (self.sizes[0] - 1) * self._base
            share = self.counts[first:] / self.counts[first:].sum()
            place[beyond] = first + random.choice(len(share), len(beyond), p=share)
        return self.values.gather(place)

    def narrowed(self, condition: Any) -> tuple[Kind, np.ndarray]:
        meets = np.zeros(math.prod(self.sizes))
        meets[: len(self.values)] = self._meeting(condition)
        return self, meets.reshape(self.sizes)

    def first_shares(self, shares: np.ndarray) -> np.ndarray:
        """Of shares for pairs of codes, those for the first codes: each pair counts as often as it was seen. float64 [sizes[0]]"""
        counts = np.zeros(math.prod(self.sizes))
        counts[: len(self.counts)] = self.counts
        counts = counts.reshape(self.sizes)
        return (counts * shares).sum(axis=1) / counts.sum(axis=1)

    def _meeting(self, condition: Any) -> np.ndarray:
        """bool [values]"""
        missing = self.values.is_null().to_numpy()
        if not is_ordered(self.dtype):
            wanted = listed(condition)
            return np.array([value in wanted for value in self.values])
        ranges, with_missing = ranges_of(condition, self.dtype)
        numbers = as_numbers(self.values.drop_nulls())
        meets = missing & with_missing
        for low, high in ranges:
            meets[: len(numbers)] |= (numbers >= low) & (numbers <= high)
        return meets

    def held(self) -> str:
        some = ", ".join(repr(value) for value in self.values.head(5))
        return f"{some}{' ...' if len(self.values) > 5 else ''} ({len(self.values)} values)"

    def state(self) -> dict[str, Any]:
        own = {"kind": "categories", "counts": self.counts, "max_categories": self._max_categories}
        return own | state_of_values(self.values)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Categories:
        return cls(values_of_state(state), state["counts"], state["max_categories"])
