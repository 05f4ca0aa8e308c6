"""Autoencoders of vectors: curved manifolds, anomalies, noise; data of all kinds; the same results after saving and resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from stopping import stop_at

import fastload as fl
from fastload.errors import (
    ArgumentError,
    DtypeError,
    NotFiniteError,
    NotFittedError,
    ShapeError,
    StateError,
    TooFewRowsError,
    UnknownFieldError,
)
from fastload.synth.autoencoder import Autoencoder

SMALL = {"hidden": (48, 48), "batch_size": 64, "learning_rate": 3e-3, "score_every": 100}


def curve(rows: int, seed: int = 0) -> np.ndarray:
    """Points of a curve in six dimensions, of very unequal units: float64 [rows, 6]."""
    t = np.random.default_rng(seed).uniform(-1, 1, rows)
    x = np.column_stack([t, t**2, np.sin(3 * t), np.cos(3 * t), np.sin(5 * t), np.exp(t)])
    return x * [1, 1000, 1, 1e-3, 1, 50] + [0, 0, 1e6, 0, 0, 7]


def made_by_chance(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rows whose columns are shuffled apart: each column as it was, and nothing between them."""
    return np.random.default_rng(seed).permuted(x, axis=0)


class Loader:
    """A loader of anybody's: batches of 20 rows, as dicts."""

    def __init__(self, x: np.ndarray, name: str = "x") -> None:
        self.x, self.name = torch.from_numpy(x), name

    def __iter__(self):
        yield from ({self.name: part} for part in self.x.split(20) if len(part))


def quick(**options) -> Autoencoder:
    return Autoencoder(2, **{"hidden": (8,), "batch_size": 16, "max_steps": 20} | options)


@pytest.fixture(scope="module")
def trained() -> Autoencoder:
    return Autoencoder(1, max_steps=1500, **SMALL).fit(curve(1000))


def test_a_curved_line_is_one_number_where_pca_needs_more(trained):
    train, test = curve(1000), curve(500, seed=1)
    center, scale = train.mean(0), train.std(0)
    found = trained.reconstruct(test)
    assert trained.encode(test).shape == (500, 1)
    assert found.shape == test.shape
    for width in (1, 2):
        pca = PCA(width).fit((train - center) / scale)
        standardised = (test - center) / scale
        linear = np.square(pca.inverse_transform(pca.transform(standardised)) - standardised).mean()
        assert np.square((found - test) / scale).mean() < 0.2 * linear
    np.testing.assert_allclose(
        trained.anomaly_score(test), np.square((found - test) / scale).mean(1), rtol=0.05, atol=1e-5
    )


def test_rows_unlike_the_others_have_the_highest_scores(trained):
    test = curve(500, seed=1)
    scores = np.concatenate([trained.anomaly_score(test), trained.anomaly_score(made_by_chance(test))])
    assert scores.dtype == np.float32
    assert roc_auc_score(np.arange(1000) >= 500, scores) > 0.95


def test_noise_is_taken_away():
    clean = curve(500, seed=1)
    model = Autoencoder(1, noise=0.3, max_steps=800, **SMALL).fit(curve(1000))
    noise = 0.3 * model.scale * np.random.default_rng(2).normal(size=clean.shape)
    left = np.square((model.reconstruct(clean + noise) - clean) / model.scale).mean()
    assert left < 0.4 * np.square(noise / model.scale).mean()


def test_the_held_out_rows_end_training_and_the_best_weights_stay(trained):
    scores = {row["step"]: row["score"] for row in trained.history if "score" in row}
    assert trained.step == len(trained.history)
    held_out = trained.anomaly_score(trained._validation["x"]).mean()
    assert held_out == pytest.approx(min(scores.values()), rel=1e-6)
    overfit = Autoencoder(6, hidden=(64,), batch_size=16, patience=1, score_every=10, learning_rate=0.1)
    assert overfit.fit(np.random.default_rng(0).normal(size=(60, 12))).step < overfit.max_steps
    assert not any("score" in row for row in quick(validation_share=0, score_every=5).fit(curve(100)).history)


def test_rows_to_stop_by_may_be_given(tmp_path):
    validation = curve(50, seed=2)
    found = [
        quick(score_every=10).fit(curve(100), validation=rows)
        for rows in (validation, fl.write(tmp_path / "v.fl", {"x": validation}), torch.from_numpy(validation))
    ]
    assert all("score" in model.history[9] and model.history == found[0].history for model in found)
    assert found[0].anomaly_score(validation).mean() == pytest.approx(min(r.get("score", 9) for r in found[0].history))


def test_saved_and_loaded(trained, tmp_path):
    trained.save(tmp_path / "model")
    found, test = Autoencoder.load(tmp_path / "model"), curve(100, seed=3)
    assert (found.latent_size, found.hidden, found.noise) == (1, (48, 48), 0.0)
    for use in ("encode", "reconstruct", "anomaly_score"):
        assert np.array_equal(getattr(found, use)(test), getattr(trained, use)(test))
    assert np.array_equal(found.decode(found.encode(test)), found.reconstruct(test))
    assert np.array_equal(found.center, trained.center)


