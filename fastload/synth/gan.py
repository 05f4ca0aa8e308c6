"""Generative adversarial networks: any generator and any discriminator, and what they play for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastload.errors import ArgumentError, DtypeError, ShapeError, UnknownFieldError
from fastload.plan.random import checked_word
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.seeded import seeded
from fastload.synth.training import Trainer

SAMPLE_ROWS = 1000  # that are made at a time


class Loss(Protocol):
    """What the two networks minimise; scores are the discriminator's, [b] or [b, 1], higher for what it takes for real.

    gradient_penalty : how much it weighs where the trainer is not told.
    """

    gradient_penalty: float

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor: ...

    def generator(self, fake_scores: Tensor) -> Tensor: ...


class Wasserstein:
    """The discriminator's scores differ as much as its slope, held near 1 by the penalty, lets them.

    Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: "Improved training of Wasserstein GANs", NeurIPS 2017.
    """

    gradient_penalty = 10.0

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        return fake_scores.mean() - real_scores.mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        return -fake_scores.mean()


class Hinge:
    """As Wasserstein, but scores beyond 1 gain nothing: for discriminators with spectral norm, which need no penalty.

    Miyato, Kataoka, Koyama, Yoshida: "Spectral normalization for generative adversarial networks", ICLR 2018.
    """

    gradient_penalty = 0.0

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        return functional.relu(1 - real_scores).mean() + functional.relu(1 + fake_scores).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        return -fake_scores.mean()


class NonSaturating:
    """Scores are log odds of being real, and the generator raises those of its samples.

    Goodfellow et al.: "Generative adversarial nets", NeurIPS 2014.
    """

    gradient_penalty = 0.0

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        return functional.softplus(-real_scores).mean() + functional.softplus(fake_scores).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        return functional.softplus(-fake_scores).mean()


LOSSES: dict[str, type] = {"wgan-gp": Wasserstein, "hinge": Hinge, "vanilla": NonSaturating}


def steepness(discriminator: nn.Module, real: Tensor, fake: Tensor, *condition: Tensor) -> Tensor:
    """Mean of (slope - 1)^2 of a discriminator, at places between rows and samples. All are [b, ...]."""
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    between = torch.lerp(real, fake.to(real.dtype), share).requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(between, *condition).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


class Adversary(Trainer):
    """The game that generators and discriminators play. Subclasses say in `_networks` which two these are.

    Each step trains the discriminator by a batch of rows and as many samples, and every `discriminator_steps`-th one the
    generator. Samples are made by the generator's averaged weights.

    Parameters
    ----------
    latent_size : int
        Numbers of noise for a sample.
    loss : "wgan-gp", "hinge", "vanilla" or an object like `Hinge`
    inputs : str
        The field of the rows.
    labels : str, optional
        The field that both networks are told.
    discriminator_steps : int
    gradient_penalty : float, optional
        Weight of the squared distance from 1 of the discriminator's slope, between rows and samples. By default what the
        loss says: 10 for "wgan-gp", else 0.
    discriminator_rate : float, optional
        The discriminator's learning rate; by default that of the generator.
    betas : (float, float)
        Of both Adam optimisers.
    options
        As for `Trainer`.
    """

    generator: nn.Module
    discriminator: nn.Module

    def __init__(
        self, *, latent_size: int, loss: str | Loss = "wgan-gp", inputs: str = "x", labels: str | None = None,
        discriminator_steps: int = 1, gradient_penalty: float | None = None, discriminator_rate: float | None = None,
        betas: tuple[float, float] = (0.0, 0.9), **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(**{"learning_rate": 2e-4} | options)
        if isinstance(loss, str) and loss not in LOSSES:
            raise ArgumentError(f"loss must be one of {', '.join(map(repr, LOSSES))} or an object, got {loss!r}")
        if gradient_penalty is not None and not gradient_penalty >= 0:
            raise ArgumentError(f"gradient_penalty must not be negative, got {gradient_penalty!r}")
        if discriminator_rate is not None and not discriminator_rate > 0:
            raise ArgumentError(f"discriminator_rate must be positive, got {discriminator_rate!r}")
        self.latent_size = checked_count("latent_size", latent_size)
        self.discriminator_steps = checked_count("discriminator_steps", discriminator_steps)
        self.loss, self.inputs, self.labels, self.gradient_penalty = loss, inputs, labels, gradient_penalty
        self.discriminator_rate, self.betas = discriminator_rate, tuple(betas)
        self._loss = LOSSES[loss]() if isinstance(loss, str) else loss
        self._penalty = self._loss.gradient_penalty if gradient_penalty is None else gradient_penalty

    # --- what a subclass says -------------------------------------------------------------------------

    @abstractmethod
    def _networks(self, schema: dict[str, list]) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator for rows like these."""

    def _rows(self, batch: Batch) -> Tensor:
        """What the discriminator is to take for real, float [b, ...]."""
        return batch[self.inputs]

    def _condition(self, batch: Batch) -> tuple[Tensor, ...]:
        """What both networks are told beside their inputs."""
        return () if self.labels is None else (batch[self.labels],)

    def _seen(self, rows: Tensor) -> Tensor:
        """Rows or samples as the discriminator sees them."""
        return rows

    # --- training -------------------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.inputs,) if self.labels is None else (self.inputs, self.labels)

    def _schema(self, batch: Batch) -> dict[str, list]:
        for name in self._names:
            if name not in batch:
                raise UnknownFieldError(f"the data must have a field {name!r}; they have {', '.join(map(repr, batch))}")
        return super()._schema({name: batch[name] for name in self._names})

    def _build(self, schema: dict[str, list]) -> None:
        self.generator, self.discriminator = self._networks(schema)
        rate = self.learning_rate if self.discriminator_rate is None else self.discriminator_rate
        self._generator_adam = self._adam(self.generator, betas=self.betas)
        self._discriminator_adam = self._adam(self.discriminator, lr=rate, betas=self.betas)

    def _modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self._generator_adam, "discriminator": self._discriminator_adam}

    def _averaged(self) -> tuple[str, ...]:
        return ("generator",)

    def _compiled(self) -> tuple[str, ...]:
        return ("generator",) if self._penalty else ("generator", "discriminator")

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        real, condition = self._rows(batch), self._condition(batch)
        with torch.no_grad():
            fake = self.generator(self._noise(len(real)), *condition)
        real, fake = self._seen(real), self._seen(fake)
        loss = self._loss.discriminator(self.discriminator(real, *condition), self.discriminator(fake, *condition))
        losses = {"discriminator": loss}
        if self._penalty:
            loss = loss + self._penalty * steepness(self.discriminator, real, fake, *condition)
        self._descend(loss, self._discriminator_adam)

        if (self.step + 1) % self.discriminator_steps == 0:
            fake = self._seen(self.generator(self._noise(len(real)), *condition))
            losses["generator"] = self._loss.generator(self.discriminator(fake, *condition))
            self._descend(losses["generator"], self._generator_adam)
        return losses

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.latent_size, device=self._device)

    # --- sampling -------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, *, labels: Any = None, seed: int = 0) -> Tensor:
        """Samples of the averaged generator, [n, ...], on the CPU.

        Parameters
        ----------
        n : int
        labels : sequence or tensor [n]
            For a model that was told labels.
        seed : int
            The same samples for the same seed.

        Raises
        ------
        NotFittedError
        ArgumentError
            Labels are missing, or were not told to the model.
        ShapeError
            There are more or fewer labels than `n`.
        """
        generator, labels = self._fitted("generator"), self._asked_labels(checked_count("n", n), labels)
        parts = []
        with seeded(checked_word("seed", seed), "sample", device=self._device):
            for first in range(0, n, SAMPLE_ROWS):
                condition = () if labels is None else (labels[first : first + SAMPLE_ROWS].to(self._device),)
                parts.append(generator(self._noise(min(SAMPLE_ROWS, n - first)), *condition).cpu())
        return torch.cat(parts)

    def _asked_labels(self, n: int, labels: Any) -> Tensor | None:
        if labels is None and self.labels is None:
            return None
        if labels is None:
            raise ArgumentError(
                f"this model was told {self.labels!r} of each row, and must be told labels for its samples"
            )
        if self.labels is None:
            raise ArgumentError("this model was told no labels, and can be told none for its samples")
        labels = torch.as_tensor(labels)
        if len(labels) != n:
            raise ShapeError(f"there must be a label for each of {n} samples, got {len(labels)}")
        return labels


