"""Variational autoencoders of images: bars that are told apart by class, drawn and reconstructed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fastload as fl
from fastload.errors import ArgumentError, DtypeError, NotFittedError, ShapeError, StateError, UnknownFieldError
from fastload.synth.image_vae import ImageVAE

SIDE = 12


def bars(count: int, seed: int = 0, shape: tuple[int, ...] = (SIDE, SIDE)) -> tuple[np.ndarray, np.ndarray]:
    """Images of a bar, anywhere, upright (class 0) or lying (class 1): uint8 [count, *shape], and labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    for image, label, place in zip(images, labels, random.integers(0, SIDE - 2, count)):
        (image.T if label == 0 else image)[place : place + 3] = 220
    images = images.reshape(count, *(side if side == SIDE else 1 for side in shape))
    return np.broadcast_to(images, (count, *shape)).copy(), labels


def model(**options) -> ImageVAE:
    small = {"latent_size": 4, "classes": 2, "width": 8, "batch_size": 32, "max_steps": 20, "learning_rate": 4e-3}
    return ImageVAE(**small | options)


def uprightness(images: np.ndarray) -> np.ndarray:
    """Above 0 for bars that stand, below 0 for those that lie."""
    images = np.asarray(images, np.float64)
    return images.mean(axis=1).std(axis=1) - images.mean(axis=2).std(axis=1)


@pytest.fixture(scope="module")
def trained() -> ImageVAE:
    return model(max_steps=500).fit(bars(600))


def test_images_are_reconstructed(trained):
    images, labels = bars(100, seed=1)
    found = trained.reconstruct(images, labels=labels)
    assert found.dtype == np.uint8
    assert trained.encode(images, labels=labels).shape == (100, 4)
    assert np.square(found / 255 - images / 255).mean() < 0.15 * np.square(images / 255 - (images / 255).mean(0)).mean()
    assert np.array_equal(trained.decode(trained.encode(images, labels=labels), labels=labels), found)


def test_samples_are_of_their_class_and_differ(trained):
    labels = np.arange(200) % 2
    images = trained.sample(200, labels=labels)
    assert (images.shape, images.dtype) == ((200, SIDE, SIDE), torch.uint8)
    assert ((uprightness(images) > 0) == (labels == 0)).mean() > 0.9
    assert len(np.unique(images[::2].numpy().mean(axis=1).argmax(axis=1))) > 5  # bars at many places
    assert torch.equal(trained.sample(200), images)  # the classes in turn
    assert not torch.equal(trained.sample(200, seed=1), images)


def test_without_classes():
    images, _ = bars(200)
    found = model(classes=0).fit(images)
    assert found.sample(5).shape == (5, SIDE, SIDE)
    assert found.reconstruct(torch.from_numpy(images)).shape == images.shape
    assert list(found.schema) == ["image"]


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, SIDE, 1), (SIDE, SIDE, 3), (1, SIDE, SIDE), (3, SIDE, SIDE)])
def test_images_are_as_they_were_stored(shape):
    images, labels = bars(80, shape=shape)
    found = model(max_steps=2).fit((images, labels))
    assert found.sample(3).shape == (3, *shape)
    assert found.reconstruct(images, labels=labels).shape == images.shape
    planes = found._planes(torch.from_numpy(images))
    assert planes.shape[2:] == (SIDE, SIDE)
    logits = torch.special.logit(planes.double())
    assert np.array_equal(found._pixels(logits).numpy(), images)


def test_pictures_of_28_and_32(tmp_path):
    for shape in ((28, 28), (32, 32, 3)):
        images = np.random.default_rng(0).integers(0, 256, (64, *shape), dtype=np.uint8)
        found = model(max_steps=1).fit((images, np.arange(64) % 2))
        assert found.sample(2).shape == (2, *shape)


def test_data_in_files_and_loaders(tmp_path):
    images, labels = bars(100)
    dataset = fl.write(tmp_path / "d.fl", {"place": np.arange(100), "label": labels, "image": images})
    expected = model(validation_share=0).fit({"image": images, "label": labels})
    loader = {"batch_size": 32, "shuffle": True, "drop_last": True, "seed": 0}
    for data in (tmp_path / "d.fl", dataset, fl.DataLoader(dataset, **loader), fl.IterableDataset(dataset, **loader)):
        assert model().fit(data).history == expected.history
    stopped = model(score_every=5).fit(dataset, validation=dataset)
    assert "score" in stopped.history[4]


def test_the_held_out_images_end_training(trained):
    scores = [row["score"] for row in trained.history if "score" in row]
    assert len(scores) == 2
    found = model(max_steps=10_000, patience=1, score_every=5, learning_rate=0.05).fit(bars(60))
    assert found.step < 1000


def test_saved_resumed_and_loaded(tmp_path):
    path, images = tmp_path / "state", bars(100)
    whole = model(score_every=6).fit(images)
    for steps in (5, 13, 20):
        found = model(max_steps=steps, score_every=6).fit(images, checkpoint=path)
    assert found.history == whole.history
    found.save(tmp_path / "model")
    loaded = ImageVAE.load(tmp_path / "model")
    for other in (found, loaded):
        assert torch.equal(other.sample(9), whole.sample(9))
    assert (loaded.classes, loaded.width, loaded.schema) == (2, 8, whole.schema)
    with pytest.raises(StateError, match="classes: 2 there, 3 here"):
        model(classes=3).fit(images, checkpoint=path)


def test_a_seed_says_all_and_nothing_global_changes():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = model(seed=1).fit(bars(100))
    first.sample(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert model(seed=1).fit(bars(100)).history == first.history
    assert model(seed=2).fit(bars(100)).history != first.history


def test_wrong_use(trained):
    images, labels = bars(40)
    for data, error, message in (
        ((images / 255, labels), DtypeError, "images must be uint8, and field 'image' is float64"),
        ((images[:, :7], labels), ShapeError, r"sides multiples of 4; got \[7, 12\]"),
        (
            (images, labels + 1),
            ArgumentError,
            r"labels must be classes, 0 \.\. 1, and 1 \.\. 2 were found: say classes=",
        ),
        ((images, labels[:39]), ShapeError, "equally many rows, got {'image': 40, 'label': 39}"),
        (images, UnknownFieldError, "must have a field 'label'; they have 'image'"),
    ):
        with pytest.raises(error, match=message):
            model().fit(data)
    for use, error, message in (
        (lambda: trained.encode(images), ArgumentError, "a model of 2 classes must be told a label of each image"),
        (lambda: trained.encode(images, labels=labels[:3]), ShapeError, r"a label for each of 40 images, got \[3\]"),
        (lambda: trained.sample(2, labels=[0, 2]), ArgumentError, r"and 0 \.\. 2 were found"),
        (lambda: trained.encode(images[:, :8], labels=labels), ShapeError, r"\[rows, 12, 12\], got \[40, 8, 12\]"),
        (lambda: trained.reconstruct(images / 2, labels=labels), DtypeError, "images must be uint8, got float64"),
        (lambda: trained.decode(np.zeros((2, 3)), labels=[0, 1]), ShapeError, r"'latent' must be \[rows, 4\]"),
        (lambda: trained.sample(0), ArgumentError, "n must be"),
        (lambda: model(classes=0).fit(images).sample(2, labels=[0, 0]), ArgumentError, "can be told no labels"),
        (lambda: model().sample(2), NotFittedError, "must be trained"),
        (lambda: model(kl_weight=-1), ArgumentError, "kl_weight"),
        (lambda: model(classes=-1), ArgumentError, "classes"),
    ):
        with pytest.raises(error, match=message):
            use()