def test_it_goes_on_exactly(tmp_path):
    whole = quick(max_steps=60, noise=0.1, score_every=7).fit(curve(100))
    path = tmp_path / "state"
    for step in (13, 35):
        with pytest.raises(KeyboardInterrupt):
            quick(max_steps=60, noise=0.1, score_every=7).fit(curve(100), checkpoint=path, callback=stop_at(step))
    found = quick(max_steps=60, noise=0.1, score_every=7).fit(curve(100), checkpoint=path)
    assert found.history == whole.history
    assert np.array_equal(found.reconstruct(curve(9)), whole.reconstruct(curve(9)))
    with pytest.raises(StateError, match="differs in center; scale"):
        quick(max_steps=60, noise=0.1, score_every=7).fit(curve(100) * 2, checkpoint=path)


def test_a_seed_says_all_and_nothing_global_changes():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = quick(seed=1, noise=0.1).fit(curve(100))
    first.reconstruct(curve(5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = quick(seed=1, noise=0.1).fit(curve(100))
    assert again.history == first.history
    assert np.array_equal(again.encode(curve(5)), first.encode(curve(5)))
    assert quick(seed=2, noise=0.1).fit(curve(100)).history != first.history


@pytest.mark.parametrize("kind", ["tensor", "dict", "tuple", "frame", "masked", "read-only"])
def test_data_in_memory(kind):
    x = curve(100).astype(np.float32)
    frozen = x.copy()
    frozen.flags.writeable = False
    pandas = pytest.importorskip("pandas")
    given = {
        "tensor": torch.from_numpy(x),
        "dict": {"label": np.arange(100), "x": x},
        "tuple": (x,),
        "frame": pandas.DataFrame(x),
        "masked": np.ma.MaskedArray(x, mask=False),
        "read-only": frozen,
    }[kind]
    expected, found = quick().fit(x), quick().fit(given)
    np.testing.assert_allclose([r["error"] for r in found.history], [r["error"] for r in expected.history], rtol=1e-4)
    use = found.reconstruct(given if kind in ("tensor", "frame", "read-only") else x)
    assert isinstance(use, torch.Tensor if kind == "tensor" else np.ndarray)


@pytest.mark.parametrize("kind", ["path", "dataset", "loader", "iterable", "transformed", "batches", "torch"])
def test_data_in_files_and_in_batches(tmp_path, kind):
    data = {"label": np.arange(100), "x": curve(100).astype(np.float32)}
    dataset = fl.write(tmp_path / "d.fl", data)
    loader = {"batch_size": 16, "shuffle": True, "drop_last": True, "seed": 0}
    given = {
        "path": tmp_path / "d.fl",
        "dataset": dataset,
        "loader": fl.DataLoader(dataset, **loader),
        "iterable": fl.IterableDataset(dataset, **loader),
        "transformed": fl.DataLoader(dataset, **loader, transform=lambda batch: batch),
        "batches": Loader(data["x"]),
        "torch": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(data["x"])), 10),
    }[kind]
    found, expected = quick().fit(given), quick(validation_share=0).fit(data)
    assert found.schema == {"x": ["float32", [6]]}
    if kind in ("transformed", "batches", "torch"):
        np.testing.assert_allclose(
            found.scale, data["x"].astype(np.float64).std(0), rtol=0.05 if kind == "transformed" else 1e-6
        )
    if kind in ("path", "dataset", "loader", "iterable"):
        assert found.history == expected.history
    if kind == "transformed":  # the pass for mean and spread takes nothing away
        assert given.epoch == 4  # of six batches each, so that 20 steps end in the fourth
        errors = [[row["error"] for row in model.history] for model in (found, expected)]
        np.testing.assert_allclose(*errors, rtol=0.1)


def test_mean_and_spread_are_in_the_files(tmp_path, monkeypatch):
    x = curve(100)
    dataset = fl.write(tmp_path / "d.fl", {"x": x})
    monkeypatch.setattr(fl.Dataset, "batches", None)  # nothing is read for them
    found = quick().fit(fl.DataLoader(dataset, batch_size=16))
    np.testing.assert_allclose(found.center, x.mean(0))
    np.testing.assert_allclose(found.scale, x.std(0))


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_images(shape, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (80, *shape), dtype=np.uint8)
    found = quick().fit(images)
    assert found.center.shape == (shape[2:] or (1,))
    assert found.encode(images).shape == (80, 2)
    assert found.reconstruct(images).shape == images.shape
    assert found.reconstruct(images).dtype == np.float32
    expected = np.square((found.reconstruct(images) - images) / found.scale).reshape(80, -1).mean(1)
    np.testing.assert_allclose(found.anomaly_score(images), expected, rtol=1e-4)
    in_files = quick(validation_share=0).fit(fl.write(tmp_path / "d.fl", {"x": images}))
    assert in_files.history == quick(validation_share=0).fit(images).history


