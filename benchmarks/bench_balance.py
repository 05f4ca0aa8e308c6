"""How fast is balancing, and what memory does it take, beside imbalanced-learn?

Tables of random float32 (a tenth of their rows with --quick), and the flights with 4 columns of text and 8 of numbers. Every arm
is a process of its own that checks its input, as users' programs do; imports and compilation are done before the clock starts. The
rows made by both are compared, for the same seed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

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
    shown,
    shown_spread,
)

SEED = 0
MEBIBYTE = 1 << 20
QUICK_FLIGHTS = 20_000
TEXT = [
    "carrier",
    "origin",
    "dest",
    "weekday",
]  # not tailnum: imbalanced-learn asks for 24 GiB with its 4,000 categories
NUMBERS = ["month", "day", "sched_dep_time", "sched_arr_time", "distance", "hour", "minute", "flight"]


class Case(NamedTuple):
    sampler: str
    rows: int
    columns: int
    share: float
    repeats: int  # timed after the first one; where there are none, the first one counts
    times: float  # faster than imbalanced-learn, at least
    memory: float | None = None  # of its extra memory, at most


CASES = {
    "SMOTE 200k x 64, 1 %": Case("SMOTE", 200_000, 64, 0.01, 3, 2.0, 0.5),
    "SMOTE 1M x 32, 0.5 %": Case("SMOTE", 1_000_000, 32, 0.005, 3, 3.0, 0.5),
    "Borderline 100k x 64, 20 %": Case("BorderlineSMOTE", 100_000, 64, 0.2, 0, 1.2),
    "ADASYN 100k x 64, 20 %": Case("ADASYN", 100_000, 64, 0.2, 0, 1.2),
    "SMOTENC flights": Case("SMOTENC", flights.FLIGHTS_ROWS, len(TEXT) + len(NUMBERS), 0.0, 0, 20.0, 0.1),
}
BETWEEN = {"200k x 64": (2_000, 64, 196_000), "1M x 32": (5_000, 32, 990_000)}  # rows, columns, rows between them
LIBRARIES = {"ours": "fastload", "imblearn": "imblearn.over_sampling"}


def run(options: Options) -> int:
    part = 10 if options.quick else 1
    arms = {}
    for library, module in LIBRARIES.items():
        if find_spec(module.partition(".")[0]) is None:
            note(f"skipped {library}: not installed; to get it: pip install imbalanced-learn")
            continue
        for name, case in CASES.items():
            rows = QUICK_FLIGHTS if options.quick and case.sampler == "SMOTENC" else case.rows // part
            arms[f"{library}: {name}"] = partial(
                process.in_own_process, timed, module=module, name=name, rows=rows, data=str(options.data)
            )
    for name in BETWEEN:
        for what in ("interpolation", "copy"):
            arms[f"{what}: {name}"] = partial(process.in_own_process, timed_between, name=name, what=what, part=part)
    runs = run_rounds(arms, options.repeats)
    compare(runs)
    summary = [
        {
            "arm": arm,
            **low_median_high(runs.values(arm, "seconds"), "seconds"),
            **low_median_high(runs.values(arm, "extra_mib"), "extra_mib"),
            **{key: runs.median(arm, key) for key in ("first_s", "rows_in", "rows_out")},
        }
        for arm in arms
    ]
    screen = [
        {
            "what": row["arm"],
            "seconds": shown_spread(row, "seconds", digits=4),
            "extra MiB": shown_spread(row, "extra_mib", digits=0),
            "rows out": shown(row["rows_out"], 0),
        }
        for row in summary
    ]
    return finish("balance", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    found = []
    for name, case in CASES.items():
        ours, theirs = f"ours: {name}", f"imblearn: {name}"
        found.append(at_least(f"{name}: times faster", runs.ratio(theirs, ours, "seconds"), case.times))
        if case.memory is not None:
            found.append(at_most(f"{name}: share of its memory", runs.ratio(ours, theirs, "extra_mib"), case.memory))
    for name in BETWEEN:
        ratio = runs.ratio(f"interpolation: {name}", f"copy: {name}", "seconds")
        found.append(at_most(f"interpolation {name}: times a copy of its output", ratio, 2.0))
    return found


# --- data --------------------------------------------------------------------------------------------


def table(case: Case, rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    y = np.zeros(rows, np.int64)
    y[random.permutation(rows)[: int(rows * case.share)]] = 1
    X = random.standard_normal((rows, case.columns), dtype=np.float32)
    X[y == 1] += np.float32(0.5)
    return X, y


def flights_table(data: str, rows: int) -> tuple[Any, Any]:
    """Whether a flight arrives more than two hours late, of those that arrived."""
    import pandas as pd

    path, _ = flights.flights_csv(Path(data), rows)
    given = pd.read_csv(path).dropna(subset="arr_delay").reset_index(drop=True)
    y = (given["arr_delay"] > 120).astype("int64")
    given["weekday"] = pd.to_datetime(given[["year", "month", "day"]]).dt.day_name()
    return pd.concat([given[TEXT], given[NUMBERS].astype("float32")], axis=1).copy(), y


# --- arms --------------------------------------------------------------------------------------------


def timed(*, module: str, name: str, rows: int, data: str) -> dict[str, Any]:
    """Seconds of the best of a few repeats, or of the only one; memory of the first one beyond what its input holds."""
    case = CASES[name]
    parameters = {"categorical_features": TEXT} if case.sampler == "SMOTENC" else {}
    X, y = flights_table(data, rows) if case.sampler == "SMOTENC" else table(case, rows)
    sampler = getattr(import_module(module), case.sampler)(random_state=SEED, **parameters)
    some = np.concatenate([np.flatnonzero(y == 1)[:200], np.flatnonzero(y == 0)[:1000]])
    sampler.fit_resample(X.iloc[some] if hasattr(X, "iloc") else X[some], y[some])
    warm_up_products(module)
    gc.collect()
    started_at, started = reset_peak_mib(), time.perf_counter()
    X_more, y_more = sampler.fit_resample(X, y)
    first_s, extra_mib = time.perf_counter() - started, peak_mib() - started_at
    result = {
        "first_s": first_s,
        "extra_mib": extra_mib,
        "rows_in": len(X),
        "rows_out": len(X_more),
        **looked_at(X, y, X_more, y_more),
    }
    taken_s = []
    for _ in range(case.repeats):
        del X_more, y_more  # first, so that its memory is there again
        started = time.perf_counter()
        X_more, y_more = sampler.fit_resample(X, y)
        taken_s.append(time.perf_counter() - started)
    assert len(X_more) == len(y_more)
    return {**result, "seconds": min(taken_s or [first_s])}


def warm_up_products(module: str) -> None:
    """What tables of this size need to be compiled, and a small one does not use."""
    if module == "fastload":
        import fastload as fl

        random = np.random.default_rng(0).standard_normal((5_000, 16), dtype=np.float32)
        fl.NearestNeighbors(3).fit(random).kneighbors(random)


def looked_at(X: Any, y: Any, X_more: Any, y_more: Any) -> dict[str, Any]:
    """What is wrong with the rows that were made, and some numbers of them to compare with the other library's."""
    problems, given = [], len(X)
    if hasattr(X, "iloc"):
        if not X_more.iloc[:given].equals(X):
            problems.append("rows given were changed")
        new = X_more.iloc[given:]
        for column in TEXT:
            if not set(new[column]) <= set(X[column][y == 1]):
                problems.append(f"a category of {column} that the class does not have")
        numbers = new[NUMBERS].to_numpy(np.float64)
    else:
        if not np.array_equal(X_more[:given], X):
            problems.append("rows given were changed")
        numbers = X_more[given:].astype(np.float64)
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    minority = (X[NUMBERS] if hasattr(X, "iloc") else X)[y == 1].astype(np.float64)
    if (low < np.asarray(minority).min(axis=0) - 1e-6).any() or (high > np.asarray(minority).max(axis=0) + 1e-6).any():
        problems.append("rows outside of their class")
    if not (np.asarray(y_more)[given:] == 1).all():
        problems.append("labels of another class")
    return {
        "problems": problems,
        "means": numbers[:, :8].mean(axis=0).tolist(),
        "some": numbers[::9973, :8].ravel().tolist(),
    }


