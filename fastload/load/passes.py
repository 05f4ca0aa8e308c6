"""One pass over the data: what ``iter(loader)`` returns."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastload import _core
from fastload.block.batch import Parts, num_rows, without_rows
from fastload.errors import ClosedError
from fastload.load.assemble import Assembler
from fastload.load.audit import digest_of
from fastload.load.deal import Share
from fastload.load.device import Moved
from fastload.load.monitor import log_pass, logger, verdict
from fastload.load.skipping import OnError
from fastload.plan.order import mix

THREADS_STAGES = ("read", "verify", "decode", "gather", "kernels")
_END = object()


class Key(NamedTuple):
    """What the rows of a pass are a function of, beside the loader's own options."""

    seed: int
    epoch: int
    position: int  # of the global order


class Taken(NamedTuple):
    """A batch of named rows, fetched."""

    parts: Parts | None  # None: no row of the batch is left
    numbers: np.ndarray | None = None  # of its rows
    repeated: int = 0  # so many rows at its end only fill up
    counted: np.ndarray | None = None  # what an audit counts, where that is not the rows that do not


class Pass:
    """An iterator over batches that counts what it delivers.

    Subclasses take the parts of one batch after the other, in order; everything else is here.
    """

    share: Share
    key: Key
    total_rows: int  # positions of the epoch's order
    on_error: OnError
    order_name: str  # see DataLoader.stats

    def __init__(self, make: Assembler, batch_rows: int, threads: int, timeout_s: float) -> None:
        self._make, self._threads = make, threads
        self._batch_rows = batch_rows
        self._timeout_s = timeout_s
        self.is_counted = False  # a batch was asked for, which settles its epoch
        self.attempted = 0  # batches delivered, or passed over with an error
        self.delivered = 0
        self._wait_s = self._busy_s = self._transform_s = 0.0
        self._returned_at: float | None = None
        self._logged = False
        self.moved: Moved | None = None  # by the DeviceBatches that take from this, if any do
        self._before_ahead = (0, 0)
        self.measure_mix: Callable[[], float] | None = None  # where the order is known
        self._mix: float | None = None

    def __iter__(self) -> Pass:
        return self

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")

    def __next__(self) -> Any:
        called_at = time.perf_counter()
        try:
            parts, numbers, repeated = self._take()
        except TimeoutError:
            raise RuntimeError(f"DataLoader timed out after {self._timeout_s:g} seconds") from None
        except StopIteration:
            self._log()
            raise
        batch = self._make(parts, numbers, repeated)
        self.delivered += 1
        if self._returned_at is not None:
            self._busy_s += called_at - self._returned_at
        self._returned_at = time.perf_counter()
        self._wait_s += self._returned_at - called_at
        if (python_since := self._make.python_since) is not None:
            self._transform_s += self._returned_at - python_since
        return batch

    def _take(self) -> tuple[Parts, np.ndarray | None, int]:
        """The next batch, as an Assembler takes it; counts it in `attempted` before anything can go wrong with it."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether the next batch is there without waiting."""
        raise NotImplementedError

    def position_after(self, batches: int) -> int:
        """Where the global order stands when all ranks have had so many batches of this pass."""
        return self.share.position_after(self.total_rows, self.key.position, batches * self._batch_rows)

    def is_over_after(self, batches: int) -> bool:
        return batches >= len(self)

    def close(self) -> None:
        """Ends the pass; what it did can still be asked for."""

    def ending(self) -> Any:
        """What ends the pass when it is dropped."""

    def _log(self) -> None:
        if not self._logged and logger.isEnabledFor(logging.INFO):
            log_pass(self.stats())
        self._logged = True

    def note_ahead(self) -> None:
        """The batch that is taken next is not handed out at once."""
        self._before_ahead = self.digest()

    def handed_out(self) -> int:
        """Batches that the loop has had, or has lost to an error."""
        return self.attempted - self._ahead()

    def digest_handed_out(self) -> tuple[int, int]:
        return self._before_ahead if self._ahead() else self.digest()

    def _ahead(self) -> int:
        return self.moved.ahead if self.moved else 0

    def digest(self) -> tuple[int, int]:
        """Of the rows that were taken, and how many they are; see Audit."""
        costs = self.costs()
        return costs["digest"], costs["rows"]

    def costs(self) -> dict[str, Any]:
        """What was counted: see the engine's ``EpochCosts``; and ``waited_s``, of the consumer's for the threads, or at work in
        their place."""
        raise NotImplementedError

    def stats(self) -> dict[str, Any]:
        costs = self.costs()
        if self._mix is None and self.measure_mix is not None:
            self._mix = self.measure_mix()
        stages = {name: costs[f"{name}_s"] for name in THREADS_STAGES}
        hand_over_s = max(0.0, self._wait_s - costs["waited_s"] - self._transform_s)
        stages |= {"transform": self._transform_s, "hand_over": hand_over_s}
        wait_s, busy_s = self._wait_s, self._busy_s
        if self.moved:  # copied between two calls of __next__, inside one of the loop's
            stages["copy"] = copy_s = self.moved.copy_s
            wait_s, busy_s = wait_s + copy_s, max(0.0, busy_s - copy_s)
        return {
            "order": self.order_name,
            "mix": self._mix,
            "delivered_batches": self.delivered - self._ahead(),
            "delivered_rows": self.digest_handed_out()[1],
            "delivered_bytes": costs["bytes_delivered"],
            "wait_s": wait_s,
            "busy_s": busy_s,
            "stages_s": stages,
            "loaded_blocks": costs["blocks_loaded"],
            "read_bytes": costs["stored_bytes"],
            "padding_share": 1 - costs["elements"] / costs["places"] if costs["places"] else 0.0,
            "ready_batches": costs["ready_batches"] / max(1, self.delivered),
            "skipped_rows": self.on_error.skipped_rows,
            "verdict": verdict(wait_s, busy_s, stages, self._threads),
        }


