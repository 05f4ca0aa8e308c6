"""How long does conversion take, until the data are on the disk (fsync), against pyarrow's Feather with LZ4?

W1 from npy, memory-mapped, to LZ4; and a CSV of flights to LZ4. What was written is read back and compared,
untimed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import flights, measure, process, workloads
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_most,
    finish,
    low_median_high,
    run_rounds,
    shown,
    shown_spread,
)

QUICK_CSV_ROWS = 30_000


def run(options: Options) -> int:
    num_rows = options.num_rows or (workloads.W1.quick_rows if options.quick else None)
    csv_rows = QUICK_CSV_ROWS if options.quick else flights.FLIGHTS_ROWS
    source = {"data": str(options.data), "num_rows": num_rows}
    workloads.load("w1", options.data, num_rows)
    _, origin = flights.flights_csv(options.data, csv_rows)
    arms = {f"npy/{how}": partial(process.in_own_process, convert_npy, how=how, **source) for how in NPY}
    arms |= {
        f"csv/{how}": partial(process.in_own_process, convert_csv, how=how, data=str(options.data), num_rows=csv_rows)
        for how in CSV
    }
    runs = run_rounds(arms, options.repeats)
    summary = [
        {
            "conversion": arm,
            "source": "W1" if arm.startswith("npy") else f"flights, {origin}",
            **low_median_high(runs.values(arm, "seconds"), "seconds"),
            **{key: runs.median(arm, key) for key in ("mb_per_s", "cpu_s", "written_mb")},
        }
        for arm in arms
    ]
    screen = [
        {
            "conversion": row["conversion"],
            "source": row["source"],
            "seconds": shown_spread(row, "seconds"),
            "MB/s": shown(row["mb_per_s"], 0),
            "CPU s": shown(row["cpu_s"]),
            "written MB": shown(row["written_mb"], 1),
        }
        for row in summary
    ]
    return finish("convert", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    return [
        at_most(
            "W1 npy to LZ4: time / Feather, x as one list column",
            runs.ratio("npy/fastload", "npy/feather-list", "seconds"),
            2.0,
        ),
        at_most(
            "W1 npy to LZ4: time / Feather, x as 64 columns",
            runs.ratio("npy/fastload", "npy/feather-columns", "seconds"),
            2.0,
        ),
        at_most(
            "flights CSV: time / pyarrow read_csv + Feather",
            runs.ratio("csv/fastload", "csv/feather", "seconds"),
            1.5,
        ),
    ]


def convert_npy(*, data: str, num_rows: int | None, how: str) -> dict:
    """Write W1 in the given way, timed; read it back. To be called in a fresh process."""
    source = workloads.load("w1", data, num_rows)
    return _timed(source.root / "written" / f"npy-{how}", source.files, *NPY[how], source)


def convert_csv(*, data: str, num_rows: int, how: str) -> dict:
    """Convert the flights CSV in the given way, timed; read it back. To be called in a fresh process."""
    path, _ = flights.flights_csv(data, num_rows)
    return _timed(Path(data) / "written" / f"csv-{how}", [path], *CSV[how], path)


def _timed(
    folder: Path, inputs: list[Path], imports: Callable, write: Callable, check: Callable, source: object
) -> dict:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in inputs:
        measure.read_through(path)
    imports()
    cpu_before = process.cpu_seconds()
    started = time.perf_counter()
    write(source, folder)
    seconds = time.perf_counter() - started
    cpu_s = process.cpu_seconds() - cpu_before
    problem = check(source, folder)
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "mb_per_s": sum(p.stat().st_size for p in inputs) / seconds / 1e6,
        "written_mb": size_bytes / 1e6,
        "problems": [problem] if problem else [],
    }


def fsync(path: Path) -> None:
    """Make a file and its name durable."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ways to write W1: (imports, write, check)


def _import_fastload() -> None:
    import fastload as fl
    import fastload.ingest.delimited  # its pyarrow too, as the peer's is imported before its clock starts

    fl.Writer, fl.write, fl.convert  # noqa: B018 - public names are imported when first asked for


def _import_pyarrow() -> None:
    import pyarrow.csv
    import pyarrow.feather  # noqa: F401


def _convert_npy(source: workloads.W1, folder: Path) -> None:
    import fastload as fl

    x, y = source.files
    fl.convert({"x": x, "y": y}, folder / "rows.fl", progress=False)


