"""The CPU's kernels against plain NumPy, through the same calls: values and bits, odd sizes, NaN, infinities, subnormals, nulls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastload import _core
from fastload.kernels import cpu, reference
from fastload.plan.random import row_keys
from fastload.schema import Field
from fastload.transform.cast import Cast
from fastload.transform.chain import Chain
from fastload.transform.clip import Clip
from fastload.transform.impute import Impute
from fastload.transform.normalize import Normalize

NUMBERS = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
RESULTS = "int8 int32 int64 uint8 uint64 float16 bfloat16 float32 float64".split()


def chain_of(field, *transforms):
    chain = Chain(field)
    for transform in transforms:
        transform.extend(chain)
    chain.finish()
    return chain


def by_reference(calls, values, valid=None, keys=None):
    for call in calls:
        values = reference.run(call, values.view(call.in_dtype), valid, keys)
    return values


def assert_writes_nothing_else(calls, values, valid, keys):
    """What lies before and behind the rows that are made stays as it was."""
    size_bytes, guard = len(values) * calls[-1].out_row_bytes, 4096
    memory = np.full(size_bytes + 2 * guard, 0xA5, np.uint8)
    out = memory[guard : guard + size_bytes]
    _core.transform_rows([cpu.kernel_of(c) for c in calls], values, valid, keys, len(values), out, 1)
    assert (memory[:guard] == 0xA5).all()
    assert (memory[guard + size_bytes :] == 0xA5).all()


def assert_same(calls, values, valid=None, keys=None, **tolerance):
    """The engine's threads and the reference make the same of `values`, or refuse the same row."""
    if not calls:
        return None
    fast, refused, _ = cpu.run(list(calls), values, valid, keys, 2)
    assert_writes_nothing_else(calls, values, valid, keys)
    if refused:
        with pytest.raises(reference.Refused) as error:
            by_reference(calls, values, valid, keys)
        assert refused == error.value.row + 1
        return None
    plain = by_reference(calls, values, valid, keys)
    assert fast.dtype == plain.dtype
    assert fast.shape == plain.shape
    if tolerance:
        np.testing.assert_allclose(fast, plain, **tolerance)
    else:
        np.testing.assert_array_equal(fast, plain)
    return fast


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_scaling_any_dtype(data):
    dtype, result = data.draw(st.sampled_from(NUMBERS)), data.draw(st.sampled_from(RESULTS))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=7))
    values = data.draw(hnp.arrays(dtype, shape))
    nullable = data.draw(st.booleans())
    valid = data.draw(hnp.arrays(bool, shape[:1])) if nullable else None
    field = Field("x", dtype, shape[1:], nullable=nullable)
    number = st.floats(-100, 100, width=16)
    steps = [Impute("constant", fill_value=data.draw(number))] if data.draw(st.booleans()) else []
    if data.draw(st.booleans()):
        steps.append(Normalize(mean=data.draw(number), std=data.draw(st.floats(1.5, 100, width=16))))
    if data.draw(st.booleans()):
        steps.append(Clip(-1, 1))
    steps.append(Cast(result))
    chain = chain_of(field, *steps)
    with np.errstate(all="ignore"):
        assert_same(chain.calls, values, valid)


def test_every_float16_and_bfloat16_and_what_lies_between_them():
    patterns = np.arange(0, 1 << 32, 65_521, dtype=np.uint32)
    edges = (np.arange(1 << 16, dtype=np.uint32) << 16)[:, None] + np.array(
        [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32
    )
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    around = halves[:, None] + np.array([0, 0x0FFF, 0x1000, 0x1001], np.uint32)
    for bits in (patterns, edges.reshape(-1), around.reshape(-1)):
        for dtype in ("float16", "bfloat16"):
            chain = chain_of(Field("x", "float32"), Cast(dtype))
            with np.errstate(all="ignore"):
                fast, _, _ = cpu.run(chain.calls, bits, None, None, 1)
                plain = by_reference(chain.calls, bits)
            is_nan = np.isnan(bits.view(np.float32))
            np.testing.assert_array_equal(fast[~is_nan], plain[~is_nan])
            top = 0x7C00 if dtype == "float16" else 0x7F80
            assert ((fast[is_nan] & 0x7FFF) > top).all()


def test_subnormals_infinities_and_signed_zeros():
    tiny = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-38, np.inf, -np.inf, np.nan], np.float32)
    chain = chain_of(Field("x", "float32"), Clip(-np.inf, 1e38))
    out = assert_same(chain.calls, tiny)
    assert np.signbit(out[1])
    assert out[2] == tiny[2] != 0
    assert np.isnan(out[7])


@pytest.mark.parametrize("rows", [0, 1, 31, 33, 1023, 70_001])
def test_odd_sizes(rows):
    rng = np.random.default_rng(rows)
    for columns in (1, 3, 63, 64, 65):
        values = rng.normal(size=(rows, columns)).astype(np.float32)
        chain = chain_of(Field("x", "float32", (columns,)), Normalize(mean=list(range(columns)), std=[2.0] * columns))
        assert_same(chain.calls, values)


