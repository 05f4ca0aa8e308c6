"""Every model where it is asked to be: on the CPU, and on a CUDA device where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stopping import stop_at
from torch import nn

from fastload.synth.adversarial import FGSM, PGD, robustness
from fastload.synth.autoencoder import Autoencoder
from fastload.synth.autoregressive import TableAutoregressor
from fastload.synth.differential_privacy import DifferentialPrivacy
from fastload.synth.gan import GANTrainer
from fastload.synth.image_vae import ImageVAE
from fastload.synth.images import ImageGAN
from fastload.synth.perturbation import PerturbationGAN
from fastload.synth.table_gan import TableGAN
from fastload.synth.table_vae import TableVAE

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
PRECISIONS = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "compiled": {"precision": "bfloat16", "compile": True},
}
SMALL = {"batch_size": 50, "max_steps": 24}


@pytest.fixture(params=["cpu", CUDA])
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device: torch.cuda.is_available() is False")
    return request.param


def table(rows: int = 400) -> dict[str, np.ndarray]:
    """Rain tells whether it is late."""
    random = np.random.default_rng(0)
    rain = random.gamma(2.0, 4.0, rows)
    return {"town": random.choice(["Bergen", "Oslo"], rows), "rain": rain, "late": rain > 8}


def images(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [rows, 8, 8], class 1 brighter than class 0, and the classes."""
    labels = np.arange(rows) % 2
    pixels = np.random.default_rng(0).integers(0, 64, (rows, 8, 8)) + labels[:, None, None] * 150
    return pixels.astype(np.uint8), labels


def vectors(rows: int = 400) -> np.ndarray:
    """float32 [rows, 6], of which two numbers say all."""
    random = np.random.default_rng(0)
    return (random.normal(size=(rows, 2)) @ random.normal(size=(2, 6))).astype(np.float32)


def classifier() -> nn.Module:
    """Which of the first two numbers is larger."""
    network = nn.Linear(6, 2, bias=False)
    network.weight.data = torch.eye(2, 6) * 3
    return network.eval()


def plain_gan(**options: Any) -> GANTrainer:
    torch.manual_seed(0)
    networks = (
        nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 6)),
        nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1)),
    )
    return GANTrainer(*networks, latent_size=3, **options)


# name -> (how it is made, what it learns, what it is used for)
MODELS: dict[str, tuple[Callable[..., Any], Callable[[], Any], Callable[[Any], Any]]] = {
    "TableAutoregressor": (TableAutoregressor, table, lambda m: m.sample(40, where={"late": True})),
    "TableVAE": (TableVAE, table, lambda m: m.sample(40, where={"late": True})),
    "TableGAN": (TableGAN, table, lambda m: m.sample(40, where={"late": True})),
    "ImageGAN dcgan": (lambda **o: ImageGAN("dcgan", classes=2, width=8, **o), images, lambda m: m.sample(6)),
    "ImageGAN dense": (lambda **o: ImageGAN("dense", classes=2, width=8, **o), images, lambda m: m.sample(6)),
    "ImageVAE": (lambda **o: ImageVAE(latent_size=4, classes=2, width=8, **o), images, lambda m: m.sample(6)),
    "Autoencoder": (lambda **o: Autoencoder(2, hidden=(16,), **o), vectors, lambda m: m.anomaly_score(vectors())),
    "GANTrainer": (plain_gan, vectors, lambda m: m.sample(6)),
}


def values(found: Any) -> np.ndarray:
    """Of a dict of columns, all numbers in one array."""
    if isinstance(found, dict):
        return np.stack([found["rain"], found["late"].astype(float), (found["town"] == "Oslo").astype(float)])
    return np.asarray(found, np.float64)


