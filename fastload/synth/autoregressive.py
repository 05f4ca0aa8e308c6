"""Rows drawn column after column: the model to begin with for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fastload.clean.frames import check_columns, pl
from fastload.errors import ArgumentError
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.column_network import ColumnNetwork
from fastload.synth.tables import TableSynthesizer

WARM_UP = 100  # steps
LAST_RATE = 0.02  # of the learning rate, at the end
VALIDATED = 20_000  # rows, at most, each with a random part of its cells unknown


class TableAutoregressor(TableSynthesizer):
    """Learns how each column depends on any others, by likelihood, and draws new rows column after column.

    No game between two networks: training is one cross-entropy, which falls steadily, and a held-out one that says when to stop.
    Half of the training is for random orders of columns, so that any condition can be met; half for the one order that
    rows are drawn in, from the column with most information down to the one with least, or to `target`. See `ColumnNetwork`.

    Parameters
    ----------
    target : str, optional
        The column that others are to predict; it is drawn last, so that all of them bear on it.
    width, head_width : int
        Of the network's sum of cells, and of each column's own layer.
    dropout : float
    options
        Of `TableSynthesizer` and `Trainer`.

    Examples
    --------
    >>> town = np.array(["Oslo", "Bergen"])[np.arange(400) % 2]
    >>> table = {"town": town, "rain": (town == "Bergen") * 50.0 + np.arange(400) % 10}
    >>> model = TableAutoregressor(batch_size=100, max_steps=60).fit(table)
    >>> rows = model.sample(50, where={"town": "Bergen"})
    >>> set(rows["town"]), bool(rows["rain"].max() <= 59)
    ({'Bergen'}, True)
    """

    def __init__(
        self, *, target: str | None = None, width: int = 192, head_width: int = 48, dropout: float = 0.1,
        learning_rate: float = 3e-3, ema: float = 0.998, score_every: int = 100, patience: int | None = 6, **options: Any,
    ) -> None:  # fmt: skip
        if not 0 <= dropout < 1:
            raise ArgumentError(f"dropout must be at least 0 and less than 1, got {dropout!r}")
        super().__init__(learning_rate=learning_rate, ema=ema, score_every=score_every, patience=patience, **options)
        self.target = target
        self.width, self.head_width = checked_count("width", width), checked_count("head_width", head_width)
        self.dropout = float(dropout)

    def _build(self, schema: dict[str, list]) -> None:
        if self.target is not None:
            check_columns(pl.DataFrame(schema=list(self.columns.groups)), [self.target])
        counts = [torch.from_numpy(count) for count in self._counts]
        self.network = ColumnNetwork(counts, width=self.width, head_width=self.head_width, dropout=self.dropout)
        self._optimizer = self._adam(self.network, betas=(0.9, 0.99))
        self._order = self._drawing_order()
        self._rank = torch.from_numpy(np.argsort(self._order))

    def _drawing_order(self) -> list[int]:
        """Columns by falling entropy; the code columns of one column stay together, and `target` comes last."""
        entropy = [_entropy(count) for count in self._counts]
        groups = sorted(
            self.columns.groups.items(), key=lambda group: (group[0] == self.target, -sum(entropy[c] for c in group[1]))
        )
        return [column for _, columns in groups for column in columns]

    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def _optimizers(self) -> dict[str, Optimizer]:
        return {"network": self._optimizer}

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        falling = 1 - (1 - LAST_RATE) * self.step / self.max_steps
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate * falling * min(1, (self.step + 1) / WARM_UP)
        codes = batch["codes"].long()
        loss = self.network.loss(codes, self._known(len(codes)))
        self._descend(loss, self._optimizer)
        return {"loss": loss}

    def _known(self, rows: int) -> Tensor:
        """The cells that the others are told from, bool [rows, columns]: the first few in an order, random for half of the rows."""
        columns = len(self._order)
        rank = torch.rand(rows, columns, device=self._device).argsort(dim=1)
        rank[: rows // 2] = self._rank.to(self._device)
        return rank < torch.randint(columns, (rows, 1), device=self._device)

    def _score(self) -> float | None:
        if not len(self._validation):
            return None
        codes = self._validation.repeat(-(-VALIDATED // len(self._validation)), 1)[:VALIDATED].to(self._device)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # the same cells each time
            return float(self._fitted("network").loss(codes, self._known(len(codes))))

    def _draw(self, rows: int, generator: torch.Generator, weights: Mapping[int, Tensor]) -> Tensor:
        return self._fitted("network").draw(rows, self._order, generator, weights)


def _entropy(count: np.ndarray) -> float:
    share = count[count > 0] / count.sum()
    return float(-share @ np.log(share))
