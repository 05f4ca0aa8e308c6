"""Loaders live well with their process: it forks, spawns, is interrupted, ends, and has many of them.

Forks and interrupts come at random moments; ``python tests/life.py`` is the long run of the same programs.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import children
import life
import numpy as np
import pytest
import torch
from processes import becomes, engine_threads

import fastload as fl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("life")
    life.write(path)
    return path


@pytest.mark.parametrize("kind", life.KINDS)
def test_a_process_may_fork_while_it_loads(folder: Path, kind: str) -> None:
    found = life.run(life.fork_under_load, kind, folder, 10, 1)
    assert not found.problems
    assert found.count == 10


@pytest.mark.parametrize("how", life.SIGNALS)
def test_a_signal_ends_a_program_with_the_right_code(folder: Path, how: str) -> None:
    found = life.run(life.end_by_signal, how, folder, 6, 2)
    assert not found.problems
    assert found.count == 6


def test_a_loop_that_was_interrupted_can_be_begun_anew(folder: Path) -> None:
    found = life.run(life.interrupt_and_go_on, folder, 16, 3)
    assert not found.problems
    assert found.count == 16


@pytest.mark.parametrize("way", life.LEAVING)
def test_an_interpreter_ends_whatever_its_loaders_do(folder: Path, way: str) -> None:
    found = life.run(life.end_as_interpreters_do, way, folder)
    assert not found.problems
    assert found.count == len(life.LEAVING[way][1])


@pytest.mark.parametrize("kind", life.KINDS)
def test_leaving_a_loop_leaves_nothing_behind(folder: Path, kind: str) -> None:
    assert becomes(life.loader_threads, 0)
    before = life.open_descriptors()
    for _ in range(5):
        loader = life.loader_of(kind, folder, num_workers=3)
        for number, _batch in enumerate(loader):
            if number == 1:
                break
        with pytest.raises(ZeroDivisionError):
            for _batch in loader:
                1 / 0  # noqa: B018
        iterator = iter(loader)
        next(iterator)
        del iterator
    life.check_pass(kind, loader)
    del loader, _batch
    assert becomes(life.loader_threads, 0)
    assert life.open_descriptors() == before


def test_interrupts_at_the_ends_of_passes_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that does little but begin and leave passes; Python would print what strikes a ``__del__``, and go on."""
    swallowed, sent, caught = [], 0, 0
    monkeypatch.setattr("sys.unraisablehook", swallowed.append)
    loader = fl.DataLoader(life.columns_of(life.FEW_ROWS), batch_size=100, shuffle=True, num_workers=1)
    while sent < 100:
        timer = threading.Timer(0.001 + 0.00001 * sent, signal_this_process)
        sent += 1
        try:
            timer.start()
            while timer.is_alive():
                for _ in loader:
                    break
            for _ in range(10**6):  # it comes at once: the kernel has it
                pass
        except KeyboardInterrupt:
            caught += 1
        timer.join()
    assert not swallowed
    assert caught == sent


def signal_this_process() -> None:
    os.kill(os.getpid(), 2)


def test_fifty_loaders_at_once(folder: Path) -> None:
    assert becomes(life.loader_threads, 0)
    before = life.open_descriptors()
    kinds = [life.KINDS[i % len(life.KINDS)] for i in range(50)]
    loaders = [life.loader_of(kind, folder, num_workers=1) for kind in kinds]
    passes = [iter(loader) for loader in loaders]
    for running in passes * 2:
        assert next(running)
    assert life.loader_threads() == sum(loader.num_workers for loader in loaders)
    del running, passes
    for kind, loader in zip(kinds[:6], loaders, strict=False):
        life.check_pass(kind, loader)
    del loader, loaders
    assert becomes(life.loader_threads, 0)
    assert life.open_descriptors() == before


# --- spawn ---------------------------------------------------------------------------------------


def rows_of(loader: Any) -> list[int]:
    return [int(row) for batch in loader for row in batch["row"]]


