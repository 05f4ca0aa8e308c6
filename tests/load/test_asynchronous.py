"""``async for`` gives what ``for`` gives, while the event loop goes on."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

import fastload as fl

ROWS = {"x": np.arange(100)}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_same_batches(num_workers):
    async def collect() -> list[list[int]]:
        return [batch["x"].tolist() async for batch in loader]

    loader = fl.DataLoader(ROWS, batch_size=7, shuffle=True, seed=3, num_workers=num_workers)
    expected = [batch["x"].tolist() for batch in loader]
    loader.set_epoch(0)
    assert asyncio.run(collect()) == expected


def test_the_event_loop_goes_on_while_a_batch_is_made():
    def slow(samples):
        time.sleep(0.2)
        return len(samples)

    async def tick(ticks: list[float]) -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def run() -> tuple[list[int], int]:
        ticks: list[float] = []
        ticking = asyncio.create_task(tick(ticks))
        sizes = [size async for size in fl.DataLoader(ROWS, batch_size=50, collate_fn=slow)]
        ticking.cancel()
        return sizes, len(ticks)

    sizes, ticks = asyncio.run(run())
    assert sizes == [50, 50]
    assert ticks > 4  # two would be what a blocked loop leaves


def test_a_cancelled_await_loses_nothing():
    def slow(samples):
        time.sleep(0.1)
        return [int(sample["x"]) for sample in samples]

    async def run() -> list[int]:
        batches = aiter(fl.DataLoader(ROWS, batch_size=25, collate_fn=slow))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(batches), 0.01)
        return [row async for batch in batches for row in batch]

    assert asyncio.run(run()) == list(range(100))


def test_a_cancel_at_the_moment_a_batch_arrives_loses_nothing():
    """Between the thread's result and the waking of whoever awaits it lie a few turns of the event loop."""

    async def run(turns: int) -> list[int]:
        batches = aiter(fl.DataLoader(ROWS, batch_size=25, num_workers=0))
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        time.sleep(0.05)  # the batch is there, and the event loop has not seen it
        for _ in range(turns):
            await asyncio.sleep(0)
        found = []
        if waiting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await waiting
        else:
            found = waiting.result()["x"].tolist()
        return found + [row async for batch in batches for row in batch["x"].tolist()]

    for turns in range(8):
        assert asyncio.run(run(turns)) == list(range(100))


def test_an_error_comes_through_and_iteration_goes_on():
    def failing(samples):
        if int(samples[0]["x"]) == 25:
            raise ArithmeticError("not this one")
        return [int(sample["x"]) for sample in samples]

    async def run() -> list[int]:
        batches = aiter(fl.DataLoader(ROWS, batch_size=25, collate_fn=failing))
        first = await anext(batches)
        with pytest.raises(ArithmeticError, match="not this one"):
            await anext(batches)
        return first + [row async for batch in batches for row in batch]

    assert asyncio.run(run()) == [*range(25), *range(50, 100)]
