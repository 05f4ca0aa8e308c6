"""bfloat16, which NumPy does not have: the upper half of a float32."""

from __future__ import annotations

import numpy as np


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """float32 array -> uint16 of the same shape: the nearest bfloat16's bits, ties to even. NaN stays NaN.

    >>> [hex(bits) for bits in bfloat16_bits(np.array([1, -2, np.nan], np.float32)).tolist()]
    ['0x3f80', '0xc000', '0x7fc0']
    """
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)
