"""On a CUDA device itself: the kernels against the CPU's, on arrays of three libraries; the loader's device path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fastload as fl
from fastload.kernels import cpu, cuda_kernels
from fastload.plan.random import row_keys
from fastload.schema import Field
from fastload.transform.chain import Chain

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: torch.cuda.is_available() is False"),
]

PIPELINES = {
    "tables": ((1001, 7), "float32", [fl.Impute("constant", fill_value=1), fl.Normalize(mean=2, std=3), fl.Clip(0, 1)], 1e-6),
    "halves": ((1001, 7), "float32", [fl.Normalize(mean=2, std=3), fl.Cast("bfloat16")], 0),
    "pixels": ((65, 32, 32, 3), "uint8",
               [fl.RandomCrop(32, padding=4), fl.RandomFlip(), fl.RandomErase(), fl.Normalize(mean=100, std=50)], 0),
    "warped": ((65, 31, 33, 3), "uint8", [fl.RandomRotate(40), fl.RandomFlip(), fl.Normalize(mean=100, std=50)], 1e-4),
}  # fmt: skip


@pytest.mark.parametrize("library", ["torch", "cupy", "numba"])
@pytest.mark.parametrize("name", PIPELINES)
def test_kernels_agree_with_the_cpu(name, library):
    shape, dtype, steps, tolerance = PIPELINES[name]
    values = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    chain = Chain(Field("x", dtype, shape[1:]))
    for step in steps:
        step.extend(chain)
    chain.finish()
    keys = row_keys(1, 2, np.arange(len(values)))
    expected, _, _ = cpu.run(chain.calls, values, None, keys, 1)
    stream = torch.cuda.Stream()
    if library == "torch":
        with torch.cuda.stream(stream):
            there, keys_there = torch.from_numpy(values).cuda(), torch.from_numpy(keys.view(np.int64)).cuda()
            out = cuda_kernels().run(chain.calls, there, keys_there, stream=stream.cuda_stream)
            found = out.cpu().numpy()
    else:
        cupy = pytest.importorskip("cupy")
        there, keys_there = cupy.asarray(values), cupy.asarray(keys)
        if library == "numba":
            from numba import cuda

            there = cuda.as_cuda_array(there)
        cupy.cuda.Device().synchronize()
        out = cuda_kernels().run(chain.calls, there, keys_there, stream=stream.cuda_stream)
        stream.synchronize()
        found = out.copy_to_host() if library == "numba" else out.get()
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), atol=tolerance, rtol=0)


def test_the_loader_transforms_on_arrival():
    images = np.random.default_rng(0).integers(0, 256, (500, 16, 16, 3), np.uint8)
    data = {"row": np.arange(500), "x": images}
    transform = {"x": [fl.RandomCrop(16, padding=2), fl.RandomFlip(), fl.Normalize(mean=100, std=50)]}
    options = {"batch_size": 64, "shuffle": True, "seed": 1, "transform": transform}
    for there, here in zip(fl.DataLoader(data, device="cuda", **options), fl.DataLoader(data, **options), strict=True):
        assert there["x"].device.type == "cuda"
        assert torch.equal(there["row"].cpu(), here["row"])
        assert torch.equal(there["x"].cpu(), here["x"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_between_rows_agree_with_the_cpu(dtype):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 7)).astype(dtype)
    bases, neighbors, parts = *rng.integers(0, 50, (2, 1001)), rng.random(1001)
    expected = np.empty((1001, 7), dtype)
    cpu.interpolate(rows, bases, neighbors, parts, expected, 1)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        there = torch.from_numpy(rows).cuda()
        made = cuda_kernels().interpolate(there, bases, neighbors, parts.astype(dtype), stream=stream.cuda_stream)
        np.testing.assert_allclose(made.cpu().numpy(), expected, atol=1e-6)


def test_the_loader_makes_rows_there():
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(500, 3)).astype(np.float32), "y": np.arange(500) % 20 == 0}
    options = {"batch_size": 64, "shuffle": True, "seed": 1, "balance": {"y": fl.SMOTE()}}
    for there, here in zip(fl.DataLoader(data, device="cuda", **options), fl.DataLoader(data, **options), strict=True):
        assert there.keys() == here.keys()
        torch.testing.assert_close(there["x"].cpu(), here["x"], atol=1e-5, rtol=0)
