"""What a row is made of: fields, schemas, and the column forms that have no plain NumPy equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastload.errors import SchemaError, UnknownFieldError

# In the order of the format's dtype numbers (csrc/core/layout.h). bfloat16 is a bit pattern that torch shows as
# torch.bfloat16; string and bytes are runs of uint8.
NUMPY_DTYPES: dict[str, np.dtype] = {
    name: np.dtype({"bfloat16": "uint16", "string": "uint8", "bytes": "uint8"}.get(name, name))
    for name in (
        "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 string bytes".split()
    )
}
DTYPES = tuple(NUMPY_DTYPES)
MAX_NAME_BYTES = 255
MAX_DIMENSIONS = 8
MAX_FIELDS = 4096


class Ragged(NamedTuple):
    """A column of runs of unequal length: row i is ``values[offsets[i]:offsets[i + 1]]``.

    offsets : int64 array [rows + 1], ascending. values : array [offsets[-1]], uint8 for string and bytes.
    valid : bool array [rows], or None where every row is present.

    >>> r = Ragged.from_rows([[1, 2], [], [3]], "int32")
    >>> r.offsets.tolist(), r.values.tolist()
    ([0, 2, 2, 3], [1, 2, 3])
    """

    offsets: np.ndarray
    values: np.ndarray
    valid: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_rows(cls, rows: Iterable[Any], dtype: str) -> Ragged:
        """Rows as sequences (None = null) -> Ragged. str become UTF-8; `dtype` is a name from DTYPES."""
        numpy_dtype = NUMPY_DTYPES[dtype]
        if dtype == "string":
            parts = [None if r is None else r.encode("utf-8") for r in rows]
        else:
            parts = list(rows)
        present = [p is not None for p in parts]
        if dtype in ("string", "bytes"):
            lengths = [0 if p is None else len(p) for p in parts]
            values = np.frombuffer(b"".join(p for p in parts if p is not None), np.uint8)
        else:
            arrays = [np.asarray([] if p is None else p, numpy_dtype) for p in parts]
            lengths = [a.size for a in arrays]
            values = np.concatenate(arrays) if arrays else np.empty(0, numpy_dtype)
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(offsets, values, None if all(present) else np.array(present, bool))


class Categorical(NamedTuple):
    """A column of codes into a list of strings. valid : bool array [rows], or None."""

    codes: np.ndarray
    categories: list[str]
    valid: np.ndarray | None = None


@dataclass(frozen=True)
class Field:
    """One column.

    Parameters
    ----------
    name : str
        1 to 255 bytes of UTF-8.
    dtype : str
        One of ``fastload.schema.DTYPES``.
    shape : tuple of int
        Shape of one row's value; () is a scalar. Fixed-size values only.
    variable : bool
        One 1-D run of `dtype` per row, of any length. string and bytes are variable by nature.
    nullable : bool
        Rows may lack a value; batches then carry ``<name>_valid`` beside ``<name>``.
    categories : bool
        int32 codes into a dictionary of strings kept in the file.

    Raises
    ------
    SchemaError
        The parts contradict each other.

    Examples
    --------
    >>> Field("image", "uint8", (32, 32, 3)).row_bytes
    3072
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    variable: bool = False
    nullable: bool = False
    categories: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        name_bytes = len(self.name.encode("utf-8")) if isinstance(self.name, str) else 0
        if not 1 <= name_bytes <= MAX_NAME_BYTES:
            raise SchemaError(f"a field's name must be a str of 1 to {MAX_NAME_BYTES} bytes, got {self.name!r}")
        if self.dtype not in NUMPY_DTYPES:
            raise SchemaError(f"field {self.name!r}: dtype must be one of {', '.join(DTYPES)}; got {self.dtype!r}")
        if len(self.shape) > MAX_DIMENSIONS or any(n < 1 for n in self.shape):
            raise SchemaError(
                f"field {self.name!r}: shape must hold at most {MAX_DIMENSIONS} sizes of at least 1, got {self.shape}"
            )
        if (self.variable or self.is_text) and self.shape:
            raise SchemaError(f"field {self.name!r}: a value of variable length has no fixed shape, got {self.shape}")
        if self.is_text and self.variable:
            raise SchemaError(f"field {self.name!r}: {self.dtype} is variable by nature; leave variable=False")
        if self.categories and (self.dtype != "int32" or self.shape or self.variable):
            raise SchemaError(f"field {self.name!r}: categories are scalar int32 codes, got {self.dtype} {self.shape}")

    @property
    def is_text(self) -> bool:
        return self.dtype in ("string", "bytes")

    @property
    def is_ragged(self) -> bool:
        """Rows differ in length."""
        return self.variable or self.is_text

    @property
    def numpy_dtype(self) -> np.dtype:
        return NUMPY_DTYPES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; for ragged fields, of one element."""
        return self.numpy_dtype.itemsize * prod(self.shape)

    @property
    def companion(self) -> tuple[str, ...]:
        """Names that stand beside this field in a batch."""
        names = []
        if self.variable:
            names.append(f"{self.name}_lengths")
        if self.nullable:
            names.append(f"{self.name}_valid")
        return tuple(names)


class Schema:
    """An ordered set of fields.

    >>> schema = Schema([Field("x", "float32", (3,)), Field("y", "int64")])
    >>> schema.names, schema["y"].dtype
    (('x', 'y'), 'int64')
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields: tuple[Field, ...] = tuple(fields)
        if not 1 <= len(self.fields) <= MAX_FIELDS:
            raise SchemaError(f"a schema holds 1 to {MAX_FIELDS} fields, got {len(self.fields)}")
        taken: dict[str, str] = {}
        for field in self.fields:
            for name in (field.name, *field.companion):
                if name in taken:
                    raise SchemaError(
                        f"names in a batch must be unique: {name!r} comes from field {taken[name]!r} and from "
                        f"field {field.name!r}; rename one of them"
                    )
                taken[name] = field.name
        self._by_name = {f.name: f for f in self.fields}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def __getitem__(self, name: str) -> Field:
        try:
            return self._by_name[name]
        except (KeyError, TypeError):
            raise UnknownFieldError(f"no field {name!r}; the fields are {', '.join(map(repr, self.names))}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return f"Schema([{', '.join(map(repr, self.fields))}])"

    def select(self, names: Iterable[str]) -> Schema:
        return Schema([self[name] for name in names])

    def to_json(self) -> list[dict[str, Any]]:
        return [{**asdict(f), "shape": list(f.shape)} for f in self.fields]

    @classmethod
    def from_json(cls, fields: Any) -> Schema:
        try:
            return cls([Field(**{**f, "shape": tuple(f["shape"])}) for f in fields])
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise SchemaError(f"not a schema: {error}") from error
