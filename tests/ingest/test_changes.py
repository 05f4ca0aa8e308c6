"""Transforms at conversion: what is stored is what they make of the values."""

from __future__ import annotations

import numpy as np
import pytest

import fastload as fl
from fastload.errors import ArgumentError, NotFittedError, RefusedValueError, UnknownFieldError


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    x = rng.normal(5, 2, (1000, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    n = np.ma.MaskedArray(rng.integers(0, 9, 1000), rng.random(1000) < 0.2)
    return {"x": x, "n": n, "image": rng.integers(0, 256, (1000, 4, 4, 3), np.uint8)}


def test_a_data_set_is_converted_by_its_own_statistics(tmp_path, columns):
    source = fl.write(tmp_path / "a.fl", columns)
    transform = {
        "x": [fl.Impute(), fl.Normalize(), fl.Cast("float16")],
        "n": fl.Normalize("min-max"),
        "image": fl.Normalize(),
    }
    summary = fl.convert(source, tmp_path / "b.fl", transform=transform)
    stored = fl.open(tmp_path / "b.fl")
    assert [(f.name, f.stored) for f in summary.fields] == [
        ("x", "float16 [3]"),
        ("n", "float32"),
        ("image", "float32 [3, 4, 4]"),
    ]
    scale = fl.Normalize().fit(columns["x"])
    expected = fl.Compose([fl.Impute().fit(columns["x"]), scale, fl.Cast("float16")]).transform(columns["x"])
    np.testing.assert_array_equal(stored[:]["x"], expected)
    present = ~np.ma.getmaskarray(columns["n"])
    np.testing.assert_array_equal(stored[:]["n_valid"], present)
    np.testing.assert_allclose(stored[:]["n"][present], columns["n"].data[present] / 8, rtol=1e-6)
    channels = stored[:]["image"].astype(np.float64)
    np.testing.assert_allclose(channels.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(channels.std(axis=(0, 2, 3)), 1, atol=1e-5)


def test_other_sources_need_fitted_ones(tmp_path, columns):
    arrays = {"x": columns["x"]}
    with pytest.raises(NotFittedError, match="fit it first"):
        fl.convert(arrays, tmp_path / "b.fl", transform={"x": fl.Normalize()})
    assert not (tmp_path / "b.fl").exists()
    scale = fl.Normalize().fit(columns["x"])
    fl.convert(arrays, tmp_path / "b.fl", transform={"x": scale})
    np.testing.assert_array_equal(fl.open(tmp_path / "b.fl")[:]["x"], scale.transform(columns["x"]))


def test_split_parts_are_changed_alike(tmp_path, columns):
    summary = fl.convert(
        {"x": columns["x"]}, tmp_path / "b.fl", split={"a": 0.5, "b": 0.5}, transform={"x": fl.Clip(4, 6)}
    )
    assert sum(summary.rows_written.values()) == 1000
    for data in summary.datasets.values():
        assert (data.statistics["x"].min.min(), data.statistics["x"].max.max()) == (4, 6)


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        ({"z": fl.Clip(0, 1)}, UnknownFieldError, "'z'"),
        ({"x": len}, ArgumentError, "must be a transform"),
        ({"image": fl.RandomFlip()}, ArgumentError, "give it to the loader"),
        ({"x": fl.Impute(add_mask=True)}, ArgumentError, "masks"),
        ({"x": fl.Cast("int8")}, RefusedValueError, "field 'x'"),
    ],
)
def test_wrong_input_leaves_nothing(tmp_path, columns, transform, error, message):
    with pytest.raises(error, match=message):
        fl.convert(fl.write(tmp_path / "a.fl", columns), tmp_path / "b.fl", transform=transform)
    assert not (tmp_path / "b.fl").exists()
