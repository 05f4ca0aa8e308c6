"""Relations between columns that hold in each row of real data, and must in synthetic rows, too: declared, checked, enforced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastload.clean.frames import check_columns, pl, to_frame
from fastload.errors import ArgumentError, DtypeError, NotFittedError, StateError
from fastload.synth.column_kinds import cast, is_ordered, state_of_values, values_of_state, without_nan
from fastload.synth.columns import frames_of


class Constraint(ABC):
    """What each row must obey."""

    def fit(self, table: Any) -> Constraint:
        """Checks that the real data obey, and learns what there is to learn of them. table : as for `Columns.fit`.

        Raises
        ------
        ArgumentError
            They do not; the message says how many rows, and shows one.
        UnknownFieldError, DtypeError
        """
        rows = broken = 0
        for frame in frames_of(table):
            found = np.flatnonzero(~self.check(frame))
            if len(found) and not broken:
                first = f"row {rows + found[0]}, {frame.row(int(found[0]), named=True)}"
            broken, rows = broken + len(found), rows + len(frame)
        if broken:
            raise ArgumentError(
                f"{self!r} must hold in the real data, it does not in {broken} of {rows} rows, first in {first}: "
                "repair these rows, or leave them out"
            )
        return self

    def check(self, table: Any) -> np.ndarray:
        """bool [rows], whether each obeys."""
        return self._obeying(to_frame(table).frame)

    @abstractmethod
    def _obeying(self, frame: pl.DataFrame) -> np.ndarray:
        """bool [rows]"""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What JSON can hold, for `constraint_of_state`."""


class Inequality(Constraint):
    """One column is never greater than another one. Rows in which either is missing obey.

    Parameters
    ----------
    low, high : str
        Columns of numbers, or of times.
    strict : bool
        Nor are they equal.

    Examples
    --------
    >>> Inequality("departure", "arrival").check({"departure": [5, 9], "arrival": [7, 8]}).tolist()
    [True, False]
    """

    def __init__(self, low: str, high: str, *, strict: bool = False) -> None:
        self.low, self.high, self.strict = low, high, strict

    def __repr__(self) -> str:
        return f"Inequality({self.low!r}, {self.high!r}{', strict=True' * self.strict})"

    def _obeying(self, frame: pl.DataFrame) -> np.ndarray:
        check_columns(frame, (self.low, self.high))
        low, high = without_nan(frame[self.low]), without_nan(frame[self.high])
        alike = (low.dtype.is_numeric() and high.dtype.is_numeric()) or low.dtype.base_type() == high.dtype.base_type()
        if not (alike and is_ordered(low.dtype)):
            raise DtypeError(
                f"{self!r} compares numbers or times of one kind, the columns hold {low.dtype} and {high.dtype}"
            )
        return (low < high if self.strict else low <= high).fill_null(True).to_numpy()

    def state(self) -> dict[str, Any]:
        return {"kind": "inequality", "low": self.low, "high": self.high, "strict": self.strict}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Inequality:
        return cls(state["low"], state["high"], strict=state["strict"])


class FixedCombinations(Constraint):
    """Columns have no combination of values that the real data do not have, such as a town in another country.

    Parameters
    ----------
    *names : str
        Two columns or more, best of categories: numbers of many values hardly ever meet again.

    Examples
    --------
    >>> places = FixedCombinations("town", "land").fit({"town": ["Oslo", "Rome"], "land": ["Norway", "Italy"]})
    >>> places.check({"town": ["Oslo", "Oslo"], "land": ["Norway", "Italy"]}).tolist()
    [True, False]
    """

    def __init__(self, *names: str) -> None:
        if len(set(names)) < max(2, len(names)):
            raise ArgumentError(f"combinations are of two columns or more, each named once, got {names!r}")
        self.names = names
        self._seen: pl.DataFrame | None = None

    def __repr__(self) -> str:
        return f"FixedCombinations({', '.join(map(repr, self.names))})"

    def fit(self, table: Any) -> FixedCombinations:
        parts = []
        for frame in frames_of(table):
            check_columns(frame, self.names)
            parts.append(pl.DataFrame([without_nan(frame[name]) for name in self.names]).unique())
        self._seen = pl.concat(parts).unique().sort(self.names)
        return self

    def _obeying(self, frame: pl.DataFrame) -> np.ndarray:
        if self._seen is None:
            raise NotFittedError(f"{self!r} must see the real data before it checks others: call fit")
        check_columns(frame, self.names)
        keys = [str(i) for i in range(len(self.names))]  # not the names, of which one may be that of the row
        rows = pl.DataFrame([cast(frame[name], self._seen.schema[name]) for name in self.names])
        rows.columns = keys
        found = rows.with_row_index("row").join(
            self._seen.rename(dict(zip(self.names, keys, strict=True))), on=keys, how="semi", nulls_equal=True
        )
        obeying = np.zeros(len(frame), bool)
        obeying[found["row"].to_numpy()] = True
        return obeying

    def state(self) -> dict[str, Any]:
        seen = None if self._seen is None else [state_of_values(column) for column in self._seen]
        return {"kind": "combinations", "names": list(self.names), "seen": seen}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FixedCombinations:
        made = cls(*state["names"])
        if state["seen"] is not None:
            made._seen = pl.DataFrame(
                [values_of_state(values).alias(name) for name, values in zip(made.names, state["seen"], strict=True)]
            )
        return made


class Predicate(Constraint):
    """A function of one's own says which rows obey. It cannot be saved.

    Parameters
    ----------
    function : callable (polars frame) -> booleans [rows], a polars Series or an array

    Examples
    --------
    >>> adds_up = Predicate(lambda frame: frame["total"] == frame["net"] + frame["tax"])
    >>> adds_up.check({"total": [5, 5], "net": [4, 3], "tax": [1, 1]}).tolist()
    [True, False]
    """

    def __init__(self, function: Callable[[pl.DataFrame], Any]) -> None:
        self.function = function

    def __repr__(self) -> str:
        return f"Predicate({getattr(self.function, '__name__', self.function)})"

    def _obeying(self, frame: pl.DataFrame) -> np.ndarray:
        obeying = np.asarray(self.function(frame))
        if obeying.dtype != bool or obeying.shape != (len(frame),):
            raise ArgumentError(
                f"the function of {self!r} must give a boolean for each of {len(frame)} rows, without gaps; "
                f"it gave {obeying.dtype} {obeying.shape}"
            )
        return obeying

    def state(self) -> dict[str, Any]:
        raise StateError(
            f"{self!r} holds a function, which cannot be saved: use another constraint, or declare it again after loading"
        )


def valid_rows(table: Any, constraints: Iterable[Constraint]) -> np.ndarray:
    """bool [rows], whether each obeys all constraints.

    >>> valid_rows({"a": [1, 2], "b": [3, 1]}, [Inequality("a", "b"), Predicate(lambda frame: frame["a"] < 9)]).tolist()
    [True, False]
    """
    frame = to_frame(table).frame
    valid = np.ones(len(frame), bool)
    for constraint in constraints:
        valid &= constraint.check(frame)
    return valid


def constraint_of_state(state: Mapping[str, Any]) -> Constraint:
    return {"inequality": Inequality, "combinations": FixedCombinations}[state["kind"]].from_state(state)
