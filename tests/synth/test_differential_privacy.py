"""Training that tells little of any one row: what is guaranteed, and what would void it."""

from __future__ import annotations

import logging
import sys

import numpy as np
import polars as pl
import pytest
import torch
from opacus.accountants import RDPAccountant

import fastload as fl
from fastload.errors import ArgumentError, MissingExtraError, NotFittedError, StateError
from fastload.synth import Columns, FixedCombinations, TableAutoregressor
from fastload.synth import autoregressive as module
from fastload.synth.column_network import ColumnNetwork
from fastload.synth.differential_privacy import (
    Accountant,
    DifferentialPrivacy,
    Mechanism,
    PoissonBatches,
    PrivateDescent,
    secret_generator,
)

BUDGET = DifferentialPrivacy(epsilon=8.0, delta=1e-4)
SMALL = {"batch_size": 100, "max_steps": 30, "width": 16, "head_width": 8}
SIZES = (5, 3, 7)
NO_NOISE = Mechanism(noise_multiplier=0.0, sample_rate=0.5)


def pairs(rows: int = 1000) -> pl.DataFrame:
    """Two columns, of which the second is nearly always told by the first."""
    draw = np.random.default_rng(0)
    first = draw.choice(["a", "b"], rows)
    second = np.where(draw.random(rows) < 0.95, first, draw.choice(["a", "b"], rows))
    return pl.DataFrame({"first": first, "second": second})


def rows_of_codes(rows: int) -> torch.Tensor:
    return torch.stack([torch.arange(rows) * (k + 1) % size for k, size in enumerate(SIZES)], dim=1)


def network() -> ColumnNetwork:
    torch.manual_seed(0)
    return ColumnNetwork([torch.ones(size, dtype=torch.int64) for size in SIZES], width=8, head_width=4, dropout=0.0)


def moved(codes: torch.Tensor, known: torch.Tensor, max_grad_norm: float, expected_rows: int = 4) -> list[torch.Tensor]:
    """How far one step of plain descent by a rate of 1, without noise, moves each weight."""
    net = network()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    privacy = DifferentialPrivacy(1.0, 1e-5, max_grad_norm)
    descent = PrivateDescent(net, torch.optim.SGD(net.parameters(), lr=1.0), privacy, NO_NOISE, expected_rows)
    descent.step(net.losses(codes, known))
    descent.close()
    return [old - new.detach() for old, new in zip(before, net.parameters(), strict=True)]


@pytest.fixture
def without_account(monkeypatch):
    """Without noise there is no epsilon."""
    monkeypatch.setattr("fastload.synth.differential_privacy.Accountant", lambda *_: None)


@pytest.fixture(scope="module")
def model():
    return TableAutoregressor(privacy=BUDGET, **SMALL).fit(pairs())


