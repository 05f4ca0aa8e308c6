"""Conditions on the values of a column, such as ``where={"late": 1, "town": ["Oslo", "Bergen"], "distance": (500, None)}`` has.

A condition is a value, None for a missing one, a list of values of which any will do, or, for numbers and times, a pair (lowest,
highest), both included, of which either may be None for no bound.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastload.clean.frames import pl
from fastload.errors import ArgumentError


def listed(condition: Any) -> list[Any]:
    if isinstance(condition, tuple):
        raise ArgumentError(
            f"a pair is a range of numbers or times, got {condition!r}: for any of several values give a list"
        )
    return list(condition) if isinstance(condition, (list, set, frozenset, np.ndarray)) else [condition]


def ranges_of(condition: Any, dtype: pl.DataType) -> tuple[list[tuple[float, float]], bool]:
    """A condition on numbers or times as ranges (lowest, highest) of numbers, and whether a missing value meets it."""
    if isinstance(condition, tuple):
        if len(condition) != 2:
            raise ArgumentError(f"a range must be (lowest, highest), got {condition!r}")
        low, high = condition
        low = -math.inf if low is None else as_number(low, dtype)
        return [(low, math.inf if high is None else as_number(high, dtype))], False
    values = listed(condition)
    numbers = sorted({as_number(value, dtype) for value in values if value is not None})
    return [(number, number) for number in numbers], None in values


def as_number(value: Any, dtype: pl.DataType) -> float:
    """What `as_numbers` makes of a value in a column of this type."""
    value = value.item() if isinstance(value, np.generic) and dtype.is_numeric() else value
    try:
        if dtype.is_temporal():
            return pl.Series([value], strict=True).cast(dtype).to_physical().item()
        if isinstance(value, (str, bytes)) or value != value:
            raise TypeError
        number = int(value) if isinstance(value, int) else float(value)
        return float(np.float32(number)) if dtype == pl.Float32 else number
    except (TypeError, ValueError, pl.exceptions.PolarsError):
        raise ArgumentError(f"a condition on a column of {dtype} must be of such values, got {value!r}") from None
