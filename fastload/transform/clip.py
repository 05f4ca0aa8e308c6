"""Clipping: values beyond a bound become the bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastload.errors import ArgumentError
from fastload.transform.base import Transform
from fastload.transform.chain import Chain


class Clip(Transform):
    """Values below `low` become `low`, above `high` `high`. Missing ones stay missing.

    Parameters
    ----------
    low, high : number or sequence of numbers (one per column), optional
        None: no bound.

    Examples
    --------
    >>> Clip(0, 1).transform(np.array([-1.0, 0.5, np.nan])).tolist()
    [0.0, 0.5, nan]
    """

    def __init__(self, low: Any = None, high: Any = None) -> None:
        if low is None and high is None:
            raise ArgumentError("low or high must be given")
        low_bound, high_bound = self._bounds(low, high)
        if np.isnan(low_bound).any() or np.isnan(high_bound).any() or (low_bound > high_bound).any():
            raise ArgumentError(f"low must not be above high, got {low!r} and {high!r}")
        self.low, self.high = low, high

    @staticmethod
    def _bounds(low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(-np.inf if low is None else low), np.asarray(np.inf if high is None else high)

    def extend(self, chain: Chain) -> None:
        chain.clip(*self._bounds(self.low, self.high))
