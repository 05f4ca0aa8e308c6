"""Reading ahead: a generator runs in a thread of its own, a few items before whoever uses them."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


@contextmanager
def read_ahead(items: Generator[Item, None, None], depth: int = 2) -> Iterator[Iterator[Item]]:
    """The same items, made while the ones before are used. For generators that work outside Python.

    One thread owns `items`; at most `depth` items wait. An error it raises is raised to the user, at its
    place. Leaving the block stops the thread after the item it is at, throws away what waits, closes the
    generator, and returns when the thread has ended.

    >>> with read_ahead(letter for letter in "abc") as letters:
    ...     print(next(letters), list(letters))
    a ['b', 'c']
    """
    waiting: Queue[tuple[object, BaseException | None]] = Queue(depth)
    stopping = threading.Event()

    def make() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                waiting.put((item, None))
                if stopping.is_set():
                    items.close()
                    return
        except BaseException as error:  # handed to the user, whatever it is
            end = error
        waiting.put((_END, end))

    def use() -> Iterator[Item]:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    thread = threading.Thread(target=make, name="fastload-read-ahead", daemon=True)
    thread.start()
    try:
        yield use()
    finally:
        stopping.set()
        while thread.is_alive():  # it may be waiting for room
            try:
                waiting.get(timeout=0.01)
            except Empty:
                pass
        thread.join()
