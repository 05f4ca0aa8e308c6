"""A table with known defects: check must find every structural one, and says how well it finds the others.

What is reached is written down here: each floor below is what the fixed seed gives, rounded down.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fastload.clean import LabelNoise, Outliers, check_quality

ROWS = 4000
EXACT, NEAR, LEAKED = 37, 23, 19
MISSING = {"null": 31, "NaN": 29, "blank": 17, "text": 13, "number": 11}


@pytest.fixture(scope="module")
def dirty():
    """(table, test table): 4,000 rows of distinct values, then the defects, each in rows of its own."""
    random = np.random.default_rng(7)
    places = iter(np.split(random.permutation(ROWS)[: 40 * 5], 5))
    x = random.normal(50, 5, ROWS).round(6)
    z = random.normal(0, 1, ROWS).round(6)
    count = random.integers(0, 100, ROWS)
    number = random.integers(100, 200, ROWS).astype(float)
    town = random.choice(["Oslo", "Bergen", "Moss"], ROWS).astype(object)
    gaps = {kind: next(places)[:n] for kind, n in MISSING.items()}
    x[gaps["NaN"]] = np.nan
    town[gaps["blank"]] = ["", "  ", "\t"][0:1] * 6 + ["  "] * 11
    town[gaps["text"]] = ["NA", " ? ", "null", "-", "N/A"][:1] * 5 + [" ? "] * 4 + ["null"] * 4
    number[gaps["number"]] = -999
    frame = pl.DataFrame(
        {
            "x": x,
            "z": pl.Series(z).scatter(gaps["null"].tolist(), None),
            "count": count,
            "number": number,
            "town": town.tolist(),
            "version": ["v1"] * ROWS,
            "z_again": pl.Series(z).scatter(gaps["null"].tolist(), None),
            "code": np.where(np.arange(ROWS) % 500 == 3, "twelve", random.integers(0, 9, ROWS).astype(str)).tolist(),
        }
    )
    untouched = sorted(set(range(ROWS)) - {int(p) for g in gaps.values() for p in g})
    exact = frame[untouched[:EXACT]]
    near = frame[untouched[100 : 100 + NEAR]].with_columns(pl.col("x") + 1e-9, pl.col("town").str.to_uppercase() + " ")
    train = pl.concat([frame, exact, near])
    fresh = frame[untouched[200:600]].with_columns(pl.col("x") + 1000)
    return train, pl.concat([fresh, train[untouched[700 : 700 + LEAKED]]])


@pytest.fixture(scope="module")
def report(dirty):
    train, test = dirty
    rules = {"count": {"low": 0, "high": 90}, "town": {"allowed": ["Oslo", "Bergen"]}}
    return check_quality(train, against=test, rules=rules, missing_numbers={"number": [-999]}, near_decimals=6)


def test_all_five_kinds_of_missing_are_counted(report):
    assert report.column("z").missing == {"null": MISSING["null"]}
    assert report.column("x").missing == {"NaN": MISSING["NaN"]}
    assert report.column("town").missing == {"blank": MISSING["blank"], "text": MISSING["text"]}
    assert report.column("number").missing == {"number": MISSING["number"]}
    assert report.num_missing == sum(MISSING.values()) + MISSING["null"]  # z comes twice


def test_an_undeclared_sentinel_is_suspected(dirty):
    assert check_quality(dirty[0]).column("number").suspected == {-999.0: MISSING["number"]}


def test_exact_and_near_duplicates_are_counted(report):
    assert report.duplicates == EXACT
    assert report.near_duplicates == NEAR


def test_leaked_rows_are_found(report, dirty):
    assert report.against.leaked == LEAKED
    assert report.against.examples == list(range(400, 405))


def test_constant_and_duplicate_columns_are_found(report):
    assert report.constant_columns == ["version"]
    assert report.duplicate_columns == {"z_again": "z"}


def test_impossible_values_are_counted(report, dirty):
    train = dirty[0]
    assert report.column("count").impossible == train.filter(pl.col("count") > 90).height
    possible = train["town"].str.strip_chars().is_in(["Oslo", "Bergen"]) & (train["town"].str.len_chars() < 7)
    bare = train["town"].str.strip_chars().str.to_lowercase()
    gaps = bare.is_in(["", "na", "?", "null", "-", "n/a"])
    assert report.column("town").impossible == (~possible & ~gaps).sum()


def test_cells_of_another_type_are_counted(report, dirty):
    code = report.column("code")
    assert code.read_as == "int64"
    assert code.misfits == (dirty[0]["code"] == "twelve").sum() >= 8
    assert code.examples[0] == (3, "'twelve'")


# --- how well the others are found ---------------------------------------------------------------


def recall_and_precision(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    hits = (found & true).sum()
    return hits / true.sum(), hits / max(1, found.sum())


@pytest.mark.parametrize(
    ("method", "threshold", "recall", "precision"),
    [("iqr", 1.5, 1.0, 0.64), ("iqr", 3.0, 1.0, 1.0), ("z-score", 3.0, 1.0, 1.0), ("mad", 3.5, 1.0, 0.97)],
)
def test_outliers_eight_deviations_out(method, threshold, recall, precision):
    """1 % of 10,000 normal values moved 8 to 12 standard deviations out."""
    random = np.random.default_rng(3)
    values, true = random.normal(size=10_000), np.arange(10_000) % 100 == 0
    values[true] += random.choice([-1, 1], true.sum()) * random.uniform(8, 12, true.sum())
    step = Outliers(method, threshold=threshold, action="flag").fit({"x": values})
    found = step.transform({"x": values})["x_outlier"]
    reached = recall_and_precision(found, true)
    assert reached[0] >= recall
    assert reached[1] >= precision, reached


@pytest.mark.parametrize(("share", "recall", "precision"), [(0.02, 0.98, 0.84), (0.10, 0.95, 0.96)])
def test_label_noise_between_two_clusters(share, recall, precision):
    """4,000 rows of two normal clusters, 5 standard deviations apart, in 6 columns; a share of the labels is turned over."""
    random = np.random.default_rng(5)
    label = random.integers(0, 2, 4000)
    x = random.normal(size=(4000, 6))
    x[:, :2] += 5 / np.sqrt(2) * label[:, None]
    wrong = random.random(4000) < share
    columns = {f"x{i}": x[:, i] for i in range(6)}
    found = LabelNoise("y").transform({**columns, "y": label ^ wrong})["y_suspect"]
    reached = recall_and_precision(found, wrong)
    assert reached[0] >= recall, reached
    assert reached[1] >= precision, reached
    told = check_quality({**columns, "y": label ^ wrong}, label="y").label
    assert (told.judged, told.suspects) == (4000, found.sum())


def test_drift_finds_what_moved_and_leaves_what_did_not():
    """Of 12 columns, 6 have moved by half a deviation or a fifth of the categories: all are found, and no other one is."""
    random = np.random.default_rng(11)

    def table(moved: bool, rows: int) -> dict[str, np.ndarray]:
        numbers = {f"n{i}": random.normal(0.6 if moved and i < 4 else 0, 1, rows) for i in range(8)}
        shares = {True: [0.35, 0.4, 0.25], False: [0.65, 0.25, 0.1]}
        texts = {f"t{i}": random.choice(["a", "b", "c"], rows, p=shares[moved and i < 2]) for i in range(4)}
        return {**numbers, **texts}

    found = check_quality(table(False, 5000), against=table(True, 3000)).against.drifts
    drifted = {d.name for d in found if d.has_drifted}
    assert drifted == {"n0", "n1", "n2", "n3", "t0", "t1"}
    assert len(found) == 12
