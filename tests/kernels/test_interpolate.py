"""Rows between rows, as SMOTE makes them: the engine's threads against plain NumPy, to the last bit."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload import _core
from fastload.errors import ArgumentError, RowIndexError
from fastload.kernels import cpu, reference

DTYPES = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split()


def table(dtype, rows, columns, seed=0):
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (random.standard_normal((rows, columns)) * 100).astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return random.integers(max(low, -(2**40)), min(high, 2**40), (rows, columns), dtype, endpoint=True)


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(1, 50),
    columns=st.integers(1, 70),
    made=st.integers(0, 300),
    threads=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_as_the_reference(dtype, rows, columns, made, threads, seed):
    random = np.random.default_rng(seed)
    values = table(dtype, rows, columns, seed)
    bases, neighbors = random.integers(0, rows, (2, made))
    parts = random.uniform(size=made)
    memory = np.full((made + 2, columns), 77, dtype)
    out = memory[1:-1]
    cpu.interpolate(values, bases, neighbors, parts, out, threads)
    np.testing.assert_array_equal(out, reference.interpolate(values, bases, neighbors, parts))
    assert (memory[[0, -1]] == 77).all()  # and nothing else was written


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_single_rows_by_its_address(dtype):
    """As the loader calls it: one row at a time, from C."""
    values = table(dtype, 9, 5)
    pointer, places = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64)
    kind = ctypes.CFUNCTYPE(
        None, pointer, places, places, ctypes.POINTER(ctypes.c_double), ctypes.c_int64, ctypes.c_int64, pointer
    )
    function = kind(cpu.interpolator(dtype))
    out = np.empty((1, 5), dtype)
    for base, neighbor, part in [(0, 8, 0.0), (3, 4, 0.25), (8, 1, 0.999)]:
        function(
            values.ctypes.data, ctypes.c_int64(base), ctypes.c_int64(neighbor), ctypes.c_double(part), 1, 5,
            out.ctypes.data,
        )  # fmt: skip
        np.testing.assert_array_equal(
            out, reference.interpolate(values, np.array([base]), np.array([neighbor]), np.array([part]))
        )


def test_wrong_calls_are_refused():
    values, out = table("float32", 4, 3), np.empty((2, 3), np.float32)
    address, parts = cpu.interpolator("float32"), np.zeros(2)
    with pytest.raises(RowIndexError, match="row 4 is not one of 4 rows"):
        _core.interpolate_rows(address, values, [0, 1], [2, 4], parts, out, 1)
    with pytest.raises(ArgumentError, match="as many columns"):
        _core.interpolate_rows(address, values, [0, 1], [2, 3], parts, np.empty((2, 4), np.float32), 1)
    with pytest.raises(ArgumentError, match="a base, a neighbour and a part"):
        _core.interpolate_rows(address, values, [0], [2, 3], parts, out, 1)
    with pytest.raises(ArgumentError, match="one type"):
        _core.interpolate_rows(address, values, [0, 1], [2, 3], parts, np.empty((2, 3)), 1)
