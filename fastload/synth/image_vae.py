"""A variational autoencoder of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from fastload.errors import ArgumentError, DtypeError, ShapeError
from fastload.plan.random import checked_word
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.field_model import FieldModel, as_given
from fastload.synth.fields import array_of, check_rows
from fastload.synth.latent import divergence, drawn_near
from fastload.synth.networks import Generator
from fastload.synth.planes import checked_classes, class_codes, from_planes, plane_shape, to_planes
from fastload.synth.seeded import seeded


class ImageEncoder(nn.Module):
    """Images float [b, channels, height, width], and labels int64 [b] where there are classes -> mean and log variance of the
    latent numbers, each [b, latent_size]."""

    def __init__(self, shape: tuple[int, int, int], latent_size: int, classes: int, width: int) -> None:
        super().__init__()
        channels, height, side = shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.SiLU(), nn.Flatten(),
            nn.Linear(2 * width * (height // 4) * (side // 4), 2 * latent_size),
        )  # fmt: skip
        self.label = nn.Embedding(classes, 2 * latent_size) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        found = self.body(images)
        return (found if self.label is None else found + self.label(labels)).chunk(2, dim=1)


def image_decoder(shape: tuple[int, int, int], latent_size: int, classes: int, width: int) -> Generator:
    """Latent numbers [b, latent_size], and labels -> log odds of the pixels [b, channels, height, width]."""
    channels, height, side = shape
    small = (2 * width, height // 4, side // 4)
    body = nn.Sequential(
        nn.Linear(latent_size * (2 if classes else 1), math.prod(small)), nn.Unflatten(1, small),
        nn.BatchNorm2d(2 * width), nn.SiLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.SiLU(),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
    )  # fmt: skip
    return Generator(latent_size, classes, body)


class ImageVAE(FieldModel):
    """Images as latent numbers that are near to normal ones, and back; new images are decoded from normal numbers.

    Kingma, Welling: "Auto-encoding variational Bayes", ICLR 2014; told classes, Sohn, Lee, Yan: "Learning structured output
    representation using deep conditional generative models", NeurIPS 2015. A pixel's brightness, 0 .. 1, is taken for a
    probability. With a normal error whose spread is learned digits are reconstructed better, and drawn much worse.

    Parameters
    ----------
    latent_size : int
    classes : int
        Labels are 0 .. classes - 1; 0 if there are none.
    width : int
        Channels of the outer convolutions; the inner ones have twice as many.
    kl_weight : float
        Weight of how far latent numbers are from normal ones. Below 1 images are reconstructed better, and drawn worse.
    inputs, labels : str
        Fields of the images and of the labels.
    batch_size, max_steps, patience, ema, options
        As of `FieldModel`, with its `validation_share`, and of `Trainer`.

    Raises
    ------
    ArgumentError
        A label is no class.
    DtypeError, ShapeError
        The data are no such images: uint8 [h, w], [h, w, channels] or [channels, h, w], of 1 or 3 channels, sides multiples
        of 4.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 256, (80, 28, 28), dtype=np.uint8)
    >>> model = ImageVAE(8, classes=10, width=8, batch_size=40, max_steps=4).fit((images, np.arange(80) % 10))
    >>> model.sample(20, labels=[7] * 20).shape
    torch.Size([20, 28, 28])
    >>> model.encode(images[:3], labels=[0, 1, 2]).shape
    (3, 8)
    """

    def __init__(
        self, latent_size: int = 32, *, classes: int = 0, width: int = 32, kl_weight: float = 1.0, inputs: str = "image",
        labels: str = "label", batch_size: int = 64, max_steps: int = 2500, patience: int | None = 5, ema: float = 0.99,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(batch_size=batch_size, max_steps=max_steps, patience=patience, ema=ema, **options)
        if not kl_weight >= 0:
            raise ArgumentError(f"kl_weight must not be negative, got {kl_weight!r}")
        self.latent_size, self.width = checked_count("latent_size", latent_size), checked_count("width", width)
        self.classes, self.kl_weight = checked_classes(classes), float(kl_weight)
        self.inputs, self.labels = inputs, labels

    # --- training -------------------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.inputs, self.labels) if self.classes else (self.inputs,)

    def _schema(self, batch: Batch) -> dict[str, list]:
        schema = super()._schema(batch)
        plane_shape(*schema[self.inputs], self.inputs)
        return schema

    def _build(self, schema: dict[str, list]) -> None:
        shape = plane_shape(*schema[self.inputs], self.inputs)
        self.encoder = ImageEncoder(shape, self.latent_size, self.classes, self.width)
        self.decoder = image_decoder(shape, self.latent_size, self.classes, self.width)
        self._optimizer = self._adam(self.encoder, self.decoder)

    def _modules(self) -> dict[str, nn.Module]:
        return {"decoder": self.decoder, "encoder": self.encoder}

    def _optimizers(self) -> dict[str, Optimizer]:
        return {"both": self._optimizer}

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        found = self._losses(self.encoder, self.decoder, *(batch[name] for name in self._names))
        pixels, latent = found.mean(dim=0)
        self._descend(pixels + self.kl_weight * latent, self._optimizer)
        return {"pixels": pixels, "latent": latent}

    def _score(self) -> float | None:
        if self._validation is None:
            return None
        encoder, decoder = self._fitted("encoder"), self._fitted("decoder")
        rows = (self._validation[name] for name in self._names)
        pixels, latent = self._in_parts(lambda *part: self._losses(encoder, decoder, *part), *rows).mean(dim=0).tolist()
        return pixels + self.kl_weight * latent

    def _losses(self, encoder: nn.Module, decoder: nn.Module, images: Tensor, *labels: Tensor) -> Tensor:
        """Of each image, [b, 2]: how unlikely its pixels are, and how far its latent numbers are from normal ones."""
        planes, condition = self._planes(images), self._condition(labels)
        mean, log_variance = encoder(planes, *condition)
        logits = decoder(drawn_near(mean, log_variance), *condition)
        pixels = functional.binary_cross_entropy_with_logits(logits, planes, reduction="none").flatten(1).sum(dim=1)
        return torch.stack([pixels, divergence(mean, log_variance)], dim=1)

    # --- use ------------------------------------------------------------------------------------------

    def encode(self, images: Any, *, labels: Any = None) -> Any:
        """The latent numbers of images: the mean of what the encoder holds likely.

        Parameters
        ----------
        images : uint8 array or tensor [n, ...]
            Like those trained on.
        labels : sequence, array or tensor [n]
            For a model of classes.

        Returns
        -------
        float32 [n, latent_size], an array for an array, else a tensor on the CPU.

        Raises
        ------
        NotFittedError, DtypeError, ShapeError, ArgumentError
        """
        encoder, rows = self._fitted("encoder"), self._checked(images)
        told = self._told(len(rows), labels)
        found = self._in_parts(lambda x, *y: encoder(self._planes(x), *self._condition(y))[0], rows, *told)
        return as_given(found, images)

    def decode(self, latent: Any, *, labels: Any = None) -> Any:
        """Images of latent numbers.

        Parameters
        ----------
        latent : array or tensor [n, latent_size]
        labels : as of `encode`

        Returns
        -------
        uint8 [n, ...], as those trained on; an array for an array, else a tensor on the CPU.

        Raises
        ------
        NotFittedError, DtypeError, ShapeError, NotFiniteError, ArgumentError
        """
        decoder, rows = self._fitted("decoder"), array_of(latent)
        check_rows(rows, "latent", (self.latent_size,))
        told = self._told(len(rows), labels)
        found = self._in_parts(lambda z, *y: self._pixels(decoder(z.float(), *self._condition(y))), rows, *told)
        return as_given(found, latent)

    def reconstruct(self, images: Any, *, labels: Any = None) -> Any:
        """What is left of images after `encode` and `decode`.

        Parameters, raises as of `encode`, returns as of `decode`.
        """
        return self.decode(self.encode(images, labels=labels), labels=labels)

    def sample(self, n: int, *, labels: Any = None, seed: int = 0) -> Tensor:
        """New images, uint8 [n, ...] as those trained on, on the CPU.

        Parameters
        ----------
        n : int
        labels : sequence or tensor [n], optional
            By default all classes in turn.
        seed : int
            The same images for the same seed.

        Raises
        ------
        NotFittedError, ArgumentError, ShapeError
        """
        if labels is None and self.classes:
            labels = torch.arange(checked_count("n", n)) % self.classes
        with seeded(checked_word("seed", seed), "sample"):
            latent = torch.randn(checked_count("n", n), self.latent_size)
        return self.decode(latent, labels=labels)

    def _checked(self, images: Any) -> np.ndarray:
        rows = array_of(images)
        if rows.dtype != np.uint8:
            raise DtypeError(f"images must be uint8, got {rows.dtype}")
        check_rows(rows, self.inputs, self.schema[self.inputs][1])
        return rows

    def _told(self, n: int, labels: Any) -> list[np.ndarray]:
        """The labels, if there are any."""
        if (labels is None) == bool(self.classes):
            raise ArgumentError(
                f"a model of {self.classes} classes must be told a label of each image"
                if self.classes
                else "this model knows no classes, and can be told no labels"
            )
        if labels is None:
            return []
        found = array_of(labels)
        if found.shape != (n,):
            raise ShapeError(f"there must be a label for each of {n} images, got {list(found.shape)}")
        return [found]

    def _condition(self, labels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What both networks are told beside their inputs: nothing, or classes int64 [b]."""
        return tuple(class_codes(given, self.classes) for given in labels)

    def _planes(self, images: Tensor) -> Tensor:
        """uint8 [b, ...] as stored -> float [b, channels, h, w], 0 .. 1"""
        return to_planes(images) / 255

    def _pixels(self, logits: Tensor) -> Tensor:
        """[b, channels, h, w] -> uint8 [b, ...] as stored"""
        return from_planes(logits.sigmoid() * 255, self.schema[self.inputs][1])
