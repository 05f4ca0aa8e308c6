"""Several readers of the same columns as one source, which may be divided into parts from the start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from fastload.errors import IngestError
from fastload.ingest.decisions import Chunk, Decisions
from fastload.ingest.summary import Tally

if TYPE_CHECKING:
    from fastload.ingest.sources import Reader


class JoinedReader:
    """Readers one after another.

    members : (part, reader) of each. Where they name more than one part ("train" and "test", say), each part
    becomes a data set of its own; where they name only one, the source is not divided.
    parts : the parts, () where the source is not divided.
    """

    def __init__(self, members: list[tuple[str, Reader]]) -> None:
        readers = [reader for _, reader in members]
        self.kind, self.names = readers[0].kind, readers[0].names
        for reader in readers:
            if reader.names != self.names:
                raise IngestError(
                    f"all files must hold the same columns; found {', '.join(reader.names)} here and "
                    f"{', '.join(self.names)} in '{readers[0].paths[0]}'",
                    path=reader.paths[0],
                )
        parts = tuple(dict.fromkeys(part for part, _ in members))
        self.parts = parts if len(parts) > 1 else ()
        self.paths = [path for reader in readers for path in reader.paths]
        self.size_bytes = sum(reader.size_bytes for reader in readers)
        lengths = [reader.num_rows for reader in readers]
        self.num_rows = None if None in lengths else sum(lengths)
        self.nullable = set().union(*(reader.nullable for reader in readers))
        self._members = members

    def choose(self, names: Iterable[str]) -> None:
        """Read only these columns from now on."""
        names = list(names)
        for _, reader in self._members:
            reader.choose(names)

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        bytes_before = 0
        for part, reader in self._members:
            with closing(reader.chunks(decisions, tally)) as chunks:
                for chunk in chunks:
                    chunk.bytes_read += bytes_before
                    if self.parts:
                        chunk.part = part
                    yield chunk
            bytes_before += reader.size_bytes
