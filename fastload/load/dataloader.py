"""``fastload.DataLoader``: torch's DataLoader, with native threads where the data allow it."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import BatchSampler, RandomSampler, Sampler, SequentialSampler, default_collate
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data._utils.pin_memory import pin_memory as pin

from fastload import _core
from fastload.block.batch import column_namer, split_rows
from fastload.block.dataset import RowAccess
from fastload.block.padding import Entry, Padding, masked_fields, padding_entries
from fastload.block.threads import default_threads
from fastload.errors import ArgumentError, StateError
from fastload.load.asynchronous import AsyncBatches
from fastload.load.convert import batch_maker
from fastload.load.monitor import log_pass, logger, stage_seconds, verdict
from fastload.load.sources import to_rows
from fastload.plan.order import mix

_T_co = TypeVar("_T_co", covariant=True)

PREFETCH_BYTES = 8 << 20  # finished batches that wait for the consumer: as much as the caches keep warm
STATE_VERSION = 1
_LIST_DEPTH = 4  # batches asked for ahead when a sampler of the user's names the rows


class _Key(NamedTuple):
    """What the rows of a pass are a function of."""

    seed: int
    epoch: int
    position: int


class DataLoader(TorchDataLoader[_T_co]):
    """torch's DataLoader with the same arguments; decoding, shuffling and batching run in native threads.

    ====================================================================  ==========================================
    `dataset`                                                             served by
    ====================================================================  ==========================================
    path, ``fastload.Dataset``, dict, tuple or list of arrays or tensors,  the engine
    exactly ``TensorDataset``
    the same with torch's RandomSampler or SequentialSampler               the engine, as the equal native order
    the same with another `sampler` or `batch_sampler`                     the engine gathers the rows it names
    the same with a `collate_fn`                                           the engine gathers; the function gets the
                                                                           list of samples, as in torch
    any other Dataset or IterableDataset, or ``batch_size=None``           torch's own machinery, unchanged
    ====================================================================  ==========================================

    Batches are dicts of tensors; tuple data give lists, as torch does. Variable-length fields are padded with zeros
    to the longest row and bring ``<name>_lengths``; nullable ones bring ``<name>_valid``. A batch owns its memory and
    may be kept. The order is the same for any number of threads; it is not torch's order for the same seed.

    Parameters
    ----------
    dataset, batch_size, shuffle, sampler, batch_sampler, collate_fn, pin_memory, drop_last, timeout, generator
        As in torch.
    num_workers : int, optional
        Native threads. Default: the processors this process may use, at most 4; 0 works in the caller's thread. Where
        torch's own machinery serves, worker processes, and 0 by default.
    prefetch_factor : int, optional
        Batches per thread that may wait finished. Default: as many as fit 8 MiB, and one per thread.
    persistent_workers : bool
        With an order known in advance (a `seed`, or no shuffling) the next epoch's first batches are prepared while
        the last ones of this epoch are consumed. Threads and decoded blocks stay for the loader's life in any case.
    worker_init_fn, multiprocessing_context
        Of torch's worker processes; a warning says so where native threads serve.
    seed : int, optional, keyword only
        Epoch e is shuffled by (seed, e). Without it a seed is drawn from `generator`, or torch's global one, once per
        pass, as torch does.
    memory_bytes : int, keyword only
        Budget for decoded blocks, 1 GiB by default. Data within it, and data stored raw, are shuffled by a true
        permutation; larger ones through windows of this size. It is part of the order's definition.

    padding : Padding or dict of field names to Padding, keyword only
        How rows of unequal length become a rectangle: value, side, multiple, a fixed length, masks. By default zeros on
        the right, to the longest row of the batch.

    Raises
    ------
    ArgumentError, EmptyError, FormatError and its kinds; ValueError and TypeError as torch

    Examples
    --------
    >>> import numpy as np, fastload as fl
    >>> data = {"x": np.arange(12, dtype="float32").reshape(6, 2), "y": np.arange(6)}
    >>> loader = fl.DataLoader(data, batch_size=4, shuffle=True, seed=0)
    >>> [batch["x"].shape[0] for batch in loader]
    [4, 2]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Any | None = None,
        batch_sampler: Sampler[list] | Any | None = None,
        num_workers: int | None = None,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int | None = None,
        memory_bytes: int = 1 << 30,
        padding: Padding | Mapping[str, Padding] | None = None,
    ) -> None:
        dataset, rows = to_rows(dataset)
        native = rows is not None and (batch_size is not None or batch_sampler is not None)
        _check_options(native, batch_size, prefetch_factor, seed, memory_bytes)
        if padding is not None:
            _check_padding(rows if native else None, padding, collate_fn)
        if num_workers is None:
            num_workers = default_threads() if native else 0
        with warnings.catch_warnings():
            if native:  # threads cost no processes, and more of them than processors are no mistake
                warnings.filterwarnings("ignore", message="This DataLoader will create")
            super().__init__(
                dataset,
                batch_size=batch_size,
                shuffle=shuffle,
                sampler=sampler,
                batch_sampler=batch_sampler,
                num_workers=num_workers,
                collate_fn=collate_fn,
                pin_memory=pin_memory,
                drop_last=drop_last,
                timeout=timeout,
                worker_init_fn=worker_init_fn,
                multiprocessing_context=multiprocessing_context,
                generator=generator,
                prefetch_factor=prefetch_factor,
                persistent_workers=persistent_workers,
                pin_memory_device=pin_memory_device,
                in_order=in_order,
            )
        self.seed = seed
        self.memory_bytes = memory_bytes
        self.padding = padding
        self.epoch = 0
        self._rows = rows if native else None
        self._asked_prefetch_factor = prefetch_factor  # torch's attribute is 2 where nothing was asked
        self._engine: _core.Engine | None = None
        self._engine_made_for: tuple[int, ...] = ()
        self._ahead: tuple[_Key, _core.Epoch] | None = None
        self._last: _NativeIterator | _ListIterator | None = None
        self._resume: dict[str, Any] | None = None  # a state that was loaded and not yet begun from
        if native and (worker_init_fn is not None or multiprocessing_context is not None):
            name = "worker_init_fn" if worker_init_fn is not None else "multiprocessing_context"
            warnings.warn(
                f"{name} is for worker processes; this data set is served by native threads, which do not use it",
                UserWarning,
                stacklevel=2,
            )

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: all but the threads and the passes under way, which the copy begins anew."""
        return self.__dict__ | {
            "_engine": None,
            "_engine_made_for": (),
            "_ahead": None,
            "_last": None,
            "_iterator": None,
        }

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next ``iter()`` delivers; it counts up by itself from there. Matters with a `seed`.

        Setting the epoch that a loaded state lies in changes nothing: the pass goes on in the middle.
        """
        if self._resume is not None and self._resume["epoch"] != epoch:
            self._resume = None
        self.epoch = int(epoch)

    def __iter__(self) -> Iterator[Any]:
        if self._rows is None:
            return super().__iter__()
        if self.timeout > 0 and self.num_workers == 0:  # torch's error, at torch's moment
            raise AssertionError(
                f"timeout is for batches made by others; with num_workers=0 it must be 0, got {self.timeout}"
            )
        if not self.persistent_workers:
            return self._new_iterator()
        if self._iterator is None:
            self._iterator = self._new_iterator()
        else:  # as torch does: the same object, begun anew
            self._iterator.begin(self)
        return self._iterator

    def __aiter__(self) -> AsyncBatches:
        """``async for``: a pass whose batches are awaited without holding up the event loop."""
        return AsyncBatches(iter(self))

    def _new_iterator(self) -> Any:
        self._last = _ListIterator(self) if _native_order(self) is None else _NativeIterator(self)
        return self._last

    def _native_engine(self) -> _core.Engine:
        made_for = (os.getpid(), self.num_workers, self.memory_bytes)
        if self._engine is None or self._engine_made_for != made_for:
            self._engine = _core.Engine(
                self._rows._source(),
                threads=self.num_workers,
                memory_bytes=self.memory_bytes,
                prefetch_bytes=PREFETCH_BYTES,
                prefetch_batches=(self._asked_prefetch_factor or 0) * self.num_workers,
            )
            self._engine_made_for = made_for
            self._ahead = None
        return self._engine

    def _start(self, *, shuffle: bool) -> tuple[_Key, _core.Epoch]:
        engine = self._native_engine()
        key = self._next_key(shuffle)
        if self._ahead is not None and self._ahead[0] == key:
            epoch = self._ahead[1]
        else:
            epoch = self._begin(engine, shuffle, key, None)
        self._ahead = None
        if self.persistent_workers and (self.seed is not None or not shuffle):
            following = _Key(key.seed, key.epoch + 1, 0)
            self._ahead = (following, self._begin(engine, shuffle, following, epoch))
        return key, epoch

    def _begin(self, engine: _core.Engine, shuffle: bool, key: _Key, after: _core.Epoch | None) -> _core.Epoch:
        sampler = self.batch_sampler
        return engine.start(
            sampler.batch_size,
            sampler.drop_last,
            shuffle,
            key.seed,
            key.epoch,
            [],
            self._padding(),
            after,
            key.position,
        )

    def _next_key(self, shuffle: bool) -> _Key:
        """What a pass is a function of. Draws from torch's generators what torch would: one number for the iterator, and one
        for a random sampler that has no generator of its own."""
        drawn = _draw(self.generator)
        sampler = self.batch_sampler.sampler
        if shuffle:
            drawn = _draw(getattr(sampler, "generator", None))
        seed, position = drawn if self.seed is None else self.seed, 0
        if self._resume is not None:
            seed, position = self._resume["seed"], self._resume["position"]
            self._resume = None
        epoch, self.epoch = self.epoch, self.epoch + 1
        return _Key(seed & (1 << 64) - 1 if shuffle else 0, epoch, position)

    def state_dict(self) -> dict[str, Any]:
        """Where the latest pass stands: what was delivered is not delivered again, whatever lies prefetched.

        Returns
        -------
        dict
            For JSON, and as cheap as that. `position` counts rows of the epoch's order, so that the pass can go on with
            another batch size or number of threads. With a sampler of yours it counts batches. Empty where torch's own
            machinery serves, which has no such state.

        Examples
        --------
        >>> import numpy as np, fastload as fl
        >>> loader = fl.DataLoader({"x": np.arange(10)}, batch_size=4, shuffle=True, seed=1)
        >>> rows = iter(loader)
        >>> first = next(rows)["x"].tolist()
        >>> state = loader.state_dict()
        >>> again = fl.DataLoader({"x": np.arange(10)}, batch_size=3, shuffle=True, seed=1)
        >>> again.load_state_dict(state)
        >>> sorted(first + [row for batch in again for row in batch["x"].tolist()])
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        """
        if self._rows is None:
            return {}
        if self._resume is not None:
            return dict(self._resume)
        state = {"version": STATE_VERSION, **self._definition(), "seed": None, "epoch": self.epoch, "position": 0}
        if self._last is not None and not self._last.is_over:
            state |= {"seed": self._last.seed, "epoch": self._last.epoch, "position": self._last.position}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next ``iter()`` goes on where `state` was taken, at no cost; the passes after it follow as usual.

        Raises
        ------
        StateError
            The state is of other data, of another order, or no state.
        """
        if self._rows is None:
            if state:
                raise StateError(
                    "this loader is served by torch's own machinery and cannot go on in the middle of a pass"
                )
            return
        keys = {"version", "order", "num_rows", "seed", "epoch", "position"}
        if not isinstance(state, Mapping) or not keys <= set(state):
            raise StateError(f"a state has the entries {', '.join(sorted(keys))}; got {state!r}")
        expected = {"version": STATE_VERSION, **self._definition()}
        other = {name: state.get(name) for name, value in expected.items() if state.get(name) != value}
        if other:
            here = {name: expected[name] for name in other}
            raise StateError(
                f"the state was taken with {other}, and this loader has {here}; the order would be another"
            )
        self._resume = dict(state) if state["position"] else None
        self.epoch = int(state["epoch"])

    def _definition(self) -> dict[str, Any]:
        """What the order is a function of, beside seed and epoch."""
        order, window = _native_order(self) or "sampler", {}
        if order == "shuffle":  # whether windows are needed depends on the machine, too
            order = "permutation" if self._native_engine().holds_everything else "windowed"
            window = {"memory_bytes": self.memory_bytes} if order == "windowed" else {}
        return {"order": order, "num_rows": self._rows.num_rows, **window}

    def _collates(self) -> bool:
        return self.collate_fn is not None and self.collate_fn is not default_collate

    def _padding(self) -> list[Entry] | bool:
        """As the engine takes it. A collate_fn of the user's gets rows without padding: theirs is cut off again."""
        return True if self._collates() else padding_entries(self._rows.schema, self.padding)

    def _make_batch(self) -> Callable[[Any], Any]:
        """parts -> what the training loop gets."""
        schema, as_tuple = self._rows.schema, self._rows.as_tuple
        collate = self.collate_fn
        if not self._collates():
            make = batch_maker(schema, as_list=as_tuple, masks=masked_fields(schema, self.padding))
        elif self.dataset is not self._rows:  # TensorDataset: samples are tuples of tensors
            make_columns = batch_maker(schema, as_list=True)

            def make(parts: Any) -> Any:
                return collate(list(zip(*make_columns(parts), strict=True)))
        else:
            name_columns = column_namer(schema)

            def make(parts: Any) -> Any:
                rows = len(parts[0][0]) if parts[0][2] is None else len(parts[0][2]) - 1
                return collate(self._rows.shape_rows(split_rows(schema, name_columns(parts), rows)))

        return _with_pinning(make) if self._pins() else make

    def _pins(self) -> bool:
        if not self.pin_memory:
            return False
        if not torch.accelerator.is_available():
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
                stacklevel=3,
            )
            return False
        return True

    def stats(self) -> dict[str, Any]:
        """What the last pass did.

        Returns
        -------
        dict
            order : "permutation", "windowed", "sequential", "sampler" (yours), or "torch" (not served by the engine);
            mix : mixing reached, 1.0 = a true permutation (see ``fastload.plan.order.mix``), None where not known;
            window_rows : rows of the largest window; delivered_rows, delivered_batches, delivered_bytes;
            wait_s : seconds the loop spent in ``next()``; busy_s : seconds between its calls;
            stages_s : seconds by stage: ``read`` (standing still for stored bytes), ``verify``, ``decode``, ``gather`` of
            all threads together, ``hand_over`` of the consumer's own;
            padding_share : share of the places in padded fields that hold padding;
            loaded_blocks, read_bytes : verified and decoded in this pass; ready_batches : finished ones that waited, on
            average; verdict : who waits for whom, and what to change.

        With the logger ``fastload.load`` at level INFO, each whole pass writes a line.
        """
        if self._rows is None:
            return {"order": "torch", "mix": None}
        kind = _native_order(self)
        if kind is None:
            return {"order": "sampler", "mix": None}
        if not isinstance(self._last, _NativeIterator):
            return {"order": "permutation" if kind == "shuffle" else "sequential", "mix": None, "delivered_rows": 0}
        return self._last.stats()