def rows_elsewhere(loader: Any, state: dict[str, Any] | None) -> list[int]:
    if state is not None:
        loader.load_state_dict(state)
    return rows_of(loader)


def rows_by_torch(dataset: fl.Dataset) -> list[int]:
    return rows_of(fl.DataLoader(dataset, batch_size=1000))


@pytest.fixture(scope="module")
def spawned() -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


@pytest.mark.parametrize("kind", ["windows", "persistent", "named rows", "caller's thread", "short passes"])
def test_a_spawned_process_gets_a_used_loader(folder: Path, spawned: Any, kind: str) -> None:
    """Its options and its place among the epochs; a state says where in an epoch."""
    loader = life.loader_of(kind, folder)
    running = iter(loader)
    next(running)
    whole = spawned.apply(rows_elsewhere, (loader, None))
    rest = spawned.apply(rows_elsewhere, (loader, loader.state_dict()))
    assert rest == rows_of(running)  # not disturbed by having been pickled
    assert whole == rows_of(loader)
    assert len(rest) == len(whole) - 1000


def test_a_spawned_process_gets_data_sets(folder: Path, spawned: Any) -> None:
    dataset = fl.open(folder / "rows.fl").select("row")
    assert dataset[7]["row"] == 7
    assert spawned.apply(rows_by_torch, (dataset,)) == list(range(life.ROWS))
    iterable = fl.IterableDataset(dataset, batch_size=5000, shuffle=True, seed=3)
    assert spawned.apply(rows_of, (iterable,)) == rows_of(iterable)


@pytest.mark.parametrize("persistent_workers", [False, True])
@pytest.mark.parametrize("of", ["TensorDataset", "dict", "sampler"])
def test_tensors_may_move_between_passes(of: str, persistent_workers: bool) -> None:
    """As they do where a torch worker is given them."""
    x = torch.arange(100_000)
    data = {"x": x} if of == "dict" else torch.utils.data.TensorDataset(x)
    options: dict[str, Any] = {"sampler": range(100_000)} if of == "sampler" else {"shuffle": True, "seed": 1}
    loader = fl.DataLoader(data, batch_size=1000, num_workers=1, persistent_workers=persistent_workers, **options)
    assert sum(int(rows[0 if of != "dict" else "x"].sum()) for rows in loader) == int(x.sum())
    wanted = int(loader.dataset[99_999]["x" if of == "dict" else 0])
    pickle.loads(pickle.dumps(loader))
    x.share_memory_()
    noise = [torch.full((100_000,), 7) for _ in range(3)]  # where they lay before
    assert sum(int(rows[0 if of != "dict" else "x"].sum()) for rows in loader) == int(x.sum())
    assert int(loader.dataset[99_999]["x" if of == "dict" else 0]) == wanted
    x[0] = 17
    assert sum(int(rows[0 if of != "dict" else "x"].sum()) for rows in pickle.loads(pickle.dumps(loader))) == int(
        x.sum()
    )
    del noise


def test_an_iterator_under_way_is_not_pickled(folder: Path) -> None:
    with pytest.raises(NotImplementedError, match="cannot be pickled"):
        pickle.dumps(iter(life.loader_of("windows", folder)))


# --- processors ----------------------------------------------------------------------------------


def threads_on(folder: Path, processors: int) -> tuple[int, int]:
    """What a loader counts as its threads where so many processors may be used, and the threads there are."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:processors])
    loader = fl.DataLoader(folder / "rows.fl", batch_size=1000, shuffle=True)
    running = iter(loader)
    assert np.isfinite(next(running)["x"].numpy()).all()
    return loader.num_workers, engine_threads()


def test_threads_are_bounded_by_the_processors_that_may_be_used(folder: Path) -> None:
    assert children.call(threads_on, folder, 1) == (1, 1)
    usable = min(4, len(os.sched_getaffinity(0)))
    assert children.call(threads_on, folder, 64) == (usable, usable)
