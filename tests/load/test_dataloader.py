"""fastload.DataLoader delivers every row once, whole, in an order that depends on the seed and nothing else."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import RandomSampler, SequentialSampler, TensorDataset, WeightedRandomSampler

import fastload as fl
from fastload import _core, errors

SMALL = 20_000  # bytes: a few blocks of the fixture's


def rows_of(loader) -> list[int]:
    return [int(r) for batch in loader for r in batch["row"]]


def check_batch(batch, columns) -> None:
    """All values of a batch belong to the rows it names."""
    rows = batch["row"].numpy()
    for name in ("x", "image", "flag"):
        np.testing.assert_array_equal(batch[name].numpy(), columns[name][rows])
    np.testing.assert_array_equal(batch["maybe_valid"].numpy(), ~columns["maybe"].mask[rows])
    np.testing.assert_array_equal(batch["maybe"].numpy(), columns["maybe"].filled(np.nan)[rows])
    lengths = [len(columns["tokens"][r]) for r in rows]
    assert batch["tokens_lengths"].tolist() == lengths
    assert batch["tokens"].shape == (len(rows), max(lengths))
    for i, r in enumerate(rows):
        assert batch["tokens"][i, : lengths[i]].tolist() == columns["tokens"][r].tolist()
        assert not batch["tokens"][i, lengths[i] :].any()
        assert batch["text"][i] == columns["text"][r]


@pytest.mark.parametrize("num_workers", [0, 1, 2, 4])
@pytest.mark.parametrize("memory_bytes", [1 << 30, SMALL])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_row_comes_once_with_its_values(dataset, columns, num_workers, memory_bytes, shuffle):
    loader = fl.DataLoader(
        dataset, batch_size=64, shuffle=shuffle, num_workers=num_workers, seed=5, memory_bytes=memory_bytes
    )
    for _ in range(2):
        batches = list(loader)
        for batch in batches:
            check_batch(batch, columns)
        rows = [int(r) for batch in batches for r in batch["row"]]
        assert sorted(rows) == list(range(len(dataset)))
        assert (rows == sorted(rows)) is not shuffle
        assert len(batches) == len(loader) == 16


@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 1200),
    drop_last=st.booleans(),
    memory_bytes=st.integers(5_000, 200_000),
    num_workers=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_sizes_of_batches(tmp_path_factory, batch_size, drop_last, memory_bytes, num_workers, shuffle):
    path = tmp_path_factory.getbasetemp() / "sizes.fl"
    if not path.exists():
        fl.write(path, {"row": np.arange(1000), "x": np.zeros((1000, 4), np.float32)}, block_bytes=3000)
    loader = fl.DataLoader(
        path, batch_size, shuffle, drop_last=drop_last, memory_bytes=memory_bytes, num_workers=num_workers
    )
    sizes = [len(batch["row"]) for batch in loader]
    whole, rest = divmod(1000, batch_size)
    assert sizes == [batch_size] * whole + ([rest] if rest and not drop_last else [])
    assert len(sizes) == len(loader)


def test_order_depends_on_seed_and_epoch_alone(dataset):
    def order(seed, epoch=0, **options):
        loader = fl.DataLoader(dataset, batch_size=50, shuffle=True, seed=seed, **options)
        loader.set_epoch(epoch)
        return rows_of(loader)

    first = order(1)
    assert first == order(1, num_workers=0) == order(1, num_workers=4)
    assert first != order(2)
    assert first != order(1, epoch=1)
    loader = fl.DataLoader(dataset, batch_size=50, shuffle=True, seed=1)
    assert [rows_of(loader), rows_of(loader)] == [first, order(1, epoch=1)]


def test_windows_mix_less_and_say_so(tmp_path):
    path = tmp_path / "mix.fl"
    fl.write(path, {"row": np.arange(20_000), "x": np.zeros((20_000, 16), np.float32)}, block_bytes=7000)
    whole = fl.DataLoader(path, batch_size=100, shuffle=True, seed=0)
    windowed = fl.DataLoader(path, batch_size=100, shuffle=True, seed=0, memory_bytes=150_000)
    file_order = fl.DataLoader(path, batch_size=100)
    for loader in (whole, windowed, file_order):
        assert sorted(rows_of(loader)) == list(range(20_000))
    assert whole.stats()["order"] == "permutation"
    assert 0.95 < whole.stats()["mix"] < 1.05
    assert windowed.stats()["order"] == "windowed"
    assert 0.1 < windowed.stats()["mix"] < 0.5
    assert windowed.stats()["window_rows"] <= 150_000 / (16 * 4 + 8)
    assert file_order.stats()["order"] == "sequential"
    assert file_order.stats()["mix"] < 0.05


def test_batches_own_their_memory(dataset, columns):
    loader = fl.DataLoader(dataset, batch_size=32, shuffle=True, num_workers=2)
    kept = list(loader)
    for _ in loader:  # would overwrite recycled memory
        pass
    for batch in kept:
        check_batch(batch, columns)
        assert batch["x"].data_ptr() % 64 == 0
        batch["x"].add_(1)  # writable, and nobody else's
    assert len({batch["x"].data_ptr() for batch in kept}) == len(kept)
    del loader
    gc.collect()
    assert kept[0]["x"].sum() != 0


def test_tensor_dataset_gives_what_torch_gives():
    x, y = torch.arange(60.0).reshape(20, 3), torch.arange(20)
    ours = list(fl.DataLoader(TensorDataset(x, y), batch_size=8))
    theirs = list(TorchDataLoader(TensorDataset(x, y), batch_size=8))
    assert all(isinstance(batch, list) for batch in ours)
    for mine, torchs in zip(ours, theirs, strict=True):
        for a, b in zip(mine, torchs, strict=True):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b)
    shuffled = fl.DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True, seed=0)
    for values, labels in shuffled:
        torch.testing.assert_close(values, x[labels])


@pytest.mark.parametrize("make", [dict, tuple, list])
def test_arrays_in_memory(make):
    x, row = np.arange(30, dtype=np.float64).reshape(10, 3), torch.arange(10)
    data = {"x": x, "row": row} if make is dict else make([x, row])
    loader = fl.DataLoader(data, batch_size=4, shuffle=True)
    for batch in loader:
        values, rows = (batch["x"], batch["row"]) if make is dict else batch
        np.testing.assert_array_equal(values.numpy(), x[rows])
    x[0] = 99  # gathered where they lie: no copy was taken
    assert any((values == 99).any() for values in ((b["x"] if make is dict else b[0]) for b in loader))


def test_every_tensor_dtype_comes_back():
    dtypes = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32,
              torch.float64]  # fmt: skip
    data = {str(d): torch.ones(4, d is torch.bool or 1, dtype=d) for d in dtypes}
    (batch,) = fl.DataLoader(data, batch_size=4)
    assert [batch[str(d)].dtype for d in dtypes] == dtypes


def test_bfloat16_from_a_file(tmp_path):
    bits = torch.linspace(-3, 3, 8).to(torch.bfloat16).view(torch.uint16).numpy()
    ds = fl.write(tmp_path / "b.fl", {"x": bits}, schema=[fl.Field("x", "bfloat16")])
    (batch,) = fl.DataLoader(ds, batch_size=8)
    torch.testing.assert_close(batch["x"], torch.linspace(-3, 3, 8).to(torch.bfloat16))


def test_tuple_rows_come_as_lists(dataset, columns):
    batch = next(iter(fl.DataLoader(dataset.astuple("x", "row"), batch_size=7)))
    assert isinstance(batch, list)
    np.testing.assert_array_equal(batch[0].numpy(), columns["x"][:7])


class Squares(TorchDataset):
    """A data set of the user's own."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        return {"index": index, "square": torch.tensor(float(index * index))}


