"""The table "late": flights of New York 2013, 13 columns, and whether they arrived more than two hours late."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

CATEGORIES = ["month", "carrier", "origin", "dest", "late"]
NUMBERS = ["sched_dep", "distance", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]
WEATHER = NUMBERS[2:]
TARGET = "late"
TEST_ROWS = 100_000


class Split(NamedTuple):
    """pandas frames of other rows each: to train on, to judge privacy by, to test on."""

    train: Any
    holdout: Any
    test: Any


def split(data: str, rows: int) -> Split:
    """`rows` to train on, as many held out, and 100,000 to test on, drawn once and for all."""
    table = late_table(Path(data))
    table = table.sample(len(table), random_state=0).reset_index(drop=True)
    begin = 100_000
    parts = [table[:rows], table[begin + TEST_ROWS : begin + TEST_ROWS + rows], table[begin : begin + TEST_ROWS]]
    return Split(*(part.reset_index(drop=True) for part in parts))


def late_table(folder: Path) -> Any:
    """A pandas frame of all flights that arrived; gaps of the weather are filled with medians. Kept in `folder`."""
    import pandas as pd

    from fastload.demo.flights import LATE_MINUTES, find_folder

    kept = folder / "late.parquet"
    if kept.exists():
        return pd.read_parquet(kept)
    source = find_folder()
    with ZipFile(source / "flights.csv.zip") as zipped, zipped.open(zipped.namelist()[0]) as file:
        flights = pd.read_csv(file)
    weather = pd.read_csv(source / "weather.csv")[["origin", "time_hour", *WEATHER]]
    flights = flights[flights["arr_delay"].notna()].merge(weather, on=["origin", "time_hour"], how="left")
    minutes = flights["sched_dep_time"] // 100 * 60 + flights["sched_dep_time"] % 100
    table = pd.DataFrame(
        {
            **{name: flights[name].astype(str) for name in CATEGORIES[:-1]},
            "sched_dep": minutes.astype(float),
            "distance": flights["distance"].astype(float),
            **{name: flights[name].astype(float).fillna(flights[name].median()) for name in WEATHER},
            "late": (flights["arr_delay"] > LATE_MINUTES).astype("int64"),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(kept)
    return table


def scores(train: Any, test: Any) -> tuple[float, float]:
    """Area under the ROC curve and average precision, on `test`, of gradient-boosted trees trained on `train`."""
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import average_precision_score, roc_auc_score

    values = {name: sorted(test[name].unique()) for name in CATEGORIES[:-1]}

    def features(table: Any) -> Any:
        codes = [pd.Categorical(table[name], categories=values[name]).codes for name in CATEGORIES[:-1]]
        return np.column_stack([table[NUMBERS].to_numpy(float), *codes])

    if train[TARGET].nunique() < 2:
        return 0.5, float(test[TARGET].mean())
    model = HistGradientBoostingClassifier(random_state=0).fit(features(train), train[TARGET])
    found = model.predict_proba(features(test))[:, 1]
    return float(roc_auc_score(test[TARGET], found)), float(average_precision_score(test[TARGET], found))
