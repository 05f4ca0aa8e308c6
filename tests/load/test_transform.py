"""Transforms in the loader: the same as on arrays, whatever the threads, ranks and batches."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import fastload as fl
from fastload.errors import ArgumentError, NotFittedError, RefusedValueError, UnknownFieldError

ROWS = 3000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    x = rng.normal([1, 20, -300], [1, 5, 70], size=(ROWS, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    columns = {
        "row": np.arange(ROWS),
        "x": x,
        "n": np.ma.MaskedArray(rng.integers(0, 100, ROWS), rng.random(ROWS) < 0.1),
        "image": rng.integers(0, 256, (ROWS, 8, 8, 3), np.uint8),
        "kind": fl.Categorical(rng.integers(0, 3, ROWS).astype(np.int32), ["a", "b", "c"]),
        "tokens": [np.arange(i % 5, dtype=np.int32) for i in range(ROWS)],
    }
    path = tmp_path_factory.mktemp("transform") / "d.fl"
    return fl.write(path, columns, codec="lz4", block_bytes=16 << 10), columns


def rows_of(loader, name):
    """[rows, ...] of a field, in the order of the data set."""
    batches = list(loader)
    rows = torch.cat([b["row"] for b in batches])
    values = torch.cat([b[name] for b in batches])
    return values[torch.argsort(rows)]


@pytest.mark.parametrize("threads", [0, 1, 2, 4])
@pytest.mark.parametrize("memory_bytes", [1 << 30, 256 << 10])
def test_statistics_of_the_file_suffice(data, threads, memory_bytes):
    dataset, columns = data
    transform = {"x": [fl.Impute(), fl.Normalize()]}
    loader = fl.DataLoader(
        dataset,
        batch_size=100,
        shuffle=True,
        seed=1,
        num_workers=threads,
        memory_bytes=memory_bytes,
        transform=transform,
    )
    expected = fl.Normalize().fit(columns["x"]).transform(fl.Impute().fit_transform(columns["x"]))
    got = rows_of(loader, "x")
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)
    assert got.dtype == torch.float32
    assert loader.audit().is_complete


def test_named_rows_and_tuples_and_samples(data):
    dataset, columns = data
    x = fl.Normalize().fit(columns["x"])
    expected = torch.from_numpy(x.transform(columns["x"])).nan_to_num()
    by_sampler = fl.DataLoader(dataset, batch_size=64, sampler=list(range(ROWS))[::-1], transform={"x": x})
    assert torch.equal(rows_of(by_sampler, "x").nan_to_num(), expected)
    in_memory = fl.DataLoader(
        {"x": columns["x"], "row": columns["row"]}, batch_size=64, shuffle=True, transform={"x": x}
    )
    assert torch.equal(rows_of(in_memory, "x").nan_to_num(), expected)
    tuples = fl.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(columns["x"])), batch_size=ROWS, transform={"0": x}
    )
    assert torch.equal(next(iter(tuples))[0].nan_to_num(), expected)
    samples = fl.DataLoader(dataset.select("x"), batch_size=4, collate_fn=list, transform={"x": x})
    np.testing.assert_array_equal(np.nan_to_num(next(iter(samples))[1]["x"]), expected[1].numpy())


def test_nulls_masks_and_dtypes(data):
    dataset, columns = data
    loader = fl.DataLoader(
        dataset,
        batch_size=128,
        shuffle=True,
        transform={
            "n": [fl.Impute("constant", fill_value=-1, add_mask=True)],
            "x": [fl.Impute(add_mask=True), fl.Cast("bfloat16")],
        },
    )
    batches = list(loader)
    n = torch.cat([b["n"] for b in batches])
    assert n.dtype == torch.int64
    missing = torch.cat([b["n_missing"] for b in batches])
    assert torch.equal(missing, n == -1)
    assert torch.equal(missing, ~torch.cat([b["n_valid"] for b in batches]))
    assert missing.sum() == columns["n"].mask.sum()
    assert batches[0]["x"].dtype == torch.bfloat16
    assert not torch.cat([b["x"] for b in batches]).isnan().any()
    assert torch.equal(rows_of(loader, "x_missing"), torch.from_numpy(np.isnan(columns["x"])))


def test_categories_come_from_the_dictionary(data):
    dataset, columns = data
    one_hot = rows_of(fl.DataLoader(dataset, batch_size=77, transform={"kind": fl.OneHot()}), "kind")
    assert torch.equal(one_hot.argmax(dim=1), torch.from_numpy(columns["kind"].codes).long())
    assert one_hot.shape == (ROWS, 3)


AUGMENT = {
    "copied": [fl.RandomCrop(8, padding=2), fl.RandomFlip(0.5, 0.5), fl.RandomErase(), fl.Normalize()],
    "warped": [fl.RandomRotate(30, scale=(0.8, 1.2)), fl.RandomFlip(), fl.Normalize(), fl.Cast("float16")],
}


@pytest.mark.parametrize("kind", AUGMENT)
def test_draws_depend_on_seed_epoch_and_row_alone(data, kind):
    dataset, columns = data
    options = {"batch_size": 50, "shuffle": True, "seed": 7, "transform": {"image": AUGMENT[kind]}}
    one = fl.DataLoader(dataset, num_workers=1, **options)
    first = rows_of(one, "image")
    second = rows_of(one, "image")
    assert first.shape == (ROWS, 3, 8, 8)
    assert not torch.equal(first, second)
    expected = fl.Compose(list(AUGMENT[kind]))
    expected.transforms[-1 if kind == "copied" else 2] = fl.Normalize().fit(dataset.select("image"))
    by_array = expected.transform(columns["image"], seed=7, epoch=0)
    assert torch.equal(first, torch.from_numpy(by_array))
    for changes in ({"num_workers": 0}, {"num_workers": 4, "batch_size": 33}, {"memory_bytes": 1 << 20}):
        again = fl.DataLoader(dataset, **{**options, **changes})
        assert torch.equal(rows_of(again, "image"), first)
        assert torch.equal(rows_of(again, "image"), second)
    ranks = [fl.DataLoader(dataset, rank=r, world_size=3, ends="wrap", **options) for r in range(3)]
    batches = [b for rank in ranks for b in rank]
    rows = torch.cat([b["row"] for b in batches])
    assert torch.equal(torch.cat([b["image"] for b in batches]), first[rows])


def test_python_functions_run_last_and_are_shown(data):
    dataset, _ = data
    loader = fl.DataLoader(dataset, batch_size=500, transform={"x": fl.Normalize(), "row": lambda rows: rows * 2})
    assert next(iter(loader))["row"][:3].tolist() == [0, 2, 4]
    whole = fl.DataLoader(dataset, batch_size=500, transform=lambda batch: {"z": batch["x"].nan_to_num().sum()})
    batches = list(whole)
    assert list(batches[0]) == ["z"]
    assert whole.stats()["stages_s"]["transform"] > 0
    assert whole.stats()["stages_s"]["kernels"] == 0


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"num_workers": 0}, {"sampler": list(range(ROWS))}])
def test_the_kernels_time_is_a_stage(data, options):
    loader = fl.DataLoader(data[0], batch_size=500, transform={"image": fl.RandomRotate(30)}, **options)
    list(loader)
    assert loader.stats()["stages_s"]["kernels"] > 0
    assert loader.stats()["stages_s"]["transform"] == 0


def test_a_refused_value_names_field_and_row_and_the_pass_goes_on(data):
    dataset, columns = data
    encode = fl.Ordinal(categories=[v for v in range(100) if v != 37])
    bad = set(np.flatnonzero(columns["n"].data == 37)[~columns["n"].mask[columns["n"].data == 37]])
    encode.encoded_missing_value = -1
    for options in ({"num_workers": 2}, {"num_workers": 0}, {"sampler": list(range(ROWS))}):
        iterator = iter(fl.DataLoader(dataset, batch_size=100, transform={"n": encode}, **options))
        good, messages = 0, []
        while True:
            try:
                good += len(next(iterator)["n"])
            except StopIteration:
                break
            except RefusedValueError as error:
                messages.append(str(error))
        assert all("field 'n', row " in message for message in messages)
        assert {int(message.split("row ")[1].split(":")[0]) for message in messages} <= bad
        assert good + len(messages) * 100 == ROWS
        assert len(messages) == len({row // 100 for row in bad})


def test_resume_in_the_middle_draws_the_same(data):
    dataset, _ = data
    options = {"batch_size": 100, "shuffle": True, "seed": 3, "transform": {"image": fl.RandomFlip()}}
    whole = fl.DataLoader(dataset, **options)
    batches = list(whole)
    part = fl.DataLoader(dataset, **options)
    iterator = iter(part)
    for _ in range(7):
        next(iterator)
    again = pickle.loads(pickle.dumps(fl.DataLoader(dataset, **options)))
    again.load_state_dict(part.state_dict())
    for expected, got in zip(batches[7:], again, strict=True):
        assert torch.equal(expected["image"], got["image"])


def test_wrong_input(data):
    dataset, columns = data
    with pytest.raises(UnknownFieldError, match="'z'"):
        fl.DataLoader(dataset, transform={"z": fl.Normalize()})
    with pytest.raises(NotFittedError):
        fl.DataLoader({"x": columns["x"]}, transform={"x": fl.Normalize()})
    with pytest.raises(NotFittedError, match="median"):
        fl.DataLoader(dataset, transform={"x": fl.Normalize("robust")})
    with pytest.raises(ArgumentError, match="which field"):
        fl.DataLoader(dataset, transform=fl.Normalize())
    with pytest.raises(ArgumentError, match="must be a transform"):
        fl.DataLoader(dataset, transform={"x": 3})
    with pytest.raises(ArgumentError, match="variable length"):
        fl.DataLoader(dataset, transform={"tokens": fl.Clip(0, 1)})
    with pytest.raises(ArgumentError, match="torch's own machinery"):
        fl.DataLoader([1, 2, 3], transform={"x": fl.Normalize()})
    with pytest.raises(ArgumentError, match="exclude"):
        fl.DataLoader(dataset.select("tokens"), packing=fl.Packing(8), transform={"tokens": len})


def test_numba_is_imported_only_for_transforms(data):
    dataset, _ = data
    program = (
        "import sys, fastload as fl\n"
        f"data = fl.open({str(dataset.path)!r})\n"
        "list(fl.DataLoader(data, batch_size=100, shuffle=True))\n"
        "assert 'numba' not in sys.modules\n"
        "list(fl.DataLoader(data, batch_size=100, transform={'row': lambda x: x}))\n"
        "assert 'numba' not in sys.modules\n"
        "loader = fl.DataLoader(data, batch_size=100, shuffle=True, transform={'x': fl.Normalize()})\n"
        "batches = iter(loader)\n"
        "next(batches)\n"
        "assert 'numba' in sys.modules\n"  # and it ends in the middle of a pass, with kernels running
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nulls_of_halves_and_the_most_frequent_category(tmp_path):
    """float16 is widened first, and what lies under a mask is not taken for a value."""
    halves = np.ma.MaskedArray(np.full((9, 2), 7, np.float16), [[i % 3 == 0] * 2 for i in range(9)])
    kinds = fl.Categorical(np.array([1, 1, 2, 0, 1, 1, 2, 0, 1], np.int32), ["a", "b", "c"])
    transform = {"h": fl.Impute("constant", fill_value=-1, add_mask=True)}
    for rows in ({"h": halves}, fl.write(tmp_path / "h.fl", {"h": halves})):
        batch = next(iter(fl.DataLoader(rows, batch_size=9, transform=transform)))
        assert batch["h"].dtype == torch.float16
        assert batch["h"][:, 0].tolist() == [-1, 7, 7] * 3
        assert batch["h_missing"][:, 1].tolist() == [True, False, False] * 3
    data = fl.write(tmp_path / "k.fl", {"kind": kinds})
    loader = fl.DataLoader(data, batch_size=9, transform={"kind": fl.Impute("most_frequent")})
    assert next(iter(loader))["kind"].tolist() == kinds.codes.tolist()


def test_a_function_for_a_field_needs_names(data):
    dataset, _ = data
    with pytest.raises(ArgumentError, match="whole batch"):
        fl.IterableDataset(dataset.select("x").astuple(), 10, transform={"x": len})


@pytest.mark.parametrize("workers", [0, 2])
def test_iterable_dataset(data, workers):
    dataset, _ = data
    transform = {"image": [fl.RandomFlip(), fl.Normalize()]}
    iterable = fl.IterableDataset(dataset.select("row", "image"), 100, shuffle=True, seed=7, transform=transform)
    with_torch = torch.utils.data.DataLoader(iterable, batch_size=None, num_workers=workers)
    options = {"batch_size": 100, "shuffle": True, "seed": 7, "transform": transform}
    assert torch.equal(rows_of(with_torch, "image"), rows_of(fl.DataLoader(dataset, **options), "image"))
