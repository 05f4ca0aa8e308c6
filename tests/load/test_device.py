"""The device path: the same batches in the same order, each one whole when it is used, the next one already on its way.

Most tests run on the CPU form, on a fake that copies as late as it may, and, where there is one, on a CUDA device.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import weakref
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fake_device import GARBAGE, FakeMover
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import tree_flatten

import fastload as fl
from fastload.errors import ArgumentError
from fastload.load.device import CpuMover, CudaMover, DeviceBatches, mover_for

Pair = namedtuple("Pair", "x y")


class Source:
    """An iterator over prepared outcomes: batches, and exceptions that it raises and goes on after."""

    def __init__(self, outcomes: list[Any]) -> None:
        self.outcomes = iter(outcomes)
        self.taken = 0  # batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        outcome = next(self.outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        self.taken += 1
        return outcome


class SourceThatTells(Source):
    """Also says whether the next outcome is there; `ready` are its answers, in order."""

    def __init__(self, outcomes: list[Any], ready: list[bool]) -> None:
        super().__init__(outcomes)
        self.ready = iter(ready)

    def is_ready(self) -> bool:
        return next(self.ready)


@pytest.fixture
def cuda_mover():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return CudaMover("cuda")


@pytest.fixture(params=["cpu", "fake", pytest.param("cuda", marks=pytest.mark.gpu)])
def mover(request):
    if request.param == "cpu":
        yield CpuMover()
    elif request.param == "cuda":
        yield request.getfixturevalue("cuda_mover")
    else:
        fake = FakeMover()
        yield fake
        fake.check()


def make_batches(count: int) -> list[Any]:
    """One of each kind of thing; every number is another in every batch, and none is the fake's garbage."""
    return [
        {
            "float": torch.arange(6.0).reshape(2, 3) + 10 * k,
            "int": torch.tensor([k, -k]),
            "bool": torch.tensor([False, False]),
            "half": torch.full((2,), k, dtype=torch.bfloat16),
            "scalar": torch.tensor(k),
            "empty": torch.empty(0, 3),
            "columns": torch.arange(6).reshape(2, 3).T + k,
            "list": [torch.tensor([k]), "text", None],
            "tuple": (torch.tensor([k]), k, b"bytes"),
            "pair": Pair(torch.tensor([k]), OrderedDict(z=torch.tensor([k]))),
            "array": np.arange(3),
        }
        for k in range(count)
    ]


def assert_same(actual: Any, expected: Any, device: str | torch.device = "cpu") -> None:
    (found, shape), (leaves, expected_shape) = tree_flatten(actual), tree_flatten(expected)
    assert shape == expected_shape
    for one, other in zip(found, leaves, strict=True):
        if isinstance(other, torch.Tensor):
            assert one.device == torch.device(device)
            assert one.dtype == other.dtype
            assert torch.equal(one.cpu(), other), "a tensor holds other values than were sent"
        else:
            assert one is other


def drain(batches: Iterator[Any]) -> Iterator[Any]:
    """Everything that comes, exceptions too."""
    while True:
        try:
            yield next(batches)
        except StopIteration:
            return
        except ArithmeticError as error:
            yield error


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_same_batches_in_the_same_order(mover, count):
    host = make_batches(count)
    device = getattr(mover, "device", "cpu")
    moved = DeviceBatches(iter(host), mover)
    for batch in host:
        assert_same(next(moved), batch, device)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(moved)


def test_batches_of_a_loader(mover):
    loader = fl.DataLoader({"x": np.arange(100), "y": np.eye(100)}, batch_size=8, shuffle=True, seed=1)
    expected = list(loader)
    loader.set_epoch(0)
    moved = DeviceBatches(iter(loader), mover)
    assert len(moved) == 13
    for batch, other in zip(moved, expected, strict=True):
        assert_same(batch, other, getattr(mover, "device", "cpu"))


class Labelled(dict):
    label = None


