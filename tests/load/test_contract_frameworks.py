"""What frameworks poke at, rule by rule, as far as it can be checked without them; tests/frameworks runs the frameworks.

Continues test_contract.py.
"""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import sys
import time
from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from torch.utils.data import DataLoader as TorchDataLoader

import fastload as fl
from fastload import errors
from fastload.load.frameworks import StepLoader

NUM_ROWS = 97


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> fl.Dataset:
    columns = {"row": np.arange(NUM_ROWS)}
    return fl.write(tmp_path_factory.mktemp("frameworks") / "r.fl", columns, codec="lz4", block_bytes=80)


@pytest.fixture(params=["path", "dataset", "arrays", "TensorDataset"])
def given(request, rows):
    """All that a user may hand to a loader, in place of `rows`."""
    return {
        "path": rows.path,
        "dataset": rows,
        "arrays": {"row": np.arange(NUM_ROWS)},
        "TensorDataset": TensorDataset(torch.arange(NUM_ROWS)),
    }[request.param]


def rows_of(batches) -> list[int]:
    """Those that are not repeated only to fill up."""
    found = []
    for batch in batches:
        row = batch["row"] if isinstance(batch, dict) else batch[0]
        is_padding = batch["is_padding"] if "is_padding" in batch else torch.zeros(len(row), dtype=torch.bool)
        found += row[~is_padding].tolist()
    return found


def built_again(loader: fl.DataLoader, **changes) -> fl.DataLoader:
    """As Lightning does (lightning.pytorch.utilities.data, _get_dataloader_init_args_and_kwargs): from the attributes that
    have the names of constructor parameters and other values than their defaults."""
    attributes = {name: value for name, value in vars(loader).items() if not name.startswith("_")}
    attributes["multiprocessing_context"] = loader.multiprocessing_context
    parameters = inspect.signature(loader.__init__).parameters
    found = {
        name: attributes[name]
        for name, parameter in parameters.items()
        if name in attributes and attributes[name] is not parameter.default
    }
    return type(loader)(**found | {"shuffle": False, "batch_sampler": None} | changes)


# --- rules 20 and 21: Accelerate asks whether it may take the loader as it is -------------------------


@pytest.fixture
def accelerate(monkeypatch):
    """What ``accelerate.state`` would say: call it with the number of processes and the device."""

    def say(num_processes: int, device: str = "cpu") -> None:
        state = SimpleNamespace(num_processes=num_processes, device=torch.device(device))
        module = SimpleNamespace(is_initialized=lambda: True, AcceleratorState=lambda: state)
        monkeypatch.setitem(sys.modules, "accelerate.state", module)

    return say


def test_rule_20_accelerate_is_told_to_leave_the_loader_alone(given, accelerate):
    loader = fl.DataLoader(given)
    assert loader._is_accelerate_prepared
    accelerate(1)
    assert loader._is_accelerate_prepared
    loader._is_accelerate_prepared = True  # it marks what it has prepared
    assert loader.use_stateful_dataloader  # and saves its state


def test_rule_20_what_torchs_machinery_serves_may_be_built_again(accelerate):
    for loader in (fl.DataLoader(list(range(5))), fl.DataLoader({"row": np.arange(5)}, batch_size=None)):
        assert not loader._is_accelerate_prepared
        accelerate(2)
        assert not loader._is_accelerate_prepared


def test_rule_20_what_a_sampler_names_for_all_may_be_built_again(rows, accelerate):
    loader = fl.DataLoader(rows, sampler=[3, 1, 2])
    accelerate(1)
    assert loader._is_accelerate_prepared
    accelerate(2)
    assert not loader._is_accelerate_prepared


def test_rule_21_a_loader_that_deals_is_left_alone_on_many_processes(rows, accelerate):
    accelerate(2)
    assert fl.DataLoader(rows, rank=0, world_size=2)._is_accelerate_prepared
    assert fl.DataLoader(rows, sampler=DistributedSampler(rows, 2, 0))._is_accelerate_prepared
    assert fl.DataLoader(rows, rank=0, world_size=1)._is_accelerate_prepared  # the user wants it so
    with pytest.raises(errors.ArgumentError, match=r"all 2 processes every row; say .*frameworks\.prepare"):
        fl.DataLoader(rows)._is_accelerate_prepared  # noqa: B018


