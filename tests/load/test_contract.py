"""What a drop-in for torch's DataLoader must keep, rule by rule.

Most tests run on torch's own class as well: it shows that they state torch's behaviour and not ours. `table` is data that
fastload serves by itself, `Rows` a data set of the user's, which torch's machinery serves in both classes.
"""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from typing import TypeVar

import numpy as np
import pytest
import torch
from processes import becomes, engine_threads
from torch.utils.data import (
    BatchSampler,
    Dataset,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
    default_collate,
    get_worker_info,
)
from torch.utils.data import DataLoader as TorchDataLoader

import fastload as fl

NUM_ROWS = 23
T = TypeVar("T")


class Rows(Dataset):
    """Row i is i."""

    def __len__(self) -> int:
        return NUM_ROWS

    def __getitem__(self, row: int) -> int:
        return row


class WholeBatches(Rows):
    def __getitems__(self, rows: list[int]) -> list[int]:
        return [100 + row for row in rows]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(NUM_ROWS))


class SizedStream(Stream):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


class Failing(Rows):
    def __getitem__(self, row: int) -> int:
        if row == 5:
            raise KeyError("row five")
        return row


class Told(Rows):
    """What a worker is told about itself."""

    def __getitem__(self, row: int) -> tuple[int, int, int, int]:
        info = get_worker_info()
        return (info.id, info.num_workers, info.seed - info.id, len(info.dataset))


class Drawing(Rows):
    """A row's random numbers, from all generators a worker seeds."""

    def __getitem__(self, row: int) -> tuple[float, float, float]:
        return (random.random(), torch.rand(()).item(), np.random.rand())  # noqa: NPY002


def set_up(worker: int) -> None:
    get_worker_info().dataset.told = worker


class SetUp(Rows):
    def __getitem__(self, row: int) -> int:
        return self.told


def as_sum(samples: list) -> int:
    return sum(int(torch.as_tensor(s[0] if isinstance(s, (tuple, list)) else s)) for s in samples)


@pytest.fixture(params=[TorchDataLoader, fl.DataLoader], ids=["torch", "fastload"])
def loader_class(request):
    return request.param


@pytest.fixture
def table() -> TensorDataset:
    return TensorDataset(torch.arange(NUM_ROWS))


@pytest.fixture(params=["table", "rows"])
def either(request, table):
    """Served by fastload, and by torch."""
    return table if request.param == "table" else Rows()


def first_columns(loader) -> list[list[int]]:
    return [(batch[0] if isinstance(batch, (list, tuple)) else batch).tolist() for batch in loader]


def flat(lists: list[list[int]]) -> list[int]:
    return [row for rows in lists for row in rows]


def raises_as(error: type[Exception], message: str):
    return pytest.raises(error, match=message)


# 1 -- data sets, __getitems__, collate_fn


def test_rule_01_whole_batches_are_asked_for_where_there_is_getitems(loader_class):
    assert first_columns(loader_class(WholeBatches(), batch_size=20)) == [
        list(range(100, 120)),
        list(range(120, 100 + NUM_ROWS)),
    ]


def test_rule_01_collate_fn_is_applied_with_and_without_getitems(loader_class, table):
    for dataset, extra in ((Rows(), 0), (WholeBatches(), 100), (table, 0)):
        sums = list(loader_class(dataset, batch_size=20, collate_fn=as_sum))
        assert sums == [sum(range(20)) + 20 * extra, 20 + 21 + 22 + 3 * extra]


def test_rule_01_iterable_data_sets_are_iterated(loader_class):
    assert first_columns(loader_class(Stream(), batch_size=20)) == [list(range(20)), [20, 21, 22]]


# 2 -- batch_size=None


def test_rule_02_no_batches_gives_converted_rows(loader_class, table):
    assert list(loader_class(Rows(), batch_size=None)) == list(range(NUM_ROWS))
    rows = list(loader_class(table, batch_size=None))
    assert all(isinstance(row[0], torch.Tensor) and row[0].ndim == 0 for row in rows)
    assert [int(row[0]) for row in rows] == list(range(NUM_ROWS))


