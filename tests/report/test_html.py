"""The page is one file: nothing loaded, nothing run, everything escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from fastload.errors import ArgumentError, ShapeError
from fastload.report.figures import Bar, bar_chart
from fastload.report.html import Code, Figure, Note, Section, Table, Text, Tile, Tiles, page

HOSTILE = "<script>alert('1')</script> & \"quotes\""
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Balance(HTMLParser):
    """Fails where tags do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def whole_page(text: str) -> str:
    svg = bar_chart([Bar(text, 1)], title=text)
    parts = [
        Tiles([Tile(text, text, text)]),
        Figure(svg, text),
        Table([text, "n"], [[text, 1]], text, strong=0),
        Text(text),
        Note(text),
        Code(text),
    ]
    return page(text, text, [Section(text, parts)], footer=text)


def test_is_well_formed_self_contained_and_without_script() -> None:
    text = whole_page(HOSTILE)
    balance = Balance()
    balance.feed(text)
    assert balance.open == []
    assert not balance.seen & {"script", "link", "img", "iframe", "object"}
    assert "<script" not in text
    assert not re.search(r"(src|href)\s*=", text)
    assert not re.search(r"url\(|@import", text)
    assert set(re.findall(r"https?://[^\"]+", text)) <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert text.count("prefers-color-scheme:dark") == 2


def test_plain_text_arrives_unchanged() -> None:
    text = whole_page("Grüße, 5 µs")
    assert text.count("Grüße, 5 µs") >= 12
    assert '<meta charset="utf-8">' in text


def test_bad_parts_are_named() -> None:
    with pytest.raises(ShapeError, match="a table of 2 columns"):
        page("t", "l", [Section("s", [Table(["a", "b"], [[1]])])])
    with pytest.raises(ArgumentError, match="must hold the SVG"):
        page("t", "l", [Section("s", [Figure("<img src=x>")])])
    with pytest.raises(ArgumentError, match="got int"):
        page("t", "l", [Section("s", [3])])  # type: ignore[list-item]
