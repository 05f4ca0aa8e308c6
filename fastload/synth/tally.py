"""How often each value of a column is there, counted batch by batch in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastload.clean.frames import pl
from fastload.clean.missing import count_missing
from fastload.synth.column_kinds import is_ordered, without_nan

MAX_DISTINCT = 1 << 20  # of numbers; more of them are thinned


@dataclass(frozen=True)
class Tally:
    """The distinct values of a column, ascending, and the number of rows of each; of two tallies, the sum is that of all rows.

    Of numbers and times about a million are told apart: of more, each pair of neighbours is counted as one of them, so that ranks
    are off by a pair's rows at most. The lowest and the highest number always stay.

    values : [k]. counts : int64 [k]. missing : rows without a value. is_exact : none were thinned.
    """

    values: pl.Series
    counts: np.ndarray
    missing: int
    is_exact: bool = True

    @classmethod
    def of(cls, column: pl.Series) -> Tally:
        """
        >>> Tally.of(pl.Series([2, 1, None, 2])).counts.tolist()
        [1, 2]
        """
        found = without_nan(column).drop_nulls().rename("value").value_counts().sort("value")
        return cls._thinned(cls(found["value"].alias(column.name), _counts(found), count_missing(column)))

    def __add__(self, other: Tally) -> Tally:
        parts = [pl.DataFrame({"value": tally.values, "count": tally.counts}) for tally in (self, other)]
        found = pl.concat(parts).group_by("value").agg(pl.col("count").sum()).sort("value")
        missing, is_exact = self.missing + other.missing, self.is_exact and other.is_exact
        return self._thinned(Tally(found["value"].alias(self.name), _counts(found), missing, is_exact))

    @staticmethod
    def _thinned(tally: Tally) -> Tally:
        if len(tally.values) <= MAX_DISTINCT or not is_ordered(tally.values.dtype):
            return tally
        kept = np.arange(0, len(tally.values), 2)
        counts = np.add.reduceat(tally.counts, kept)
        kept[-1] = len(tally.values) - 1
        return replace(tally, values=tally.values.gather(kept), counts=counts, is_exact=False)

    @property
    def name(self) -> str:
        return self.values.name

    @property
    def num_rows(self) -> int:
        return int(self.counts.sum()) + self.missing


def _counts(found: pl.DataFrame) -> np.ndarray:
    return found["count"].to_numpy().astype(np.int64)
