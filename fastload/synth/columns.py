"""Tables as codes, and back: each cell becomes one small integer, which is all that the models of tables read and write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from fastload.clean.files import open_table
from fastload.clean.frames import check_columns, pl
from fastload.errors import ArgumentError, ConditionError, DtypeError, EmptyError, StateError, UnknownFieldError
from fastload.plan.row_plan import checked_count
from fastload.synth.categories import Categories
from fastload.synth.column_kinds import BINS, MAX_CATEGORIES, Kind, are_few, is_ordered
from fastload.synth.numbers import Numbers
from fastload.synth.tally import MAX_DISTINCT, Tally

BATCH_BYTES = 32 << 20  # of a file that is read
MISSING = ("error", "keep")
KINDS = {"categories": Categories, "numbers": Numbers}


class Columns:
    """A reversible map between a table and codes, int32 [rows, code columns]. Made by `Columns.fit`.

    Numbers and times
        A code for each of about `bins` quantile bins; a number that would fill a bin has one of its own. A code is decoded to a
        number drawn from those seen in the bin, as often as seen, where the column has at most 4096 distinct ones; else to one
        drawn between eighths of the bin, rounded to the decimals (floats) or the step (integers, times) of the data. No number
        leaves the range seen.
    Text, truth values, numbers named in `discrete`, integers of few values
        A code for each value, the most frequent one first. A column of more than `max_categories` values has two code columns,
        "name:high" and "name:low", of about the square root of as many codes.
    Missing values
        A code of their own, where `missing` is "keep"; decoded to null.

    So values of the training data come back, though not its rows: leave out columns whose single values must not be seen again,
    such as names.

    Attributes
    ----------
    names : list of str
        Of the code columns.
    sizes : list of int
        Of the code columns: their codes are 0 .. size - 1.
    groups : {column of the table: range of its code columns}
    kinds : {column of the table: Kind}
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.kinds = dict(kinds)
        self.sizes = [size for kind in self.kinds.values() for size in kind.sizes]
        self.names = [
            name if len(kind.sizes) == 1 else f"{name}:{digit}"
            for name, kind in self.kinds.items()
            for digit in ("high", "low")[: len(kind.sizes)]
        ]
        ends = list(accumulate((len(kind.sizes) for kind in self.kinds.values()), initial=0))
        self.groups = {name: range(*span) for name, span in zip(self.kinds, pairwise(ends), strict=True)}
        if len(set(self.names)) < len(self.names):
            raise ArgumentError(
                "a column must not be named as a code column of another: rename those that end in ':high' or ':low'"
            )

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        bins: int = BINS,
        max_categories: int = MAX_CATEGORIES,
        discrete: Iterable[str] = (),
        missing: str = "error",
    ) -> Columns:
        """Learns the columns of a table.

        Parameters
        ----------
        table : table
            A polars or pandas frame, a pyarrow Table, a dict of arrays, an array [rows, columns]; or a fastload data set, a Parquet
            or an Arrow file, which is read once, batch by batch.
        bins : int
            About how many codes a column of numbers has. One of at most that many distinct numbers has a code for each; if they
            are integers, and each was seen ten times on average (or there are two), they are categories: a new one is refused.
        max_categories : int
            A column of more values has two code columns. 256 leaves most columns whole, and what a model keeps for each small.
        discrete : iterable of str
            Columns of numbers or times whose values are categories, however many.
        missing : "error" or "keep"

        Raises
        ------
        ArgumentError
            Values are missing and `missing` is not "keep", or an argument has no meaning.
        EmptyError, UnknownFieldError, NotFiniteError
        DtypeError
            A column of lists or other things without a code.

        Examples
        --------
        >>> columns = Columns.fit({"town": ["Oslo", "Bergen", "Oslo"], "age": [31.5, 20.0, 44.5]})
        >>> columns.names, columns.sizes
        (['town', 'age'], [2, 3])
        >>> codes = columns.encode({"town": ["Bergen"], "age": [40.0]})
        >>> codes.tolist()
        [[1, 1]]
        >>> columns.decode(codes, np.random.default_rng(0)).rows()
        [('Bergen', 31.5)]
        """
        bins, max_categories = checked_count("bins", bins), checked_count("max_categories", max_categories)
        if missing not in MISSING:
            raise ArgumentError(f"missing must be one of {', '.join(map(repr, MISSING))}, got {missing!r}")
        discrete = {discrete} if isinstance(discrete, str) else set(discrete)
        tallies: dict[str, Tally] = {}
        for frame in frames_of(table):
            check_columns(frame, discrete)
            for column in frame:
                check_codable(column)
                tally = Tally.of(column)
                tallies[column.name] = tallies[column.name] + tally if column.name in tallies else tally
        if not any(tally.num_rows for tally in tallies.values()):
            raise EmptyError("columns are learned from a table's rows, and this one has none")
        for tally in tallies.values() if missing == "error" else ():
            check_present(tally)
        return cls({name: fit_kind(tally, bins, max_categories, name in discrete) for name, tally in tallies.items()})

    def encode(self, table: Any) -> np.ndarray:
        """The codes of a table that has these columns, in whatever order.

        Returns
        -------
        int32 array [rows, code columns]. A number outside the range of training has the code of the nearest bin.

        Raises
        ------
        UnknownCategoryError
            A value that was not there in training; the message names column, value and row.
        UnknownFieldError, DtypeError, NotFiniteError
        """
        parts: list[np.ndarray] = []
        for frame in frames_of(table):
            parts.append(self._encode(frame, sum(map(len, parts))))
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def _encode(self, frame: pl.DataFrame, first_row: int) -> np.ndarray:
        check_columns(frame, self.kinds)
        codes = np.empty((len(frame), len(self.names)), np.int32)
        for name, kind in self.kinds.items():
            for at, part in zip(self.groups[name], kind.encode(frame[name], first_row), strict=True):
                codes[:, at] = part
        return codes

    def decode(
        self, codes: np.ndarray, random: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """A table of the columns and data types learned, whose codes are `codes`.

        Parameters
        ----------
        codes : integer array [rows, code columns]
        random : numpy.random.Generator
            What numbers are drawn from, within their bins.
        where : {column: condition}, optional
            As for `weights`: numbers are drawn from those that meet it. The codes must be such as can.

        Raises
        ------
        ArgumentError
            Codes of another shape, or that there are not.
        ConditionError, UnknownFieldError
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != len(self.names) or codes.dtype.kind not in "iu":
            raise ArgumentError(f"codes must be integers [rows, {len(self.names)}], got {codes.dtype} {codes.shape}")
        if len(codes) and ((codes.min(axis=0) < 0).any() or (codes.max(axis=0) >= self.sizes).any()):
            raise ArgumentError("codes must be 0 .. size - 1 in each column: they are not of these columns")
        kinds = dict(self.kinds)
        for name, condition in (where or {}).items():
            kinds[name], shares = self._narrowed(name, condition)
            if not shares[tuple(codes[:, self.groups[name]].T)].all():
                raise ArgumentError(f"codes of {name} must be such as can meet {condition!r}: draw them by `weights`")
        return pl.DataFrame(
            [kind.decode(codes[:, self.groups[name]], random).alias(name) for name, kind in kinds.items()]
        )

    def weights(self, where: Mapping[str, Any]) -> dict[int, np.ndarray]:
        """What to multiply the probabilities of codes by, so that rows meet conditions.

        Parameters
        ----------
        where : {column: condition}
            A condition is a value, None for a missing one, a list of values, or, for numbers and times, a pair (lowest, highest),
            both included, of which either may be None.

        Returns
        -------
        {code column: float64 [size]}, the share of each code's values that meets the condition. For the second of two code columns
        float64 [size of the first, size of the second], to be looked up by the first code.

        Raises
        ------
        ConditionError
            No row can meet it.
        UnknownFieldError, ArgumentError

        Examples
        --------
        >>> columns = Columns.fit({"x": np.arange(100.0)}, bins=4)
        >>> columns.weights({"x": (20, 60)})
        {0: array([0.2 , 1.  , 0.44, 0.  ])}
        """
        weights = {}
        for name, condition in where.items():
            kind, shares = self._narrowed(name, condition)
            first, *second = self.groups[name]
            weights[first] = kind.first_shares(shares) if second else shares
            weights |= dict.fromkeys(second, shares)
        return weights

    def codes_matching(self, name: str, condition: Any) -> np.ndarray:
        """The codes of which some values meet a condition as for `weights`: int64 [k], or pairs [k, 2] for two code columns.

        Raises
        ------
        ConditionError, UnknownFieldError, ArgumentError
        """
        found = np.argwhere(self._narrowed(name, condition)[1] > 0)
        return found[:, 0] if found.shape[1] == 1 else found

    def code_of(self, name: str, value: Any) -> int | tuple[int, int]:
        """The code of a value that a row can have; two of them for two code columns.

        Raises
        ------
        ConditionError, UnknownFieldError, ArgumentError

        Examples
        --------
        >>> Columns.fit({"town": ["Oslo", "Bergen", "Oslo"]}).code_of("town", "Bergen")
        1
        """
        code = self.codes_matching(name, [value])[0]
        return int(code) if code.ndim == 0 else tuple(code.tolist())

    def _narrowed(self, name: str, condition: Any) -> tuple[Kind, np.ndarray]:
        if name not in self.kinds:
            raise UnknownFieldError(f"no column {name!r}; the columns are {', '.join(map(repr, self.kinds))}")
        kind, shares = self.kinds[name].narrowed(condition)
        if not shares.any():
            raise ConditionError(
                f"no row can meet {name} = {condition!r}: in training the column held {self.kinds[name].held()}"
            )
        return kind, shares

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        """Of the columns of the table."""
        return {name: kind.dtype for name, kind in self.kinds.items()}

    def state(self) -> dict[str, Any]:
        """Plain values and arrays, for `from_state`."""
        return {name: kind.state() for name, kind in self.kinds.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Columns:
        try:
            return cls({name: KINDS[of_kind["kind"]].from_state(of_kind) for name, of_kind in state.items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"a state of Columns is needed, this is another one: {error!r}") from None

    @property
    def fingerprint(self) -> str:
        """The same for columns that encode and decode alike, in all likelihood another one else."""
        digest = hashlib.sha256()
        for name, state in self.state().items():
            arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
            plain = {key: value for key, value in state.items() if key not in arrays}
            digest.update(json.dumps([name, plain, list(arrays)], sort_keys=True).encode())
            for array in arrays.values():
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def frames_of(table: Any) -> Iterator[pl.DataFrame]:
    """A table in memory as one frame, a file's in batches."""
    source = open_table(table)
    if source.is_text:
        raise ArgumentError(
            f"the columns of a text file have no types: convert it first (fastload convert), got {source.name}"
        )
    return source.batches(BATCH_BYTES)


def fit_kind(tally: Tally, bins: int, max_categories: int, is_discrete: bool) -> Kind:
    if is_discrete and not tally.is_exact:
        raise ArgumentError(f"column {tally.name!r} holds more than {MAX_DISTINCT} values, too many to be discrete")
    if is_discrete or not is_ordered(tally.values.dtype) or not len(tally.values) or has_few(tally, bins):
        return Categories.fit(tally, max_categories)
    return Numbers.fit(tally, bins)


def has_few(tally: Tally, bins: int) -> bool:
    """Integers of so few values that each is a category."""
    return tally.values.dtype.is_integer() and are_few(len(tally.values), tally.num_rows, bins)


def check_codable(column: pl.Series) -> None:
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary, pl.Int128, pl.UInt128):
        raise DtypeError(f"column {column.name!r} holds {column.dtype}, which has no code: leave it out")


def check_present(tally: Tally) -> None:
    if tally.missing:
        raise ArgumentError(
            f"column {tally.name!r} must have no gaps, it has {tally.missing} in {tally.num_rows} rows: fill them (fastload clean) "
            "or give missing='keep' for a code of their own"
        )