class EnginePass(Pass):
    """In an order of the engine's own. The threads are the engine's, and go on to serve other passes."""

    def __init__(
        self,
        engine: _core.Engine,
        epoch: _core.Epoch,
        key: Key,
        share: Share,
        make: Assembler,
        on_error: OnError,
        *,
        shuffles: bool,
        batch_rows: int,
        timeout_s: float,
    ) -> None:
        super().__init__(make, batch_rows, engine.threads, timeout_s)
        self.key, self.share = key, share
        self._engine, self._epoch = engine, epoch
        self._batches = epoch.batches
        self.order_name = "sequential" if not shuffles else "permutation" if engine.holds_everything else "windowed"
        self.on_error = on_error
        self.order = epoch.order
        self.total_rows = self.order.total_rows
        self._repeats = self.order.rows > 0 and self.order.is_repeated(self.order.rows - 1)  # the last row only
        if self.order.rows:
            self.measure_mix = partial(mix, self.order.row_numbers, self.order.rows, batch_rows, self.total_rows)

    def __len__(self) -> int:
        return self._batches

    def is_ready(self) -> bool:
        return self._engine.threads > 0 and self._epoch.is_ready()

    def _take(self) -> tuple[Parts, np.ndarray | None, int]:
        while True:
            number = self.attempted
            try:
                found = self._epoch.next(self._engine, self._timeout_s)
            except TimeoutError:
                raise
            except Exception:
                self.attempted += 1
                raise
            if found is None:
                raise StopIteration
            self.attempted += 1
            parts, numbers, bad = found
            repeated = int(self._repeats and self.attempted == len(self))
            if bad is None:
                return parts, numbers, repeated
            rows = self.order.row_numbers(number * self._batch_rows, int(bad[0].max()) + 1)
            bad_rows, reason = bad
            self.on_error.note(rows[bad_rows], reason)
            parts = without_rows(parts, bad_rows)
            if count := num_rows(parts):
                numbers = numbers if numbers is None else np.delete(numbers, bad_rows)
                return parts, numbers, min(repeated, count)

    def close(self) -> None:
        self._epoch.close()

    def ending(self) -> Any:
        return _core.EpochEnding(self._epoch)

    def costs(self) -> dict[str, Any]:
        costs = self._epoch.costs
        worked_s = sum(costs[f"{stage}_s"] for stage in THREADS_STAGES)
        return {**costs, "waited_s": self._epoch.waited_s if self._threads else worked_s}

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "window_rows": max(self.order.window_rows, default=0)}