def test_foreign_data_sets_are_served_by_torch():
    ours, theirs = fl.DataLoader(Squares(), batch_size=3), TorchDataLoader(Squares(), batch_size=3)
    assert ours.num_workers == 0
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert ours.stats()["order"] == "torch"


def test_no_batching_is_served_by_torch(dataset):
    samples = list(fl.DataLoader(dataset.select("row", "x"), batch_size=None))
    assert len(samples) == len(dataset)
    assert samples[7]["x"].shape == (5,)


class Backwards:
    """A sampler of the user's own."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self):
        return iter(range(self.n - 1, -1, -1))

    def __len__(self) -> int:
        return self.n


@pytest.mark.parametrize("num_workers", [0, 2])
def test_samplers_name_the_rows(dataset, columns, num_workers):
    loader = fl.DataLoader(dataset, batch_size=30, sampler=Backwards(len(dataset)), num_workers=num_workers)
    batches = list(loader)
    for batch in batches:
        check_batch(batch, columns)
    assert [int(r) for b in batches for r in b["row"]] == list(range(len(dataset) - 1, -1, -1))
    assert loader.stats()["order"] == "sampler"
    lists = [[5, 3], [999], [0, 0, 1]]
    by_lists = fl.DataLoader(dataset, batch_sampler=lists, num_workers=num_workers)
    assert [b["row"].tolist() for b in by_lists] == lists
    assert len(by_lists) == 3


def test_torchs_own_samplers_become_native_orders(dataset):
    assert rows_of(fl.DataLoader(dataset, batch_size=9, sampler=SequentialSampler(dataset))) == list(range(1000))
    random = fl.DataLoader(dataset, batch_size=9, sampler=RandomSampler(dataset))
    assert sorted(rows_of(random)) == list(range(1000))
    assert random.stats()["order"] == "permutation"
    weighted = fl.DataLoader(dataset, batch_size=9, sampler=WeightedRandomSampler([0.0] * 999 + [1.0], 20))
    assert rows_of(weighted) == [999] * 20
    replaced = fl.DataLoader(dataset, batch_size=9, sampler=RandomSampler(dataset, replacement=True, num_samples=50))
    assert len(rows_of(replaced)) == 50


def test_collate_fn_gets_the_list_of_samples(dataset, columns):
    seen = []

    def collate(samples):
        seen.append(samples)
        return len(samples)

    assert list(fl.DataLoader(dataset, batch_size=300, collate_fn=collate)) == [300, 300, 300, 100]
    sample = seen[1][5]
    assert sample["row"] == 305
    assert sample["text"] == columns["text"][305]
    np.testing.assert_array_equal(sample["tokens"], columns["tokens"][305])
    x = torch.arange(6.0).reshape(3, 2)
    (rows,) = fl.DataLoader(TensorDataset(x, torch.arange(3)), batch_size=3, collate_fn=list)
    assert all(isinstance(r, tuple) and torch.equal(r[0], x[i]) for i, r in enumerate(rows))


def test_draws_from_torchs_generators_as_torch_does(dataset):
    """A script's later random numbers stay what they were."""
    for shuffle in (False, True):
        for with_generator in (False, True):
            states = []
            for kind in (fl.DataLoader, TorchDataLoader):
                torch.manual_seed(3)
                generator = torch.Generator().manual_seed(4) if with_generator else None
                loader = kind(dataset.select("row"), batch_size=500, shuffle=shuffle, generator=generator)
                for _ in loader:
                    pass
                states.append(torch.get_rng_state())
            assert torch.equal(*states)
    torch.manual_seed(7)
    first = rows_of(fl.DataLoader(dataset, batch_size=100, shuffle=True))
    torch.manual_seed(7)
    assert first == rows_of(fl.DataLoader(dataset, batch_size=100, shuffle=True))
    assert first != rows_of(fl.DataLoader(dataset, batch_size=100, shuffle=True))