# --- clipping and noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("max_grad_norm", [0.05, 0.7, 100.0])
def test_gradients_are_those_of_a_loop_over_rows(without_account, max_grad_norm):
    codes = rows_of_codes(20)
    known = torch.rand(codes.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    net = network()
    wanted = [torch.zeros_like(parameter) for parameter in net.parameters()]
    for row in range(len(codes)):
        loss = net.losses(codes[row : row + 1], known[row : row + 1]).sum()
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        for total, gradient in zip(wanted, gradients, strict=True):
            total += gradient * min(
                1.0, max_grad_norm / (float(norm) + 1e-6)
            )  # nothing is learned of a row that is known
    for found, total in zip(moved(codes, known, max_grad_norm), wanted, strict=True):
        torch.testing.assert_close(found, total / 4, atol=1e-5, rtol=1e-4)


def test_no_row_moves_the_weights_by_more_than_its_share(without_account):
    codes = rows_of_codes(20)
    known = torch.zeros(codes.shape, dtype=torch.bool)
    outlier = codes.clone()
    outlier[7] = torch.tensor([size - 1 for size in SIZES])
    one, other = moved(codes, known, 0.1), moved(outlier, known, 0.1)
    removed = moved(torch.cat([codes[:7], codes[8:]]), torch.cat([known[:7], known[8:]]), 0.1)

    def distance(a, b):
        return float(torch.cat([(x - y).flatten() for x, y in zip(a, b, strict=True)]).norm())

    assert 0 < distance(one, other) <= 2 * 0.1 / 4 * (1 + 1e-5)
    assert distance(one, removed) == pytest.approx(0.1 / 4, rel=1e-4)  # all are longer than 0.1


def test_an_empty_batch_is_a_step_like_any(without_account):
    moves = moved(rows_of_codes(0), torch.zeros(0, len(SIZES), dtype=torch.bool), 1.0)
    assert all(not move.any() for move in moves)


def test_noise_is_as_strong_as_it_should_be():
    net = network()
    before = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    privacy = DifferentialPrivacy(1.0, 1e-5, max_grad_norm=0.5)
    descent = PrivateDescent(net, torch.optim.SGD(net.parameters(), lr=1.0), privacy, Mechanism(3.0, 0.5), 4)
    descent.step(net.losses(rows_of_codes(0), torch.zeros(0, len(SIZES), dtype=torch.bool)))
    after = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    noise = (after - before)[
        before > -1e6
    ]  # not of codes that a column does not have: next to their logits it is nothing
    assert len(noise) > 300
    assert float(noise.std()) == pytest.approx(3.0 * 0.5 / 4, rel=0.15)


def test_secret_generators_differ_and_draw_normal_numbers():
    one, other = (torch.randn(100_000, generator=secret_generator(torch.device("cpu"))) for _ in range(2))
    assert abs(float(one.mean())) < 0.02
    assert float(one.std()) == pytest.approx(1, abs=0.02)
    assert abs(float(one @ other)) / len(one) < 0.02


def test_rows_are_drawn_by_themselves():
    drawn = iter(PoissonBatches(torch.arange(1000)[:, None], 0.05))
    lengths = [len(next(drawn)["codes"]) for _ in range(400)]
    assert np.mean(lengths) == pytest.approx(50, abs=2)
    assert np.var(lengths) == pytest.approx(1000 * 0.05 * 0.95, rel=0.35)


# --- the account ----------------------------------------------------------------------------------------


def of_opacus(mechanism: Mechanism, steps: int, delta: float) -> float:
    accountant = RDPAccountant()
    for _ in range(steps):
        accountant.step(noise_multiplier=mechanism.noise_multiplier, sample_rate=mechanism.sample_rate)
    return accountant.get_epsilon(delta)


def test_epsilon_is_that_of_opacus_and_within_the_budget(model):
    spent = model.privacy_spent
    assert spent.epsilon == pytest.approx(of_opacus(model._mechanism, model.step, 1e-4), rel=1e-12)
    assert 0.99 * 8.0 <= spent.epsilon <= 8.0
    assert spent.delta == 1e-4
    assert model._mechanism.sample_rate == 0.1
    assert model.history[-1] == {"step": 30, "epsilon": pytest.approx(spent.epsilon, rel=1e-5)}


@pytest.mark.parametrize(("steps", "rate", "noise"), [(1, 0.01, 1.0), (700, 0.05, 2.0), (50, 1.0, 10.0)])
def test_the_account_of_any_number_of_steps(steps, rate, noise):
    mechanism = Mechanism(noise, rate)
    assert Accountant(mechanism, 1e-5).epsilon(steps) == pytest.approx(of_opacus(mechanism, steps, 1e-5), rel=1e-12)


def test_an_epsilon_that_no_noise_reaches():
    with pytest.raises(ArgumentError, match="less than can be shown"):
        Mechanism.within(DifferentialPrivacy(0.01, 1e-5), 0.1, 100)


def test_a_training_that_ends_early_spends_less():
    ended = TableAutoregressor(privacy=BUDGET, timeout_s=1e-9, **SMALL).fit(pairs())
    assert ended.step < SMALL["max_steps"]
    spent = ended.privacy_spent
    assert spent.epsilon == (of_opacus(ended._mechanism, ended.step, 1e-4) if ended.step else 0.0)


def test_a_resumed_training_counts_all_steps(tmp_path):
    path = tmp_path / "half"

    def stop(trainer, step):
        if step == 12:
            raise KeyboardInterrupt

    half = TableAutoregressor(privacy=BUDGET, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        half.fit(pairs(), checkpoint=path, callback=stop)
    assert half.privacy_spent.epsilon == pytest.approx(of_opacus(half._mechanism, 12, 1e-4))
    one = TableAutoregressor(privacy=BUDGET, **SMALL).fit(pairs(), checkpoint=path)
    assert one.step == 30
    assert one.privacy_spent.epsilon == pytest.approx(of_opacus(one._mechanism, 30, 1e-4))
    assert [row["step"] for row in one.history] == list(range(1, 31))
    with pytest.raises(StateError, match="noise_multiplier"):
        TableAutoregressor(privacy=BUDGET, **SMALL | {"max_steps": 60}).fit(pairs(), checkpoint=path)
    with pytest.raises(StateError, match="privacy"):
        TableAutoregressor(privacy=BUDGET._replace(epsilon=9.0), **SMALL).fit(pairs(), checkpoint=path)


def test_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "m")
    again = TableAutoregressor.load(tmp_path / "m")
    assert again.privacy == BUDGET
    assert again.privacy_spent == model.privacy_spent
    assert again.privacy_statement == model.privacy_statement
    assert again.sample(20).equals(model.sample(20))


def test_the_seed_does_not_tell_the_noise(model):
    again = TableAutoregressor(privacy=BUDGET, **SMALL).fit(pairs())
    weights = [trained._fitted("network").cells.weight for trained in (model, again)]
    assert not torch.allclose(*weights, atol=1e-4)


def test_global_generators_and_loggers_stay_as_they_are():
    torch.manual_seed(7)
    before, handlers = torch.get_rng_state(), logging.getLogger().handlers[:]
    TableAutoregressor(privacy=BUDGET, **SMALL).fit(pairs())
    assert torch.equal(torch.get_rng_state(), before)
    assert logging.getLogger().handlers == handlers


# --- what is learned, and what is told ------------------------------------------------------------------


def test_dependence_is_learned():
    table = pairs(4000)
    options = {"batch_size": 400, "max_steps": 300, "learning_rate": 3e-3}
    rows = TableAutoregressor(privacy=BUDGET, **SMALL | options).fit(table).sample(2000)
    assert (rows["first"] == rows["second"]).mean() > 0.75
    assert 0.3 < (rows["first"] == "a").mean() < 0.7


def test_the_network_begins_with_nothing_of_the_table():
    skewed = pl.DataFrame({"rare": [False] * 990 + [True] * 10, "size": list(range(5)) * 200})
    model = TableAutoregressor(privacy=BUDGET, **SMALL | {"max_steps": 1, "learning_rate": 1e-9}).fit(skewed)
    network = model.network
    for size, bias in zip(network.sizes, network.heads.bias, strict=True):
        assert bias[:size].abs().max() < 1e-6
    assert model._order == [1, 0]  # by size
    assert all((count == 1).all() for count in model._counts)


def test_the_statement_says_what_holds_of_what(model):
    told = model.privacy_statement
    assert f"epsilon {model.privacy_spent.epsilon:.4g} and delta 0.0001" in told
    assert "a row more than the other" in told
    assert "The columns are not" in told
    public = TableAutoregressor(privacy=BUDGET, columns=Columns.fit(pairs(50)), **SMALL).fit(pairs())
    assert "The columns are not" not in public.privacy_statement
    combined = TableAutoregressor(privacy=BUDGET, constraints=[FixedCombinations("first", "second")], **SMALL)
    assert "FixedCombinations('first', 'second')" in combined.fit(pairs()).privacy_statement
    plain = TableAutoregressor(batch_size=100, max_steps=2).fit(pairs())
    assert plain.privacy_spent is None
    assert "without differential privacy" in plain.privacy_statement


def test_columns_of_a_public_table_are_used_as_they_are(tmp_path):
    public = Columns.fit({"x": np.arange(100.0)})
    rows = pl.DataFrame({"x": np.linspace(40.0, 500.0, 300)})  # beyond what the public table has
    model = TableAutoregressor(privacy=BUDGET, columns=public, **SMALL).fit(rows)
    assert model.columns is public
    assert model.sample(200)["x"].max() <= 99
    model.save(tmp_path / "m")
    assert "The columns are not" not in TableAutoregressor.load(tmp_path / "m").privacy_statement


def test_columns_and_how_to_learn_them():
    with pytest.raises(ArgumentError, match="columns are given"):
        TableAutoregressor(columns=Columns.fit(pairs(50)), bins=12)


# --- what would void it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option", [{"validation_share": 0.1}, {"patience": 3}, {"precision": "bfloat16"}, {"compile": True}]
)
def test_options_that_privacy_leaves_no_room_for(option):
    with pytest.raises(ArgumentError, match=f"leave out .*{next(iter(option))}"):
        TableAutoregressor(privacy=BUDGET, **option)


