"""A small network for tables, one training epoch with a stopwatch, and the area under the ROC curve."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fastload.errors import ArgumentError


class Epoch(NamedTuple):
    """One pass over the training rows. seconds = wait_s + computing; losses : one per step."""

    seconds: float
    wait_s: float
    rows: int
    losses: list[float]

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds

    @property
    def wait_share(self) -> float:
        return self.wait_s / self.seconds


class DelayNetwork(nn.Module):
    """Embeddings of the categories and the standardised numbers, through two hidden layers, to one logit.

    Parameters
    ----------
    mean, std : float arrays [columns] over the training rows, as the file's statistics give them
    categories : name -> number of categories; batches hold int codes [b] under these names
    late_weight : weight of a late row (late rows are rare)

    Examples
    --------
    >>> network = DelayNetwork(np.zeros(2), np.ones(2), {"carrier": 3}, late_weight=30.0)
    >>> batch = {"x": torch.tensor([[0.5, float("nan")]]), "carrier": torch.tensor([2])}
    >>> network(batch).shape
    torch.Size([1])
    """

    def __init__(
        self,
        mean: np.ndarray,
        std: np.ndarray,
        categories: Mapping[str, int],
        *,
        late_weight: float,
        width: int = 128,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))  # (c,)
        self.register_buffer("scale", torch.tensor(1 / np.maximum(std, 1e-6), dtype=torch.float32))  # (c,)
        self.register_buffer("late_weight", torch.tensor(late_weight))
        self.embeddings = nn.ModuleDict(
            {name: nn.Embedding(count, min(16, (count + 1) // 2)) for name, count in categories.items()}
        )
        inputs = 2 * len(mean) + sum(e.embedding_dim for e in self.embeddings.values())
        self.layers = nn.Sequential(
            nn.Linear(inputs, width),
            nn.ReLU(),
            nn.Linear(width, width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, 1),
        )

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        x = batch["x"]  # (b, c), missing cells are NaN
        missing = torch.isnan(x)
        standard = torch.where(missing, 0.0, (x - self.mean) * self.scale)  # 0 is the mean
        parts = [standard, missing.float()]
        parts += [embedding(batch[name]) for name, embedding in self.embeddings.items()]
        return self.layers(torch.cat(parts, dim=1)).squeeze(1)  # (b,)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Weighted cross-entropy, mean over the batch."""
        return nn.functional.binary_cross_entropy_with_logits(
            self(batch), batch["late"].float(), pos_weight=self.late_weight
        )


def train_epoch(
    network: DelayNetwork, optimizer: torch.optim.Optimizer, batches: Iterable[Mapping[str, Tensor]]
) -> Epoch:
    """Train on every batch once. Waiting is the time spent inside iter() and next()."""
    network.train()
    losses, rows, wait_s = [], 0, 0.0
    start_s = before_s = time.perf_counter()
    for batch in batches:
        wait_s += time.perf_counter() - before_s
        optimizer.zero_grad(set_to_none=True)
        loss = network.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        rows += len(batch["late"])
        before_s = time.perf_counter()
    end_s = time.perf_counter()
    return Epoch(seconds=end_s - start_s, wait_s=wait_s + end_s - before_s, rows=rows, losses=losses)


@torch.no_grad()
def scores(network: DelayNetwork, columns: Mapping[str, Tensor], chunk_rows: int = 16_384) -> np.ndarray:
    """Logits of whole columns -> float array [rows]."""
    network.eval()
    rows = len(columns["x"])
    chunks = ({n: c[i : i + chunk_rows] for n, c in columns.items()} for i in range(0, rows, chunk_rows))
    return torch.cat([network(chunk) for chunk in chunks]).numpy()


def area_under_curve(late: Sequence[int] | np.ndarray, score: Sequence[float] | np.ndarray) -> float:
    """Exact area under the ROC curve: how often a late row scores above one that is not; ties count half.

    Parameters
    ----------
    late : array [rows] of 0 and 1, both present
    score : array [rows], without NaN

    Raises
    ------
    ArgumentError
        Only one of the two classes is there, or a score is NaN.

    Examples
    --------
    >>> area_under_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    late, score = np.asarray(late, bool), np.asarray(score, np.float64)
    positives = int(late.sum())
    negatives = len(late) - positives
    if not positives or not negatives:
        message = f"an AUC needs rows of both classes; got {positives} late and {negatives} not: use more rows"
        raise ArgumentError(message)
    if np.isnan(score).any():
        message = f"an AUC needs scores that are numbers; got {int(np.isnan(score).sum())} NaN: training diverged"
        raise ArgumentError(message)
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1; equal scores share their mean rank
    return float((rank[late].sum() - positives * (positives + 1) / 2) / (positives * negatives))
