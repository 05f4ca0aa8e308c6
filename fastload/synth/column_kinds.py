"""What a kind of column is: a way between the cells of one column and their codes. What kinds share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastload.clean.frames import pl
from fastload.errors import DtypeError, NotFiniteError, StateError

BINS, MAX_CATEGORIES = 24, 256  # where nothing else is said: see `Columns.fit`
PARAMETERS = ("time_unit", "time_zone", "precision", "scale")  # of data types


class Kind(ABC):
    """The way between the cells of one column and their codes.

    dtype : of the column. sizes : of each of its code columns, mostly one; codes are 0 .. size - 1.
    """

    dtype: pl.DataType
    sizes: tuple[int, ...]

    @abstractmethod
    def encode(self, column: pl.Series, first_row: int = 0) -> Sequence[np.ndarray]:
        """Codes [rows] for each code column. first_row : its number, for messages.

        Raises
        ------
        UnknownCategoryError, NotFiniteError, DtypeError
        """

    @abstractmethod
    def decode(self, codes: np.ndarray, random: np.random.Generator) -> pl.Series:
        """Codes [rows, code columns] as cells [rows] of `dtype`."""

    @abstractmethod
    def narrowed(self, condition: Any) -> tuple[Kind, np.ndarray]:
        """The same codes, decoded to values that meet a condition; and the share of each code's values that do, float64 [*sizes].

        condition : see `fastload.synth.conditions`.

        Raises
        ------
        ArgumentError
        """

    @abstractmethod
    def held(self) -> str:
        """The values that there are, in words."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain values and arrays, for `from_state`; its `kind` says of which class."""


def is_ordered(dtype: pl.DataType) -> bool:
    """Numbers and times: what there are ranges of."""
    return dtype.is_numeric() or dtype.is_temporal()


def are_few(distinct: int, rows: int, bins: int = BINS) -> bool:
    """Whether integers of so many different values count as categories: each was seen ten times on average, or there are two."""
    return distinct <= max(2, min(bins, rows // 10))


def without_nan(column: pl.Series) -> pl.Series:
    return column.fill_nan(None) if column.dtype.is_float() else column


def as_numbers(column: pl.Series) -> np.ndarray:
    """int64, uint64 or float64 [rows] of numbers and times, none of them missing."""
    if column.dtype.is_decimal():
        return column.cast(pl.Float64).to_numpy()
    values = column.to_physical().to_numpy()
    wide = {"f": np.float64, "i": np.int64, "u": np.uint64 if values.dtype == np.uint64 else np.int64}
    return values.astype(wide[values.dtype.kind], copy=False)


def check_finite(name: str, values: np.ndarray) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.isfinite(values).argmin())
        raise NotFiniteError(
            f"column {name!r} must hold finite numbers, it holds {values[row]}: mark them as missing (MarkMissing(infinite=True))"
        )


def cast(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The same values as another data type; DtypeError where that cannot be. NaN are missing."""
    column = without_nan(column)
    if column.dtype == dtype:
        return column
    are_numbers = column.dtype.is_numeric() and dtype.is_numeric()
    if are_numbers or column.dtype == pl.Null or column.dtype.base_type() == dtype.base_type():
        result = column.cast(dtype, strict=False)
        if result.null_count() == column.null_count() and (not are_numbers or result.cast(column.dtype).equals(column)):
            return result
    raise DtypeError(f"column {column.name!r} must hold {dtype} as in training, it holds {column.dtype}")


def state_of_dtype(dtype: pl.DataType) -> dict[str, Any]:
    """Its name and parameters.

    >>> state_of_dtype(pl.Datetime("us"))
    {'name': 'Datetime', 'time_unit': 'us', 'time_zone': None}
    """
    return {"name": str(dtype.base_type())} | {key: getattr(dtype, key) for key in PARAMETERS if hasattr(dtype, key)}


def dtype_of_state(state: Mapping[str, Any]) -> pl.DataType:
    kind = getattr(pl, state["name"], None)
    if not (isinstance(kind, type) and issubclass(kind, pl.DataType)):
        raise StateError(f"a data type of polars must be named, got {state['name']!r}: the state is not one of columns")
    return kind(**{key: state[key] for key in PARAMETERS if key in state})


def state_of_values(column: pl.Series) -> dict[str, Any]:
    """Plain values, which JSON holds, and their data type.

    >>> values_of_state(state_of_values(pl.Series([True, None]))).to_list()
    [True, None]
    """
    plain = column.cast(pl.String) if column.dtype.is_decimal() else column.to_physical()
    return {"dtype": state_of_dtype(column.dtype), "values": plain.to_list()}


def values_of_state(state: Mapping[str, Any]) -> pl.Series:
    dtype = dtype_of_state(state["dtype"])
    plain = pl.Series([], dtype=dtype).to_physical().dtype if not dtype.is_decimal() else pl.String
    return pl.Series(state["values"], dtype=plain).cast(dtype)