def test_rule_21_batches_have_to_arrive_where_the_model_is(rows, accelerate):
    accelerate(1, "cuda")
    with pytest.raises(errors.ArgumentError, match=r"on the CPU, not on cuda; say .*frameworks\.prepare"):
        fl.DataLoader(rows)._is_accelerate_prepared  # noqa: B018
    assert fl.DataLoader(rows, device="cpu")._is_accelerate_prepared  # the user wants them there


# --- rule 22: the data set alone, in torch's own loader ---------------------------------------------


def test_rule_22_the_data_set_alone_is_slower_and_right(given):
    loader = fl.DataLoader(given, batch_size=10)
    rebuilt = TorchDataLoader(loader.dataset, batch_size=10, num_workers=1, multiprocessing_context="fork")
    assert rows_of(rebuilt) == rows_of(loader) == list(range(NUM_ROWS))


def test_rule_22_it_is_opened_again_in_a_process_that_inherits_nothing(rows):
    rebuilt = TorchDataLoader(rows, batch_size=10, num_workers=1, multiprocessing_context="spawn")
    assert rows_of(rebuilt) == list(range(NUM_ROWS))


def test_rule_22_whole_batches_are_asked_of_it_and_it_is_pickled(rows):
    for dataset in (rows, fl.DataLoader({"row": np.arange(NUM_ROWS)}).dataset):
        copied = pickle.loads(pickle.dumps(dataset))
        assert [int(row["row"]) for row in copied.__getitems__([3, 1, 3])] == [3, 1, 3]
        assert int(copied[5]["row"]) == 5


# --- rule 23: Lightning builds the loader again ----------------------------------------------------


def test_rule_23_every_parameter_is_an_attribute_of_the_same_name(rows):
    asked = {
        "batch_size": 7,
        "num_workers": 3,
        "drop_last": True,
        "timeout": 60,
        "generator": torch.Generator(),
        "persistent_workers": True,
        "in_order": False,
        "seed": 4,
        "memory_bytes": 1 << 20,
        "rank": 1,
        "world_size": 2,
        "ends": "drop",
        "lanes": 4,
        "padding": {},
        "transform": {},
        "sample_seeds": True,
        "on_error": "skip",
        "skip_limit": 5,
        "device": "cpu",
    }
    loader = fl.DataLoader(rows, **asked)
    again = built_again(loader, sampler=loader.sampler)
    for name, value in asked.items():
        assert getattr(again, name) == value, name
    left = {
        "dataset",
        "shuffle",
        "sampler",
        "batch_sampler",
        "collate_fn",
        "pin_memory",
        "pin_memory_device",
        "packing",
        "balance",
    }
    left |= {"worker_init_fn", "multiprocessing_context", "prefetch_factor", "self"}
    assert set(inspect.signature(fl.DataLoader.__init__).parameters) == set(asked) | left


@pytest.mark.parametrize("asked", [None, 2, 7])
def test_rule_23_a_default_depth_is_not_taken_for_one_that_was_asked(rows, asked):
    """torch's attribute is 2 where nothing was asked; ours are then as many batches as fit a budget, and not 2."""
    loader = fl.DataLoader(rows, num_workers=2, prefetch_factor=asked)
    again = built_again(loader, sampler=loader.sampler)
    assert vars(again)["prefetch_factor"] == asked
    assert loader.prefetch_factor == again.prefetch_factor == (asked or 2)
    assert copy.copy(again).prefetch_factor == loader.prefetch_factor


@pytest.mark.parametrize("shuffle", [False, True])
def test_rule_23_an_injected_sampler_deals_each_row_once(given, shuffle):
    ranks = []
    for rank in range(3):
        loader = fl.DataLoader(given, batch_size=10, shuffle=shuffle)
        assert isinstance(loader.sampler, (RandomSampler, SequentialSampler))  # else it is wrapped, and runs in Python
        again = built_again(loader, sampler=DistributedSampler(loader.dataset, 3, rank, shuffle=shuffle))
        ranks.append(rows_of(again))
        assert again.stats()["order"] == ("permutation" if shuffle else "sequential")
    wrapped = -NUM_ROWS % 3 if isinstance(given, TensorDataset) else 0  # lists have no place for a mark
    found = list(chain(*ranks))
    assert len(found) == NUM_ROWS + wrapped
    assert set(found) == set(range(NUM_ROWS))


