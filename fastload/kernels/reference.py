"""Every kernel in plain NumPy, a row or an image at a time: what the fast ones are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastload.kernels import calls as c
from fastload.kernels.calls import PIXELS, REFUSED, Call

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Refused(Exception):
    """`row` cannot be taken."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row}")
        self.row = row


def run(call: Call, values: np.ndarray, valid: np.ndarray | None = None, keys: np.ndarray | None = None) -> np.ndarray:
    """[rows, ...] of call.in_dtype -> [rows, *call.out_shape] of call.out_dtype; raises Refused."""
    out = _KERNELS[call.kernel](call, values, valid, keys)
    return np.asarray(out).astype(call.out_dtype, copy=False).reshape(len(values), *call.out_shape)


def scale(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    lanes, row_elements, nullable, refuses = call.integers
    is_missing = np.isnan(values.reshape(len(values), row_elements)).any(axis=1)
    if refuses and (is_missing := is_missing & valid if nullable else is_missing).any():
        raise Refused(int(np.argmax(is_missing)))
    flat = values.reshape(-1).astype(call.numbers.dtype)
    lane = np.arange(flat.size) % lanes
    center, factor, low, high, missing = call.numbers.reshape(5, lanes)[:, lane]
    with np.errstate(all="ignore"):
        out = np.minimum(np.maximum((flat - center) * factor, low), high)
    out = np.where(np.isnan(flat), missing, out).reshape(len(values), row_elements)
    if nullable:
        out = np.where(valid[:, None], out, missing.reshape(out.shape))
    with np.errstate(all="ignore"):
        return out.astype(call.out_dtype)


def interpolate(rows: np.ndarray, bases: np.ndarray, neighbors: np.ndarray, parts: np.ndarray) -> np.ndarray:
    wide = rows if rows.dtype.kind == "f" else rows.astype(np.float64)
    return (wide[bases] + parts[:, None] * (wide[neighbors] - wide[bases])).astype(rows.dtype)


def widen(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    return call.numbers[values]


def to_float16(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.view(np.float32).astype(np.float16).view(np.uint16)


def to_bfloat16(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    wide = values.astype(np.uint64)
    rounded = (wide + 0x7FFF + (wide >> 16 & 1)) >> 16
    return np.where(np.isnan(values.view(np.float32)), (wide >> 16) | 0x40, rounded).astype(np.uint16)


def missing(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    found = (values != values).reshape(len(values), call.integers[0])
    return found | ~valid[:, None] if call.integers[1] else found


def ordinal(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    row_elements, nullable, unknown, missing_code, _ = call.integers
    codes = {value: code for code, value in enumerate(call.numbers.tolist())}
    out = np.empty((len(values), row_elements), np.int64)
    for row, elements in enumerate(values.reshape(len(values), row_elements).tolist()):
        for e, x in enumerate(elements):
            is_missing = x != x or (nullable and not valid[row])
            code = missing_code if is_missing else codes.get(x, unknown)
            if code == REFUSED:
                raise Refused(row)
            out[row, e] = code
    return out


def one_hot(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    off, on = call.numbers
    return np.where(values.reshape(-1, 1) == np.arange(call.integers[0]), on, off)


def _word(key: Any, slot: int) -> int:
    with np.errstate(over="ignore"):
        z = np.uint64(key) + np.uint64(slot + 1) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return int(z ^ (z >> np.uint64(31)))


def _window(p: dict[str, int], key: Any) -> tuple[int, int, bool, bool]:
    if not p["draws"]:
        return p["first_y"], p["first_x"], False, False
    top = p["first_y"] + ((_word(key, c.SLOT_Y) >> 32) * p["shifts_y"] >> 32)
    left = p["first_x"] + ((_word(key, c.SLOT_X) >> 32) * p["shifts_x"] >> 32)
    return top, left, _word(key, c.SLOT_FLIP_X) >> 32 < p["flip_x"], _word(key, c.SLOT_FLIP_Y) >> 32 < p["flip_y"]


def _erase(call: Call, p: dict[str, int], key: Any, image: np.ndarray, values: np.ndarray) -> None:
    if not p["draws"] or _word(key, c.SLOT_ERASE) >> 32 >= p["erase"]:
        return
    shape = len(PIXELS) + 2 * ((_word(key, c.SLOT_SHAPE) >> 32) * p["erase_shapes"] >> 32)
    h, w = call.integers[shape : shape + 2]
    y = (_word(key, c.SLOT_TOP) >> 32) * (p["out_height"] - h + 1) >> 32
    x = (_word(key, c.SLOT_LEFT) >> 32) * (p["out_width"] - w + 1) >> 32
    image[:, y : y + h, x : x + w] = values[:, None, None]


def copy_pixels(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    p = dict(zip(PIXELS, call.integers))
    channels, h, w = p["channels"], p["out_height"], p["out_width"]
    levels, (outside, erased) = (
        call.numbers[: channels * 256].reshape(channels, 256),
        call.numbers[channels * 256 :].reshape(2, -1),
    )
    out = np.empty((len(values), channels, h, w), call.out_dtype)
    for row, image in enumerate(values):
        key = keys[row] if p["draws"] else 0
        top, left, flips_x, flips_y = _window(p, key)
        out[row] = outside[:, None, None]
        ys, xs = np.arange(top, top + h), np.arange(left, left + w)
        ys, xs = ys[:: -1 if flips_y else 1], xs[:: -1 if flips_x else 1]
        in_y, in_x = (ys >= 0) & (ys < p["height"]), (xs >= 0) & (xs < p["width"])
        pixels = image[ys[in_y]][:, xs[in_x]]
        for channel in range(channels):
            out[row, channel][np.ix_(in_y, in_x)] = levels[channel][pixels[:, :, channel]]
        _erase(call, p, key, out[row], erased)
    return out


def warp_pixels(call: Call, values: np.ndarray, valid: Any, keys: Any) -> np.ndarray:
    f32 = np.float32
    p = dict(zip(PIXELS, call.integers))
    channels, h, w = p["channels"], p["out_height"], p["out_width"]
    mean, factor, outside, erased = call.numbers[: 4 * channels].reshape(4, channels)
    angle_low, angle_high, scale_low, scale_high, ulp = call.numbers[4 * channels :]
    out = np.empty((len(values), channels, h, w), f32)
    for row, image in enumerate(values):
        key = keys[row]
        top, left, flips_x, flips_y = _window(p, key)
        angle = angle_low + f32(_word(key, c.SLOT_ANGLE) >> 40) * ulp * (angle_high - angle_low)
        size = scale_low + f32(_word(key, c.SLOT_SCALE) >> 40) * ulp * (scale_high - scale_low)
        along, aside = (f32(f(np.float64(angle)) / np.float64(size)) for f in (np.cos, np.sin))
        middle_x, middle_y = f32(w - 1) / f32(2), f32(h - 1) / f32(2)
        u = (np.arange(w, dtype=f32) - middle_x) * f32(-1 if flips_x else 1)
        v = ((np.arange(h, dtype=f32) - middle_y) * f32(-1 if flips_y else 1))[:, None]
        x = np.clip((along * u + aside * v) + (middle_x + f32(left)), f32(-1), f32(p["width"]))
        y = np.clip((along * v - aside * u) + (middle_y + f32(top)), f32(-1), f32(p["height"]))
        plane = np.empty((channels, p["height"] + 3, p["width"] + 3), f32)
        plane[:] = outside[:, None, None]
        plane[:, 1:-2, 1:-2] = np.moveaxis(image, -1, 0)
        j, i = np.floor(y).astype(int) + 1, np.floor(x).astype(int) + 1
        across, down = x - f32(1) * (i - 1).astype(f32), y - (j - 1).astype(f32)
        above = plane[:, j, i] + across * (plane[:, j, i + 1] - plane[:, j, i])
        under = plane[:, j + 1, i] + across * (plane[:, j + 1, i + 1] - plane[:, j + 1, i])
        out[row] = ((above + down * (under - above)) - mean[:, None, None]) * factor[:, None, None]
        _erase(call, p, key, out[row], erased)
    return out


_KERNELS = {
    "scale": scale,
    "widen": widen,
    "to_float16": to_float16,
    "to_bfloat16": to_bfloat16,
    "missing": missing,
    "ordinal": ordinal,
    "one_hot": one_hot,
    "copy_pixels": copy_pixels,
    "warp_pixels": warp_pixels,
}