def test_rule_02_no_batches_and_drop_last_contradict(loader_class, either):
    with raises_as(ValueError, "drop_last"):
        loader_class(either, batch_size=None, drop_last=True)


# 3 -- shuffle


def test_rule_03_no_shuffle_and_false_are_equal(loader_class, either):
    for shuffle in (None, False):
        loader = loader_class(either, batch_size=5, shuffle=shuffle)
        assert isinstance(loader.sampler, SequentialSampler)
        assert flat(first_columns(loader)) == list(range(NUM_ROWS))


def test_rule_03_shuffle_is_refused_with_a_sampler_and_for_streams(loader_class, either):
    with raises_as(ValueError, "mutually exclusive"):
        loader_class(either, shuffle=True, sampler=[0])
    for shuffle in (None, False):
        loader_class(Stream(), shuffle=shuffle)
    with raises_as(ValueError, "shuffle"):
        loader_class(Stream(), shuffle=True)


# 4 -- samplers


def test_rule_04_a_sampler_is_any_iterable(loader_class, either):
    class Unsized:
        def __iter__(self):
            return iter((3, 1, 2))

    for sampler in ([3, 1, 2], Unsized(), np.array([3, 1, 2])):
        assert first_columns(loader_class(either, batch_size=2, sampler=sampler)) == [[3, 1], [2]]
    with raises_as(TypeError, "len"):
        len(loader_class(either, batch_size=2, sampler=Unsized()))
    assert len(loader_class(either, batch_size=2, sampler=[3, 1, 2])) == 2


def test_rule_04_streams_have_no_sampler_of_the_users(loader_class):
    with raises_as(ValueError, "sampler"):
        loader_class(Stream(), sampler=[0])


# 5 -- batch samplers


def test_rule_05_a_batch_sampler_excludes_what_it_decides(loader_class, either):
    lists = [[2, 0], [1, 5, 4]]
    for option in ({"batch_size": 2}, {"shuffle": True}, {"sampler": [0]}, {"drop_last": True}):
        with raises_as(ValueError, "mutually exclusive"):
            loader_class(either, batch_sampler=lists, **option)
    loader = loader_class(either, batch_sampler=lists)
    assert loader.batch_size is None
    assert loader.drop_last is False
    assert first_columns(loader) == lists
    own = BatchSampler(SequentialSampler(either), 4, drop_last=True)
    assert first_columns(loader_class(either, batch_sampler=own)) == [list(range(s, s + 4)) for s in range(0, 20, 4)]


# 6 -- num_workers


def test_rule_06_a_negative_number_of_workers_is_refused(loader_class, either):
    with raises_as(ValueError, "num_workers"):
        loader_class(either, num_workers=-1)


def test_rule_06_more_worker_processes_than_processors_are_warned_of(loader_class):
    with pytest.warns(UserWarning, match="will create 99 worker"):
        loader_class(Rows(), num_workers=99)


