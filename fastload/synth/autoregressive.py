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
from fastload.load.dataloader import DataLoader
from fastload.load.iterable import IterableDataset
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch
from fastload.synth.column_network import ColumnNetwork
from fastload.synth.constraints import FixedCombinations
from fastload.synth.differential_privacy import (
    Accountant,
    DifferentialPrivacy,
    Mechanism,
    PoissonBatches,
    PrivacySpent,
    PrivateDescent,
    secret_draws,
)
from fastload.synth.ranks import rank_and_world
from fastload.synth.seeded import seeded
from fastload.synth.tables import TableSynthesizer

VALIDATED = 20_000  # rows, at most, each with a random part of its cells unknown
OPTIONS = {"learning_rate": 3e-3, "ema": 0.998, "score_every": 100, "patience": 6}
PRIVATE_OPTIONS = {"batch_size": 1000, "learning_rate": 1e-2, "ema": 0.998, "validation_share": 0.0}


class TableAutoregressor(TableSynthesizer):
    """Learns how each column depends on any others, by likelihood, and draws new rows column after column.

    No game between two networks: training is one cross-entropy, which falls steadily, and a held-out one that says when to stop.
    Half of the training is for random orders of columns, so that any condition can be met; half for the one order that
    rows are drawn in, from the column with most information down to the one with least, or to `target`. See `ColumnNetwork`.

    Parameters
    ----------
    target : str, optional
        The column that others are to predict; it is drawn last, so that all of them bear on it.
    privacy : DifferentialPrivacy, optional
        What the network learns hardly depends on any one row, by noise in each step; see there. Batches are then of `batch_size`
        rows on average, no rows are held out and `history` has no losses, as these would tell of rows; a training cannot be
        repeated, but goes on from its checkpoint. The columns are taken from the table as they are, unless `columns` are given:
        see `privacy_statement`. Needs the extra "dp".
    width, head_width : int
        Of the network's sum of cells, and of each column's own layer.
    dropout : float
    options
        Of `TableSynthesizer` and `Trainer`; the defaults of some are in `OPTIONS`, with privacy in `PRIVATE_OPTIONS`. The learning
        rate rises for 100 steps, and falls evenly to a fiftieth at `max_steps`.

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
        self, *, target: str | None = None, privacy: DifferentialPrivacy | None = None, width: int = 192, head_width: int = 48,
        dropout: float = 0.1, **options: Any,
    ) -> None:  # fmt: skip
        if not 0 <= dropout < 1:
            raise ArgumentError(f"dropout must be at least 0 and less than 1, got {dropout!r}")
        super().__init__(**(OPTIONS if privacy is None else PRIVATE_OPTIONS) | options)
        self.target = target
        self.privacy = None if privacy is None else DifferentialPrivacy(*privacy).checked()
        if self.privacy is not None:
            self._check_can_be_private()
        self._mechanism: Mechanism | None = None
        self._descent: PrivateDescent | None = None
        self.width, self.head_width = checked_count("width", width), checked_count("head_width", head_width)
        self.dropout = float(dropout)

    # --- privacy --------------------------------------------------------------------------------------

    @property
    def privacy_spent(self) -> PrivacySpent | None:
        """What the training has spent, as Opacus' accountant says of the steps done; less than was allowed where it ended early.
        None without privacy.

        Raises
        ------
        NotFittedError, MissingExtraError
        """
        if self.privacy is None:
            return None
        self._fitted("network")
        return PrivacySpent(Accountant(self._mechanism, self.privacy.delta).epsilon(self.step), self.privacy.delta)

    @property
    def privacy_statement(self) -> str:
        """What is guaranteed, and of what it is not, in a few sentences.

        Raises
        ------
        NotFittedError, MissingExtraError
        """
        spent = self.privacy_spent
        if spent is None:
            return "The model was trained without differential privacy: nothing bounds what it tells of a row."
        sentences = [
            f"What the network has learned is differentially private, with epsilon {spent.epsilon:.4g} and delta {spent.delta:g}, "
            "for tables of which one has a row more than the other; how many rows there are is no secret.",
            f"By DP-SGD: {self.step} steps, each row in a step with probability {self._mechanism.sample_rate:.4g}, gradients no "
            f"longer than {self.privacy.max_grad_norm:g}, noise of {self._mechanism.noise_multiplier:.4g} times that; by the "
            "account of Opacus (RDP).",
        ]
        if not self._are_columns_given:
            sentences.append(
                "The columns are not: their names, ranges, quantiles and categories, and how often each value was there, were "
                "taken from the table as they are. Give columns of a public table to change that."
            )
        sentences += [
            f"Nor is {constraint!r}, whose combinations are those of the table."
            for constraint in self.constraints
            if isinstance(constraint, FixedCombinations)
        ]
        return " ".join([*sentences, "Another training on the same rows spends anew."])

    def _check_can_be_private(self) -> None:
        if self.validation_share or self.patience is not None:
            raise ArgumentError(
                "with privacy no rows are held out to stop by, as what they say would be told: leave out validation_share and "
                "patience"
            )
        if self.precision != "float32" or self.compile:
            raise ArgumentError(
                "with privacy, networks compute in float32 and are not compiled: leave out precision and compile"
            )

    def fit(self, table: Any, *, validation: Any = None, **options: Any) -> TableAutoregressor:
        """As `TableSynthesizer.fit`. With privacy neither validation rows nor a score are taken, nor a loader, and `max_steps` must
        stay as it was where a training goes on from its checkpoint: the noise is made for so many steps.

        Raises
        ------
        MissingExtraError
            Opacus is not installed, which privacy needs; and what `TableSynthesizer.fit` raises.
        """
        if self.privacy is not None:
            if validation is not None or options.get("score") is not None:
                raise ArgumentError("with privacy there is nothing to stop by: leave out validation and score")
            if isinstance(table, (DataLoader, IterableDataset)):
                raise ArgumentError(
                    "with privacy each row is drawn by itself, and a loader draws otherwise: give its data set"
                )
            if rank_and_world()[1] > 1:
                raise ArgumentError("with privacy a model is trained by one process")
        try:
            return super().fit(table, validation=validation, **options)
        finally:
            if self._descent is not None:
                self._descent.close()

    def _source(self, codes: Tensor) -> Any:
        if self.privacy is None:
            return super()._source(codes)
        if self.privacy.delta >= 1 / len(codes):
            raise ArgumentError(
                f"delta must be less than one by the number of rows, or a row may be told as it is: it is {self.privacy.delta:g}, "
                f"and there are {len(codes)} rows"
            )
        self._counts = [np.ones_like(count) for count in self._counts]  # the true ones tell of rows
        sample_rate = self.batch_size / len(codes)
        self._mechanism = Mechanism.within(self.privacy, sample_rate, self.max_steps)
        return PoissonBatches(codes, sample_rate)

    def _config(self) -> dict[str, Any]:
        return super()._config() | {"mechanism": self._mechanism and self._mechanism._asdict()}

    def _configure(self, config: Mapping[str, Any]) -> None:
        super()._configure(config)
        self._mechanism = config["mechanism"] and Mechanism(**config["mechanism"])

    # --- training -------------------------------------------------------------------------------------

    def _build(self, schema: dict[str, list]) -> None:
        if self.target is not None:
            check_columns(pl.DataFrame(schema=list(self.columns.groups)), [self.target])
        counts = [torch.from_numpy(count) for count in self._counts]
        self.network = ColumnNetwork(counts, width=self.width, head_width=self.head_width, dropout=self.dropout)
        self._optimizer = self._adam(self.network, betas=(0.9, 0.99))
        self._order = self._drawing_order()
        self._rank = torch.from_numpy(np.argsort(self._order)).to(self._device)
        self._descent = None

    def _drawing_order(self) -> list[int]:
        """Columns by falling entropy, with privacy by falling size; the code columns of one stay together, `target` comes last."""
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
        self._set_rate(self._optimizer)
        codes = batch["codes"].long()
        if self.privacy is not None:
            return {"epsilon": self._private_step(codes)}
        loss = self.network.losses(codes, self._known(len(codes))).mean()
        self._descend(loss, self._optimizer)
        return {"loss": loss}

    def _private_step(self, codes: Tensor) -> Tensor:
        if self._descent is None:  # made here, so that a model is loaded and drawn from without Opacus
            self._descent = PrivateDescent(
                self.network, self._optimizer, self.privacy, self._mechanism, expected_rows=self.batch_size
            )
        with secret_draws(self._device):  # cells known to be hidden would tell which rows there are
            self._descent.step(self.network.losses(codes, self._known(len(codes))))
        return torch.tensor(self._descent.epsilon(self.step + 1))

    def _known(self, rows: int) -> Tensor:
        """The cells that the others are told from, bool [rows, columns]: the first few in an order, random for about half of the
        rows. What is drawn for one row has nothing to do with the others."""
        columns = len(self._order)
        rank = torch.rand(rows, columns, device=self._device).argsort(dim=1)
        in_order = torch.rand(rows, 1, device=self._device) < 0.5
        return torch.where(in_order, self._rank, rank) < torch.randint(columns, (rows, 1), device=self._device)

    def _score(self) -> float | None:
        if not len(self._validation):
            return None
        codes = self._validation[spread(len(self._validation), VALIDATED)].to(self._device)
        with torch.no_grad(), seeded(self.seed, "cells", device=self._device):  # the same cells each time
            return float(self._fitted("network").losses(codes, self._known(len(codes))).mean())

    def _draw(self, rows: int, generator: torch.Generator, weights: Mapping[int, Tensor]) -> Tensor:
        return self._fitted("network").draw(rows, self._order, generator, weights)


def spread(rows: int, wanted: int) -> Tensor:
    """Numbers of so many rows: evenly over all, or, where there are fewer, all of them again and again. int64 [wanted]

    >>> spread(10, 5).tolist(), spread(3, 7).tolist()
    ([0, 2, 4, 6, 8], [0, 1, 2, 0, 1, 2, 0])
    """
    places = torch.arange(wanted)
    return places * rows // wanted if rows > wanted else places % rows


def _entropy(count: np.ndarray) -> float:
    share = count[count > 0] / count.sum()
    return float(-share @ np.log(share))
