"""pixels.cu, run on the CPU through a small header, against the reference."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fastload as fl
from fastload.kernels import reference
from fastload.kernels.calls import Call
from fastload.plan.random import row_keys
from fastload.schema import Field
from fastload.transform.chain import Chain

HERE = Path(__file__).parent
SOURCE = Path(reference.__file__).with_name("pixels.cu")
ENTRY = """
extern "C" void run_{name}(const unsigned char* values, const Word* keys, long long rows, const long long* integers,
                           const {number}* numbers, {number}* out, unsigned blocks, unsigned threads) {{
  launch(blocks, threads, {kernel}, values, keys, rows, integers, numbers, out);
}}
"""
KERNELS = {
    ("copy_pixels", "float32"): ("fastload_copy_pixels<float>", "float"),
    ("copy_pixels", "uint16"): ("fastload_copy_pixels<unsigned short>", "unsigned short"),
    ("copy_pixels", "uint8"): ("fastload_copy_pixels<unsigned char>", "unsigned char"),
    ("warp_pixels", "float32"): ("fastload_warp_pixels", "float"),
}
PIPELINES = {
    "normalize": [fl.Normalize(mean=[100, 110, 120], std=[50, 60, 70])],
    "classic": [fl.RandomCrop(32, padding=4), fl.RandomFlip(), fl.Normalize(mean=[100, 110, 120], std=[50, 60, 70])],
    "half": [fl.RandomTranslate(3, fill=9), fl.RandomFlip(0.5, 0.5), fl.Normalize(mean=100, std=50), fl.Cast("bfloat16")],
    "uint8": [fl.RandomCrop((13, 7)), fl.RandomErase(0.7, value=[1, 2, 3])],
    "warped": [fl.RandomRotate(30, scale=(0.7, 1.4), fill=5), fl.RandomTranslate(4, fill=5), fl.RandomFlip(), fl.RandomErase(),
               fl.Normalize(mean=100, std=50)],
}  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("shim")
    source = folder / "pixels.cpp"
    entries = [
        ENTRY.format(name=f"{kernel}_{dtype}", kernel=name, number=number)
        for (kernel, dtype), (name, number) in KERNELS.items()
    ]
    source.write_text(SOURCE.read_text() + "".join(entries))
    built = subprocess.run(
        [compiler, "-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC",
         "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror",
         "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error",
         "-include", str(HERE / "cuda_shim.h"), str(source), "-o", str(folder / "pixels.so")],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return ctypes.CDLL(str(folder / "pixels.so"))


def run(library, call: Call, values: np.ndarray, keys: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The call's kernel, in a grid of (blocks, threads)."""
    out, integers = np.zeros((len(values), *call.out_shape), call.out_dtype), np.array(call.integers, np.int64)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (values, keys, integers, call.numbers, out)]
    kernel = getattr(library, f"run_{call.kernel}_{call.out_dtype}")
    kernel(pointers[0], pointers[1], ctypes.c_longlong(len(values)), *pointers[2:], *grid)
    return out


@pytest.mark.parametrize("grid", [(1, 1), (2, 32), (7, 5)])
@pytest.mark.parametrize("name", PIPELINES)
def test_shim_and_reference_agree(library, name, grid):
    values = np.random.default_rng(0).integers(0, 256, (9, 32, 29 if name == "uint8" else 32, 3), np.uint8)
    chain = Chain(Field("x", "uint8", values.shape[1:]))
    for transform in PIPELINES[name]:
        transform.extend(chain)
    chain.finish()
    call = chain.calls[0]
    keys = row_keys(1, 2, np.arange(len(values)))
    out = run(library, call, values, keys, grid)
    expected = reference.run(call, values, None, keys)
    if call.kernel == "copy_pixels":
        np.testing.assert_array_equal(out, expected)
    else:  # sine and cosine in single precision
        np.testing.assert_allclose(out, expected, atol=2e-4)


def test_a_place_just_before_a_pixel_lies_between_the_right_ones(library):
    """Nothing is made that is darker or brighter than the image: a float32 a little below a whole number is one when 1 is added."""
    values = np.random.default_rng(0).integers(0, 2, (64, 65, 65, 1)).astype(np.uint8) * 255
    keys = row_keys(1, 2, np.arange(len(values)))
    for degrees in (1e-5, 3e-5, 1e-4):
        chain = Chain(Field("x", "uint8", values.shape[1:]))
        fl.Compose([fl.RandomRotate(degrees, scale=(0.5, 1.5)), fl.Normalize(mean=0, std=256)]).extend(chain)
        chain.finish()
        out = run(library, chain.calls[0], values, keys, (7, 32))
        assert 0 <= out.min() <= out.max() <= 255 / 256


def test_draws_are_those_of_the_cpu(library):
    """Of many rows, with all that can be drawn."""
    values = np.random.default_rng(1).integers(0, 256, (500, 5, 6, 1), np.uint8)
    chain = Chain(Field("x", "uint8", values.shape[1:]))
    fl.Compose([fl.RandomCrop(4, padding=2), fl.RandomFlip(0.3, 0.6), fl.RandomErase(0.4, value=255)]).extend(chain)
    chain.finish()
    (call,) = chain.calls
    keys = row_keys(3, 4, np.arange(500))
    from fastload.kernels import cpu

    by_cpu, _, _ = cpu.run([call], values, None, keys, 1)
    np.testing.assert_array_equal(run(library, call, values, keys, (3, 64)), by_cpu)