def test_rule_23_an_injected_sampler_may_be_of_another_view_of_the_data(rows):
    """Lightning keeps the arguments of a loader made in a hook: the path is opened once more."""
    sampler = DistributedSampler(rows, 2, 1, seed=3)
    of_path, of_view = (fl.DataLoader(data, batch_size=10, sampler=sampler) for data in (rows.path, rows))
    assert rows_of(of_path) == rows_of(of_view)
    assert of_path.stats()["order"] == "permutation"


class Forked(DistributedSampler):
    """A subclass, as Lightning has some: what it names is what comes."""

    def __iter__(self):
        return iter(range(self.rank, NUM_ROWS, self.num_replicas))


def test_rule_23_subclasses_of_torchs_sampler_are_asked(rows):
    ranks = [rows_of(fl.DataLoader(rows, batch_size=10, sampler=Forked(rows, 2, rank))) for rank in range(2)]
    assert ranks == [list(range(0, NUM_ROWS, 2)), list(range(1, NUM_ROWS, 2))]


def test_rule_23_a_loader_that_deals_shows_a_distributed_sampler(given):
    """So Lightning injects none."""
    loader = fl.DataLoader(given, rank=0, world_size=2)
    assert isinstance(loader.sampler, DistributedSampler)
    assert isinstance(loader.batch_sampler.sampler, DistributedSampler)


def test_rule_23_samplers_that_only_say_how_to_shuffle_are_dealt(rows):
    """Lightning puts a SequentialSampler there to overfit; a loader built from another one's parts brings a RankSampler."""
    loaders = [fl.DataLoader(rows, batch_size=10, shuffle=True, seed=1, rank=rank, world_size=2) for rank in (0, 1)]
    in_order = [built_again(loader, sampler=SequentialSampler(loader.dataset)) for loader in loaders]
    assert [rows_of(loader) for loader in in_order] == [list(range(0, NUM_ROWS, 2)), list(range(1, NUM_ROWS, 2))]
    for sampler in (loaders[1].sampler, RandomSampler(range(NUM_ROWS))):
        again = built_again(loaders[0], sampler=sampler)
        assert rows_of(again) == rows_of(loaders[0])
        assert again.sampler is not sampler
        loaders[0].set_epoch(0)
    for sampler in (RandomSampler(rows, replacement=True), SequentialSampler(range(5)), DistributedSampler(rows, 2, 0)):
        with pytest.raises(errors.ArgumentError, match="one or the other"):
            built_again(loaders[0], sampler=sampler)


class Recording:
    """What Lightning wraps around a batch sampler to predict."""

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.__dict__ = dict(batch_sampler.__dict__)
        self._batch_sampler = batch_sampler

    def __iter__(self):
        return iter(self._batch_sampler)

    def __len__(self) -> int:
        return len(self._batch_sampler)


@pytest.mark.parametrize("shuffle", [False, True])
def test_rule_23_a_batch_sampler_wrapped_around_our_own_keeps_the_rank(rows, shuffle):
    options = {"batch_size": 10, "shuffle": shuffle, "seed": 1, "ends": "wrap"}
    for rank in (0, 1):
        loader = fl.DataLoader(rows, rank=rank, world_size=2, **options)
        wrapped = Recording(BatchSampler(loader.sampler, 10, False))
        again = built_again(loader, sampler=None, batch_sampler=wrapped, batch_size=1)
        assert rows_of(again) == rows_of(fl.DataLoader(rows, rank=rank, world_size=2, **options))
        with pytest.raises(errors.ArgumentError, match="one or the other"):
            fl.DataLoader(rows, batch_sampler=wrapped, rank=1 - rank, world_size=2)
        assert "is_padding" not in next(
            iter(built_again(loader, sampler=None, batch_sampler=wrapped, ends="pad", batch_size=1))
        )


# --- rule 24: the epoch is told ---------------------------------------------------------------------


def orders(rows) -> list[list[int]]:
    loader = fl.DataLoader(rows, batch_size=10, shuffle=True, seed=5)
    return [rows_of(loader) for _ in range(4)]


