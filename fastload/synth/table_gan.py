"""A conditional GAN of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fastload.errors import ArgumentError
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.gan import Wasserstein, steepness
from fastload.synth.tables import TableSynthesizer, accepted

FAR, LEAST, TINY = 1e4, -20.0, 1e-20
SOFTNESS = 0.2  # temperature of the draws in training: low enough for nearly whole codes, high enough for gradients


class RowGenerator(nn.Module):
    """Noise [..., latent_size] and conditions [..., cells] -> rows [..., cells], each column a soft draw of its codes.

    Cells of a condition are 1 where a code is asked for, and 0 elsewhere; columns with such a cell have just that code.
    """

    def __init__(self, sizes: list[int], width: int, latent_size: int) -> None:
        super().__init__()
        self.sizes = sizes
        cells = sum(sizes)
        self.first = nn.Sequential(nn.Linear(latent_size + cells, width), nn.BatchNorm1d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())
        self.last = nn.Linear(width, cells)

    def forward(self, noise: Tensor, condition: Tensor, generator: torch.Generator | None = None) -> Tensor:
        x = self.first(torch.cat([noise, condition], dim=-1).flatten(0, -2))
        logits = self.last(x + self.second(x)).view(condition.shape)
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
        gumbel = -(-uniform.clamp_min(TINY).log()).clamp_min(TINY).log()
        logits = torch.where(condition > 0, FAR, logits + gumbel) / SOFTNESS
        return torch.cat([soft_code(part) for part in logits.split(self.sizes, dim=-1)], dim=-1)


def soft_code(logits: Tensor) -> Tensor:
    """softmax, without numbers so small that processors are slow with them."""
    return (logits - logits.detach().amax(dim=-1, keepdim=True)).clamp_min(LEAST).softmax(dim=-1)


class PackDiscriminator(nn.Module):
    """Packs of rows [b, pack, cells], and their conditions, -> scores [b, 1].

    Each row is made short before the pack is looked at as a whole, so that a pack costs little more than its rows.
    """

    def __init__(self, cells: int, width: int, pack: int, dropout: float) -> None:
        super().__init__()
        self.row = nn.Sequential(nn.Linear(2 * cells, width // 4), nn.LeakyReLU(0.2))
        self.pack = nn.Sequential(
            nn.Flatten(),
            nn.Linear(pack * (width // 4), width),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
            nn.Linear(width, 1),
        )

    def forward(self, rows: Tensor, condition: Tensor) -> Tensor:
        return self.pack(self.row(torch.cat([rows, condition], dim=-1)))


class TableGAN(TableSynthesizer):
    """A generator of rows against a discriminator of packs of rows; both are told one code of each row.

    Which column that is, is drawn at random, and rows with rare codes are shown more often, by the logarithm of their frequency.
    The discriminator's slope is held near 1 by a penalty. Xu, Skoularidou, Cuesta-Infante, Veeramachaneni: "Modeling tabular
    data using conditional GAN", NeurIPS 2019; packs: Lin, Khetan, Fanti, Oh: "PacGAN", NeurIPS 2018. What depends on several
    columns it learns slowly, and nothing says when it has: see `TableAutoregressor` first.

    Parameters
    ----------
    pack : int
        Rows that the discriminator sees at once, so that it notices rows which are too much alike.
    latent_size, width : int
    dropout : float
        Of the discriminator.
    gradient_penalty : float
    options
        Of `TableSynthesizer` and `Trainer`. It has no score to stop by, holds no rows back, and trains for about 150 passes where
        `max_steps` says nothing.

    Examples
    --------
    >>> import numpy as np
    >>> model = TableGAN(batch_size=50, pack=5, max_steps=4).fit({"late": np.arange(100) % 2 == 0, "delay": np.arange(100.0)})
    >>> model.sample(3, where={"late": True})["late"].tolist()
    [True, True, True]
    """

    _passes = 150
    _takes_validation = False

    def __init__(
        self, *, pack: int = 10, latent_size: int = 64, width: int = 256, dropout: float = 0.25, gradient_penalty: float = 10.0,
        learning_rate: float = 3e-4, ema: float = 0.998, validation_share: float = 0.0, **options: Any,
    ) -> None:  # fmt: skip
        if not 0 <= dropout < 1:
            raise ArgumentError(f"dropout must be at least 0 and less than 1, got {dropout!r}")
        if not gradient_penalty >= 0:
            raise ArgumentError(f"gradient_penalty must not be negative, got {gradient_penalty!r}")
        if validation_share:
            raise ArgumentError(
                "a TableGAN has no score to stop by, and holds no rows back: leave validation_share out"
            )
        super().__init__(learning_rate=learning_rate, ema=ema, validation_share=validation_share, **options)
        self.pack, self.latent_size = checked_count("pack", pack), checked_count("latent_size", latent_size)
        self.width = checked_count("width", width)
        self.dropout, self.gradient_penalty = float(dropout), float(gradient_penalty)
        if self.batch_size % self.pack:
            raise ArgumentError(f"batch_size must be a multiple of pack, got {self.batch_size} and {self.pack}")

    def _build(self, schema: dict[str, list]) -> None:
        sizes = self.columns.sizes
        self.generator = RowGenerator(sizes, self.width, self.latent_size)
        self.discriminator = PackDiscriminator(sum(sizes), self.width, self.pack, self.dropout)
        self._generator_adam = self._adam(self.generator, betas=(0.5, 0.9))
        self._discriminator_adam = self._adam(self.discriminator, betas=(0.5, 0.9))
        self._loss = Wasserstein()
        self._starts = torch.tensor([0, *sizes[:-1]], device=self._device).cumsum(0)
        counts = [torch.from_numpy(count).double().to(self._device) for count in self._counts]
        self._shares = torch.cat([count / count.sum() for count in counts])
        self._boosts = torch.cat([(1 + count).log() / count.clamp_min(1) for count in counts])

    def _modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def _optimizers(self) -> dict[str, Optimizer]:
        return {"generator": self._generator_adam, "discriminator": self._discriminator_adam}

    def _averaged(self) -> tuple[str, ...]:
        return ("generator",)

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        real, condition = (self._packed(x) for x in self._asked(batch["codes"].long() + self._starts))
        fake = self.generator(self._noise(condition), condition)  # made once, for both networks
        seen = fake.detach()
        loss = self._loss.discriminator(self.discriminator(real, condition), self.discriminator(seen, condition))
        penalty = self.gradient_penalty * steepness(self.discriminator, real, seen, condition)
        self._descend(loss + penalty, self._discriminator_adam)
        generator_loss = self._loss.generator(self.discriminator(fake, condition))
        self._descend(generator_loss, self._generator_adam)
        return {"discriminator": loss, "generator": generator_loss}

    def _asked(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """As many rows as these, and what to ask for to get them: both float32 [b, cells].

        For each a column is drawn, and then the row: one of `cells` (int64 [b, columns]), those with rare codes there more likely.
        """
        column = torch.randint(cells.shape[1], (len(cells),), device=cells.device)
        drawn = torch.multinomial(self._boosts[cells].T, len(cells), replacement=True)  # rows, for each column
        cells = cells[drawn[column, torch.arange(len(cells), device=cells.device)]]
        rows = torch.zeros(len(cells), len(self._shares), device=cells.device).scatter_(1, cells, 1.0)
        condition = torch.zeros_like(rows).scatter_(1, cells.gather(1, column[:, None]), 1.0)
        return rows, condition

    def _packed(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, (-1, self.pack))

    def _noise(self, condition: Tensor) -> Tensor:
        return torch.randn(*condition.shape[:-1], self.latent_size, device=condition.device)

    @torch.no_grad()
    def _draw(self, rows: int, generator: torch.Generator, weights: Mapping[int, Tensor]) -> Tensor:
        sizes, device = self.columns.sizes, self._device
        if weights:  # of one column the generator is told, the others' rows are drawn until they fit
            column = min(weights)
            columns, likely = torch.full((rows,), column, device=device), {column: weights[column].double()}
        else:
            columns, likely = torch.randint(len(sizes), (rows,), generator=generator, device=device), {}
        condition = torch.zeros(rows, sum(sizes), device=device)
        for column, (start, size) in enumerate(zip(self._starts.tolist(), sizes, strict=True)):
            of_column = (columns == column).nonzero()[:, 0]
            if len(of_column):
                share = self._shares[start : start + size] * likely.get(column, 1.0)
                share = share if share.any() else likely[column]
                asked = torch.multinomial(share, len(of_column), replacement=True, generator=generator)
                condition[of_column, start + asked] = 1.0
        noise = torch.randn(rows, self.latent_size, generator=generator, device=device)
        soft = self._fitted("generator")(noise, condition, generator)
        codes = torch.stack([part.argmax(dim=1) for part in soft.split(sizes, dim=1)], dim=1)
        return accepted(codes, {c: (w > 0).float() if c == min(weights) else w for c, w in weights.items()}, generator)
