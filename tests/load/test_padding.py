"""Rows of unequal length become rectangles as asked, in the engine and through samplers, against a plain reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fastload as fl
from fastload import errors

NUM_ROWS = 200


@pytest.fixture(scope="module")
def lists() -> list[list[int]]:
    random = np.random.default_rng(4)
    return [(np.arange(n) + 1).tolist() for n in random.integers(0, 12, NUM_ROWS)]


@pytest.fixture(scope="module")
def rows(lists, tmp_path_factory) -> fl.Dataset:
    columns = {
        "row": np.arange(NUM_ROWS),
        "t": [np.array(r, np.int32) for r in lists],
        "f": [np.array(r, np.float32) for r in lists],
    }
    return fl.write(tmp_path_factory.mktemp("padding") / "p.fl", columns, codec="lz4", block_bytes=2000)


def reference(lists: list[list[int]], padding: fl.Padding) -> tuple[list[list[int]], list[int], list[list[bool]]]:
    if padding.length is not None:
        lists = [r[: padding.length] for r in lists]
    width = padding.length or -(-max(map(len, lists)) // padding.multiple) * padding.multiple
    values, masks = [], []
    for r in lists:
        missing = width - len(r)
        fill, gap = [padding.value] * missing, [False] * missing
        there = [True] * len(r)
        values.append(fill + r if padding.side == "left" else r + fill)
        masks.append(gap + there if padding.side == "left" else there + gap)
    return values, list(map(len, lists)), masks


@pytest.mark.filterwarnings("ignore:a sampler names the rows")
@settings(max_examples=60, deadline=None)
@given(
    value=st.sampled_from([0, -1, 7]),
    side=st.sampled_from(["left", "right"]),
    multiple_or_length=st.one_of(st.tuples(st.integers(1, 9), st.none()), st.tuples(st.just(1), st.integers(1, 15))),
    batch_size=st.integers(1, 70),
    memory_bytes=st.sampled_from([5000, 1 << 30]),
    own_sampler=st.booleans(),
)
def test_batches_are_those_of_the_reference(
    rows, lists, value, side, multiple_or_length, batch_size, memory_bytes, own_sampler
):
    multiple, length = multiple_or_length
    padding = fl.Padding(value, side, multiple, length, truncate=length is not None, mask=True)
    order = {"sampler": list(range(NUM_ROWS))[::-1]} if own_sampler else {"shuffle": True, "seed": 1}
    loader = fl.DataLoader(rows, batch_size, padding=padding, num_workers=1, memory_bytes=memory_bytes, **order)
    seen = elements = places = 0
    for batch in loader:
        values, lengths, masks = reference([lists[r] for r in batch["row"].tolist()], padding)
        for name, dtype in (("t", torch.int32), ("f", torch.float32)):
            assert batch[name].dtype == dtype
            assert batch[name].tolist() == values
            assert batch[f"{name}_lengths"].tolist() == lengths
            assert batch[f"{name}_mask"].tolist() == masks
            elements += sum(lengths)
            places += batch[name].numel()
        seen += len(lengths)
    assert seen == NUM_ROWS
    if not own_sampler:
        assert loader.stats()["padding_share"] == pytest.approx(1 - elements / places if places else 0)


def test_fields_may_differ(rows):
    padding = {"t": fl.Padding(-1, multiple=8), "f": fl.Padding(float("nan"), "left", mask=True)}
    batch = next(iter(fl.DataLoader(rows, batch_size=50, padding=padding)))
    assert batch["t"].shape[1] % 8 == 0
    assert "t_mask" not in batch
    assert torch.equal(~batch["f_mask"], batch["f"].isnan())


def test_bfloat16_is_padded_with_its_own_bits(tmp_path):
    schema = [fl.Field("b", "bfloat16", variable=True)]
    with fl.Writer(tmp_path / "b.fl", schema) as writer:
        writer.append({"b": fl.Ragged(np.array([0, 1, 3]), np.array([0x3F80, 0x4000, 0x4040], np.uint16))})
    for value in (-2.0, 0.1, 1e30, float("inf")):
        batch = next(iter(fl.DataLoader(tmp_path / "b.fl", batch_size=2, padding=fl.Padding(value))))
        rounded = torch.tensor(value).to(torch.bfloat16).item()
        assert batch["b"].tolist() == [[1.0, rounded], [2.0, 3.0]]
    with pytest.raises(errors.ArgumentError, match="bfloat16 does not hold"):
        fl.DataLoader(tmp_path / "b.fl", padding=fl.Padding(1e300))


@pytest.mark.parametrize("order", [{}, {"sampler": range(NUM_ROWS)}])
def test_a_row_too_long_for_a_fixed_length_is_refused(rows, order):
    loader = fl.DataLoader(rows, batch_size=50, padding=fl.Padding(length=5), **order)
    with pytest.raises(
        errors.ArgumentError, match="field 't': a row of 11 elements does not fit the fixed length of 5"
    ):
        list(loader)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "x"}, "value must be a number"),
        ({"value": None}, "value must be a number"),
        ({"side": "top"}, "side must be 'right' or 'left'"),
        ({"multiple": 0}, "multiple must be a positive integer"),
        ({"length": 0}, "length must be a positive integer"),
        ({"length": 2.5}, "length must be a positive integer"),
        ({"length": 8, "multiple": 4}, "leaves nothing for multiple=4"),
        ({"truncate": True}, "give length as well"),
    ],
)
def test_paddings_without_meaning(options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        fl.Padding(**options)


def test_paddings_that_do_not_fit_the_data(rows):
    def refused(error: type[Exception], message: str, data=rows, **options) -> None:
        with pytest.raises(error, match=message):
            fl.DataLoader(data, batch_size=4, **options)

    for value in (0.5, 2**40, 10**400, float("nan"), float("inf")):
        refused(errors.ArgumentError, "which int32 does not hold", padding={"t": fl.Padding(value)})
    refused(errors.UnknownFieldError, "'nothing'", padding={"nothing": fl.Padding()})
    refused(errors.ArgumentError, "not a number field of variable length", padding={"row": fl.Padding()})
    refused(errors.ArgumentError, "there are none", {"x": np.arange(3)}, padding=fl.Padding())
    refused(errors.ArgumentError, "must be a Padding", padding=3)
    refused(errors.ArgumentError, "exclude each other", padding=fl.Padding(), collate_fn=len)

    class Foreign(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

    refused(errors.ArgumentError, "torch's own machinery", Foreign(), padding=fl.Padding())


def test_a_collate_fn_set_later_gets_rows_without_padding(rows, lists):
    loader = fl.DataLoader(rows, batch_size=50, padding=fl.Padding(-1, "left"))
    loader.collate_fn = lambda samples: [sample["t"].tolist() for sample in samples]
    assert [row for batch in loader for row in batch] == lists


def test_lists_of_unequal_length_say_what_to_do():
    with pytest.raises(errors.ShapeError, match="'t' holds rows of unequal length that are no arrays; give each row"):
        fl.DataLoader({"t": [[1, 2, 3], [4]]})
    loader = fl.DataLoader({"t": fl.Ragged.from_rows([[1, 2, 3], [4]], "int64")}, batch_size=2)
    assert next(iter(loader))["t"].tolist() == [[1, 2, 3], [4, 0, 0]]
