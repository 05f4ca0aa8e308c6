"""``async for batch in loader``: batches are awaited in a helper thread, so that the event loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

_END = object()


class AsyncBatches:
    """One pass. An await that is cancelled loses no batch: the next one gets it."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._pending: asyncio.Future[Any] | None = None

    def __aiter__(self) -> AsyncBatches:
        return self

    async def __anext__(self) -> Any:
        if self._pending is None:
            self._pending = asyncio.get_running_loop().run_in_executor(None, next, self._batches, _END)
        try:
            batch = await asyncio.shield(self._pending)
        except asyncio.CancelledError:  # the thread goes on, and whoever asks next gets what it brings
            raise
        except BaseException:
            self._pending = None
            raise
        self._pending = None
        if batch is _END:
            raise StopAsyncIteration
        return batch
