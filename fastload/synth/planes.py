"""Images as data sets hold them <-> planes of channels, as networks take them; and labels of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastload.errors import ArgumentError, DtypeError, ShapeError

CHANNELS = (1, 3)


def plane_shape(dtype: str, shape: Sequence[int], name: str) -> tuple[int, int, int]:
    """(channels, height, width) of images that are stored so, one of them being `shape`.

    Raises
    ------
    DtypeError, ShapeError
        They are no such images; `name` is that of the field.

    Examples
    --------
    >>> plane_shape("uint8", [28, 28], "image"), plane_shape("uint8", [32, 28, 3], "image")
    ((1, 28, 28), (3, 32, 28))
    """
    if dtype != "uint8":
        raise DtypeError(f"images must be uint8, and field {name!r} is {dtype}: convert it, pixels being 0 to 255")
    sides, axis = _axes(shape)
    return sides[axis], *sides[:axis], *sides[axis + 1 :]


def to_planes(images: Tensor) -> Tensor:
    """uint8 [b, ...] as stored -> uint8 [b, channels, height, width], laid out alike whatever the images were."""
    sides, axis = _axes(images.shape[1:])
    return images.reshape(len(images), *sides).movedim(1 + axis, 1).contiguous()


def from_planes(planes: Tensor, shape: Sequence[int]) -> Tensor:
    """float [b, channels, height, width], 0 .. 255 -> uint8 [b, *shape] as stored; what is beyond is cut off."""
    pixels = planes.round().clamp(0, 255).to(torch.uint8)
    return pixels.movedim(1, 1 + _axes(shape)[1]).reshape(len(pixels), *shape)


def _axes(shape: Sequence[int]) -> tuple[list[int], int]:
    """The three sides of stored images, and which of them is that of the channels."""
    sides = [1, *shape] if len(shape) == 2 else list(shape)
    for axis in (2, 0) if len(sides) == 3 else ():
        height_and_width = sides[:axis] + sides[axis + 1 :]
        if sides[axis] in CHANNELS and all(side % 4 == 0 for side in height_and_width):
            return sides, axis
    raise ShapeError(
        f"images must be [h, w], [h, w, channels] or [channels, h, w], of 1 or 3 channels, and their sides multiples of 4; got "
        f"{list(shape)}: resize them"
    )


def checked_classes(classes: int) -> int:
    """ArgumentError for what is no number of classes."""
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 0:
        raise ArgumentError(f"classes must be an integer, not negative, got {classes!r}")
    return classes


def class_codes(labels: Tensor, classes: int) -> Tensor:
    """int64 [b]; ArgumentError for a label that is no class."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        found = f"{int(labels.min())} .. {int(labels.max())}"
        raise ArgumentError(f"labels must be classes, 0 .. {classes - 1}, and {found} were found: say classes=...")
    return labels.long()
