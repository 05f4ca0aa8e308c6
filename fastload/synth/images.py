"""Images of classes, made by a generative adversarial network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastload.errors import ArgumentError, DtypeError, ShapeError
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.gan import Adversary
from fastload.synth.networks import dcgan, dense

ARCHITECTURES = {"dcgan": (dcgan, 24), "dense": (dense, 256)}  # and their usual widths
CHANNELS = (1, 3)


class ImageGAN(Adversary):
    """Learns images, of classes or not, and makes others like them.

    Parameters
    ----------
    architecture : "dcgan" or "dense"
        Networks of convolutions, or of layers in which every pixel is connected with every unit; these are faster, and for
        images that are all centred.
    classes : int
        Labels are 0 .. classes - 1; 0 if there are none.
    width : int, optional
        Channels, or units, of the narrowest layer; by default 24, or 256.
    latent_size, inputs, labels, options
        As for `Adversary`, and for `Trainer`.

    Raises
    ------
    ArgumentError
        A label is no class.
    DtypeError, ShapeError
        The data are no such images: uint8 [h, w], [h, w, channels] or [channels, h, w], of 1 or 3 channels, sides multiples
        of 4.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    >>> gan = ImageGAN("dense", classes=10, batch_size=32, max_steps=4).fit((images, np.arange(64) % 10))
    >>> gan.sample(20, labels=[7] * 20).shape
    torch.Size([20, 28, 28])
    """

    def __init__(
        self, architecture: str = "dcgan", *, classes: int = 0, width: int | None = None, latent_size: int = 64,
        inputs: str = "image", labels: str = "label", **options: Any,
    ) -> None:  # fmt: skip
        if architecture not in ARCHITECTURES:
            raise ArgumentError(
                f"architecture must be one of {', '.join(map(repr, ARCHITECTURES))}, got {architecture!r}"
            )
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 0:
            raise ArgumentError(f"classes must be an integer, not negative, got {classes!r}")
        usual = {"batch_size": 64, "max_steps": 3000, "learning_rate": 5e-4, "ema": 0.995}
        super().__init__(latent_size=latent_size, inputs=inputs, labels=labels if classes else None, **usual | options)
        self.architecture, self.classes = architecture, classes
        self.width = ARCHITECTURES[architecture][1] if width is None else checked_count("width", width)

    def _schema(self, batch: Batch) -> dict[str, list]:
        schema = super()._schema(batch)
        dtype, shape = schema[self.inputs]
        if dtype != "uint8":
            raise DtypeError(f"images must be uint8, and field {self.inputs!r} is {dtype}")
        image_axes(shape)
        return schema

    def _networks(self, schema: dict[str, list]) -> tuple[nn.Module, nn.Module]:
        sides, axis = image_axes(schema[self.inputs][1])
        make, _ = ARCHITECTURES[self.architecture]
        shape = (sides.pop(axis), *sides)
        return make(shape, self.latent_size, self.classes, self.width)

    def _rows(self, batch: Batch) -> Tensor:
        images = batch[self.inputs]
        sides, axis = image_axes(images.shape[1:])
        return images.reshape(len(images), *sides).movedim(1 + axis, 1) / 127.5 - 1  # [b, channels, h, w], -1 .. 1

    def _condition(self, batch: Batch) -> tuple[Tensor, ...]:
        return tuple(self._classes(labels) for labels in super()._condition(batch))

    def _classes(self, labels: Tensor) -> Tensor:
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            found = f"{int(labels.min())} .. {int(labels.max())}"
            raise ArgumentError(
                f"labels must be classes, 0 .. {self.classes - 1}, and {found} were found: say classes=..."
            )
        return labels.long()

    def sample(self, n: int, *, labels: Any = None, seed: int = 0) -> Tensor:
        """Images, uint8 [n, ...] as those that were learnt, on the CPU.

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
            labels = torch.arange(n) % self.classes
        images = super().sample(n, labels=labels, seed=seed)
        shape = self.schema[self.inputs][1]
        pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.movedim(1, 1 + image_axes(shape)[1]).reshape(n, *shape)

    def _asked_labels(self, n: int, labels: Any) -> Tensor | None:
        labels = super()._asked_labels(n, labels)
        return None if labels is None else self._classes(labels)


def image_axes(shape: Sequence[int]) -> tuple[list[int], int]:
    """The three sides of stored images, and which of them is that of the channels."""
    sides = [1, *shape] if len(shape) == 2 else list(shape)
    for axis in (2, 0) if len(sides) == 3 else ():
        height_and_width = sides[:axis] + sides[axis + 1 :]
        if sides[axis] in CHANNELS and all(side % 4 == 0 for side in height_and_width):
            return sides, axis
    raise ShapeError(
        f"images must be [h, w], [h, w, channels] or [channels, h, w], of 1 or 3 channels, and their sides multiples of 4; got "
        f"{list(shape)}: resize them"
    )
