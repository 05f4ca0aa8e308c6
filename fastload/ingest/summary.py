"""What a conversion did: counted while it runs (Tally), told at its end (ConvertSummary)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fastload.report.numbers import bytes_text

if TYPE_CHECKING:
    from fastload.block.dataset import Dataset

EXAMPLES = 3  # kept for each reason a row was refused


@dataclass
class Refusal:
    """Rows left out for one reason. examples : (row number, text) of the first few."""

    reason: str
    num_rows: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Tally:
    """Counters of one pass over a source. Every row read is either handed on or refused here."""

    refusals: dict[str, Refusal] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    coerced: dict[str, int] = field(default_factory=dict)

    def refuse(self, reason: str, row: int, text: str) -> None:
        refusal = self.refusals.setdefault(reason, Refusal(reason))
        refusal.num_rows += 1
        if len(refusal.examples) < EXAMPLES:
            refusal.examples.append((row, text if len(text) <= 60 else text[:57] + "..."))

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def coerce(self, name: str, count: int) -> None:
        if count:
            self.coerced[name] = self.coerced.get(name, 0) + count

    @property
    def num_refused(self) -> int:
        return sum(refusal.num_rows for refusal in self.refusals.values())


@dataclass(frozen=True)
class FieldSummary:
    """One stored field.

    source : type in the source, such as "double" or "timestamp[ms]" (the unit of the integers stored).
    stored : dtype and shape in the data set, such as "float32 [8]".
    nulls, nans : missing values, and values that are not a number (in packed fields a missing value is a
    NaN).
    coerced : values that had to be rounded to fit the stored dtype.
    """

    name: str
    source: str
    stored: str
    nulls: int
    nans: int
    coerced: int


@dataclass(frozen=True)
class ConvertSummary:
    """What was read, coerced, refused and written by ``convert``. ``print(summary)`` shows it as a table.

    kind : what the source was, such as "csv".
    rows_read : rows in the source; rows_written + rows_refused.
    rows_written : {split: rows}; without a split {"all": rows}.
    refusals : why rows were left out (only with on_bad_rows="skip"), with the first examples.
    fields : one FieldSummary per stored field.
    notes : what else is worth knowing, a sentence each.
    bytes_in, bytes_out : size of the source (0 where it is in memory) and of the data sets written.
    paths : {split: folder of the data set}.
    """

    kind: str
    rows_read: int
    rows_written: Mapping[str, int]
    refusals: tuple[Refusal, ...]
    fields: tuple[FieldSummary, ...]
    notes: tuple[str, ...]
    seconds: float
    bytes_in: int
    bytes_out: int
    paths: Mapping[str, Path]

    @property
    def rows_refused(self) -> int:
        return sum(refusal.num_rows for refusal in self.refusals)

    @property
    def datasets(self) -> dict[str, Dataset]:
        """The data sets written, opened."""
        from fastload.block.dataset import Dataset

        return {name: Dataset(path) for name, path in self.paths.items()}

    def to_json(self) -> dict[str, object]:
        """Plain values, for a script."""
        return {
            "kind": self.kind,
            "rows_read": self.rows_read,
            "rows_written": dict(self.rows_written),
            "rows_refused": self.rows_refused,
            "refusals": [
                {"reason": r.reason, "rows": r.num_rows, "examples": [list(e) for e in r.examples]}
                for r in self.refusals
            ],
            "fields": [vars(f).copy() for f in self.fields],
            "notes": list(self.notes),
            "seconds": self.seconds,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "paths": {name: str(path) for name, path in self.paths.items()},
        }

    def __str__(self) -> str:
        written = sum(self.rows_written.values())
        lines = [f"{self.kind}: {self.rows_read:,} rows read, {written:,} written, {self.rows_refused:,} refused"]
        for refusal in self.refusals:
            lines.append(f"  refused {refusal.num_rows:,}: {refusal.reason}")
            lines += [f"    row {row:,}: {text}" for row, text in refusal.examples]
        header = ("field", "source", "stored", "nulls", "NaN", "rounded")
        rows = [(f.name, f.source, f.stored, f"{f.nulls:,}", f"{f.nans:,}", f"{f.coerced:,}") for f in self.fields]
        lines += format_table(header, rows, right=(3, 4, 5))
        lines += [f"note: {note}" for note in self.notes]
        rate = written / self.seconds if self.seconds > 0 else float("inf")
        sizes = f"{bytes_text(self.bytes_in)} -> " if self.bytes_in else ""
        lines.append(f"{sizes}{bytes_text(self.bytes_out)} in {self.seconds:.2f} s ({rate:,.0f} rows/s)")
        lines += [f"{name}: {self.rows_written[name]:,} rows in {path}" for name, path in self.paths.items()]
        return "\n".join(lines)


def format_table(header: tuple[str, ...], rows: list[tuple[str, ...]], right: tuple[int, ...] = ()) -> list[str]:
    """Lines of a text table, columns as wide as needed (cells cut at 40).

    >>> print("\\n".join(format_table(("name", "n"), [("rows", "12")], right=(1,))))
    name   n
    rows  12
    """
    cells = [[c if len(c) <= 40 else c[:39] + "…" for c in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return [
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
