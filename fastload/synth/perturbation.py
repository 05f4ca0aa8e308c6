"""Adversarial samples from a trained generator: one pass of a small network moves a batch, where FGSM and PGD take gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastload.errors import ArgumentError, DtypeError, UnknownFieldError
from fastload.plan.row_plan import checked_count
from fastload.synth.adversarial import Attack, Loss, evaluating
from fastload.synth.batches import Batch
from fastload.synth.gan import NonSaturating
from fastload.synth.training import Trainer


class PerturbationGAN(Trainer, Attack):
    """An attack that is trained: a generator moves inputs within `epsilon` so that a model errs, and a discriminator, which tells
    moved inputs from others, has it keep them likely.

    After `fit` it is used as `FGSM` and `PGD` are: called with a batch, in a loader by `on`, and by `robustness`. Training needs
    the model and its gradients, and a batch that is moved afterwards does not.

    Xiao, Li, Zhu, He, Liu, Song: "Generating adversarial examples with adversarial networks", IJCAI 2018. There the size of
    what is added is a term of the loss; here `epsilon` bounds it.

    Parameters
    ----------
    model, epsilon, norm, bounds, loss
        As for `FGSM`. The model is not trained.
    generator : torch.nn.Module, optional
        Inputs [b, ...] -> what is to be added, of the same shape, before it is bounded; by default three layers, fully
        connected, and so for the discriminator, inputs -> scores [b, 1].
    discriminator : torch.nn.Module, optional
    realism : float
        Weight of the discriminator's opinion beside the model's loss.
    width : int
        Units of a layer, of networks that are not given.
    inputs, targets : str
        The fields of the model's inputs, and of what the loss compares its outputs with.
    options
        As for `Trainer`.

    Raises
    ------
    ArgumentError
    UnknownFieldError, DtypeError
        The data have no such fields, or inputs are no floats.

    Examples
    --------
    >>> from fastload.synth.adversarial import robustness
    >>> model = nn.Linear(2, 2)
    >>> _ = model.requires_grad_(False).weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]])), model.bias.zero_()
    >>> x = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    >>> y = (x[:, 0] > 0).long()
    >>> attack = PerturbationGAN(model, epsilon=0.25, batch_size=50, max_steps=300).fit((x, y))
    >>> found = robustness(model, [(x, y)], attack)
    >>> found.accuracy, 0.4 < found.robust_accuracy < 0.6
    (1.0, True)
    """

    def __init__(
        self, model: nn.Module, epsilon: float, *, norm: str = "inf", bounds: tuple[float, float] | None = None,
        loss: Loss = functional.cross_entropy, generator: nn.Module | None = None, discriminator: nn.Module | None = None,
        realism: float = 0.1, width: int = 128, inputs: str = "x", targets: str = "y", **options: Any,
    ) -> None:  # fmt: skip
        Trainer.__init__(self, **{"batch_size": 128, "ema": 0.99} | options)
        Attack.__init__(self, model, epsilon, norm=norm, bounds=bounds, loss=loss)
        if not realism >= 0:
            raise ArgumentError(f"realism must not be negative, got {realism!r}")
        self.generator, self.discriminator, self.realism = generator, discriminator, float(realism)
        self.width, self.inputs, self.targets = checked_count("width", width), inputs, targets

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.inputs, self.targets)

    def _schema(self, batch: Batch) -> dict[str, list]:
        for name in self._names:
            if name not in batch:
                raise UnknownFieldError(f"the data must have a field {name!r}; they have {', '.join(map(repr, batch))}")
        if not batch[self.inputs].is_floating_point():
            raise DtypeError(
                f"inputs must be floats to be moved a little, and field {self.inputs!r} is not: convert it"
            )
        return super()._schema({name: batch[name] for name in self._names})

    def _build(self, schema: dict[str, list]) -> None:
        shape = schema[self.inputs][1]
        size = math.prod(shape)
        self._generator = self.generator or nn.Sequential(
            _layers(size, self.width, size), nn.Unflatten(1, shape or (1,))
        )
        self._discriminator = self.discriminator or _layers(size, self.width, 1)
        self._generator_adam, self._discriminator_adam = self._adam(self._generator), self._adam(self._discriminator)

    def _modules(self) -> dict[str, nn.Module]:
        return {"generator": self._generator, "discriminator": self._discriminator}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self._generator_adam, "discriminator": self._discriminator_adam}

    def _averaged(self) -> tuple[str, ...]:
        return ("generator",)

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        x, y = batch[self.inputs], batch[self.targets]
        moved = self._perturbed(x, self._generator)
        game = NonSaturating()
        scores = self._discriminator(x), self._discriminator(moved.detach())
        losses = {"discriminator": game.discriminator(*scores)}
        self._descend(losses["discriminator"], self._discriminator_adam)

        with evaluating(self.model):
            losses["model"] = self.loss(self.model(moved), y)
        losses["generator"] = game.generator(self._discriminator(moved))
        self._descend(self.realism * losses["generator"] - losses["model"], self._generator_adam)
        return losses

    def _perturbed(self, x: Tensor, generator: nn.Module) -> Tensor:
        raw = generator(x)
        size = raw.square().mean(dim=tuple(range(1, raw.ndim)), keepdim=True).sqrt()
        raw = 2 * raw / size.clamp_min(1e-6)  # where it grows, tanh has no slope, and nothing more is learnt
        return self._within(x + self.epsilon * raw.tanh(), x)

    @torch.no_grad()
    def _moved(self, x: Tensor, y: Tensor) -> Tensor:
        return self._perturbed(x, self._fitted("generator"))


def _layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Three layers, fully connected."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )  # fmt: skip
