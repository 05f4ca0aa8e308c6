"""Adversarial samples: gradients, balls, and what is known of a small network's robustness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import fastload as fl
from fastload.errors import ArgumentError, NotFiniteError
from fastload.synth.adversarial import FGSM, PGD, robustness

EPSILONS = (0.0, 0.03, 0.06, 0.12, 0.25)


def digits():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x = torch.from_numpy((images / 16).astype(np.float32))[order]
    y = torch.from_numpy(labels)[order]
    return (x[400:], y[400:]), (x[:400], y[:400])


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))


def train(model: nn.Module, rows, attack=None, epochs: int = 25) -> nn.Module:
    transform = None if attack is None else attack.on("x", "y")
    loader = fl.DataLoader(dict(zip("xy", rows)), 64, shuffle=True, seed=1, transform=transform)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(batch["x"]), batch["y"]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def rows():
    return digits()


@pytest.fixture(scope="module")
def plain(rows):
    return train(network(), rows[0])


def test_robust_accuracy_falls_with_epsilon_and_pgd_is_the_stronger(plain, rows):
    fast = [robustness(plain, [rows[1]], FGSM(plain, e, bounds=(0, 1))) for e in EPSILONS]
    slow = [robustness(plain, [rows[1]], PGD(plain, e, steps=20, bounds=(0, 1))) for e in EPSILONS]
    assert fast[0].accuracy == fast[0].robust_accuracy > 0.9
    for found in (fast, slow):
        robust = [r.robust_accuracy for r in found]
        assert robust == sorted(robust, reverse=True)
        assert {r.accuracy for r in found} == {fast[0].accuracy}
    assert all(s.robust_accuracy <= f.robust_accuracy for f, s in zip(fast, slow))
    assert slow[-1].robust_accuracy < 0.2


def test_training_on_moved_inputs_makes_robust(plain, rows):
    hardened = network()
    train(hardened, rows[0], PGD(hardened, 0.1, steps=5, bounds=(0, 1)))
    before = robustness(plain, [rows[1]], PGD(plain, 0.1, steps=20, bounds=(0, 1)))
    after = robustness(hardened, [rows[1]], PGD(hardened, 0.1, steps=20, bounds=(0, 1)))
    assert after.robust_accuracy > before.robust_accuracy + 0.15
    assert after.accuracy > 0.85


def test_gradients_are_those_of_finite_differences(plain, rows):
    model = network().double()
    x, y = rows[1][0][:5].double(), rows[1][1][:5]
    ascent = FGSM(model, 1.0, norm="2")._ascent
    with torch.no_grad():
        model.eval()
        step, slopes = 1e-6, torch.empty_like(x)
        for i in range(x.shape[1]):
            up, down = x.clone(), x.clone()
            up[:, i] += step
            down[:, i] -= step
            losses = [functional.cross_entropy(model(at), y, reduction="none") for at in (up, down)]
            slopes[:, i] = (losses[0] - losses[1]) / (2 * step)
    torch.testing.assert_close(ascent(x, y), slopes / slopes.norm(dim=1, keepdim=True), atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    epsilon=st.floats(0, 2),
    norm=st.sampled_from(["inf", "2"]),
    bounded=st.booleans(),
    shape=st.sampled_from([(4,), (2, 3), (1, 2, 2)]),
    seed=st.integers(0, 100),
)
def test_inputs_stay_in_the_ball_and_in_their_bounds(epsilon, norm, bounded, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((3, *shape), generator=generator)
    model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 3))
    y = torch.randint(0, 3, (3,), generator=generator)
    bounds = (0.0, 1.0) if bounded else None
    for attack in (
        FGSM(model, epsilon, norm=norm, bounds=bounds),
        PGD(model, epsilon, norm=norm, bounds=bounds, steps=3),
    ):
        moved = attack(x, y)
        assert (moved.shape, moved.dtype) == (x.shape, x.dtype)
        change = (moved - x).flatten(1)
        size = change.abs().amax(1) if norm == "inf" else change.norm(dim=1)
        assert size.max() <= epsilon * (1 + 1e-5) + 1e-6
        if bounded:
            assert moved.min() >= 0
            assert moved.max() <= 1


def test_the_model_is_left_as_it_was(rows):
    model = network()
    model[2].eval()
    modes = [part.training for part in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    PGD(model, 0.1)(*rows[1])
    assert [part.training for part in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not rows[1][0].requires_grad


def test_a_start_is_drawn_from_the_generator(plain, rows):
    def moved(seed):
        return PGD(plain, 0.1, steps=1, generator=torch.Generator().manual_seed(seed))(*rows[1])

    assert torch.equal(moved(1), moved(1))
    assert not torch.equal(moved(1), moved(2))


def test_wrong_input(plain, rows):
    x, y = rows[1]
    for wrong in (
        {"epsilon": -1},
        {"epsilon": float("nan")},
        {"epsilon": 1, "norm": "1"},
        {"epsilon": 1, "bounds": (1, 0)},
    ):
        with pytest.raises(ArgumentError):
            FGSM(plain, **wrong)
    for wrong in ({"steps": 0}, {"steps": 1.5}, {"step_size": 0}):
        with pytest.raises(ArgumentError):
            PGD(plain, 0.1, **wrong)
    attack = FGSM(plain, 0.1)
    with pytest.raises(ArgumentError, match="floats"):
        attack((x * 16).to(torch.uint8), y)
    with pytest.raises(ArgumentError, match="as many"):
        attack(x, y[:3])
    broken = x.clone()
    broken[7, 3] = float("nan")
    with pytest.raises(NotFiniteError, match="row 7"):
        attack(broken, y)
    with pytest.raises(ArgumentError, match="hold none"):
        robustness(plain, [], attack)