class GANTrainer(Adversary):
    """Trains any generator against any discriminator, where they are and from the weights that they have.

    Parameters
    ----------
    generator : torch.nn.Module
        Noise float32 [b, latent_size] -> samples [b, ...]; with `labels`, called with noise and labels.
    discriminator : torch.nn.Module
        Rows or samples [b, ...] -> scores [b] or [b, 1]; with `labels`, called with rows and labels.
    augment : callable (rows [b, ...]) -> rows, optional
        Done to rows and samples before the discriminator sees them. It must let gradients through, and draws from torch's
        global generator. With it few data suffice: Zhao, Liu, Lin, Zhu, Han: "Differentiable augmentation for
        data-efficient GAN training", NeurIPS 2020.
    options
        As for `Adversary`, and for `Trainer`.

    Raises
    ------
    ArgumentError
    UnknownFieldError
        The data have no field of the names `inputs`, `labels`.
    DtypeError
        Rows are no floats.

    Examples
    --------
    >>> generator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
    >>> discriminator = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1))
    >>> gan = GANTrainer(generator, discriminator, latent_size=2, batch_size=32, max_steps=20)
    >>> gan.fit(torch.randn(100, 1, generator=torch.Generator().manual_seed(0))).sample(3).shape
    torch.Size([3, 1])
    """

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, *, augment: Callable[[Tensor], Tensor] | None = None, **options: Any
    ) -> None:  # fmt: skip
        super().__init__(**options)
        self.generator, self.discriminator, self.augment = generator, discriminator, augment

    def _networks(self, schema: dict[str, list]) -> tuple[nn.Module, nn.Module]:
        dtype = schema[self.inputs][0]
        if not dtype.startswith("float"):
            raise DtypeError(
                f"rows must be floats to be told from samples, and field {self.inputs!r} is {dtype}: convert it"
            )
        return self.generator, self.discriminator

    def _seen(self, rows: Tensor) -> Tensor:
        return rows if self.augment is None else self.augment(rows)
