"""Kernels for the CPU: loops over rows, compiled by numba to C functions that the engine's threads call.

What they are asked to do is told in `calls`; their arguments are those of KernelFunction in csrc/core/transform.h. Compiled code
is cached on the disk, beside this file or where numba is told to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from math import cos, sin
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, from_dtype, njit, types
from numba.extending import intrinsic

from fastload import _core
from fastload.kernels._math import below, draw, happens, lerp, scale, to_bfloat16, to_float16, unit
from fastload.kernels.calls import (
    REFUSED,
    SLOT_ANGLE,
    SLOT_ERASE,
    SLOT_FLIP_X,
    SLOT_FLIP_Y,
    SLOT_LEFT,
    SLOT_SCALE,
    SLOT_SHAPE,
    SLOT_TOP,
    SLOT_X,
    SLOT_Y,
    Call,
)

# --- numbers ----------------------------------------------------------------------------------------


def _scale(compute: Any, result: Any) -> Callable[..., int]:
    def scale_rows(values, valid, keys, rows, integers, numbers, out):
        lanes, row_elements, nullable = integers[0], integers[1], integers[2]
        parameters = carray(numbers, (5, lanes))
        center, factor, low, high, missing = parameters[0], parameters[1], parameters[2], parameters[3], parameters[4]
        total = rows * row_elements
        if integers[3]:
            for e in range(total):
                if values[e] != values[e] and not (nullable and valid[e // row_elements] == 0):
                    return 1 + e // row_elements
        for begin in range(0, total, lanes):
            for j in range(min(lanes, total - begin)):
                x = compute(values[begin + j])
                out[begin + j] = result(scale(x, center[j], factor[j], low[j], high[j], missing[j]))
        if nullable:
            for i in range(rows):
                if valid[i] == 0:
                    for e in range(i * row_elements, (i + 1) * row_elements):
                        out[e] = result(missing[e % lanes])
        return 0

    return scale_rows


def _widen(values, valid, keys, rows, integers, numbers, out):
    for e in range(rows * integers[0]):
        out[e] = numbers[values[e]]
    return 0


def _to_float16(values, valid, keys, rows, integers, numbers, out):
    for e in range(rows * integers[0]):
        out[e] = to_float16(values[e])
    return 0


def _to_bfloat16(values, valid, keys, rows, integers, numbers, out):
    for e in range(rows * integers[0]):
        out[e] = to_bfloat16(values[e])
    return 0


def _missing(values, valid, keys, rows, integers, numbers, out):
    row_elements, nullable = integers[0], integers[1]
    for i in range(rows):
        null = nullable != 0 and valid[i] == 0
        for e in range(i * row_elements, (i + 1) * row_elements):
            out[e] = null or values[e] != values[e]
    return 0


def _interpolate(wide: Any, result: Any) -> Callable[..., None]:
    def interpolate_rows(rows, bases, neighbors, parts, n, columns, out):
        for i in range(n):
            base, neighbor, part, made = bases[i] * columns, neighbors[i] * columns, parts[i], i * columns
            for j in range(columns):
                out[made + j] = result(lerp(wide(rows[base + j]), wide(rows[neighbor + j]), part))

    return interpolate_rows


# --- categories -------------------------------------------------------------------------------------


def _ordinal(values, valid, keys, rows, integers, numbers, out):
    row_elements, nullable, unknown, missing, categories = (
        integers[0],
        integers[1],
        integers[2],
        integers[3],
        integers[4],
    )
    for i in range(rows):
        null = nullable != 0 and valid[i] == 0
        for e in range(i * row_elements, (i + 1) * row_elements):
            x = values[e]
            first, last = 0, categories
            while first < last:
                middle = (first + last) // 2
                if numbers[middle] < x:
                    first = middle + 1
                else:
                    last = middle
            code = unknown
            if first < categories and numbers[first] == x:
                code = first
            if null or x != x:
                code = missing
            if code == REFUSED:
                return 1 + i
            out[e] = code
    return 0


def _one_hot(values, valid, keys, rows, integers, numbers, out):
    categories = integers[0]
    for i in range(rows):
        for c in range(categories):
            out[i * categories + c] = numbers[0]
        if 0 <= values[i] < categories:
            out[i * categories + values[i]] = numbers[1]
    return 0


# --- pixels -----------------------------------------------------------------------------------------


def _copy_pixels(values, valid, keys, rows, integers, numbers, out):
    height, width, channels = integers[0], integers[1], integers[2]
    out_height, out_width = integers[3], integers[4]
    outside, erased = channels * 256, channels * 257
    for i in range(rows):
        image, result = i * height * width * channels, i * channels * out_height * out_width
        top, left, flips_x, flips_y = integers[7], integers[9], False, False
        if integers[11]:
            flips_x = happens(draw(keys[i], np.uint64(SLOT_FLIP_X)), integers[5])
            flips_y = happens(draw(keys[i], np.uint64(SLOT_FLIP_Y)), integers[6])
            top += below(draw(keys[i], np.uint64(SLOT_Y)), integers[8])
            left += below(draw(keys[i], np.uint64(SLOT_X)), integers[10])
        # Of a row of the window, these places have a pixel under them.
        first_x = min(out_width, max(0, -left))
        end_x = max(first_x, min(out_width, width - left))
        for y in range(out_height):
            source_y = top + (out_height - 1 - y if flips_y else y)
            line = image + (source_y * width + left) * channels
            there = 0 <= source_y < height
            begin = first_x if there else out_width
            end = end_x if there else out_width
            if flips_x:
                line += (out_width - 1) * channels
                step = -channels
                begin, end = out_width - end, out_width - begin
            else:
                step = channels
            for c in range(channels):
                to = result + (c * out_height + y) * out_width
                for x in range(begin):
                    out[to + x] = numbers[outside + c]
                for x in range(begin, end):
                    out[to + x] = numbers[c * 256 + values[line + x * step + c]]
                for x in range(end, out_width):
                    out[to + x] = numbers[outside + c]
        if integers[11] and happens(draw(keys[i], np.uint64(SLOT_ERASE)), integers[12]):
            _erase(keys[i], integers, numbers, erased, out, result)
    return 0


@njit
def _erase(key, integers, numbers, erased, out, result):
    """Writes `numbers[erased + channel]` into a rectangle of the image that begins at out[result]."""
    channels, out_height, out_width = integers[2], integers[3], integers[4]
    shape = 14 + 2 * below(draw(key, np.uint64(SLOT_SHAPE)), integers[13])
    h, w = integers[shape], integers[shape + 1]
    y0 = below(draw(key, np.uint64(SLOT_TOP)), out_height - h + 1)
    x0 = below(draw(key, np.uint64(SLOT_LEFT)), out_width - w + 1)
    for c in range(channels):
        for y in range(y0, y0 + h):
            to = result + (c * out_height + y) * out_width
            for x in range(x0, x0 + w):
                out[to + x] = numbers[erased + c]


@intrinsic
def _widen_four(typing, values, first, image, place):
    """image[place .. place + 3] = values[first .. first + 3], uint8 -> float32: numba leaves LLVM no way to find that by itself.
    Indices are not checked."""
    signature = types.void(values, first, image, place)

    def generate(context, builder, signature, arguments):
        values, first, image, place = arguments
        bytes_of_four = ir.VectorType(ir.IntType(8), 4)
        four = builder.load(builder.bitcast(builder.gep(values, [first]), bytes_of_four.as_pointer()), align=1)
        wide = builder.uitofp(builder.zext(four, ir.VectorType(ir.IntType(32), 4)), ir.VectorType(ir.FloatType(), 4))
        data = context.make_array(signature.args[2])(context, builder, image).data
        target = builder.bitcast(builder.gep(data, [place]), wide.type.as_pointer())
        builder.store(wide, target, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _bilinear(typing, image, above, under, across, down, made, place):
    """made[place .. place + 3] = lerp(lerp(above, behind above, across), lerp(under, behind under, across), down), of the four
    channels at once. Indices are of floats, and not checked."""
    signature = types.void(image, above, under, across, down, made, place)

    def generate(context, builder, signature, arguments):
        image, above, under, across, down, made, place = arguments
        four = ir.VectorType(ir.FloatType(), 4)

        def at(array, kind, index):
            data = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), four.as_pointer())

        def load(index, behind):
            index = builder.add(index, ir.Constant(index.type, behind))
            return builder.load(at(image, signature.args[0], index), align=4)

        def all_four(number):
            one = builder.insert_element(ir.Constant(four, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4))

        def lerp(a, b, t):
            return builder.fadd(a, builder.fmul(t, builder.fsub(b, a)))

        across, down = all_four(across), all_four(down)
        top = lerp(load(above, 0), load(above, 4), across)
        bottom = lerp(load(under, 0), load(under, 4), across)
        builder.store(lerp(top, bottom, down), at(made, signature.args[5], place), align=4)
        return context.get_dummy_value()

    return signature, generate


def _warp_pixels(values, valid, keys, rows, integers, numbers, out):
    height, width, channels = integers[0], integers[1], integers[2]
    out_height, out_width = integers[3], integers[4]
    mean, factor, outside, erased = 0, channels, 2 * channels, 3 * channels
    angle_low, angle_high = numbers[4 * channels], numbers[4 * channels + 1]
    scale_low, scale_high = numbers[4 * channels + 2], numbers[4 * channels + 3]
    ulp = numbers[4 * channels + 4]
    one = np.float32(1)
    # The image as floats with a border of what lies outside, so that no place needs a test; four channels, whatever there are,
    # so that a place is one load.
    line_size = (width + 3) * 4
    image = np.empty((height + 3) * line_size, np.float32)
    for place in range(0, len(image), 4):
        for c in range(4):
            image[place + c] = numbers[outside + c] if c < channels else np.float32(0)
    across, down, places = (
        np.empty(out_width, np.float32),
        np.empty(out_width, np.float32),
        np.empty(out_width, np.int32),
    )
    made = np.empty(out_width * 4, np.float32)
    y_low, y_high, x_low, x_high = np.float32(-1), np.float32(height), np.float32(-1), np.float32(width)
    middle_x, middle_y = np.float32(out_width - 1) / np.float32(2), np.float32(out_height - 1) / np.float32(2)
    for i in range(rows):
        source, result = i * height * width * channels, i * channels * out_height * out_width
        for y in range(height):
            begin = (y + 1) * line_size + 4
            whole = width - 1 if channels >= 3 else 0  # of the last one, four bytes may not be there
            for x in range(whole):
                _widen_four(values, source + x * channels, image, begin + 4 * x)
            for x in range(whole, width):
                for c in range(channels):
                    image[np.uint64(begin + 4 * x + c)] = np.float32(values[source + x * channels + c])
            source += width * channels
        key = keys[i]
        flips_x = happens(draw(key, np.uint64(SLOT_FLIP_X)), integers[5])
        flips_y = happens(draw(key, np.uint64(SLOT_FLIP_Y)), integers[6])
        top = integers[7] + below(draw(key, np.uint64(SLOT_Y)), integers[8])
        left = integers[9] + below(draw(key, np.uint64(SLOT_X)), integers[10])
        angle = lerp(angle_low, angle_high, unit(draw(key, np.uint64(SLOT_ANGLE)), ulp))
        size = lerp(scale_low, scale_high, unit(draw(key, np.uint64(SLOT_SCALE)), ulp))
        # In double, and then rounded: so it hardly matters whose sine it is.
        along = np.float32(cos(np.float64(angle)) / np.float64(size))
        aside = np.float32(sin(np.float64(angle)) / np.float64(size))
        sign_x, sign_y = -one if flips_x else one, -one if flips_y else one
        center_x, center_y = middle_x + np.float32(left), middle_y + np.float32(top)
        for y in range(out_height):
            v = (np.float32(y) - middle_y) * sign_y
            for x in range(out_width):
                u = (np.float32(x) - middle_x) * sign_x
                from_x = min(max((along * u + aside * v) + center_x, x_low), x_high)
                from_y = min(max((along * v - aside * u) + center_y, y_low), y_high)
                whole_x, whole_y = np.floor(from_x), np.floor(from_y)
                across[x], down[x] = from_x - whole_x, from_y - whole_y
                line, place = np.int32(whole_y) + np.int32(1), np.int32(whole_x) + np.int32(1)  # in the bordered image
                places[x] = line * np.int32(line_size) + place * np.int32(4)
            for x in range(out_width):
                above = np.int64(places[x])
                _bilinear(image, above, above + line_size, across[x], down[x], made, 4 * x)
            for c in range(channels):
                line = result + (c * out_height + y) * out_width
                center, by = numbers[mean + c], numbers[factor + c]
                for x in range(out_width):
                    out[line + x] = (made[np.uint64(4 * x + c)] - center) * by
        if happens(draw(key, np.uint64(SLOT_ERASE)), integers[12]):
            _erase(key, integers, numbers, erased, out, result)
    return 0


# --- as C functions ---------------------------------------------------------------------------------

_FUNCTIONS = {
    "widen": _widen,
    "to_float16": _to_float16,
    "to_bfloat16": _to_bfloat16,
    "missing": _missing,
    "ordinal": _ordinal,
    "one_hot": _one_hot,
    "copy_pixels": _copy_pixels,
    "warp_pixels": _warp_pixels,
}


@cache
def address_of(kernel: str, in_dtype: str, numbers_dtype: str, out_dtype: str) -> int:
    """The address of a kernel's machine code, which stays for the life of the process: threads of the engine may still run when
    Python takes its modules apart."""
    function = _FUNCTIONS.get(kernel) or _scale(np.dtype(numbers_dtype).type, np.dtype(out_dtype).type)
    bytes_of = {"bool": "uint8"}  # numba keeps a truth value in one bit, NumPy in a byte
    pointers = [
        types.CPointer(from_dtype(np.dtype(bytes_of.get(name, name)))) for name in (in_dtype, numbers_dtype, out_dtype)
    ]
    signature = types.int64(
        pointers[0],
        types.CPointer(types.uint8),
        types.CPointer(types.uint64),
        types.int64,
        types.CPointer(types.int64),
        pointers[1],
        pointers[2],
    )
    return _compiled(signature, function)


def _compiled(signature: Any, function: Callable[..., Any]) -> int:
    try:
        compiled = cfunc(signature, cache=True)(function)
    except RuntimeError:  # nowhere to keep it
        compiled = cfunc(signature)(function)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(compiled))
    return compiled.address


def kernel_of(call: Call) -> _core.Kernel:
    """The engine's form of a call."""
    return _core.Kernel(
        address=address_of(call.kernel, call.in_dtype, call.numbers.dtype.name, call.out_dtype),
        integers=list(call.integers),
        numbers=call.numbers.tobytes(),
        out_row_bytes=call.out_row_bytes,
        refusal=call.refusal,
    )


