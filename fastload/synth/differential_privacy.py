"""Training that is differentially private: what a network learns hardly depends on any one row (DP-SGD).

In each step every row is drawn with the same small probability, by itself (Poisson sampling); its gradient is cut to
`max_grad_norm`; and Gaussian noise, in proportion to that, is added to the sum. Abadi et al.: "Deep learning with differential
privacy", CCS 2016. Opacus (Yousefpour et al., arXiv:2109.12298) clips, adds the noise and keeps the account; gradients of single
rows are never formed, only their norms (Li et al., "Large language models can be strong differentially private learners", ICLR
2022).

What is drawn for the guarantee, rows, noise and which cells are hidden, comes from the operating system's random bits, not from
the seed of a training, which others may know: a private training cannot be repeated. The bits are stretched by the generators of
NumPy and torch, and noise is of 32-bit floats, as in Opacus without its ``secure_mode``.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fastload.errors import ArgumentError, MissingExtraError
from fastload.synth.column_network import CellSum, Heads
from fastload.synth.seeded import seeded

TOLERANCE = 1e-3  # of epsilon, which noise is found for


class DifferentialPrivacy(NamedTuple):
    """How much a training may tell about any one row.

    Parameters
    ----------
    epsilon : float
        Whatever is asked of the model, its answer is at most exp(epsilon) times as likely with a row as without it, but for a
        probability of `delta`. Below 1 is strong, 3 to 10 usual, more is weak.
    delta : float
        Less than one by the number of rows; 1e-5 is usual.
    max_grad_norm : float
        What the gradient of a row is cut to. Smaller means less noise, and slower learning by rows that are unlike others.

    Examples
    --------
    >>> DifferentialPrivacy(epsilon=3.0, delta=1e-5)
    DifferentialPrivacy(epsilon=3.0, delta=1e-05, max_grad_norm=1.0)
    """

    epsilon: float
    delta: float
    max_grad_norm: float = 1.0

    def checked(self) -> DifferentialPrivacy:
        """
        Raises
        ------
        ArgumentError
        """
        for name in ("epsilon", "max_grad_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ArgumentError(f"{name} must be positive and finite, got {getattr(self, name)!r}")
        if not 0 < self.delta < 1:
            raise ArgumentError(f"delta must be greater than 0 and less than 1, got {self.delta!r}")
        return self


class PrivacySpent(NamedTuple):
    """What a training has told about any one row, at most."""

    epsilon: float
    delta: float


class Mechanism(NamedTuple):
    """What each step does: a row is in it with probability `sample_rate`, and noise has a standard deviation of
    `noise_multiplier` times `max_grad_norm`."""

    noise_multiplier: float
    sample_rate: float

    @classmethod
    def within(cls, privacy: DifferentialPrivacy, sample_rate: float, steps: int) -> Mechanism:
        """The one with the least noise by which so many steps spend no more than `privacy`, or hardly less.

        Raises
        ------
        ArgumentError
            The accountant can show no epsilon as small, whatever the noise.
        MissingExtraError

        Examples
        --------
        >>> mechanism = Mechanism.within(DifferentialPrivacy(3.0, 1e-5), sample_rate=0.05, steps=1000)
        >>> round(mechanism.noise_multiplier, 1)
        2.5
        """
        try:
            with _quiet():
                noise_multiplier = opacus("accountants.utils").get_noise_multiplier(
                    target_epsilon=privacy.epsilon, target_delta=privacy.delta, sample_rate=sample_rate, steps=steps,
                    accountant="rdp", epsilon_tolerance=TOLERANCE * privacy.epsilon,
                )  # fmt: skip
        except ValueError:
            raise ArgumentError(
                f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g} is less than can be shown, however much noise there is: "
                "allow more of either"
            ) from None
        return cls(float(noise_multiplier), sample_rate)


class Accountant:
    """What Opacus' ``RDPAccountant`` says of steps that are all alike; once made, for any number of them in no time.

    Raises
    ------
    MissingExtraError
    """

    def __init__(self, mechanism: Mechanism, delta: float) -> None:
        self.delta = delta
        self._analysis = opacus("accountants.analysis.rdp")
        self._orders = opacus("accountants").RDPAccountant.DEFAULT_ALPHAS
        self._of_a_step = self._analysis.compute_rdp(
            q=mechanism.sample_rate, noise_multiplier=mechanism.noise_multiplier, steps=1, orders=self._orders
        )

    def epsilon(self, steps: int) -> float:
        """
        Examples
        --------
        >>> accountant = Accountant(Mechanism(noise_multiplier=1.0, sample_rate=0.01), delta=1e-5)
        >>> [round(accountant.epsilon(steps), 2) for steps in (0, 1, 1000)]
        [0.0, 0.96, 2.1]
        """
        if steps == 0:
            return 0.0
        with _quiet():
            epsilon, _ = self._analysis.get_privacy_spent(
                orders=self._orders, rdp=self._of_a_step * steps, delta=self.delta
            )
        return float(epsilon)


class PoissonBatches:
    """Batches ``{"codes": ...}`` without end, in each of which every row is with the same probability, by itself: they are of
    unequal length, and may be empty. A training that goes on later draws others than it would have."""

    def __init__(self, codes: Tensor, sample_rate: float) -> None:
        self._codes, self._sample_rate = codes, sample_rate

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        random = np.random.default_rng()  # seeded by the operating system
        while True:
            drawn = np.flatnonzero(random.random(len(self._codes)) < self._sample_rate)
            yield {"codes": self._codes[torch.from_numpy(drawn)]}

    def state_dict(self) -> dict[str, Any]:
        return {"poisson": True}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing of a state is needed to go on."""


