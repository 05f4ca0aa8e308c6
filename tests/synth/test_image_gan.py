"""ImageGAN: shapes, classes, repeatability; that its digits are digits is measured by benchmarks/bench_digit_gan.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fastload as fl
from fastload.errors import ArgumentError, DtypeError, ShapeError, UnknownFieldError
from fastload.synth.images import ImageGAN

SMALL = {"batch_size": 16, "max_steps": 4, "width": 8, "latent_size": 8}


def images(*shape: int, count: int = 40) -> dict[str, np.ndarray]:
    """Class 1 is bright, class 0 is dark."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = rng.integers(0, 64, (count, *shape)) + labels.reshape(-1, *[1] * len(shape)) * 180
    return {"image": pixels.astype(np.uint8), "label": labels}


@pytest.mark.parametrize("architecture", ["dcgan", "dense"])
@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (28, 28, 1), (3, 32, 32), (32, 32, 3), (8, 12)])
def test_samples_are_like_the_images(architecture, shape):
    gan = ImageGAN(architecture, classes=2, **SMALL).fit(images(*shape))
    found = gan.sample(6, labels=[0, 1, 0, 1, 0, 1])
    assert found.dtype == torch.uint8
    assert found.shape == (6, *shape)
    assert torch.equal(gan.sample(6), found)  # all classes in turn, the seed is 0


@pytest.mark.parametrize("architecture", ["dcgan", "dense"])
def test_layouts_are_the_same_images(architecture):
    """The generator makes channels first; what is stored otherwise is turned on the way in and out."""
    last = images(12, 12, 3)
    first = last | {"image": np.ascontiguousarray(np.moveaxis(last["image"], 3, 1))}
    a, b = (ImageGAN(architecture, classes=2, **SMALL).fit(data) for data in (last, first))
    assert a.history == b.history
    assert torch.equal(a.sample(4).movedim(3, 1), b.sample(4))


@pytest.mark.parametrize("architecture", ["dcgan", "dense"])
def test_classes_are_learnt(architecture):
    options = {"batch_size": 32, "max_steps": 80, "width": 8, "learning_rate": 2e-3, "ema": 0.9}
    gan = ImageGAN(architecture, classes=2, **options).fit(images(8, 8, count=200))
    dark, bright = (gan.sample(50, labels=[label] * 50).float().mean() for label in (0, 1))
    assert dark < 100
    assert bright > 150


def test_without_classes():
    gan = ImageGAN("dense", **SMALL).fit(images(28, 28)["image"])
    assert gan.schema == {"image": ["uint8", [28, 28]]}
    assert gan.sample(3).shape == (3, 28, 28)
    with pytest.raises(ArgumentError, match="told no labels"):
        gan.sample(3, labels=[0, 1, 2])


def test_from_a_data_set_and_from_a_file(tmp_path):
    data = images(28, 28, 1)
    data["label"] = fl.Categorical(data["label"], ["dark", "bright"])
    fl.write(tmp_path / "d.fl", data)
    gan = ImageGAN("dense", classes=2, **SMALL).fit(tmp_path / "d.fl", checkpoint=tmp_path / "state")
    loaded = ImageGAN.load(tmp_path / "state")
    assert (loaded.architecture, loaded.classes, loaded.width) == ("dense", 2, 8)
    assert torch.equal(loaded.sample(5, seed=3), gan.sample(5, seed=3))
    assert not torch.equal(gan.sample(5, seed=3), gan.sample(5, seed=4))


def test_wrong_use():
    for wrong in ({"architecture": "unet"}, {"classes": -1}, {"classes": 2.0}, {"width": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            ImageGAN(**wrong)
    with pytest.raises(DtypeError, match="must be uint8, and field 'image' is float32"):
        ImageGAN().fit(np.zeros((70, 28, 28), np.float32))
    for shape in ((28, 30), (28,), (2, 28, 28), (1, 3, 28, 28)):
        with pytest.raises(ShapeError, match=r"resize them"):
            ImageGAN().fit(np.zeros((70, *shape), np.uint8))
    with pytest.raises(UnknownFieldError, match="'label'"):
        ImageGAN(classes=2, **SMALL).fit({"image": images(28, 28)["image"]})
    with pytest.raises(ArgumentError, match=r"0 \.\. 0, and 0 \.\. 1 were found"):
        ImageGAN("dense", classes=1, **SMALL).fit(images(28, 28))
    gan = ImageGAN("dense", classes=2, **SMALL).fit(images(28, 28))
    with pytest.raises(ArgumentError, match=r"0 \.\. 1, and 2 \.\. 2 were found"):
        gan.sample(1, labels=[2])
