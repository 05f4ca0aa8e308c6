"""Batches on a device: pinned memory, a side stream, events, so that the next batch is copied while the step runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch.utils._pytree import tree_map

from fastload.errors import ArgumentError
from fastload.kernels import cuda_kernels
from fastload.kernels.calls import Call
from fastload.load.transforming import Arrival


class Event(Protocol):
    def synchronize(self) -> None:
        """Returns when the device has come to this point of the side stream."""


class Mover(Protocol):
    """The four operations that bring tensors to a device; `mover_for` gives the form for a device."""

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same values in memory that the device reads by itself; the tensor as it is if it lies there."""

    def copy(self, pinned: torch.Tensor) -> torch.Tensor:
        """A tensor on the device, filled some time before the next event. `pinned` must stay as it is until then."""

    def record(self) -> Event:
        """The point of the side stream after all copies, and all work on them, so far."""

    def wait(self, event: Event, tensors: Sequence[torch.Tensor]) -> None:
        """Work that the caller's current stream gets from now on begins after `event`; the host goes on. `tensors`, the
        copies before the event, are then that stream's to use."""


@runtime_checkable
class Computer(Mover, Protocol):
    """A mover whose device has kernels: there transforms are done after the copy."""

    def run(self, calls: Sequence[Call], values: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """What the calls make of a copy: another tensor on the device, filled some time before the next event."""

    def mix(
        self,
        bases: torch.Tensor,
        base: torch.Tensor,
        neighbor: torch.Tensor,
        part: torch.Tensor,
        places: torch.Tensor,
        values: torch.Tensor,
    ) -> None:
        """values[places[i]] becomes what lies between two of the bases, as SMOTE has it, before the next event. All are copies."""


class CudaMover:
    """Copies on a `stream` of its own, beside the one the step runs on. Kept, it uses its device memory again: torch
    caches memory by the stream that asked for it."""

    def __init__(self, device: str | torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self.device = self.stream.device

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory()

    def copy(self, pinned: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(self.stream):
            return pinned.to(self.device, non_blocking=True)

    def run(self, calls: Sequence[Call], values: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        with torch.cuda.stream(self.stream):
            return cuda_kernels().run(list(calls), values, keys, stream=self.stream.cuda_stream)

    def mix(
        self,
        bases: torch.Tensor,
        base: torch.Tensor,
        neighbor: torch.Tensor,
        part: torch.Tensor,
        places: torch.Tensor,
        values: torch.Tensor,
    ) -> None:
        if not len(places):
            return
        with torch.cuda.stream(self.stream):
            made = cuda_kernels().interpolate(
                bases, base, neighbor, part.to(bases.dtype), stream=self.stream.cuda_stream
            )
            values.view(len(values), -1).index_copy_(0, places, made)

    def record(self) -> torch.cuda.Event:
        event = torch.cuda.Event(blocking=True)  # a host that waits for it sleeps, and leaves its core to the loader
        event.record(self.stream)
        return event

    def wait(self, event: torch.cuda.Event, tensors: Sequence[torch.Tensor]) -> None:
        current = torch.cuda.current_stream(self.device)
        current.wait_event(event)
        for tensor in tensors:  # else the next copies get its memory as soon as it is dropped, in use or not
            tensor.record_stream(current)


class CpuMover:
    """Tensors pass as they are, and there is nothing to wait for."""

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def copy(self, pinned: torch.Tensor) -> torch.Tensor:
        return pinned

    def record(self) -> Event:
        return _PassedEvent()

    def wait(self, event: Event, tensors: Sequence[torch.Tensor]) -> None:
        pass


class _PassedEvent:
    def synchronize(self) -> None:
        pass


def mover_for(device: str | torch.device) -> Mover:
    """The mover to `device`; ArgumentError if that is neither the CPU nor a CUDA device that is there.

    >>> type(mover_for("cpu")).__name__
    'CpuMover'
    """
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError):
        asked = None
    if asked is None or asked.type not in ("cpu", "cuda"):
        raise ArgumentError(f"device must be 'cpu', 'cuda' or 'cuda:<number>', got {device!r}")
    if asked.type == "cpu":
        return CpuMover()
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        found = "no device or no driver is there" if built else "it is built without CUDA"
        raise ArgumentError(
            f"device {str(asked)!r} must be a CUDA device that is there; torch.cuda.is_available() is False in torch "
            f"{torch.__version__}: {found}. Give device='cpu', or none"
        )
    if asked.index is not None and asked.index >= torch.cuda.device_count():
        raise ArgumentError(
            f"device {str(asked)!r} must be a CUDA device that is there; torch.cuda.device_count() is "
            f"{torch.cuda.device_count()}, and they are numbered from 0"
        )
    return CudaMover(asked)


class _Moving(NamedTuple):
    """A batch whose copies are under way, and the memory they read."""

    batch: Any
    tensors: list[torch.Tensor]  # the copies in it
    pinned: list[torch.Tensor]
    event: Event


@dataclass
class Moved:
    """What DeviceBatches have done, known when they are gone."""

    ahead: int = 0  # batches taken from the iterator and not handed out: 0 or 1
    copy_s: float = 0.0  # the host's seconds, most of them for pinning


class DeviceBatches:
    """The batches of an iterator, on a device.

    ``next()`` starts the copy of the batch after the one it returns, so that it runs beside the step. For that it takes
    that batch from `batches`, which may have to make it first. Where `batches` has a method ``is_ready()``, a batch is
    taken ahead only if that says so: a slow loader does not hold up the batch that is there. A method ``note_ahead()`` is
    called before.

    Moved are the tensors in CPU memory, within dicts, lists, tuples, named tuples, other mutable mappings and what is
    registered with torch's pytree. All else comes through as it is. An exception of `batches` comes in its place, after
    the batches before it, and iteration goes on if `batches` does; a batch that cannot be moved is passed over with its
    exception.

    Parameters
    ----------
    batches : iterator
        Tensors that it has pinned itself are read where they lie and must not be written to afterwards.
    mover : Mover
        See `mover_for`.
    arrival : Arrival, optional
        What is done to fields there, by a Computer.

    Examples
    --------
    >>> batches = DeviceBatches(iter([{"x": torch.zeros(2), "name": "a"}, {"x": torch.ones(2), "name": "b"}]), CpuMover())
    >>> next(batches), batches.moved.ahead
    ({'x': tensor([0., 0.]), 'name': 'a'}, 1)
    """

    def __init__(self, batches: Iterator[Any], mover: Mover, arrival: Arrival | None = None) -> None:
        self._batches = batches
        self._is_ready: Callable[[], bool] = getattr(batches, "is_ready", lambda: True)
        self._note_ahead: Callable[[], None] = getattr(batches, "note_ahead", lambda: None)
        self._mover, self._arrival = mover, arrival
        self._coming: _Moving | Exception | None = None  # what the next call gives, if that is known
        self._handed_out: _Moving | None = None
        self.moved = Moved()

    def __iter__(self) -> DeviceBatches:
        return self

    def __len__(self) -> int:
        return len(self._batches)

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")

    def __next__(self) -> Any:
        self._free_pinned()
        if self._coming is None:
            self._will_give(self._start())
        if isinstance(self._coming, Exception):
            error = self._coming
            self._will_give(None)
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        following = self._start_ahead() if self._is_ready() else None  # Ctrl-C while it waits loses nothing
        current = self._coming
        self._will_give(following)
        return self._hand_out(current)

    def _will_give(self, coming: _Moving | Exception | None) -> None:
        self._coming = coming
        self.moved.ahead = int(isinstance(coming, _Moving))

    def _start_ahead(self) -> _Moving | Exception:
        self._note_ahead()
        try:
            return self._start()
        except StopIteration:
            return StopIteration()  # a new one, without a traceback that would keep this iterator alive
        except Exception as error:
            return error

    def _start(self) -> _Moving:
        batch, tensors, pinned = next(self._batches), [], []
        started_at = time.perf_counter()

        def move(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.device.type != "cpu":
                return tensor
            pinned.append(self._mover.pin(tensor))
            tensors.append(self._mover.copy(pinned[-1]))
            return tensors[-1]

        try:
            batch = _map_tensors(move, batch)
            if self._arrival is not None:
                tensors += self._arrival.transform(batch, self._mover, move)
            moving = _Moving(batch, tensors, pinned, self._mover.record())
            self.moved.copy_s += time.perf_counter() - started_at
            return moving
        except BaseException:
            self._mover.record().synchronize()  # some copies may be under way
            raise

    def _hand_out(self, current: _Moving) -> Any:
        self._mover.wait(current.event, current.tensors)
        self._handed_out = current._replace(batch=None, tensors=[])
        return current.batch

    def _free_pinned(self) -> None:
        """Frees the pinned memory of the batch handed out last, once it is read. That copy began a step ago, so the host
        seldom waits here; where it does, copying is the bottleneck, and waiting keeps the host from running away.

        Memory from torch's own pinned allocator would be safe without: it asks the streams before it gives a block to
        others. It knows nothing of memory that was pinned elsewhere.
        """
        if self._handed_out is not None:
            self._handed_out.event.synchronize()
            self._handed_out = None

    def __del__(self) -> None:
        self._free_pinned()
        if isinstance(self._coming, _Moving):
            self._coming.event.synchronize()


def _map_tensors(function: Callable[[torch.Tensor], torch.Tensor], batch: Any) -> Any:
    def at_leaf(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return function(leaf)
        if isinstance(leaf, MutableMapping):  # no dict, say a tokenizer's BatchEncoding: as torch's pin_memory does
            clone = copy(leaf)
            clone.update({key: _map_tensors(function, value) for key, value in leaf.items()})
            return clone
        return leaf

    return tree_map(at_leaf, batch)
