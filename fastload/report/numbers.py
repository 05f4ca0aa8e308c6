"""Numbers as people read them: three significant digits and a unit. Nothing here rounds a figure away."""

from __future__ import annotations

import math

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def significant(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits and no exponent.

    >>> significant(0.012345), significant(3.0), significant(31.62), significant(123456)
    ('0.0123', '3', '31.6', '123456')
    """
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def number_text(value: float) -> str:
    """A count or a rate.

    >>> number_text(1_240_000), number_text(999.6), number_text(12), number_text(float("nan"))
    ('1.24 M', '1 k', '12', 'nan')
    """
    for size, prefix in _PREFIXES:
        if math.inf > abs(value) >= size * 0.9995:  # 999.6 would read "1000" and 999,600 "1000 k"
            return f"{significant(value / size)} {prefix}"
    return significant(value)


def bytes_text(size_bytes: float) -> str:
    """A size in bytes, decimal units.

    >>> bytes_text(528_000_000), bytes_text(12)
    ('528 MB', '12 B')
    """
    return f"{number_text(size_bytes)}B" if abs(size_bytes) >= 999.5 else f"{significant(size_bytes)} B"


def seconds_text(seconds: float) -> str:
    """A duration in seconds.

    >>> seconds_text(0.00034), seconds_text(0.34), seconds_text(12.34), seconds_text(125)
    ('0.34 ms', '340 ms', '12.3 s', '2 min 5 s')
    """
    if not math.isfinite(seconds):
        return str(seconds)
    if abs(seconds) < 0.9995:
        return f"{significant(seconds * 1e3)} ms"
    if abs(seconds) < 99.95:
        return f"{significant(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def percent_text(share: float) -> str:
    """A share between 0 and 1 as per cent.

    >>> percent_text(0.0634), percent_text(1.0), percent_text(0.0004)
    ('6.3 %', '100 %', '0.04 %')
    """
    return f"{significant(share * 100, 2 if abs(share) < 0.0995 else 3)} %"


def ratio_text(ratio: float) -> str:
    """How many times as much.

    >>> ratio_text(3.392), ratio_text(61.4), ratio_text(0.8951)
    ('3.4\N{MULTIPLICATION SIGN}', '61\N{MULTIPLICATION SIGN}', '0.9\N{MULTIPLICATION SIGN}')
    """
    return f"{significant(ratio, 2)}\N{MULTIPLICATION SIGN}"