def run(
    calls: list[Call],
    values: np.ndarray,
    valid: np.ndarray | None,
    keys: np.ndarray | None,
    threads: int,
) -> tuple[np.ndarray, int, str]:
    """The rows of an array through a chain of calls.

    Parameters
    ----------
    values : C-contiguous [rows, ...], in the first call's dtype. valid : bool [rows] or None. keys : uint64 [rows] or None.

    Returns
    -------
    The rows made; 0, or 1 + the number of the first row that was refused; and what was wrong with it.
    """
    out = np.empty((len(values), *calls[-1].out_shape), calls[-1].out_dtype)
    kernels = [kernel_of(call) for call in calls]
    refused, refusal = _core.transform_rows(kernels, values, valid, keys, len(values), out, threads)
    return out, refused, refusal


@cache
def interpolator(dtype: str) -> int:
    """The address of an InterpolateFunction (csrc/core/interpolate.h) for rows of this dtype, as `address_of` gives them.

    The difference of two rows is taken in their own type, integers in float64, and the rest in float64, as in NumPy where `parts`
    are float64: the results are those of imbalanced-learn to the last bit. Integers are cut off, as by `astype`.
    """
    value = np.dtype(dtype).type
    wide = value if np.dtype(dtype).kind == "f" else np.float64
    pointer, places = types.CPointer(from_dtype(np.dtype(dtype))), types.CPointer(types.int64)
    parts = types.CPointer(types.float64)
    signature = types.void(pointer, places, places, parts, types.int64, types.int64, pointer)
    return _compiled(signature, _interpolate(wide, value))


def interpolate(
    rows: np.ndarray, bases: np.ndarray, neighbors: np.ndarray, parts: np.ndarray, out: np.ndarray, threads: int
) -> None:
    """out[i] = rows[bases[i]] + parts[i] * (rows[neighbors[i]] - rows[bases[i]]).

    rows, out : C-contiguous [rows, columns] and [n, columns], of one dtype: float32, float64 or integers. bases, neighbors : int64
    [n]. parts : float64 [n].
    """
    _core.interpolate_rows(interpolator(rows.dtype.name), rows, bases, neighbors, parts, out, threads)
