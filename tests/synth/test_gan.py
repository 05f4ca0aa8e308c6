"""The game of two networks: its losses, its penalty, its conditions; and that it learns what it is to learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fastload as fl
from fastload.errors import ArgumentError, DtypeError, NotFittedError, ShapeError, StateError, UnknownFieldError
from fastload.synth.gan import LOSSES, GANTrainer, Hinge, NonSaturating, Wasserstein, steepness
from fastload.synth.training import Trainer


def generator(inputs: int = 4, outputs: int = 1, width: int = 32) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


class Told(nn.Module):
    """A network that is told a class beside its inputs."""

    def __init__(self, inputs: int, outputs: int, classes: int) -> None:
        super().__init__()
        self.classes, self.body = classes, generator(inputs + classes, outputs)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.body(torch.cat([x, functional.one_hot(labels, self.classes).to(x.dtype)], dim=1))


def networks(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    return generator(), generator(1)


def gan(**options) -> GANTrainer:
    return GANTrainer(
        *networks(), **{"latent_size": 4, "batch_size": 64, "max_steps": 20, "learning_rate": 1e-3} | options
    )


def mixture(count: int = 4000) -> dict[str, np.ndarray]:
    """Two bells, of which the second has twice the rows."""
    rng = np.random.default_rng(0)
    y = (rng.random(count) < 2 / 3).astype(np.int64)
    x = rng.normal(np.where(y, 1.5, -1.5), np.where(y, 0.5, 0.25)).astype(np.float32)
    return {"x": x[:, None], "y": y}


def test_losses_are_what_is_published():
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 0.25])
    assert Wasserstein().discriminator(real, fake).item() == fake.mean() - real.mean()
    assert Wasserstein().generator(fake).item() == Hinge().generator(fake).item() == -fake.mean()
    assert Hinge().discriminator(real, fake).item() == pytest.approx((0.5 + 0) / 2 + (0 + 1.25) / 2)
    ones, zeros = torch.ones(2), torch.zeros(2)
    expected = functional.binary_cross_entropy_with_logits(real, ones)
    expected = expected + functional.binary_cross_entropy_with_logits(fake, zeros)
    torch.testing.assert_close(NonSaturating().discriminator(real, fake), expected)
    torch.testing.assert_close(NonSaturating().generator(fake), functional.binary_cross_entropy_with_logits(fake, ones))


def test_the_penalty_is_that_of_finite_differences():
    line = nn.Linear(3, 1)
    slope = line.weight.norm().item()
    found = steepness(line, torch.randn(5, 3), torch.randn(5, 3))
    assert found.item() == pytest.approx((slope - 1) ** 2, rel=1e-5)
    assert found.requires_grad


def test_it_learns_both_bells_of_a_mixture():
    options = {"loss": "hinge", "gradient_penalty": 0.5, "batch_size": 128, "ema": 0.99, "discriminator_rate": 2e-3}
    trainer = gan(max_steps=800, **options).fit({"x": mixture()["x"]})
    found = trainer.sample(4000)[:, 0].numpy()
    low, high = found[found < 0], found[found >= 0]
    assert abs(len(high) / len(found) - 2 / 3) < 0.1
    assert abs(low.mean() + 1.5) < 0.3
    assert abs(high.mean() - 1.5) < 0.3
    assert 0.1 < low.std() < 0.7
    assert 0.2 < high.std() < 0.8


def test_it_is_told_classes():
    torch.manual_seed(0)
    trainer = GANTrainer(
        Told(4, 1, 2), Told(1, 1, 2), latent_size=4, loss="vanilla", labels="y", batch_size=128, max_steps=500, learning_rate=1e-3,
        ema=0.99,
    ).fit(mixture())  # fmt: skip
    assert trainer.schema == {"x": ["float32", [1]], "y": ["int64", []]}
    for label, mean, spread in ((0, -1.5, 0.25), (1, 1.5, 0.5)):
        found = trainer.sample(1000, labels=[label] * 1000)
        assert abs(found.mean() - mean) < 0.3
        assert abs(found.std() - spread) < 0.2


def test_several_steps_of_the_discriminator():
    trainer = gan(discriminator_steps=3, max_steps=7).fit(mixture())
    assert [("generator" in row) for row in trainer.history] == [False, False, True, False, False, True, False]
    assert all("discriminator" in row for row in trainer.history)


def test_samples_are_a_function_of_the_seed():
    trainer = gan(ema=0.5).fit(mixture())
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = trainer.sample(2500)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == (2500, 1)
    assert not first.requires_grad
    assert torch.equal(trainer.sample(2500), first)
    assert torch.equal(trainer.sample(1000), first[:1000])
    assert not torch.equal(trainer.sample(2500, seed=1), first)


def test_samples_come_of_averaged_weights():
    trainer = gan(ema=0.99).fit(mixture())
    assert trainer._fitted("generator") is not trainer.generator
    noise = torch.randn(5, 4)
    assert not torch.equal(trainer._fitted("generator")(noise), trainer.generator(noise))
    assert list(trainer._averages) == ["generator"]


def test_rows_are_augmented_before_they_are_seen():
    seen = []

    def augment(rows):
        seen.append(rows.shape)
        return rows + torch.randn_like(rows)

    trainer = gan(augment=augment, max_steps=2).fit(mixture())
    assert seen == [(64, 1)] * 6  # rows, samples; and samples for the generator
    assert trainer.history != gan(max_steps=2).fit(mixture()).history


def test_trained_from_a_loader_and_resumed(tmp_path):
    data = mixture(640)
    whole = gan(max_steps=25).fit(data)

    def loader():
        return fl.DataLoader(data, 64, shuffle=True, drop_last=True, seed=0)

    gan(max_steps=11).fit(loader(), checkpoint=tmp_path / "state")
    again = gan(max_steps=25).fit(loader(), checkpoint=tmp_path / "state")
    assert again.history == whole.history
    assert torch.equal(again.sample(10), whole.sample(10))
    other = dict(zip(("generator", "discriminator"), networks(seed=1)))
    loaded = GANTrainer.load(tmp_path / "state", **other)
    assert loaded.step == 25
    assert torch.equal(loaded.sample(10), whole.sample(10))
    with pytest.raises(StateError, match=r"arguments\.loss: 'wgan-gp' there, 'hinge' here"):
        gan(loss="hinge").fit(data, checkpoint=tmp_path / "state")


def test_a_loss_of_your_own():
    class LeastSquares:
        """Mao et al., ICCV 2017."""

        gradient_penalty = 0.0

        def discriminator(self, real_scores, fake_scores):
            return (real_scores - 1).square().mean() + fake_scores.square().mean()

        def generator(self, fake_scores):
            return (fake_scores - 1).square().mean()

    trainer = gan(loss=LeastSquares()).fit(mixture())
    assert all(math.isfinite(value) for row in trainer.history for value in row.values())


def test_spectral_norm_needs_no_penalty():
    torch.manual_seed(0)
    norm = nn.utils.parametrizations.spectral_norm
    critic = nn.Sequential(norm(nn.Linear(1, 16)), nn.LeakyReLU(), norm(nn.Linear(16, 1)))
    trainer = GANTrainer(generator(), critic, latent_size=4, loss="hinge", batch_size=64, max_steps=50).fit(mixture())
    assert isinstance(trainer, Trainer)
    assert trainer.step == 50


def test_wrong_use():
    for wrong in (
        {"loss": "wgan"}, {"gradient_penalty": -1}, {"latent_size": 0}, {"discriminator_steps": 0}, {"discriminator_rate": 0.0},
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            gan(**wrong)
    data = mixture(100)
    with pytest.raises(UnknownFieldError, match="must have a field 'z'; they have 'x', 'y'"):
        gan(inputs="z").fit(data)
    with pytest.raises(DtypeError, match="field 'y' is int64"):
        gan(inputs="y").fit(data)
    with pytest.raises(NotFittedError, match="call fit"):
        gan().sample(3)
    trained = gan(max_steps=1).fit(data)
    with pytest.raises(ArgumentError, match="told no labels"):
        trained.sample(2, labels=[0, 1])
    with pytest.raises(ArgumentError, match="n must be a positive integer"):
        trained.sample(0)
    torch.manual_seed(0)
    told = GANTrainer(Told(4, 1, 2), Told(1, 1, 2), latent_size=4, labels="y", batch_size=50, max_steps=1).fit(data)
    with pytest.raises(ArgumentError, match="must be told labels"):
        told.sample(2)
    with pytest.raises(ShapeError, match="each of 2 samples, got 3"):
        told.sample(2, labels=[0, 1, 1])


def test_all_losses_are_tried():
    assert set(LOSSES) == {"wgan-gp", "hinge", "vanilla"}
