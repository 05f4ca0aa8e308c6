"""Numbers on one scale."""

from __future__ import annotations

from collections.abc import Sequence

from fastload.clean.frames import chosen, numeric_columns, pl
from fastload.clean.sample import Moments
from fastload.clean.step import Step, Work


class Standardize(Step):
    """(x - mean) / standard deviation (divisor n), by the training data's; float64. A constant column is only shifted.

    In a loader, ``fastload.Normalize`` does this on the fly.

    Parameters
    ----------
    columns : sequence of str, optional
        Columns of numbers; all of them by default.

    Attributes
    ----------
    mean_, std_ : {column: value}, of the finite values

    Examples
    --------
    >>> Standardize().fit_transform({"a": [1.0, 3.0]})["a"].tolist()
    [-1.0, 1.0]
    """

    _LEARNED = ("mean_", "std_")

    def __init__(self, *, columns: Sequence[str] | None = None) -> None:
        self.columns = columns

    def names(self, frame: pl.DataFrame) -> list[str]:
        return chosen(frame, self.columns, numeric_columns, "numbers")

    def _check(self, frame: pl.DataFrame) -> None:
        self.names(frame)

    def _learn(self, memory_bytes: int | None) -> _LearnMoments:
        return _LearnMoments(self)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        names = chosen(frame, self.mean_, numeric_columns, "numbers")
        return frame.with_columns((pl.col(n).cast(pl.Float64) - self.mean_[n]) / (self.std_[n] or 1.0) for n in names)


class _LearnMoments:
    def __init__(self, step: Standardize) -> None:
        self._step, self._moments = step, None

    def add(self, frame: pl.DataFrame) -> None:
        self._moments = self._moments or Moments(self._step.names(frame))
        self._moments.add(frame)

    def finish(self) -> None:
        moments = self._moments or Moments(())
        self._step.mean_ = dict(moments.mean)
        self._step.std_ = {name: moments.std(name) for name in moments.mean}
