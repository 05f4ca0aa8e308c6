"""What transforms learn and do, against scikit-learn; JSON; wrong input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, RobustScaler, StandardScaler

import fastload as fl
from fastload.errors import ArgumentError, DtypeError, NotFittedError, RefusedValueError
from fastload.transform.base import Transform
from fastload.transform.quantiles import quantiles
from fastload.transform.sketch import QuantileSketch

EVERY = {
    "z-score": lambda: fl.Normalize(),
    "min-max": lambda: fl.Normalize("min-max"),
    "robust": lambda: fl.Normalize("robust"),
    "told": lambda: fl.Normalize(mean=[1, 2, 3], std=[4, 5, 6]),
    "mean": lambda: fl.Impute(),
    "median": lambda: fl.Impute("median"),
    "most_frequent": lambda: fl.Impute("most_frequent"),
    "constant": lambda: fl.Impute("constant", fill_value=-1),
    "clip": lambda: fl.Clip(-1, [1, 2, 3]),
    "cast": lambda: fl.Cast("float16"),
    "compose": lambda: fl.Compose([fl.Impute(), fl.Normalize(), fl.Clip(-3, 3)]),
}


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    values = rng.normal([1, -20, 300], [0.1, 2, 70], size=(999, 3)).astype(np.float32).round(1)
    values[rng.random(values.shape) < 0.05] = np.nan
    return values


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fl.Normalize(), StandardScaler()),
        (fl.Normalize("min-max"), MinMaxScaler()),
        (fl.Normalize("robust"), RobustScaler()),
        (fl.Impute(), SimpleImputer()),
        (fl.Impute("median"), SimpleImputer(strategy="median")),
        (fl.Impute("most_frequent"), SimpleImputer(strategy="most_frequent")),
        (fl.Impute("constant", fill_value=7), SimpleImputer(strategy="constant", fill_value=7)),
    ],
    ids=str,
)
def test_as_scikit_learn(table, ours, theirs):
    np.testing.assert_allclose(
        ours.fit_transform(table), theirs.fit_transform(table.astype(np.float64)), rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize("kind", EVERY)
def test_saved_and_loaded_it_does_the_same(kind, table, tmp_path):
    transform = EVERY[kind]().fit(table)
    transform.save(tmp_path / "t.json")
    again = fl.load_transform(tmp_path / "t.json")
    assert repr(again) == repr(transform)
    np.testing.assert_array_equal(again.transform(table), transform.transform(table))


@pytest.mark.parametrize("kind", EVERY)
def test_contract(kind, table):
    """What holds for every transform."""
    before = table.copy()
    transform = EVERY[kind]()
    assert transform.fit(table) is transform
    params = transform.get_params()
    assert type(transform)(**params).get_params() == params
    out = transform.transform(table)
    np.testing.assert_array_equal(table, before)
    assert out.shape == table.shape
    np.testing.assert_array_equal(transform.transform(np.asfortranarray(table)), out)
    np.testing.assert_array_equal(transform.transform(np.repeat(table, 2, axis=0)[::2]), out)
    np.testing.assert_array_equal(transform.transform(table, num_workers=0), out)
    assert transform.transform(table[:0]).shape == (0, 3)
    json.dumps(transform.to_json())


def test_columns_without_spread_or_values_are_only_shifted():
    values = np.array([[5, np.nan], [5, np.nan]], np.float32)
    assert fl.Normalize().fit_transform(values)[:, 0].tolist() == [0, 0]
    assert np.isnan(fl.Normalize().fit_transform(values)[:, 1]).all()
    assert fl.Impute().fit_transform(values)[:, 1].tolist() == [0, 0]
    assert fl.Impute("median").fit_transform(values)[:, 1].tolist() == [0, 0]
    assert fl.Normalize("robust").fit_transform(values)[:, 0].tolist() == [0, 0]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_quantiles_are_exact(data):
    dtype = data.draw(
        st.sampled_from("int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split())
    )
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=40))
    elements = st.floats(width=np.dtype(dtype).itemsize * 8, allow_infinity=False) if "float" in dtype else None
    values = data.draw(hnp.arrays(dtype, shape, elements=elements))
    levels = data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=4))
    with np.errstate(all="ignore"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = np.nanquantile(values.astype(np.float64), levels, axis=0).reshape(len(levels), -1)
            found = quantiles(values, levels)
    scale = np.nanmax(np.abs(values.astype(np.float64)), initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * scale)


def test_quantiles_of_large_skewed_columns():
    rng = np.random.default_rng(0)
    values = np.stack(
        [rng.normal(size=300_000), np.full(300_000, 1e9), rng.integers(0, 2, 300_000), rng.pareto(1, 300_000)], axis=1
    )
    values[rng.random(values.shape) < 0.01] = np.nan
    np.testing.assert_array_equal(
        quantiles(values, (0.25, 0.5, 0.75)), np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
    )


@pytest.mark.parametrize("parts", [1, 7])
def test_sketches_keep_their_error_however_they_were_merged(parts):
    rng = np.random.default_rng(parts)
    values = np.stack([rng.pareto(1, 400_000), np.sort(rng.normal(size=400_000)), rng.integers(0, 3, 400_000)], axis=1)
    values[::100] = np.nan
    sketches = [QuantileSketch(3).update(part) for part in np.array_split(values, parts)]
    whole = sketches[0]
    for sketch in sketches[1:]:
        whole.merge(QuantileSketch.from_bytes(sketch.to_bytes()))
    assert whole.rank_error < 0.001
    levels = (0.01, 0.25, 0.5, 0.75, 0.99)
    for found, column in zip(whole.quantiles(levels).T, values.T):
        column = np.sort(column[~np.isnan(column)])
        low, high = (np.searchsorted(column, found, side) / len(column) for side in ("left", "right"))
        assert (np.array(levels) >= low - 3 * whole.rank_error).all()  # 99 % of the time within one
        assert (np.array(levels) <= high + 3 * whole.rank_error).all()


def test_categories():
    values = np.array([30, 10, 20, 10, 30])
    np.testing.assert_array_equal(
        fl.Ordinal().fit_transform(values), OrdinalEncoder().fit_transform(values[:, None]).ravel()
    )
    np.testing.assert_array_equal(
        fl.OneHot().fit_transform(values), OneHotEncoder(sparse_output=False).fit_transform(values[:, None])
    )
    with pytest.raises(RefusedValueError, match=r"row 1: a value is none of the 3 categories \(10, 20, 30\)"):
        fl.Ordinal().fit(values).transform(np.array([10, 11]))
    lenient = fl.Ordinal(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=9).fit(values)
    assert lenient.transform(np.array([10.0, 11.0, np.nan])).tolist() == [0, -1, 9]
    assert fl.OneHot(handle_unknown="ignore").fit(values).transform(np.array([11, 20])).tolist() == [
        [0, 0, 0],
        [0, 1, 0],
    ]
    for dtype, one in (("float16", 0x3C00), ("bfloat16", 0x3F80)):
        assert fl.OneHot(dtype=dtype).fit(values).transform(np.array([20])).view(np.uint16).tolist() == [[0, one, 0]]


def test_the_middle_of_a_file_is_learned_from_its_statistics(tmp_path, table):
    data = fl.write(tmp_path / "d.fl", {"x": table, "y": np.arange(999) % 3})
    np.testing.assert_allclose(
        fl.Normalize().fit(data.select("x")).center_, fl.Normalize().fit(table).center_, rtol=1e-12
    )
    medians = np.nanmedian(table.astype(float), axis=0)
    np.testing.assert_array_equal(fl.Impute("median", exact=True).fit(data.select("x")).statistics_, medians)
    np.testing.assert_allclose(fl.Impute("median").fit(data.select("x")).statistics_, medians, atol=2.0)
    with pytest.raises(ArgumentError, match=r"give dataset.select"):
        fl.Normalize().fit(data)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: fl.Normalize("z"),
        lambda: fl.Normalize(mean=1),
        lambda: fl.Normalize(mean=1, std=0),
        lambda: fl.Impute("average"),
        lambda: fl.Impute("constant"),
        lambda: fl.Impute(fill_value=1),
        lambda: fl.Clip(),
        lambda: fl.Clip(2, 1),
        lambda: fl.Cast("string"),
        lambda: fl.Compose([]),
        lambda: fl.Compose([len]),
        lambda: fl.Ordinal(handle_unknown="ignore"),
        lambda: fl.Ordinal(unknown_value=1),
        lambda: fl.OneHot(handle_unknown="use"),
        lambda: fl.RandomFlip(2),
        lambda: fl.RandomCrop(0),
        lambda: fl.RandomTranslate(-1),
        lambda: fl.RandomRotate((3, 1)),
        lambda: fl.RandomRotate(1, scale=(0, 1)),
        lambda: fl.RandomErase(0.5, scale=(0, 2)),
        lambda: fl.Normalize(mean=[1, 2], std=[1, 2]).transform(np.zeros((4, 3))),
        lambda: fl.Normalize(mean=0.5, std=0.25).transform(np.zeros((1, 2, 2, 3), np.uint8)),
        lambda: fl.RandomFlip().transform(np.zeros((1, 2, 2, 3), np.float32)),
        lambda: fl.RandomCrop(9).transform(np.zeros((1, 2, 2, 3), np.uint8)),
        lambda: fl.Compose([fl.RandomCrop(2), fl.RandomTranslate(1)]).transform(np.zeros((1, 2, 2, 3), np.uint8)),
        lambda: fl.load_transform(__file__),
        lambda: fl.Clip(0, 1).set_params(top=3),
    ],
)
def test_wrong_arguments(wrong):
    with pytest.raises(ArgumentError):
        wrong()


def test_without_fit():
    with pytest.raises(NotFittedError, match="fit it first"):
        fl.Normalize().transform(np.zeros((2, 2)))
    with pytest.raises(DtypeError, match="numbers"):
        fl.Clip(0, 1).transform(np.array(["a"]))


def test_images_as_functions_on_batches():
    """The classic pipeline, checked with plain slicing."""
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    mean, std = np.array([125.3, 123.0, 113.9]), np.array([63.0, 62.1, 66.7])
    pipeline = fl.Compose([fl.RandomCrop(32, padding=4), fl.RandomFlip(), fl.Normalize(mean=mean, std=std)])
    out = pipeline.transform(images, seed=3, epoch=2)
    assert out.dtype == np.float32
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for image, result in zip(padded, out):
        windows = [image[y : y + 32, x : x + 32][:, ::flip] for y in range(9) for x in range(9) for flip in (1, -1)]
        scaled = [((w - mean.astype(np.float32)) / std.astype(np.float32)).transpose(2, 0, 1) for w in windows]
        assert any(np.allclose(result, s, atol=1e-5) for s in scaled)
    assert not np.array_equal(out, pipeline.transform(images, seed=3, epoch=3))
    np.testing.assert_array_equal(
        out[10:20], pipeline.transform(images[10:20], seed=3, epoch=2, rows=np.arange(10, 20))
    )


def test_values_given_before_and_after_normalising():
    image = np.full((1, 4, 4, 1), 100, np.uint8)
    before = fl.Compose([fl.RandomErase(1.0, value=50), fl.Normalize(mean=50, std=10)]).transform(image)
    after = fl.Compose([fl.Normalize(mean=50, std=10), fl.RandomErase(1.0, value=3)]).transform(image)
    assert set(before.ravel().tolist()) == {0.0, 5.0}
    assert set(after.ravel().tolist()) == {3.0, 5.0}
    turned = fl.Compose([fl.Normalize(mean=50, std=10), fl.RandomRotate((45, 45), fill=-2)]).transform(image)
    assert np.isclose(turned[0, 0, 0, 0], -2, atol=1e-4) or turned.min() < 5


def test_what_comes_before_normalising_an_image_changes_no_layout():
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), np.uint8)
    clipped = fl.Compose([fl.Clip(50, 200), fl.Normalize(mean=100, std=50)]).transform(images)
    expected = (np.clip(images, 50, 200).astype(np.float32) - np.float32(100)) * np.float32(1 / 50)
    np.testing.assert_allclose(clipped, expected.transpose(0, 3, 1, 2), rtol=1e-6)
    with pytest.raises(ArgumentError, match="rotate images before"):
        fl.Compose([fl.Clip(50, 200), fl.RandomRotate(10)]).transform(images)
    after = fl.Compose([fl.RandomRotate(0), fl.Clip(50, 200)]).transform(images)
    np.testing.assert_array_equal(after, np.clip(images, 50, 200).transpose(0, 3, 1, 2))


def test_erasing_named_before_cropping_is_of_the_window():
    images = np.full((200, 9, 9, 1), 7, np.uint8)
    out = fl.Compose([fl.RandomErase(1.0, value=1), fl.RandomCrop((9, 2))]).transform(images)
    assert set(out.ravel().tolist()) == {1, 7}
    assert len({tuple((image == 1).sum(axis=(0, 2)).tolist()) for image in out}) > 20


def test_rotation_turns_as_rot90_does_and_scale_enlarges():
    images = np.random.default_rng(0).integers(0, 256, (2, 7, 7, 3), np.uint8)
    for quarter in range(4):
        turned = fl.RandomRotate((90 * quarter, 90 * quarter)).transform(images)
        np.testing.assert_allclose(turned, np.rot90(images, quarter, axes=(1, 2)).transpose(0, 3, 1, 2), atol=2e-3)
    twice = fl.RandomRotate(0, scale=(2, 2)).transform(images)
    np.testing.assert_allclose(twice[:, :, 1::2, 1::2], images[:, 2:5, 2:5].transpose(0, 3, 1, 2), atol=1e-4)


def test_the_refusal_is_that_of_the_step_that_refuses():
    encode = fl.Compose([fl.Clip(0, 5), fl.Ordinal(categories=[0, 1, 5])])
    with pytest.raises(RefusedValueError, match="row 2: a value is none of the 3 categories"):
        encode.transform(np.array([1.0, 9.0, 3.0]))


def test_categories_that_the_field_cannot_hold_are_refused():
    for dtype, wrong in ((np.int64, [1.5, 2]), (np.uint8, [1, 300]), (np.float32, ["a", "b"])):
        with pytest.raises(ArgumentError, match="must be numbers that"):
            fl.Ordinal(categories=wrong).transform(np.array([1], dtype))


def test_whole_numbers_beyond_those_of_floats():
    large = np.array([2**64 - 1, 2**63 + 1, 2**53 + 1], np.uint64)
    assert fl.Clip(0, 2**64 - 2).transform(large).tolist() == [2**64 - 2, 2**63 + 1, 2**53 + 1]
    assert fl.Cast("int64").transform(large).tolist() == [2**63 - 1, 2**63 - 1, 2**53 + 1]
    assert fl.Clip(2**53 + 1, 2**62 + 1).transform(np.array([0, 2**62 + 3])).tolist() == [2**53 + 1, 2**62 + 1]


def test_nulls_teach_nothing(tmp_path):
    masked = np.ma.MaskedArray([5, 7, 9, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1])
    data = fl.write(tmp_path / "d.fl", {"n": masked}).select("n")
    for rows in (data, fl.open(tmp_path / "d.fl")):
        assert fl.Impute("median", exact=True).fit(rows).statistics_.tolist() == [7]
        assert fl.Impute("median").fit(rows).statistics_.tolist() == [7]
        assert fl.Impute("most_frequent").fit(rows).statistics_.tolist() == [5]
        assert fl.Ordinal().fit(rows).categories_.tolist() == [5, 7, 9]


def test_fitting_goes_past_what_only_moves_pixels():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
    pipeline = fl.Compose([fl.RandomCrop(8, padding=4), fl.RandomFlip(), fl.Normalize()]).fit(images)
    np.testing.assert_allclose(pipeline.transforms[-1].center_, images.mean(axis=(0, 1, 2)))


def test_a_mask_is_not_dropped_in_silence():
    with pytest.raises(ArgumentError, match=r"np\.isnan"):
        fl.Impute("constant", fill_value=0, add_mask=True).transform(np.zeros(3))


def test_what_a_transform_is_must_be_said():
    class Nothing(Transform):
        pass

    with pytest.raises(TypeError, match="extend"):
        Nothing()
