"""Augmenting images: what is asked of a field is one pass over its pixels, and drawn anew for each row and epoch.

Images are uint8 [height, width, channels], and come out with the channels first, uint8 or, normalised or rotated, as floats. Draws
are a function of (seed, epoch, row): the same for any number of threads and ranks, and for any batch size. Whatever the order in
which they are named, images are rotated and shifted first, then flipped, then erased; each kind may be named once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastload.errors import ArgumentError
from fastload.transform.base import Transform
from fastload.transform.chain import Chain

ERASE_STEPS = 16  # areas, and ratios, of rectangles to draw from


class _Random(Transform):
    draws = True


class RandomFlip(_Random):
    """Mirrors an image left to right with the probability `horizontal`, and upside down with the probability `vertical`.

    Examples
    --------
    >>> RandomFlip(horizontal=1.0).transform(np.arange(4, dtype="uint8").reshape(1, 1, 4, 1)).ravel().tolist()
    [3, 2, 1, 0]
    """

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0) -> None:
        _check_probability("horizontal", horizontal)
        _check_probability("vertical", vertical)
        self.horizontal, self.vertical = horizontal, vertical

    def extend(self, chain: Chain) -> None:
        pixels = chain.pixels("flipping")
        pixels.flip_x, pixels.flip_y = self.horizontal, self.vertical


class RandomTranslate(_Random):
    """Moves an image by up to `pixels` pixels in each direction.

    Parameters
    ----------
    pixels : int or (int, int)
        Up and down, left and right.
    fill : number or sequence of numbers (one per channel)
        What comes in at the edges, in the units that values have at this place among the transforms.

    Examples
    --------
    >>> moved = RandomTranslate((0, 1)).transform(np.full((5, 1, 3, 1), 7, "uint8"))
    >>> moved.shape, sorted(set(moved.ravel().tolist()))
    ((5, 1, 1, 3), [0, 7])
    """

    def __init__(self, pixels: Any, *, fill: Any = 0) -> None:
        _pair("pixels", pixels)
        self.pixels, self.fill = pixels, fill

    def extend(self, chain: Chain) -> None:
        pixels = chain.pixels("shifting")
        up, left = _pair("pixels", self.pixels)
        pixels.first_y, pixels.shifts_y = -up, 2 * up + 1
        pixels.first_x, pixels.shifts_x = -left, 2 * left + 1
        chain.fill_outside(self.fill)


class RandomCrop(_Random):
    """Takes a window of an image from anywhere, after `padding` pixels were added on each side.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    padding : int
    fill : number or sequence of numbers (one per channel)
        What is added, in the units that values have at this place among the transforms.

    Examples
    --------
    >>> RandomCrop(32, padding=4).transform(np.zeros((2, 32, 32, 3), "uint8")).shape
    (2, 3, 32, 32)
    """

    def __init__(self, size: Any, *, padding: int = 0, fill: Any = 0) -> None:
        if min(_pair("size", size)) < 1:
            raise ArgumentError(f"size must be positive, got {size!r}")
        if not isinstance(padding, int) or padding < 0:
            raise ArgumentError(f"padding must be a number of pixels, got {padding!r}")
        self.size, self.padding, self.fill = size, padding, fill

    def extend(self, chain: Chain) -> None:
        pixels = chain.pixels("shifting")
        height, width = _pair("size", self.size)
        room_y, room_x = (n + 2 * self.padding - m for n, m in zip(chain.shape[:2], (height, width)))
        if min(room_y, room_x) < 0:
            raise ArgumentError(
                f"field {chain.name!r}: a window of {height} x {width} is larger than images of {chain.shape[0]} x "
                f"{chain.shape[1]} with {self.padding} pixels around them"
            )
        pixels.out_height, pixels.out_width = height, width
        pixels.first_y, pixels.shifts_y = -self.padding, room_y + 1
        pixels.first_x, pixels.shifts_x = -self.padding, room_x + 1
        chain.fill_outside(self.fill)


class RandomRotate(_Random):
    """Turns an image about its middle, and scales it, in one interpolation (bilinear).

    Parameters
    ----------
    degrees : number or (number, number)
        The angle is drawn from -degrees to degrees, or between the two; positive turns counter-clockwise.
    scale : (number, number)
        Between these: 2 makes things twice as large.
    fill : number or sequence of numbers (one per channel)
        What comes in from outside, in the units that values have at this place among the transforms.

    Examples
    --------
    >>> turned = RandomRotate((90, 90)).transform(np.array([[[[1], [2]], [[3], [4]]]], "uint8"))
    >>> turned.round(3).tolist()
    [[[[2.0, 4.0], [1.0, 3.0]]]]
    """

    def __init__(self, degrees: Any, *, scale: tuple[float, float] = (1.0, 1.0), fill: Any = 0) -> None:
        low, high = self._between(degrees)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ArgumentError(f"degrees must be a number or two that ascend, got {degrees!r}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] < math.inf:
            raise ArgumentError(f"scale must be two positive numbers that ascend, got {scale!r}")
        self.degrees, self.scale, self.fill = degrees, tuple(scale), fill

    @staticmethod
    def _between(degrees: Any) -> tuple[float, float]:
        return (-float(degrees), float(degrees)) if np.ndim(degrees) == 0 else tuple(map(float, degrees))

    def extend(self, chain: Chain) -> None:
        chain.warp()
        pixels = chain.pixels("rotating")
        low, high = self._between(self.degrees)
        pixels.angle, pixels.size = (math.radians(-low), math.radians(-high)), self.scale  # rows count downwards
        chain.fill_outside(self.fill)


class RandomErase(_Random):
    """Overwrites a rectangle with the probability `p` (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020).

    Parameters
    ----------
    p : float
    scale : (float, float)
        Between these shares of the area is erased, in sixteen steps.
    ratio : (float, float)
        Height to width of the rectangle, sixteen steps of equal ratios.
    value : number or sequence of numbers (one per channel)
        What is written, in the units that values have at this place among the transforms.

    Examples
    --------
    >>> erased = RandomErase(1.0, scale=(0.25, 0.25), ratio=(1, 1)).transform(np.ones((1, 8, 8, 1), "uint8"))
    >>> int(erased.sum())
    48
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: Any = 0,
    ) -> None:
        _check_probability("p", p)
        if len(scale) != 2 or not 0 <= scale[0] <= scale[1] <= 1:
            raise ArgumentError(f"scale must be two shares of the area that ascend, got {scale!r}")
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1] < math.inf:
            raise ArgumentError(f"ratio must be two positive numbers that ascend, got {ratio!r}")
        self.p, self.scale, self.ratio, self.value = p, tuple(scale), tuple(ratio), value

    def extend(self, chain: Chain) -> None:
        pixels = chain.pixels("erasing")
        pixels.erase, pixels.erase_shapes = self.p, self._shapes
        pixels.erased = np.broadcast_to(chain.column_values(self.value, "the value"), chain.shape[-1]).astype(
            np.float32
        )

    def _shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The rectangles to draw from, in a window of this size."""
        return [
            (min(height, round(math.sqrt(area * ratio))), min(width, round(math.sqrt(area / ratio))))
            for area in np.linspace(*self.scale, ERASE_STEPS) * height * width
            for ratio in np.geomspace(*self.ratio, ERASE_STEPS)
        ]


def _check_probability(name: str, p: Any) -> None:
    if not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise ArgumentError(f"{name} must be a probability, got {p!r}")


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(pair) != 2 or not all(isinstance(n, (int, np.integer)) and n >= 0 for n in pair):
        raise ArgumentError(f"{name} must be a number of pixels, or two, got {value!r}")
    return int(pair[0]), int(pair[1])