@pytest.mark.parametrize("memory_bytes", [1 << 30, SMALL])
def test_persistent_workers_prepare_the_next_epoch_in_the_same_order(dataset, memory_bytes):
    options = {"batch_size": 64, "shuffle": True, "seed": 9, "memory_bytes": memory_bytes, "num_workers": 2}
    plain, ahead = fl.DataLoader(dataset, **options), fl.DataLoader(dataset, persistent_workers=True, **options)
    for _ in range(3):
        assert rows_of(plain) == rows_of(ahead)
    iterator = iter(ahead)
    next(iterator)
    del iterator  # left in the middle
    next(iter(plain))
    assert rows_of(plain) == rows_of(ahead)
    ahead.set_epoch(0)
    plain.set_epoch(0)
    assert rows_of(plain) == rows_of(ahead)


@pytest.mark.parametrize("memory_bytes", [1 << 30, SMALL])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_iterators_may_live_at_once(dataset, memory_bytes, num_workers):
    loader = fl.DataLoader(
        dataset, batch_size=64, shuffle=True, seed=2, memory_bytes=memory_bytes, num_workers=num_workers
    )
    first, second = iter(loader), iter(loader)
    rows = [[], []]
    for a, b in zip(first, second, strict=True):
        rows[0] += a["row"].tolist()
        rows[1] += b["row"].tolist()
    assert sorted(rows[0]) == sorted(rows[1]) == list(range(1000))
    assert rows[0] != rows[1]


