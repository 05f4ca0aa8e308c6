"""What the golden data sets of tests/data hold, as formulas. Written by make_golden.py, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastload as fl
from fastload.schema import DTYPES, NUMPY_DTYPES

FOLDER = Path(__file__).parent / "data" / "v1"
NUMBERS = DTYPES[:13]
LINE = "a longer line of text that repeats, repeats, repeats"
WORDS = ("", "a", "naïve", "日本", "\x00end\x00", "🙂🙃", LINE)


class Golden(NamedTuple):
    """appends : per writer the rows of each call of append; the later writers with append=True."""

    schema: fl.Schema
    columns: Callable[[int, int], dict[str, Any]]  # (first row, rows) -> columns
    appends: tuple[tuple[int, ...], ...]
    options: dict[str, Any]

    @property
    def num_rows(self) -> int:
        return sum(map(sum, self.appends))


def numbers(dtype: str, first: int, rows: int, row_size: int = 1) -> np.ndarray:
    """[rows * row_size] values of every size and sign; extremes, infinities and NaN among them."""
    i = np.arange(first * row_size, (first + rows) * row_size, dtype=np.int64)
    steps = i * 37 % 251 - 125
    numpy_dtype = NUMPY_DTYPES[dtype]
    if dtype == "bool":
        return steps % 3 == 0
    if dtype == "bfloat16":
        return ((steps / 8).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if numpy_dtype.kind == "f":
        values = (steps / 8).astype(numpy_dtype)
        for place, special in enumerate((-0.0, np.inf, -np.inf, np.nan)):
            values[i % 61 == 3 + place] = special
        return values
    values = (steps if numpy_dtype.kind == "i" else steps + 125).astype(numpy_dtype)
    values[i % 61 == 3] = np.iinfo(numpy_dtype).min
    values[i % 61 == 4] = np.iinfo(numpy_dtype).max
    return values


def texts(first: int, rows: int) -> list[str]:
    return [WORDS[i * 5 % 7] * (i % 3) for i in range(first, first + rows)]


def runs(dtype: str, first: int, rows: int) -> list[np.ndarray]:
    return [numbers(dtype, i, i * 3 % 11) for i in range(first, first + rows)]


def gaps(first: int, rows: int) -> np.ndarray:
    """True where a row is null."""
    i = np.arange(first, first + rows)
    return (i % 5 == 2) | (i % 7 == 0)


def with_gaps(values: Any, first: int, rows: int) -> Any:
    mask = gaps(first, rows)
    if isinstance(values, list):
        return [None if null else value for value, null in zip(values, mask, strict=True)]
    mask = mask.reshape(-1, *[1] * (values.ndim - 1))
    return np.ma.MaskedArray(values, np.broadcast_to(mask, values.shape))


def scalars(first: int, rows: int) -> dict[str, Any]:
    words = texts(first, rows)
    return {dtype: numbers(dtype, first, rows) for dtype in NUMBERS} | {
        "string": words,
        "bytes": [word.encode("utf-16") for word in words],
    }


def shapes(first: int, rows: int) -> dict[str, Any]:
    return {
        "vector": numbers("float32", first, rows, 4).reshape(rows, 4),
        "image": numbers("uint8", first, rows, 60).reshape(rows, 4, 5, 3),
        "matrix": (np.arange(first * 6, (first + rows) * 6, dtype=np.int32) // 7).reshape(rows, 2, 3),
        "flat": np.full((rows, 2, 2), 7, np.int64),
        "noise": (np.arange(first * 9, (first + rows) * 9, dtype=np.uint64) ** 5 % 65521 % 256)
        .astype(np.uint8)
        .reshape(rows, 9),
        "tokens": runs("int32", first, rows),
        "curve": runs("float64", first, rows),
    }


def nulls(first: int, rows: int) -> dict[str, Any]:
    words = texts(first, rows)
    return {
        name: with_gaps(values, first, rows)
        for name, values in {
            "flag": numbers("bool", first, rows),
            "small": numbers("int8", first, rows),
            "large": numbers("uint64", first, rows),
            "half": numbers("float16", first, rows),
            "brain": numbers("bfloat16", first, rows),
            "single": numbers("float32", first, rows, 3).reshape(rows, 3),
            "double": numbers("float64", first, rows),
            "tokens": runs("int16", first, rows),
            "string": words,
            "bytes": [word.encode("utf-16") for word in words],
            "category": [f"kind {i % 4}" for i in range(first, first + rows)],
        }.items()
    }


def appended(first: int, rows: int) -> dict[str, Any]:
    return {
        "row": np.arange(first, first + rows),
        "category": [f"kind {i * i // 40}" for i in range(first, first + rows)],
        "label": numbers("uint8", first, rows) % 3,
        "text": texts(first, rows),
    }


GOLDEN = {
    "scalars-raw": Golden(
        fl.Schema([fl.Field(dtype, dtype) for dtype in DTYPES]),
        scalars,
        ((12,),),
        {"codec": "raw"},
    ),
    "shapes-lz4": Golden(
        fl.Schema(
            [
                fl.Field("vector", "float32", (4,)),
                fl.Field("image", "uint8", (4, 5, 3)),
                fl.Field("matrix", "int32", (2, 3)),
                fl.Field("flat", "int64", (2, 2)),
                fl.Field("noise", "uint8", (9,)),
                fl.Field("tokens", "int32", variable=True),
                fl.Field("curve", "float64", variable=True),
            ]
        ),
        shapes,
        ((1, 20, 9),),
        {"codec": "lz4", "block_bytes": 4096},
    ),
    "nulls-lz4": Golden(
        fl.Schema(
            [
                fl.Field("flag", "bool", nullable=True),
                fl.Field("small", "int8", nullable=True),
                fl.Field("large", "uint64", nullable=True),
                fl.Field("half", "float16", nullable=True),
                fl.Field("brain", "bfloat16", nullable=True),
                fl.Field("single", "float32", (3,), nullable=True),
                fl.Field("double", "float64", nullable=True),
                fl.Field("tokens", "int16", variable=True, nullable=True),
                fl.Field("string", "string", nullable=True),
                fl.Field("bytes", "bytes", nullable=True),
                fl.Field("category", "int32", nullable=True, categories=True),
            ]
        ),
        nulls,
        ((61,),),
        {"codec": "lz4"},
    ),
    "appended-lz4hc": Golden(
        fl.Schema(
            [
                fl.Field("row", "int64"),
                fl.Field("category", "int32", categories=True),
                fl.Field("label", "uint8"),
                fl.Field("text", "string"),
            ]
        ),
        appended,
        ((10, 10, 20), (23, 1)),
        {"codec": "lz4hc", "block_bytes": 400, "shard_bytes": 500},
    ),
}


def expected(name: str) -> dict[str, Any]:
    """The columns that a golden data set holds."""
    golden = GOLDEN[name]
    return golden.columns(0, golden.num_rows)
