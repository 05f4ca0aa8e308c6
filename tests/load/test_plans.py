"""Orders that name their rows: weighted draws, buckets by length, packed documents."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fastload as fl
from fastload import errors

NUM_ROWS = 400
LENGTHS = np.random.default_rng(1).integers(0, 50, NUM_ROWS)


def documents() -> list[np.ndarray]:
    """Token i of document d is 100 d + i."""
    return [np.arange(n, dtype=np.int32) + 100 * d for d, n in enumerate(LENGTHS)]


@pytest.fixture(scope="module", params=["file", "memory"])
def rows(request, tmp_path_factory):
    columns = {"row": np.arange(NUM_ROWS), "t": documents()}
    if request.param == "memory":
        return columns
    return fl.write(tmp_path_factory.mktemp("plans") / "p.fl", columns, codec="lz4", block_bytes=2000)


def plans(rows) -> dict[str, object]:
    return {
        "weighted": fl.WeightedSampler(np.arange(NUM_ROWS) % 3),
        "each once": fl.WeightedSampler(np.arange(1, NUM_ROWS + 1), replacement=False),
        "buckets": fl.LengthBuckets(LENGTHS, pool_rows=100, chunk_rows=20),
    }


@pytest.mark.parametrize("name", ["weighted", "each once", "buckets"])
@settings(max_examples=25, deadline=None)
@given(
    threads=st.sampled_from([0, 1, 3]),
    world_sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    batch_sizes=st.tuples(st.integers(5, 60), st.integers(1, 200)),
    cut=st.integers(0, 5),
)
def test_a_plan_is_dealt_and_resumed_as_any_order(rows, name, threads, world_sizes, batch_sizes, cut):
    plan = plans(rows)[name]
    expected = plan.rows(7, 0, np.arange(plan.num_rows(7, 0))).tolist()

    def ranks(i: int) -> list[fl.DataLoader]:
        return [
            fl.DataLoader(
                rows,
                batch_size=batch_sizes[i],
                sampler=plan,
                seed=7,
                num_workers=threads,
                rank=rank,
                world_size=world_sizes[i],
            )
            for rank in range(world_sizes[i])
        ]

    def kept(batch) -> list[int]:
        assert [len(row) for row in documents_of(batch)] == LENGTHS[batch["row"].numpy()].tolist()
        padding = batch.get("is_padding", torch.zeros(len(batch["row"]), dtype=torch.bool))
        return batch["row"][~padding].tolist()

    first, states = [], []
    for loader in ranks(0):
        batches = iter(loader)
        first.append([row for _ in range(min(cut, len(loader))) for row in kept(next(batches))])
        states.append(json.loads(json.dumps(loader.state_dict())))
    assert all(state == states[0] for state in states)
    delivered = sum(map(len, first))
    assert interleaved(first) == expected[:delivered]
    if delivered == len(expected):
        return
    after = ranks(1)
    rest = []
    for loader in after:
        loader.load_state_dict(states[0])
        rest.append([row for batch in loader for row in kept(batch)])
    assert interleaved(rest) == expected[delivered:]


def interleaved(ranks: list[list[int]]) -> list[int]:
    return [ranks[p % len(ranks)][p // len(ranks)] for p in range(sum(map(len, ranks)))]


def documents_of(batch) -> list[np.ndarray]:
    return [row[:n].numpy() for row, n in zip(batch["t"], batch["t_lengths"].tolist())]


def test_a_plan_has_a_length_an_audit_and_an_explanation(rows):
    loader = fl.DataLoader(rows, batch_size=30, sampler=fl.WeightedSampler.balanced(LENGTHS > 40), seed=3)
    batches = list(loader)
    assert len(loader) == len(batches) == -(-NUM_ROWS // 30)
    assert loader.audit().is_complete
    assert loader.explain(2)["rows"].tolist() == batches[2]["row"].tolist()
    share = np.mean(np.concatenate([batch["t_lengths"] for batch in batches]) > 40)
    assert 0.4 < share < 0.6
    assert loader.stats()["delivered_rows"] == NUM_ROWS
    with pytest.raises(errors.StateError, match="order"):
        fl.DataLoader(rows, batch_size=30, shuffle=True, seed=3).load_state_dict(loader.state_dict())


def test_a_plan_of_other_rows_is_refused(rows):
    with pytest.raises(errors.ArgumentError, match=r"made for 3 rows.*has 400"):
        fl.DataLoader(rows, sampler=fl.WeightedSampler([1, 2, 3]))


def test_a_state_knows_its_plan(rows):
    def loader(weights, **options):
        return fl.DataLoader(rows, batch_size=50, seed=1, sampler=fl.WeightedSampler(weights, **options))

    weights = np.arange(1, NUM_ROWS + 1)
    first = loader(weights)
    next(iter(first))
    loader(weights).load_state_dict(first.state_dict())
    for other in (loader(weights[::-1]), loader(weights, num_samples=10), loader(weights, replacement=False)):
        with pytest.raises(errors.StateError, match="plan"):
            other.load_state_dict(first.state_dict())


def test_seeds_are_drawn_once_a_pass(rows):
    def passes():
        torch.manual_seed(4)
        loader = fl.DataLoader(rows, batch_size=50, sampler=fl.WeightedSampler(np.ones(NUM_ROWS)))
        return [[batch["row"].tolist() for batch in loader] for _ in range(2)]

    first = passes()
    assert first == passes()
    assert first[0] != first[1]


def test_buckets_leave_little_padding(rows):
    def share(**options):
        loader = fl.DataLoader(rows, batch_size=20, num_workers=0, **options)
        places = sum(batch["t"].numel() for batch in loader)
        return 1 - LENGTHS.sum() / places

    by_length = share(sampler=fl.LengthBuckets(LENGTHS, pool_rows=400, chunk_rows=20), seed=1)
    assert by_length < 0.08 < 0.4 < share(shuffle=True, seed=1)


# --- packing ----------------------------------------------------------------------------------------


def tokens_by_document(batch) -> dict[tuple[int, int], list[int]]:
    found = {}
    for r, (tokens, document, position) in enumerate(zip(batch["t"], batch["t_document"], batch["t_position"])):
        for number in document.unique().tolist():
            places = (document == number).nonzero().flatten()
            if number == 0:
                assert (tokens[places] == -1).all()
                assert places.tolist() == list(range(64 - len(places), 64))  # at the end
                continue
            assert places.tolist() == list(range(int(places[0]), int(places[0]) + len(places)))  # in one piece
            assert position[places].tolist() == list(range(len(places)))
            found[r, number] = tokens[places].tolist()
    return found


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_packed_rows_hold_every_document_once(rows, shuffle, num_workers):
    loader = fl.DataLoader(
        rows, batch_size=8, shuffle=shuffle, seed=2, num_workers=num_workers, packing=fl.Packing(64, "t", value=-1)
    )
    assert [len(batch["t"]) for batch in loader] == [8] * (len(loader) - 1) + [len(list(loader)[-1]["t"])]
    loader.set_epoch(0)
    found = [tokens for batch in loader for tokens in tokens_by_document(batch).values()]
    assert sorted(map(tuple, found)) == sorted(tuple(d) for d in documents() if len(d))
    assert loader.audit().is_complete
    assert loader.audit().rows == np.count_nonzero(LENGTHS)


def test_long_documents_are_cut_and_their_places_go_on():
    loader = fl.DataLoader({"t": [np.arange(10), np.arange(3)]}, batch_size=9, packing=fl.Packing(4))
    (batch,) = loader
    pieces = {}
    for tokens, document, position in zip(batch["t"], batch["t_document"], batch["t_position"]):
        for number in set(document.tolist()) - {0}:
            places = document == number
            assert tokens[places].tolist() == position[places].tolist()
            pieces.setdefault(tuple(position[places].tolist()), 0)
    assert {(0, 1, 2, 3), (4, 5, 6, 7), (8, 9), (0, 1, 2)} == set(pieces)
    assert loader.audit().is_complete


@pytest.mark.parametrize("world_sizes", [(1, 2), (3, 2), (2, 1)])
def test_packed_passes_are_dealt_and_resumed(rows, world_sizes):
    def ranks(world_size, batch_size):
        options = {"shuffle": True, "seed": 2, "batch_size": batch_size, "packing": fl.Packing(64, "t", value=-1)}
        return [fl.DataLoader(rows, rank=r, world_size=world_size, **options) for r in range(world_size)]

    def kept(batch):
        batch = {
            name: column[~batch["is_padding"]] if "is_padding" in batch else column for name, column in batch.items()
        }
        return list(map(tuple, tokens_by_document(batch).values()))

    found, before = [], ranks(world_sizes[0], 5)
    for loader in before:
        batches = iter(loader)
        found += [tokens for _ in range(4) for tokens in kept(next(batches))]
        state = loader.state_dict()
    after = ranks(world_sizes[1], 3)
    assert len({len(loader) for loader in after}) == 1
    for loader in after:
        loader.load_state_dict(state)
        found += [tokens for batch in loader for tokens in kept(batch)]
    assert sorted(found) == sorted(tuple(d) for d in documents() if len(d))
    audits = [loader.audit() for loader in before + after]
    assert sum(audits[1:], audits[0]).is_complete


def test_packing_wastes_little():
    lengths = np.random.default_rng(0).integers(10, 1000, 3000)
    rows = {"t": [np.zeros(n, np.int16) for n in lengths]}
    places = sum(batch["t"].numel() for batch in fl.DataLoader(rows, batch_size=16, packing=fl.Packing(4096)))
    assert 1 - lengths.sum() / places < 0.03


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ({"x": np.arange(3)}, {}, "those of variable length and numbers are none"),
        ({"a": [np.arange(2)], "b": [np.arange(2)]}, {}, "a, b"),
        ({"a": [np.arange(2)], "x": np.arange(1)}, {"packing": fl.Packing(4, "x")}, "'x'"),
        ({"a": [np.arange(2)], "a_position": np.arange(1)}, {}, "a_position"),
        ({"a": [np.arange(2)]}, {"packing": fl.Packing(4, value=0.5)}, "does not hold"),
        ({"a": [np.arange(2)]}, {"padding": fl.Padding()}, "exclude each other"),
        ({"a": [np.arange(2)]}, {"sample_seeds": True}, "sample_seeds"),
        ({"a": [np.arange(2)]}, {"sampler": [0]}, "sampler of your own"),
        ({"a": [np.arange(2)]}, {"on_error": "skip"}, "on_error"),
        ([1, 2, 3], {}, "torch's own machinery"),
    ],
)
def test_what_cannot_be_packed_is_refused(data, options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        fl.DataLoader(data, batch_size=2, **{"packing": fl.Packing(4)} | options)


@pytest.mark.parametrize("options", [{"length": 0}, {"length": 2.5}, {"length": 4, "pool_documents": 0}])
def test_a_packing_that_has_no_meaning_is_refused(options):
    with pytest.raises(errors.ArgumentError, match="positive integer"):
        fl.Packing(**options)


def test_an_unknown_field_is_named():
    with pytest.raises(errors.UnknownFieldError, match="nope"):
        fl.DataLoader({"a": [np.arange(2)]}, packing=fl.Packing(4, "nope"))