def test_a_damaged_block_is_an_error_at_its_batch(tmp_path):
    path = tmp_path / "bad.fl"
    ds = fl.write(path, {"row": np.arange(10_000)}, codec="raw", block_bytes=8000)
    (shard,) = path.glob("*.flb")
    content = bytearray(shard.read_bytes())
    content[128 + 8 * 5500] ^= 1  # row 5500, block 5
    shard.write_bytes(content)
    delivered = []
    loader = fl.DataLoader(ds, batch_size=500, num_workers=2)
    with pytest.raises(errors.ChecksumError, match=r"block 5, field 'row'.*restore"):
        for batch in loader:
            delivered += batch["row"].tolist()
    assert delivered == list(range(len(delivered)))
    assert len(delivered) <= 5000
    with pytest.raises(errors.ChecksumError):
        list(fl.DataLoader(ds, batch_size=500, shuffle=True))


def test_works_in_a_forked_child(dataset):
    loader = fl.DataLoader(dataset, batch_size=100, shuffle=True, seed=1, num_workers=2)
    expected = rows_of(loader)
    running = iter(loader)
    next(running)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            loader.set_epoch(0)
            same = rows_of(loader) == expected and dataset[5]["row"] == 5
            try:
                next(running)
            except errors.ClosedError:
                code = 0 if same else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(running)) == 9


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_iterable_dataset_under_torchs_loader(dataset, workers, shuffle):
    iterable = fl.IterableDataset(dataset.select("row", "x"), batch_size=64, shuffle=shuffle)
    loader = TorchDataLoader(iterable, batch_size=None, num_workers=workers)
    for _ in range(2):
        assert sorted(rows_of(loader)) == list(range(1000))


def test_iterable_dataset_is_repeatable_with_a_seed(dataset):
    first = fl.IterableDataset(dataset, batch_size=64, shuffle=True, seed=3)
    again = fl.IterableDataset(str(dataset.path), batch_size=64, shuffle=True, seed=3)
    epochs = [rows_of(first), rows_of(first)]
    assert epochs == [rows_of(again), rows_of(again)]
    assert epochs[0] != epochs[1]
    again.set_epoch(1)
    assert rows_of(again) == epochs[1]


def test_the_data_set_alone_serves_torchs_loader(dataset):
    """What a framework that rebuilds the loader gets."""
    loader = TorchDataLoader(pickle.loads(pickle.dumps(dataset.select("row", "x"))), batch_size=64, num_workers=2)
    assert rows_of(loader) == list(range(1000))


def test_batches_that_wait_are_counted_only_where_a_factor_is_given(dataset, monkeypatch):
    engine, limits = _core.Engine, []
    monkeypatch.setattr(
        _core, "Engine", lambda *args, **options: limits.append(options["prefetch_batches"]) or engine(*args, **options)
    )
    for factor in (None, 3):
        list(fl.DataLoader(dataset, batch_size=10, num_workers=2, prefetch_factor=factor))
    assert limits == [0, 6]  # 0: as many as fit, though torch's own default is 2 for each worker


