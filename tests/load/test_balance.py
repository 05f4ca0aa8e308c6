"""Balanced classes in the loader: the same rows whatever the threads, ranks and memory, and SMOTE's."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch
from fake_device import FakeMover

import fastload as fl
from fastload.errors import ArgumentError, DtypeError, StateError, StrategyError, TooFewRowsError, UnknownFieldError
from fastload.load import neighbor_table

ROWS, RARE = 2000, 60


def make_columns():
    rng = np.random.default_rng(0)
    y = np.zeros(ROWS, np.int64)
    y[rng.choice(ROWS, RARE, replace=False)] = 1
    return {
        "x": (rng.normal(size=(ROWS, 3)) + 5 * y[:, None]).astype(np.float32),
        "z": rng.normal(size=ROWS),
        "y": y,
    }


@pytest.fixture(scope="module")
def columns():
    return make_columns()


@pytest.fixture
def dataset(tmp_path, columns):
    return fl.write(tmp_path / "d.fl", columns, block_bytes=4 << 10)


def loader_of(dataset, **options):
    options = {"batch_size": 64, "shuffle": True, "seed": 3, "balance": {"y": fl.SMOTE(k_neighbors=4)}} | options
    return fl.DataLoader(dataset, **options)


def epoch_of(loader):
    """What came, and the numbers of its rows, in the order of these."""
    batches = list(loader)
    rows = np.concatenate([loader.explain(step)["rows"] for step in range(len(batches))])
    order = np.argsort(rows)
    return {name: torch.cat([b[name] for b in batches])[order] for name in batches[0]}, rows[order]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- what an epoch is -------------------------------------------------------------------------------


def test_every_row_once_and_as_many_of_the_rare_class(dataset, columns):
    loader = loader_of(dataset)
    epoch, rows = epoch_of(loader)
    made = ROWS - 2 * RARE
    assert len(loader) == -(-(ROWS + made) // 64)
    assert rows.tolist() == list(range(ROWS + made))
    assert loader.audit().is_complete
    for name in columns:
        assert torch.equal(epoch[name][:ROWS], torch.from_numpy(columns[name]))
    assert (epoch["y"][ROWS:] == 1).all()


def test_made_rows_lie_between_neighbours_of_their_class(dataset, columns):
    loader = loader_of(dataset)
    space = np.column_stack([columns["x"], columns["z"]])
    rare = np.flatnonzero(columns["y"] == 1)
    distances = np.linalg.norm(space[rare][:, None] - space[rare], axis=2)
    nearest = np.argsort(distances, axis=1)[:, 1:5]
    parts = []
    for step, batch in enumerate(loader):
        origins = loader.explain(step)["origins"]
        assert (origins.base[~origins.is_synthetic] == -1).all()
        found = np.column_stack([batch["x"], batch["z"]])
        for i in np.flatnonzero(origins.is_synthetic):
            base, neighbor = origins.base[i], origins.neighbor[i]
            assert neighbor in rare[nearest[np.searchsorted(rare, base)]]
            expected = space[base] + origins.part[i] * (space[neighbor] - space[base])
            np.testing.assert_allclose(found[i], expected, atol=1e-6)
        parts += origins.part[origins.is_synthetic].tolist()
    quarters = np.histogram(parts, 4, (0, 1))[0] / len(parts)
    assert np.abs(quarters - 0.25).max() < 0.05


@pytest.mark.parametrize(
    "options", [{"num_workers": n} for n in (0, 1, 4)] + [{"memory_bytes": 24 << 10}, {"batch_size": 7}]
)
def test_the_same_rows_for_any_threads_memory_and_batches(dataset, options):
    expected, numbers = epoch_of(loader_of(dataset))
    found, rows = epoch_of(loader_of(dataset, **options))
    assert np.array_equal(rows, numbers)
    assert equal(found, expected)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_epoch(dataset, world_size):
    expected, numbers = epoch_of(loader_of(dataset))
    shares = [epoch_of(loader_of(dataset, rank=r, world_size=world_size)) for r in range(world_size)]
    rows = np.concatenate([rows for _, rows in shares])
    _, first = np.unique(rows, return_index=True)
    assert np.array_equal(rows[first], numbers)
    for name in expected:
        assert torch.equal(torch.cat([share[name] for share, _ in shares])[first], expected[name])


def test_resume_in_the_middle_with_another_batch_size(dataset):
    loader = loader_of(dataset)
    whole = [b["x"] for b in loader]
    loader = loader_of(dataset)
    batches = iter(loader)
    begun = [next(batches)["x"] for _ in range(11)]
    again = loader_of(dataset, batch_size=50, num_workers=3)
    again.load_state_dict(loader.state_dict())
    assert torch.equal(torch.cat(begun + [b["x"] for b in again]), torch.cat(whole))


def test_other_rows_are_made_in_every_epoch(dataset):
    loader = loader_of(dataset)
    first, second = epoch_of(loader)[0], epoch_of(loader)[0]
    assert not (first["x"][ROWS:] == second["x"][ROWS:]).all(1).any()
    loader.set_epoch(0)
    assert equal(epoch_of(loader)[0], first)


def test_a_state_is_of_its_balance(dataset):
    state = loader_of(dataset).state_dict()
    for balance in (None, {"y": fl.SMOTE(k_neighbors=3)}, {"y": fl.SMOTE(k_neighbors=4, sampling_strategy=0.5)}):
        with pytest.raises(StateError):
            loader_of(dataset, balance=balance).load_state_dict(state)


def test_transforms_follow(dataset, columns):
    plain = epoch_of(loader_of(dataset))[0]
    scaled = epoch_of(loader_of(dataset, transform={"x": fl.Normalize()}))[0]
    statistics = dataset.statistics["x"]
    expected = (plain["x"].double() - torch.from_numpy(statistics.mean)) / torch.from_numpy(statistics.std)
    torch.testing.assert_close(scaled["x"].double(), expected, atol=1e-5, rtol=0)
    assert torch.equal(scaled["z"], plain["z"])


@pytest.mark.parametrize("kind", ["dict", "tuple", "tensors"])
def test_arrays_and_tensors(columns, kind):
    if kind == "dict":
        data, label = {name: columns[name] for name in ("x", "y")}, "y"
    elif kind == "tuple":
        data, label = (columns["x"], columns["y"]), "1"
    else:
        data, label = torch.utils.data.TensorDataset(*map(torch.from_numpy, (columns["x"], columns["y"]))), "1"
    batches = list(loader_of(data, balance={label: fl.SMOTE()}))
    labels = torch.cat([b["y"] if kind == "dict" else b[1] for b in batches])
    assert labels.bincount().tolist() == [ROWS - RARE] * 2
    assert isinstance(batches[0], dict if kind == "dict" else list)


def test_integers_are_cut_off(tmp_path):
    data = {"n": np.array([0, 10, 20, 500, 501, 502, 503, 504], np.int16), "y": np.array([1, 1, 1, 0, 0, 0, 0, 0])}
    loader = fl.DataLoader(
        data, 8, shuffle=True, seed=1, balance={"y": fl.SMOTE(k_neighbors=1, sampling_strategy={1: 5})}
    )
    (batch,) = [loader_batch for loader_batch in loader if len(loader_batch["n"]) == 8]
    origins = loader.explain(0)["origins"]
    for i in np.flatnonzero(origins.is_synthetic):
        base, neighbor = data["n"][origins.base[i]], data["n"][origins.neighbor[i]]
        assert batch["n"][i] == int(base + origins.part[i] * (float(neighbor) - base))


@pytest.mark.parametrize("sampler", [fl.SMOTE(), fl.SMOTE(sampling_strategy={1: RARE}), fl.RandomOverSampler()])
def test_nothing_to_add(columns, sampler):
    even = {"x": columns["x"][: 2 * RARE], "y": np.arange(2 * RARE) % 2}
    epoch, rows = epoch_of(loader_of(even, balance={"y": sampler}))
    assert rows.tolist() == list(range(2 * RARE))
    assert torch.equal(epoch["x"], torch.from_numpy(even["x"]))


# --- other samplers ---------------------------------------------------------------------------------


def test_over_sampling_repeats_rows_of_any_kind(tmp_path):
    columns = {
        "y": np.array([0] * 90 + [1] * 10),
        "text": [f"row {i}" for i in range(100)],
        "tokens": [np.arange(i % 4, dtype=np.int32) + i for i in range(100)],
        "maybe": np.ma.MaskedArray(np.arange(100.0), np.arange(100) % 3 == 0),
    }
    dataset = fl.write(tmp_path / "d.fl", columns, block_bytes=512)
    loader = fl.DataLoader(dataset, 16, shuffle=True, seed=1, balance={"y": fl.RandomOverSampler()})
    seen = []
    for step, batch in enumerate(loader):
        explained = loader.explain(step)
        rows = np.where(explained["origins"].is_synthetic, explained["origins"].base, explained["rows"])
        seen += rows.tolist()
        for i, row in enumerate(rows):
            assert batch["text"][i] == f"row {row}"
            assert batch["tokens"][i, : batch["tokens_lengths"][i]].tolist() == columns["tokens"][row].tolist()
            assert bool(batch["maybe_valid"][i]) == (row % 3 != 0)
    assert np.bincount(seen, minlength=100)[:90].tolist() == [1] * 90
    assert sum(row >= 90 for row in seen) == 90
    assert {row for row in seen if row >= 90} == set(range(90, 100))


def test_a_label_alone_draws_every_class_equally_often(dataset):
    loader = loader_of(dataset, balance="y")
    labels = torch.cat([b["y"] for b in loader])
    assert len(labels) == ROWS
    assert abs(labels.double().mean() - 0.5) < 0.05
    again = torch.cat([b["y"] for b in loader_of(dataset, balance="y", num_workers=0)])
    assert torch.equal(labels, again)


def test_classes_of_categories_have_their_names(tmp_path):
    codes = np.array([2] * 50 + [0] * 12 + [1] * 30, np.int32)
    rng = np.random.default_rng(1)
    columns = {"x": rng.normal(size=92).astype(np.float32), "kind": fl.Categorical(codes, ["low", "middle", "high"])}
    dataset = fl.write(tmp_path / "d.fl", columns)
    loader = fl.DataLoader(dataset, 10, balance={"kind": fl.SMOTE(sampling_strategy={"low": 40, "middle": 31})})
    assert np.bincount(torch.cat([b["kind"] for b in loader])).tolist() == [40, 31, 50]


def test_categories_are_voted_on(tmp_path):
    rng = np.random.default_rng(2)
    rows, rare = 400, 40
    y = np.array([1] * rare + [0] * (rows - rare))
    kind, town = rng.integers(0, 3, rows).astype(np.int32), np.array(["a", "b", "cc"])[rng.integers(0, 3, rows)]
    x = rng.normal(size=(rows, 2)) + kind[:, None]
    columns = {"x": x, "kind": fl.Categorical(kind, ["u", "v", "w"]), "town": town.tolist(), "flag": kind == 1, "y": y}
    dataset = fl.write(tmp_path / "d.fl", columns, block_bytes=1 << 10)
    loader = fl.DataLoader(dataset, 50, shuffle=True, seed=1, balance={"y": fl.SMOTENC("auto", k_neighbors=3)})
    spread = np.median(x[:rare].std(axis=0))
    differ = (kind[:rare, None] != kind[:rare]) * 2 + (
        town[:rare, None] != town[:rare]
    )  # the flag differs with the kind
    differ -= ((kind[:rare, None] != kind[:rare]) & ((kind[:rare, None] == 1) == (kind[:rare] == 1))).astype(int)
    distances = ((x[:rare, None] - x[:rare]) ** 2).sum(axis=2) + differ * spread**2
    nearest = np.argsort(distances, axis=1)[:, 1:4]
    seen = 0
    for _ in range(2):  # the second time with the table that was kept
        for step, batch in enumerate(loader):
            origins = loader.explain(step)["origins"]
            for i in np.flatnonzero(origins.is_synthetic):
                near = nearest[origins.base[i]]
                assert origins.neighbor[i] in near
                for name, values in (("kind", kind), ("town", town), ("flag", kind == 1)):
                    got = batch[name][i] if name == "town" else batch[name][i].item()
                    votes = [(values[near] == values[n]).sum() for n in near]
                    assert got in {values[n] for n, v in zip(near, votes) if v == max(votes)}
                seen += 1
        loader = fl.DataLoader(dataset.path, 50, shuffle=True, balance={"y": fl.SMOTENC("auto", k_neighbors=3)})
    assert seen == 2 * (rows - 2 * rare)
    with pytest.raises(UnknownFieldError, match="'no'"):
        fl.DataLoader(dataset, balance={"y": fl.SMOTENC(["no"])})
    with pytest.raises(ArgumentError, match="one value"):
        fl.DataLoader(dataset, balance={"y": fl.SMOTENC(["x"])})


# --- neighbours are kept ----------------------------------------------------------------------------


def made_tables(monkeypatch):
    calls, make = [], neighbor_table._make
    monkeypatch.setattr(neighbor_table, "_make", lambda *args: calls.append(1) or make(*args))
    return calls


def test_neighbours_are_found_once_for_a_content(dataset, columns, monkeypatch):
    calls = made_tables(monkeypatch)
    first = epoch_of(loader_of(dataset))[0]
    assert equal(epoch_of(loader_of(dataset.path))[0], first)
    assert len(calls) == 1
    loader_of(dataset, balance={"y": fl.SMOTE(k_neighbors=2)})
    assert len(calls) == 2
    other = fl.write(dataset.path, columns | {"z": -columns["z"]}, overwrite=True)
    loader_of(other)
    assert len(calls) == 3


def test_a_damaged_table_is_made_anew(dataset, monkeypatch, caplog):
    loader_of(dataset)
    calls = made_tables(monkeypatch)
    (shard,) = dataset.path.glob("neighbors-*.fl/*.flb")
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    shard.write_bytes(damaged)
    loader_of(dataset)
    assert len(calls) == 1
    assert "made anew" in caplog.text
    loader_of(dataset)
    assert len(calls) == 1


def test_a_table_that_does_not_fit_is_made_anew(dataset, monkeypatch):
    loader_of(dataset)
    (path,) = dataset.path.glob("neighbors-*.fl")
    found = fl.open(path)[:]
    found["neighbors"][3, 1] = RARE
    fl.write(path, found, overwrite=True)
    calls = made_tables(monkeypatch)
    loader_of(dataset)
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(dataset, monkeypatch):
    def refused(*args, **options):
        raise PermissionError("read-only")

    monkeypatch.setattr(neighbor_table, "write", refused)
    assert len(loader_of(dataset))
    assert not list(dataset.path.glob("neighbors-*"))
    shutil.rmtree(dataset.path)


# --- wrong input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("balance", "error", "message"),
    [
        ({"no": fl.SMOTE()}, UnknownFieldError, "'no'"),
        ({"x": fl.SMOTE()}, DtypeError, "one value for each row"),
        ({"y": fl.SMOTE(), "z": fl.SMOTE()}, ArgumentError, "one label"),
        ({"y": fl.SMOTE(k_neighbors=RARE)}, TooFewRowsError, f"the smallest has {RARE}"),
        ({"y": fl.SMOTE(sampling_strategy={1: 10})}, StrategyError, "removes no rows"),
        ({"y": fl.BorderlineSMOTE()}, ArgumentError, "BorderlineSMOTE"),
        ({"y": fl.RandomOverSampler(shrinkage=1.0)}, ArgumentError, "shrinkage"),
        ({"y": "smote"}, ArgumentError, "SMOTE"),
        (5, ArgumentError, "name of the label"),
    ],
)
def test_wrong_balance(dataset, balance, error, message):
    with pytest.raises(error, match=message):
        loader_of(dataset, balance=balance)


def test_what_excludes_a_balance(dataset):
    for options in ({"sampler": range(5), "shuffle": None}, {"packing": fl.Packing(8)}):
        with pytest.raises(ArgumentError, match="exclude each other"):
            loader_of(dataset, **options)
    with pytest.raises(ArgumentError, match="no order to keep"):
        loader_of(dataset, balance="y", shuffle=False)
    with pytest.raises(ArgumentError, match="torch's own machinery"):
        fl.DataLoader(torch.utils.data.ChainDataset([]), balance="y")


def test_missing_numbers_are_told_with_their_row(tmp_path, columns):
    rare = int(np.flatnonzero(columns["y"] == 1)[3])
    x = columns["x"].copy()
    x[rare, 1] = np.nan
    with pytest.raises(ArgumentError, match=f"field 'x': row {rare} has no number"):
        loader_of({"x": x, "y": columns["y"]})
    nulls = np.ma.MaskedArray(columns["z"], np.arange(ROWS) == rare)
    with pytest.raises(ArgumentError, match=f"field 'z': row {rare} has no number"):
        loader_of({"z": nulls, "y": columns["y"]})


def test_fields_that_cannot_lie_between_are_named(tmp_path, columns):
    texts = {"x": columns["x"], "name": ["a"] * ROWS, "y": columns["y"]}
    with pytest.raises(ArgumentError, match=r"'name' is string.*select other fields"):
        loader_of(texts)
    kinds = fl.Categorical(np.zeros(ROWS, np.int32), ["a"])
    dataset = fl.write(tmp_path / "c.fl", {"x": columns["x"], "kind": kinds, "y": columns["y"]})
    with pytest.raises(ArgumentError, match=r"'kind' is categories.*SMOTENC"):
        loader_of(dataset)
    assert len(loader_of(dataset.select("x", "y")))


def test_memory_for_the_rare_class_is_part_of_the_budget(dataset):
    with pytest.raises(ArgumentError, match=r"raise it to"):
        loader_of(dataset, memory_bytes=2 << 10)


def test_rows_without_a_label(tmp_path, columns):
    labels = np.ma.MaskedArray(columns["y"], np.arange(ROWS) == 7)
    for balance in ("y", {"y": fl.SMOTE()}):
        with pytest.raises(ArgumentError, match="row 7 has no label"):
            loader_of({"x": columns["x"], "y": labels}, balance=balance)


# --- life -------------------------------------------------------------------------------------------


def test_pickled_and_built_again_of_its_parts(dataset):
    loader = loader_of(dataset)
    expected = epoch_of(loader)[0]
    again = pickle.loads(pickle.dumps(loader))
    again.set_epoch(0)
    assert equal(epoch_of(again)[0], expected)
    names = ("dataset", "batch_size", "balance", "seed", "num_workers")
    rebuilt = fl.DataLoader(**{name: getattr(loader, name) for name in names}, shuffle=True)
    assert equal(epoch_of(rebuilt)[0], expected)
    by_label = loader_of(dataset, balance="y")
    rebuilt = fl.DataLoader(by_label.dataset, 64, sampler=by_label.sampler, balance=by_label.balance, seed=3)
    assert equal(epoch_of(rebuilt)[0], epoch_of(by_label)[0])


def test_the_next_epoch_is_prepared_ahead(dataset):
    plain, ahead = loader_of(dataset), loader_of(dataset, persistent_workers=True)
    for _ in range(3):
        for a, b in zip(plain, ahead, strict=True):
            assert equal(a, b)


# --- on a device ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "made_there"),
    [(None, {"x", "z"}), ({"x": fl.Normalize()}, {"x", "z"}), ({"x": fl.Impute(add_mask=True)}, {"z"})],
)
@pytest.mark.parametrize("sample_seeds", [False, True])
def test_rows_are_made_on_the_device(dataset, monkeypatch, transform, made_there, sample_seeds):
    mover = FakeMover()
    options = {"transform": transform, "sample_seeds": sample_seeds}
    expected = list(loader_of(dataset, **options))
    monkeypatch.setattr("fastload.load.dataloader.mover_for", lambda device: mover)
    loader = loader_of(dataset, device="cuda", **options)
    assert set(loader._bases) == made_there
    for _ in range(2):
        loader.set_epoch(0)
        for there, here in zip(loader, expected, strict=True):
            assert there.keys() == here.keys()
            for name, values in here.items():
                torch.testing.assert_close(there[name], values, atol=1e-5, rtol=0)
    mover.check()
