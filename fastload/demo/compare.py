"""The same network trained through several loaders: same rows, same first weights, epoch by epoch in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastload.block.dataset import Dataset
from fastload.demo.flights import CATEGORIES
from fastload.demo.network import DelayNetwork, Epoch, area_under_curve, scores, train_epoch
from fastload.load.dataloader import DataLoader
from fastload.report.machine import cpu_count
from fastload.schema import Categorical

FASTLOAD = "fastload"
BEFOREHAND = "batches made beforehand"
TORCH_WHOLE = "torch, whole-batch __getitems__"
TORCH_2 = "torch DataLoader, 2 workers"
TORCH_0 = "torch DataLoader, 0 workers"
ORDINARY = (TORCH_2, TORCH_0)  # what people write
LOADERS = (FASTLOAD, BEFOREHAND, TORCH_WHOLE, TORCH_2, TORCH_0)
_TURNS = ((FASTLOAD, BEFOREHAND), (TORCH_WHOLE,), (TORCH_2,), (TORCH_0,))  # the pair stays together

FIELDS = ("x", *CATEGORIES, "late")
LEARNING_RATE = 1e-3


class Run(NamedTuple):
    """One network trained through one loader: its epochs, and the validation AUC after each.

    num_threads : that torch computed on, the same for all loaders of a seed.
    """

    loader: str
    seed: int
    num_threads: int
    epochs: list[Epoch]
    auc: list[float]


class Summary(NamedTuple):
    """All runs of one loader: median and quartiles of all epochs; AUC after the last one, over the seeds."""

    loader: str
    epoch_s: float
    epoch_s_low: float
    epoch_s_high: float
    rows_per_s: float
    rows_per_s_low: float
    rows_per_s_high: float
    wait_share: float
    auc_mean: float
    auc_low: float
    auc_high: float


class RowDataset(torch.utils.data.Dataset):
    """What torch's documentation shows: one row a call, collated by torch.

    Scalars are handed over as int: of the ways to write this one, torch collates it fastest.
    """

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.x = columns["x"]
        self.scalars = {name: column.numpy() for name, column in columns.items() if name != "x"}

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> dict[str, Tensor | int]:
        return {"x": self.x[row], **{name: int(column[row]) for name, column in self.scalars.items()}}


class WholeBatchDataset(torch.utils.data.Dataset):
    """The fastest form torch knows: it hands over a batch's row numbers, and one index takes them all."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.columns = dict(columns)

    def __len__(self) -> int:
        return len(self.columns["x"])

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        index = torch.as_tensor(rows)
        return {name: column[index] for name, column in self.columns.items()}


def columns_of(dataset: Dataset) -> dict[str, Tensor]:
    """All rows of FIELDS in memory, in the file's order: x [rows, c], the others [rows]."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    for batch in dataset.select(*FIELDS).batches():
        for name in FIELDS:
            column = batch[name]
            parts[name].append(np.asarray(column.codes if isinstance(column, Categorical) else column))
    return {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in parts.items()}


def first_network(train: Dataset, seed: int) -> DelayNetwork:
    """The network before training, a function of the seed and the file's statistics alone."""
    x = train.statistics["x"]
    classes = train.statistics["late"].class_counts or {}
    late = classes.get(1, 0)
    with torch.random.fork_rng(devices=[]):  # the caller's generator stays where it was
        torch.manual_seed(seed)
        return DelayNetwork(
            x.mean,
            x.std,
            {name: len(train.categories(name)) for name in CATEGORIES},
            late_weight=(train.num_rows - late) / max(1, late),
        )


def compare(
    train: Dataset,
    validation: Dataset,
    *,
    num_seeds: int,
    num_epochs: int,
    batch_size: int,
    say: Callable[[str], None],
) -> list[Run]:
    """Train once per seed and loader, in turn epoch by epoch: a busy moment hits all loaders alike."""
    columns, unseen = columns_of(train), columns_of(validation)
    runs = []
    with _torch_threads_kept():
        for seed in range(num_seeds):
            num_threads = _faster_thread_count(train, columns, batch_size)
            torch.set_num_threads(num_threads)
            loaders = _loaders(train, columns, batch_size, seed)
            trained = {name: _network_and_optimizer(train, seed) for name in LOADERS}
            of_seed = {name: Run(name, seed, num_threads, [], []) for name in LOADERS}
            for number in range(num_epochs):
                for name in _in_turn(number):
                    batches: Iterable[Mapping[str, Tensor]] = loaders[name]
                    if name == BEFOREHAND:
                        batches = list(batches)
                    network, optimizer = trained[name]
                    of_seed[name].epochs.append(train_epoch(network, optimizer, batches))
                    of_seed[name].auc.append(area_under_curve(unseen["late"], scores(network, unseen)))
            runs += of_seed.values()
            shown = ", ".join(f"{name} {of_seed[name].auc[-1]:.4f}" for name in (FASTLOAD, TORCH_2))
            say(f"  seed {seed + 1} of {num_seeds}: validation AUC {shown}")
    return runs


