"""Runs the numba kernels for CUDA in numba's simulator and compares them with the reference: started by test_cudasim.py, since the
simulator must be chosen before numba is imported. Grids are small: a simulated thread is a thread of Python."""

from __future__ import annotations

import sys

import numpy as np
from numba import config, cuda

from fastload.kernels import reference
from fastload.kernels.calls import Call
from fastload.kernels.cuda import FUNCTIONS
from fastload.schema import Field
from fastload.transform.cast import Cast
from fastload.transform.chain import Chain
from fastload.transform.clip import Clip
from fastload.transform.impute import Impute
from fastload.transform.normalize import Normalize

GRIDS_1D = [(1, 1), (1, 32), (2, 16)]
GRIDS_2D = [((1, 1), (1, 1)), ((1, 1), (8, 4)), ((2, 2), (4, 2))]
EDGES = np.array([0.0, -0.0, 1e-45, -1e-40, 1e38, np.inf, -np.inf, np.nan, 65504, 65520, 1 / 3], np.float32)


def run(call: Call, values: np.ndarray, grid: object, block: object) -> np.ndarray:
    out = np.zeros((len(values), *call.out_shape), call.out_dtype)
    parameters = call.numbers if call.kernel == "scale" else np.zeros((1, 1), np.float32)
    flat = values.reshape(-1).view(call.in_dtype)
    cuda.jit(FUNCTIONS[call.kernel])[grid, block](flat, parameters, flat.size, out.reshape(-1))
    return out


def calls_of(field: Field, *transforms: object) -> list[Call]:
    chain = Chain(field)
    for transform in transforms:
        transform.extend(chain)
    chain.finish()
    return chain.calls


def check_scale() -> None:
    rng = np.random.default_rng(0)
    for rows, columns in ((0, 3), (1, 1), (31, 7), (33, 32), (127, 5), (5, 65)):
        values = rng.normal(size=(rows, columns)).astype(np.float32)
        if values.size:
            values.reshape(-1)[: len(EDGES)] = EDGES[: values.size]
        steps = [
            Impute("constant", fill_value=2),
            Normalize(mean=list(range(columns)), std=[3.0] * columns),
            Clip(-2, 2),
        ]
        (call,) = calls_of(Field("x", "float32", (columns,)), *steps)
        for grid, block in GRIDS_2D:
            np.testing.assert_array_equal(run(call, values, grid, block), reference.run(call, values))
    for dtype in ("uint8", "int16", "int32", "float64"):
        values = rng.integers(0, 100, (37, 3)).astype(dtype)
        (call,) = calls_of(Field("x", dtype, (3,)), Normalize(mean=50, std=7))
        np.testing.assert_array_equal(run(call, values, (1, 2), (8, 2)), reference.run(call, values))


def check_halves() -> None:
    bits = np.random.default_rng(1).integers(0, 1 << 32, 1023, np.uint32)
    values = np.concatenate([bits.view(np.float32), EDGES])
    values = values[~np.isnan(values)]
    for dtype in ("float16", "bfloat16"):
        (call,) = calls_of(Field("x", "float32"), Cast(dtype))
        for grid, block in GRIDS_1D:
            np.testing.assert_array_equal(run(call, values, grid, block), reference.run(call, values.view(np.uint32)))


def check_interpolate() -> None:
    rng = np.random.default_rng(2)
    for rows, made, columns in ((1, 1, 1), (10, 33, 7), (50, 127, 5)):
        values = rng.normal(size=(rows, columns)).astype(np.float32)
        bases, neighbors = rng.integers(0, rows, (2, made))
        parts = rng.random(made, np.float32)
        expected = values[bases] + parts[:, None] * (values[neighbors] - values[bases])
        for grid, block in GRIDS_2D:
            out = np.zeros((made, columns), np.float32)
            cuda.jit(FUNCTIONS["interpolate"])[grid, block](values, bases, neighbors, parts, out)
            np.testing.assert_array_equal(out, expected)


if __name__ == "__main__":
    assert config.ENABLE_CUDASIM
    for check in (check_scale, check_halves, check_interpolate):
        with np.errstate(all="ignore"):
            check()
        sys.stdout.write(f"checked {check.__name__}\n")
