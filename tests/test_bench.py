"""The comparison of loaders: exported rows equal the data set's, sums agree for every kind of field."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import fastload as fl
from fastload.bench.export import Export, RowDataset, WholeBatchDataset, collate_padded, export_rows
from fastload.bench.measure import Comparison, Epoch, Measured, compare_loaders
from fastload.bench.page import comparison_page
from fastload.cli import main
from fastload.errors import ArgumentError, DiskFullError

ROWS = 700
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def every_kind() -> dict[str, object]:
    """Columns of every dtype and form."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 100, ROWS)
    return {
        "x": rng.normal(size=(ROWS, 3)).astype("float32"),
        **{dtype: numbers.astype(dtype) for dtype in (*INTEGERS, "float16", "float32", "float64")},
        "flag": numbers % 2 == 0,
        "maybe": np.ma.MaskedArray(rng.normal(size=ROWS), numbers % 5 == 0),
        "tokens": [np.arange(n % 7, dtype="int32") for n in numbers],
        "name": [f"naïve {n}" for n in numbers],
        "raw": [b"\xff\x00" * (n % 4) for n in numbers],
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fl.write(tmp_path / "all.fl", every_kind())
    return tmp_path / "all.fl"


@pytest.mark.parametrize("form", [RowDataset, WholeBatchDataset])
def test_exported_rows_are_the_data_sets(form: type, path: Path, tmp_path: Path) -> None:
    ds = fl.open(path)
    rows = [5, 699, 0, 5]
    dataset = form(export_rows(ds, tmp_path))
    assert len(dataset) == ROWS
    batch = collate_padded([dataset[row] for row in rows]) if form is RowDataset else dataset.__getitems__(rows)
    wanted = ds[rows]
    for name in ds.schema.names:
        found, expected = batch[name], wanted[name]
        if isinstance(found, torch.Tensor):
            np.testing.assert_array_equal(found.numpy(), np.asarray(expected), err_msg=name)
        else:
            assert list(found) == list(expected), name
    np.testing.assert_array_equal(batch["maybe_valid"].numpy(), wanted["maybe_valid"])


def test_every_loader_gives_every_row_with_the_right_sums(path: Path) -> None:
    found = compare_loaders(path, batch_size=64, num_epochs=2, max_epoch_s=60)
    assert found.num_rows == ROWS
    assert len(found.loaders) == 4
    for measured in found.loaders:
        assert [(epoch.rows, epoch.complete) for epoch in measured.epochs] == [(ROWS, True)] * 2
        assert measured.agrees is True, measured.loader
        assert measured.rows_per_s > 0


def test_a_pass_is_ended_in_time(tmp_path: Path) -> None:
    fl.write(tmp_path / "long.fl", {"x": np.zeros((200_000, 2), "float32"), "y": np.arange(200_000)})
    found = compare_loaders(tmp_path / "long.fl", batch_size=16, num_epochs=1, max_epoch_s=0.1)
    slow = found.loaders[2].epochs[0]
    assert not slow.complete
    assert 0 < slow.rows < 200_000
    assert found.loaders[2].agrees is None


def test_json_and_page(path: Path, tmp_path: Path, capsys) -> None:
    code = main(["bench", str(path), "--json", "--html", str(tmp_path / "out.html"), "--epochs", "1",
                 "--batch-size", "64"])  # fmt: skip
    out, err = capsys.readouterr()
    assert code == 0
    assert "pass 1 of 1" in err
    found = json.loads(out)
    assert found["num_rows"] == ROWS
    assert found["loaders"][0]["ratio"] == 1
    assert all(loader["sums_agree"] for loader in found["loaders"])
    page = (tmp_path / "out.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)\s*=", page)
    assert all(loader["loader"] in page for loader in found["loaders"])


def test_table_on_the_terminal(path: Path, capsys) -> None:
    assert main(["bench", str(path), "--epochs", "1", "--batch-size", "128", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "fastload, 1 thread " in out
    assert "torch DataLoader, 2 workers" in out
    assert "memory-mapped" in out


def test_wrong_sums_are_found(path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def tampered(dataset: fl.Dataset, folder: Path) -> Export:
        export = export_rows(dataset, folder)
        total, size = export.sums["maybe"]  # a field with NaN in it
        return export._replace(sums={**export.sums, "maybe": (total + 0.001 * size, size)})

    monkeypatch.setattr("fastload.bench.measure.export_rows", tampered)
    assert main(["bench", str(path), "--epochs", "1", "--json"]) == 1
    assert [loader["sums_agree"] for loader in json.loads(capsys.readouterr().out)["loaders"]] == [False] * 4


def test_wrong_sums_are_told() -> None:
    epoch = Epoch(100.0, 0.1, 10, True)
    loaders = [Measured("fastload", [epoch], True), Measured("torch", [epoch], False)]
    page = comparison_page(Comparison("p", 10, 8.0, 4, 1, 3.0, "permutation", 1.0, loaders))
    assert "WRONG" in page


def test_bad_arguments_and_a_full_disk_are_named(path: Path, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ArgumentError, match="batch_size must be above 0, got 0"):
        compare_loaders(path, batch_size=0)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(DiskFullError, match="10 bytes free"):
        export_rows(fl.open(path), tmp_path)
