"""Models of tables: what they share. Trained on codes of a table's cells, they draw new rows, under conditions and constraints."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fastload.block.dataset import RowAccess
from fastload.clean.files import open_table, read_csv, writing
from fastload.clean.frames import as_kind, kind_of, pl, to_frame
from fastload.errors import ArgumentError, ConditionError, NotFittedError, StateError, UnfaithfulError
from fastload.load.dataloader import DataLoader
from fastload.load.iterable import IterableDataset
from fastload.plan.random import checked_word
from fastload.plan.row_plan import checked_count
from fastload.synth.coded_batches import CodedBatches, check_table
from fastload.synth.column_kinds import BINS, MAX_CATEGORIES
from fastload.synth.columns import Columns, frames_of
from fastload.synth.constraints import Constraint, Predicate, constraint_of_state, valid_rows
from fastload.synth.quality import Limits, SynthesisReport, check_synthetic, failures
from fastload.synth.training import Trainer
from fastload.synth.validation import checked_share, divided

FUNCTION = {"kind": "function"}  # what a file holds of a `Predicate`
FILE_ROWS = 1 << 16  # decoded together
DRAWN_ROWS = 1 << 13  # of which a model computes so many together
MIN_ACCEPTED = 1e-4  # of rows drawn; fewer, and the condition counts as impossible
_T = TypeVar("_T", bound="TableSynthesizer")


class TableSynthesizer(Trainer):
    """What models of tables have in common: columns as codes, held-out rows for early stop, sampling.

    Subclasses train on batches ``{"codes": int16 or int32 [b, code columns]}`` in `_step` and draw codes in `_draw`.

    Parameters
    ----------
    bins, max_categories, discrete, missing
        As of `Columns.fit`: how cells become codes.
    columns : Columns, optional
        In place of the four above: those of another table, a public one, say. Of the table that is fitted they hold nothing then.
    constraints : sequence of Constraint
        Relations that every row drawn obeys; the rows trained on must.
    validation_share : float
        Of the rows: they are not trained on, but tell when to stop. 0 for none.
    max_steps : int, optional
        By default as many as make about 60 passes over the data, or what the model says.
    options
        Of `Trainer`.

    Attributes
    ----------
    columns : Columns
        The table's, once fitted.
    failures : list of str, optional
        Why the model's rows are not to be used, as `check` found; None where it was not asked.
    """

    # (epsilon, delta) of models that are trained with differential privacy
    privacy_spent: tuple[float, float] | None = None
    _passes = 60  # over the data, where max_steps does not say how long training takes
    _takes_validation = True  # it has a score

    def __init__(
        self, *, bins: int = BINS, max_categories: int = MAX_CATEGORIES, discrete: Sequence[str] = (), missing: str = "error",
        columns: Columns | None = None, constraints: Sequence[Constraint] = (), validation_share: float = 0.1,
        max_steps: int | None = None, **options: Any,
    ) -> None:  # fmt: skip
        if columns is not None and (bins, max_categories, missing, *discrete) != (BINS, MAX_CATEGORIES, "error"):
            raise ArgumentError("columns are given as they are: leave out bins, max_categories, discrete and missing")
        super().__init__(**options)
        self.max_steps = max_steps if max_steps is None else checked_count("max_steps", max_steps)
        self.bins, self.max_categories, self.missing = bins, max_categories, missing
        self.discrete, self.constraints = list(discrete), list(constraints)
        self.validation_share = checked_share(validation_share)
        self.columns, self._are_columns_given = columns, columns is not None
        self.failures: list[str] | None = None
        self._output = "polars"

    # --- training -------------------------------------------------------------------------------------

    def fit(self: _T, table: Any, *, validation: Any = None, **options: Any) -> _T:
        """Learns a table.

        Parameters
        ----------
        table : table, path, Dataset, or loader of one
            A polars or pandas frame, a pyarrow Table, a dict of arrays or an array [rows, columns]; the path of a CSV, Parquet or
            Arrow file or of a data set: its codes, two bytes a cell, are held in memory. Or a ``fastload.DataLoader`` or
            ``fastload.IterableDataset`` over a data set, of which no more than a batch is.
        validation : table, path or Dataset, optional
            Rows to stop by, in place of a share of the table. With a loader, which gives all its rows, there are none without it.
        options
            Of `Trainer.fit`: checkpoint, resume, progress, callback and others.

        Raises
        ------
        ArgumentError
            Values are missing and `missing` is not "keep"; rows break a constraint.
        TooFewRowsError
            Fewer rows to train on than a batch has.
        UnknownCategoryError
            The validation rows have values that the table has not.
        StateError, DivergedError
            As of `Trainer.fit`.
        """
        if validation is not None and not self._takes_validation:
            raise ArgumentError(f"a {type(self).__name__} has no score to stop by: leave validation out")
        is_loader = isinstance(table, (DataLoader, IterableDataset))
        self.failures = None
        self._output = kind_of(table)
        rows = check_table(table.dataset) if is_loader else read(table)
        if not self._are_columns_given:
            self.columns = Columns.fit(
                rows, bins=self.bins, max_categories=self.max_categories, discrete=self.discrete, missing=self.missing
            )
        for constraint in self.constraints:
            constraint.fit(rows)
        codes = None if is_loader else self._encoded(rows)
        if validation is not None:
            self._validation = self._encoded(read(validation)).long()
        elif codes is not None:
            training, held_out = divided(len(codes), self.validation_share, self.seed, self.batch_size)
            codes, self._validation = codes[training], codes[held_out].long()
        else:
            self._validation = torch.empty(0, len(self.columns.sizes), dtype=torch.int64)
        self._counts = self._counted(
            [codes.numpy()] if codes is not None else map(self.columns.encode, frames_of(rows))
        )
        asked = self.max_steps
        try:
            self.max_steps = asked or max(1, self._passes * int(self._counts[0].sum()) // self.batch_size)
            return super().fit(CodedBatches(table, self.columns) if is_loader else self._source(codes), **options)
        finally:
            self.max_steps = asked

    def _source(self, codes: Tensor) -> Any:
        """What `Trainer.fit` takes batches from."""
        return {"codes": codes}

    def _encoded(self, rows: Any) -> Tensor:
        """In two bytes a cell where they suffice."""
        dtype = np.int16 if max(self.columns.sizes) <= np.iinfo(np.int16).max else np.int32
        return torch.from_numpy(self.columns.encode(rows).astype(dtype, copy=False))

    def _counted(self, parts: Iterable[np.ndarray]) -> list[np.ndarray]:
        """How often each code was seen, int64 [size] of each code column."""
        counts = [np.zeros(size, np.int64) for size in self.columns.sizes]
        for part in parts:
            for count, column in zip(counts, part.T, strict=True):
                count += np.bincount(column, minlength=len(count))
        return counts

    def _config(self) -> dict[str, Any]:
        return super()._config() | {
            "columns": self.columns.state(),
            "are_columns_given": self._are_columns_given,
            "constraints": [FUNCTION if isinstance(c, Predicate) else c.state() for c in self.constraints],
            "counts": dict(zip(self.columns.names, self._counts, strict=True)),
            "output": self._output,
        }

    def _configure(self, config: Mapping[str, Any]) -> None:
        super()._configure(config)
        self.columns, self._are_columns_given = Columns.from_state(config["columns"]), config["are_columns_given"]
        functions = [constraint for constraint in self.constraints if isinstance(constraint, Predicate)]
        wanted = config["constraints"].count(FUNCTION)
        if len(functions) != wanted:
            raise StateError(
                f"the model was trained under {wanted} constraints that are functions, which no file holds, got "
                f"{len(functions)}: give them again, load(path, constraints=[...])"
            )
        remaining = iter(functions)
        self.constraints = [
            next(remaining) if state == FUNCTION else constraint_of_state(state) for state in config["constraints"]
        ]
        self._counts, self._output = list(config["counts"].values()), config["output"]

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"failures": self.failures}

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        self.failures = state["failures"]

    # --- sampling -------------------------------------------------------------------------------------

    @abstractmethod
    def _draw(self, rows: int, generator: torch.Generator, weights: Mapping[int, Tensor]) -> Tensor:
        """Codes of so many new rows, or of those among them that meet conditions, int64 [<= rows, code columns].

        weights : as `Columns.weights` has them, float32 on the device. A model that cannot draw such rows at once uses `accepted`.
        """

    def sample(self, rows: int, *, where: Mapping[str, Any] | None = None, seed: int = 0) -> Any:
        """New rows.

        Parameters
        ----------
        rows : int
        where : {column: condition}, optional
            What all rows have: a value, None for a missing one, a list of values of which any, or, for numbers and times, a pair
            (lowest, highest), of which either may be None.
        seed : int
            The same rows for the same seed.

        Returns
        -------
        A table of the kind that the model was trained on, a polars frame where that was a file: [rows, columns], of the same names
        and data types, every value within the range, or among the categories, of the training data.

        Raises
        ------
        NotFittedError
        ConditionError
            No row can meet the conditions and constraints, or next to none does.
        UnknownFieldError, ArgumentError
        """
        return as_kind(self.sample_frame(rows, where=where, seed=seed), self._output)

    def sample_frame(self, rows: int, *, where: Mapping[str, Any] | None = None, seed: int = 0) -> pl.DataFrame:
        """As `sample`, always a polars frame."""
        parts = list(self._parts(rows, where, seed))
        return parts[0] if len(parts) == 1 else pl.concat(parts)

    def sample_to(
        self, path: str | os.PathLike[str], rows: int, *, where: Mapping[str, Any] | None = None, seed: int = 0,
        overwrite: bool = False, force: bool = False,
    ) -> None:  # fmt: skip
        """Writes new rows to a file, so many at a time that memory does not grow with them.

        Parameters
        ----------
        path : path-like
            Ends in .csv, .parquet, .arrow or .fl, a data set of blocks.
        rows, where, seed
            As of `sample`.
        force : bool
            Also where `check` found that the rows are not to be used.

        Raises
        ------
        UnfaithfulError
            `check` found so.
        ExistsError, FileIOError, and what `sample` raises
        """
        if self.failures and not force:
            raise UnfaithfulError(
                f"what this model draws has failed its check: {'; '.join(self.failures)}. Train on more rows or for longer, set "
                "other limits, or force it"
            )
        with writing(Path(path), {}, overwrite=overwrite) as sink:
            for part in self._parts(rows, where, seed):
                sink.write(part)

    def check(
        self, real: Any, *, holdout: Any = None, test: Any = None, target: str | None = None, limits: Limits | None = None,
        seed: int = 0,
    ) -> SynthesisReport:  # fmt: skip
        """Draws as many rows as there are real ones, and measures them; `failures` then says why they are not to be used.

        Parameters
        ----------
        real : table, path or Dataset
            What the model was trained on.
        holdout, test, target, seed
            As of `check_synthetic`.
        limits : Limits, optional
            What the rows must keep to.
        """
        real, holdout, test = (None if table is None else frame_of(table) for table in (real, holdout, test))
        drawn = self.sample_frame(len(real), seed=seed)
        report = check_synthetic(
            real,
            drawn,
            holdout=holdout,
            test=test,
            target=target,
            discrete=self.discrete,
            guarantee=self.privacy_spent,
            seed=seed,
        )
        self.failures = failures(report, limits)
        return report

    def _parts(self, rows: int, where: Mapping[str, Any] | None, seed: int) -> Iterator[pl.DataFrame]:
        """Frames of at most FILE_ROWS rows that meet all conditions and constraints."""
        checked_count("rows", rows)
        seed = checked_word("seed", seed)
        if self.columns is None:
            raise NotFittedError(
                f"this {type(self).__name__} must be trained before it draws rows: call fit, or load one"
            )
        where = dict(where or {})
        weights = {
            column: torch.from_numpy(weight).float().to(self._device)
            for column, weight in self.columns.weights(where).items()
        }
        generator = torch.Generator(self._device).manual_seed(seed)
        random = np.random.default_rng(seed)
        drawn = good = given = 0
        while given < rows:
            share = good / drawn if drawn else 1.0
            wanted = min(FILE_ROWS, int(1.1 * (rows - given) / max(share, MIN_ACCEPTED)) + 1)
            sizes = [min(DRAWN_ROWS, wanted - begin) for begin in range(0, wanted, DRAWN_ROWS)]
            codes = torch.cat([self._draw(size, generator, weights) for size in sizes]).to("cpu", torch.int32).numpy()
            frame = self.columns.decode(codes, random, where)
            frame = frame.filter(pl.Series(valid_rows(frame, self.constraints))) if self.constraints else frame
            drawn, good = drawn + wanted, good + len(frame)
            if drawn > 1 / MIN_ACCEPTED and good < drawn * MIN_ACCEPTED:
                raise ConditionError(
                    f"of {drawn:,} rows drawn {good} met {where or 'the constraints'}: the model hardly ever draws such rows; ask "
                    "for less, or train on more rows like them"
                )
            if len(frame):
                yield frame.head(rows - given)
            given += min(len(frame), rows - given)


def accepted(codes: Tensor, weights: Mapping[int, Tensor], generator: torch.Generator) -> Tensor:
    """Of rows drawn without conditions those that meet them, each kept as likely as its weights say."""
    for column, weight in weights.items():
        own = codes[:, column]
        likely = weight[own] if weight.ndim == 1 else weight[codes[:, column - 1], own]
        codes = codes[torch.rand(len(codes), generator=generator, device=codes.device) < likely]
    return codes


def frame_of(table: Any) -> pl.DataFrame:
    """A table, file or data set as one frame."""
    return pl.concat(frames_of(read(table)))


def read(table: Any) -> Any:
    """What `Columns` reads: of a CSV file, which tells no types, a frame with those that its cells look like."""
    if isinstance(table, (str, os.PathLike)) and open_table(table).is_text:
        return read_csv(Path(table))
    return table if isinstance(table, (str, os.PathLike, RowAccess)) else to_frame(table).frame