@pytest.mark.filterwarnings(
    "ignore:`torch.jit:DeprecationWarning", r"ignore:\s*Online softmax:UserWarning"
)  # of compilers
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_it_is_trained_there(name, precision, device):
    if device == "cpu" and precision == "compiled":
        pytest.skip("compiling for the CPU takes minutes, and is tried in test_training")
    make, data, use = MODELS[name]
    model = make(device=device, **SMALL, **PRECISIONS[precision]).fit(data())
    assert model.step == 24
    assert np.isfinite([value for row in model.history for value in row.values()]).all()
    assert {parameter.device.type for module in model._modules().values() for parameter in module.parameters()} == {
        device
    }
    first, again = values(use(model)), values(use(model))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", MODELS)
def test_a_resumed_training_goes_on_there(name, device, tmp_path):
    make, data, _ = MODELS[name]
    whole = make(device=device, **SMALL).fit(data())
    with pytest.raises(KeyboardInterrupt):
        make(device=device, **SMALL).fit(data(), checkpoint=tmp_path / "half", callback=stop_at(12))
    resumed = make(device=device, **SMALL).fit(data(), checkpoint=tmp_path / "half")
    assert [row["step"] for row in resumed.history] == [row["step"] for row in whole.history]
    tolerance = 0 if device == "cpu" else 0.05  # a device's sums differ from time to time, and a game spreads that
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_what_was_learned_there_is_used_anywhere(name, device, tmp_path):
    make, data, use = MODELS[name]
    model = make(device=device, **SMALL).fit(data())
    model.save(tmp_path / "model")
    networks = (
        {} if name != "GANTrainer" else {"generator": plain_gan().generator, "discriminator": plain_gan().discriminator}
    )
    moved = type(model).load(tmp_path / "model", device="cpu", **networks)
    assert values(use(moved)).shape == values(use(model)).shape
    for module, copy in zip(model._averages.values(), moved._averages.values(), strict=True):
        for x, y in zip(module.state_dict().values(), copy.state_dict().values(), strict=True):
            assert y.device.type == "cpu"
            assert torch.equal(x.cpu(), y)
    back = type(model).load(tmp_path / "model", device=device, **networks)
    np.testing.assert_array_equal(values(use(back)), values(use(model)))


def test_dependence_is_learned_there(device):
    drawn = TableAutoregressor(device=device, batch_size=100, max_steps=400).fit(table(2000)).sample(1000)
    assert ((drawn["rain"] > 8) == drawn["late"]).mean() > 0.9


def test_training_with_privacy_there(device):
    model = TableAutoregressor(device=device, privacy=DifferentialPrivacy(4.0, 1e-4), batch_size=50, max_steps=30)
    model.fit(table())
    assert 0 < model.privacy_spent.epsilon <= 4
    assert len(model.sample(10)["late"]) == 10


def test_models_agree_with_those_of_the_cpu(device, tmp_path):
    """The same weights give the same numbers."""
    model = Autoencoder(2, hidden=(16,), device=device, **SMALL).fit(vectors())
    model.save(tmp_path / "model")
    there, here = (
        kind.anomaly_score(vectors()) for kind in (model, Autoencoder.load(tmp_path / "model", device="cpu"))
    )
    np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("attack", [FGSM, PGD])
def test_attacks_of_a_model_there(attack, device):
    x, network = torch.from_numpy(vectors()), classifier().to(device)
    y = network(x.to(device)).argmax(1).cpu()
    attack = attack(network, 0.5)
    moved = attack(x.to(device), y.to(device))
    assert moved.device.type == device
    assert (moved.cpu() - x).abs().max() <= 0.5 + 1e-6
    found = robustness(network, [(x.to(device), y.to(device))], attack)
    assert found.accuracy == 1
    assert found.robust_accuracy < 0.9
    here = robustness(classifier(), [(x, y)], type(attack)(classifier(), 0.5))
    assert found.robust_accuracy == pytest.approx(here.robust_accuracy, abs=0.02)


def test_a_perturbing_generator_there(device):
    network, x = classifier().to(device), torch.from_numpy(vectors())
    y = network(x.to(device)).argmax(1).cpu()
    attack = PerturbationGAN(network, 0.5, device=device, batch_size=50, max_steps=100).fit((x, y))
    found = robustness(network, [(x.to(device), y.to(device))], attack)
    assert found.accuracy == 1
    assert found.robust_accuracy < 0.9