class PrivateDescent:
    """Steps of an optimiser by clipped gradients and noise, from when it is made until it is closed.

    Parameters
    ----------
    network : nn.Module
        Whose weights are all in modules that Opacus has a rule for, or in those of a `ColumnNetwork`.
    optimizer : Optimizer
    expected_rows : int
        Of a batch, on average.

    Raises
    ------
    MissingExtraError
    """

    def __init__(
        self, network: nn.Module, optimizer: Optimizer, privacy: DifferentialPrivacy, mechanism: Mechanism, expected_rows: int
    ) -> None:  # fmt: skip
        grad_sample = opacus("grad_sample")
        for kind, norms in ((CellSum, _norms_of_cells), (Heads, _norms_of_heads)):
            grad_sample.register_norm_sampler(kind)(norms)
        self._network = grad_sample.GradSampleModuleFastGradientClipping(
            network, loss_reduction="sum", max_grad_norm=privacy.max_grad_norm, strict=False
        )  # not strict, as that refuses buffers, which may hold what is learned of other rows; a ColumnNetwork's are constant
        device = next(network.parameters()).device
        self._optimizer = opacus("optimizers").DPOptimizerFastGradientClipping(
            optimizer, noise_multiplier=mechanism.noise_multiplier, max_grad_norm=privacy.max_grad_norm,
            expected_batch_size=expected_rows, generator=secret_generator(device),
        )  # fmt: skip
        self._clipped = opacus("utils.fast_gradient_clipping_utils").DPTensorFastGradientClipping
        self._accountant = Accountant(mechanism, privacy.delta)

    def step(self, losses: Tensor) -> None:
        """losses : [rows], each of which depends on one row alone, and on the weights"""
        with _quiet():
            self._clipped(self._network, self._optimizer, losses, "sum").backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)  # sums without noise are not kept

    def epsilon(self, steps: int) -> float:
        """What so many steps spend."""
        return self._accountant.epsilon(steps)

    def close(self) -> None:
        """The network is again as it was, but for its weights."""
        self._network.to_standard_module()


def _norms_of_cells(cells: CellSum, activations: list[Tensor], slopes: Tensor) -> dict[nn.Parameter, Tensor]:
    """Norms of the gradients of single rows, [rows]: each of a row's cells, which differ, has the slope of their sum."""
    return {cells.weight: slopes.norm(dim=1) * activations[0].shape[1] ** 0.5}


def _norms_of_heads(heads: Heads, activations: list[Tensor], slopes: Tensor) -> dict[nn.Parameter, Tensor]:
    """The same; the gradient of a head's weights is the product of two vectors, slopes [columns, rows, codes] one of them."""
    squares = slopes.square().sum(dim=2)
    inputs = heads.by_column(activations[0]).square().sum(dim=2)
    return {heads.weight: (squares * inputs).sum(dim=0).sqrt(), heads.bias: squares.sum(dim=0).sqrt()}


def secret_generator(device: torch.device) -> torch.Generator:
    """A generator that begins where nobody knows."""
    generator = torch.Generator(device).manual_seed(secrets.randbits(63))
    if device.type == "cpu":  # where no more than 32 bits of a seed are used, few enough to try them all
        state = generator.get_state()
        words = state.view(torch.int64)[3:627]  # of the Mersenne Twister, 32 bits in each
        words.copy_(torch.from_numpy(np.frombuffer(os.urandom(4 * len(words)), np.uint32).astype(np.int64)))
        generator.set_state(state)
    return generator


def secret_draws(device: torch.device) -> Any:
    """What is drawn from torch's global generators in the block is known to nobody; afterwards they are as they were before."""
    return seeded(secrets.randbits(64), "private", device=device)


def opacus(module: str) -> ModuleType:
    """A module of Opacus.

    Raises
    ------
    MissingExtraError
    """
    root = logging.getLogger()
    handlers = root.handlers[:]
    try:
        return import_module(f"opacus.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opacus":
            raise
        raise MissingExtraError("opacus", extra="dp") from None
    finally:
        root.handlers[:] = handlers  # to which Opacus adds one of its own, where there is none, when it is imported


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Opacus' warnings of what is meant to be."""
    with warnings.catch_warnings():
        # epsilon is the least bound of some orders; that of the first or last order is a true bound, too
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
        # cells are integers, so that no gradient reaches the hook of the first module but that of its outputs, which is the one
        # that is needed
        warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
        yield
