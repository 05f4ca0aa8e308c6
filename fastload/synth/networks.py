"""Generators and discriminators of images, fully connected and convolutional; classes may be told to both.

Images are float [b, channels, height, width], -1 .. 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Noise [b, latent_size], and labels int64 [b] where there are classes -> images. The class is a part of the noise."""

    def __init__(self, latent_size: int, classes: int, body: nn.Module) -> None:
        super().__init__()
        self.label = nn.Embedding(classes, latent_size) if classes else None
        self.body = body

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.label is not None:
            noise = torch.cat([noise, self.label(labels)], dim=1)
        return self.body(noise)


class Discriminator(nn.Module):
    """Images, and labels where there are classes -> scores [b]: how real they look, and how much like their class.

    Miyato, Koyama: "cGANs with projection discriminator", ICLR 2018.
    """

    def __init__(self, classes: int, body: nn.Module, features: int) -> None:
        super().__init__()
        self.body, self.score = body, nn.Linear(features, 1)
        self.label = nn.Embedding(classes, features) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.body(images)  # [b, features]
        scores = self.score(features)[:, 0]
        if self.label is not None:
            scores = scores + (features * self.label(labels)).sum(dim=1)
        return scores


def dense(shape: tuple[int, int, int], latent_size: int, classes: int, width: int) -> tuple[Generator, Discriminator]:
    """Three layers each, every pixel connected with every unit."""
    inputs, pixels = latent_size * (2 if classes else 1), math.prod(shape)
    generator = nn.Sequential(
        nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(),
        nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU(),
        nn.Linear(2 * width, pixels), nn.Tanh(), nn.Unflatten(1, shape),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, 2 * width), nn.LeakyReLU(0.2),
        nn.Linear(2 * width, width), nn.LeakyReLU(0.2),
    )  # fmt: skip
    return Generator(latent_size, classes, generator), Discriminator(classes, discriminator, width)


def dcgan(shape: tuple[int, int, int], latent_size: int, classes: int, width: int) -> tuple[Generator, Discriminator]:
    """Convolutions of stride 2: the sides are doubled twice on the way to an image, and halved twice on the way back.

    Radford, Metz, Chintala: "Unsupervised representation learning with deep convolutional generative adversarial networks",
    ICLR 2016.
    """
    inputs, (channels, height, side) = latent_size * (2 if classes else 1), shape
    small = (2 * width, height // 4, side // 4)
    generator = nn.Sequential(
        nn.Linear(inputs, math.prod(small)), nn.Unflatten(1, small), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Flatten(),
    )  # fmt: skip
    return Generator(latent_size, classes, generator), Discriminator(classes, discriminator, math.prod(small))
