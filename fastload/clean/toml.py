"""Plans as TOML: written small and readable, read by the standard library (tomli before Python 3.11)."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from fastload.errors import ArgumentError, MissingExtraError

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_WIDTH = 110


def loads(text: str) -> dict[str, Any]:
    """TOML -> plain values.

    Raises
    ------
    ArgumentError
        The text is no TOML; says where.
    """
    try:
        import tomllib
    except ImportError:
        try:
            import tomli as tomllib
        except ImportError:
            raise MissingExtraError("tomli", extra="clean") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"this is not TOML: {error}") from None


def tables(name: str, items: Sequence[tuple[Mapping[str, Any], str]]) -> str:
    """An array of tables, each with a comment above it.

    >>> print(tables("step", [({"kind": "fill", "learned": {"a b": 1.5}}, "why")]))
    # why
    [[step]]
    kind = "fill"
    <BLANKLINE>
    [step.learned]
    "a b" = 1.5
    <BLANKLINE>
    """
    return "\n".join(f"{comment(why)}[[{key(name)}]]\n{_body(values, [name])}" for values, why in items)


def comment(text: str) -> str:
    """Each line as a comment; long ones are broken."""
    text = "\n".join(_CONTROL.sub(" ", line) for line in text.splitlines())  # TOML allows none of these in a comment
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, _WIDTH) or [""]]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def key(name: str) -> str:
    return name if _BARE.match(name) else _text(name)


def _body(values: Mapping[str, Any], path: list[str]) -> str:
    """Plain values first: what follows a heading belongs to it."""
    plain = {k: v for k, v in values.items() if not isinstance(v, Mapping)}
    lines = "".join(f"{key(k)} = {value_text(v)}\n" for k, v in plain.items())
    for name, inner in values.items():
        if isinstance(inner, Mapping):
            below = [*path, name]
            only_tables = inner and all(
                isinstance(v, Mapping) for v in inner.values()
            )  # these imply the one above them
            lines += _body(inner, below) if only_tables else f"\n[{'.'.join(map(key, below))}]\n{_body(inner, below)}"
    return lines


def value_text(value: Any) -> str:
    """One value; lists that are too long for a line are broken.

    >>> value_text([1, 2.5, "a", True, float("nan")])
    '[1, 2.5, "a", true, nan]'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)  # repr reads back as the same number
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (list, tuple)):
        items = [value_text(v) for v in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= _WIDTH else "[\n" + "".join(f"    {line},\n" for line in _lines(items)) + "]"
    raise ArgumentError(f"a plan holds numbers, texts, truth values and lists of them; got {type(value).__name__}")


def _lines(items: list[str]) -> list[str]:
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 <= _WIDTH:
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return lines


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
