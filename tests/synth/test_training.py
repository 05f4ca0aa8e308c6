"""The training loop: repeatable, resumable at any step, interruptible; it ends early, and it says when it diverges."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import children
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fastload as fl
from fastload.errors import ArgumentError, DivergedError, FormatError, NotFittedError, StateError, TooFewRowsError
from fastload.synth.batches import Batches, loader_of
from fastload.synth.training import Trainer

ROWS = 70


class Regression(Trainer):
    """A network with dropout, so that steps draw; with a batch norm, so that there are buffers. "batch" is what came."""

    def __init__(self, width: int = 8, *, broken_at: int | None = None, **options) -> None:
        super().__init__(**{"batch_size": 16, "max_steps": 40, "learning_rate": 0.01} | options)
        self.width, self.broken_at = width, broken_at

    def _build(self, schema):
        inputs = schema["x"][1][0]
        self._network = nn.Sequential(
            nn.Linear(inputs, self.width),
            nn.BatchNorm1d(self.width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(self.width, 1),
        )
        self._optimizer = self._adam(self._network)

    def _modules(self):
        return {"network": self._network}

    def _optimizers(self):
        return {"adam": self._optimizer}

    def _step(self, batch):
        loss = functional.mse_loss(self._network(batch["x"] + 0.01 * torch.randn_like(batch["x"]))[:, 0], batch["y"])
        self._descend(loss * (float("nan") if self.step == self.broken_at else 1), self._optimizer, max_norm=5.0)
        return {"loss": loss if self.step != self.broken_at else loss * float("nan"), "batch": batch["x"].sum()}

    def predict(self, x):
        return self._fitted("network")(x)[:, 0]


def rows(count: int = ROWS, inputs: int = 3) -> dict[str, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(count, inputs)).astype(np.float32)
    return {"x": x, "y": x.sum(axis=1) + 1}


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [v for part in trainer._weights().values() for m in part.values() for v in m.values()]


def assert_same(a: Trainer, b: Trainer) -> None:
    assert a.history == b.history
    assert all(torch.equal(left, right) for left, right in zip(weights(a), weights(b), strict=True))


def test_it_learns():
    trainer = Regression(max_steps=300, ema=0.9).fit(rows(500))
    assert trainer.step == len(trainer.history) == 300
    assert list(trainer.history[0]) == ["step", "loss", "batch"]
    x = torch.from_numpy(rows(500)["x"])
    assert functional.mse_loss(trainer.predict(x), x.sum(1) + 1) < 0.3


def test_a_seed_says_all_and_nothing_global_changes():
    torch.manual_seed(5)
    before, threads, handler = torch.get_rng_state(), torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    first = Regression(seed=1).fit(rows())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is handler
    torch.manual_seed(6)
    assert_same(Regression(seed=1).fit(rows()), first)
    assert_same(first.fit(rows()), Regression(seed=1).fit(rows()))  # anew
    assert Regression(seed=2).fit(rows()).history != first.history


@pytest.mark.parametrize("kind", ["tuple", "tensors", "path", "dataset", "loader", "iterable", "torch"])
def test_data_come_in_many_ways(tmp_path, kind):
    data = rows()
    dataset = fl.write(tmp_path / "d.fl", data)
    given = {
        "tuple": (data["x"], data["y"]),
        "tensors": {name: torch.from_numpy(column) for name, column in data.items()},
        "path": tmp_path / "d.fl",
        "dataset": dataset,
        "loader": fl.DataLoader(data, 16, shuffle=True, drop_last=True, seed=0),
        "iterable": fl.IterableDataset(dataset, 16, shuffle=True, drop_last=True, seed=0),
        "torch": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*map(torch.from_numpy, data.values())), 16),
    }[kind]
    found = Regression().fit(given)
    assert found.schema == {"x": ["float32", [3]], "y": ["float32", []]}
    if kind != "torch":
        assert_same(found, Regression().fit(data))
    if kind == "loader":
        given.set_epoch(0)
    Regression(max_steps=13).fit(given, checkpoint=tmp_path / "state")
    assert_same(Regression(max_steps=40).fit(given, checkpoint=tmp_path / "state"), found)


def test_a_loader_says_what_a_batch_is():
    """The rows of a user's own loader are not shuffled, nor cut, by the trainer."""
    found = Regression(max_steps=6).fit(fl.DataLoader(rows(20), 8))
    x = rows(20)["x"]
    expected = [x[:8].sum(), x[8:16].sum(), x[16:].sum()] * 2
    np.testing.assert_allclose([row["batch"] for row in found.history], expected, rtol=1e-5)


def _train(path: str, log: str) -> None:
    def slowly(trainer: Trainer, step: int) -> None:
        with open(log, "a") as file:
            print(step, file=file)
        time.sleep(0.01)

    torch.set_num_threads(1)
    options = {"checkpoint": path, "checkpoint_every": 3, "callback": slowly, "score": _score}
    Regression(max_steps=60, patience=8, score_every=5).fit(rows(), **options)


