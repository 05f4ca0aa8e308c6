"""Transforms of one field -> calls of kernels, as few as can be.

Elementwise steps are collected and folded: filling, one affine map and clipping are one pass over the values, exactly as if they
were done one after the other. All that is asked of images, normalising included, is one pass over the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastload.block.bfloat16 import bfloat16_bits
from fastload.errors import ArgumentError
from fastload.kernels.calls import PIXELS, Call
from fastload.schema import NUMPY_DTYPES, Field

LANES = 64  # of values that go through a kernel side by side
HALVES = ("float16", "bfloat16")
WIDE = ("int32", "int64", "uint32", "uint64", "float64")  # float32 does not hold them
CERTAIN = 1 << 32  # a probability of one


@dataclass
class Pixels:
    """What is asked of images, so far. Values stand in the units that they had when they were given, and were carried along."""

    out_height: int
    out_width: int
    outside: np.ndarray  # [channels]
    erased: np.ndarray
    outside_given: bool = False
    flip_x: float = 0.0
    flip_y: float = 0.0
    first_y: int = 0
    first_x: int = 0
    shifts_y: int = 1
    shifts_x: int = 1
    angle: tuple[float, float] = (0.0, 0.0)  # radians
    size: tuple[float, float] = (1.0, 1.0)
    is_warped: bool = False
    erase: float = 0.0
    erase_shapes: Callable[[int, int], list[tuple[int, int]]] = lambda height, width: [(0, 0)]  # of the window
    asked: set[str] = field(default_factory=set)

    @property
    def draws(self) -> bool:
        return bool(self.asked)


class Chain:
    """The calls that bring rows of `source` to what transforms have asked for.

    statistics, category_names : the field's, where data have them, else None.
    """

    def __init__(self, source: Field, statistics: Any = None, category_names: Any = None) -> None:
        if source.is_ragged:
            raise ArgumentError(
                f"field {source.name!r} is of variable length, and transforms are for fields whose rows are all of one shape; "
                "give a function instead, which gets the padded batch"
            )
        self.source, self.statistics, self.category_names = source, statistics, category_names
        self.dtype, self.shape, self.nullable = source.dtype, source.shape, source.nullable
        self.calls: list[Call] = []
        self.masks: list[tuple[str, list[Call]]] = []  # further fields made of the source
        self.channels_first = False
        self._steps: list[tuple[Any, ...]] = []
        self._pixels: Pixels | None = None

    # --- what it is made of -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def is_image(self) -> bool:
        """Rows are uint8 pixels, channels last, nothing done to them but what one pass over them does."""
        is_pixels = self.source.dtype == "uint8" and len(self.source.shape) == 3 and self.source.shape[2] <= 4
        return is_pixels and not self.calls and not self.nullable

    @property
    def row_elements(self) -> int:
        return _elements(self.shape)

    def column_values(self, values: Any, what: str) -> np.ndarray:
        """One number, or one per column; ArgumentError for another count. Whole numbers stay such: not all are floats."""
        array = np.asarray(values).reshape(-1)
        array = array if array.dtype.kind in "iu" else array.astype(np.float64)
        columns = self._columns()
        if array.size not in (1, columns):
            raise ArgumentError(f"{what} must be one number or {columns} for field {self.name!r}, got {array.size}")
        return array

    def _columns(self) -> int:
        if not self.shape:
            return 1
        return self.shape[0] if self.channels_first else self.shape[-1]

    # --- what is asked ------------------------------------------------------------------------------

    def fill(self, values: Any) -> None:
        """Missing values become these."""
        self._step("fill", self.column_values(values, "the values to fill in"))

    def affine(self, center: Any, factor: Any) -> None:
        """x -> (x - center) * factor."""
        if self.is_image:
            self.pixels()
        if any(step[0] == "affine" for step in self._steps):
            self._flush()
        self._step("affine", self.column_values(center, "the center"), self.column_values(factor, "the factor"))

    def clip(self, low: Any, high: Any) -> None:
        self._step("clip", self.column_values(low, "the lower bound"), self.column_values(high, "the upper bound"))

    def _step(self, *step: Any) -> None:
        self._steps.append(step)
        if self._pixels is not None:
            self._pixels.outside = _apply([step], self._pixels.outside, np.float32)
            self._pixels.erased = _apply([step], self._pixels.erased, np.float32)

    def cast(self, dtype: str) -> None:
        self._flush(dtype)

    def add_mask(self, suffix: str) -> None:
        """Beside the field comes one that says which values are missing in the source."""
        before = [_widen(self.source.dtype, self.source.shape)] if self.source.dtype in HALVES else []
        in_dtype = "float32" if before else NUMPY_DTYPES[self.source.dtype].name
        integers = (_elements(self.source.shape), int(self.nullable))
        mask = Call("missing", in_dtype, "bool", integers, _nothing(in_dtype), self.source.shape)
        self.masks.append((suffix, [*before, mask]))

    def encode(self, categories: np.ndarray, unknown: int, missing: int, refusal: str) -> None:
        """Values -> their places among `categories`, which ascend."""
        self._flush()
        self._widen_halves()
        in_dtype = NUMPY_DTYPES[self.dtype].name
        integers = (self.row_elements, int(self._reads_null), unknown, missing, len(categories))
        numbers = self._as_categories(categories, np.dtype(in_dtype))
        self._add(Call("ordinal", in_dtype, "int64", integers, numbers, self.shape, refusal), "int64")

    def _as_categories(self, categories: np.ndarray, dtype: np.dtype) -> np.ndarray:
        with np.errstate(all="ignore"):
            numbers = np.ascontiguousarray(categories, dtype) if categories.dtype.kind in "biuf" else None
        if numbers is None or (numbers != categories).any():
            raise ArgumentError(
                f"the categories of field {self.name!r} must be numbers that {dtype.name} holds, as the field does; got "
                f"{categories[:5].tolist()}{' ...' if len(categories) > 5 else ''}"
            )
        return numbers

    def one_hot(self, categories: int, dtype: str) -> None:
        """Codes -> a place for each category, of which one is 1."""
        if self.shape:
            raise ArgumentError(
                f"field {self.name!r} holds {self.shape} values a row; one-hot is for fields of one value"
            )
        self._flush("int64")
        numbers = np.array([0, 1], NUMPY_DTYPES[dtype])
        if dtype in HALVES:
            numbers = np.array([0, 0x3C00 if dtype == "float16" else 0x3F80], np.uint16)
        self._add(Call("one_hot", "int64", numbers.dtype.name, (categories,), numbers, (categories,)), dtype)
        self.shape = (categories,)

    def pixels(self, asked: str | None = None) -> Pixels:
        """What is asked of images, to add to; `asked` names what is drawn at random, which may be asked once."""
        if self._pixels is None:
            if not self.is_image:
                raise ArgumentError(
                    f"field {self.name!r}: images must be uint8 of shape [height, width, 1 to 4 channels] and not null, as they "
                    f"are read or after other steps for images; got {self.dtype} of shape {list(self.shape)}"
                )
            height, width, channels = self.shape
            self._pixels = Pixels(height, width, np.zeros(channels, np.float32), np.zeros(channels, np.float32))
        if asked is not None and asked in self._pixels.asked:
            raise ArgumentError(f"field {self.name!r}: {asked} is asked twice; one pass over the pixels does each once")
        if asked is not None:
            self._pixels.asked.add(asked)
        return self._pixels

    def warp(self) -> None:
        """Pixels come out between pixels, which is done before all but an affine map."""
        if any(step[0] != "affine" for step in self._steps):
            raise ArgumentError(f"field {self.name!r}: rotate images before their values are clipped or filled in")
        self.pixels().is_warped = True

    def fill_outside(self, values: Any) -> None:
        """What lies outside of the images is this; ArgumentError if it was told to be something else."""
        outside = np.broadcast_to(self.column_values(values, "fill"), self.shape[-1]).astype(np.float32)
        pixels = self.pixels()
        if pixels.outside_given and not np.array_equal(outside, pixels.outside):
            raise ArgumentError(f"field {self.name!r}: what lies outside of an image has one value, and two were given")
        pixels.outside, pixels.outside_given = outside, True

    # --- what comes of it ---------------------------------------------------------------------------

    def finish(self) -> Field:
        """The field as it is delivered, when nothing more is asked."""
        self._flush()
        if not self.calls:
            return self.source
        return Field(self.name, self.dtype, self.shape, nullable=self.nullable)

    @property
    def draws(self) -> bool:
        return any(call.draws for call in self.calls)

    def _add(self, call: Call, dtype: str) -> None:
        self.calls.append(call)
        self.dtype = dtype

    @property
    def _reads_null(self) -> bool:
        """The next call is the first that can tell which rows are null."""
        return self.nullable and all(call.kernel == "widen" for call in self.calls)

    def _widen_halves(self) -> None:
        if self.dtype in HALVES:
            self._add(_widen(self.dtype, self.shape), "float32")

    def _flush(self, dtype: str | None = None) -> None:
        """Makes calls of the steps that were collected; values come out as `dtype`, or as what is usual."""
        if self._pixels is not None:
            self._flush_pixels(dtype)
        elif self._steps or (dtype is not None and dtype != self.dtype):
            self._flush_steps(dtype)

    def _flush_steps(self, dtype: str | None) -> None:
        steps, self._steps = self._steps, []
        dtype = dtype or _usual_dtype(self.dtype, steps)
        self._widen_halves()
        compute = _compute_dtype(self.dtype, dtype, steps)
        to_half = dtype in HALVES
        result = np.dtype(np.float32) if to_half else NUMPY_DTYPES[dtype]
        if steps or self.dtype != result.name:
            self._add_scale(steps, compute, result)
        if to_half:
            self._add(self._half(dtype), dtype)

    def _half(self, dtype: str) -> Call:
        return Call(f"to_{dtype}", "uint32", "uint16", (self.row_elements,), _nothing("uint32"), self.shape)

    def _add_scale(self, steps: list[tuple[Any, ...]], compute: np.dtype, result: np.dtype) -> None:
        columns = self._columns()
        center, factor, low, high, missing = _fold(steps, columns, compute)
        reads_null = self._reads_null and (compute.kind == "f" or any(step[0] == "fill" for step in steps))
        refuses = compute.kind == "f" and result.kind != "f" and bool(np.isnan(missing).any())
        if refuses:
            missing = np.nan_to_num(missing)  # of null rows, which stay null
        if result.kind in "iu":
            least, most = _limits(result, compute)
            low, high, missing = (np.minimum(np.maximum(v, least), most) for v in (low, high, missing))
        lanes = self.row_elements if self.channels_first else columns
        parameters = np.stack([center, factor, low, high, missing])
        if self.channels_first:
            parameters = np.repeat(parameters, lanes // columns, axis=1)
        copies = max(1, LANES // lanes)
        parameters = np.ascontiguousarray(np.tile(parameters, copies).astype(compute))
        self._add(
            Call(
                "scale",
                NUMPY_DTYPES[self.dtype].name,
                result.name,
                (lanes * copies, self.row_elements, int(reads_null), int(refuses)),
                parameters,
                self.shape,
                f"a missing value cannot be cast to {result.name}; Impute it first",
            ),
            result.name,
        )

    def _flush_pixels(self, dtype: str | None) -> None:
        pixels, steps = self._pixels, self._steps
        self._pixels, self._steps = None, []
        height, width, channels = self.shape
        affine = any(step[0] == "affine" for step in steps)
        dtype = dtype or ("float32" if affine or pixels.is_warped else "uint8")
        out_shape = (channels, pixels.out_height, pixels.out_width)
        shapes = pixels.erase_shapes(pixels.out_height, pixels.out_width)
        integers = [
            height, width, channels, pixels.out_height, pixels.out_width, _threshold(pixels.flip_x),
            _threshold(pixels.flip_y), pixels.first_y, pixels.shifts_y, pixels.first_x, pixels.shifts_x,
            int(pixels.draws), _threshold(pixels.erase), len(shapes),
        ]  # fmt: skip
        assert len(integers) == len(PIXELS)
        integers += [size for shape in shapes for size in shape]
        levels = np.repeat(np.arange(256, dtype=np.float32)[:, None], channels, axis=1)
        self.shape, self.channels_first = out_shape, True
        if pixels.is_warped:
            self._add_warp(pixels, steps, integers, dtype)
            return
        table = [*_apply(steps, levels, np.float32).T.reshape(-1), *pixels.outside, *pixels.erased]
        numbers = _as_dtype(np.array(table, np.float32), dtype, self.name)
        self._add(
            Call("copy_pixels", "uint8", numbers.dtype.name, tuple(integers), numbers, out_shape, draws=pixels.draws),
            dtype,
        )

    def _add_warp(self, pixels: Pixels, steps: list[tuple[Any, ...]], integers: list[int], dtype: str) -> None:
        channels = integers[2]
        center, factor = np.zeros(channels), np.ones(channels)
        later = []
        for step in steps:
            if step[0] == "affine" and not later:
                center, factor = (np.broadcast_to(v, channels) for v in step[1:])
            else:
                later.append(step)
        outside = pixels.outside / factor + center  # a level again: it takes part in the interpolation
        numbers = [*center, *factor, *outside, *pixels.erased, *pixels.angle, *pixels.size, 2.0**-24]
        numbers = np.array(numbers, np.float32)
        self._add(Call("warp_pixels", "uint8", "float32", tuple(integers), numbers, self.shape, draws=True), "float32")
        self._steps = later
        if later or dtype != "float32":
            self._flush_steps(dtype)


def _usual_dtype(dtype: str, steps: list[tuple[Any, ...]]) -> str:
    """Floats stay what they are; other numbers become float32 where they are scaled."""
    if dtype.startswith(("float", "bfloat")):
        return dtype
    fills = np.concatenate([step[1] for step in steps if step[0] == "fill"] or [np.zeros(1)])
    needs_float = any(step[0] == "affine" for step in steps) or (fills != np.round(fills)).any()
    return "float32" if needs_float else dtype


def _compute_dtype(dtype: str, result: str, steps: list[tuple[Any, ...]]) -> np.dtype:
    is_whole = not dtype.startswith("float") and not result.startswith(("float", "bfloat"))
    if is_whole and not any(step[0] == "affine" for step in steps):
        return np.dtype(np.uint64 if dtype == "uint64" else np.int64)
    return np.dtype(np.float64 if dtype in WIDE else np.float32)


def _fold(steps: list[tuple[Any, ...]], columns: int, compute: np.dtype) -> tuple[np.ndarray, ...]:
    """What one pass needs: for x not missing, clip((x - center) * factor, low, high) is what the steps make of it one by one,
    to the bit: both are monotone, and round alike."""
    is_float = compute.kind == "f"
    limits = (-np.inf, np.inf) if is_float else (np.iinfo(compute).min, np.iinfo(compute).max)
    center, factor = np.zeros(columns, compute), np.ones(columns, compute)
    low, high = np.full(columns, limits[0], compute), np.full(columns, limits[1], compute)
    missing = np.full(columns, np.nan if is_float else 0, compute)
    for step in steps:
        values = [_to_compute(v, columns, compute) for v in step[1:]]
        if step[0] == "fill":
            missing = np.where(np.isnan(missing), values[0], missing) if is_float else values[0]
        elif step[0] == "affine":
            center, factor = values
            ends = [_apply([step], end, compute) for end in (low, high)]
            low, high = np.minimum(*ends), np.maximum(*ends)
            missing = _apply([step], missing, compute)
        else:
            low, high, missing = (_apply([step], end, compute) for end in (low, high, missing))
    return center, factor, low, high, missing


def _apply(steps: list[tuple[Any, ...]], values: np.ndarray, compute: Any) -> np.ndarray:
    """The steps, one by one, on values of which the last axis is the columns."""
    compute = np.dtype(compute)
    out = values.astype(compute)
    for step in steps:
        parts = [_to_compute(v, out.shape[-1], compute) for v in step[1:]]
        with np.errstate(invalid="ignore", over="ignore"):
            if step[0] == "affine":
                out = (out - parts[0]) * parts[1]
            elif step[0] == "clip":
                out = np.minimum(np.maximum(out, parts[0]), parts[1])
    return out


def _to_compute(values: np.ndarray, columns: int, compute: np.dtype) -> np.ndarray:
    if compute.kind in "iu":  # bounds that no such number reaches
        held = np.iinfo(compute)
        values = np.array([min(max(_whole(v), held.min), held.max) for v in values.tolist()], compute)
    return np.broadcast_to(values.astype(compute), columns)


def _whole(value: float) -> int:
    return int(value) if np.isfinite(value) else int(np.sign(value)) << 64


def _limits(result: np.dtype, compute: np.dtype) -> tuple[Any, Any]:
    """The least and the largest number of `compute` that `result` holds."""
    if compute.kind in "iu":
        both, own = np.iinfo(compute), np.iinfo(result)
        return max(both.min, own.min), min(both.max, own.max)
    most = compute.type(np.iinfo(result).max)
    if int(most) > np.iinfo(result).max:
        most = np.nextafter(most, compute.type(0))
    return compute.type(np.iinfo(result).min), most


def _as_dtype(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """float32 -> the dtype, as it is held."""
    if dtype == "bfloat16":
        return bfloat16_bits(values)
    if dtype == "float16":
        return values.astype(np.float16).view(np.uint16)
    out = values.astype(NUMPY_DTYPES[dtype])
    if out.dtype.kind != "f" and (out != values).any():
        raise ArgumentError(f"field {name!r}: its pixels, or what fills in for them, do not fit {dtype} any more")
    return out


def _widen(dtype: str, shape: tuple[int, ...]) -> Call:
    patterns = np.arange(1 << 16, dtype=np.uint32)
    numbers = patterns.astype(np.uint16).view(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        numbers = (patterns << 16).view(np.float32)
    return Call("widen", "uint16", "float32", (_elements(shape),), numbers, shape)


def _elements(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _threshold(probability: float) -> int:
    return round(probability * CERTAIN)


def _nothing(dtype: str) -> np.ndarray:
    return np.zeros(0, dtype)
