"""Encoding: categories as whole numbers, or as a place of their own each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastload.errors import ArgumentError, NotFittedError
from fastload.kernels.calls import REFUSED
from fastload.schema import DTYPES
from fastload.transform.base import Transform
from fastload.transform.chain import Chain
from fastload.transform.learn import array_of


class _Encoder(Transform):
    _LEARNED = ("categories_",)

    def fit(self, X: Any, y: Any = None) -> Any:
        values = array_of(X)
        present = values[values == values]
        self.categories_ = np.unique(present)
        return self

    def _categories(self, chain: Chain) -> np.ndarray:
        if self.categories is not None:
            return np.unique(np.asarray(list(self.categories)))
        if hasattr(self, "categories_"):
            return self.categories_
        if chain.category_names is not None:
            return np.arange(len(chain.category_names))
        counts = getattr(chain.statistics, "class_counts", None)
        if counts:
            return np.array(sorted(counts))
        raise NotFittedError(
            f"{type(self).__name__} does not know the categories of field {chain.name!r}, and no statistics count them: "
            "fit it first, or give categories"
        )


class Ordinal(_Encoder):
    """Values -> their places among the sorted categories, int64.

    Parameters
    ----------
    categories : sequence of numbers, optional
        Otherwise those that `fit` saw, or that the data set's statistics count.
    handle_unknown : "error" or "use_encoded_value"
        As in OrdinalEncoder: a value that is no category, or `unknown_value` for it.
    unknown_value : int
    encoded_missing_value : int, optional
        For NaN and null rows; without it they are unknown.

    Raises
    ------
    RefusedValueError
        A value is no category.

    Examples
    --------
    >>> Ordinal().fit_transform(np.array([30, 10, 20, 10])).tolist()
    [2, 0, 1, 0]
    """

    def __init__(
        self,
        categories: Sequence[Any] | None = None,
        *,
        handle_unknown: str = "error",
        unknown_value: int | None = None,
        encoded_missing_value: int | None = None,
    ) -> None:
        if handle_unknown not in ("error", "use_encoded_value"):
            raise ArgumentError(f"handle_unknown must be 'error' or 'use_encoded_value', got {handle_unknown!r}")
        if (handle_unknown == "use_encoded_value") != (unknown_value is not None):
            raise ArgumentError("unknown_value is for handle_unknown='use_encoded_value', which needs it")
        if REFUSED in (unknown_value, encoded_missing_value):
            raise ArgumentError(f"{REFUSED} is the code of what is refused: take another, -1 say")
        self.categories, self.handle_unknown = categories, handle_unknown
        self.unknown_value, self.encoded_missing_value = unknown_value, encoded_missing_value

    def extend(self, chain: Chain) -> None:
        categories = self._categories(chain)
        unknown = REFUSED if self.handle_unknown == "error" else self.unknown_value
        missing = unknown if self.encoded_missing_value is None else self.encoded_missing_value
        chain.encode(categories, unknown, missing, _refusal(categories))


class OneHot(_Encoder):
    """Values -> a vector with a place for each category, 1 in that of the value's and 0 in the others.

    For fields with one value a row. Fields of categories need no fit: the places are those of their dictionary.

    Parameters
    ----------
    categories : sequence of numbers, optional
        As for `Ordinal`.
    handle_unknown : "error" or "ignore"
        As in OneHotEncoder: a value that is no category, or zeros for it. NaN and null rows are such values.
    dtype : str
        Of the vector.

    Examples
    --------
    >>> OneHot().fit_transform(np.array([30, 10, 30])).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self, categories: Sequence[Any] | None = None, *, handle_unknown: str = "error", dtype: str = "float32"
    ) -> None:
        if handle_unknown not in ("error", "ignore"):
            raise ArgumentError(f"handle_unknown must be 'error' or 'ignore', got {handle_unknown!r}")
        if dtype not in DTYPES or dtype in ("string", "bytes"):
            raise ArgumentError(f"dtype must be the name of a number's dtype, got {dtype!r}")
        self.categories, self.handle_unknown, self.dtype = categories, handle_unknown, dtype

    def extend(self, chain: Chain) -> None:
        categories = self._categories(chain)
        unknown = REFUSED if self.handle_unknown == "error" else -1
        chain.encode(categories, unknown, unknown, _refusal(categories))
        chain.one_hot(len(categories), self.dtype)


def _refusal(categories: np.ndarray) -> str:
    shown = ", ".join(map(str, categories[:5].tolist())) + (", ..." if len(categories) > 5 else "")
    return (
        f"a value is none of the {len(categories)} categories ({shown}); handle_unknown says what else may become of it"
    )
