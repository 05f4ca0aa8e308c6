"""A device that copies as late as it may, and remembers what a real one would not forgive."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import torch

from fastload.kernels import reference

GARBAGE = 123  # of whole numbers; NaN of others, True of truth values


class FakeMover:
    """Device memory holds garbage until its copy is waited for, and only then is the source read.

    `faults` says what went wrong: sources that were written to or given back while the device may still read them, and
    copies that the caller's stream was not told of.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._copies: list[_Copy | _Work] = []

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()

    def copy(self, pinned: torch.Tensor) -> torch.Tensor:
        self._copies.append(_Copy(pinned, self.faults))
        return self._copies[-1].target

    def run(self, calls, values: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        self._copies.append(_Work(calls, values, keys))
        return self._copies[-1].target

    def mix(self, bases, base, neighbor, part, places, values) -> None:
        self._copies.append(_Mix(bases, base, neighbor, part, places, values))

    def record(self) -> FakeEvent:
        return FakeEvent(list(self._copies))

    def wait(self, event: FakeEvent, tensors: Sequence[torch.Tensor]) -> None:
        for copy in event.copies:
            copy.run()
            copy.is_told = copy.is_told or any(tensor is copy.target for tensor in tensors)
            if not copy.is_told and not copy.is_known_done:
                self.faults.append("the memory of a copy was not kept for the stream that uses it")

    def check(self) -> None:
        assert not self.faults, "; ".join(self.faults)


class FakeEvent:
    def __init__(self, copies: list[_Copy]) -> None:
        self.copies = copies

    def synchronize(self) -> None:
        for copy in self.copies:
            copy.run()
            copy.is_known_done = True


class _Work:
    """Kernels on what lies on the device: they see what is there when they run."""

    def __init__(self, calls, values: torch.Tensor, keys: torch.Tensor | None) -> None:
        self._calls, self._values, self._keys = calls, values, keys
        shape = (len(values), *calls[-1].out_shape)
        self.target = torch.from_numpy(np.full(shape, GARBAGE, calls[-1].out_dtype))
        self.is_told = self.is_known_done = False

    def run(self) -> None:
        if self.is_known_done:
            return
        values = self._values.numpy()
        keys = None if self._keys is None else self._keys.numpy().view(np.uint64)
        for call in self._calls:
            values = reference.run(call, values.view(call.in_dtype), None, keys)
        self.target.copy_(torch.from_numpy(values))


class _Mix:
    """Rows of a batch that are written to on the device, once what they are made of is there."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._tensors, self.target = tensors, tensors[-1]
        self.is_told = self.is_known_done = self._is_done = False

    def run(self) -> None:
        if self._is_done:
            return
        bases, base, neighbor, part, places, values = (tensor.numpy() for tensor in self._tensors)
        made = reference.interpolate(bases, base, neighbor, part)
        values.reshape(len(values), -1)[places] = made
        self._is_done = True


class _Copy:
    """One transfer. That the caller's stream waits for it tells the host nothing: it may go on when it has asked."""

    def __init__(self, pinned: torch.Tensor, faults: list[str]) -> None:
        self.target = torch.full_like(pinned, float("nan") if pinned.is_floating_point() else GARBAGE)
        self.is_told = self.is_known_done = False
        self._faults = faults
        self._expected = pinned.clone()
        self._source = weakref.ref(pinned, self._on_given_back)

    def run(self) -> None:
        source = self._source()
        if self.is_known_done or source is None:
            return
        if not torch.equal(source, self._expected):
            self._faults.append("pinned memory was written to before its copy was known to be done")
        self.target.copy_(source)

    def _on_given_back(self, _: object) -> None:
        if not self.is_known_done:
            self._faults.append("pinned memory was given back before its copy was known to be done")
