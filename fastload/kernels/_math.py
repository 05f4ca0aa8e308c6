"""The arithmetic of every kernel, for one value, one pixel or one row: the CPU and the CUDA kernels call these very functions.

They are written for both compilers: no arrays are made, no exceptions raised, and float32 stays float32 as long as no literal is
mixed in (numba's CUDA types ``x * 0.5`` as float64), so that constants come as arguments of the right type.
"""

from __future__ import annotations

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFT_27, SHIFT_30, SHIFT_31, SHIFT_32, SHIFT_40 = (np.uint64(n) for n in (27, 30, 31, 32, 40))


@njit(inline="always")
def scale(x, center, factor, low, high, missing):
    """(x - center) * factor within low .. high; `missing` where x is NaN."""
    y = (x - center) * factor
    y = min(max(y, low), high)
    return y if x == x else missing


@njit(inline="always")
def lerp(a, b, t):
    """From a (t = 0) to b (t = 1): what SMOTE makes of a row and its neighbour."""
    return a + t * (b - a)


@njit(inline="always")
def mix64(z):
    """SplitMix64's output function (Steele, Lea, Flood, OOPSLA 2014)."""
    z = (z ^ (z >> SHIFT_30)) * MIX_1
    z = (z ^ (z >> SHIFT_27)) * MIX_2
    return z ^ (z >> SHIFT_31)


@njit(inline="always")
def draw(key, slot):
    """Word number `slot` of the 64-bit words that belong to a row with this key."""
    return mix64(key + (slot + np.uint64(1)) * GOLDEN)


@njit(inline="always")
def below(word, count):
    """An integer in 0 .. count - 1 of a drawn word (Lemire's multiplication, without the rejection: biased by count / 2^32)."""
    return np.int64(((word >> SHIFT_32) * np.uint64(count)) >> SHIFT_32)


@njit(inline="always")
def unit(word, ulp):
    """A float32 in [0, 1) of a drawn word: a multiple of `ulp`, which is float32(2^-24)."""
    return np.float32(np.int32(word >> SHIFT_40)) * ulp


@njit(inline="always")
def happens(word, threshold):
    """True with the probability threshold / 2^32; `threshold` in 0 .. 2^32."""
    return (word >> SHIFT_32) < np.uint64(threshold)


@njit(inline="always")
def to_bfloat16(bits):
    """The bits of a float32 -> those of the nearest bfloat16, ties to even."""
    if (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
        return np.uint16((bits >> np.uint32(16)) | np.uint32(0x40))  # NaN, and not rounded to infinity
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16((bits + np.uint32(0x7FFF) + even) >> np.uint32(16))


@njit(inline="always")
def to_float16(bits):
    """The bits of a float32 -> those of the nearest float16, ties to even; from 65,520 on infinity."""
    sign = (bits >> np.uint32(16)) & np.uint32(0x8000)
    size = bits & np.uint32(0x7FFFFFFF)
    if size > np.uint32(0x7F800000):
        return np.uint16(sign | np.uint32(0x7E00))
    if size >= np.uint32(0x477FF000):
        return np.uint16(sign | np.uint32(0x7C00))
    if size < np.uint32(0x38800000):  # below 2^-14: a multiple of 2^-24
        if size <= np.uint32(0x33000000):
            return np.uint16(sign)
        shift = np.uint32(126) - (size >> np.uint32(23))
        mantissa = (size & np.uint32(0x7FFFFF)) | np.uint32(0x800000)
        half = mantissa >> shift
        tie = np.uint32(1) << (shift - np.uint32(1))
        even = half & np.uint32(1)
        return np.uint16(sign | ((mantissa + tie - np.uint32(1) + even) >> shift))
    near = size - np.uint32(0x38000000)
    near += np.uint32(0xFFF) + ((near >> np.uint32(13)) & np.uint32(1))
    return np.uint16(sign | (near >> np.uint32(13)))
