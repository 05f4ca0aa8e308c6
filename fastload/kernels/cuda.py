"""Kernels for CUDA devices: the calls of `calls` on arrays that lie there.

Numbers go through numba's CUDA compiler, which is given the same scalar functions as the CPU's kernels; pixels through CUDA C++
(pixels.cu), whose stores are of 128 bits. Every kernel is a loop over a grid of any size, and compiled when it is first run.

Arrays are anything with ``__cuda_array_interface__`` (torch, CuPy, numba), used where they lie; work goes to the stream that is
given, as a number (``torch.cuda.Stream.cuda_stream``, ``cupy.cuda.Stream.ptr``).
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numba import cuda

from fastload.errors import ArgumentError, MissingExtraError
from fastload.kernels._math import lerp, scale, to_bfloat16, to_float16
from fastload.kernels.calls import Call, runs_on_devices

PIXELS_SOURCE = Path(__file__).with_name("pixels.cu")
PIXELS_KERNELS = {
    ("copy_pixels", "float32"): "fastload_copy_pixels<float>",
    ("copy_pixels", "uint16"): "fastload_copy_pixels<unsigned short>",
    ("copy_pixels", "uint8"): "fastload_copy_pixels<unsigned char>",
    ("warp_pixels", "float32"): "fastload_warp_pixels",
}
THREADS = 256
BLOCKS = 2048  # enough for the largest devices; the loop in a kernel does the rest


# --- kernels in Python: what numba compiles, and what its simulator runs. Their loops are written out: numba makes a division
# of a range with a step.


def scale_rows(values, parameters, total, out):
    """Lanes across, so that no place needs a division; groups of lanes down."""
    lanes = parameters.shape[1]
    j = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    while j < lanes:
        center, factor, low, high, missing = (
            parameters[0, j], parameters[1, j], parameters[2, j], parameters[3, j], parameters[4, j],
        )  # fmt: skip
        e = (cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y) * lanes + j
        while e < total:
            out[e] = scale(values[e], center, factor, low, high, missing)
            e += cuda.gridDim.y * cuda.blockDim.y * lanes
        j += cuda.gridDim.x * cuda.blockDim.x


def to_float16_rows(values, parameters, total, out):
    e = cuda.grid(1)
    while e < total:
        out[e] = to_float16(values[e])
        e += cuda.gridsize(1)


def to_bfloat16_rows(values, parameters, total, out):
    e = cuda.grid(1)
    while e < total:
        out[e] = to_bfloat16(values[e])
        e += cuda.gridsize(1)


def interpolate_rows(rows, bases, neighbors, parts, out):
    """out[i] = rows[bases[i]], and parts[i] of the way from there to rows[neighbors[i]]: rows of SMOTE."""
    made, columns = out.shape
    i = cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y
    while i < made:
        base, neighbor, part = bases[i], neighbors[i], parts[i]
        j = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        while j < columns:
            out[i, j] = lerp(rows[base, j], rows[neighbor, j], part)
            j += cuda.gridDim.x * cuda.blockDim.x
        i += cuda.gridDim.y * cuda.blockDim.y


FUNCTIONS = {
    "scale": scale_rows,
    "to_float16": to_float16_rows,
    "to_bfloat16": to_bfloat16_rows,
    "interpolate": interpolate_rows,
}


@cache
def _compiled(name: str) -> Any:
    return cuda.jit(FUNCTIONS[name])


def _cupy() -> Any:
    try:
        return import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise
        raise MissingExtraError("cupy", extra="cuda") from None


@cache
def _pixels_module(device: int) -> Any:
    return _cupy().RawModule(
        code=PIXELS_SOURCE.read_text(), options=("--std=c++17",), name_expressions=list(PIXELS_KERNELS.values())
    )


# --- running them -----------------------------------------------------------------------------------


def is_there() -> bool:
    """Whether numba finds a CUDA device."""
    return bool(cuda.is_available())


def run(calls: list[Call], values: Any, keys: Any = None, *, stream: int = 0) -> Any:
    """Rows on a device through a chain of calls.

    Parameters
    ----------
    values : array on a CUDA device [rows, ...], C-contiguous, in the first call's dtype
    keys : uint64 or int64 array there, or uint64 in memory [rows]
        For calls that draw.
    stream : int
        The stream that the work is queued on.

    Returns
    -------
    An array of the same library as `values`, on the same device.

    Raises
    ------
    ArgumentError
        No device is there, the array lies elsewhere, or a call has no kernel for devices.
    MissingExtraError
    """
    unknown = [call.kernel for call in calls if not runs_on_devices(call)]
    if unknown:
        raise ArgumentError(f"there is no kernel for CUDA devices that does {unknown[0]!r}: do it on the CPU")
    _check_there(values)
    for call in calls:
        values = _run_one(call, values, keys, stream)
    return values


def _check_there(values: Any) -> None:
    if not is_there():
        raise ArgumentError(
            "a CUDA device is needed, and no device or no driver is there; give arrays in memory instead"
        )
    interface = getattr(values, "__cuda_array_interface__", None)
    if interface is None or interface.get("strides") is not None:
        raise ArgumentError("values must be a C-contiguous array on a CUDA device")


def _lanes_across(lanes: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """A block and a grid for so many lanes side by side, and any number of rows down."""
    across = min(THREADS, 1 << (lanes - 1).bit_length())
    return (across, THREADS // across), (min(-(-lanes // across), 1024), BLOCKS)


def interpolate(rows: Any, bases: Any, neighbors: Any, parts: Any, *, stream: int = 0) -> Any:
    """Rows between two others, which is what SMOTE makes: rows[bases[i]] + parts[i] * (rows[neighbors[i]] - rows[bases[i]]).

    Parameters
    ----------
    rows : float32 or float64 array on a CUDA device [rows, columns], C-contiguous
    bases, neighbors : int64 array there, or in memory [n]
        In 0 .. rows - 1; this is not looked at.
    parts : array of the dtype of `rows` there, or in memory [n]
    stream : int
        The stream that the work is queued on.

    Returns
    -------
    An array [n, columns] of the same library as `rows`, on the same device.

    Raises
    ------
    ArgumentError
        No device is there, or the rows lie elsewhere.
    """
    _check_there(rows)
    out = _empty(rows, (len(bases), rows.shape[1]), np.dtype(cuda.as_cuda_array(rows).dtype).name)
    queue = cuda.external_stream(stream)
    there = [
        a if hasattr(a, "__cuda_array_interface__") else cuda.to_device(a, stream=queue)
        for a in (bases, neighbors, parts)
    ]
    block, grid = _lanes_across(rows.shape[1])
    arrays = (cuda.as_cuda_array(array) for array in (rows, *there, out))
    _compiled("interpolate")[grid, block, queue](*arrays)
    return out


def viewed(array: Any, dtype: str) -> Any:
    """Bits of halves as what they are: float16, and bfloat16 where the library has it (torch)."""
    if dtype not in ("float16", "bfloat16"):
        return array
    if type(array).__module__.partition(".")[0] == "torch":
        return array.view(getattr(sys.modules["torch"], dtype))
    return array.view(np.float16) if dtype == "float16" else array


def _run_one(call: Call, values: Any, keys: Any, stream: int) -> Any:
    rows = values.shape[0]
    out = _empty(values, (rows, *call.out_shape), call.out_dtype)
    if call.kernel.endswith("pixels"):
        _run_pixels(call, values, keys, out, stream)
        return out
    queue = cuda.external_stream(stream)
    flat, target = cuda.as_cuda_array(values).reshape(-1), cuda.as_cuda_array(out).reshape(-1)
    if call.kernel.startswith("to_"):
        flat = flat.view(np.uint32)
    parameters = call.numbers
    if call.kernel == "scale":
        block, grid = _lanes_across(call.integers[0])
    else:
        parameters, block, grid = np.zeros((1, 1), np.float32), THREADS, BLOCKS
    _compiled(call.kernel)[grid, block, queue](flat, cuda.to_device(parameters, stream=queue), flat.size, target)
    return out


def _run_pixels(call: Call, values: Any, keys: Any, out: Any, stream: int) -> None:
    cupy = _cupy()
    with cupy.cuda.Stream.from_external(_Numbered(stream)):
        kernel = _pixels_module(cupy.cuda.Device().id).get_function(PIXELS_KERNELS[call.kernel, call.out_dtype])
        no_keys = cupy.zeros(1, np.uint64)
        kernel(
            (BLOCKS,),
            (THREADS,),
            (
                cupy.asarray(values),
                no_keys if keys is None else cupy.asarray(keys),
                np.int64(values.shape[0]),
                cupy.asarray(np.array(call.integers, np.int64)),
                cupy.asarray(call.numbers),
                cupy.asarray(out),
            ),
        )


class _Numbered:
    """A stream of which the number is known, as libraries ask one another for it (CUDA's stream protocol)."""

    def __init__(self, stream: int) -> None:
        self._stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._stream


def _empty(like: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Memory on the device of `like`, from its library."""
    library = type(like).__module__.partition(".")[0]
    if library == "torch":
        return like.new_empty(shape, dtype=getattr(sys.modules["torch"], dtype))
    if library == "cupy":
        return _cupy().empty(shape, dtype)
    return cuda.device_array(shape, dtype)
