"""A variational autoencoder of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.column_network import IMPOSSIBLE, drawn
from fastload.synth.latent import divergence, drawn_near
from fastload.synth.tables import TableSynthesizer, accepted


class RowEncoder(nn.Module):
    """Codes int64 [b, columns] -> mean and log variance of the latent numbers, each [b, latent_size]."""

    def __init__(self, sizes: list[int], width: int, latent_size: int) -> None:
        super().__init__()
        self.register_buffer("starts", torch.tensor([0, *sizes[:-1]]).cumsum(0), persistent=False)
        self.cells = nn.EmbeddingBag(sum(sizes), width, mode="sum")
        nn.init.normal_(self.cells.weight, std=0.3)
        self.layers = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * latent_size))

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(self.cells(codes + self.starts)).chunk(2, dim=1)


class RowDecoder(nn.Module):
    """Latent numbers [b, latent_size] -> logits [b, sum of sizes], those of one column after those of another."""

    def __init__(self, sizes: list[int], width: int, latent_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, sum(sizes))
        )
        place = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        self.register_buffer("is_code", place, persistent=False)

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent)

    def padded(self, logits: Tensor) -> Tensor:
        """The same as [b, columns, codes of the longest column]."""
        padded = logits.new_full((len(logits), *self.is_code.shape), IMPOSSIBLE)
        padded[:, self.is_code] = logits
        return padded


class TableVAE(TableSynthesizer):
    """Rows as a few latent numbers, near to normal ones, and back; new rows are decoded from normal numbers.

    Kingma, Welling: "Auto-encoding variational Bayes", ICLR 2014; for tables Xu et al., "Modeling tabular data using conditional
    GAN", NeurIPS 2019. Codes are drawn by their probabilities, not the likeliest taken, so that rare ones come as often as they
    should.

    Parameters
    ----------
    latent_size, width : int
    kl_weight : float
        Weight of how far latent numbers are from normal ones. Below 1 rows are decoded better, and drawn worse.
    options
        Of `TableSynthesizer` and `Trainer`.

    Examples
    --------
    >>> import numpy as np
    >>> model = TableVAE(batch_size=50, max_steps=20).fit({"late": np.arange(100) % 2 == 0, "delay": np.arange(100.0)})
    >>> model.sample(3, where={"late": True})["late"].tolist()
    [True, True, True]
    """

    def __init__(
        self, *, latent_size: int = 24, width: int = 256, kl_weight: float = 1.0, learning_rate: float = 2e-3, ema: float = 0.998,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, ema=ema, **options)
        self.latent_size, self.width = checked_count("latent_size", latent_size), checked_count("width", width)
        self.kl_weight = float(kl_weight)

    def _build(self, schema: dict[str, list]) -> None:
        self.encoder = RowEncoder(self.columns.sizes, self.width, self.latent_size)
        self.decoder = RowDecoder(self.columns.sizes, self.width, self.latent_size)
        self._optimizer = self._adam(self.encoder, self.decoder)

    def _modules(self) -> dict[str, nn.Module]:
        return {"decoder": self.decoder, "encoder": self.encoder}

    def _optimizers(self) -> dict[str, Optimizer]:
        return {"both": self._optimizer}

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        losses = self._losses(batch["codes"].long(), self.encoder, self.decoder)
        self._descend(losses["cells"] + self.kl_weight * losses["latent"], self._optimizer)
        return losses

    def _losses(self, codes: Tensor, encoder: nn.Module, decoder: nn.Module) -> dict[str, Tensor]:
        mean, log_variance = encoder(codes)
        logits = decoder.padded(decoder(drawn_near(mean, log_variance)))
        cells = functional.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="sum") / len(codes)
        return {"cells": cells, "latent": divergence(mean, log_variance).mean()}

    def _score(self) -> float | None:
        if not len(self._validation):
            return None
        with torch.no_grad():
            codes = self._validation.to(self._device)
            losses = self._losses(codes, self._fitted("encoder"), self._fitted("decoder"))
        return float(losses["cells"] + self.kl_weight * losses["latent"])

    @torch.no_grad()
    def _draw(self, rows: int, generator: torch.Generator, weights: Mapping[int, Tensor]) -> Tensor:
        latent = torch.randn(rows, self.latent_size, generator=generator, device=self._device)
        logits = self._fitted("decoder")(latent).split(self.columns.sizes, dim=1)
        return accepted(torch.stack([drawn(part, generator) for part in logits], dim=1), weights, generator)
