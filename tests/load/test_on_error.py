"""Rows that cannot be read: raise and go on, read again, or leave them out and say which."""

from __future__ import annotations

import numpy as np
import pytest

import fastload as fl
from fastload import errors

NUM_ROWS = 1000


@pytest.fixture(params=["lz4", "raw"])
def damaged(request, tmp_path) -> fl.Dataset:
    """Block 3 has a bit that changed."""
    columns = {
        "row": np.arange(NUM_ROWS),
        "t": [np.full(row % 4, row) for row in range(NUM_ROWS)],
        "s": list("abcd") * 250,
    }
    data = fl.write(tmp_path / "d.fl", columns, codec=request.param, block_bytes=4000)
    (shard,) = data.path.glob("*.flb")
    starts = np.concatenate([[0], np.cumsum(data._source().block_rows)])
    content = bytearray(shard.read_bytes())
    place = content.find(np.arange(starts[3], starts[4])[:4].tobytes()) if request.param == "raw" else None
    if place is None:  # compressed: somewhere among the blocks
        place = len(content) // 8
    content[place] ^= 1
    shard.write_bytes(content)
    return fl.open(data.path)


def bad_rows(data) -> list[int]:
    return [row for row in range(len(data)) if not _is_readable(data, row)]


def _is_readable(data, row) -> bool:
    try:
        return data[row]["row"] == row
    except errors.FormatError:
        return False


def taken(loader) -> tuple[list[int], int]:
    """Rows, and batches that raised."""
    rows, failures, batches = [], 0, iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return rows, failures
        except errors.FormatError:
            failures += 1
            continue
        assert [row % 4 for row in batch["row"].tolist()] == batch["t_lengths"].tolist()
        assert ["abcd"[row % 4] for row in batch["row"].tolist()] == batch["s"]
        rows += batch["row"].tolist()


SAMPLERS = {"file order": {}, "shuffled": {"shuffle": True, "seed": 1}, "named": {"sampler": range(NUM_ROWS)}}


@pytest.mark.filterwarnings("ignore:a sampler names the rows")
@pytest.mark.parametrize("order", SAMPLERS)
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("memory_bytes", [20_000, 1 << 30])
def test_skip_leaves_out_what_cannot_be_read_and_says_which(damaged, order, num_workers, memory_bytes):
    bad = bad_rows(damaged)
    assert 0 < len(bad) < 300
    loader = fl.DataLoader(
        damaged,
        batch_size=32,
        num_workers=num_workers,
        memory_bytes=memory_bytes,
        on_error="skip",
        **SAMPLERS[order],
    )
    rows, failures = taken(loader)
    assert failures == 0
    assert sorted(rows) == [row for row in range(NUM_ROWS) if row not in bad]
    assert sorted(skipped.row for skipped in loader.skipped) == bad
    assert loader.stats()["skipped_rows"] == len(bad)
    for skipped in loader.skipped:
        assert (skipped.file, skipped.block, skipped.row_in_block) == damaged.place_of(skipped.row)
        assert "block" in skipped.reason
    if order != "named":
        assert not loader.audit().is_complete
        assert loader.audit().rows == len(rows)


@pytest.mark.parametrize("order", SAMPLERS)
@pytest.mark.parametrize("mode", ["raise", "retry"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_that_need_it_raise_and_the_others_come(damaged, order, mode, num_workers):
    bad = bad_rows(damaged)
    loader = fl.DataLoader(damaged, batch_size=25, num_workers=num_workers, on_error=mode, **SAMPLERS[order])
    rows, failures = taken(loader)
    assert failures > 0
    assert len(rows) == NUM_ROWS - 25 * failures
    assert not set(rows) & set(bad)
    assert loader.skipped == []
    assert loader.state_dict()["position"] == 0  # the pass is over


def test_a_state_counts_batches_that_were_lost(damaged):
    bad = bad_rows(damaged)
    loader = fl.DataLoader(damaged, batch_size=25)
    batches = iter(loader)
    with pytest.raises(errors.FormatError):
        for _ in batches:
            pass
    again = fl.DataLoader(damaged, batch_size=25)
    again.load_state_dict(loader.state_dict())
    batch = loader.state_dict()["position"] // 25
    assert (batch - 1) * 25 <= bad[0] < batch * 25
    rows, _ = taken(again)
    assert rows[-1] == NUM_ROWS - 1


def test_skipping_has_a_limit(damaged):
    loader = fl.DataLoader(damaged, batch_size=32, on_error="skip", skip_limit=5)
    with pytest.raises(errors.TooManySkippedError, match=r"skip_limit is 5.*flb"):
        list(loader)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_wholly_bad_batch_does_not_come(damaged, num_workers):
    bad = bad_rows(damaged)
    for options in ({}, {"sampler": range(NUM_ROWS)}):
        loader = fl.DataLoader(damaged, batch_size=1, num_workers=num_workers, on_error="skip", **options)
        batches = list(loader)
        assert [int(batch["row"]) for batch in batches] == [row for row in range(NUM_ROWS) if row not in bad]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "raise, retry, skip"),
        ({"skip_limit": -1}, "skip_limit"),
        ({"skip_limit": 0.5}, "skip_limit"),
    ],
)
def test_what_has_no_meaning_is_refused(options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        fl.DataLoader({"x": np.arange(3)}, **options)
    with pytest.raises(errors.ArgumentError, match="torch's own machinery"):
        fl.DataLoader([1, 2], on_error="skip")
