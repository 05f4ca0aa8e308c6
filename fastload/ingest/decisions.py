"""What is decided about each source column, and how that grows while rows are seen.

A file is read once, as a stream. Its first rows (8 MiB of values) settle every column's type, whether values
are missing, and whether text is stored as categories; writing begins at once. If a later row contradicts that
(the first missing value, a fraction among integers, one category too many), what was written is dropped and
the conversion begins again with the field that fits, but first reads on for what else there may be: to 64 MiB
where it has not come so far, to the end where it has. So a surprise costs little near the beginning and a
second reading at worst, and no field is wider than its rows need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastload.errors import ArgumentError, IngestError
from fastload.ingest.columns import NO_VALUES, Column, FitError, merge_fields
from fastload.schema import DTYPES, Field

FIRST_LOOK_BYTES = 8 << 20
EARLY_BYTES = 64 << 20
TIME_UNITS = ("s", "ms", "us", "ns")
ALL = "all"  # the name of the only part where a source is not divided


@dataclass
class Chunk:
    """Rows of all columns, as they come from a source.

    path, first_row : the file they are from and the number of their first row in it (0-based).
    rows : their numbers one by one, where some between were refused; else None.
    bytes_read : how far the reader has come in the source, in bytes (of all files).
    part : the one they belong to, where the source itself is divided (``JoinedReader``).
    """

    columns: dict[str, Column]
    num_rows: int
    first_row: int
    bytes_read: int
    path: Path | None = None
    rows: np.ndarray | None = None
    part: str = ALL

    @property
    def size_bytes(self) -> int:
        return sum(column.size_bytes for column in self.columns.values())

    def row(self, index: int) -> int:
        return self.first_row + index if self.rows is None else int(self.rows[index])


def check_dtypes(dtypes: Mapping[str, object] | None) -> dict[str, str]:
    """{column: dtype} as given by the user -> names of DTYPES, "category", "timestamp" or "timestamp[unit]".

    >>> check_dtypes({"x": "float32", "when": "timestamp[ms]", "n": np.int16})
    {'x': 'float32', 'when': 'timestamp[ms]', 'n': 'int16'}
    """
    known = (*DTYPES, "category", "timestamp", *(f"timestamp[{unit}]" for unit in TIME_UNITS))
    checked = {}
    for name, dtype in (dtypes or {}).items():
        text = dtype
        if not isinstance(dtype, str):
            try:
                text = np.dtype(dtype).name
            except TypeError:
                text = str(dtype)
        if text not in known:
            raise ArgumentError(f"dtypes[{name!r}] must be one of {', '.join(known)}; got {dtype!r}")
        checked[name] = text
    return checked


class Decisions:
    """Fields decided so far, by source column.

    wanted : {column: dtype} asked for by the user.
    max_categories : text with more distinct values than this is stored as strings.
    nullable : columns known beforehand to have missing values (from a file's statistics).
    """

    def __init__(self, wanted: dict[str, str], max_categories: int, nullable: Iterable[str] = ()) -> None:
        self.wanted = wanted
        self.max_categories = max_categories
        self.fields: dict[str, Field] = {}
        self.sources: dict[str, str] = {}
        self.stale = False
        self._nullable = set(nullable)
        self._strings = {name for name, dtype in wanted.items() if dtype == "string"}
        self._distinct: dict[str, set[str]] = {}
        self._rows = 0
        self._settled = False

    def keeps_text(self, name: str) -> bool:
        """Text of this column is stored as it is, so a reader need not look for categories."""
        return name in self._strings

    def learn(self, chunk: Chunk) -> None:
        """Widen the fields so that they hold these rows. Sets `stale` where rows given before were read too
        narrowly."""
        for name, column in chunk.columns.items():
            before = self.fields.get(name)
            try:
                self._learn_column(name, column)
            except FitError as error:
                raise IngestError(
                    f"{error}; say what to store with dtypes={{{name!r}: ...}}",
                    path=chunk.path,
                    row=chunk.row(0),
                    field=name,
                ) from None
            if self._settled and before != self.fields[name]:
                self.stale = True
        self._rows += chunk.num_rows

    def settle(self) -> None:
        """The rows seen so far are enough to begin with: text that hardly repeats becomes strings."""
        for name, distinct in () if self._settled else self._distinct.items():
            from_source = self.sources[name].startswith("dictionary")
            if self.fields[name].categories and not from_source and 2 * len(distinct) > self._rows:
                self._use_strings(name)
        self._settled = True

    def restart(self) -> None:
        """Begin again, knowing what is known now."""
        self.settle()
        self.stale = False

    def field(self, name: str) -> Field:
        """The field to store: what the rows need, or what the user asked for."""
        natural, wanted = self.fields[name], self.wanted.get(name)
        if wanted is None:
            return natural
        if wanted == "category":
            return Field(name, "int32", nullable=natural.nullable, categories=True)
        if wanted.startswith("timestamp"):
            if not self.sources[name].startswith(("timestamp", NO_VALUES)):
                raise IngestError(
                    f"a timestamp must come from dates or times; the column is {self.sources[name]}",
                    field=name,
                )
            return replace(natural, dtype="int64")
        if wanted in ("string", "bytes") or natural.is_text or natural.categories:
            return Field(name, wanted, nullable=natural.nullable)
        return replace(natural, dtype=wanted)

    def _learn_column(self, name: str, column: Column) -> None:
        new = column.natural_field(name)
        if name in self._nullable:
            new = replace(new, nullable=True)
        old, source = self.fields.get(name), self.sources.get(name, NO_VALUES)
        if old is None or (source == NO_VALUES and column.source != NO_VALUES):
            self.fields[name] = replace(new, nullable=True) if old is not None else new
        elif column.source == NO_VALUES:
            self.fields[name] = replace(old, nullable=True)
        else:
            self.fields[name] = merge_fields(old, new)
            if source != column.source and (_is_time(source) or _is_time(column.source)):
                self.stale = True  # the same integer now means another moment
        if column.source != NO_VALUES or old is None:
            self.sources[name] = column.source
        if new.categories and column.source != NO_VALUES:
            self._learn_categories(name, column)
        elif new.dtype == "string":
            self._use_strings(name)

    def _learn_categories(self, name: str, column: Column) -> None:
        distinct = self._distinct.setdefault(name, set())
        distinct.update(column.data.categories)
        if self.keeps_text(name) or (len(distinct) > self.max_categories and self.wanted.get(name) != "category"):
            self._use_strings(name)

    def _use_strings(self, name: str) -> None:
        if self.wanted.get(name) == "category":
            return
        self._strings.add(name)
        self.fields[name] = Field(name, "string", nullable=self.fields[name].nullable)


def _is_time(source: str) -> bool:
    return source.startswith(("timestamp", "date", "time", "duration"))
