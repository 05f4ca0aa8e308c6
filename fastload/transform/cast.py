"""Casting: the same values in another dtype."""

from __future__ import annotations

import numpy as np

from fastload.errors import ArgumentError
from fastload.schema import DTYPES
from fastload.transform.base import Transform
from fastload.transform.chain import Chain


class Cast(Transform):
    """Values in another dtype: floats to the nearest, ties to even; whole numbers towards zero, and within what the dtype holds.

    Parameters
    ----------
    dtype : str
        bool, int8 to int64, uint8 to uint64, float16, bfloat16, float32, float64. An array of bfloat16 comes as its bits, uint16;
        a loader's batches are torch.bfloat16.

    Raises
    ------
    RefusedValueError
        A missing value cannot be cast to a whole number: Impute it before.

    Examples
    --------
    >>> Cast("int32").transform(np.array([1.9, -1.9, 1e30])).tolist()
    [1, -1, 2147483647]
    """

    def __init__(self, dtype: str) -> None:
        name = str(np.dtype(dtype)) if isinstance(dtype, (type, np.dtype)) else str(dtype).removeprefix("torch.")
        if name not in DTYPES or name in ("string", "bytes"):
            raise ArgumentError(f"dtype must be a name such as 'float16' or 'bfloat16', got {dtype!r}")
        self.dtype = name

    def extend(self, chain: Chain) -> None:
        chain.cast(self.dtype)
