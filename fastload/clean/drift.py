"""How far apart two tables are, column by column: numbers by PSI and Kolmogorov-Smirnov, categories by PSI and chi-square."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PSI_BINS, PLOT_BINS = 10, 25
DRIFTED_PSI, DRIFTED_P = 0.2, 0.001


@dataclass(frozen=True)
class Drift:
    """One column of two tables.

    psi : population stability index; below 0.1 little, above 0.2 much has changed, by custom.
    distance : largest difference of the distribution functions (numbers), or total variation (categories); 0 to 1.
    p_value : of the Kolmogorov-Smirnov or chi-square test that both are drawn from one distribution.
    missing : shares of missing values in both.
    shapes : (x, shares of the rows here, shares there), for a plot of numbers.
    """

    name: str
    kind: str
    psi: float
    distance: float
    p_value: float
    missing: tuple[float, float]
    shapes: tuple[list[float], list[float], list[float]] | None = None

    @property
    def has_drifted(self) -> bool:
        """Much has changed, and chance does not explain it."""
        return self.psi > DRIFTED_PSI and self.p_value < DRIFTED_P


def psi(expected: Sequence[float], found: Sequence[float]) -> float:
    """Population stability index of two lists of counts over the same bins; an empty bin counts as half a row.

    >>> round(psi([50, 50], [90, 10]), 3)
    0.879
    """
    e, f = (np.maximum(np.asarray(counts, float), 0.5) for counts in (expected, found))
    e, f = e / e.sum(), f / f.sum()
    return float(((f - e) * np.log(f / e)).sum())


def number_drift(name: str, reference: np.ndarray, other: np.ndarray, missing: tuple[float, float]) -> Drift | None:
    """Of two columns of numbers, float64 [rows] each, without NaN; None where one has no values.

    The bins are the tenths of the reference. The statistic is that of Smirnov, with the limit of its distribution (Kolmogorov).

    >>> x = np.arange(1000.0)
    >>> number_drift("x", x, x + 500, (0.0, 0.0)).distance
    0.5
    """
    if not len(reference) or not len(other):
        return None
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(edges) + 1) for x in (reference, other)]
    a, b = np.sort(reference), np.sort(other)
    points = np.concatenate([a, b])
    apart = np.searchsorted(a, points, "right") / len(a) - np.searchsorted(b, points, "right") / len(b)
    distance = float(np.abs(apart).max())
    scale = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    return Drift(name, "number", psi(*counts), distance, kolmogorov(scale * distance), missing, _shapes(a, b))


def _shapes(a: np.ndarray, b: np.ndarray) -> tuple[list[float], list[float], list[float]] | None:
    """Over the middle 98 % of both."""
    low, high = (float(f(np.quantile(x, q) for x in (a, b))) for f, q in ((min, 0.01), (max, 0.99)))
    if not low < high < math.inf:
        return None
    edges = np.linspace(low, high, PLOT_BINS + 1)
    shares = [(np.histogram(x, edges)[0] / len(x)).tolist() for x in (a, b)]
    return ((edges[1:] + edges[:-1]) / 2).tolist(), *shares


def kolmogorov(x: float) -> float:
    """Probability that Kolmogorov's statistic exceeds `x`.

    >>> round(kolmogorov(1.36), 3)
    0.049
    """
    if x < 0.2:
        return 1.0
    return float(min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101)))))


def category_drift(
    name: str, reference: Mapping[object, int], other: Mapping[object, int], missing: tuple[float, float]
) -> Drift | None:
    """Of two columns of categories, {value: rows} each; None where one has no values.

    >>> category_drift("a", {"x": 50, "y": 50}, {"x": 90, "y": 10}, (0.0, 0.0)).distance
    0.4
    """
    if not reference or not other:
        return None
    from scipy.stats import chi2

    values = [*reference, *(value for value in other if value not in reference)]
    counts = np.array([[table.get(value, 0) for value in values] for table in (reference, other)], float)
    shares = counts / counts.sum(axis=1, keepdims=True)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    p_value = float(chi2.sf(statistic, max(1, len(values) - 1)))
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    return Drift(name, "category", psi(*counts), distance, p_value, missing)