def kinds(rows) -> dict[str, fl.DataLoader]:
    """Loaders of the same order, by who keeps the epoch."""
    options = {"batch_size": 10, "lanes": 1}
    return {
        "seed": fl.DataLoader(rows, shuffle=True, seed=5, **options),
        "rank": fl.DataLoader(rows, shuffle=True, seed=5, rank=0, world_size=1, **options),
        "DistributedSampler": fl.DataLoader(rows, sampler=DistributedSampler(rows, 1, 0, seed=5), **options),
    }


PLACES = {
    "loader": lambda loader: loader,
    "sampler": lambda loader: loader.sampler,
    "batch_sampler.sampler": lambda loader: loader.batch_sampler.sampler,
}


@pytest.fixture(params=["seed", "rank", "DistributedSampler"])
def loader(request, rows) -> fl.DataLoader:
    return kinds(rows)[request.param]


@pytest.mark.parametrize("place", PLACES)
def test_rule_24_the_epoch_can_be_told_where_frameworks_tell_it_and_twice(rows, loader, place):
    for epoch in (2, 0, 0, 3):
        for _ in range(2):
            PLACES[place](loader).set_epoch(epoch)
        assert loader.epoch == epoch
        assert rows_of(loader) == orders(rows)[epoch]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("persistent_workers", [False, True])
def test_rule_24_the_epoch_may_be_told_after_iter(rows, place, persistent_workers):
    """Lightning begins the first pass when it sets up, and tells the epoch when it begins to train."""
    for kind in ("seed", "rank", "DistributedSampler"):
        loader = kinds(rows)[kind]
        if persistent_workers:
            loader = built_again(loader, sampler=loader.sampler, num_workers=1, persistent_workers=True)
        batches = iter(loader)
        PLACES[place](loader).set_epoch(2)
        assert loader.state_dict()["epoch"] == 2
        assert rows_of(batches) == orders(rows)[2]
        PLACES[place](loader).set_epoch(3)
        assert rows_of(loader) == orders(rows)[3]


def test_rule_24_told_while_a_pass_runs_it_is_the_next_one(rows, loader):
    batches = iter(loader)
    first = rows_of([next(batches)])
    loader.set_epoch(3)
    assert first + rows_of(batches) == orders(rows)[0]
    assert rows_of(loader) == orders(rows)[3]


def test_rule_24_passes_that_live_side_by_side_are_of_different_epochs(rows):
    for kind in ("seed", "rank"):
        loader = kinds(rows)[kind]
        pairs = list(zip(loader, loader))
        assert [rows_of(batches) for batches in zip(*pairs)] == orders(rows)[:2]


def test_rule_24_a_pass_that_nobody_asked_for_a_batch_does_not_count(rows, loader):
    first = rows_of(islice(loader, 4))
    state = loader.state_dict()
    again = built_again(loader, sampler=loader.sampler)
    again.load_state_dict(state)
    for _ in range(3):
        unused = iter(again)
        assert again.state_dict() == state
    assert first + rows_of(again) == orders(rows)[0]
    del unused
    again.set_epoch(1)
    assert rows_of(again) == orders(rows)[1]


def test_rule_24_samplers_of_the_users_are_asked_once(rows):
    asked = []

    class Own(SequentialSampler):
        def __iter__(self):
            asked.append(len(asked))
            return super().__iter__()

    loader = fl.DataLoader(rows, batch_size=50, sampler=Own(rows))
    batches = iter(loader)
    loader.set_epoch(5)
    assert rows_of(batches) == list(range(NUM_ROWS))
    assert (len(asked), loader.epoch) == (1, 6)


# --- rule 25: the state -----------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 2])
def test_rule_25_the_state_is_for_json_and_asking_changes_nothing(rows, loader, num_workers):
    loader.num_workers = num_workers
    found = []
    for number, batch in enumerate(loader, 1):
        found += rows_of([batch])
        state = loader.state_dict()
        assert json.loads(json.dumps(state)) == state == loader.state_dict()
        assert len(json.dumps(state)) < 300
        position = 10 * number
        assert (state["epoch"], state["position"]) == ((0, position) if position < NUM_ROWS else (1, 0))
    assert found == orders(rows)[0]