def _write_arrays(source: workloads.W1, folder: Path) -> None:
    import fastload as fl

    x, y = source.arrays()
    fl.write(folder / "rows.fl", {"x": x, "y": y}, codec="lz4")


def _check_fastload(source: workloads.W1, folder: Path) -> str:
    import fastload as fl

    return _compare(source, ((batch["x"], batch["y"]) for batch in fl.open(folder / "rows.fl").batches()))


def _write_feather(source: workloads.W1, folder: Path, as_columns: bool) -> None:
    import pyarrow as pa
    from pyarrow import feather

    from benchmarks.peers.feather import table_of

    if as_columns:
        x, y = source.arrays()
        table = pa.table({**{f"x{i}": np.ascontiguousarray(x[:, i]) for i in range(source.columns)}, "y": pa.array(y)})
    else:
        table = table_of(source)
    path = folder / "rows.feather"
    feather.write_feather(table, str(path), compression="lz4")
    fsync(path)


def _check_feather(source: workloads.W1, folder: Path, as_columns: bool) -> str:
    import pyarrow as pa

    from benchmarks.peers.feather import numpy_of

    reader = pa.ipc.open_file(pa.memory_map(str(folder / "rows.feather")))
    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    if as_columns:
        return _compare(
            source,
            (
                (
                    np.stack([column.to_numpy() for column in batch.columns[:-1]], 1),
                    batch.column("y").to_numpy(),
                )
                for batch in batches
            ),
        )
    return _compare(source, map(numpy_of, batches))


def _write_copy(source: workloads.W1, folder: Path) -> None:
    for path in source.files:
        copy = folder / path.name
        shutil.copyfile(path, copy)
        fsync(copy)


def _compare(source: workloads.W1, batches) -> str:
    x, y = source.arrays()
    start = 0
    for got_x, got_y in batches:
        rows = slice(start, start + len(got_y))
        if not (np.array_equal(got_x, x[rows]) and np.array_equal(got_y, y[rows])):
            return f"rows from {start} on differ from the source"
        start += len(got_y)
    return "" if start == source.num_rows else f"{start} rows were read back, {source.num_rows} written"


NPY: dict[str, tuple[Callable, Callable, Callable]] = {
    "fastload": (_import_fastload, _convert_npy, _check_fastload),
    "fastload-write": (_import_fastload, _write_arrays, _check_fastload),
    "feather-list": (
        _import_pyarrow,
        partial(_write_feather, as_columns=False),
        partial(_check_feather, as_columns=False),
    ),
    "feather-columns": (
        _import_pyarrow,
        partial(_write_feather, as_columns=True),
        partial(_check_feather, as_columns=True),
    ),
    "copy": (lambda: None, _write_copy, lambda source, folder: ""),
}


# ways to convert the CSV: (imports, write, check)


def _convert_fastload(path: Path, folder: Path) -> None:
    import fastload as fl

    fl.convert(path, folder / "flights.fl", progress=False)


def _check_flights_fastload(path: Path, folder: Path) -> str:
    import pyarrow.csv

    import fastload as fl

    want = pyarrow.csv.read_csv(path)
    got = fl.open(folder / "flights.fl")
    if len(got) != len(want):
        return f"{len(got)} rows were read back, the CSV holds {len(want)}"
    batches = got.select("distance").batches()
    distance = np.concatenate([np.asarray(batch["distance"]) for batch in batches])
    return "" if np.array_equal(distance, want["distance"].to_numpy()) else "the distances differ from the CSV's"


def _convert_feather(path: Path, folder: Path) -> None:
    import pyarrow.csv
    from pyarrow import feather

    out = folder / "flights.feather"
    feather.write_feather(pyarrow.csv.read_csv(path), str(out), compression="lz4")
    fsync(out)


def _check_flights_feather(path: Path, folder: Path) -> str:
    import pyarrow.csv
    from pyarrow import feather

    same = feather.read_table(str(folder / "flights.feather")).equals(pyarrow.csv.read_csv(path))
    return "" if same else "the table differs from the CSV's"


CSV: dict[str, tuple[Callable, Callable, Callable]] = {
    "fastload": (lambda: (_import_fastload(), _import_pyarrow()), _convert_fastload, _check_flights_fastload),
    "feather": (_import_pyarrow, _convert_feather, _check_flights_feather),
}