def _score(trainer: Regression) -> float:
    x = torch.from_numpy(rows()["x"])
    return float(functional.mse_loss(trainer.predict(x), x.sum(1) + torch.rand(len(x))))  # it draws, too


def _forked(function, *arguments) -> int:
    """A fork, of a process that runs no threads and has imported torch."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        finally:
            os._exit(code)
    return pid


def _killed_twice(path: str, log: str) -> None:
    chance = random.Random(os.getpid())
    for _ in range(2):
        begun = Path(log).read_text()
        pid = _forked(_train, path, log)
        while Path(log).read_text() == begun:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.25))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_killed_at_random_it_goes_on_as_if_it_had_not_been(tmp_path):
    path, log = tmp_path / "state", tmp_path / "log"
    log.touch()
    children.call(_killed_twice, str(path), str(log))
    assert Regression.load(path).step < 60
    whole, found = (Regression(max_steps=60, patience=8, score_every=5) for _ in range(2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the killed ones: sums of several threads are not the same to the bit
    try:
        assert_same(found.fit(rows(), checkpoint=path, score=_score), whole.fit(rows(), score=_score))
    finally:
        torch.set_num_threads(threads)


def test_an_interrupt_saves_and_passes_on(tmp_path):
    path, whole = tmp_path / "state", Regression().fit(rows())

    class Interrupted(Regression):
        def _step(self, batch):
            if self.step == 17:
                os.kill(os.getpid(), signal.SIGINT)  # amid a step: it is done to its end
            return super()._step(batch)

    Interrupted.__name__ = "Regression"
    with pytest.raises(KeyboardInterrupt):
        Interrupted().fit(rows(), checkpoint=path)
    assert Regression.load(path).step == 18
    assert_same(Regression().fit(rows(), checkpoint=path), whole)


def test_it_trains_in_another_thread():
    with ThreadPoolExecutor(1) as pool:
        assert_same(pool.submit(Regression().fit, rows()).result(), Regression().fit(rows()))


def test_divergence_goes_back_to_the_last_good_state(tmp_path):
    path, trainer = tmp_path / "state", Regression(broken_at=33)
    with pytest.raises(DivergedError) as caught:
        trainer.fit(rows(), checkpoint=path, checkpoint_every=10)
    assert str(caught.value) == (
        "losses must be finite, and 'loss' is nan at step 34; training has diverged. The weights are again those of step 30, which "
        f"'{path}' holds; a smaller learning_rate, which is 0.01, may help"
    )
    assert trainer.step == len(trainer.history) == 30
    assert_same(Regression(max_steps=30).fit(rows()), trainer)
    assert_same(Regression.load(path), trainer)
    with pytest.raises(DivergedError, match="again those of step 0; a smaller"):
        Regression(broken_at=3).fit(rows())


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    class Broken(Regression):
        def _step(self, batch):
            losses = super()._step(batch)
            if self.step == 19:
                with torch.no_grad():
                    self._network[0].weight.fill_(float("inf"))
            return losses

    trainer = Broken()
    with pytest.raises(DivergedError, match=r"those of the network are not at step 20; .* those of step 10"):
        trainer.fit(rows(), checkpoint=tmp_path / "state", checkpoint_every=10)
    assert Broken.load(tmp_path / "state").step == trainer.step == 10


def test_a_score_ends_training_and_the_best_weights_stay():
    scores = iter([3.0, 1.0, 2.0, 2.0, 2.0, 0.0])
    kept = {}

    def score(trainer):
        kept[trainer.step] = [value.clone() for value in weights(trainer)]
        return next(scores)

    trainer = Regression(max_steps=1000, score_every=10, patience=3).fit(rows(), score=score)
    assert trainer.step == 50
    assert {row["step"]: row["score"] for row in trainer.history if "score" in row} == {
        10: 3.0, 20: 1.0, 30: 2.0, 40: 2.0, 50: 2.0
    }  # fmt: skip
    assert all(map(torch.equal, weights(trainer), kept[20]))
    with pytest.raises(DivergedError, match=r"scores must be finite, and that of step 10 is nan"):
        Regression(score_every=10).fit(rows(), score=lambda trainer: float("nan"))


def test_time_ends_training():
    trainer = Regression(max_steps=10**9, timeout_s=0.3)
    start_s = time.monotonic()
    trainer.fit(rows())
    assert 0.3 <= time.monotonic() - start_s < 10
    assert 0 < trainer.step == len(trainer.history)


def test_averaged_weights():
    last = Regression(ema=0.0).fit(rows())
    x = torch.from_numpy(rows()["x"])
    assert torch.equal(last.predict(x), last._network.eval()(x)[:, 0])
    averaged = Regression(ema=0.99).fit(rows())
    assert averaged.history == last.history
    assert not torch.equal(averaged.predict(x), last.predict(x))
    assert not any(p.requires_grad for p in averaged._fitted("network").parameters())


def test_bfloat16_learns():
    trainer = Regression(max_steps=200, precision="bfloat16", ema=0.9).fit(rows(500))
    assert np.mean([row["loss"] for row in trainer.history[-20:]]) < 1.5
    assert all(value.dtype != torch.bfloat16 for value in weights(trainer))


def test_saved_and_loaded(tmp_path):
    trainer = Regression(width=5, max_steps=20).fit(rows())
    trainer.save(tmp_path / "model")
    found = Regression.load(tmp_path / "model")
    assert (found.width, found.max_steps, found.schema) == (5, 20, trainer.schema)
    assert_same(found, trainer)
    x = torch.from_numpy(rows()["x"])
    assert torch.equal(found.predict(x), trainer.predict(x))
    assert Regression.load(tmp_path / "model", max_steps=30).max_steps == 30


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({"width": 9}, rows(), r"differs in arguments.width: 8 there, 9 here\. Train by what it was begun with, or"),
        ({"seed": 1}, rows(), "arguments.seed: 0 there, 1 here"),
        ({}, rows(inputs=4), r"schema.x: \['float32', \[3\]\] there, \['float32', \[4\]\] here"),
        ({}, rows() | {"y": np.zeros(ROWS)}, r"schema.y: \['float32', \[\]\] there, \['float64', \[\]\] here"),
        ({}, rows(ROWS + 1), "num_rows"),
    ],
)
def test_a_checkpoint_of_another_training(tmp_path, options, data, message):
    path = tmp_path / "state"
    Regression(max_steps=5).fit(rows(), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(StateError, match=message):
        Regression(**options).fit(data, checkpoint=path)
    assert path.read_bytes() == before
    Regression(**options).fit(data, checkpoint=path, resume=False)
    assert Regression.load(path).step == 40


def test_files_of_other_kinds(tmp_path):
    class Other(Regression):
        pass

    Regression(max_steps=5).fit(rows(), checkpoint=tmp_path / "state")
    with pytest.raises(StateError, match="must hold a Other, and holds a Regression"):
        Other.load(tmp_path / "state")
    (tmp_path / "state").write_bytes(b"rubbish")
    for use in (Regression.load, lambda path: Regression().fit(rows(), checkpoint=path)):
        with pytest.raises(FormatError):
            use(tmp_path / "state")


def test_wrong_use(tmp_path):
    with pytest.raises(TooFewRowsError, match=r"they have 15 rows, and batch_size is 16; make it smaller"):
        Regression().fit(rows(15))
    with pytest.raises(TooFewRowsError, match="gives no batch"):
        Regression().fit(fl.DataLoader(rows(15), 16, drop_last=True))
    with pytest.raises(ArgumentError, match="at most x, y; got 3 parts"):
        Regression().fit((np.zeros(3), np.zeros(3), np.zeros(3)))
    for use in (Regression().predict, lambda _: Regression().save(tmp_path / "x")):
        with pytest.raises(NotFittedError):
            use(torch.zeros(1, 3))
    for wrong in (
        {"batch_size": 0}, {"max_steps": 1.5}, {"learning_rate": 0}, {"seed": -1}, {"precision": "float16"}, {"ema": 1},
        {"score_every": 0}, {"patience": 0}, {"timeout_s": -1},
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Regression(**wrong)


def test_batches_can_be_looked_at():
    device = torch.device("cpu")
    for loader in (loader_of(rows(), "xy", 16, 0, 0, 1), [{"x": torch.tensor([i])} for i in range(3)]):
        batches = Batches(loader, "xy", device)
        state = batches.state()
        first = batches.peek()
        assert batches.state() == state
        assert torch.equal(next(batches)["x"], first["x"])
        assert batches.state() != state
        batches.load_state(state)
        assert torch.equal(next(batches)["x"], first["x"])


def _rank_of_two(rank: int, folder: str) -> None:
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # of this child: the machine's name need not be known to a name server
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    data, path = rows(), Path(folder) / "state"
    Regression(max_steps=9).fit(data, checkpoint=path)
    dist.barrier()
    trainer = Regression(score_every=10, patience=2, timeout_s=100).fit(
        data, checkpoint=path, score=lambda _: rank + 1.0
    )
    trainer.save(Path(folder) / f"rank {rank}")
    dist.destroy_process_group()


def _two_ranks(folder: str) -> list[int]:
    pids = [_forked(_rank_of_two, rank, folder) for rank in range(2)]
    return [os.waitpid(pid, 0)[1] for pid in pids]


def test_two_ranks_train_one_model(tmp_path):
    assert children.call(_two_ranks, str(tmp_path)) == [0, 0]
    first, second = (Regression.load(tmp_path / f"rank {rank}") for rank in range(2))
    assert_same(first, second)
    assert len(first.history) == 30
    assert first.history != Regression().fit(rows()).history  # its batches are half as large
