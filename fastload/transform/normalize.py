"""Normalising: one affine map a column."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastload.errors import ArgumentError, NotFittedError
from fastload.transform.base import Transform
from fastload.transform.chain import Chain
from fastload.transform.learn import statistics_of
from fastload.transform.quantiles import quantiles_of

METHODS = ("z-score", "min-max", "robust")


class Normalize(Transform):
    """(x - center_) / scale_ for each column: each entry of a vector, each channel of an image.

    Missing values stay missing; infinite ones take no part in what is learned. Whole numbers become float32, images
    (uint8 [height, width, channels]) float32 with the channels first; floats keep their dtype.

    Parameters
    ----------
    method : "z-score", "min-max" or "robust"
        Mean and standard deviation (divisor n, as StandardScaler), minimum and range (as MinMaxScaler), or median and
        interquartile range (as RobustScaler). A column whose scale is 0 is only shifted.
    exact : bool
        For "robust" over a Dataset in files: all of the field is read into memory. Otherwise the quartiles come of a sketch, in one
        pass, with ranks that are off by 0.07 % at most (99 times in 100). Those of arrays are exact.
    mean, std : number or sequence of numbers, optional
        Instead of learning, in the field's own units: 0 to 255 for images.

    Attributes
    ----------
    center_, scale_ : float64 array [columns]
        After `fit`. Without it the loader takes them from the data set's statistics, which hold all but medians.

    Raises
    ------
    NotFittedError
        Neither `fit` nor statistics say what mean and deviation are.

    Examples
    --------
    >>> Normalize().fit_transform(np.array([[1.0, 10.0], [3.0, np.nan]], np.float32)).tolist()
    [[-1.0, 0.0], [1.0, nan]]
    """

    _LEARNED = ("center_", "scale_")

    def __init__(self, method: str = "z-score", *, exact: bool = False, mean: Any = None, std: Any = None) -> None:
        if method not in METHODS:
            raise ArgumentError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if (mean is None) != (std is None):
            raise ArgumentError("mean and std come together, or not at all")
        if std is not None and not (np.asarray(std, np.float64) > 0).all():
            raise ArgumentError(f"std must be positive, got {std!r}")
        self.method, self.exact, self.mean, self.std = method, exact, mean, std

    def fit(self, X: Any, y: Any = None) -> Normalize:
        if self.method == "robust":
            low, median, high = quantiles_of(X, (0.25, 0.5, 0.75), self.exact)
            self.center_, self.scale_ = median, _positive(high - low)
        else:
            self.center_, self.scale_ = self._of(statistics_of(X))
        return self

    def _of(self, statistics: Any) -> tuple[np.ndarray, np.ndarray]:
        if self.method == "z-score":
            center, scale = statistics.mean, statistics.std
        else:
            center, scale = statistics.min, np.subtract(statistics.max, statistics.min, dtype=np.float64)
        return np.nan_to_num(np.atleast_1d(np.asarray(center, np.float64))), _positive(np.atleast_1d(scale))

    def extend(self, chain: Chain) -> None:
        if self.mean is not None:
            center, scale = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
            if chain.dtype == "uint8" and (center <= 1).all() and (scale <= 1).all():
                raise ArgumentError(
                    f"mean and std are in the units of field {chain.name!r}, 0 to 255; got {self.mean} and {self.std}, "
                    "which look like those of values from 0 to 1: multiply them by 255"
                )
        elif hasattr(self, "center_"):
            center, scale = self.center_, self.scale_
        elif chain.statistics is None or self.method == "robust":
            what = "median and quartiles" if self.method == "robust" else "statistics"
            raise NotFittedError(
                f"Normalize({self.method!r}) does not know the {what} of field {chain.name!r}, and they are in no file: "
                "fit it first"
            )
        else:
            center, scale = self._of(chain.statistics)
        chain.affine(center, 1 / scale)


def _positive(scale: Any) -> np.ndarray:
    """A scale to divide by: 1 where there is none. RobustScaler, StandardScaler do the same."""
    scale = np.asarray(scale, np.float64)
    return np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