@pytest.mark.parametrize("option", [{"validation": pairs(20)}, {"score": lambda trainer: 0.0}])
def test_nothing_to_stop_by(option):
    with pytest.raises(ArgumentError, match="leave out validation and score"):
        TableAutoregressor(privacy=BUDGET, **SMALL).fit(pairs(), **option)


def test_a_loader(tmp_path):
    data = fl.write(tmp_path / "d.fl", {"x": np.arange(1000.0), "y": np.arange(1000) % 2})
    with pytest.raises(ArgumentError, match="give its data set"):
        TableAutoregressor(privacy=BUDGET, **SMALL).fit(fl.DataLoader(data, 100))
    assert TableAutoregressor(privacy=BUDGET, **SMALL).fit(data).step == 30


def test_several_processes(monkeypatch):
    monkeypatch.setattr(module, "rank_and_world", lambda: (0, 2))
    with pytest.raises(ArgumentError, match="one process"):
        TableAutoregressor(privacy=BUDGET, **SMALL).fit(pairs())


@pytest.mark.parametrize(
    ("values", "name"), [((0, 1e-5), "epsilon"), ((1, 0), "delta"), ((1, 1), "delta"), ((1, 1e-5, 0), "max_grad_norm")]
)
def test_budgets_that_there_are_not(values, name):
    with pytest.raises(ArgumentError, match=name):
        TableAutoregressor(privacy=DifferentialPrivacy(*values))


def test_a_delta_that_lets_a_row_be_told():
    with pytest.raises(ArgumentError, match="1000 rows"):
        TableAutoregressor(privacy=DifferentialPrivacy(8.0, 1e-3), **SMALL).fit(pairs())


def test_a_model_that_is_not_trained():
    with pytest.raises(NotFittedError):
        TableAutoregressor(privacy=BUDGET).privacy_spent  # noqa: B018


def test_without_opacus_models_are_drawn_from_but_not_trained(model, tmp_path, monkeypatch):
    model.save(tmp_path / "m")
    for name in [name for name in sys.modules if name.partition(".")[0] == "opacus"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert len(TableAutoregressor.load(tmp_path / "m").sample(5)) == 5
    with pytest.raises(MissingExtraError, match=r"fastload\[dp\]"):
        TableAutoregressor(privacy=BUDGET, **SMALL).fit(pairs())
