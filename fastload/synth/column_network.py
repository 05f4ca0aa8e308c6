"""A network that tells how likely each value of a column is, given any other columns, and draws rows by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

IMPOSSIBLE = -1e9  # the logit of a code that a column does not have
CHUNK_ROWS = 2048  # drawn together: what is in work stays in the cache


class CellSum(nn.EmbeddingBag):
    """The sum of the embeddings of a row's cells, of which no two are the same: indices [rows, cells] -> [rows, width]."""


class Heads(nn.Module):
    """A linear layer of each column's own, all at once.

    Parameters
    ----------
    sizes : sequence of int
        Codes of each column.
    width : int
        Of the input of each.
    """

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(len(sizes), width, max(sizes)))
        self.bias = nn.Parameter(torch.full((len(sizes), max(sizes)), IMPOSSIBLE))
        nn.init.normal_(self.weight, std=0.5 * width**-0.5)

    def by_column(self, hidden: Tensor) -> Tensor:
        """[rows, columns * width] -> [columns, rows, width]"""
        return hidden.unflatten(1, self.weight.shape[:2]).transpose(0, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """[rows, columns * width] -> logits [columns, rows, codes of the longest column]."""
        return torch.baddbmm(self.bias[:, None], self.by_column(hidden), self.weight)


class ColumnNetwork(nn.Module):
    """The distribution of every column's code, given the codes of any set of other columns.

    Each known cell, and each unknown one, is an embedding; their sum goes through a hidden layer of each column's own. So the
    sum need not be taken again when one more cell gets known, and a row is drawn, column after column, for the price of about
    one pass through the network. Trained with random cells unknown, it answers for any order of columns and any condition.

    Uria, Murray, Larochelle: "A deep and tractable density estimator", ICML 2014, for the order of columns; Tiwald et al.:
    "TabularARGN", arXiv:2501.12012, for tables.

    Parameters
    ----------
    counts : sequence of int64 tensors [size of the column]
        How often each code was seen; the network begins with these frequencies.
    width, head_width : int
        Of the sum of embeddings, and of each column's hidden layer.
    dropout : float

    Examples
    --------
    >>> network = ColumnNetwork([torch.tensor([3, 1]), torch.tensor([2, 1, 1])], width=8, head_width=4)
    >>> codes, known = torch.tensor([[0, 2]]), torch.tensor([[True, False]])
    >>> network(codes, known).shape  # columns, rows, codes of the longest column
    torch.Size([2, 1, 3])
    """

    def __init__(
        self, counts: Sequence[Tensor], *, width: int = 192, head_width: int = 48, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.sizes = [len(c) for c in counts]
        columns = len(self.sizes)
        starts = torch.tensor([0, *self.sizes[:-1]]).cumsum(0)
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("gaps", sum(self.sizes) + torch.arange(columns), persistent=False)
        self.cells = CellSum(sum(self.sizes) + columns, width, mode="sum")
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(width, columns * head_width)
        self.heads = Heads(self.sizes, head_width)
        nn.init.normal_(self.cells.weight, std=0.3)
        with torch.no_grad():
            for bias, count in zip(self.heads.bias, counts, strict=True):
                frequency = (count + 0.5).log()
                bias[: len(count)] = frequency - frequency.mean()

    def forward(self, codes: Tensor, known: Tensor) -> Tensor:
        """int64 [rows, columns], bool [rows, columns] -> logits [columns, rows, codes of the longest column]."""
        total = self.cells(torch.where(known, codes + self.starts, self.gaps))
        return self.heads(self.dropout(functional.silu(self.hidden(self._activated(total)))))

    def _activated(self, total: Tensor) -> Tensor:
        return self.dropout(functional.silu(total))

    def losses(self, codes: Tensor, known: Tensor) -> Tensor:
        """Cross-entropy of the unknown cells, the mean of each row's: [rows]."""
        logits = self(codes, known)
        cells = functional.cross_entropy(logits.flatten(0, 1), codes.T.flatten(), reduction="none").view_as(codes.T)
        unknown = (~known).T.to(cells.dtype)
        return (cells * unknown / unknown.sum(dim=0).clamp_min(1)).sum(dim=0)

    @torch.no_grad()
    def draw(
        self, rows: int, order: Sequence[int], generator: torch.Generator, weights: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """New rows, drawn column after column.

        Parameters
        ----------
        rows : int
        order : permutation of the columns
        generator : torch.Generator
            On the network's device.
        weights : {column: float tensor}, optional
            As `Columns.weights` has them: what to multiply the probabilities of a column's codes by, [size]; or [size of the
            column before, size], to be looked up by that one's code. These columns are drawn before the others.

        Returns
        -------
        int64 [rows, columns]
        """
        weights = weights or {}
        order = [*sorted(weights), *(column for column in order if column not in weights)]
        sizes = [min(CHUNK_ROWS, rows - begin) for begin in range(0, rows, CHUNK_ROWS)]
        return torch.cat([self._draw(size, order, generator, weights) for size in sizes])

    def _draw(self, rows: int, order: list[int], generator: torch.Generator, weights: Mapping[int, Tensor]) -> Tensor:
        cells = self.cells.weight
        total = cells[self.gaps].sum(dim=0).repeat(rows, 1)
        codes = torch.empty(rows, len(order), dtype=torch.int64, device=cells.device)
        head_width = self.heads.weight.shape[1]
        for column in order:
            size, head = self.sizes[column], slice(column * head_width, (column + 1) * head_width)
            hidden = functional.linear(self._activated(total), self.hidden.weight[head], self.hidden.bias[head])
            logits = torch.addmm(
                self.heads.bias[column, :size], functional.silu(hidden), self.heads.weight[column, :, :size]
            )
            if column in weights:
                weight = weights[column]
                logits += (weight if weight.ndim == 1 else weight[codes[:, column - 1]]).log()
            chosen = drawn(logits, generator)
            codes[:, column] = chosen
            begin = int(self.starts[column])
            total += (cells[begin : begin + size] - cells[self.gaps[column]]).index_select(0, chosen)
        return codes


def drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One code for each row of logits [rows, codes], by the inverse of the cumulated distribution.

    >>> drawn(torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]]), torch.Generator()).tolist()
    [0, 1]
    """
    cumulated = (logits - logits.amax(dim=1, keepdim=True)).exp_().cumsum(dim=1)
    point = torch.rand(len(logits), 1, generator=generator, device=logits.device) * cumulated[:, -1:]
    return (cumulated <= point).sum(dim=1).clamp_max_(logits.shape[1] - 1)
