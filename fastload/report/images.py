"""Small pictures side by side, as inline SVG that holds them all."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from fastload.errors import ArgumentError, DtypeError, ShapeError
from fastload.report._svg import SMALL, Drawing, fit, text_width

GAP = 2  # pixels of the pictures between them
MAX_PIXELS = 1 << 22  # of all pictures: a page is to stay small
PNG = b"\x89PNG\r\n\x1a\n"


def image_grid(
    images: np.ndarray,
    *,
    title: str,
    description: str = "",
    per_row: int = 10,
    row_labels: Sequence[str] = (),
) -> str:
    """Pictures in rows, each pixel a square: samples of a generator, say, a row for each class.

    Parameters
    ----------
    images : [images, height, width] grey, or [images, height, width, 3] colours
        uint8, or floats from 0 to 1; what is beyond these is cut off.
    per_row : int
    row_labels : what to write before the rows; as many as there are rows, or none

    Raises
    ------
    ShapeError, DtypeError, ArgumentError
        There is no picture, there are too many, or they are of another shape or type.

    Examples
    --------
    >>> svg = image_grid(np.zeros((4, 2, 3), np.uint8), title="Nothing yet", per_row=2)
    >>> svg.startswith("<svg ") and "data:image/png;base64," in svg
    True
    """
    sheet = _sheet(_as_bytes(images), per_row)
    rows = -(-len(images) // per_row)
    if row_labels and len(row_labels) != rows:
        raise ShapeError(f"there must be as many row labels as rows, got {len(row_labels)} for {rows}")
    drawing = Drawing(title, description)
    left = min(max(map(_label_width, row_labels), default=0.0), drawing.width / 4)
    width = drawing.width - left
    height = width * sheet.shape[0] / sheet.shape[1]
    if height > width:  # few columns: no picture is larger than need be
        width, height = width * width / height, width
    row_height = height / rows
    for row, label in enumerate(row_labels):
        drawing.text(0, drawing.y + row_height * (row + 0.5) + 4, fit(label, left - 8, SMALL), "small soft")
    drawing.add(
        "image",
        x=left,
        y=drawing.y,
        width=width,
        height=height,
        style="image-rendering:pixelated",
        href=f"data:image/png;base64,{base64.b64encode(png(sheet)).decode()}",
    )
    drawing.y += height + 4
    return drawing.render()


def png(pixels: np.ndarray) -> bytes:
    """uint8 [height, width], grey, or [height, width, 3 or 4], colours with or without opacity, as a PNG file.

    >>> png(np.zeros((2, 3), np.uint8))[:8] == PNG
    True
    """
    height, width = pixels.shape[:2]
    colours = {(): 0, (3,): 2, (4,): 6}[pixels.shape[2:]]
    lines = np.zeros((height, 1 + pixels[0].size), np.uint8)  # each begins with the number of its filter, 0
    lines[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    return PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _as_bytes(images: np.ndarray) -> np.ndarray:
    """uint8 [images, height, width, 3]"""
    images = np.asarray(images)
    if images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)) or not images.size:
        raise ShapeError(
            f"images must be [images, height, width] or [images, height, width, 3], got {list(images.shape)}"
        )
    pixels = int(np.prod(images.shape[:3]))
    if pixels > MAX_PIXELS:
        raise ArgumentError(
            f"images must have {MAX_PIXELS:,} pixels at most, all together, to be shown; got {pixels:,}"
        )
    if images.dtype.kind == "f":
        images = np.rint(np.nan_to_num(images).clip(0, 1) * 255).astype(np.uint8)
    if images.dtype != np.uint8:
        raise DtypeError(f"images must be uint8, or floats from 0 to 1, got {images.dtype}")
    return np.repeat(images[..., None], 3, axis=3) if images.ndim == 3 else images


def _sheet(images: np.ndarray, per_row: int) -> np.ndarray:
    """uint8 [height, width, 4]: all pictures, with nothing between them."""
    if isinstance(per_row, bool) or not isinstance(per_row, int) or per_row < 1:
        raise ArgumentError(f"per_row must be a positive integer, got {per_row!r}")
    count, height, width, _ = images.shape
    per_row = min(per_row, count)
    rows = -(-count // per_row)
    sheet = np.zeros((rows, height + GAP, per_row, width + GAP, 4), np.uint8)
    cells = np.moveaxis(sheet, 2, 1).reshape(rows * per_row, height + GAP, width + GAP, 4)
    cells[:count, :height, :width, :3], cells[:count, :height, :width, 3] = images, 255
    together = np.moveaxis(cells.reshape(rows, per_row, height + GAP, width + GAP, 4), 1, 2)
    return together.reshape(rows * (height + GAP), per_row * (width + GAP), 4)[:-GAP, :-GAP]


def _label_width(label: str) -> float:
    return text_width(label, SMALL) + 12