def test_mappings_that_are_no_dicts_keep_their_type(mover):
    labelled = Labelled(x=torch.ones(2))
    labelled.label = "kept"
    host = UserDict(x=torch.zeros(2), inner=labelled)
    moved = next(DeviceBatches(iter([host]), mover))
    assert type(moved) is UserDict
    assert moved["inner"].label == "kept"
    assert moved["x"].tolist() == [0, 0]
    assert moved["inner"]["x"].tolist() == [1, 1]
    assert host["inner"] is labelled  # the batch that came is not changed


def test_the_cpu_form_copies_nothing():
    host = make_batches(3)
    for batch, other in zip(DeviceBatches(iter(host), CpuMover()), host, strict=True):
        assert batch["float"] is other["float"]
        assert batch["pair"].y["z"] is other["pair"].y["z"]


def test_tensors_outside_cpu_memory_stay_as_they_are(mover):
    elsewhere = torch.empty(3, device="meta")
    assert next(DeviceBatches(iter([{"x": elsewhere}]), mover))["x"] is elsewhere


def test_one_batch_is_kept_ahead(mover):
    source = Source(make_batches(3))
    batches = DeviceBatches(source, mover)
    assert (source.taken, batches.moved.ahead) == (0, 0)
    seen = []
    for _ in batches:
        seen.append((source.taken, batches.moved.ahead))
    assert seen == [(2, 1), (3, 1), (3, 0)]
    assert batches.moved.ahead == 0


def test_a_batch_is_taken_ahead_only_if_it_is_there(mover):
    source = SourceThatTells(make_batches(5), [False, False, True, False, False])
    batches = DeviceBatches(source, mover)
    assert [(source.taken, batches.moved.ahead) for _ in batches] == [(1, 0), (2, 0), (4, 1), (4, 0), (5, 0)]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8))
def test_any_mixture_of_batches_and_errors_comes_through_in_place(steps):
    outcomes = [ArithmeticError(k) if fails else {"x": torch.tensor([float(k)])} for k, (fails, _) in enumerate(steps)]
    mover = FakeMover()
    source = SourceThatTells(outcomes, [ready for _, ready in steps])
    batches = DeviceBatches(source, mover)
    delivered = 0
    for outcome, other in zip(drain(batches), outcomes, strict=True):
        if isinstance(other, Exception):
            assert outcome is other
        else:
            assert_same(outcome, other)
            delivered += 1
        assert batches.moved.ahead == source.taken - delivered
    del batches
    mover.check()


def test_an_interrupt_while_looking_ahead_loses_nothing(mover):
    first, second = make_batches(2)
    batches = DeviceBatches(Source([first, KeyboardInterrupt(), second]), mover)
    with pytest.raises(KeyboardInterrupt):
        next(batches)
    device = getattr(mover, "device", "cpu")
    assert_same(next(batches), first, device)
    assert_same(next(batches), second, device)


def test_a_batch_that_cannot_be_moved_is_passed_over_with_its_exception():
    class Picky(FakeMover):
        def pin(self, tensor: torch.Tensor) -> torch.Tensor:
            if tensor.numel() == 13:
                raise ArithmeticError("not this one")
            return super().pin(tensor)

    host = [{"x": torch.ones(3)}, {"x": torch.ones(4), "y": torch.ones(13)}, {"x": torch.ones(5)}]
    mover = Picky()
    outcomes = list(drain(DeviceBatches(iter(host), mover)))
    assert_same(outcomes[0], host[0])
    assert isinstance(outcomes[1], ArithmeticError)
    assert_same(outcomes[2], host[2])
    mover.check()  # the half of it that was under way was waited for, too


@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_dropped_in_the_middle_it_ends_the_pass_at_once(mover, delivered):
    """No reference cycle holds it: threads and memory of the iterator are free when the loop is left."""
    source = Source(make_batches(2))
    batches = DeviceBatches(source, mover)
    for _ in range(delivered):
        next(batches)
    gone = weakref.ref(source)
    del source, batches
    assert gone() is None


