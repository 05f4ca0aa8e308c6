"""Adversarial samples: inputs moved a little, so that a model errs; to measure how robust it is, and to train it on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastload.errors import ArgumentError, NotFiniteError

Loss = Callable[[Tensor, Tensor], Tensor]
NORMS = ("inf", "2")


class Attack(ABC):
    """What FGSM and PGD have in common. Subclasses say in `_moved` how inputs are moved.

    The model is in evaluation mode while it is attacked, and afterwards as it was; its parameters get no gradients.
    """

    def __init__(
        self, model: nn.Module, epsilon: float, *, norm: str = "inf", bounds: tuple[float, float] | None = None,
        loss: Loss = functional.cross_entropy,
    ) -> None:  # fmt: skip
        if not epsilon >= 0:
            raise ArgumentError(f"epsilon must not be negative, got {epsilon!r}")
        if norm not in NORMS:
            raise ArgumentError(f"norm must be one of {', '.join(map(repr, NORMS))}, got {norm!r}")
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ArgumentError(f"bounds must be (lowest, highest), got {bounds!r}")
        self.model, self.epsilon, self.norm, self.bounds, self.loss = model, float(epsilon), norm, bounds, loss

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Inputs near `x` for which the model's loss is higher.

        Parameters
        ----------
        x : float tensor [b, ...]
            Inputs of the model, on its device.
        y : tensor [b]
            What the loss compares the outputs with.

        Returns
        -------
        A tensor of the shape, dtype and device of `x`, each row within `epsilon` of it, and within `bounds`.

        Raises
        ------
        ArgumentError
            `x` holds no floats, or has another number of rows than `y`.
        NotFiniteError
            The gradient is not finite: the model has diverged, or its input is not finite.
        """
        if not x.is_floating_point():
            raise ArgumentError(f"inputs must be floats to be moved a little, got {x.dtype}: convert them first")
        if len(x) != len(y):
            raise ArgumentError(f"inputs and targets must be as many, got {len(x)} and {len(y)}")
        if self.epsilon == 0 or not len(x):
            return x.clone()
        with evaluating(self.model):
            return self._moved(x.detach(), y)

    def on(self, inputs: str, targets: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """A function for ``DataLoader(transform=...)``: it moves the inputs of each batch, two of its fields being named.

        Examples
        --------
        >>> import fastload as fl
        >>> attack = FGSM(nn.Linear(2, 2), epsilon=0.125)
        >>> data = {"x": torch.zeros(4, 2), "y": torch.tensor([0, 1, 0, 1])}
        >>> batch = next(iter(fl.DataLoader(data, batch_size=4, transform=attack.on("x", "y"))))
        >>> batch["x"].abs().amax().item() <= 0.125
        True
        """

        def moved(batch: dict[str, Any]) -> dict[str, Any]:
            return batch | {inputs: self(batch[inputs], batch[targets])}

        return moved

    @abstractmethod
    def _moved(self, x: Tensor, y: Tensor) -> Tensor:
        """Each row moved; `x` has no gradient, and there is at least one row."""

    def _ascent(self, x: Tensor, y: Tensor) -> Tensor:
        """For each row, the direction within the unit ball in which the loss rises most."""
        x = x.clone().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.loss(self.model(x), y) * len(x), x)
        finite = gradient.flatten(1).isfinite().all(dim=1)
        if not finite.all():
            row = int(finite.logical_not().nonzero()[0])
            raise NotFiniteError(
                f"the gradient of the loss must be finite to move inputs by it; it is not at row {row} of the batch: the model has "
                "diverged, or the input is not finite"
            )
        if self.norm == "inf":
            return gradient.sign()
        length = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(x.dtype).tiny)
        return gradient / _like_rows(length, x)

    def _within(self, moved: Tensor, x: Tensor) -> Tensor:
        """`moved` brought back into the ball around `x`, and into the bounds."""
        change = moved - x
        if self.norm == "inf":
            change = change.clamp(-self.epsilon, self.epsilon)
        else:
            length = change.flatten(1).norm(dim=1).clamp_min(torch.finfo(x.dtype).tiny)
            change = change * _like_rows((self.epsilon / length).clamp_max(1), x)
        return x + change if self.bounds is None else (x + change).clamp(*self.bounds)