def test_a_constant_column_is_no_trouble():
    x = np.column_stack([curve(100), np.full(100, 1e9), np.zeros(100), np.full(100, np.float32(0.1))])
    for data in (x, x.astype(np.float32), Loader(x)):
        found = quick().fit(data)
        assert found.scale[6:].tolist() == [1, 1, 1]
        assert np.isfinite(found.anomaly_score(x)).all()
        np.testing.assert_allclose(found.reconstruct(x)[:, 6], 1e9, rtol=1e-5)


def test_small_differences_between_large_numbers_are_seen():
    seconds = 1.7e9 + np.random.default_rng(0).normal(size=(500, 1)) * [1.0, 2.0]
    found = quick(max_steps=300, learning_rate=0.01).fit(seconds)
    assert found.reconstruct(seconds).dtype == np.float64
    assert np.square(found.reconstruct(seconds) - seconds).mean() < 0.1


def holed(dtype=np.float64) -> np.ndarray:
    x = curve(100).astype(dtype)
    x[70, 4], x[90, 0] = np.nan, np.inf
    return x


@pytest.mark.parametrize("kind", ["array", "dataset", "loader", "nullable", "batches", "validation", "use"])
def test_missing_values_are_named(tmp_path, kind):
    x, fields = holed(), fl.Schema([fl.Field("x", "float64", (6,), nullable=True)])
    nulls = np.ma.MaskedArray(curve(100), np.isin(np.arange(600) // 6, [70, 90]).reshape(100, 6))
    uses = {
        "array": lambda: quick().fit(x),
        "dataset": lambda: quick().fit(fl.write(tmp_path / "d.fl", {"x": x})),
        "loader": lambda: quick().fit(fl.DataLoader(fl.write(tmp_path / "l.fl", {"x": x}), 16, shuffle=True)),
        "nullable": lambda: quick().fit(fl.write(tmp_path / "n.fl", {"x": nulls}, schema=fields)),
        "batches": lambda: quick().fit(Loader(x)),
        "validation": lambda: quick().fit(curve(100), validation=x),
        "use": lambda: quick().fit(curve(100)).anomaly_score(x),
    }
    column = 0 if kind == "nullable" else 4
    with pytest.raises(
        NotFiniteError, match=rf"field 'x' must be finite, and is nan at row 70, column {column}\. Fill in"
    ):
        uses[kind]()


def test_wrong_use(tmp_path):
    x = curve(100)
    model = quick().fit(x)
    for wrong, error, message in (
        (x[:, :5], ShapeError, r"field 'x' must be \[rows, 6\], got \[100, 5\]"),
        (x.astype(str), DtypeError, "must hold numbers, got <U32: encode it first"),
        (x[0], ShapeError, r"got \[6\]"),
    ):
        for use in (model.encode, model.reconstruct, model.anomaly_score):
            with pytest.raises(error, match=message):
                use(wrong)
    with pytest.raises(ShapeError, match=r"'latent' must be \[rows, 2\], got \[100, 6\]"):
        model.decode(x)
    assert model.encode(x[:0]).shape == (0, 2)
    for data, error, message in (
        (x[:15], TooFewRowsError, "14 of 15 are left to train on, and batch_size is 16; make it smaller"),
        (fl.write(tmp_path / "d.fl", {"x": x[:9]}), TooFewRowsError, "they have 9 rows, and batch_size is 16"),
        ({"y": x}, UnknownFieldError, "the data must have a field 'x'; they have 'y'"),
        (Loader(x, "y"), UnknownFieldError, "the data must have a field 'x'; they have 'y'"),
        (x[:, 0], ShapeError, "must be a vector or an image, each of one shape, got single numbers"),
        (fl.write(tmp_path / "e.fl", {"x": x[:, 0]}), ShapeError, "got single numbers"),
        ((x, x), ArgumentError, "must be at most x; got 2 parts"),
        (x.astype(object).astype(str), DtypeError, "must hold numbers"),
        (Loader(x[:0]), TooFewRowsError, "there must be rows to learn from"),
    ):
        with pytest.raises(error, match=message):
            quick().fit(data)
    with pytest.raises(UnknownFieldError):
        quick(inputs="z").fit(tmp_path / "d.fl")
    with pytest.raises(ShapeError, match=r"\[rows, 6\], got \[100, 5\]"):
        quick().fit(x, validation=x[:, :5])
    for use in (quick().encode, quick().decode, quick().reconstruct, quick().anomaly_score):
        with pytest.raises(NotFittedError):
            use(x)
    for options in ({"noise": -1}, {"validation_share": 1}, {"hidden": (8, 0)}, {"latent_size": 0}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            Autoencoder(**{"latent_size": 2} | options)