class GatheringPass(Pass):
    """Batches of rows that somebody names: `requests` says which, in the caller's thread; up to `threads` threads fetch
    them, one batch or some small ones at a time, up to `depth` requests ahead, and they are delivered in order. The threads
    end with the pass. A forked child has none, and what they held locked at the fork stays locked: there the pass is
    refused."""

    order_name = "sampler"

    def __init__(
        self,
        requests: Iterator[Any],
        fetch: Callable[[Any], list[Taken | Exception]],
        make: Assembler,
        costs: _core.ReadCosts,
        *,
        length: Callable[[], int],
        threads: int,
        depth: int,
        batch_rows: int,
        timeout_s: float,
    ) -> None:
        super().__init__(make, batch_rows, threads, timeout_s)
        self._requests, self._fetch, self._length = requests, fetch, length
        self._costs, self._depth = costs, depth
        self._pool = ThreadPoolExecutor(threads, "fastload") if threads else None
        self._pending: deque[Any] = deque()
        self._fetched: deque[Taken | Exception] = deque()  # of the latest request
        self._done: deque[int] = deque()  # batches of the requests that the threads have finished
        self._digest = self._rows = self._ready_batches = 0
        self._waited_s = 0.0
        self._ended = self._interrupted = False
        self._process = os.getpid()

    def __len__(self) -> int:
        return self._length()

    def is_ready(self) -> bool:
        if self._is_forked():
            return True  # to say so
        return bool(self._fetched) or (bool(self._pending) and self._pending[0].done())

    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    def is_over_after(self, batches: int) -> bool:
        if self._ended:
            return batches >= self.attempted
        try:
            return batches >= len(self)
        except TypeError:  # a sampler without a length
            return False

    def _take(self) -> tuple[Parts, np.ndarray | None, int]:
        if self._is_forked():
            raise ClosedError("this iterator belongs to the parent process; make a new one after fork")
        if self._interrupted:
            raise ClosedError(
                "this iterator was interrupted and cannot go on; make a new one (a state_dict says where)"
            )
        try:
            while (taken := self._next()).parts is None:  # all its rows were skipped
                pass
        except StopIteration:
            self._ended = True
            raise
        rows = taken.counted
        if rows is None:
            rows = taken.numbers[: len(taken.numbers) - taken.repeated]
        self._digest += digest_of(rows)
        self._rows += len(rows)
        return taken.parts, taken.numbers, taken.repeated

    def _next(self) -> Taken:
        self._ready_batches += len(self._fetched) + sum(self._done.copy())
        if not self._fetched:
            self._fetched.extend(self._fetch_here() if self._pool is None else self._next_of_pool())
        self.attempted += 1
        taken = self._fetched.popleft()
        if isinstance(taken, Exception):
            raise taken
        return taken

    def _fetch_here(self) -> list[Taken | Exception]:
        request = next(self._requests)
        started_at = time.perf_counter()
        fetched = self._fetch_or_error(request)
        self._waited_s += time.perf_counter() - started_at
        return fetched

    def _fetch_in_thread(self, request: Any) -> list[Taken | Exception]:
        fetched = self._fetch_or_error(request)
        self._done.append(len(fetched))
        return fetched

    def _fetch_or_error(self, request: Any) -> list[Taken | Exception]:
        try:
            return self._fetch(request)
        except Exception as error:  # the batch's, raised when it is its turn
            return [error]

    def _next_of_pool(self) -> list[Taken | Exception]:
        self._ask_ahead()
        if not self._pending:
            self._pool.shutdown()
            raise StopIteration
        started_at = time.perf_counter()
        done, _ = wait([self._pending[0]], self._timeout_s or None)
        self._waited_s += time.perf_counter() - started_at
        if not done:  # the batch stays where it is
            raise TimeoutError
        fetched = self._pending.popleft().result()
        self._done.popleft()
        return fetched

    def _ask_ahead(self) -> None:
        try:
            while len(self._pending) < self._depth:
                # no islice: it would call iter() on what a sampler gave, once more
                request = next(self._requests, _END)
                if request is _END:
                    break
                self._pending.append(self._pool.submit(self._fetch_in_thread, request))
        except Exception:  # the sampler's
            raise
        except BaseException:  # Ctrl-C may have struck while a thread was begun: the program's end would wait for it
            self._interrupted = True
            self.close()
            raise

    def costs(self) -> dict[str, Any]:
        return {
            **self._costs.counts,
            "digest": self._digest % (1 << 64),
            "rows": self._rows,
            "ready_batches": self._ready_batches,
            "waited_s": self._waited_s,
        }

    def close(self) -> None:
        if self._pool is not None and not self._is_forked():
            self._pool.shutdown(wait=False, cancel_futures=True)

    def ending(self) -> Any:
        return _Ending(self.close) if self._pool is not None else None


class _Ending:
    """Calls `end` when it is dropped."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def __del__(self) -> None:
        self._end()
