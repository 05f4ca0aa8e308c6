"""One file for a nest of tensors and plain values: exact, atomic, and nothing in it that is run."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload.errors import DtypeError, FileIOError, FormatError, VersionError
from fastload.synth.saved import is_plain, load, save

PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text()
KEYS = st.text() | st.sampled_from(["$tuple", "$dict", "$array"]) | st.integers(0, 99)


def nests(leaves):
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(KEYS, inner, max_size=4)
        ),
        max_leaves=20,
    )


@settings(max_examples=50, deadline=None)
@given(nests(PLAIN))
def test_plain_values_come_back(tmp_path_factory, value):
    assert is_plain(value)
    path = tmp_path_factory.getbasetemp() / "nest"
    save(path, value)
    assert repr(load(path)) == repr(value)  # types, NaN and the order of keys as well


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0, 3),
        torch.tensor(1.5),
        torch.tensor([1.5, float("nan"), float("inf")], dtype=torch.bfloat16),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor([True, False]),
        torch.ones(2, dtype=torch.float16, requires_grad=True),
        torch.arange(3, dtype=torch.uint8),
    ],
)
def test_tensors_come_back(tmp_path, tensor):
    save(tmp_path / "t", [tensor, tensor.detach()])
    for found in load(tmp_path / "t"):
        torch.testing.assert_close(found, tensor.detach(), atol=0, rtol=0, equal_nan=True)
        assert found.dtype == tensor.dtype
        found.zero_()  # it may be written to


def test_arrays_come_back(tmp_path):
    arrays = {"f": np.arange(6.0).reshape(2, 3), "u": np.array(["a", "bcd"]), "s": np.float32(0.5)}
    save(tmp_path / "a", arrays)
    found = load(tmp_path / "a")
    assert (found["f"] == arrays["f"]).all()
    assert found["u"].tolist() == ["a", "bcd"]
    assert found["s"] == 0.5


def test_an_optimizer_comes_back(tmp_path):
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    save(tmp_path / "o", state)
    found = load(tmp_path / "o")
    assert found["param_groups"] == state["param_groups"]
    assert list(found["state"]) == [0, 1]
    assert torch.equal(found["state"][0]["exp_avg"], state["state"][0]["exp_avg"])


@pytest.mark.parametrize("wrong", [print, {"a": [object()]}, np.array([None]), {(1, 2): 3}, {1.5: 3}, torch.nn.ReLU()])
def test_what_no_file_can_hold(tmp_path, wrong):
    with pytest.raises(DtypeError, match="a file cannot hold a"):
        save(tmp_path / "x", wrong)
    assert not list(tmp_path.iterdir())


def test_the_message_says_where(tmp_path):
    with pytest.raises(DtypeError, match=r"^a file cannot hold a ReLU, which is at value\['a'\]\[1\]$"):
        save(tmp_path / "x", {"a": [1, torch.nn.ReLU()]})


def test_a_failed_write_leaves_the_old_file(tmp_path):
    save(tmp_path / "x", 1)
    with pytest.raises(DtypeError):
        save(tmp_path / "x", print)
    assert load(tmp_path / "x") == 1
    with pytest.raises(FileIOError):
        save(tmp_path / "none" / "x", 1)
    with pytest.raises(FileIOError, match="none"):
        load(tmp_path / "none")


def test_damaged_and_foreign_files(tmp_path):
    path = tmp_path / "x"
    save(path, {"a": torch.arange(100), "b": "text"})
    whole = path.read_bytes()
    for damaged in (b"", b"PK", whole[:-1], whole[: len(whole) // 2], pickle.dumps([1, 2]), b"no model at all"):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="damaged or none"):
            load(path)
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        try:
            found = load(path)
        except FormatError:
            continue  # a flipped bit is seen, or it lies in what zip files do not use
        assert torch.equal(found["a"], torch.arange(100))
        assert found["b"] == "text"


def written(**members) -> bytes:
    file = io.BytesIO()
    np.savez(file, **members)
    return file.getvalue()


@pytest.mark.parametrize(
    "structure",
    [
        {},
        [],
        {"fastload": "other", "version": 1, "value": 1},
        {"fastload": "model", "version": 1, "value": {"$array": 5}},
        {"fastload": "model", "version": 1, "value": {"$tensor": 0}},
        {"fastload": "model", "version": 1, "value": {"$dict": [1]}},
        {"fastload": "model", "version": 1, "value": {"$tuple": 3}},
    ],
)
def test_foreign_structures(tmp_path, structure):
    text = np.frombuffer(json.dumps(structure).encode(), np.uint8)
    (tmp_path / "x").write_bytes(written(structure=text, **{"0": np.array(["text"])}))
    with pytest.raises(FormatError):
        load(tmp_path / "x")


def test_pickled_objects_are_not_loaded(tmp_path):
    text = json.dumps({"fastload": "model", "version": 1, "value": {"$array": 0}}).encode()
    content = written(structure=np.frombuffer(text, np.uint8), **{"0": np.array([{}], dtype=object)})
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FormatError, match="allow_pickle=False"):
        load(tmp_path / "x")


def test_a_later_version(tmp_path):
    text = json.dumps({"fastload": "model", "version": 2, "value": 1}).encode()
    (tmp_path / "x").write_bytes(written(structure=np.frombuffer(text, np.uint8)))
    with pytest.raises(VersionError, match="reads version 1"):
        load(tmp_path / "x")
