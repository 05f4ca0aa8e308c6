"""Where the time went: counters that add up, and a verdict that is right where the cause is known."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import children
import numpy as np
import pytest
import slow_disk
import torch

import fastload as fl
from fastload.load.monitor import verdict

STAGES = {"read", "verify", "decode", "gather", "kernels", "transform", "hand_over"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> fl.Dataset:
    """20,000 rows in 20 blocks that compress."""
    columns = {"x": np.arange(20_000 * 16, dtype=np.int32).reshape(-1, 16), "y": np.arange(20_000)}
    return fl.write(tmp_path_factory.mktemp("monitor") / "rows.fl", columns, codec="lz4", block_bytes=72_000)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_counters_tell_what_was_loaded_and_delivered(rows, num_workers):
    loader = fl.DataLoader(rows, batch_size=500, shuffle=True, seed=1, num_workers=num_workers)
    nbytes = sum(batch["x"].nbytes + batch["y"].nbytes for batch in loader)
    first = loader.stats()
    assert first["delivered_batches"] == 40
    assert first["delivered_rows"] == 20_000
    assert first["delivered_bytes"] >= nbytes  # memory of batches is rounded up
    assert first["loaded_blocks"] == rows.num_blocks
    assert 0 < first["read_bytes"] < rows.raw_bytes
    assert set(first["stages_s"]) == STAGES
    assert all(seconds >= 0 for seconds in first["stages_s"].values())
    assert first["stages_s"]["decode"] > 0
    assert first["stages_s"]["gather"] > 0
    assert 0 <= first["ready_batches"] <= 40
    for _ in loader:
        pass
    later = loader.stats()
    assert later["loaded_blocks"] == later["read_bytes"] == 0  # they were kept
    assert later["stages_s"]["decode"] == 0


def test_every_pass_through_windows_decodes_anew(rows):
    loader = fl.DataLoader(rows, batch_size=500, shuffle=True, seed=1, num_workers=1, memory_bytes=400_000)
    for _ in range(2):
        for _ in loader:
            pass
        assert loader.stats()["loaded_blocks"] == rows.num_blocks


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("order", ["weighted", "buckets", "sampler", "packed"])
def test_counters_tell_of_named_rows(tmp_path, order, num_workers):
    lengths = np.arange(2000) % 50
    tokens = [np.full(length, length, np.int32) for length in lengths]
    rows = fl.write(tmp_path / "rows.fl", {"t": tokens, "y": lengths}, codec="lz4", block_bytes=10_000)
    options = {
        "weighted": {"sampler": fl.WeightedSampler(np.ones(2000), num_samples=2000)},
        "buckets": {"sampler": fl.LengthBuckets(rows.lengths("t"))},
        "sampler": {"sampler": range(2000)},
        "packed": {"packing": fl.Packing(length=64)},
    }[order]
    loader = fl.DataLoader(rows, batch_size=100, num_workers=num_workers, **options)
    first = [batch["t"] for batch in loader]
    stats = loader.stats()
    assert stats["delivered_batches"] == len(first)
    assert stats["delivered_rows"] == (2000 if order != "packed" else np.count_nonzero(lengths))
    assert stats["delivered_bytes"] > 0
    assert stats["loaded_blocks"] == rows.num_blocks
    assert 0 < stats["read_bytes"] < rows.raw_bytes
    assert set(stats["stages_s"]) == STAGES
    assert all(seconds >= 0 for seconds in stats["stages_s"].values())
    assert stats["stages_s"]["decode"] > 0
    assert stats["stages_s"]["gather"] > 0
    elements = sum(int((t != 0).sum()) for t in first)  # no token is 0
    assert stats["padding_share"] == pytest.approx(1 - elements / sum(t.numel() for t in first))
    assert 0 <= stats["ready_batches"] <= len(first)
    assert "waits" in stats["verdict"]
    if order in ("weighted", "buckets"):
        assert 0.5 < stats["mix"] < 1.5
    else:
        assert stats["mix"] is None


def said_of_a_slow_disk(path: Path, num_workers: int) -> tuple[dict[str, float], str]:
    loader = fl.DataLoader(path, batch_size=500, shuffle=True, num_workers=num_workers)
    slow_disk.slow_down(path, delay_s=0.005)
    for _ in loader:
        pass
    return loader.stats()["stages_s"], loader.stats()["verdict"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_slow_disk_is_said_to_be_the_cause(tmp_path, num_workers):
    columns = {"x": np.arange(20_000 * 16, dtype=np.int32).reshape(-1, 16), "y": np.arange(20_000)}
    fl.write(tmp_path / "rows.fl", columns, codec="raw", block_bytes=72_000)
    stages, said = children.call(said_of_a_slow_disk, tmp_path / "rows.fl", num_workers)
    assert stages["read"] > 0.1  # 22 times 5 ms
    assert said.startswith("loader-bound")
    assert "the disk" in said


def test_a_slow_model_is_said_to_be_one(rows):
    loader = fl.DataLoader(rows, batch_size=2000, shuffle=True, num_workers=1)
    for _ in loader:
        time.sleep(0.05)
    assert loader.stats()["verdict"].startswith("model-bound")


def test_a_slow_collate_fn_is_said_to_be_the_cause(rows):
    def collate(samples):
        time.sleep(0.05)
        return len(samples)

    loader = fl.DataLoader(rows, batch_size=2000, shuffle=True, num_workers=1, collate_fn=collate)
    assert sum(loader) == 20_000
    said = loader.stats()["verdict"]
    assert said.startswith("loader-bound")
    assert "collate_fn" in said
    assert loader.stats()["stages_s"]["transform"] >= 10 * 0.05


def test_something_of_both_is_balanced(rows):
    def collate(samples):
        time.sleep(0.03)
        return len(samples)

    loader = fl.DataLoader(rows, batch_size=2000, shuffle=True, num_workers=1, collate_fn=collate)
    for _ in loader:
        time.sleep(0.12)
    assert loader.stats()["verdict"].startswith("balanced")


@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        ("read", "disk"),
        ("verify", "checksums"),
        ("decode", "memory_bytes"),
        ("gather", "gathering"),
        ("transform", "collate_fn"),
        ("hand_over", "larger batches"),
        ("copy", "device"),
    ],
)
def test_the_slowest_stage_is_named(stage, advice):
    stages = dict.fromkeys(STAGES, 0.5) | {stage: 8.0}
    assert advice in verdict(8.0, 2.0, stages, threads=2)


def test_side_by_side_threads_weigh_less_than_the_consumer():
    stages = {"decode": 3.0, "hand_over": 2.0}
    assert "decoding" in verdict(5.0, 1.0, stages, threads=1)
    assert "own thread" in verdict(5.0, 1.0, stages, threads=2)


def test_a_line_a_pass_on_request(rows, caplog):
    loader = fl.DataLoader(rows, batch_size=500, num_workers=1)
    list(loader)
    assert not caplog.records
    with caplog.at_level(logging.INFO, logger="fastload.load"):
        for _ in range(2):
            list(loader)
        next(iter(loader))  # a pass that is left is not one
    assert len(caplog.records) == 2
    assert "20,000 rows in" in caplog.records[0].message
    assert "-bound" in caplog.records[0].message or "balanced" in caplog.records[0].message


def test_torchs_own_machinery_is_not_measured():
    loader = fl.DataLoader(_Foreign())
    list(loader)
    assert loader.stats() == {"order": "torch", "mix": None}


class _Foreign(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, row: int) -> int:
        return row