def _check_options(native: bool, batch_size: Any, prefetch_factor: Any, seed: Any, memory_bytes: Any) -> None:
    if (
        native
        and batch_size is not None
        and (isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)))
    ):
        raise ArgumentError(f"batch_size must be an integer, got {batch_size!r}")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ArgumentError(f"prefetch_factor must be at least 1, got {prefetch_factor}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
        raise ArgumentError(f"seed must be an integer, got {seed!r}")
    if not isinstance(memory_bytes, (int, np.integer)) or memory_bytes < 1:
        raise ArgumentError(f"memory_bytes must be a positive number of bytes, got {memory_bytes!r}")


def _check_padding(rows: RowAccess | None, padding: Any, collate_fn: Any) -> None:
    if rows is None:
        raise ArgumentError("padding is for data that fastload serves; torch's own machinery collates this data set")
    if collate_fn is not None and collate_fn is not default_collate:
        raise ArgumentError("padding and collate_fn exclude each other: the function gets rows as they are")
    padding_entries(rows.schema, padding)


def _draw(generator: torch.Generator | None) -> int:
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())


def _native_order(loader: DataLoader) -> str | None:
    """ "shuffle" or "file" where the sampler is one whose order the engine makes itself; else None."""
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler:
        return None
    sampler = batches.sampler
    if getattr(sampler, "data_source", None) is not loader.dataset:
        return None
    if type(sampler) is SequentialSampler:
        return "file"
    whole = type(sampler) is RandomSampler and not sampler.replacement and sampler._num_samples is None
    return "shuffle" if whole else None


