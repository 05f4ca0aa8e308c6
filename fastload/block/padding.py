"""How rows of unequal length become a rectangle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastload.errors import ArgumentError, UnknownFieldError
from fastload.schema import NUMPY_DTYPES, Field, Schema

Entry = tuple[bool, int, int, bool, int]


@dataclass(frozen=True)
class Padding:
    """What a batch of a variable-length field looks like: ``batch[name]`` [rows, width], ``batch[name_lengths]`` [rows].

    Parameters
    ----------
    value : number
        Fills what is missing. Fields of floats round it, as any conversion does; else it must be one the dtype holds.
    side : "right" or "left"
        Where it is filled in.
    multiple : int
        The width is the longest row's, rounded up to a multiple of this.
    length : int, optional
        A fixed width instead. A row that is longer is an error, unless `truncate` cuts off its end; ``lengths`` then
        tell what is left.
    mask : bool
        Adds ``batch[name_mask]``, bool [rows, width], true where a row has an element.

    Raises
    ------
    ArgumentError
        A value that has no meaning.

    Examples
    --------
    >>> import numpy as np, fastload as fl
    >>> rows = {"t": [np.array([1, 2, 3]), np.array([4])]}
    >>> batch = next(iter(fl.DataLoader(rows, batch_size=2, padding=fl.Padding(value=-1, side="left", multiple=4))))
    >>> batch["t"].tolist(), batch["t_lengths"].tolist()
    ([[-1, 1, 2, 3], [-1, -1, -1, 4]], [3, 1])
    """

    value: float = 0
    side: str = "right"
    multiple: int = 1
    length: int | None = None
    truncate: bool = False
    mask: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.value, (int, float, np.number)):
            raise ArgumentError(f"value must be a number, got {self.value!r}")
        if self.side not in ("right", "left"):
            raise ArgumentError(f"side must be 'right' or 'left', got {self.side!r}")
        for name, number in (("multiple", self.multiple), ("length", self.length)):
            is_count = isinstance(number, (int, np.integer)) and not isinstance(number, bool) and number >= 1
            if not is_count and (name == "multiple" or number is not None):
                raise ArgumentError(f"{name} must be a positive integer, got {number!r}")
        if self.length is not None and self.multiple != 1:
            raise ArgumentError(f"a fixed length of {self.length} leaves nothing for multiple={self.multiple} to round")
        if self.truncate and self.length is None:
            raise ArgumentError("truncate cuts rows to a fixed length: give length as well")

    def entry(self, field: Field) -> Entry:
        """What the engine takes for this field."""
        dtype = NUMPY_DTYPES[field.dtype]
        return (self.side == "left", int(self.multiple), int(self.length or 0), self.truncate, self._bits(field, dtype))

    def _bits(self, field: Field, dtype: np.dtype) -> int:
        halved = field.dtype == "bfloat16"  # the upper half of a float32
        try:
            with np.errstate(all="ignore"):
                held = np.asarray(self.value).astype(np.float32 if halved else dtype)
            finite = bool(np.isfinite(held))
            holds = finite == bool(np.isfinite(self.value)) if held.dtype.kind == "f" else bool(held == self.value)
        except (OverflowError, TypeError):  # an int larger than any of NumPy's
            holds = False
        if not holds:
            raise ArgumentError(
                f"field {field.name!r} is padded with {self.value!r}, which {field.dtype} does not hold"
            )
        bits = int.from_bytes(held.tobytes(), "little")
        if halved:
            bits = bits + 0x7FFF + (bits >> 16 & 1) >> 16 if finite else bits >> 16  # to nearest, ties to even
        return bits


def padding_entries(schema: Schema, padding: Padding | Mapping[str, Padding] | None) -> list[Entry]:
    """One entry per field; what is not named is padded with zeros to the longest row."""
    named = _by_name(schema, padding)
    return [named.get(field.name, Padding()).entry(field) for field in schema]


def masked_fields(schema: Schema, padding: Padding | Mapping[str, Padding] | None) -> dict[str, bool]:
    """Names of fields that get a mask -> whether they are padded on the left."""
    return {name: p.side == "left" for name, p in _by_name(schema, padding).items() if p.mask}


def _by_name(schema: Schema, padding: Any) -> dict[str, Padding]:
    padded = [field.name for field in schema if field.variable and not field.is_text]
    if padding is None:
        return {}
    if isinstance(padding, Padding):
        if not padded:
            raise ArgumentError("padding is for fields of variable length, and there are none")
        return dict.fromkeys(padded, padding)
    if not isinstance(padding, Mapping) or not all(isinstance(p, Padding) for p in padding.values()):
        raise ArgumentError(f"padding must be a Padding or a dict of names to Padding, got {padding!r}")
    for name in padding:
        if name not in schema.names:
            raise UnknownFieldError(f"padding is given for {name!r}; the fields are {', '.join(schema.names)}")
        if f"{name}_mask" in schema.names and padding[name].mask:
            raise ArgumentError(f"a mask for {name!r} would be called '{name}_mask', which is a field")
        if name not in padded:
            raise ArgumentError(f"padding is given for {name!r}, which is not a number field of variable length")
    return dict(padding)
