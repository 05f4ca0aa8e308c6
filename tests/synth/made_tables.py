"""Tables that tests of measures share."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np


def weather(rows: int, seed: int, gaps: float = 0.0) -> dict[str, list]:
    """Columns of every kind that go together; `gaps` is the share of missing cells in two of them."""
    random = np.random.default_rng(seed)
    heat = random.normal(10, 8, rows)
    humid = 80 - 1.5 * heat + random.normal(0, 4, rows)
    rain = np.where(random.random(rows) < 0.7, 0.0, random.gamma(1.0, 3.0, rows).round(1))
    town = np.where(heat + random.normal(0, 6, rows) > 12, "south", np.where(rain > 0, "west", "north"))
    missing = random.random((2, rows)) < gaps
    return {
        "heat": np.where(missing[0], np.nan, heat).tolist(),
        "humid": humid.round(2).tolist(),
        "rain": rain.tolist(),
        "town": [None if gap else str(t) for t, gap in zip(town, missing[1])],
        "wet": ((rain > 0) ^ (random.random(rows) < 0.05)).tolist(),
        "grade": (heat > 5).astype(int).tolist(),
        "day": [date(2024, 1, 1) + timedelta(days=int(d)) for d in (heat * 4 + 60 + random.normal(0, 20, rows))],
    }
