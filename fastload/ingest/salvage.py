"""Rows of a CSV that cannot be read: found, named, or left out and counted. Importing this module imports
pyarrow.

All of it works on the segment's bare cells (bytes), and only when the parser has refused the segment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastload.errors import IngestError
from fastload.ingest.arrow import all_failing, casts, first_failing, pa, text_to, types
from fastload.ingest.segments import Segment
from fastload.ingest.summary import Tally


@dataclass
class RaggedRow:
    """A record with another number of cells than the header. record : its place in the segment."""

    record: int
    num_cells: int
    text: str


@dataclass
class BareSegment:
    """A segment read without types.

    columns : {name: cells as bytes, null where they mean "missing"}, of the records that have the right
    number of cells.
    ragged : the other records. column_types : what the cells should be.
    """

    segment: Segment
    columns: dict[str, pa.Array]
    ragged: list[RaggedRow]
    column_types: dict[str, pa.DataType]
    num_cells: int

    def __post_init__(self) -> None:
        whole = len(next(iter(self.columns.values())))
        self.num_records = whole + len(self.ragged)
        ragged = np.array([row.record for row in self.ragged], np.int64)
        self.records = np.setdiff1d(np.arange(self.num_records), ragged)  # of each row in `columns`

    def raise_first(self, parser_says: Exception | None) -> None:
        """Raise IngestError for the first record that cannot be read."""
        failing = self._failing(lambda cells, kind: [first_failing(cells, kind)])
        places = [(row.record, None) for row in self.ragged]
        places += [(int(self.records[indices[0]]), name) for name, indices in failing.items()]
        if not places:
            message = f"the file must be readable CSV; pyarrow says: {parser_says}"
            raise IngestError(message, path=self.segment.file.path, row=self.segment.first_row)
        record, name = min(places, key=lambda place: place[0])
        line = self.segment.file.line_of(self.segment, record)
        if name is None:
            message = self._ragged_message(next(row for row in self.ragged if row.record == record), line)
        else:
            message = _cell_message(name, self.columns[name][failing[name][0]], self.column_types[name], line)
        raise IngestError(message, path=self.segment.file.path, row=self.segment.first_row + record, field=name)

    def leave_out(self, tally: Tally) -> tuple[pa.Table, np.ndarray]:
        """The records that can be read, and their row numbers in the file; `tally` counts the others."""
        failing = self._failing(all_failing)
        refused: dict[int, tuple[str, str]] = {}
        for row in self.ragged:
            refused[row.record] = (
                f"a row must have {self.num_cells} cells",
                f"{row.num_cells} cells: {row.text}",
            )
        for name, indices in failing.items():
            reason = f"column {name!r} must hold {_describe(self.column_types[name])}"
            for index in indices:
                refused.setdefault(int(self.records[index]), (reason, _show(self.columns[name][index])))
        for record, (reason, text) in sorted(refused.items()):
            tally.refuse(reason, self.segment.first_row + record, text)
        keep = np.ones(len(self.records), bool)
        for indices in failing.values():
            keep[indices] = False
        mask = pa.array(keep)
        kept = {name: text_to(self.columns[name].filter(mask), kind) for name, kind in self.column_types.items()}
        return pa.table(kept), self.segment.first_row + self.records[keep]

    def _failing(self, find: Callable[[pa.Array, pa.DataType], list[int]]) -> dict[str, list[int]]:
        """{column: rows whose cell is not of the column's type, as `find` lists them}."""
        return {
            name: find(self.columns[name], kind)
            for name, kind in self.column_types.items()
            if not types.is_binary(kind) and not casts(self.columns[name], kind)
        }

    def _ragged_message(self, row: RaggedRow, line: int) -> str:
        return (
            f"every row must have {self.num_cells} cells; line {line} has {row.num_cells}: "
            f'{row.text[:80]!r}; repair the file, or leave such rows out with on_bad_rows="skip"'
        )


def _cell_message(name: str, cell: pa.Scalar, kind: pa.DataType, line: int) -> str:
    raw = cell.as_py()
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return (
            f"text must be UTF-8; line {line} has {raw[:40]!r}; name the file's encoding "
            f"(encoding='latin-1', say), keep the bytes with dtypes={{{name!r}: 'bytes'}}, "
            f'or leave such rows out with on_bad_rows="skip"'
        )
    is_number = not types.is_floating(kind) and casts(pa.array([raw]), pa.float64())
    return (
        f"the column must hold {_describe(kind)}; line {line} has {_show(cell)}; widen it with "
        f"dtypes={{{name!r}: {'float64' if is_number else 'string'!r}}}, read the value as missing with "
        f'null_values=[{_show(cell)}], or leave such rows out with on_bad_rows="skip"'
    )


def _describe(kind: pa.DataType) -> str:
    return "text" if types.is_string(kind) or types.is_dictionary(kind) else f"{kind} values"


def _show(cell: pa.Scalar) -> str:
    return repr(cell.as_py().decode("utf-8", "replace"))[:60]
