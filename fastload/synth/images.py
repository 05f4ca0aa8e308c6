"""Images of classes, made by a generative adversarial network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastload.errors import ArgumentError
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.gan import Adversary
from fastload.synth.networks import dcgan, dense
from fastload.synth.planes import checked_classes, class_codes, from_planes, plane_shape, to_planes

ARCHITECTURES = {"dcgan": (dcgan, 24), "dense": (dense, 256)}  # and their usual widths


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
        usual = {"batch_size": 64, "max_steps": 3000, "learning_rate": 5e-4, "ema": 0.995}
        super().__init__(latent_size=latent_size, inputs=inputs, labels=labels if classes else None, **usual | options)
        self.architecture, self.classes = architecture, checked_classes(classes)
        self.width = ARCHITECTURES[architecture][1] if width is None else checked_count("width", width)

    def _schema(self, batch: Batch) -> dict[str, list]:
        schema = super()._schema(batch)
        plane_shape(*schema[self.inputs], self.inputs)
        return schema

    def _networks(self, schema: dict[str, list]) -> tuple[nn.Module, nn.Module]:
        make, _ = ARCHITECTURES[self.architecture]
        return make(plane_shape(*schema[self.inputs], self.inputs), self.latent_size, self.classes, self.width)

    def _rows(self, batch: Batch) -> Tensor:
        return to_planes(batch[self.inputs]) / 127.5 - 1  # -1 .. 1

    def _condition(self, batch: Batch) -> tuple[Tensor, ...]:
        return tuple(class_codes(labels, self.classes) for labels in super()._condition(batch))

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
            labels = torch.arange(checked_count("n", n)) % self.classes
        images = super().sample(n, labels=labels, seed=seed)
        return from_planes((images + 1) * 127.5, self.schema[self.inputs][1])

    def _asked_labels(self, n: int, labels: Any) -> Tensor | None:
        labels = super()._asked_labels(n, labels)
        return None if labels is None else class_codes(labels, self.classes)
