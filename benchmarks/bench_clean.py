"""How fast is cleaning, beside pandas, pyarrow and polars; and does a table larger than the memory given stay within it?

Six steps on the flights table (336,776 x 19): each library on a table of its own kind, ours on a polars frame; what comes is
compared. Then five steps in one plan over a table of four times the memory limit, in files, in a process whose memory is watched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import flights, process
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_least,
    at_most,
    finish,
    low_median_high,
    note,
    run_rounds,
    shown_spread,
)

NUMBERS = (
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "air_time",
    "distance",
)
TEXTS = ("carrier", "tailnum", "origin", "dest")
QUICK_ROWS = 30_000
LIMIT_BYTES = 128 << 20
COLUMNS = 10
LARGER = "ours: larger than memory"


def run(options: Options) -> int:
    num_rows = options.num_rows or (QUICK_ROWS if options.quick else flights.FLIGHTS_ROWS)
    table = written_flights(options.data, num_rows)
    arms = {
        f"{library}: {step}": partial(process.in_own_process, timed, library=library, step=step, path=str(table))
        for step in STEPS
        for library in LIBRARIES
    }
    runs = run_rounds(arms, options.repeats)
    limit_bytes = LIMIT_BYTES // (2 if options.quick else 1)
    if options.memory:
        arms |= {
            LARGER: partial(
                process.in_own_process,
                cleaned_within,
                path=str(written_large(options.data, limit_bytes)),
                limit_bytes=limit_bytes,
            )
        }
        larger = run_rounds({LARGER: arms[LARGER]}, 1)  # of its memory one round tells enough
        runs.records += larger.records
        runs.failures |= larger.failures
    _compare(runs)
    summary = [
        {
            "arm": arm,
            **low_median_high(runs.values(arm, "seconds"), "seconds"),
            **low_median_high(runs.values(arm, "growth_mb"), "growth_mb"),
        }
        for arm in arms
    ]
    screen = [
        {
            "what": s["arm"],
            "ms": shown_spread(s, "seconds", 1e3, 1),
            "memory MB": shown_spread(s, "growth_mb", digits=0),
        }
        for s in summary
    ]
    plot(runs, options.out / "clean.svg")
    return finish("clean", options, runs, summary, screen, claims(runs, limit_bytes))


def claims(runs: Runs, limit_bytes: int) -> list[Claim]:
    found = [at_least(f"{step}: best of the others / ours", best_ratio(runs, step), 1 / 1.5) for step in STEPS]
    grown = runs.values(LARGER, "growth_mb")
    what = f"a table of 4 x {limit_bytes / 1e6:.0f} MB: largest growth of the process / limit"
    return [*found, at_most(what, max(grown) * 1e6 / limit_bytes if grown else None, 1.0)]


def best_ratio(runs: Runs, step: str) -> float | None:
    """Time of the fastest other library over ours; the median of rounds."""
    ratios = [runs.ratio(f"{library}: {step}", f"ours: {step}", "seconds") for library in LIBRARIES[1:]]
    return min((r for r in ratios if r is not None), default=None)


def plot(runs: Runs, path: Path) -> None:
    from fastload.report.figures import Bar, bar_chart

    bars = []
    for step in STEPS:
        for library in LIBRARIES:
            seconds = [s * 1e3 for s in runs.values(f"{library}: {step}", "seconds")]
            if seconds:
                middle = float(np.median(seconds))
                bars.append(Bar(f"{step}, {library}", middle, min(seconds), max(seconds), strong=library == "ours"))
    if bars:
        path.parent.mkdir(parents=True, exist_ok=True)
        description = "Flights, 336,776 x 19; median of the rounds, whiskers from the fastest to the slowest."
        path.write_text(
            bar_chart(bars, title="Milliseconds a step", description=description, value_text=lambda v: f"{v:.1f} ms")
            + "\n"
        )


# --- six steps -----------------------------------------------------------------------------------


def written_flights(data: Path, num_rows: int) -> Path:
    """The flights as an Arrow file, gaps as nulls: every library reads that in no time."""
    import pyarrow as pa
    import pyarrow.csv

    csv, _ = flights.flights_csv(data, num_rows)
    path = data / f"{csv.stem}.arrow"
    if not path.exists():
        note(f"writing {path}")
        options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, null_values=["NA", ""], timestamp_parsers=[])
        table = pyarrow.csv.read_csv(csv, convert_options=options).combine_chunks()
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return path


def timed(*, library: str, step: str, path: str) -> dict[str, Any]:
    """Seconds of the best of a few repeats, after one that warms up; and what marks the result."""
    import pyarrow as pa

    with pa.OSFile(path) as file:
        table = pa.ipc.open_file(file).read_all()
    call = STEPS[step][LIBRARIES.index(library)](table)
    taken_s = []
    for _ in range(6):
        started = time.perf_counter()
        result = call()
        taken_s.append(time.perf_counter() - started)
    return {"seconds": min(taken_s[1:]), "marks": marks(result)}


def marks(result: Any) -> dict[str, list[float]]:
    """{column: [rows, missing, sum, sum of squares]}; of texts the sums are of their hashes. In any order of the rows."""
    import polars as pl

    frame = result if isinstance(result, pl.DataFrame) else pl.DataFrame(result)
    found = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype in (pl.Categorical, pl.Enum):
            column = column.cast(pl.String)
        if not column.dtype.is_numeric():
            column = (column.cast(pl.String).hash() % 1_000_003).zip_with(
                column.is_not_null(), pl.Series([None], dtype=pl.UInt64)
            )
        values = column.cast(pl.Float64).fill_nan(None)
        values = values.zip_with(values != -1, pl.Series([None], dtype=pl.Float64)) if name in TEXTS else values
        found[name] = [len(values), values.null_count(), values.sum(), (values * values).sum()]
    return found


def _compare(runs: Runs) -> None:
    """Marks the runs whose result is not ours."""
    for step in STEPS:
        ours = next((r for r in runs.records if r["arm"] == f"ours: {step}"), None)
        for record in runs.records:
            if ours is None or record["arm"].partition(": ")[2] != step:
                continue
            same = record["marks"].keys() == ours["marks"].keys() and all(
                np.allclose(record["marks"][name], ours["marks"][name], rtol=1e-9, atol=1e-6) for name in ours["marks"]
            )
            record["problems"] = [] if same else ["not the result of the others"]
    for record in runs.records:
        record.pop("marks", None)


def of_ours(make: Callable[[Any], Any]) -> Callable[[Any], Callable[[], Any]]:
    def prepare(table: Any) -> Callable[[], Any]:
        import polars as pl

        import fastload.clean as clean

        frame = pl.DataFrame(pl.from_arrow(table))
        return lambda: make(clean).fit_transform(frame)

    return prepare


def of_polars(change: Callable[[Any, Any], Any]) -> Callable[[Any], Callable[[], Any]]:
    def prepare(table: Any) -> Callable[[], Any]:
        import polars as pl

        return partial(change, pl, pl.DataFrame(pl.from_arrow(table)))

    return prepare


def of_pandas(change: Callable[[Any], Any]) -> Callable[[Any], Callable[[], Any]]:
    return lambda table: partial(change, table.to_pandas())


def of_pyarrow(change: Callable[[Any], Any]) -> Callable[[Any], Callable[[], Any]]:
    return lambda table: partial(change, table)


def pandas_scale(df: Any) -> Any:
    numbers = df[list(NUMBERS)]
    return df.assign(**((numbers - numbers.mean()) / numbers.std(ddof=0)))


def pandas_filter(df: Any) -> Any:
    numbers = df[list(NUMBERS)]
    low, high = numbers.quantile(0.25), numbers.quantile(0.75)
    far = 1.5 * (high - low)
    return df[~((numbers < low - far) | (numbers > high + far)).any(axis=1)]


def pandas_fill(df: Any) -> Any:
    return df.fillna(df[list(NUMBERS)].median())


def pandas_codes(df: Any) -> Any:
    return df.assign(**{name: df[name].astype("category").cat.codes for name in TEXTS})


def arrow_unique(table: Any) -> Any:
    return table.group_by(table.column_names).aggregate([])


def arrow_scale(table: Any) -> Any:
    import pyarrow.compute as pc

    for name in NUMBERS:
        column = table[name]
        scaled = pc.divide(pc.subtract(pc.cast(column, "double"), pc.mean(column)), pc.stddev(column, ddof=0))
        table = table.set_column(table.column_names.index(name), name, scaled)
    return table


def arrow_filter(table: Any) -> Any:
    import pyarrow.compute as pc

    kept = None
    for name in NUMBERS:
        low, high = pc.quantile(table[name], q=[0.25, 0.75]).to_pylist()
        far = 1.5 * (high - low)
        inside = pc.and_(pc.greater_equal(table[name], low - far), pc.less_equal(table[name], high + far))
        inside = pc.fill_null(inside, True)
        kept = inside if kept is None else pc.and_(kept, inside)
    return table.filter(kept)


def arrow_fill(table: Any) -> Any:
    import pyarrow.compute as pc

    for name in NUMBERS:
        median = pc.quantile(table[name], q=0.5)[0].as_py()
        column = table[name] if float(median).is_integer() else pc.cast(table[name], "double")
        table = table.set_column(table.column_names.index(name), name, pc.fill_null(column, median))
    return table


def arrow_codes(table: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in TEXTS:
        coded = table[name].combine_chunks().dictionary_encode()
        order = pc.sort_indices(coded.dictionary)
        places = np.empty(len(order), np.int32)
        places[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        table = table.set_column(table.column_names.index(name), name, pa.array(places).take(coded.indices))
    return table


def polars_scale(pl: Any, df: Any) -> Any:
    return df.with_columns((pl.col(n) - pl.col(n).mean()) / pl.col(n).std(ddof=0) for n in NUMBERS)


def polars_filter(pl: Any, df: Any) -> Any:
    bounds = df.select(pl.col(n).quantile(q, "linear").alias(f"{n} {q}") for n in NUMBERS for q in (0.25, 0.75)).row(
        0, named=True
    )
    inside = []
    for name in NUMBERS:
        low, high = bounds[f"{name} 0.25"], bounds[f"{name} 0.75"]
        far = 1.5 * (high - low)
        inside.append(pl.col(name).is_between(low - far, high + far).fill_null(True))
    return df.filter(pl.all_horizontal(inside))


def polars_fill(pl: Any, df: Any) -> Any:
    return df.with_columns(pl.col(n).fill_null(pl.col(n).median()) for n in NUMBERS)


def polars_codes(pl: Any, df: Any) -> Any:
    kinds = {name: pl.Enum(df[name].drop_nulls().unique().sort()) for name in TEXTS}
    return df.with_columns(pl.col(name).cast(kind).to_physical() for name, kind in kinds.items())


LIBRARIES = ("ours", "pandas", "pyarrow", "polars")
STEPS: dict[str, tuple[Callable[[Any], Callable[[], Any]], ...]] = {
    "drop missing": (
        of_ours(lambda clean: clean.DropMissing()),
        of_pandas(lambda df: df.dropna()),
        of_pyarrow(lambda table: table.drop_null()),
        of_polars(lambda pl, df: df.drop_nulls()),
    ),
    "drop duplicates": (
        of_ours(lambda clean: clean.DropDuplicates()),
        of_pandas(lambda df: df.drop_duplicates()),
        of_pyarrow(arrow_unique),
        of_polars(lambda pl, df: df.unique()),  # in any order, which is faster
    ),
    "z-score": (
        of_ours(lambda clean: clean.Standardize(columns=NUMBERS)),
        of_pandas(pandas_scale),
        of_pyarrow(arrow_scale),
        of_polars(polars_scale),
    ),
    "IQR filter": (
        of_ours(lambda clean: clean.Outliers("iqr", columns=NUMBERS)),
        of_pandas(pandas_filter),
        of_pyarrow(arrow_filter),
        of_polars(polars_filter),
    ),
    "median fill": (
        of_ours(lambda clean: clean.FillMissing("median", columns=NUMBERS)),
        of_pandas(pandas_fill),
        of_pyarrow(arrow_fill),
        of_polars(polars_fill),
    ),
    "ordinal codes": (
        of_ours(lambda clean: clean.OrdinalCodes(columns=TEXTS)),
        of_pandas(pandas_codes),
        of_pyarrow(arrow_codes),
        of_polars(polars_codes),
    ),
}


# --- larger than memory --------------------------------------------------------------------------


def written_large(data: Path, limit_bytes: int) -> Path:
    """A Parquet file of four times the limit when in memory, with duplicates, gaps and outliers."""
    import polars as pl

    from fastload.clean.files import writing

    path = data / f"clean-{limit_bytes >> 20}.parquet"
    if path.exists():
        return path
    note(f"writing {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    rows, step = 4 * limit_bytes // (8 * COLUMNS), 50_000
    with writing(path, {}, overwrite=False) as sink:
        for start in range(0, rows, step):
            count = min(step, rows - start)
            values = random.normal(size=(count, COLUMNS))
            values[random.random(values.shape) < 0.01] = np.nan
            values[::1000] *= 50
            values[1::100] = values[0]
            sink.write(pl.DataFrame({f"x{i}": values[:, i] for i in range(COLUMNS)}))
    return path


def cleaned_within(*, path: str, limit_bytes: int) -> dict[str, Any]:
    """Cleans the file; growth_mb: of the resident set of this process, at its peak, over what it was before."""
    from threading import Event, Thread

    import fastload.clean as clean

    def plan() -> clean.Plan:
        return clean.Plan(
            [
                clean.MarkMissing(),
                clean.DropDuplicates(),
                clean.Outliers("iqr", action="clip"),
                clean.FillMissing("median"),
                clean.Standardize(),
            ]
        )

    out = Path(path).with_name("cleaned.parquet")
    small = written_large(Path(path).parent, 1 << 18)
    clean.clean_file(small, out, plan(), overwrite=True)  # imports and thread pools are no part of what is asked
    before = peak = _resident()
    done = Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, _resident())

    watcher = Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    report = clean.clean_file(path, out, plan(), memory_bytes=limit_bytes, overwrite=True)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    out.unlink()
    rows = report.steps[1].rows_dropped
    problems = [] if rows > 0 and report.rows_out + rows == report.rows_in else ["rows are not what they should be"]
    return {"seconds": seconds, "growth_mb": (peak - before) / 1e6, "rows": report.rows_in, "problems": problems}


def _resident() -> int:
    from resource import getpagesize

    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()