def _in_turn(number: int) -> list[str]:
    """The loaders in the order of epoch `number`; it changes from epoch to epoch."""
    shift = number % len(_TURNS)
    return [
        name for group in _TURNS[shift:] + _TURNS[:shift] for name in (group if number % 2 == 0 else reversed(group))
    ]


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Whatever the block does to torch's number of threads is undone at its end."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _faster_thread_count(train: Dataset, columns: Mapping[str, Tensor], batch_size: int) -> int:
    """1, or the processors' number: tried on batches in memory.

    On an idle machine a second thread speeds this small network up by a quarter; where another program takes
    a processor, the threads wait for each other and an epoch takes ten times as long.
    """
    network, optimizer = _network_and_optimizer(train, 0)
    batches = list(_in_memory(columns, batch_size, num_batches=25))
    seconds: dict[int, list[float]] = {1: [], cpu_count(): []}
    for _ in range(6):
        for count in seconds:
            torch.set_num_threads(count)
            seconds[count].append(train_epoch(network, optimizer, batches).seconds)
    return min(seconds, key=lambda count: statistics.fmean(seconds[count][1:]))  # the first one settles


def _loaders(
    train: Dataset, columns: Mapping[str, Tensor], batch_size: int, seed: int
) -> dict[str, Iterable[Mapping[str, Tensor]]]:
    def generator() -> torch.Generator:  # its own, so that the caller's global one is not drawn from
        return torch.Generator().manual_seed(seed)

    def engine() -> DataLoader:
        return DataLoader(train.select(*FIELDS), batch_size, shuffle=True, seed=seed, generator=generator())

    def torch_loader(
        dataset: torch.utils.data.Dataset, num_workers: int, **more: object
    ) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(
            dataset,
            batch_size=batch_size,
            shuffle=True,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=generator(),
            **more,
        )

    return {
        FASTLOAD: engine(),
        BEFOREHAND: engine(),  # the same seed gives the same batches
        TORCH_WHOLE: torch_loader(WholeBatchDataset(columns), 0, collate_fn=_as_it_is),
        TORCH_2: torch_loader(RowDataset(columns), 2),
        TORCH_0: torch_loader(RowDataset(columns), 0),
    }


def _as_it_is(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return batch


def _network_and_optimizer(train: Dataset, seed: int) -> tuple[DelayNetwork, torch.optim.Optimizer]:
    network = first_network(train, seed)
    return network, torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)


def _in_memory(columns: Mapping[str, Tensor], batch_size: int, num_batches: int) -> Iterable[dict[str, Tensor]]:
    for start in range(0, min(num_batches * batch_size, len(columns["late"])), batch_size):
        yield {name: column[start : start + batch_size] for name, column in columns.items()}


def summarize(runs: Iterable[Run]) -> dict[str, Summary]:
    """Runs -> one Summary per loader, in the order of LOADERS."""
    runs = list(runs)
    found = {}
    for loader in LOADERS:
        own = [run for run in runs if run.loader == loader]
        seconds = [epoch.seconds for run in own for epoch in run.epochs]
        rates = [epoch.rows_per_s for run in own for epoch in run.epochs]
        last = [run.auc[-1] for run in own]
        found[loader] = Summary(
            loader,
            *np.percentile(seconds, (50, 25, 75)).tolist(),
            *np.percentile(rates, (50, 25, 75)).tolist(),
            statistics.median(epoch.wait_share for run in own for epoch in run.epochs),
            statistics.fmean(last), min(last), max(last),
        )  # fmt: skip
    return found


def overhead(runs: Iterable[Run]) -> float:
    """How much longer an epoch takes through fastload than with batches made beforehand (0.03 = 3 %).

    The median over the pairs of epochs that ran next to each other.
    """
    runs = list(runs)
    pairs = [
        (epoch.seconds, plain.seconds)
        for run in runs
        if run.loader == FASTLOAD
        for other in runs
        if other.loader == BEFOREHAND and other.seed == run.seed
        for epoch, plain in zip(run.epochs, other.epochs, strict=True)
    ]
    return statistics.median(ours / plain for ours, plain in pairs) - 1