@pytest.mark.parametrize("cut", range(0, 21))
def test_rule_25_restored_anywhere_it_goes_on_as_if_unbroken(rows, loader, cut):
    def told(epoch: int, where: fl.DataLoader) -> fl.DataLoader:
        where.sampler.set_epoch(epoch)
        return where

    first, left = [], cut
    for epoch in range(2):
        if left > 0:
            first += rows_of(islice(told(epoch, loader), left))
            left -= 10
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (cut // 10, cut % 10 * 10)
    again = built_again(loader, sampler=loader.sampler, num_workers=2)
    again.load_state_dict(state)
    rest = []
    for epoch in range(state["epoch"], 3):
        rest += rows_of(told(epoch, again))
    assert first + rest == list(chain(*orders(rows)[:3]))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_rule_25_a_batch_on_its_way_to_the_device_was_not_delivered(rows, num_workers):
    """Not even when the loop was left and the iterator is gone, which is when states are often taken."""
    loader = fl.DataLoader(rows, batch_size=10, shuffle=True, seed=5, num_workers=num_workers, device="cpu")
    first = []
    for number, batch in enumerate(loader, 1):
        first += rows_of([batch])
        time.sleep(0.01)  # the next batch is ready, and taken ahead
        assert loader.state_dict()["position"] == number * 10
        if number == 4:
            break
    state = loader.state_dict()
    assert state["position"] == 40
    again = fl.DataLoader(rows, batch_size=10, shuffle=True, seed=5)
    again.load_state_dict(state)
    assert first + rows_of(again) == orders(rows)[0]


# --- rule 26: the Transformers Trainer leaves out batches by naming the others ------------------------


class Skip(BatchSampler):
    """``accelerate.data_loader.SkipBatchSampler``, in short."""

    def __init__(self, batch_sampler, skip_batches: int) -> None:
        self.batch_sampler, self.skip_batches = batch_sampler, skip_batches

    def __iter__(self):
        return islice(self.batch_sampler, self.skip_batches, None)


@pytest.mark.parametrize("options", [{}, {"rank": 1, "world_size": 2, "ends": "wrap"}, {"drop_last": True}])
@pytest.mark.parametrize("skipped", [0, 1, 4])
def test_rule_26_steps_are_had_by_their_number(rows, options, skipped):
    def loader() -> fl.DataLoader:
        return fl.DataLoader(rows, batch_size=10, shuffle=True, seed=5, **options)

    epochs = [[batch["row"].tolist() for batch in passed] for passed in [loader()] * 3]
    assert epochs[0] != epochs[1]
    steps = StepLoader(loader())
    for epoch in (2, 0, 1):
        steps.set_epoch(epoch)
        rest = TorchDataLoader(
            steps.dataset, batch_sampler=Skip(steps.batch_sampler, skipped), collate_fn=steps.collate_fn
        )
        assert [batch["row"].tolist() for batch in rest] == epochs[epoch][skipped:]
        assert [batch["row"].tolist() for batch in steps] == epochs[epoch]
    assert (len(steps), len(steps.dataset)) == (len(epochs[0]), NUM_ROWS)


def test_rule_26_steps_need_an_order_that_is_known(rows):
    in_order = StepLoader(fl.DataLoader(rows, batch_size=10))
    assert rows_of(in_order) == list(range(NUM_ROWS))
    drawn = StepLoader(fl.DataLoader(rows, sampler=fl.WeightedSampler([1.0] * NUM_ROWS), batch_size=10, seed=2))
    assert rows_of([drawn.dataset[0, 3]]) == rows_of(drawn)[30:40]
    for loader in (
        fl.DataLoader(rows, shuffle=True),
        fl.DataLoader(rows, sampler=[1, 2]),
        fl.DataLoader(list(range(5)), shuffle=True),
    ):
        with pytest.raises(errors.ArgumentError, match="an order that fastload makes"):
            StepLoader(loader)


# --- rule 27: a map-style data set ------------------------------------------------------------------


def test_rule_27_no_loader_of_ours_shows_an_iterable_data_set(given):
    for loader in (fl.DataLoader(given), fl.DataLoader(given, rank=0, world_size=2)):
        assert not isinstance(loader.dataset, IterableDataset)
        assert len(loader.dataset) == NUM_ROWS
        assert loader.dataset[3] is not None
