"""Autoencoders of vectors: rows as a few numbers, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from fastload.errors import ArgumentError
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.field_model import FieldModel, as_given
from fastload.synth.fields import array_of, check_rows
from fastload.synth.moments import moments_of
from fastload.synth.ranks import agree


def layers(*sizes: int) -> nn.Sequential:
    """Linear layers from one size to the next, with SiLU between them.

    >>> [type(layer).__name__ for layer in layers(8, 4, 2)]
    ['Linear', 'SiLU', 'Linear']
    """
    found = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.SiLU())]
    return nn.Sequential(*found[:-1])


class Autoencoder(FieldModel):
    """Rows as `latent_size` numbers, and back: for compression, against noise, and to find rows unlike those trained on.

    An encoder and a decoder are trained to give back, through a narrow place, what they were given: Hinton, Salakhutdinov:
    "Reducing the dimensionality of data with neural networks", Science 2006. With `noise` they are given disturbed rows, and
    are to give back the undisturbed ones: Vincent, Larochelle, Bengio, Manzagol: "Extracting and composing robust features with
    denoising autoencoders", ICML 2008.

    The networks see standardised values. Each entry of a vector has its own mean and spread, each channel of an image [height,
    width, channels] one for all pixels, and rows of another shape, [height, width] say, have one for all.

    Parameters
    ----------
    latent_size : int
    hidden : sequence of int
        Sizes of the layers between rows and latent numbers; the decoder has them in reverse.
    noise : float
        Standard deviation of the normal noise that is added to rows in training, in units of their spread.
    inputs : str
        The field that is learned.
    batch_size, max_steps, patience, ema, options
        As of `FieldModel`, with its `validation_share`, and of `Trainer`. Training ends after `patience` scores that were no
        better, where there are rows to take them of. The learning rate rises for 100 steps, and falls evenly to a fiftieth at
        `max_steps`: with another number of steps a checkpoint is gone on from at another rate.

    Attributes
    ----------
    center, scale : float64 array [columns]
        Mean and spread of the rows; a spread of 0 counts as 1. Those of a data set come from its files' statistics. A loader
        that transforms its rows, or is none of fastload's, is passed through once for them, and so must come to an end.

    Raises
    ------
    ArgumentError

    Examples
    --------
    >>> angle = np.linspace(0, 2 * np.pi, 500)
    >>> circle = np.column_stack([np.cos(angle), np.sin(angle)])
    >>> model = Autoencoder(1, hidden=(32, 32), batch_size=50, max_steps=800, learning_rate=0.01).fit(circle)
    >>> model.encode(circle).shape, model.reconstruct(circle).shape
    ((500, 1), (500, 2))
    >>> bool(model.anomaly_score(np.zeros((1, 2)))[0] > 10 * model.anomaly_score(circle).mean())
    True
    """

    def __init__(
        self, latent_size: int, *, hidden: Sequence[int] = (512, 256), noise: float = 0.0, inputs: str = "x",
        batch_size: int = 128, max_steps: int = 5000, patience: int | None = 5, ema: float = 0.99, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(batch_size=batch_size, max_steps=max_steps, patience=patience, ema=ema, **options)
        if not noise >= 0:
            raise ArgumentError(f"noise must not be negative, got {noise!r}")
        self.latent_size = checked_count("latent_size", latent_size)
        self.hidden = tuple(checked_count("hidden", size) for size in hidden)
        self.noise, self.inputs = float(noise), inputs
        self.center: np.ndarray | None = None
        self.scale: np.ndarray | None = None

    # --- training -------------------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.inputs,)

    def _learn(self, data: Any) -> None:
        self.center, self.scale = agree(moments_of(data, self.inputs))

    def _build(self, schema: dict[str, list]) -> None:
        sizes = (math.prod(schema[self.inputs][1]), *self.hidden, self.latent_size)
        self.encoder, self.decoder = layers(*sizes), layers(*reversed(sizes))
        self._optimizer = self._adam(self.encoder, self.decoder)
        self._center, self._scale = (torch.from_numpy(x).to(self._device) for x in (self.center, self.scale))

    def _modules(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def _optimizers(self) -> dict[str, Optimizer]:
        return {"both": self._optimizer}

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        self._set_rate(self._optimizer)
        rows = self._standardized(batch[self.inputs])
        seen = rows + self.noise * torch.randn_like(rows) if self.noise else rows
        loss = functional.mse_loss(self.decoder(self.encoder(seen)), rows)
        self._descend(loss, self._optimizer)
        return {"error": loss}

    def _score(self) -> float | None:
        return None if self._validation is None else float(self.anomaly_score(self._validation[self.inputs]).mean())

    def _config(self) -> dict[str, Any]:
        return super()._config() | {"center": self.center, "scale": self.scale}

    def _configure(self, config: Mapping[str, Any]) -> None:
        super()._configure(config)
        self.center, self.scale = config["center"], config["scale"]

    # --- use ------------------------------------------------------------------------------------------

    def encode(self, x: Any) -> Any:
        """The latent numbers of rows.

        Parameters
        ----------
        x : array or tensor [n, ...]
            Rows like those trained on.

        Returns
        -------
        float32 [n, latent_size], an array for an array, else a tensor on the CPU.

        Raises
        ------
        NotFittedError, DtypeError, ShapeError, NotFiniteError
        """
        encoder = self._fitted("encoder")
        return self._of_rows(x, lambda rows: encoder(self._standardized(rows)))

    def decode(self, latent: Any) -> Any:
        """Rows of latent numbers.

        Parameters
        ----------
        latent : array or tensor [n, latent_size]

        Returns
        -------
        Rows as those trained on, in their units, float32 [n, ...], or float64 where those were; an array for an array, else a
        tensor on the CPU.

        Raises
        ------
        NotFittedError, DtypeError, ShapeError, NotFiniteError
        """
        decoder = self._fitted("decoder")
        return self._mapped(latent, "latent", (self.latent_size,), lambda part: self._in_units(decoder(part.float())))

    def reconstruct(self, x: Any) -> Any:
        """What is left of rows after `encode` and `decode`: of noisy rows, the rows without noise.

        Parameters, raises as of `encode`, returns as of `decode`.
        """
        return self.decode(self.encode(x))

    def anomaly_score(self, x: Any) -> Any:
        """How badly rows are reconstructed, which those are that are unlike the rows trained on.

        Parameters, raises as of `encode`.

        Returns
        -------
        float32 [n], mean over a row's values of the squared difference, in units of their spread; an array for an array, else a
        tensor on the CPU.
        """
        encoder, decoder = self._fitted("encoder"), self._fitted("decoder")

        def errors(rows: Tensor) -> Tensor:
            rows = self._standardized(rows)
            return (decoder(encoder(rows)) - rows).square().mean(dim=1)

        return self._of_rows(x, errors)

    def _standardized(self, rows: Tensor) -> Tensor:
        """float32 [b, values of a row]"""
        return ((rows.double() - self._center) / self._scale).float().flatten(1)

    def _in_units(self, rows: Tensor) -> Tensor:
        dtype, shape = self.schema[self.inputs]
        rows = rows.double().view(-1, *shape) * self._scale + self._center
        return rows.to(torch.float64 if dtype == "float64" else torch.float32)

    def _of_rows(self, x: Any, function: Callable[[Tensor], Tensor]) -> Any:
        return self._mapped(x, self.inputs, self.schema[self.inputs][1], function)

    def _mapped(self, x: Any, name: str, shape: Sequence[int], function: Callable[[Tensor], Tensor]) -> Any:
        rows = array_of(x)
        check_rows(rows, name, shape)
        return as_given(self._in_parts(function, rows), x)
