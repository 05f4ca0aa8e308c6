"""What a kernel is asked to do, as plain data: the same for the CPU, for CUDA and for the reference in NumPy.

A `Call` takes rows of one field and makes other rows of them. Its arguments are an array of integers and one of numbers; each
kernel says what they mean:

=============  ==================================  ======================================================================
kernel         rows in -> rows out                 integers; numbers
=============  ==================================  ======================================================================
scale          numbers -> numbers, as many         lanes, row elements, is nullable, refuses NaN; [5, lanes]: center, factor,
                                                   low, high, missing; element e of all rows belongs to lane e mod lanes
widen          float16, bfloat16 -> float32        row elements; the float32 of each of the 65,536 bit patterns
to_float16,    bits of float32 -> nearest          row elements; none
to_bfloat16
missing        numbers -> bool                     row elements, is nullable; none. True where NaN or in a row that is null
ordinal        numbers -> int64                    row elements, is nullable, unknown, missing (codes, or REFUSED),
                                                   categories; these, ascending, in the type of the rows
one_hot        int64 -> numbers, `categories` as   categories; the two values of a place: off, on. Codes outside leave all off
               many
copy_pixels    uint8 [H, W, C] -> [C, h, w]        see `PIXELS`; the value of each of the 256 levels per channel, then, per
                                                   channel, of what lies outside and of what is erased
warp_pixels    uint8 [H, W, C] -> float32          see `PIXELS`; per channel mean, factor, outside (a level) and erased, then
               [C, h, w]                           low and high of the angle in radians and of the scale, and 2^-24
=============  ==================================  ======================================================================
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# The integers of the kernels for pixels, by name; after them pairs (height, width) of what may be erased.
PIXELS = (
    "height", "width", "channels", "out_height", "out_width", "flip_x", "flip_y", "first_y", "shifts_y", "first_x",
    "shifts_x", "draws", "erase", "erase_shapes",
)  # fmt: skip
# flip_x, flip_y and erase are probabilities in units of 2^-32. The window of an image that is taken begins at first_y + a draw
# below shifts_y, and then is flipped. draws: 0 where there are no keys.

# Which of a row's random words is drawn for what.
(
    SLOT_FLIP_X, SLOT_FLIP_Y, SLOT_Y, SLOT_X, SLOT_ANGLE, SLOT_SCALE, SLOT_ERASE, SLOT_SHAPE, SLOT_TOP, SLOT_LEFT,
) = range(10)  # fmt: skip

REFUSED = -2  # a code: the row is refused


class Call(NamedTuple):
    """One kernel at work on the rows of a field."""

    kernel: str
    in_dtype: str  # names of dtypes as NumPy holds them; bits of float32 are uint32, halves uint16
    out_dtype: str
    integers: tuple[int, ...]
    numbers: np.ndarray
    out_shape: tuple[int, ...]  # of a row
    refusal: str = ""  # what is wrong with a row that it refuses
    draws: bool = False  # it needs keys

    @property
    def out_row_bytes(self) -> int:
        return int(np.prod(self.out_shape, dtype=np.int64)) * np.dtype(self.out_dtype).itemsize


def runs_on_devices(call: Call) -> bool:
    """Whether there is a kernel for CUDA, too. It can neither see which rows are null nor refuse one."""
    if call.kernel == "scale":
        _, _, reads_null, refuses = call.integers
        return not (reads_null or refuses)
    return call.kernel in ("to_float16", "to_bfloat16", "copy_pixels", "warp_pixels")
