"""Charts as inline SVG: plain data in, one `str` out. No dependency, no script; for light and dark.

Each figure stands alone (its style is inside), so the same text serves a page, a README and a notebook.
All carry role="img", a <title> and a <desc>; every bar and point says its value on hover. Colour is never
the only sign: bars and segments are labelled, lines are dashed differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from fastload.errors import ArgumentError, ShapeError
from fastload.report._svg import (
    DASHES,
    QUIET,
    SERIES,
    SMALL,
    Drawing,
    fit,
    require_finite,
    text_width,
    ticks,
    wrap,
)
from fastload.report.numbers import number_text, significant

_ROW, _BAR = 36, 20  # height of a row of a bar chart, and of the bar in it
_LABEL_SHARE = 0.36  # the widest the labels' column may be, of the whole


class Bar(NamedTuple):
    """One bar. `low` and `high` draw a whisker (minimum and maximum, say); `strong` marks the subject."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    strong: bool = False


class Stack(NamedTuple):
    """One stacked bar: `values[i]` belongs to part i."""

    label: str
    values: Sequence[float]


class Series(NamedTuple):
    """One line through (x[i], y[i]), with a band from `low` to `high`. A y that is not finite breaks it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def bar_chart(
    bars: Sequence[Bar],
    *,
    title: str,
    description: str = "",
    value_text: Callable[[float], str] = number_text,
) -> str:
    """Horizontal bars from zero, with value labels and spread whiskers.

    Parameters
    ----------
    bars : values of at least 0, in the order to be shown
    value_text : value -> what is written behind the bar

    Raises
    ------
    ArgumentError
        No bars, or a value that is negative or not finite.

    >>> bars = [Bar("fastload", 12e6, 11e6, 13e6, strong=True), Bar("torch", 0.3e6)]
    >>> svg = bar_chart(bars, title="Rows per second")
    >>> "12 M" in svg and "300 k" in svg
    True
    """
    _require_some(bars, "bars")
    require_finite((v for b in bars for v in (b.value, b.low, b.high) if v is not None), "a bar's value", at_least=0)
    drawing = Drawing(title, description)
    texts = [value_text(b.value) for b in bars]
    left = _labels_width([b.label for b in bars], drawing.width)
    room = drawing.width - left - max(text_width(t, strong=True) for t in texts) - 10
    top = max(max(b.value, b.high or 0) for b in bars) or 1.0
    any_strong = any(b.strong for b in bars)
    start = drawing.y
    for bar, text in zip(bars, texts, strict=True):
        middle = drawing.y + _ROW / 2
        length = room * bar.value / top
        _label(drawing, bar.label, left, middle, strong=bar.strong)
        class_ = "f0" if bar.strong or not any_strong else f"f{QUIET}"
        drawing.rect(left, middle - _BAR / 2, max(length, 1), _BAR, class_, hover=_bar_hover(bar, value_text))
        end = length
        if bar.low is not None and bar.high is not None:
            low, high = (left + room * v / top for v in (bar.low, bar.high))
            end = max(length, high - left)
            whisker = f"M{low:.1f} {middle - 4:.1f}v8m0 -4H{high:.1f}m0 -4v8"
            drawing.add("path", d=whisker, class_="whisker", fill="none")
        drawing.text(left + end + 8, middle + 5, text, "strong" if bar.strong else "")
        drawing.y += _ROW
    drawing.line(left, start, left, drawing.y, "axis")
    drawing.y += 6
    return drawing.render()


def stacked_bar_chart(
    stacks: Sequence[Stack],
    parts: Sequence[str],
    *,
    title: str,
    description: str = "",
    value_text: Callable[[float], str] = number_text,
) -> str:
    """Horizontal bars made of parts (waiting for data, computing), with a legend and the total behind each.

    Parameters
    ----------
    stacks : each with len(parts) values of at least 0
    parts : 1 to 5 names, in drawing order

    Raises
    ------
    ArgumentError, ShapeError

    >>> stacks = [Stack("fastload", [0.1, 2.0])]
    >>> svg = stacked_bar_chart(stacks, ["waiting", "computing"], title="Where the time goes")
    >>> "waiting" in svg and "2.1" in svg
    True
    """
    _require_some(stacks, "stacks")
    _require_parts(parts)
    for stack in stacks:
        if len(stack.values) != len(parts):
            message = f"stack {stack.label!r} must hold one value per part ({len(parts)}), got {len(stack.values)}"
            raise ShapeError(message)
        require_finite(stack.values, f"a value of stack {stack.label!r}", at_least=0)
    drawing = Drawing(title, description)
    slots = _part_slots(len(parts))
    drawing.legend(parts, slots, lines=False)
    totals = [math.fsum(s.values) for s in stacks]
    texts = [value_text(t) for t in totals]
    left = _labels_width([s.label for s in stacks], drawing.width)
    room = drawing.width - left - max(text_width(t) for t in texts) - 10
    top = max(totals) or 1.0
    start = drawing.y
    for stack, total, text in zip(stacks, totals, texts, strict=True):
        middle = drawing.y + _ROW / 2
        _label(drawing, stack.label, left, middle)
        x = left
        for part, value, slot in zip(parts, stack.values, slots, strict=True):
            length = room * value / top
            inside = value_text(value)
            hover = f"{stack.label}, {part}: {inside}"
            drawing.rect(x, middle - _BAR / 2, length, _BAR, f"f{slot}", hover=hover)
            if len(parts) > 1 and text_width(inside, SMALL) + 10 <= length:
                on = "small" if slot == QUIET else "small on"
                drawing.text(x + length / 2, middle + 4.5, inside, on, "middle")
            x += length
        drawing.text(left + room * total / top + 8, middle + 5, text)
        drawing.y += _ROW
    drawing.line(left, start, left, drawing.y, "axis")
    drawing.y += 6
    return drawing.render()


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    description: str = "",
    x_label: str = "",
    y_label: str = "",
    y_from_zero: bool = False,
    height: int = 260,
) -> str:
    """Lines over a common x (loss over steps, AUC over epochs), with a legend and optional bands.

    Parameters
    ----------
    series : 1 to 5, each with as many x as y (and low and high where given)
    y_from_zero : let the y axis start at 0; otherwise it covers the data
    height : of the plot itself, without title, legend and axis labels

    Raises
    ------
    ArgumentError, ShapeError

    >>> svg = line_chart([Series("fastload", [1, 2, 3], [0.9, 0.5, 0.4])], title="Loss", x_label="epoch")
    >>> "epoch" in svg and "0.4" in svg
    True
    """
    _require_some(series, "series")
    _require_parts([s.name for s in series])
    for s in series:
        for name, values in (("y", s.y), ("low", s.low), ("high", s.high)):
            if values is not None and len(values) != len(s.x):
                message = f"series {s.name!r} must have as many {name} as x ({len(s.x)}), got {len(values)}"
                raise ShapeError(message)
        require_finite(s.x, f"an x of series {s.name!r}")
    xs = [x for s in series for x in s.x]
    ys = [y for s in series for values in (s.y, s.low or (), s.high or ()) for y in values if math.isfinite(y)]
    _require_some(ys, "finite values of y")
    drawing = Drawing(title, description)
    if len(series) > 1:
        drawing.legend([s.name for s in series], range(len(series)), lines=True)
    y_ticks = ticks(min(0.0, *ys) if y_from_zero else min(ys), max(ys), 5)
    whole = all(float(x).is_integer() for x in xs)
    plot = _axes(drawing, (min(xs), max(xs)), y_ticks, x_label, y_label, height, whole_x=whole)
    for slot, s in enumerate(series):
        if s.low is not None and s.high is not None:
            edge = [(x, y) for x, y in zip(s.x, s.high, strict=True) if math.isfinite(y)]
            edge += reversed([(x, y) for x, y in zip(s.x, s.low, strict=True) if math.isfinite(y)])
            points = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in edge)
            drawing.add("polygon", points=points, class_=f"f{slot}", opacity="0.16")
    for slot, s in enumerate(series):
        drawing.add("path", d=_path(plot, s), class_=f"l{slot}", stroke_dasharray=DASHES[slot])
        if len(s.x) <= 30:
            for x, y in zip(s.x, s.y, strict=True):
                if math.isfinite(y):
                    hover = f"{s.name}: {significant(y, 4)} at {significant(x)}"
                    drawing.add("circle", hover=hover, cx=plot.x(x), cy=plot.y(y), r=3.5, class_=f"f{slot}")
    return drawing.render()


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    title: str,
    description: str = "",
    x_label: str = "",
    y_label: str = "rows",
    height: int = 220,
) -> str:
    """Bars between ascending edges.

    Parameters
    ----------
    edges : bins + 1 ascending numbers
    counts : bins numbers of at least 0

    Raises
    ------
    ArgumentError, ShapeError

    >>> "rows" in histogram([0, 1, 2], [5, 3], title="Values of x")
    True
    """
    _require_some(counts, "counts")
    if len(edges) != len(counts) + 1:
        message = f"a histogram of {len(counts)} bins must have {len(counts) + 1} edges, got {len(edges)}"
        raise ShapeError(message)
    require_finite(counts, "a count", at_least=0)
    require_finite(edges, "an edge")
    if any(b <= a for a, b in pairwise(edges)):
        message = f"edges must ascend, got {list(edges)!r:.80}"
        raise ArgumentError(message)
    drawing = Drawing(title, description)
    plot = _axes(drawing, (edges[0], edges[-1]), ticks(0.0, max(counts) or 1.0, 4), x_label, y_label, height)
    for (low, high), count in zip(pairwise(edges), counts, strict=True):
        x, y = plot.x(low), plot.y(count)
        hover = f"{significant(low)} to {significant(high)}: {number_text(count)}"
        width = max(0.5, plot.x(high) - x - 1)
        drawing.rect(x + 0.5, y, width, plot.bottom - y, "f0", hover=hover)
    return drawing.render()


# --- the parts charts share ----------------------------------------------------------------------


class _Plot(NamedTuple):
    """Data -> drawing coordinates of a plot area."""

    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * (value - self.x_low) / (self.x_high - self.x_low)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * (value - self.y_low) / (self.y_high - self.y_low)


def _axes(
    drawing: Drawing,
    x_range: tuple[float, float],
    y_ticks: list[float],
    x_label: str,
    y_label: str,
    height: int,
    *,
    whole_x: bool = False,
) -> _Plot:
    """Grid, tick labels and axis labels; leaves drawing.y below them."""
    if y_label:  # above the axis, not turned: it reads without tilting the head
        drawing.text(0, drawing.y + 10, fit(y_label, drawing.width, SMALL), "small soft")
        drawing.y += 22
    y_texts = _tick_texts(y_ticks)
    left = max(text_width(t, SMALL) for t in y_texts) + 12
    x_low, x_high = x_range
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    plot = _Plot(
        left,
        drawing.width - 24,
        drawing.y + 6,
        drawing.y + 6 + height,
        x_low,
        x_high,
        y_ticks[0],
        y_ticks[-1],
    )
    for value, text in zip(y_ticks, y_texts, strict=True):
        y = plot.y(value)
        drawing.line(plot.left, y, plot.right, y, "grid")
        drawing.text(plot.left - 8, y + 4, text, "small soft", "end")
    drawing.line(plot.left, plot.bottom, plot.right, plot.bottom, "axis")
    x_ticks = [t for t in ticks(x_low, x_high, 7, whole=whole_x) if x_low - 1e-9 <= t <= x_high + 1e-9]
    for value, text in zip(x_ticks, _tick_texts(x_ticks), strict=True):
        drawing.line(plot.x(value), plot.bottom, plot.x(value), plot.bottom + 4, "axis")
        drawing.text(plot.x(value), plot.bottom + 18, text, "small soft", "middle")
    drawing.y = plot.bottom + 26
    if x_label:
        drawing.text(
            (plot.left + plot.right) / 2,
            drawing.y + 10,
            fit(x_label, plot.right - plot.left, SMALL),
            "small soft",
            "middle",
        )
        drawing.y += 20
    return plot


def _tick_texts(values: Sequence[float]) -> list[str]:
    """Tick labels with the same number of decimals; large ones with k, M, G."""
    if max((abs(v) for v in values), default=0) >= 10_000:
        return [number_text(v) for v in values]
    texts = [f"{v:.10g}" for v in values]
    decimals = max((len(t.partition(".")[2]) for t in texts if "e" not in t), default=0)
    return [t if "e" in t else f"{v:.{decimals}f}" for t, v in zip(texts, values, strict=True)]


def _path(plot: _Plot, series: Series) -> str:
    pieces, drawn = [], False
    for x, y in zip(series.x, series.y, strict=True):
        if not math.isfinite(y):
            drawn = False
            continue
        pieces.append(f"{'L' if drawn else 'M'}{plot.x(x):.1f} {plot.y(y):.1f}")
        drawn = True
    return "".join(pieces)


def _labels_width(labels: Sequence[str], width: float) -> float:
    widest = max(text_width(label, strong=True) for label in labels)
    return min(widest, width * _LABEL_SHARE) + 14


def _label(drawing: Drawing, label: str, left: float, middle: float, *, strong: bool = False) -> None:
    lines = wrap(label, left - 14, strong=True)
    if len(lines) > 2:
        lines = [lines[0], fit(" ".join(lines[1:]), left - 14, strong=True)]
    for number, line in enumerate(lines):
        y = middle + 5 + 15 * (number - (len(lines) - 1) / 2)
        drawing.text(0, y, line, "strong" if strong else "", hover="" if line == label else label)


def _bar_hover(bar: Bar, value_text: Callable[[float], str]) -> str:
    spread = ""
    if bar.low is not None and bar.high is not None:
        spread = f" ({value_text(bar.low)} to {value_text(bar.high)})"
    return f"{bar.label}: {value_text(bar.value)}{spread}"


def _part_slots(parts: int) -> list[int]:
    """Two parts are the wanted and the unwanted: amber and slate. More take the series' colours in turn."""
    return [1, QUIET] if parts == 2 else list(range(parts))


def _require_parts(names: Sequence[str]) -> None:
    if not 1 <= len(names) <= SERIES:
        message = f"a figure shows 1 to {SERIES} series at once, got {len(names)}; make two figures of it"
        raise ArgumentError(message)


def _require_some(values: Sequence[object], what: str) -> None:
    if not values:
        message = f"a figure needs at least one of its {what}, got none"
        raise ArgumentError(message)
