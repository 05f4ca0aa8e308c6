"""What every chart draws with: one palette for light and dark, text of estimated width, ticks, elements.

Sizes are SVG user units (pixels at 100 %). Text cannot be measured without a browser, so its width is
estimated from the widest of the common sans-serif fonts (DejaVu Sans) and layouts leave that much room.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

from fastload.errors import ArgumentError

WIDTH = 720
FONT = "system-ui,-apple-system,'Segoe UI','Helvetica Neue',Arial,sans-serif"
TEXT, SMALL, TITLE = 13, 12, 16  # font sizes

# ink, soft text, grid, background, then the series: teal, amber, indigo, rose, slate. Slate is the quiet one.
LIGHT = {
    "ink": "#1d2730",
    "soft": "#5b6873",
    "grid": "#e2e7ea",
    "paper": "#ffffff",
    "s0": "#0d7d74",
    "s1": "#c26a0a",
    "s2": "#4a55c7",
    "s3": "#b83a72",
    "s4": "#9aa7b2",
}
DARK = {
    "ink": "#e8edf0",
    "soft": "#a3b0ba",
    "grid": "#313b43",
    "paper": "#171d21",
    "s0": "#3fc4b5",
    "s1": "#f0a94e",
    "s2": "#98a3ff",
    "s3": "#f084b1",
    "s4": "#66747f",
}
SERIES = 5
QUIET = 4
DASHES = ("", "7 4", "2 3", "9 3 2 3", "1 3")

_NARROW, _WIDE = frozenset(" .,:;'!|iljtfrI()[]/-"), frozenset("mwMW@%&+=<>~—…\N{MULTIPLICATION SIGN}")


def variables(colours: dict[str, str]) -> str:
    """The palette as CSS custom properties."""
    return "".join(f"--fl-{name}:{value};" for name, value in colours.items())


STYLE = (
    f".fl-figure{{{variables(LIGHT)}font-family:{FONT};font-size:{TEXT}px}}"
    f"@media (prefers-color-scheme:dark){{.fl-figure{{{variables(DARK)}}}}}"
    ".fl-figure text{fill:var(--fl-ink)}.fl-figure .soft{fill:var(--fl-soft)}"
    f".fl-figure .small{{font-size:{SMALL}px}}.fl-figure .title{{font-size:{TITLE}px;font-weight:600}}"
    ".fl-figure .strong{font-weight:600}.fl-figure .grid{stroke:var(--fl-grid)}"
    ".fl-figure .axis{stroke:var(--fl-soft)}.fl-figure .whisker{stroke:var(--fl-ink);stroke-width:1.5}"
    ".fl-figure .on{fill:var(--fl-paper)}"
    + "".join(
        f".fl-figure .f{i}{{fill:var(--fl-s{i})}}"
        f".fl-figure .l{i}{{stroke:var(--fl-s{i});fill:none;stroke-width:2.5;stroke-linejoin:round}}"
        for i in range(SERIES)
    )
    + f".fl-figure .l{QUIET}{{stroke:var(--fl-soft)}}"  # a thin line in the quiet colour would be too faint
)


def text_width(text: str, size: float = TEXT, *, strong: bool = False) -> float:
    """Estimated width of `text` at font size `size`; on the safe side."""
    ems = 0.0
    for letter in text:
        if letter in _NARROW:
            ems += 0.40
        elif letter in _WIDE:
            ems += 1.0
        elif ord(letter) > 0x2E7F:  # CJK, emoji: full width
            ems += 1.1
        else:
            ems += 0.70 if letter.isupper() else 0.63
    return ems * size * (1.08 if strong else 1.0)


def fit(text: str, width: float, size: float = TEXT, *, strong: bool = False) -> str:
    """`text`, cut with an ellipsis where it is wider than `width`."""
    if text_width(text, size, strong=strong) <= width:
        return text
    while text and text_width(text + "…", size, strong=strong) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, width: float, size: float = TEXT, *, strong: bool = False) -> list[str]:
    """`text` in lines no wider than `width`; a single word that is wider is cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, strong=strong) <= width:
            lines[-1] = longer
        else:
            lines.append(fit(word, width, size, strong=strong))
    return lines


