"""One self-contained page from plain data: no link, no script, no font from elsewhere.

    page("Title", "Lead sentence.", [
        Section("Heading", [Tiles([Tile("12x", "faster")]), Figure(svg, "what one sees"), Note("how")]),
    ])

Every text is escaped here; callers pass plain `str`. The one exception is a Figure's SVG, which must come
from `figures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from fastload.errors import ArgumentError, ShapeError
from fastload.report._svg import DARK, FONT, LIGHT, variables


class Tile(NamedTuple):
    """A key figure: the value large, what it is below, and one quiet line more."""

    value: str
    label: str
    note: str = ""


class Tiles(NamedTuple):
    tiles: Sequence[Tile]


class Figure(NamedTuple):
    """`svg` is the text of a figure from fastload.report.figures."""

    svg: str
    caption: str = ""


class Table(NamedTuple):
    """Cells are shown with str(). `strong` is the number of the row to set off; no headings, no head.

    The first column is aligned left, the others right, unless `align` ("lrl") says else.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    align: str = ""
    strong: int | None = None


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Note(NamedTuple):
    """What a reader must know to judge the figures, set apart."""

    text: str


class Code(NamedTuple):
    """Text in which spaces and line breaks count."""

    text: str


class Section(NamedTuple):
    heading: str
    parts: Sequence[Tiles | Figure | Table | Text | Note | Code]


def page(title: str, lead: str, sections: Sequence[Section], *, footer: str = "") -> str:
    """The page as one HTML text.

    Raises
    ------
    ShapeError
        A table whose rows and header differ in length.
    ArgumentError
        A Figure that does not hold SVG.

    >>> text = page("A & B", "Lead.", [Section("Figures", [Tiles([Tile("12x", "faster")])])])
    >>> "A &amp; B" in text and "<script" not in text
    True
    """
    body = "".join(
        f"<section><h2>{escape(s.heading)}</h2>{''.join(_part(part) for part in s.parts)}</section>" for s in sections
    )
    end = f"<footer>{escape(footer)}</footer>" if footer else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><style>{_STYLE}</style></head>\n'
        f'<body><main><header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>'
        f"{body}{end}</main></body></html>\n"
    )


def _part(part: Tiles | Figure | Table | Text | Note | Code) -> str:
    match part:
        case Tiles(tiles):
            return f'<div class="tiles">{"".join(map(_tile, tiles))}</div>'
        case Figure(svg, caption):
            if not (svg.startswith("<svg ") and svg.endswith("</svg>")):
                message = f"a Figure must hold the SVG of fastload.report.figures, got {svg[:40]!r}"
                raise ArgumentError(message)
            words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
            return f"<figure>{svg}{words}</figure>"
        case Table():
            return _table(part)
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Note(text):
            return f'<p class="note">{escape(text)}</p>'
        case Code(text):
            return f"<pre>{escape(text)}</pre>"
    message = f"a section is made of Tiles, Figure, Table, Text, Note and Code, got {type(part).__name__}"
    raise ArgumentError(message)


def _tile(tile: Tile) -> str:
    note = f'<span class="quiet">{escape(tile.note)}</span>' if tile.note else ""
    words = f"<strong>{escape(tile.value)}</strong><span>{escape(tile.label)}</span>{note}"
    return f'<div class="tile">{words}</div>'


def _table(table: Table) -> str:
    columns = len(table.header)
    align = table.align or "l" + "r" * (columns - 1)
    if len(align) != columns or any(len(row) != columns for row in table.rows):
        lengths = sorted({len(row) for row in table.rows})
        message = f"a table of {columns} columns must have rows and align of that length, got {lengths}, {align!r}"
        raise ShapeError(message)

    def cells(values: Sequence[object], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=r' if side == 'r' else ''}>{escape(str(value))}</{tag}>"
            for value, side in zip(values, align, strict=True)
        )

    rows = "".join(
        f"<tr{' class=strong' if number == table.strong else ''}>{cells(row, 'td')}</tr>"
        for number, row in enumerate(table.rows)
    )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    head = f"<thead><tr>{cells(table.header, 'th')}</tr></thead>" if any(table.header) else ""
    return f'<div class="scroll"><table>{caption}{head}<tbody>{rows}</tbody></table></div>'


_STYLE = f"""
:root{{{variables(LIGHT)}--fl-back:#f5f7f8;color-scheme:light dark}}
@media (prefers-color-scheme:dark){{:root{{{variables(DARK)}--fl-back:#101518}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--fl-back);color:var(--fl-ink);font:16px/1.55 {FONT}}}
main{{max-width:840px;margin:0 auto;padding:48px 24px 40px}}
h1{{font-size:2rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 12px;text-wrap:balance}}
.lead{{font-size:1.15rem;color:var(--fl-soft);margin:0;max-width:44em}}
section{{background:var(--fl-paper);border:1px solid var(--fl-grid);border-radius:12px;
margin-top:24px;padding:24px 28px 28px}}
h2{{font-size:1.2rem;letter-spacing:-.005em;margin:0 0 12px}}
p{{margin:12px 0;max-width:46em}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(155px,1fr));gap:14px;margin:16px 0}}
.tile{{border:1px solid var(--fl-grid);border-radius:10px;padding:14px 16px;
display:flex;flex-direction:column;gap:2px}}
.tile strong{{font-size:1.7rem;line-height:1.2;letter-spacing:-.02em;color:var(--fl-s0);
font-variant-numeric:tabular-nums}}
.tile span{{font-size:.9rem}}
.tile .quiet,figcaption,caption,footer,.note{{color:var(--fl-soft);font-size:.88rem}}
figure{{margin:28px 0 8px}}
figure svg{{display:block;height:auto}}
figcaption{{margin-top:8px;max-width:50em}}
.scroll{{overflow-x:auto;margin:16px 0}}
table{{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}}
caption{{text-align:left;padding-bottom:8px}}
th{{text-align:left;font-weight:600;color:var(--fl-soft);font-size:.84rem;vertical-align:bottom}}
th,td{{padding:7px 16px 7px 0;border-bottom:1px solid var(--fl-grid)}}
th:last-child,td:last-child{{padding-right:0}}
.r{{text-align:right}}
td.r{{white-space:nowrap}}
tr.strong td{{font-weight:600;color:var(--fl-s0)}}
tbody tr:last-child td{{border-bottom:0}}
.note{{border-left:3px solid var(--fl-s0);padding-left:14px}}
pre{{overflow-x:auto;background:var(--fl-back);border:1px solid var(--fl-grid);
border-radius:8px;padding:12px 14px;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}}
footer{{margin-top:24px}}
@media (max-width:560px){{main{{padding:28px 14px}}section{{padding:18px 16px}}h1{{font-size:1.6rem}}
figure{{overflow-x:auto}}figure svg{{min-width:520px}}}}
@media print{{body{{background:#fff}}section{{break-inside:avoid}}}}
"""
