"""A progress bar with rate and remaining time, on stderr, silent where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from fastload.errors import ArgumentError

REDRAW_S = 0.1


@dataclass(frozen=True)
class ProgressState:
    """How far a job has come. total_rows and total_bytes are None or 0 where unknown; seconds since it
    started."""

    label: str
    rows: int
    size_bytes: int
    total_rows: int | None
    total_bytes: int | None
    seconds: float

    @property
    def fraction(self) -> float | None:
        """Share done, 0 to 1; None where no total is known."""
        for done, total in ((self.rows, self.total_rows), (self.size_bytes, self.total_bytes)):
            if total:
                return min(done / total, 1.0)
        return None

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def bytes_per_s(self) -> float:
        return self.size_bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        return self.seconds * (1 - self.fraction) / self.fraction if self.fraction else None

    def __str__(self) -> str:
        parts = [self.label, f"{self.rows:,} rows", f"{self.rows_per_s:,.0f} rows/s"]
        if self.size_bytes:
            parts.append(f"{self.bytes_per_s / 1e6:,.0f} MB/s")
        if self.fraction is not None:
            parts.insert(1, f"{self.fraction:4.0%}")
        if self.remaining_s is not None:
            parts.append(f"{format_seconds(self.remaining_s)} left")
        return "  ".join(parts)


def format_seconds(seconds: float) -> str:
    """
    >>> format_seconds(75), format_seconds(7260)
    ('1:15', '2:01:00')
    """
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Counts rows and bytes of one job and shows them. Used from one thread.

    show : called with a ProgressState at most every 0.1 s, and once at the end.
    """

    def __init__(
        self,
        label: str,
        show: Callable[[ProgressState], None],
        total_rows: int | None,
        total_bytes: int | None,
    ) -> None:
        self.label, self.total_rows, self.total_bytes = label, total_rows, total_bytes
        self._show = show
        self._rows = self._size_bytes = 0
        self._start_s = time.perf_counter()
        self._shown_s = 0.0

    def at(self, rows: int, size_bytes: int, *, label: str | None = None) -> None:
        """So many rows and bytes are done by now."""
        self.label = label or self.label
        self._rows, self._size_bytes = rows, size_bytes
        if time.perf_counter() - self._shown_s >= REDRAW_S:
            self.show()

    def show(self) -> None:
        self._shown_s = time.perf_counter()
        seconds = self._shown_s - self._start_s
        self._show(ProgressState(self.label, self._rows, self._size_bytes, self.total_rows, self.total_bytes, seconds))


@contextmanager
def show_progress(
    label: str,
    progress: bool | Callable[[ProgressState], None] | None,
    *,
    total_rows: int | None = None,
    total_bytes: int | None = None,
    stream: TextIO | None = None,
) -> Iterator[Progress]:
    """A Progress to report to while the block runs.

    progress : None shows a bar if `stream` is a terminal, True always, False never; a function gets the
    ProgressStates.
    stream : stderr by default. The bar is drawn by rich where it is installed, else as one line rewritten in
    place.

    >>> with show_progress("read", lambda state: print(state.rows), total_rows=10) as bar:
    ...     bar.at(10, 80)
    10
    10
    """
    stream = sys.stderr if stream is None else stream
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ArgumentError(f"progress must be None, True, False or a function, got {progress!r}")
    if callable(progress):
        show, close = progress, lambda: None
    elif progress or (progress is None and stream.isatty()):
        show, close = _rich_bar(stream, label) or _plain_line(stream)
    else:
        show, close = (lambda state: None), (lambda: None)
    bar = Progress(label, show, total_rows, total_bytes)
    try:
        yield bar
        bar.show()
    finally:
        close()


Drawing = tuple[Callable[[ProgressState], None], Callable[[], None]]


def _plain_line(stream: TextIO) -> Drawing:
    width = 0

    def show(state: ProgressState) -> None:
        nonlocal width
        line = str(state)
        stream.write("\r" + line.ljust(width))
        stream.flush()
        width = len(line)

    def close() -> None:
        stream.write("\n")
        stream.flush()

    return show, close


def _rich_bar(stream: TextIO, label: str) -> Drawing | None:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
    except ImportError:
        return None
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(file=stream),
        auto_refresh=False,  # no thread: drawn when told, gone with the block
    )
    task = bar.add_task(label, total=None, text="")
    bar.start()

    def show(state: ProgressState) -> None:
        fraction = state.fraction
        text = str(state)[len(state.label) + 2 :]
        bar.update(
            task,
            description=state.label,
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
            text=text,
            refresh=True,
        )

    return show, bar.stop