def ticks(low: float, high: float, wanted: int, *, whole: bool = False) -> list[float]:
    """About `wanted` round numbers (1, 2, 2.5, 5 x 10^n; integers if `whole`) that enclose low..high."""
    if not high - low > 1e-11 * max(abs(low), abs(high)):  # fewer digits than a tick is written with
        pad = abs(low) * 0.05 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def require_finite(values: Iterable[float], what: str, *, at_least: float | None = None) -> None:
    for value in values:
        if not math.isfinite(value) or (at_least is not None and value < at_least):
            limit = "finite" if at_least is None else f"finite and at least {at_least:g}"
            message = f"{what} must be {limit}, got {value!r}; leave the row out instead"
            raise ArgumentError(message)


class Drawing:
    """Elements, top to bottom. `y` is where the next part starts; a chart moves it down as it draws.

    >>> drawing = Drawing("Rows per second", "median of 3")
    >>> drawing.text(0, 60, "a < b")
    >>> drawing.render().startswith("<svg ")
    True
    """

    def __init__(self, title: str, description: str = "", width: int = WIDTH) -> None:
        if not title:
            message = "a figure needs a title: it is what a screen reader says; got an empty one"
            raise ArgumentError(message)
        self.title, self.description, self.width = title, description, width
        self._elements: list[str] = []
        self.y = 0.0
        for line in wrap(title, width, TITLE, strong=True):
            self.y += 21
            self.text(0, self.y - 4, line, "title")
        for line in wrap(description, width, TEXT):
            self.y += 18
            self.text(0, self.y - 2, line, "soft")
        self.y += 12

    def add(self, tag: str, hover: str = "", **attributes: object) -> None:
        """One element. `hover` becomes its <title>. Numbers get one decimal; `_` in names is `-`."""
        written = "".join(
            f" {name.rstrip('_').replace('_', '-')}={quoteattr(_attribute(value))}"
            for name, value in attributes.items()
            if value not in ("", None)
        )
        body = f"><title>{escape(hover)}</title></{tag}>" if hover else "/>"
        self._elements.append(f"<{tag}{written}{body}")

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        class_: str,
        *,
        round_: float = 1.5,
        hover: str = "",
    ) -> None:
        self.add("rect", hover, x=x, y=y, width=width, height=height, rx=round_, class_=class_)

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str, **attributes: object) -> None:
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, **attributes)

    def text(self, x: float, y: float, text: str, class_: str = "", anchor: str = "", hover: str = "") -> None:
        written = f' class="{class_}"' if class_ else ""
        written += f' text-anchor="{anchor}"' if anchor else ""
        inner = escape(text) + (f"<title>{escape(hover)}</title>" if hover else "")
        self._elements.append(f'<text x="{x:.1f}" y="{y:.1f}"{written}>{inner}</text>')

    def legend(self, names: Sequence[str], slots: Sequence[int], *, lines: bool) -> None:
        """Swatches and names, broken into as many lines as they need."""
        x = 0.0
        for name, slot in zip(names, slots, strict=True):
            shown = fit(name, self.width - 40)
            needed = 30 + text_width(shown) + 18
            if x and x + needed > self.width:
                x, self.y = 0.0, self.y + 21
            if lines:
                self.line(x, self.y + 7, x + 24, self.y + 7, f"l{slot}", stroke_dasharray=DASHES[slot])
            else:
                self.rect(x + 8, self.y, 14, 14, f"f{slot}", round_=3)
            self.text(x + 30, self.y + 12, shown)
            x += needed
        self.y += 30

    def render(self) -> str:
        height = math.ceil(self.y)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="fl-figure" role="img" width="100%" '
            f'style="max-width:{self.width}px" viewBox="0 0 {self.width} {height}" '
            f"aria-label={quoteattr(self.title)}>"
            f"<title>{escape(self.title)}</title><desc>{escape(self.description or self.title)}</desc>"
            f"<style>{STYLE}</style>{''.join(self._elements)}</svg>"
        )


def _attribute(value: object) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, (int, float)) else str(value)
