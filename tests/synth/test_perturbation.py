"""Perturbations that a generator makes: within their bounds, and worse for a model than no change or noise is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fastload as fl
from fastload.errors import ArgumentError, DtypeError, NotFittedError, UnknownFieldError
from fastload.synth.adversarial import PGD, robustness
from fastload.synth.perturbation import PerturbationGAN

EPSILON = 0.15


@pytest.fixture(scope="module")
def rows():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = torch.from_numpy((images / 16).astype(np.float32))[order], torch.from_numpy(labels)[order]
    return (x[400:], y[400:]), (x[:400], y[:400])


@pytest.fixture(scope="module")
def model(rows):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(10):
        for batch in fl.DataLoader(dict(zip("xy", rows[0])), 64, shuffle=True, seed=1):
            optimizer.zero_grad()
            functional.cross_entropy(network(batch["x"]), batch["y"]).backward()
            optimizer.step()
    return network


@pytest.fixture(scope="module")
def attack(model, rows):
    return PerturbationGAN(model, EPSILON, bounds=(0, 1), max_steps=250).fit(rows[0])


def test_it_misleads_the_model(model, rows, attack):
    found = robustness(model, [rows[1]], attack)
    assert found.accuracy > 0.9
    assert found.robust_accuracy < 0.7 * found.accuracy

    def noise(x, y):
        return (x + EPSILON * torch.randn_like(x).sign()).clamp(0, 1)

    torch.manual_seed(0)
    assert robustness(model, [rows[1]], noise).robust_accuracy > found.robust_accuracy + 0.2
    assert robustness(model, [rows[1]], PGD(model, EPSILON, bounds=(0, 1))).robust_accuracy < found.robust_accuracy


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_inputs_stay_in_the_ball_and_in_their_bounds(model, rows, norm, bounds):
    attack = PerturbationGAN(model, 0.5, norm=norm, bounds=bounds, max_steps=20, learning_rate=0.01).fit(rows[0])
    x, y = rows[1]
    moved = attack(x, y)
    change = moved - x
    assert (moved.shape, moved.dtype, moved.requires_grad) == (x.shape, x.dtype, False)
    size = change.abs().amax(1) if norm == "inf" else change.norm(dim=1)
    assert 0.05 < size.max() <= 0.5 + 1e-5
    if bounds:
        assert moved.min() >= 0
        assert moved.max() <= 1


def test_the_model_is_left_as_it_was(model, rows):
    before = [value.clone() for value in model.state_dict().values()]
    modes = [part.training for part in model.modules()]
    PerturbationGAN(model, EPSILON, max_steps=3).fit(rows[0])
    assert all(map(torch.equal, model.state_dict().values(), before))
    assert [part.training for part in model.modules()] == modes
    for parameter in model.parameters():
        assert parameter.requires_grad


def test_it_works_in_a_loader(model, rows, attack):
    data = dict(zip("xy", rows[0]))
    plain = next(iter(fl.DataLoader(data, 50)))
    moved = next(iter(fl.DataLoader(data, 50, transform=attack.on("x", "y"))))
    assert torch.equal(moved["x"], attack(plain["x"], plain["y"]))
    assert not torch.equal(moved["x"], plain["x"])


def test_it_is_saved_and_goes_on(model, rows, attack, tmp_path):
    PerturbationGAN(model, EPSILON, bounds=(0, 1), max_steps=33).fit(rows[0], checkpoint=tmp_path / "state")
    again = PerturbationGAN(model, EPSILON, bounds=(0, 1), max_steps=250).fit(rows[0], checkpoint=tmp_path / "state")
    assert again.history == attack.history
    loaded = PerturbationGAN.load(tmp_path / "state", model=model)
    assert torch.equal(loaded(*rows[1]), attack(*rows[1]))


def test_networks_of_your_own(rows):
    torch.manual_seed(0)
    images = rows[0][0].reshape(-1, 1, 8, 8), rows[0][1]
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    generator = nn.Conv2d(1, 1, 3, padding=1)
    attack = PerturbationGAN(model, 0.1, generator=generator, max_steps=5).fit(images)
    assert attack(images[0][:3], images[1][:3]).shape == (3, 1, 8, 8)
    default = PerturbationGAN(model, 0.1, max_steps=5).fit(images)
    assert default(images[0][:3], images[1][:3]).shape == (3, 1, 8, 8)


def test_wrong_use(model, rows):
    x, y = rows[1]
    for wrong in ({"epsilon": -1.0}, {"realism": -1.0}, {"width": 0}, {"norm": "1"}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            PerturbationGAN(model, **{"epsilon": 0.1} | wrong)
    with pytest.raises(NotFittedError, match="call fit"):
        PerturbationGAN(model, 0.1)(x, y)
    with pytest.raises(UnknownFieldError, match="'y'; they have 'x'"):
        PerturbationGAN(model, 0.1).fit({"x": x})
    with pytest.raises(DtypeError, match="must be floats"):
        PerturbationGAN(model, 0.1).fit((x.to(torch.uint8), y))