@pytest.mark.parametrize("memory_bytes", [40_000, 1 << 30])
def test_a_sampler_that_makes_loading_slow_is_said_once(dataset, memory_bytes, request):
    loader = fl.DataLoader(dataset, batch_size=10, sampler=[3, 999, 4], memory_bytes=memory_bytes)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert rows_of(loader) == rows_of(loader) == [3, 999, 4]
    is_slow = memory_bytes < 1 << 30 and "lz4" in request.node.name
    assert [str(w.message).split(",")[0] for w in seen] == ["a sampler names the rows"] * is_slow
    assert all(w.filename == __file__ for w in seen)


class Restarting:
    """A batch sampler that is its own iterator and begins anew at every iter(), as Lightning's that notes the indices."""

    def __len__(self):
        return 40

    def __iter__(self):
        self.rest = iter(range(0, 1000, 25))
        return self

    def __next__(self):
        first = next(self.rest)
        return list(range(first, first + 25))


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_sampler_is_asked_for_one_iterator_a_pass(dataset, num_workers):
    loader = fl.DataLoader(dataset, batch_sampler=Restarting(), num_workers=num_workers)
    assert rows_of(loader) == rows_of(loader) == list(range(1000))


def test_interrupt_ends_the_program_at_once(dataset):
    program = f"""
        import fastload as fl, sys
        loader = fl.DataLoader({str(dataset.path)!r}, batch_size=10, shuffle=True)
        print("running", flush=True)
        while True:
            for batch in loader:
                pass
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "running\n"
    time.sleep(0.3)
    asked_at = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, errors_seen = child.communicate(timeout=30)
    assert time.monotonic() - asked_at < 5  # not a measure of speed: it must not hang
    assert "KeyboardInterrupt" in errors_seen
    assert child.returncode in (1, -signal.SIGINT, 130)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": 2.5}, errors.ArgumentError, "batch_size must be an integer"),
        ({"batch_size": "8"}, errors.ArgumentError, "batch_size must be an integer"),
        ({"num_workers": -1}, ValueError, "num_workers"),
        ({"shuffle": True, "sampler": [0]}, ValueError, "mutually exclusive"),
        ({"prefetch_factor": 0}, errors.ArgumentError, "prefetch_factor must be at least 1"),
        ({"num_workers": 0, "prefetch_factor": 2}, ValueError, "prefetch_factor"),
        ({"num_workers": 0, "persistent_workers": True}, ValueError, "persistent_workers"),
        ({"seed": 1.5}, errors.ArgumentError, "seed must be an integer"),
        ({"memory_bytes": 0}, errors.ArgumentError, "memory_bytes must be a positive"),
    ],
)
def test_bad_arguments(dataset, options, error, message):
    with pytest.raises(error, match=message):
        fl.DataLoader(dataset, **options)


def test_bad_data():
    with pytest.raises(errors.EmptyError, match="at least one row"):
        fl.DataLoader({"x": np.empty((0, 3))})
    with pytest.raises(errors.ShapeError, match="equally many rows, got x: 3, y: 2"):
        fl.DataLoader({"x": np.zeros(3), "y": np.zeros(2)})
    with pytest.raises(errors.DtypeError, match="complex"):
        fl.DataLoader({"x": np.zeros(3, complex)})
    with pytest.raises(errors.NotADatasetError, match="does not exist"):
        fl.DataLoader("/nowhere/at/all.fl")


def test_too_small_a_budget_says_what_is_needed(dataset):
    loader = fl.DataLoader(dataset, batch_size=10, shuffle=True, memory_bytes=100)
    if dataset.field_sizes()["row"].raw_chunks:
        return  # stored raw: needs no memory
    with pytest.raises(
        errors.ArgumentError, match=r"must hold the largest decoded block, which has \d+ bytes; got 100"
    ):
        next(iter(loader))


def test_worker_arguments_that_mean_nothing_are_said_once(dataset):
    with pytest.warns(UserWarning, match="worker_init_fn is for worker processes"):
        fl.DataLoader(dataset, worker_init_fn=print)


def test_it_is_torchs_class(dataset):
    loader = fl.DataLoader(dataset, batch_size=10)
    assert isinstance(loader, TorchDataLoader)
    assert fl.DataLoader[int]
    with pytest.raises(ValueError, match="batch_size"):
        loader.batch_size = 3
