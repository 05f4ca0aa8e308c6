"""The page of a training: whole at any time, with the losses and some of the samples."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from fastload.errors import ArgumentError, FileIOError, ShapeError
from fastload.synth import GANTrainer, ImageVAE, TableVAE, TrainingPage
from fastload.synth.training import Trainer
from fastload.synth.training_page import MAX_POINTS

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)


def vae(steps: int, images=IMAGES, *, patience: int | None = None, score=None, **options) -> ImageVAE:
    model = ImageVAE(latent_size=2, width=8, batch_size=20, max_steps=steps, score_every=2, patience=patience)
    return model.fit(images, score=score, **options)


def figures(path) -> list[str]:
    return re.findall(r'aria-label="([^"]*)"', path.read_text())


def two(model):
    return model.sample(2)


class Counted(Trainer):
    """Its losses are the step, and other numbers."""

    def __init__(self, losses: int = 1, **options):
        super().__init__(batch_size=1, **options)
        self.losses = losses

    def _build(self, schema):
        self.line = nn.Linear(1, 1)

    def _modules(self):
        return {"line": self.line}

    def _optimizers(self):
        return {}

    def _step(self, batch):
        return {f"loss {k}": torch.tensor(float(self.step + 1 + k)) for k in range(self.losses)}


def test_it_has_losses_scores_and_samples(tmp_path):
    path = tmp_path / "training.html"
    model = vae(7, callback=TrainingPage(path, every=3, sample=two))
    assert figures(path) == ["Losses", "Score, lower being better", "Step 7", "Step 6", "Step 3"]  # 7 is the last one
    text = path.read_text()
    assert "Training: ImageVAE" in text
    assert "Step 7 of at most 7" in text
    assert all(name in text for name in model.history[0] if name != "step")
    assert text.count("data:image/png") == 3
    assert [name.name for name in tmp_path.iterdir()] == ["training.html"]


def test_it_has_the_last_step_of_a_training_that_ends_early(tmp_path):
    model = vae(50, patience=2, score=lambda _: 1.0, callback=TrainingPage(tmp_path / "p.html", every=4, sample=two))
    assert model.step == 6
    assert figures(tmp_path / "p.html")[2:] == ["Step 6", "Step 4"]


def test_training_is_the_same_with_it(tmp_path):
    watched = vae(6, callback=TrainingPage(tmp_path / "p.html", every=1, sample=two))
    plain = vae(6)
    assert watched.history == plain.history
    assert torch.equal(watched.sample(3), plain.sample(3))


def test_of_many_samples_some_are_kept(tmp_path):
    path = tmp_path / "p.html"
    vae(40, callback=TrainingPage(path, every=1, sample=two))
    steps = [int(name.removeprefix("Step ")) for name in figures(path) if name.startswith("Step ")]
    assert steps[0] == 40
    assert steps[-1] == 1
    assert steps == sorted(set(steps), reverse=True)
    assert 4 <= len(steps) <= 8


def test_of_many_steps_means_are_shown(tmp_path):
    path = tmp_path / "p.html"
    Counted(max_steps=3 * MAX_POINTS).fit(np.zeros((4, 1), np.float32), callback=TrainingPage(path, every=1000))
    (line,) = re.findall(r'<path [^>]*d="([^"]*)"', path.read_text())
    places = np.array(re.findall(r"[ML]([\d.]+)[ ,]([\d.]+)", line), float)
    assert len(places) == MAX_POINTS
    np.testing.assert_allclose(
        np.diff(places, axis=0), np.diff(places, axis=0)[:1].repeat(len(places) - 1, 0), atol=0.11
    )


def test_many_losses_have_charts_of_five(tmp_path):
    path = tmp_path / "p.html"
    Counted(losses=6, max_steps=4).fit(np.zeros((4, 1), np.float32), callback=TrainingPage(path, every=2))
    assert figures(path) == ["Losses", "Losses"]
    assert all(f"loss {k}" in path.read_text() for k in range(6))


def test_scores_that_do_not_change(tmp_path):
    path = tmp_path / "p.html"
    model = Counted(max_steps=500, score_every=1)
    model.fit(np.zeros((4, 1), np.float32), score=lambda _: 0.1, callback=TrainingPage(path, every=500))
    assert "Score, lower being better" in figures(path)


@pytest.mark.parametrize("shape", [(8, 12), (1, 8, 12), (8, 12, 1), (3, 8, 12), (8, 12, 3)])
def test_images_of_all_layouts(tmp_path, shape):
    """Each is shown as the same one in the layout that a page has."""
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    usual = np.moveaxis(images, 1, 3) if shape[0] in (1, 3) else images
    usual = usual[..., 0] if usual.shape[3:] == (1,) else usual
    pages = []
    for shown in (images, usual):
        path = tmp_path / "p.html"
        vae(2, callback=TrainingPage(path, every=2, sample=lambda _, shown=shown: torch.from_numpy(shown)))
        pages.append(re.findall(r'href="data:image/png;base64,([^"]*)"', path.read_text()))
    assert len(pages[0]) == 1
    assert pages[0] == pages[1]


def test_another_training_has_no_samples_of_the_first(tmp_path):
    watch = TrainingPage(tmp_path / "p.html", every=2, sample=two)
    vae(6, callback=watch)
    vae(4, callback=watch)
    assert figures(tmp_path / "p.html")[2:] == ["Step 4", "Step 2"]


def test_what_is_no_image_is_told(tmp_path):
    gan = GANTrainer(nn.Linear(2, 3), nn.Linear(3, 1), latent_size=2, batch_size=10, max_steps=4)
    with pytest.raises(ShapeError, match="images must be"):
        gan.fit(
            torch.randn(30, 3), callback=TrainingPage(tmp_path / "p.html", every=2, sample=lambda gan: gan.sample(3))
        )


def test_tables_have_losses_alone(tmp_path):
    table = {"late": np.arange(100) % 2 == 0, "delay": np.arange(100.0)}
    TableVAE(batch_size=50, max_steps=4).fit(table, callback=TrainingPage(tmp_path / "p.html", every=2))
    assert figures(tmp_path / "p.html") == ["Losses"]


def test_the_last_page_is_left_where_the_next_cannot_be_made(tmp_path):
    path = tmp_path / "p.html"
    asked = []

    def sample(model):
        asked.append(model)
        if len(asked) == 2:
            raise RuntimeError("no more")
        return model.sample(2)

    with pytest.raises(RuntimeError, match="no more"):
        vae(6, callback=TrainingPage(path, every=2, sample=sample))
    assert "Step 2 of at most 6" in path.read_text()
    assert [name.name for name in tmp_path.iterdir()] == ["p.html"]


def test_wrong_use(tmp_path):
    with pytest.raises(FileIOError, match="folder"):
        TrainingPage(tmp_path / "none" / "p.html")
    with pytest.raises(ArgumentError, match="every"):
        TrainingPage(tmp_path / "p.html", every=0)
    with pytest.raises(ArgumentError, match="per_row"):
        TrainingPage(tmp_path / "p.html", per_row=0)


def test_only_the_first_rank_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("fastload.synth.training_page.rank_and_world", lambda: (1, 2))
    vae(2, callback=TrainingPage(tmp_path / "p.html", every=1))
    assert not list(tmp_path.iterdir())
