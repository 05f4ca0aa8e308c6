"""Rows drawn by weight, at any position of an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastload.errors import ArgumentError, EmptyError, ShapeError
from fastload.plan.random import uniforms
from fastload.plan.row_plan import Recent, checked_count, checked_positions, fingerprint_of


class WeightedSampler:
    """Rows drawn with probability proportional to their weights: a RowPlan.

    The draws have the distribution of ``torch.utils.data.WeightedRandomSampler``, but are other draws. What differs:

    - The row at a position is a function of (seed, epoch, position): one can begin anywhere, and ranks take their share of
      one sequence, where torch draws a whole epoch beforehand and every rank would draw its own.
    - Any number of rows: ``torch.multinomial`` refuses more than 2^24.
    - Weights are kept in float64; a row of weight 0 is never drawn.

    With replacement, each position draws on its own: its uniform number is searched for in the cumulative sums, from where a
    guide table says (Chen and Asau, 1974; Devroye, "Non-Uniform Random Variate Generation", 1986, III.2.4), in a few steps
    on average and O(log rows) at most. Without, row i has the key ``-log(u) / weight``, and rows come by rising keys, which
    has the distribution of drawing one after the other from those left (Efraimidis and Spirakis, "Weighted random sampling
    with a reservoir", Inf. Process. Lett. 97, 2006). That takes a sort at the first question about an epoch, 160 ns a row;
    the latest two are kept. The logarithms are NumPy's: processors for which it rounds them differently may swap two rows
    once in about 10^8.

    Memory: with replacement 12 to 16 bytes a row; without, 16, and 8 for each of `num_samples` and epoch kept.

    Parameters
    ----------
    weights : array of one number for each row of the data set
        Finite, at least 0, not all 0; they need not sum to 1.
    num_samples : int, optional
        Rows of an epoch. By default as many as there are weights; without replacement, weights above 0.
    replacement : bool
        Whether a row may come again in the same epoch.

    Raises
    ------
    ArgumentError
        A weight that has no meaning, or more samples than rows to draw without replacement.
    ShapeError, EmptyError
        The weights are not one for each row; there are none.

    Examples
    --------
    >>> sampler = WeightedSampler([0.0, 3.0, 1.0], num_samples=8)
    >>> sampler.rows(seed=7, epoch=0, positions=np.arange(8)).tolist()
    [1, 1, 1, 2, 1, 1, 1, 2]
    >>> sampler.rows(seed=7, epoch=0, positions=np.array([7, 2])).tolist()
    [2, 1]
    """

    def __init__(self, weights: Any, num_samples: int | None = None, replacement: bool = True) -> None:
        weights = _checked_weights(weights)
        candidates = np.flatnonzero(weights)
        self.replacement = bool(replacement)
        if num_samples is None:
            num_samples = len(weights if self.replacement else candidates)
        self.num_samples = checked_count("num_samples", num_samples)
        self.dataset_rows = len(weights)
        self.fingerprint = fingerprint_of(weights, self.num_samples, self.replacement)
        if self.replacement:
            # Divided by the largest, the total is a normal number in 1 .. rows, and `uniform * total` is below it.
            self._sums = np.cumsum(weights / weights.max())
            # The guide: for each of the cells of [0, 1), the first row whose sum is above the point at which it begins.
            # A power of two of them, so that their bounds are exact.
            self._cells = 1 << (len(weights).bit_length() - 1)
            bounds = np.arange(self._cells + 1) / self._cells * self._sums[-1]
            self._guide = np.searchsorted(self._sums, bounds, side="right")
            return
        if self.num_samples > len(candidates):
            raise ArgumentError(
                f"{self.num_samples} samples were asked for without replacement; {len(candidates)} rows have a weight above 0"
            )
        self._candidates, self._log_weights = candidates, np.log(weights[candidates])
        self._drawn = Recent(capacity=2)

    @classmethod
    def balanced(cls, labels: Any, num_samples: int | None = None) -> WeightedSampler:
        """Every class equally likely, and every row of a class: weights 1 / (rows of its class), with replacement.

        Parameters
        ----------
        labels : array of one label for each row
            Anything that ``np.unique`` sorts: integers, floats, text.
        num_samples : int, optional
            Rows of an epoch; by default as many as there are labels.

        Examples
        --------
        >>> sampler = WeightedSampler.balanced(["cat"] * 98 + ["dog"] * 2, num_samples=10_000)
        >>> dogs = sampler.rows(seed=0, epoch=0, positions=np.arange(10_000)) >= 98
        >>> round(float(dogs.mean()), 1)
        0.5
        """
        labels = np.asarray(labels)
        if labels.ndim != 1:
            raise ShapeError(f"labels must be one for each row, got an array of shape {labels.shape}")
        _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return cls(1 / counts[classes], num_samples)

    def num_rows(self, seed: int, epoch: int) -> int:
        return self.num_samples

    def rows(self, seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
        positions = checked_positions(positions, self.num_samples)
        if not self.replacement:
            return self._drawn.get((seed, epoch), lambda: self._draw(seed, epoch))[positions]
        uniform = uniforms(seed, epoch, positions)
        points, cells = uniform * self._sums[-1], (uniform * self._cells).astype(np.int64)
        # The first row whose sum is above the point: a row of weight 0 adds nothing and is passed over.
        low, high = self._guide[cells], self._guide[cells + 1]
        while np.any(low < high):  # a binary search between the two, for all points at once
            middle = (low + high) // 2
            above = self._sums[middle] > points
            low, high = np.where(above, low, middle + 1), np.where(above, middle, high)
        return low

    def _draw(self, seed: int, epoch: int) -> np.ndarray:
        uniform = uniforms(seed, epoch, self._candidates)
        with np.errstate(divide="ignore"):  # a uniform of 0 has the key 0, the log of which is -inf
            keys = np.log(-np.log1p(-uniform)) - self._log_weights  # logs: a quotient could overflow
        first = np.arange(len(keys))
        if self.num_samples < len(keys):
            first = np.argpartition(keys, self.num_samples)[: self.num_samples]
        return self._candidates[first[np.argsort(keys[first], kind="stable")]]


def _checked_weights(weights: Any) -> np.ndarray:
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1:
        raise ShapeError(f"weights must be one number for each row, got an array of shape {weights.shape}")
    if not len(weights):
        raise EmptyError("weights are given for no rows; at least one row is needed")
    meaningless = ~((weights >= 0) & (weights < np.inf))  # NaN compares false
    if meaningless.any():
        row = int(np.argmax(meaningless))
        raise ArgumentError(f"weights must be finite and at least 0; row {row} has {weights[row]}")
    if not weights.any():
        raise ArgumentError(f"at least one weight must be above 0; all {len(weights)} are 0")
    return weights
