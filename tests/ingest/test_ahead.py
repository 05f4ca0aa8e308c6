from __future__ import annotations

import contextlib
import threading
import time

import pytest

from fastload.ingest.ahead import read_ahead


def threads():
    return [t for t in threading.enumerate() if t.name == "fastload-read-ahead"]


def count_to(stop):
    yield from range(stop)


@pytest.mark.parametrize("depth", [1, 2, 100])
def test_items_come_in_order(depth):
    with read_ahead(count_to(1000), depth) as items:
        assert list(items) == list(range(1000))
    assert threads() == []


def test_it_works_ahead_but_not_far():
    """Nothing is taken: the thread makes what may wait, and one more that finds no room."""
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    with read_ahead(items(), 3) as ahead:
        next(ahead)
        end_s = time.monotonic() + 5
        while len(made) < 5 and time.monotonic() < end_s:
            time.sleep(0.001)
        time.sleep(0.05)
        assert made == [0, 1, 2, 3, 4]
    assert threads() == []


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_an_error_is_raised_at_its_place(error):
    def items():
        yield 1
        yield 2
        raise error

    with read_ahead(items()) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(type(error)):
            next(ahead)
    assert threads() == []


def test_leaving_early_ends_the_thread():
    """Full queue, empty queue, and an error on the user's side."""
    for taken in (0, 1, 50):
        with read_ahead(count_to(10_000)) as ahead:
            for _ in range(taken):
                next(ahead)
        assert threads() == []
    with contextlib.suppress(RuntimeError), read_ahead(count_to(10_000)) as ahead:
        next(ahead)
        raise RuntimeError
    assert threads() == []


def test_the_generator_is_closed_by_its_own_thread():
    closed = []

    def items():
        try:
            yield from range(10_000)
        finally:
            closed.append(threading.current_thread().name)

    with read_ahead(items()) as ahead:
        next(ahead)
    assert closed == ["fastload-read-ahead"]
