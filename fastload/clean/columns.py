"""Columns that tell nothing: constant ones, and those that repeat another one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from fastload.clean.frames import all_columns, check_columns, chosen, pl
from fastload.clean.hashes import SEEDS
from fastload.clean.step import Step, Work
from fastload.errors import ArgumentError


class DropColumns(Step):
    """Drops the named columns.

    Examples
    --------
    >>> list(DropColumns(["a"]).transform({"a": [1], "b": [2]}))
    ['b']
    """

    def __init__(self, columns: Sequence[str]) -> None:
        if isinstance(columns, str) or not columns:
            raise ArgumentError(f"columns must be a list of names, got {columns!r}")
        self.columns = columns

    def _check(self, frame: pl.DataFrame) -> None:
        check_columns(frame, self.columns)

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        self._check(frame)
        return frame.drop(self.columns)


class _DropLearned(Step):
    """What the steps below share: columns found in the training data go from all data."""

    _LEARNED = ("columns_",)

    def __init__(self, *, columns: Sequence[str] | None = None) -> None:
        self.columns = columns

    def _check(self, frame: pl.DataFrame) -> None:
        chosen(frame, self.columns, all_columns, "values")

    def _learn(self, memory_bytes: int | None) -> Any:
        return _Learn(self, self._watch())

    def _watch(self) -> Any:
        raise NotImplementedError

    def _apply(self, frame: pl.DataFrame, work: Work) -> pl.DataFrame:
        return frame.drop(self.columns_, strict=False)


class DropConstant(_DropLearned):
    """Drops columns with one value in all rows; missing is a value of its own here.

    Parameters
    ----------
    columns : sequence of str, optional
        Those that may go; all by default.

    Attributes
    ----------
    columns_ : list of str

    Examples
    --------
    >>> list(DropConstant().fit_transform({"a": [1, 1], "b": [1, 2]}))
    ['b']
    """

    def _watch(self) -> ConstantColumns:
        return ConstantColumns()


class DropDuplicateColumns(_DropLearned):
    """Drops columns that hold the same values as one before them, in all rows and of the same type.

    Parameters and attributes as of `DropConstant`.

    Examples
    --------
    >>> list(DropDuplicateColumns().fit_transform({"a": [1, 2], "b": [1, 2]}))
    ['a']
    """

    def _watch(self) -> DuplicateColumns:
        return DuplicateColumns()


class _Learn:
    def __init__(self, step: _DropLearned, watch: ConstantColumns | DuplicateColumns) -> None:
        self._step, self._watch = step, watch

    def add(self, frame: pl.DataFrame) -> None:
        self._watch.add(frame.select(chosen(frame, self._step.columns, all_columns, "values")))

    def finish(self) -> None:
        self._step.columns_ = list(self._watch.found)


class ConstantColumns:
    """Finds columns with one value in all rows of all batches. found : names."""

    def __init__(self) -> None:
        self._firsts: dict[str, pl.Series] | None = None

    def add(self, frame: pl.DataFrame) -> None:
        if not len(frame):
            return
        floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
        frame = frame.with_columns(pl.col(floats).fill_nan(None)) if floats else frame
        if self._firsts is None:
            self._firsts = {name: frame[name].head(1) for name in frame.columns}
        for name in list(self._firsts):
            if not _is_all(frame[name], self._firsts[name]):
                del self._firsts[name]

    @property
    def found(self) -> list[str]:
        return list(self._firsts or ())


def _is_all(column: pl.Series, first: pl.Series) -> bool:
    if column.head(1).eq_missing(first).all() and column.tail(1).eq_missing(first).all():  # most are told by their ends
        return bool(column.to_frame().select(pl.all().eq_missing(pl.lit(first))).to_series().all())
    return False


class DuplicateColumns:
    """Finds columns that equal one before them, by a 128-bit digest of their rows' hashes. found : {name: its twin}."""

    def __init__(self) -> None:
        self._digests: dict[str, Any] = {}

    def add(self, frame: pl.DataFrame) -> None:
        for name in frame.columns:
            column = frame[name]
            if name not in self._digests:
                self._digests[name] = hashlib.blake2b(str(column.dtype).encode(), digest_size=16)
            column = column.fill_nan(None) if column.dtype.is_float() else column
            self._digests[name].update(column.hash(SEEDS[0]).to_numpy().data)

    @property
    def found(self) -> dict[str, str]:
        firsts: dict[bytes, str] = {}
        return {
            name: firsts[digest.digest()]
            for name, digest in self._digests.items()
            if firsts.setdefault(digest.digest(), name) != name
        }
