"""Pictures come back from the page as they were given."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from fastload.errors import ArgumentError, DtypeError, ShapeError
from fastload.report.html import Figure, Section, page
from fastload.report.images import GAP, image_grid, png


def sheet_of(svg: str) -> np.ndarray:
    """uint8 [height, width, 4]"""
    image = pytest.importorskip("PIL.Image")
    (data,) = re.findall(r'href="data:image/png;base64,([^"]+)"', svg)
    return np.asarray(image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_pictures_lie_row_by_row_with_nothing_between(channels):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, *channels), np.uint8)
    sheet = sheet_of(image_grid(images, title="t", per_row=2))
    assert sheet.shape == (3 * 3 + 2 * GAP, 2 * 4 + GAP, 4)
    for i, picture in enumerate(images):
        y, x = i // 2 * (3 + GAP), i % 2 * (4 + GAP)
        cell = sheet[y : y + 3, x : x + 4]
        np.testing.assert_array_equal(cell[..., :3], picture if channels else picture[..., None].repeat(3, 2))
        assert (cell[..., 3] == 255).all()
    assert (sheet[3 : 3 + GAP, :, 3] == 0).all()
    assert (sheet[-3:, 4:, 3] == 0).all()  # there is no sixth


def test_floats_are_shares_of_white():
    sheet = sheet_of(image_grid(np.array([[[0.0, 0.5, 1.0, 2.0, -1.0, np.nan]]], np.float32), title="t"))
    assert sheet[0, :, 0].tolist() == [0, 128, 255, 255, 0, 0]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3), (2, 3, 4)])
def test_png_is_one(shape):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(png(pixels)))), pixels)


def test_figure_goes_on_a_page_and_is_valid():
    svg = image_grid(
        np.zeros((6, 2, 2)), title="a < b", per_row=3, row_labels=["zero", "a label that is far too long " * 9]
    )
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "a < b"
    image = next(root.iter("{http://www.w3.org/2000/svg}image"))
    width, height = map(float, root.get("viewBox").split()[2:])
    assert float(image.get("x")) + float(image.get("width")) <= width + 0.1
    assert float(image.get("y")) + float(image.get("height")) <= height
    assert svg in page("t", "l", [Section("s", [Figure(svg)])])


def test_wrong_pictures():
    good = np.zeros((4, 2, 2), np.uint8)
    for wrong, error, words in (
        ({"images": np.zeros((2, 2), np.uint8)}, ShapeError, r"got \[2, 2\]"),
        ({"images": np.zeros((4, 3, 2, 2), np.uint8)}, ShapeError, r"got \[4, 3, 2, 2\]"),
        ({"images": np.zeros((0, 2, 2), np.uint8)}, ShapeError, r"got \[0, 2, 2\]"),
        ({"images": np.zeros((4, 2, 2), np.int64)}, DtypeError, "int64"),
        ({"images": np.zeros((1, 3000, 3000), np.uint8)}, ArgumentError, "9,000,000"),
        ({"images": good, "per_row": 0}, ArgumentError, "per_row"),
        ({"images": good, "per_row": 2, "row_labels": ["one"]}, ShapeError, "got 1 for 2"),
    ):
        with pytest.raises(error, match=words):
            image_grid(**wrong, title="t")