def compare(runs: Runs) -> None:
    """Notes a problem where the two libraries made other rows of the same seed; SMOTENC's neighbours have ties, so means alone."""
    for name, case in CASES.items():
        theirs = [r for r in runs.records if r["arm"] == f"imblearn: {name}"]
        for record in (r for r in runs.records if r["arm"] == f"ours: {name}" and theirs):
            key, tolerance = ("means", 0.01) if case.sampler == "SMOTENC" else ("some", 1e-5)
            if not np.allclose(record[key], theirs[0][key], rtol=tolerance, atol=tolerance):
                record["problems"].append("other rows than imbalanced-learn's")
    for record in runs.records:
        record.pop("means", None), record.pop("some", None)


def timed_between(*, name: str, what: str, part: int) -> dict[str, Any]:
    """Rows between rows alone, or a copy of the array that they fill; both into memory that is new each time."""
    given, columns, made = BETWEEN[name]
    made //= part
    random = np.random.default_rng(5)
    rows = random.standard_normal((given, columns), dtype=np.float32)
    bases, neighbors = random.integers(0, given, (2, made))
    parts = random.uniform(size=made)
    call, out = between_call(what, rows, bases, neighbors, parts)
    taken_s = []
    for _ in range(6):
        started = time.perf_counter()
        out = call()
        taken_s.append(time.perf_counter() - started)
    from fastload.kernels import reference

    right = np.array_equal(out[::97], reference.interpolate(rows, bases[::97], neighbors[::97], parts[::97]))
    return {"seconds": min(taken_s[1:]), "rows_out": made, "problems": [] if right else ["other values than NumPy's"]}


def between_call(what: str, rows: Any, bases: Any, neighbors: Any, parts: Any) -> tuple[Callable[[], np.ndarray], Any]:
    from fastload.block.threads import default_threads
    from fastload.kernels import cpu

    def interpolated() -> np.ndarray:
        out = np.empty((len(bases), rows.shape[1]), rows.dtype)
        cpu.interpolate(rows, bases, neighbors, parts, out, default_threads())
        return out

    made = interpolated()
    return (interpolated if what == "interpolation" else made.copy), made


def reset_peak_mib() -> float:
    """Forgets the peak of this process's memory so far; returns what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_mib("VmRSS")


def peak_mib() -> float:
    return status_mib("VmHWM")


def status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MEBIBYTE for line in lines if line.startswith(key))
