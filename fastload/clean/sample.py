"""What is kept of a table that is looked at in batches: all rows while they fit, then a fair choice; and its moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastload.clean.frames import pl
from fastload.ingest.arrow import pa

QUARTILES = (0.25, 0.5, 0.75)


class Sample:
    """All rows while they fit into `memory_bytes`, then a random choice of them, each row as likely as any other.

    Every row has a random key; when the rows outgrow the memory, those of the smaller half of the keys stay, and from then on
    only rows below that bound come in. So half the memory at least is in use at the end.

    memory_bytes : None for no limit.
    """

    def __init__(self, memory_bytes: int | None, seed: int = 0) -> None:
        self.num_rows = 0  # seen so far
        self._memory_bytes, self._random = memory_bytes, np.random.default_rng(seed)
        self._parts: list[pl.DataFrame] = []
        self._keys: list[np.ndarray] = []
        self._size_bytes, self._bound = 0, 1.0

    def add(self, frame: pl.DataFrame) -> None:
        self.num_rows += len(frame)
        if self._memory_bytes is not None:
            keys = self._random.random(len(frame))
            if self._bound < 1.0:
                frame, keys = frame.filter(pl.Series(keys < self._bound)), keys[keys < self._bound]
            self._keys.append(keys)
        self._parts.append(frame)
        self._size_bytes += frame.estimated_size()
        if self._memory_bytes is not None and self._size_bytes > self._memory_bytes:
            self._halve()

    def _halve(self) -> None:
        keys = np.concatenate(self._keys)
        if len(keys) < 2:
            return
        self._bound = float(np.partition(keys, len(keys) // 2)[len(keys) // 2])
        parts = zip(self._parts, self._keys, strict=True)
        self._parts = [part.filter(pl.Series(k < self._bound)) for part, k in parts]
        self._keys = [k[k < self._bound] for k in self._keys]
        self._size_bytes = sum(part.estimated_size() for part in self._parts)

    @property
    def is_whole(self) -> bool:
        """Every row seen is in it."""
        return self._bound == 1.0

    @property
    def frame(self) -> pl.DataFrame:
        """The rows, in their order."""
        if len(self._parts) > 1:
            self._parts, self._keys = (
                [pl.concat(self._parts, rechunk=False)],
                [np.concatenate(self._keys)] * bool(self._keys),
            )
        return self._parts[0] if self._parts else pl.DataFrame()

    def column(self, name: str) -> pl.Series:
        """One column of the rows; the others are not joined for it."""
        parts = [part[name] for part in self._parts]
        return parts[0] if len(parts) == 1 else pl.concat(parts)

    def note(self) -> str:
        """What to tell of figures taken from it; nothing where it is whole."""
        return "" if self.is_whole else f"from a random sample of {len(self.frame):,} of {self.num_rows:,} rows"


def quantiles(column: pl.Series, levels: Sequence[float]) -> list[float] | None:
    """Exact quantiles of a column's numbers, linear between two of them (as NumPy's); None where it has none.

    pyarrow selects; over whole numbers of a small range it counts. That is many times faster than sorting.

    >>> quantiles(pl.Series([3, 1, None, 2]), QUARTILES)
    [1.5, 2.0, 2.5]
    """
    values = column.to_arrow(compat_level=pl.CompatLevel.oldest())
    found = pa.compute.quantile(values, q=list(levels)).to_pylist()
    return None if found[0] is None else found


class Moments:
    """Count, mean and variance (divisor n) of the finite values of each column, merged batch by batch.

    After Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.count, self.mean, self.m2 = (dict.fromkeys(columns, 0.0) for _ in range(3))

    def add(self, frame: pl.DataFrame) -> None:
        found = frame.select(
            expression
            for i, name in enumerate(self.count)
            for expression in (pl.col(name).mean().alias(f"{i} mean"), pl.col(name).var(ddof=0).alias(f"{i} variance"))
        )  # at once: on all cores
        for i, name in enumerate(self.count):
            column, mean, variance = frame[name], found[f"{i} mean"][0], found[f"{i} variance"][0]
            if mean is not None and not np.isfinite(mean):
                column = column.filter(column.is_finite())
                mean, variance = column.mean(), column.var(ddof=0)
            count = len(column) - column.null_count()
            if not count:
                continue
            total = self.count[name] + count
            apart = mean - self.mean[name]
            self.m2[name] += (variance or 0.0) * count + apart * apart * self.count[name] * count / total
            self.mean[name] += apart * count / total
            self.count[name] = total

    def std(self, name: str) -> float:
        return float(np.sqrt(self.m2[name] / self.count[name])) if self.count[name] else 0.0