def test_rule_06_threads_cost_no_processes_and_are_not_warned_of(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fl.DataLoader(table, num_workers=99)


# 7 -- timeout


def test_rule_07_timeout(loader_class, either):
    with raises_as(ValueError, "timeout"):
        loader_class(either, timeout=-1)
    loader = loader_class(either, timeout=5, num_workers=0)
    with pytest.raises(AssertionError):
        iter(loader)
    assert len(list(loader_class(either, timeout=30, num_workers=1))) == NUM_ROWS


# 8, 9 -- options of workers


def test_rule_08_prefetch_factor(loader_class, either):
    with raises_as(ValueError, "prefetch_factor"):
        loader_class(either, num_workers=0, prefetch_factor=2)
    assert loader_class(either, num_workers=2).prefetch_factor == 2
    assert loader_class(either, num_workers=0).prefetch_factor is None
    assert loader_class(either, num_workers=1, prefetch_factor=7).prefetch_factor == 7


def test_rule_08_a_prefetch_factor_of_0_is_refused_at_once(either):
    with raises_as(ValueError, "prefetch_factor must be at least 1"):
        fl.DataLoader(either, num_workers=1, prefetch_factor=0)


def test_rule_09_options_of_workers_without_workers_are_refused(loader_class, either):
    with raises_as(ValueError, "persistent_workers"):
        loader_class(either, num_workers=0, persistent_workers=True)
    with raises_as(ValueError, "multiprocessing_context"):
        loader_class(either, num_workers=0, multiprocessing_context="spawn")
    with raises_as(TypeError, "multiprocessing_context"):
        loader_class(either, num_workers=1, multiprocessing_context=3)
    with raises_as(ValueError, "multiprocessing_context"):
        loader_class(either, num_workers=1, multiprocessing_context="thread")


# 10, 11 -- workers and their seeds


def test_rule_10_workers_are_told_who_they_are(loader_class):
    torch.manual_seed(3)
    told = torch.cat([torch.stack(batch, 1) for batch in loader_class(Told(), batch_size=4, num_workers=2)])
    assert set(told[:, 0].tolist()) == {0, 1}
    assert set(told[:, 1].tolist()) == {2}
    assert set(told[:, 3].tolist()) == {NUM_ROWS}
    assert len(set(told[:, 2].tolist())) == 1
    assert get_worker_info() is None
    assert set(torch.cat(list(loader_class(SetUp(), num_workers=2, worker_init_fn=set_up))).tolist()) == {0, 1}


def test_rule_11_a_worker_draws_what_torchs_worker_draws():
    drawn = []
    for kind in (TorchDataLoader, fl.DataLoader):
        generator = torch.Generator().manual_seed(9)
        drawn.append([torch.stack(b) for b in kind(Drawing(), batch_size=4, num_workers=2, generator=generator)])
    assert all(map(torch.equal, *drawn))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_rule_11_iterators_draw_the_same_random_numbers(either, num_workers, own_generator, shuffle):
    states = []
    for kind in (TorchDataLoader, fl.DataLoader):
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(2) if own_generator else None
        loader = kind(either, batch_size=4, shuffle=shuffle, num_workers=num_workers, generator=generator)
        for _ in range(2):
            list(loader)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)  # a generator of the loader's own is nobody else's: there, one draw a pass is enough


# 12, 13 -- order


@pytest.mark.parametrize("in_order", [True, False])
def test_rule_12_and_13_order(loader_class, either, in_order):
    orders = []
    for num_workers in (0, 2):
        torch.manual_seed(7)
        loader = loader_class(either, batch_size=3, shuffle=True, num_workers=num_workers, in_order=in_order)
        orders.append(first_columns(loader))
    assert sorted(flat(orders[0])) == list(range(NUM_ROWS))
    if in_order:
        assert orders[0] == orders[1]
    else:
        assert sorted(orders[0]) == sorted(orders[1])


# 14 -- pinned memory


@pytest.mark.skipif(torch.accelerator.is_available(), reason="an accelerator is there, and memory is pinned")
def test_rule_14_pinning_without_an_accelerator_warns_and_goes_on(loader_class, either):
    with pytest.warns(UserWarning, match="no accelerator is found"):
        batches = first_columns(loader_class(either, batch_size=10, pin_memory=True))
    assert flat(batches) == list(range(NUM_ROWS))


# 15 -- length


def test_rule_15_length(loader_class, either):
    assert len(loader_class(either, batch_size=5)) == 5
    assert len(loader_class(either, batch_size=5, drop_last=True)) == 4
    assert len(loader_class(either, batch_size=None)) == NUM_ROWS
    assert len(loader_class(SizedStream(10), batch_size=4)) == 3
    assert len(loader_class(SizedStream(10), batch_size=4, drop_last=True)) == 2
    with pytest.raises(TypeError):
        len(loader_class(Stream()))
    loader = loader_class(SizedStream(10))
    assert len(loader) == 10
    with pytest.warns(UserWarning, match="Length of IterableDataset"):
        list(loader)


