"""Figures are valid XML that shows every value, escapes every text, and never lets two texts meet."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest

from fastload.errors import ArgumentError, ShapeError
from fastload.report._svg import text_width, ticks
from fastload.report.figures import Bar, Series, Stack, bar_chart, histogram, line_chart, stacked_bar_chart

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(\"1\")</script> & 'co'"


def every_kind(text: str) -> dict[str, str]:
    return {
        "bar": bar_chart([Bar(text, 12e6, 11e6, 13e6, strong=True), Bar("b", 3.0)], title=text, description=text),
        "stacked": stacked_bar_chart([Stack(text, [0.5, 2.0])], [text, "rest"], title=text, description=text),
        "line": line_chart(
            [Series(text, [1, 2], [0.5, 0.25], [0.4, 0.2], [0.6, 0.3]), Series("b", [1, 2], [1, 0.9])],
            title=text,
            description=text,
            x_label=text,
            y_label=text,
        ),
        "histogram": histogram([0, 1, 2], [5, 3], title=text, description=text, x_label=text, y_label=text),
    }


@pytest.mark.parametrize("kind", ["bar", "stacked", "line", "histogram"])
def test_is_valid_accessible_and_escaped(kind: str) -> None:
    svg = every_kind(HOSTILE)[kind]
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == HOSTILE
    assert root.find(f"{SVG}title").text == HOSTILE
    assert root.find(f"{SVG}desc").text == HOSTILE
    assert not list(root.iter(f"{SVG}script"))
    assert "prefers-color-scheme:dark" in svg
    assert "href" not in svg


@pytest.mark.parametrize("kind", ["bar", "stacked", "line", "histogram"])
@pytest.mark.parametrize("text", ["short", "a label as long as no sensible person would ever choose to write it " * 3])
def test_no_two_texts_meet_and_none_leaves_the_drawing(kind: str, text: str) -> None:
    root = ElementTree.fromstring(every_kind(text)[kind])
    width, height = map(float, root.get("viewBox").split()[2:])
    boxes = [text_box(element) for element in root.iter(f"{SVG}text")]
    for left, right, top, bottom in boxes:
        assert left >= -1
        assert right <= width + 1
        assert top >= -1
        assert bottom <= height + 1
    for number, (left, right, top, bottom) in enumerate(boxes):
        for other_left, other_right, other_top, other_bottom in boxes[number + 1 :]:
            apart = right <= other_left or other_right <= left or bottom <= other_top + 1 or other_bottom <= top + 1
            assert apart, (kind, boxes[number])


def text_box(element: ElementTree.Element) -> tuple[float, float, float, float]:
    """Estimated (left, right, top, bottom) of a <text>."""
    classes = (element.get("class") or "").split()
    size = 16 if "title" in classes else 12 if "small" in classes else 13
    width = text_width(element.text, size, strong="strong" in classes or "title" in classes)
    x, y = float(element.get("x")), float(element.get("y"))
    left = x - {"end": width, "middle": width / 2}.get(element.get("text-anchor"), 0)
    return left, left + width, y - size * 0.8, y + size * 0.2


def test_values_appear_and_lengths_are_proportional() -> None:
    svg = bar_chart([Bar("a", 4e6, strong=True), Bar("b", 1e6)], title="t", value_text=lambda v: f"{v / 1e6:g} M/s")
    root = ElementTree.fromstring(svg)
    assert {"4 M/s", "1 M/s"} <= {e.text for e in root.iter(f"{SVG}text")}
    long, short = (float(e.get("width")) for e in root.iter(f"{SVG}rect"))
    assert long == pytest.approx(4 * short, rel=0.01)


def test_stack_shows_parts_and_total() -> None:
    texts = [e.text for e in ElementTree.fromstring(every_kind("x")["stacked"]).iter(f"{SVG}text")]
    assert "2.5" in texts
    assert "0.5" in texts
    assert "2" in texts


def test_a_gap_breaks_the_line() -> None:
    svg = line_chart([Series("a", [0, 1, 2, 3], [1, math.nan, 2, 3])], title="t")
    path = next(ElementTree.fromstring(svg).iter(f"{SVG}path")).get("d")
    assert path.count("M") == 2


def test_epochs_are_whole_numbers_on_the_axis() -> None:
    svg = line_chart([Series("a", [1, 2, 3], [0.71, 0.72, 0.73])], title="t", x_label="epoch")
    below = [e.text for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if e.get("text-anchor") == "middle"]
    assert below == ["1", "2", "3", "epoch"]


def test_same_input_same_output() -> None:
    assert every_kind("x") == every_kind("x")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bar_chart([], title="t"), ArgumentError, "at least one of its bars"),
        (lambda: bar_chart([Bar("a", -1)], title="t"), ArgumentError, "at least 0, got -1"),
        (lambda: bar_chart([Bar("a", math.nan)], title="t"), ArgumentError, "got nan"),
        (lambda: bar_chart([Bar("a", 1)], title=""), ArgumentError, "needs a title"),
        (
            lambda: stacked_bar_chart([Stack("a", [1])], ["p", "q"], title="t"),
            ShapeError,
            r"one value per part \(2\)",
        ),
        (
            lambda: line_chart([Series("a", [1, 2], [1])], title="t"),
            ShapeError,
            r"as many y as x \(2\), got 1",
        ),
        (lambda: line_chart([Series("a", [1], [math.inf])], title="t"), ArgumentError, "finite values of y"),
        (lambda: line_chart([Series("a", [1], [1])] * 6, title="t"), ArgumentError, "1 to 5 series"),
        (lambda: histogram([0, 1], [1, 2], title="t"), ShapeError, "must have 3 edges"),
        (lambda: histogram([0, 2, 1], [1, 2], title="t"), ArgumentError, "must ascend"),
    ],
)
def test_bad_input_is_named(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.7312, 0.7329), (-5, 1e9), (3, 3), (0, 0), (1e-9, 2e-9)])
def test_ticks_enclose_the_data(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))
