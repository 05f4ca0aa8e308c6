"""Rows of each class, before and after, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastload.report.figures import Bar, bar_chart
from fastload.report.html import Figure, Section, Table, page

MOST = 12  # classes that are shown


def classes_chart(before: Mapping[Any, int], after: Mapping[Any, int]) -> str:
    """SVG: two bars a class; of many classes the largest and the smallest ones.

    >>> svg = classes_chart({"on time": 900, "late": 30}, {"on time": 900, "late": 900})
    >>> "late, after" in svg and "30" in svg
    True
    """
    names = sorted(before, key=lambda name: -before[name])
    shown = names if len(names) <= MOST else names[: MOST // 2] + names[-MOST // 2 :]
    bars = []
    for name in shown:
        bars.append(Bar(f"{name}, before", before[name]))
        bars.append(Bar(f"{name}, after", after.get(name, 0), strong=True))
    more = f"; {len(names) - len(shown)} classes between them are not shown" if len(shown) < len(names) else ""
    return bar_chart(
        bars,
        title="Rows of each class, before and after",
        description=f"{len(names)} classes, {sum(before.values()):,} rows before, {sum(after.values()):,} after{more}",
        value_text=lambda value: f"{value:,.0f}",
    )


def classes_page(title: str, lead: str, before: Mapping[Any, int], after: Mapping[Any, int]) -> str:
    """HTML: the picture and the figures."""
    rows = [(str(name), f"{before[name]:,}", f"{after.get(name, 0):,}") for name in before]
    parts = [Figure(classes_chart(before, after)), Table(("class", "rows before", "rows after"), rows)]
    return page(title, lead, [Section("Classes", parts)])
