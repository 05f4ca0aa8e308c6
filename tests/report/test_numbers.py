"""Numbers keep three digits, and never show a wrong unit at the border between two."""

from __future__ import annotations

import pytest

from fastload.report.numbers import bytes_text, number_text, percent_text, seconds_text, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (0.000123456, "0.000123"),
        (999.4, "999"),
        (999.6, "1 k"),
        (999_600, "1 M"),
        (1_240_000, "1.24 M"),
        (31_620_000_000, "31.6 G"),
        (-12_345, "-12.3 k"),
        (float("inf"), "inf"),
    ],
)
def test_number_text_at_the_borders(value: float, text: str) -> None:
    assert number_text(value) == text


def test_bytes_seconds_and_shares() -> None:
    assert [bytes_text(v) for v in (0, 12, 999.6, 528e6)] == ["0 B", "12 B", "1 kB", "528 MB"]
    assert [seconds_text(v) for v in (0.9996, 1, 59.94, 99.96, 3661)] == [
        "1 s",
        "1 s",
        "59.9 s",
        "1 min 40 s",
        "61 min 1 s",
    ]
    assert [percent_text(v) for v in (0, 0.0634, 0.5, 1.0)] == ["0 %", "6.3 %", "50 %", "100 %"]
    assert significant(float("nan")) == "nan"