class FGSM(Attack):
    """Fast gradient sign method: one step of size `epsilon` in the direction in which the loss rises.

    Goodfellow, Shlens, Szegedy: "Explaining and harnessing adversarial examples", ICLR 2015.

    Parameters
    ----------
    model : torch.nn.Module
        Takes inputs [b, ...] and gives what `loss` takes.
    epsilon : float
        How far an input may be moved, in the units of the inputs, not negative.
    norm : "inf" or "2"
        Of what is added: its largest element, or its Euclidean length, for each row.
    bounds : (float, float), optional
        The lowest and the highest value that an input may have.
    loss : callable (outputs, y) -> mean loss of the batch

    Raises
    ------
    ArgumentError

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> _ = model.requires_grad_(False).weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    >>> FGSM(model, epsilon=0.25)(torch.zeros(1, 2), torch.tensor([0])).tolist()
    [[-0.25, 0.25]]
    """

    def _moved(self, x: Tensor, y: Tensor) -> Tensor:
        return self._within(x + self.epsilon * self._ascent(x, y), x)


class PGD(Attack):
    """Projected gradient descent: many small steps, each brought back into the ball of size `epsilon`.

    Madry, Makelov, Schmidt, Tsipras, Vladu: "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Parameters
    ----------
    model, epsilon, norm, bounds, loss
        As for `FGSM`.
    steps : int
    step_size : float, optional
        By default ``2.5 * epsilon / steps``, which reaches the border of the ball from everywhere in it.
    random_start : bool
        Begin anywhere in the ball, drawn uniformly for the norm "inf", on its border for "2"; else at the input.
    generator : torch.Generator, optional
        What the start is drawn from; torch's global one by default.

    Raises
    ------
    ArgumentError

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> _ = model.requires_grad_(False).weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    >>> PGD(model, epsilon=0.25, random_start=False)(torch.zeros(1, 2), torch.tensor([0])).tolist()
    [[-0.25, 0.25]]
    """

    def __init__(
        self, model: nn.Module, epsilon: float, *, steps: int = 10, step_size: float | None = None, random_start: bool = True,
        norm: str = "inf", bounds: tuple[float, float] | None = None, loss: Loss = functional.cross_entropy,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, epsilon, norm=norm, bounds=bounds, loss=loss)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ArgumentError(f"steps must be a positive integer, got {steps!r}")
        if step_size is not None and not step_size > 0:
            raise ArgumentError(f"step_size must be positive, got {step_size!r}")
        self.steps, self.random_start, self.generator = steps, random_start, generator
        self.step_size = 2.5 * self.epsilon / steps if step_size is None else float(step_size)

    def _moved(self, x: Tensor, y: Tensor) -> Tensor:
        moved = self._within(x + self._start(x), x) if self.random_start else x
        for _ in range(self.steps):
            moved = self._within(moved + self.step_size * self._ascent(moved, y), x)
        return moved

    def _start(self, x: Tensor) -> Tensor:
        drawn = torch.empty_like(x)
        if self.norm == "inf":
            return drawn.uniform_(-self.epsilon, self.epsilon, generator=self.generator)
        drawn.normal_(generator=self.generator)
        return self.epsilon * drawn / _like_rows(drawn.flatten(1).norm(dim=1), x)


class Robustness(NamedTuple):
    """Shares of rows that a model classifies rightly: as they are, and moved by an attack. rows : how many were looked at."""

    accuracy: float
    robust_accuracy: float
    rows: int


def robustness(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], attack: Attack) -> Robustness:
    """How often a classifier is right, and how often it still is when its inputs are moved.

    Parameters
    ----------
    model : torch.nn.Module
        Inputs [b, ...] -> scores [b, classes].
    batches : iterable of (x [b, ...], y int64 [b])
    attack : Attack
        On this model, or on another one (a transfer attack).

    Raises
    ------
    ArgumentError
        There is no row.

    Examples
    --------
    >>> model = nn.Linear(1, 2)
    >>> _ = model.requires_grad_(False).weight.copy_(torch.tensor([[-1.0], [1.0]])), model.bias.zero_()
    >>> x = torch.tensor([[-0.5], [-0.1], [0.1], [0.5]])
    >>> robustness(model, [(x, torch.tensor([0, 0, 1, 1]))], FGSM(model, epsilon=0.2))
    Robustness(accuracy=1.0, robust_accuracy=0.5, rows=4)
    """
    rows = right = right_moved = 0
    with evaluating(model):
        for x, y in batches:
            moved = attack(x, y)
            with torch.no_grad():
                right += int((model(x).argmax(dim=1) == y).sum())
                right_moved += int((model(moved).argmax(dim=1) == y).sum())
            rows += len(y)
    if not rows:
        raise ArgumentError("robustness needs rows to look at, and the batches hold none")
    return Robustness(right / rows, right_moved / rows, rows)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each part of the model is in the mode that it was in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _like_rows(of_rows: Tensor, x: Tensor) -> Tensor:
    """[b] -> [b, 1, 1, ...], to go with `x`."""
    return of_rows.reshape(-1, *[1] * (x.ndim - 1))