def _with_pinning(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda parts: pin(make(parts))


class _NativeIterator:
    """One pass in an order of the engine's own. Dropping it ends the pass; the threads go on to serve others."""

    def __init__(self, loader: DataLoader) -> None:
        self.begin(loader)

    def begin(self, loader: DataLoader) -> None:
        self._epoch: Any = None  # a pass that was not ended gives its memory back first
        self._shuffles = _native_order(loader) == "shuffle"
        self._make = loader._make_batch()
        self._key, self._epoch = loader._start(shuffle=self._shuffles)
        self._engine = loader._engine
        self._batch_rows = loader.batch_sampler.batch_size
        self._timeout_s = float(loader.timeout)
        self._delivered = 0
        self._wait_s = self._busy_s = 0.0
        self._returned_at: float | None = None
        self._mix: float | None = None
        self._ended = False

    def __iter__(self) -> _NativeIterator:
        return self

    def __len__(self) -> int:
        return self._epoch.batches

    @property
    def seed(self) -> int:
        return self._key.seed

    @property
    def epoch(self) -> int:
        return self._key.epoch

    @property
    def position(self) -> int:
        """Rows of the epoch's order up to the next batch."""
        return min(self._epoch.num_rows, self._key.position + self._delivered * self._batch_rows)

    @property
    def is_over(self) -> bool:
        return self._delivered >= self._epoch.batches

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")

    def __next__(self) -> Any:
        called_at = time.perf_counter()
        try:
            parts = self._epoch.next(self._engine, self._timeout_s)
        except TimeoutError:
            raise RuntimeError(f"DataLoader timed out after {self._timeout_s:g} seconds") from None
        if parts is None:
            self._end()
            raise StopIteration
        batch = self._make(parts)
        self._delivered += 1
        if self._returned_at is not None:
            self._busy_s += called_at - self._returned_at
        self._returned_at = time.perf_counter()
        self._wait_s += self._returned_at - called_at
        return batch

    def _end(self) -> None:
        if not self._ended and logger.isEnabledFor(logging.INFO):
            log_pass(self.stats())
        self._ended = True

    def stats(self) -> dict[str, Any]:
        windows = self._epoch.window_rows
        num_rows = self._epoch.num_rows
        if self._mix is None and num_rows:
            self._mix = mix(lambda at, n: self._epoch.rows(self._engine, at, n), num_rows, self._batch_rows)
        costs = self._epoch.costs
        threads = self._engine.threads
        stages = stage_seconds(costs, 0.0)
        elsewhere_s = self._epoch.waited_s if threads else sum(stages.values())  # without threads, next() does the work
        stages["hand_over"] = max(0.0, self._wait_s - elsewhere_s)
        kind = "sequential" if not self._shuffles else "permutation" if len(windows) <= 1 else "windowed"
        return {
            "order": kind,
            "mix": self._mix,
            "window_rows": max(windows, default=0),
            "delivered_batches": self._delivered,
            "delivered_rows": self.position - self._key.position,
            "delivered_bytes": costs["bytes_delivered"],
            "wait_s": self._wait_s,
            "busy_s": self._busy_s,
            "stages_s": stages,
            "loaded_blocks": costs["blocks_loaded"],
            "read_bytes": costs["stored_bytes"],
            "padding_share": 1 - costs["elements"] / costs["places"] if costs["places"] else 0.0,
            "ready_batches": costs["ready_batches"] / max(1, self._delivered),
            "verdict": verdict(self._wait_s, self._busy_s, stages, threads),
        }


class _ListIterator:
    """One pass over batches whose rows a sampler of the user's names. The sampler runs in the caller's thread; the rows
    are gathered by up to `num_workers` threads, a few batches ahead, and delivered in order. The threads end with it."""

    def __init__(self, loader: DataLoader) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self.begin(loader)

    def begin(self, loader: DataLoader) -> None:
        self._end_threads()
        self._make = loader._make_batch()
        self._padding = loader._padding()
        self.seed = _draw(loader.generator)
        self.position = 0 if loader._resume is None else loader._resume["position"]  # batches
        loader._resume = None
        self.epoch, loader.epoch = loader.epoch, loader.epoch + 1
        self._ended = False
        self._rows = loader._rows
        self._lists = iter(loader.batch_sampler)
        for _ in range(self.position):
            next(self._lists, None)
        self._length = loader.batch_sampler
        self._timeout_s = float(loader.timeout) or None
        self._pool = ThreadPoolExecutor(loader.num_workers) if loader.num_workers else None
        self._depth = (loader.prefetch_factor or _LIST_DEPTH) * max(1, loader.num_workers)
        self._pending: deque[Any] = deque()

    def __iter__(self) -> _ListIterator:
        return self

    def __len__(self) -> int:
        return len(self._length)

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")

    @property
    def is_over(self) -> bool:
        try:
            return self._ended or self.position >= len(self._length)
        except TypeError:  # a sampler without a length
            return self._ended

    def _read(self, rows: Any) -> Any:
        return self._rows.read_rows(np.asarray(rows, np.int64), self._padding)

    def __next__(self) -> Any:
        try:
            parts = self._next_parts()
        except StopIteration:
            self._ended = True
            raise
        self.position += 1
        return self._make(parts)

    def _next_parts(self) -> Any:
        if self._pool is None:
            return self._read(next(self._lists))
        while len(self._pending) < self._depth:
            rows = next(self._lists, None)
            if rows is None:
                break
            self._pending.append(self._pool.submit(self._read, rows))
        if not self._pending:
            self._pool.shutdown()
            raise StopIteration
        try:
            return self._pending.popleft().result(self._timeout_s)
        except TimeoutError:
            raise RuntimeError(f"DataLoader timed out after {self._timeout_s:g} seconds") from None

    def _end_threads(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def __del__(self) -> None:
        self._end_threads()