def test_device_memory_is_free_as_soon_as_the_caller_drops_the_batch():
    class Copying(CpuMover):
        def copy(self, pinned: torch.Tensor) -> torch.Tensor:
            return pinned.clone()

    batches = DeviceBatches(iter(make_batches(2)), Copying())
    gone = weakref.ref(next(batches)["float"])
    assert gone() is None


def test_a_batch_is_the_callers_alone_when_the_loop_is_over():
    gone = [weakref.ref(batch["float"]) for batch in DeviceBatches(iter(make_batches(3)), CpuMover())]
    assert [reference() for reference in gone] == [None, None, None]


def test_it_is_an_iterator_of_known_length_that_cannot_be_pickled(mover):
    batches = DeviceBatches(iter([]), mover)
    assert iter(batches) is batches
    with pytest.raises(TypeError, match="no len"):
        len(DeviceBatches(Source([]), mover))
    for to_copy in (pickle.dumps, copy.copy):
        with pytest.raises(NotImplementedError, match="DeviceBatches cannot be pickled"):
            to_copy(batches)


# --- the fake notices mistakes -------------------------------------------------------------------


def test_what_is_not_waited_for_is_garbage():
    mover = FakeMover()
    pinned = [torch.ones(2), torch.ones(2, dtype=torch.int8), torch.zeros(2, dtype=torch.bool)]
    moved = [mover.copy(tensor) for tensor in pinned]
    event = mover.record()
    assert moved[0].isnan().all()
    assert moved[1].tolist() == [GARBAGE] * 2
    assert moved[2].all()
    mover.wait(event, moved)
    assert all(map(torch.equal, moved, pinned))
    event.synchronize()
    mover.check()


class NeverWaits(DeviceBatches):
    def _hand_out(self, current):
        self._handed_out = current
        return current.batch


class RecordsTooEarly(DeviceBatches):
    def _start(self):
        event = self._mover.record()
        return super()._start()._replace(event=event)


class WaitsForOneTensor(DeviceBatches):
    def _hand_out(self, current):
        return super()._hand_out(current._replace(tensors=current.tensors[:1]))


class FreesAtOnce(DeviceBatches):
    def _start(self):
        return super()._start()._replace(pinned=[])


class FreesAfterTheWait(DeviceBatches):
    def _hand_out(self, current):
        return super()._hand_out(current._replace(pinned=[]))


class FreesWithoutAsking(DeviceBatches):
    def _free_pinned(self):
        self._handed_out = None


class DropsWhatIsUnderWay(DeviceBatches):
    def __del__(self):
        pass


