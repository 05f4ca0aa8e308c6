"""What every model of tables must do."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
import torch
from stopping import stop_at

import fastload as fl
from fastload.errors import (
    ArgumentError,
    ConditionError,
    DtypeError,
    ExistsError,
    NotFittedError,
    SchemaError,
    StateError,
    TooFewRowsError,
    UnfaithfulError,
    UnknownCategoryError,
    UnknownFieldError,
)
from fastload.synth import (
    FixedCombinations,
    Inequality,
    Limits,
    Mixed,
    Predicate,
    TableAutoregressor,
    TableGAN,
    TableVAE,
)

MODELS = [TableAutoregressor, TableGAN, TableVAE]
QUICK = {TableGAN: {"max_steps": 600, "learning_rate": 1e-3}}  # it learns slowly
SMALL = {"batch_size": 100, "max_steps": 60, "score_every": 30}


def weather(rows: int = 600, seed: int = 0) -> pl.DataFrame:
    """Columns of all kinds that hang together: rain comes in the west, and delays with it."""
    draw = np.random.default_rng(seed)
    town = draw.choice(["Bergen", "Oslo", "Tromsø"], rows, p=[0.3, 0.6, 0.1])
    rain = np.where(draw.random(rows) < 0.4, 0.0, np.round(draw.gamma(2.0, np.where(town == "Bergen", 9.0, 2.0)), 1))
    late = draw.random(rows) < np.where(rain > 10, 0.7, 0.05)
    start = draw.integers(0, 20, rows)
    return pl.DataFrame(
        {
            "town": town,
            "rain": rain,
            "late": late,
            "start": start,
            "end": start + draw.integers(1, 5, rows),
            "day": [date(2024, 1, 1 + int(d)) for d in draw.integers(0, 28, rows)],
            "country": ["Norway"] * rows,
        }
    )


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return weather()


@pytest.fixture(scope="module", params=MODELS, ids=lambda kind: kind.__name__)
def model(request, table):
    return request.param(**SMALL | QUICK.get(request.param, {})).fit(table)


def test_rows_have_the_columns_types_and_range_of_the_table(model, table):
    rows = model.sample(500)
    assert rows.schema == table.schema
    assert len(rows) == 500
    assert set(rows["town"]) <= set(table["town"])
    assert set(rows["country"]) == {"Norway"}
    for name in ("rain", "start", "end", "day"):
        assert table[name].min() <= rows[name].min()
        assert rows[name].max() <= table[name].max()
    assert (rows["rain"] == rows["rain"].round(1)).all()


def test_frequencies_are_about_those_of_the_table(model, table):
    rows = model.sample(4000)
    for name in ("town", "late", "rain"):
        value = table[name].mode()[0]
        assert (rows[name] == value).mean() == pytest.approx((table[name] == value).mean(), abs=0.12)


def test_the_same_seed_gives_the_same_rows(model):
    assert model.sample(50, seed=3).equals(model.sample(50, seed=3))
    assert not model.sample(50, seed=3).equals(model.sample(50, seed=4))


def test_nothing_is_drawn_from_global_generators(model):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    model.sample(10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("where", "meets"),
    [
        ({"late": True}, pl.col("late")),
        ({"town": "Bergen"}, pl.col("town") == "Bergen"),
        ({"town": ["Bergen", "Oslo"], "late": True}, pl.col("town").is_in(["Bergen", "Oslo"]) & pl.col("late")),
        ({"rain": (0.5, 6.5)}, pl.col("rain").is_between(0.5, 6.5)),
        ({"rain": (10, None), "town": "Bergen"}, (pl.col("rain") >= 10) & (pl.col("town") == "Bergen")),
        ({"day": (date(2024, 1, 8), date(2024, 1, 9))}, pl.col("day").is_between(date(2024, 1, 8), date(2024, 1, 9))),
    ],
)
def test_conditions_are_met_by_every_row(model, where, meets):
    rows = model.sample(40, where=where)
    assert len(rows) == 40
    assert rows.select(meets.all()).item()


@pytest.mark.parametrize("where", [{"town": "Atlantis"}, {"rain": (1e6, None)}, {"town": None}])
def test_impossible_conditions(model, where):
    with pytest.raises(ConditionError, match="no row can meet"):
        model.sample(10, where=where)


def test_a_condition_on_no_column(model):
    with pytest.raises(UnknownFieldError, match="snow"):
        model.sample(10, where={"snow": 1})


def test_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "weather.synth")
    again = type(model).load(tmp_path / "weather.synth")
    assert again.sample(30, seed=5).equals(model.sample(30, seed=5))
    assert again.sample(5, where={"late": True})["late"].all()


def test_a_file_of_another_model(model, tmp_path):
    model.save(tmp_path / "weather.synth")
    other = next(kind for kind in MODELS if kind is not type(model))
    with pytest.raises(StateError, match=type(model).__name__):
        other.load(tmp_path / "weather.synth")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow", ".fl"])
def test_rows_go_to_files(model, tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    model.sample_to(path, 300, where={"late": True})
    if suffix == ".fl":
        batch = next(iter(fl.DataLoader(path, 300)))
        assert batch["late"].all()
        assert len(batch["late"]) == 300
    else:
        read = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".arrow": pl.read_ipc}[suffix]
        assert read(path).height == 300
    with pytest.raises(ExistsError):
        model.sample_to(path, 10)


def test_a_model_that_failed_its_check_writes_nothing_unless_forced(table, tmp_path):
    model = TableVAE(batch_size=100, max_steps=1).fit(table)
    assert model.failures is None
    report = model.check(table, holdout=weather(seed=1), limits=Limits(pair_trends=0.99))
    assert report.num_synthetic == len(table)
    assert any("pair trends" in failure for failure in model.failures)
    model.save(tmp_path / "m")
    again = TableVAE.load(tmp_path / "m")
    with pytest.raises(UnfaithfulError, match="pair trends"):
        again.sample_to(tmp_path / "rows.csv", 10)
    again.sample_to(tmp_path / "rows.csv", 10, force=True)
    assert pl.read_csv(tmp_path / "rows.csv").height == 10
    assert model.fit(table).failures is None


@pytest.mark.parametrize("kind", MODELS)
def test_files_and_loaders_are_learned_from(kind, tmp_path):
    table = weather(400).drop("day", "country")
    table.write_csv(tmp_path / "w.csv")
    table.write_parquet(tmp_path / "w.parquet")
    fl.convert(tmp_path / "w.parquet", tmp_path / "w.fl")
    for source in (
        tmp_path / "w.csv",
        tmp_path / "w.parquet",
        tmp_path / "w.fl",
        fl.open(tmp_path / "w.fl"),
        fl.DataLoader(tmp_path / "w.fl", 100, shuffle=True, seed=0, drop_last=True),
        fl.IterableDataset(tmp_path / "w.fl", 100, shuffle=True, seed=0, drop_last=True),
    ):
        rows = kind(batch_size=100, max_steps=5).fit(source).sample(20)
        assert rows.columns == table.columns
        assert set(rows["town"]) <= set(table["town"])


def test_the_kind_of_table_that_was_given_comes_back(table):
    frame = table.to_pandas()
    assert list(TableAutoregressor(**SMALL).fit(frame).sample(5).columns) == list(frame.columns)
    arrays = {"x": np.arange(200.0), "y": np.arange(200) % 2}
    rows = TableAutoregressor(batch_size=50, max_steps=3).fit(arrays).sample(5)
    assert {name: column.dtype for name, column in rows.items()} == {n: a.dtype for n, a in arrays.items()}


@pytest.mark.parametrize("kind", MODELS)
def test_constraints_hold_in_every_row(kind, table, tmp_path):
    constraints = [Inequality("start", "end", strict=True), FixedCombinations("town", "late")]
    model = kind(constraints=constraints, **SMALL).fit(table)
    rows = model.sample(300)
    assert (rows["start"] < rows["end"]).all()
    seen = set(table.select("town", "late").iter_rows())
    assert set(rows.select("town", "late").iter_rows()) <= seen
    model.save(tmp_path / "m")
    again = kind.load(tmp_path / "m").sample(300)
    assert again.equals(rows)


def test_data_that_break_a_constraint(table):
    with pytest.raises(ArgumentError, match="must hold in the real data"):
        TableAutoregressor(constraints=[Inequality("end", "start")], **SMALL).fit(table)


def test_constraints_that_hardly_any_row_meets(table):
    rare = table["rain"].max()
    model = TableVAE(constraints=[Predicate(lambda frame: frame["rain"] <= rare)], **SMALL).fit(table)
    model.constraints = [Predicate(lambda frame: frame["rain"] > rare)]
    with pytest.raises(ConditionError, match="hardly ever"):
        model.sample(5)


def test_functions_are_given_again_where_a_model_is_loaded(table, tmp_path):
    dry = Predicate(lambda frame: frame["rain"] < 100)
    model = TableAutoregressor(constraints=[Inequality("start", "end"), dry], **SMALL).fit(table)
    model.save(tmp_path / "m")
    with pytest.raises(StateError, match="give them again"):
        TableAutoregressor.load(tmp_path / "m")
    again = TableAutoregressor.load(tmp_path / "m", constraints=[dry])
    assert again.sample(50).equals(model.sample(50))


def test_missing_values_need_a_policy(table):
    gaps = table.with_columns(pl.when(pl.int_range(pl.len()) % 4 > 0).then("rain").alias("rain"))
    with pytest.raises(ArgumentError, match="missing='keep'"):
        TableAutoregressor(**SMALL).fit(gaps)
    rows = TableAutoregressor(missing="keep", **SMALL).fit(gaps).sample(400)
    assert 0.1 < rows["rain"].null_count() / len(rows) < 0.45


def test_validation_rows_of_unknown_categories(table):
    with pytest.raises(UnknownCategoryError, match="Narvik"):
        TableAutoregressor(**SMALL).fit(table, validation=table.with_columns(town=pl.lit("Narvik")))


@pytest.mark.parametrize("kind", MODELS)
def test_a_batch_larger_than_the_data(kind, table):
    left, options = (600, {"pack": 1}) if kind is TableGAN else (540, {})
    with pytest.raises(TooFewRowsError, match=rf"{left} of 600 .* batch_size is 601"):
        kind(batch_size=601, **options).fit(table)


def test_a_model_that_is_not_trained():
    with pytest.raises(NotFittedError):
        TableAutoregressor().sample(1)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_shares_that_there_are_not(share):
    with pytest.raises(ArgumentError, match="validation_share"):
        TableAutoregressor(validation_share=share)


def test_a_gan_has_no_score_to_stop_by(table):
    with pytest.raises(ArgumentError, match="validation_share"):
        TableGAN(validation_share=0.1)
    with pytest.raises(ArgumentError, match="validation"):
        TableGAN(**SMALL).fit(table, validation=table)


def test_rows_to_stop_by_are_of_all_the_table(monkeypatch):
    """Those who sort their rows, by date say, are not stopped by the first ones alone."""
    seen = []
    monkeypatch.setattr("fastload.synth.autoregressive.VALIDATED", 20)
    model = TableAutoregressor(batch_size=100, max_steps=2, score_every=1)
    score = model._score

    def watched():
        losses = model._fitted("network").losses
        monkeypatch.setattr(
            model._fitted("network"), "losses", lambda codes, known: (seen.append(codes), losses(codes, known))[1]
        )
        return score()

    monkeypatch.setattr(model, "_score", watched)
    model.fit({"day": np.arange(2000.0), "late": np.arange(2000) % 3 == 0})
    days = seen[0][:, 0]
    assert len(days) == 20
    assert days.min() < 4
    assert days.max() > 19  # of 24 bins


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_seeds_that_there_are_not(model, seed):
    with pytest.raises(ArgumentError, match="seed"):
        model.sample(3, seed=seed)


def test_a_target_that_is_no_column(table):
    with pytest.raises(UnknownFieldError, match="snow"):
        TableAutoregressor(target="snow", **SMALL).fit(table)


def test_loaders_of_other_things_are_refused():
    with pytest.raises(ArgumentError, match="fastload data set"):
        TableAutoregressor(**SMALL).fit(fl.DataLoader({"x": np.arange(200.0)}, 100))


def test_loaders_of_vectors_are_refused(tmp_path):
    data = fl.write(tmp_path / "v.fl", {"x": np.zeros((200, 3), np.float32)})
    with pytest.raises(DtypeError, match="leave it out"):
        TableAutoregressor(**SMALL).fit(fl.DataLoader(data, 100))


# --- how well ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_dependence_is_learned(kind):
    """Rain tells the delay, in the synthetic rows as in the real ones."""
    table = weather(3000).select("town", "rain", "late")
    steps = 1500 if kind is TableVAE else 500
    rows = kind(**{"batch_size": 200, "max_steps": steps} | QUICK.get(kind, {})).fit(table).sample(3000)
    for frame in (table, rows):
        rainy, dry = (frame.filter(pl.col("rain") > 12)["late"].mean(), frame.filter(pl.col("rain") < 5)["late"].mean())
        assert rainy > 0.5
        assert dry < 0.2


def test_a_resumed_training_is_the_same_training(table, tmp_path):
    path = tmp_path / "half"
    whole = TableAutoregressor(**SMALL).fit(table)
    with pytest.raises(KeyboardInterrupt):
        TableAutoregressor(**SMALL).fit(table, checkpoint=path, checkpoint_every=10, callback=stop_at(25))
    resumed = TableAutoregressor(**SMALL).fit(table, checkpoint=path)
    assert resumed.history == whole.history
    assert resumed.sample(20).equals(whole.sample(20))


def test_a_checkpoint_of_another_table(table, tmp_path):
    path = tmp_path / "half"
    TableAutoregressor(**SMALL).fit(table, checkpoint=path)
    with pytest.raises(StateError, match="columns"):
        TableAutoregressor(**SMALL).fit(weather(seed=9), checkpoint=path)


# --- mixed into a loader ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    weather(400).drop("day", "country").write_parquet(folder / "w.parquet")
    fl.convert(folder / "w.parquet", folder / "w.fl")
    return fl.open(folder / "w.fl")


@pytest.fixture(scope="module")
def on_data(data):
    return TableAutoregressor(batch_size=100, max_steps=30).fit(data)


def test_new_rows_come_after_those_of_the_batch(data, on_data):
    plain = next(iter(fl.DataLoader(data, 40)))
    mixed = next(iter(fl.DataLoader(data, 40, transform=Mixed(on_data, data, ratio=0.5, where={"late": True}))))
    assert list(mixed) == list(plain)
    for name, values in plain.items():
        assert torch.equal(mixed[name][:40], values)
        assert mixed[name].dtype == values.dtype
        assert len(mixed[name]) == 60
    assert mixed["late"][40:].all()


def test_mixed_batches_are_a_function_of_seed_and_rows(data, on_data):
    def batches(threads, seed):
        loader = fl.DataLoader(
            data, 40, shuffle=True, seed=1, num_workers=threads, transform=Mixed(on_data, data, ratio=1.0, seed=seed)
        )
        return [batch["rain"] for batch in loader]

    first, again, other = batches(0, 0), batches(2, 0), batches(2, 1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert len({tuple(batch[40:].tolist()) for batch in first}) == len(first)


def test_mixing_a_model_of_other_columns(data, table):
    with pytest.raises(SchemaError, match="same columns"):
        Mixed(TableAutoregressor(**SMALL).fit(table), data, ratio=1.0)


def test_mixed_batches_hold_fields_alone(data, on_data):
    loader = fl.DataLoader(data, 40, sample_seeds=True, seed=0, transform=Mixed(on_data, data, ratio=0.5))
    with pytest.raises(ArgumentError, match="sample_seed"):
        next(iter(loader))


def test_a_ratio_of_nothing(data, on_data):
    with pytest.raises(ArgumentError, match="ratio"):
        Mixed(on_data, data, ratio=0)