# 16 -- errors


@pytest.mark.parametrize("num_workers", [0, 1])
def test_rule_16_errors_keep_their_type_and_iteration_goes_on(loader_class, num_workers):
    iterator = iter(loader_class(Failing(), batch_size=2, num_workers=num_workers))
    assert [next(iterator).tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    message = "Caught KeyError in DataLoader worker process 0" if num_workers else "row five"
    with raises_as(KeyError, message):
        next(iterator)
    assert next(iterator).tolist() == [6, 7]
    assert len(list(iterator)) == 8  # to the end, where torch lets go of its workers


def test_rule_16_goes_on_after_an_error_of_the_users_collate_fn(loader_class, table):
    def collate(samples):
        if int(samples[0][0]) == 2:
            raise ArithmeticError("no two")
        return default_collate(samples)

    iterator = iter(loader_class(table, batch_size=2, collate_fn=collate, num_workers=0))
    assert next(iterator)[0].tolist() == [0, 1]
    with raises_as(ArithmeticError, "no two"):
        next(iterator)
    assert next(iterator)[0].tolist() == [4, 5]


# 17 -- attributes


@pytest.mark.parametrize(
    "name", ["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"]
)
def test_rule_17_what_decides_the_batches_is_frozen(loader_class, either, name):
    loader = loader_class(either)
    with raises_as(ValueError, name):
        setattr(loader, name, None)


def test_rule_17_the_rest_may_be_set(loader_class, either):
    loader = loader_class(either, batch_size=20, num_workers=1)
    list(loader)
    loader.collate_fn = as_sum
    assert list(loader) == [sum(range(20)), 63]
    loader.num_workers = 0
    assert list(loader) == [sum(range(20)), 63]
    loader.generator = torch.Generator()


def test_rule_17_a_new_number_of_threads_is_used(table):
    assert becomes(engine_threads, 0)
    loader = fl.DataLoader(table, batch_size=20, num_workers=2)
    list(loader)
    assert becomes(engine_threads, 2)
    loader.num_workers = 0
    list(loader)
    assert becomes(engine_threads, 0)


# 18 -- iterators


def test_rule_18_iterators(loader_class, either):
    loader = loader_class(either, batch_size=5)
    first, second = iter(loader), iter(loader)
    assert first is not second
    assert iter(first) is first
    assert len(first) == 5
    taken = [(next(first), next(second)) for _ in range(5)]
    assert len(taken) == 5
    for iterator in (first, second):
        with pytest.raises(StopIteration):
            next(iterator)
        with pytest.raises(StopIteration):
            next(iterator)
    with raises_as(NotImplementedError, "pickled"):
        pickle.dumps(iter(loader))


def test_rule_18_persistent_workers_keep_one_iterator(loader_class, either):
    loader = loader_class(either, batch_size=5, num_workers=1, persistent_workers=True)
    first = iter(loader)
    rows = first_columns(first)
    assert iter(loader) is first
    assert first_columns(loader) == rows
    half = iter(loader)
    next(half)
    assert first_columns(iter(loader)) == rows  # reset in the middle


def test_a_loader_that_was_used_can_be_pickled_and_copied(loader_class, either):
    torch.manual_seed(0)
    loader = loader_class(either, batch_size=5, num_workers=1)
    rows = first_columns(loader)
    for copied in (pickle.loads(pickle.dumps(loader)), copy.copy(loader), copy.deepcopy(loader)):
        assert first_columns(copied) == rows
        assert copied.batch_size == 5
    assert first_columns(loader) == rows


# 19 -- a generic class


def test_rule_19_the_class_is_generic(loader_class, table):
    assert loader_class[int] is not None

    class Mine(loader_class[T]):
        pass

    assert Mine[int] is not None
    assert isinstance(fl.DataLoader(table), TorchDataLoader)