class OnePinnedBuffer(FakeMover):
    """Pins every batch into the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: dict[tuple, torch.Tensor] = {}

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.pinned.setdefault((tensor.dtype, tensor.shape), tensor.clone()).copy_(tensor)


@pytest.mark.parametrize(
    ("wrong", "mover_class", "fault"),
    [
        (NeverWaits, FakeMover, "holds other values"),
        (RecordsTooEarly, FakeMover, "holds other values"),
        (WaitsForOneTensor, FakeMover, "not kept for the stream that uses it"),
        (FreesAtOnce, FakeMover, "holds other values"),
        (FreesAfterTheWait, FakeMover, "given back before its copy"),
        (FreesWithoutAsking, FakeMover, "given back before its copy"),
        (DropsWhatIsUnderWay, FakeMover, "given back before its copy"),
        (DeviceBatches, OnePinnedBuffer, "holds other values"),
    ],
)
def test_a_wrong_loader_is_found_out(wrong, mover_class, fault):
    host = [{"x": torch.full((2,), float(k)), "y": torch.full((3,), k)} for k in range(4)]
    mover = mover_class()
    with pytest.raises(AssertionError, match=fault):
        batches = wrong(iter(host), mover)
        for other in host[:3]:
            assert_same(next(batches), other)
        del batches
        mover.check()


# --- which device --------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_cpu_needs_no_mover_to_speak_of(device):
    assert type(mover_for(device)) is CpuMover


@pytest.mark.parametrize("device", ["meta", "gpu", "cuda:x", None, torch.device("meta")])
def test_a_device_is_the_cpu_or_a_cuda_device(device):
    with pytest.raises(ArgumentError, match=r"device must be 'cpu', 'cuda' or 'cuda:<number>', got "):
        mover_for(device)


@pytest.mark.parametrize(
    ("version", "found"), [(None, "it is built without CUDA"), ("12.8", "no device or no driver is there")]
)
def test_without_cuda_the_error_says_what_was_found(monkeypatch, version, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(ArgumentError, match=rf"'cuda:1' must be .*is_available\(\) is False in torch .*: {found}"):
        mover_for("cuda:1")


def test_a_cuda_device_beyond_the_last_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ArgumentError, match=r"'cuda:2' must be .*device_count\(\) is 2, and they are numbered from 0"):
        mover_for("cuda:2")


# --- on a CUDA device ----------------------------------------------------------------------------

STEP_CYCLES = 2_000_000_000  # about a second
SHORT_STEP_CYCLES = 100_000_000


@pytest.mark.gpu
def test_the_next_batch_lands_while_the_step_runs(cuda_mover):
    host = [{"x": torch.full((1 << 20,), float(k))} for k in range(3)]
    list(DeviceBatches(iter(host), cuda_mover))  # memory is allocated here: that would wait for the device
    torch.cuda.synchronize()
    batches = DeviceBatches(iter(host), cuda_mover)
    torch.cuda._sleep(STEP_CYCLES)
    first = next(batches)
    batches._coming.event.synchronize()
    assert not torch.cuda.current_stream().query()  # the step still runs, and the batch after it is there
    assert torch.equal(first["x"].cpu(), host[0]["x"])


@pytest.mark.gpu
def test_a_batch_is_whole_however_late_its_copy_is(cuda_mover):
    host = [{"x": torch.full((1 << 20,), float(k + 1))} for k in range(3)]
    list(DeviceBatches(({"x": torch.zeros(1 << 20)} for _ in host), cuda_mover))  # what is read if nobody waits
    torch.cuda.synchronize()
    with torch.cuda.stream(cuda_mover.stream):
        torch.cuda._sleep(STEP_CYCLES)
    sums = [batch["x"].sum() for batch in DeviceBatches(iter(host), cuda_mover)]
    assert [int(total) for total in sums] == [(k + 1) << 20 for k in range(3)]


@pytest.mark.parametrize("own_stream", [False, True])
@pytest.mark.gpu
def test_memory_is_not_used_again_while_the_step_reads_it(cuda_mover, own_stream):
    stream = torch.cuda.Stream() if own_stream else torch.cuda.current_stream()
    sums = []
    with torch.cuda.stream(stream):
        for batch in DeviceBatches(({"x": torch.full((1 << 20,), float(k))} for k in range(16)), cuda_mover):
            torch.cuda._sleep(SHORT_STEP_CYCLES)
            sums.append(batch["x"].sum())
            del batch
        assert [int(total) for total in sums] == [k << 20 for k in range(16)]


@pytest.mark.gpu
def test_pinned_memory_is_read_where_it_lies(cuda_mover):
    pinned = torch.ones(4).pin_memory()
    assert cuda_mover.pin(pinned) is pinned
    assert cuda_mover.pin(torch.ones(4)).is_pinned()


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda_mover")
def test_the_cpu_form_starts_no_cuda():
    program = (
        "import torch; from fastload.load.device import *; "
        "list(DeviceBatches(iter([{'x': torch.ones(2)}]), mover_for('cpu'))); assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
