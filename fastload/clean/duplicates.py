"""Duplicate rows, exact or after rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastload.clean.frames import all_columns, chosen, pl
from fastload.clean.hashes import SEEDS, RowHashes, rounded
from fastload.clean.step import Apply, Step, Work
from fastload.errors import ArgumentError

KEEP = ("first", "last", "none")


class DropDuplicates(Step):
    """Drops rows that equal another one; missing values are equal to each other.

    In memory candidates are found by a 64-bit hash and compared; over files rows are told apart by 128 bits (two different
    rows of 10^9 are taken for equal with a probability of 10^-21).

    Parameters
    ----------
    keep : "first", "last" or "none"
        Which of equal rows stays.
    columns : sequence of str, optional
        Those that are compared; all by default.
    decimals : int or {column: int}, optional
        Near duplicates: rows that are equal once floats are rounded to so many decimals (negative: tens, hundreds; in a dict,
        whole numbers, too) and text is compared without case and outer white space. The rows that stay are not changed.

    Examples
    --------
    >>> DropDuplicates(decimals=1).transform({"a": [0.11, 0.12, 0.5]})["a"].tolist()
    [0.11, 0.5]
    """

    surveys = True

    def __init__(
        self,
        *,
        keep: str = "first",
        columns: Sequence[str] | None = None,
        decimals: int | Mapping[str, int] | None = None,
    ) -> None:
        if keep not in KEEP:
            raise ArgumentError(f"keep must be one of {', '.join(KEEP)}, got {keep!r}")
        self.keep, self.columns, self.decimals = keep, columns, decimals

    def compared(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What is compared of each row."""
        names = chosen(frame, self.columns, all_columns, "values")
        if isinstance(self.decimals, Mapping):
            chosen(frame, self.decimals, lambda f: [n for n, d in f.schema.items() if d.is_numeric()], "numbers")
        part = frame.select(names)
        floats = [name for name, dtype in part.schema.items() if dtype.is_float()]
        part = part.with_columns(pl.col(floats).fill_nan(None)) if floats else part
        return part if self.decimals is None else rounded(part, self.decimals)

    def _check(self, frame: pl.DataFrame) -> None:
        self.compared(frame.head(0))

    def _survey(self, memory_bytes: int | None) -> _Survey:
        return _Survey(self, memory_bytes)

    def begin(self, survey: _Survey | None) -> Apply:
        if survey is None:
            return lambda frame, work: self._drop(frame, kept_rows(self.compared(frame), self.keep), work)
        done = 0

        def apply(frame: pl.DataFrame, work: Work) -> pl.DataFrame:
            nonlocal done
            kept = survey.kept[done : done + len(frame)]
            done += len(frame)
            return self._drop(frame, pl.Series(kept), work)

        return apply

    def _drop(self, frame: pl.DataFrame, kept: pl.Series, work: Work) -> pl.DataFrame:
        return work.keep(frame, kept, "equal to another row" + ("" if self.decimals is None else ", rounded"))


class _Survey:
    """Hashes of all rows, then which of them stay: bool [rows]."""

    def __init__(self, step: DropDuplicates, memory_bytes: int | None) -> None:
        self._step, self._hashes = step, RowHashes(memory_bytes)

    def add(self, frame: pl.DataFrame) -> None:
        self._hashes.add(self._step.compared(frame))

    def finish(self) -> None:
        self.kept = self._hashes.kept(self._step.keep)
        del self._hashes


def kept_rows(frame: pl.DataFrame, keep: str) -> pl.Series:
    """Which rows of a frame in memory stay, bool [rows].

    Most rows have no equal, and a hash of theirs that nothing else has proves it; only the others are compared.
    """
    hashes = frame.hash_rows(SEEDS[0])
    alike = hashes.is_duplicated()
    if not alike.any():
        return pl.repeat(True, len(frame), eager=True)
    places = alike.arg_true().to_numpy()
    candidates = frame.filter(alike)
    candidates = candidates.rename({name: str(i) for i, name in enumerate(frame.columns)})
    stay = candidates.with_row_index("place").unique(subset=candidates.columns, keep=keep)["place"].to_numpy()
    kept = np.ones(len(frame), bool)
    kept[places] = False
    kept[places[stay]] = True
    return pl.Series(kept)
