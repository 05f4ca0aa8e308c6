"""Models of fields of a data set: what they share. Some rows are held out, and tell when to stop; all go through the networks in
parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fastload.synth.batches import Batch
from fastload.synth.fields import check_rows, chosen, named, parts_of
from fastload.synth.training import Trainer
from fastload.synth.validation import checked_share, divided

PART_ROWS = 1000  # that go through the networks at a time, where they are not trained
_T = TypeVar("_T", bound="FieldModel")


class FieldModel(Trainer):
    """Trained on the fields that `_names` names.

    Parameters
    ----------
    validation_share : float
        Of rows in memory: they are not trained on, but tell when to stop. 0 for none.
    options
        Of `Trainer`.
    """

    _validation: dict[str, np.ndarray] | None = None

    def __init__(self, *, validation_share: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.validation_share = checked_share(validation_share)

    def _learn(self, data: Any) -> None:
        """What is to be known of all rows before networks are made. `data` : what `chosen` gives."""

    def fit(self: _T, data: Any, *, validation: Any = None, **options: Any) -> _T:
        """Trains anew, or goes on where a checkpoint was written.

        Parameters
        ----------
        data : array, tensor, frame, tuple or dict of such, path, Dataset, or loader
            As for `Trainer.fit`.
        validation : as `data`, optional
            Rows to stop by, held in memory, in place of a share of `data`. Of what is not in memory there are none without it.
        options
            Of `Trainer.fit`: checkpoint, resume, progress, callback and others.

        Raises
        ------
        UnknownFieldError, DtypeError, ShapeError
            There is no such field, or it holds something else than the model is of.
        NotFiniteError
            A value is missing or not finite; the message names row and column.
        TooFewRowsError
            Fewer rows to train on than a batch has.
        StateError, DivergedError
            As of `Trainer.fit`.
        """
        data = chosen(data, self._names)
        self._learn(data)
        self._validation = None
        if validation is not None:
            parts = list(parts_of(chosen(validation, self._names), self._names))
            self._validation = {name: np.concatenate([part[name] for part in parts]) for name in self._names}
        elif isinstance(data, dict) and self.validation_share:
            data, self._validation = self._split(data)
        return super().fit(data, **options)

    def _split(self, data: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
        """Rows to train on, and to stop by."""
        rows = len(data[self._names[0]])
        training, held_out = divided(rows, self.validation_share, self.seed, self.batch_size)
        held = {name: values[held_out] for name, values in data.items()} if len(held_out) else None
        return {name: values[training] for name, values in data.items()}, held

    def _schema(self, batch: Batch) -> dict[str, list]:
        schema = super()._schema(named(batch, self._names))
        for name, rows in (self._validation or {}).items():
            check_rows(rows, name, schema[name][1])
        return schema

    @torch.no_grad()
    def _in_parts(self, function: Callable[..., Tensor], *rows: np.ndarray) -> Tensor:
        """`function` of all rows, some at a time on the model's device, as a tensor on the CPU."""
        tensors = [torch.from_numpy(np.require(part, requirements="CW")).split(PART_ROWS) for part in rows]
        return torch.cat([function(*(part.to(self._device) for part in parts)).cpu() for parts in zip(*tensors)])


def as_given(found: Tensor, given: Any) -> Any:
    """A tensor for a tensor, else an array."""
    return found if isinstance(given, Tensor) else found.numpy()