def test_folding_changes_no_bit():
    """Fill, one affine map and clipping in one pass are what they are one by one."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5000, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    steps = [
        Clip([-1.1, -1.2, -0.3], 2.2),
        Impute("constant", fill_value=[0.1, 7.7, -3.3]),
        Normalize(mean=[0.3, 0.2, 0.1], std=[1.7, 0.3, 0.9]),
        Clip(-1.5, [2.5, 0.5, 1.25]),
    ]
    together = chain_of(Field("x", "float32", (3,)), *steps)
    assert len(together.calls) == 1
    one_by_one = values
    for step in steps:
        one_by_one = by_reference(chain_of(Field("x", "float32", (3,)), step).calls, one_by_one)
    np.testing.assert_array_equal(assert_same(together.calls, values), one_by_one)


def test_two_affine_maps_are_two_passes():
    chain = chain_of(Field("x", "float32"), Normalize(mean=1, std=3), Normalize(mean=2, std=7))
    assert [call.kernel for call in chain.calls] == ["scale", "scale"]
    assert_same(chain.calls, np.linspace(-9, 9, 1001, dtype=np.float32))


def test_a_missing_value_cannot_become_a_whole_number():
    values = np.zeros((5, 2), np.float32)
    values[3, 1] = np.nan
    chain = chain_of(Field("x", "float32", (2,)), Cast("int32"))
    assert cpu.run(chain.calls, values, None, None, 2)[1] == 4


# --- pixels -----------------------------------------------------------------------------------------


def images(rows, height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, height, width, channels), np.uint8)


def augmented(field, *transforms):
    return chain_of(field, *transforms)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pixels(data):
    from fastload.transform.augment import RandomCrop, RandomErase, RandomFlip, RandomRotate, RandomTranslate

    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    channels, rows = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 5))
    fill = data.draw(st.sampled_from([0, 7, [9] * channels]))
    steps = []
    if data.draw(st.booleans()):
        steps.append(RandomFlip(data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))))
    if data.draw(st.booleans()):
        steps.append(RandomTranslate((data.draw(st.integers(0, 14)), data.draw(st.integers(0, 14))), fill=fill))
    elif data.draw(st.booleans()):
        padding = data.draw(st.integers(0, 3))
        size = data.draw(st.integers(1, height + 2 * padding)), data.draw(st.integers(1, width + 2 * padding))
        steps.append(RandomCrop(size, padding=padding, fill=fill))
    if data.draw(st.booleans()):
        steps.append(RandomErase(data.draw(st.floats(0, 1)), value=3))
    warps = data.draw(st.booleans())
    if warps:
        steps.append(RandomRotate(data.draw(st.floats(0, 360)), scale=(0.5, 1.5), fill=fill))
    if data.draw(st.booleans()) or not steps:
        steps.append(Normalize(mean=[120.0] * channels, std=[50.0, 60.0, 70.0, 80.0][:channels]))
        steps.append(Cast(data.draw(st.sampled_from(["float32", "float16", "bfloat16"]))))
    geometry = [step for step in steps if not isinstance(step, (Normalize, Cast))]
    steps = [*data.draw(st.permutations(geometry)), *steps[len(geometry) :]]
    chain = augmented(Field("x", "uint8", (height, width, channels)), *steps)
    assert [call.kernel for call in chain.calls if not call.kernel.startswith("to_")] == [
        "warp_pixels" if warps else "copy_pixels"
    ]
    pixels = images(rows, height, width, channels, data.draw(st.integers(0, 99)))
    keys = row_keys(data.draw(st.integers(0, 9)), 1, np.arange(rows))
    if warps and chain.dtype == "float32":
        assert_same(chain.calls, pixels, None, keys, rtol=1e-6, atol=1e-6)
    elif not warps:
        assert_same(chain.calls, pixels, None, keys)


def test_a_place_just_before_a_pixel_lies_between_the_right_ones():
    """A float32 a little below a whole number is one when 1 is added to it."""
    from fastload.transform.augment import RandomRotate

    for degrees in (1e-5, 3e-5, 1e-4):
        chain = augmented(Field("x", "uint8", (5, 9, 4)), RandomRotate(degrees, scale=(0.5, 1.5)))
        keys = row_keys(0, 1, np.arange(64))
        assert_same(chain.calls, images(64, 5, 9, 4), None, keys, rtol=1e-6, atol=1e-6)


def test_what_is_drawn_is_uniform():
    from fastload.transform.augment import RandomFlip, RandomTranslate

    rows = 20_000
    marked = np.zeros((rows, 9, 9, 1), np.uint8)
    marked[:, 4, 3] = 1  # left of the middle
    chain = augmented(Field("x", "uint8", (9, 9, 1)), RandomTranslate(2), RandomFlip(0.25, 0.0))
    out, _, _ = cpu.run(chain.calls, marked, None, row_keys(5, 0, np.arange(rows)), 2)
    assert (out.sum(axis=(1, 2, 3)) == 1).all()
    ys, xs = np.divmod(out.reshape(rows, -1).argmax(axis=1), 9)
    counts = np.bincount(ys, minlength=9)[2:7]
    assert abs(counts / rows - 0.2).max() < 0.015
    # places 1..5 unflipped, 3..7 flipped
    assert abs((xs == 1).mean() - 0.75 / 5) < 0.012
    assert abs((xs == 7).mean() - 0.25 / 5) < 0.01
