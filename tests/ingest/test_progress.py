from __future__ import annotations

import contextlib
import io
import sys

import pytest

from fastload.errors import ArgumentError
from fastload.ingest import progress
from fastload.ingest.progress import ProgressState, format_seconds, show_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_state():
    state = ProgressState(
        "convert", rows=250, size_bytes=5_000_000, total_rows=None, total_bytes=20_000_000, seconds=2.0
    )
    assert (state.fraction, state.rows_per_s, state.bytes_per_s, state.remaining_s) == (
        0.25,
        125.0,
        2.5e6,
        6.0,
    )
    assert str(state) == "convert   25%  250 rows  125 rows/s  2 MB/s  0:06 left"


def test_state_without_totals():
    state = ProgressState("convert", rows=5, size_bytes=0, total_rows=None, total_bytes=None, seconds=0.0)
    assert (state.fraction, state.remaining_s, state.rows_per_s) == (None, None, 0.0)
    assert str(state) == "convert  5 rows  0 rows/s"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00")])
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_it_is_redrawn_at_most_ten_times_a_second_and_at_the_end(clock):
    states = []
    with show_progress("job", states.append, total_rows=100) as bar:
        for row in range(1, 101):
            clock[0] += 0.01
            bar.at(row, 0)
    assert [s.rows for s in states] == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]


def test_silent_unless_somebody_looks():
    stream = io.StringIO()
    for choice in (None, False):
        with show_progress("job", choice, total_rows=1, stream=stream) as bar:
            bar.at(1, 1)
    assert stream.getvalue() == ""
    terminal = Terminal()
    with show_progress("job", False, total_rows=1, stream=terminal) as bar:
        bar.at(1, 1)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("with_rich", [True, False])
def test_a_terminal_gets_a_bar(monkeypatch, with_rich):
    if with_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    stream = Terminal()
    with show_progress("job", None, total_rows=4, stream=stream) as bar:
        bar.at(2, 10_000_000)
        bar.at(4, 20_000_000)
    text = stream.getvalue()
    assert "job" in text
    assert "100%" in text
    assert "4 rows" in text
    if not with_rich:
        assert text.startswith("\rjob")
        assert text.endswith("\n")


def test_an_error_passes_through_and_the_line_is_closed(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    stream = Terminal()
    with contextlib.suppress(KeyboardInterrupt), show_progress("job", True, stream=stream) as bar:
        bar.at(1, 0)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\n")


def test_choices_are_checked():
    with (
        pytest.raises(ArgumentError, match="progress must be None, True, False or a function"),
        show_progress("job", "yes"),
    ):
        pass
