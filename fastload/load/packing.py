"""Rows of a variable-length field, packed whole into rows of a fixed length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastload import _core
from fastload.block.batch import Parts
from fastload.block.padding import Padding
from fastload.errors import ArgumentError
from fastload.schema import NUMPY_DTYPES, Field, Schema


@dataclass(frozen=True)
class Packing:
    """Batches of packed rows: ``batch[field]`` [rows, length], and beside it

    - ``batch[field_document]`` int32: which document of the row a place belongs to, from 1 on; 0 where it is empty;
    - ``batch[field_position]`` int32: the place in that document, which starts anew with each.

    Documents are packed by best fit decreasing, some thousands at a time (see ``fastload.plan.packing``); those longer than a
    row are cut. Batches count packed rows, and so does ``batch_size``. Other fields are not delivered.

    Parameters
    ----------
    length : int
        Places of a row.
    field : str, optional
        What is packed: by default the one variable-length field of numbers that there is.
    value : number
        Fills the places that stay empty.
    pool_documents : int
        Documents that are packed together: more of them leave fewer places empty.

    Raises
    ------
    ArgumentError
        A value that has no meaning.

    Examples
    --------
    >>> import fastload as fl
    >>> rows = {"t": [np.array([1, 2, 3]), np.array([4]), np.array([5, 6])]}
    >>> batch = next(iter(fl.DataLoader(rows, batch_size=2, packing=fl.Packing(length=4))))
    >>> batch["t"].tolist(), batch["t_document"].tolist()
    ([[1, 2, 3, 4], [5, 6, 0, 0]], [[1, 1, 1, 2], [1, 1, 0, 0]])
    """

    length: int
    field: str | None = None
    value: float = 0
    pool_documents: int = 16_384

    def __post_init__(self) -> None:
        for name, number in (("length", self.length), ("pool_documents", self.pool_documents)):
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
                raise ArgumentError(f"{name} must be a positive integer, got {number!r}")

    def field_of(self, schema: Schema) -> Field:
        """The field that is packed, if it is one that can be."""
        able = [f for f in schema if f.variable and not f.is_text and not f.nullable]
        if self.field is None and len(able) != 1:
            names = ", ".join(f.name for f in able) or "none"
            raise ArgumentError(f"packing must name its field: those of variable length and numbers are {names}")
        field = able[0] if self.field is None else schema[self.field]
        if field not in able:
            raise ArgumentError(
                f"packing takes a variable-length field of single numbers without nulls; {field.name!r} is {field}"
            )
        for suffix in ("_document", "_position"):
            if f"{field.name}{suffix}" in schema.names:
                raise ArgumentError(f"packing adds '{field.name}{suffix}', which is a field")
        Padding(self.value).entry(field)  # a value that the dtype holds
        return field


class PackedRows:
    """Places pieces of documents in rows, whose `schema` is another than that of the documents.

    field : what is packed. packing : how.
    """

    def __init__(self, field: Field, packing: Packing) -> None:
        self._length = packing.length
        self.schema = Schema(
            [
                Field(field.name, field.dtype, (packing.length,)),
                Field(f"{field.name}_document", "int32", (packing.length,)),
                Field(f"{field.name}_position", "int32", (packing.length,)),
            ]
        )
        self.row_bytes = sum(f.row_bytes for f in self.schema)
        bits = Padding(packing.value).entry(field)[-1]
        self._fill = bits.to_bytes(8, "little")[: NUMPY_DTYPES[field.dtype].itemsize]

    def place(
        self,
        values: np.ndarray,
        offsets: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        bins: np.ndarray,
        rows: int,
    ) -> Parts:
        """The batch, by `schema`.

        Parameters
        ----------
        values, offsets : the documents of the pieces, one after the other; document i is values[offsets[i]:offsets[i + 1]].
        starts, lengths, bins : int64 [pieces]
            Piece i is ``length`` elements of document i from ``start`` on, and belongs to row ``bins[i]``; rows rise.
        rows : int
            Rows of the batch.
        """
        columns = _core.place_pieces(values, offsets, starts, lengths, bins, rows, self._length, self._fill)
        return [(column, None, None, None) for column in columns]
