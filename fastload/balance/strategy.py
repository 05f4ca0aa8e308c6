"""How many rows of which class: every form of `sampling_strategy`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Literal

from fastload.errors import OneClassError, StrategyError, UnknownClassError

NAMES = ("auto", "minority", "majority", "not minority", "not majority", "all")


def rows_per_class(
    strategy: Any, counts: Mapping[Any, int], sampling: Literal["over", "under"], y: Any = None
) -> OrderedDict[Any, int]:
    """What is to be done to each class that is a target, sorted by class.

    Parameters
    ----------
    strategy : str, float, dict or callable
        "minority", "majority", "not minority", "not majority", "all": the classes that are brought to the size of the largest
        (over-sampling) or smallest one (under-sampling); "auto": "not majority" or "not minority". A number in (0, 1]: of two
        classes, rows of the smaller one to rows of the larger one. A dict: class -> rows in the end. A callable makes such a dict
        of `y`.
    counts : rows of each class, in the order of the classes
    sampling : "over" or "under"
    y : labels [rows], for a callable

    Returns
    -------
    OrderedDict: class -> rows to add (over-sampling) or rows to keep (under-sampling).

    Raises
    ------
    OneClassError, StrategyError, UnknownClassError

    Examples
    --------
    >>> dict(rows_per_class("auto", {"a": 2, "b": 9, "c": 5}, "over"))
    {'a': 7, 'c': 4}
    >>> dict(rows_per_class(0.5, {0: 90, 1: 10}, "over"))
    {1: 35}
    >>> dict(rows_per_class({0: 20}, {0: 90, 1: 10}, "under"))
    {0: 20}
    """
    if len(counts) < 2:
        raise OneClassError(
            f"balancing needs rows of at least 2 classes, found {len(counts)} class: "
            f"{', '.join(map(repr, counts)) or 'there are no labels'}"
        )
    if isinstance(strategy, str):
        found = _named(strategy, counts, sampling)
    elif isinstance(strategy, Mapping):
        found = _counted(strategy, counts, sampling)
    elif isinstance(strategy, Real) and not isinstance(strategy, bool):
        found = _share(float(strategy), counts, sampling)
    elif isinstance(strategy, Callable):
        found = _counted(strategy(y), counts, sampling)
    else:
        raise StrategyError(
            f"sampling_strategy must be one of {', '.join(map(repr, NAMES))}, a number in (0, 1], a dict of class and rows, or a "
            f"callable that makes one; got {strategy!r}"
        )
    return OrderedDict(sorted(found.items()))


def _named(name: str, counts: Mapping[Any, int], sampling: str) -> dict[Any, int]:
    refused = "majority" if sampling == "over" else "minority"
    if name not in NAMES or name == refused:
        raise StrategyError(
            f"sampling_strategy must be one of {', '.join(repr(n) for n in NAMES if n != refused)} for {sampling}-sampling, "
            f"got {name!r}"
        )
    if name == "auto":
        name = "not majority" if sampling == "over" else "not minority"
    named = _largest(counts) if "majority" in name else _smallest(counts)
    if name == "all":
        targets = list(counts)
    else:
        targets = [c for c in counts if (c == named) != name.startswith("not")]
    if sampling == "over":
        return {c: max(counts.values()) - counts[c] for c in targets}
    return {c: min(counts.values()) for c in targets}


def _counted(asked: Any, counts: Mapping[Any, int], sampling: str) -> dict[Any, int]:
    if not isinstance(asked, Mapping):
        raise StrategyError(f"a callable sampling_strategy must return a dict of class and rows, got {asked!r}")
    unknown = [c for c in asked if c not in counts]
    if unknown:
        raise UnknownClassError(
            f"sampling_strategy names a class that no label is of: {unknown[0]!r}; the classes are "
            f"{', '.join(map(repr, counts))}"
        )
    for name, rows in asked.items():
        if not isinstance(rows, Integral) or rows < 0:
            raise StrategyError(f"sampling_strategy must give whole numbers of rows, got {rows!r} for class {name!r}")
        if sampling == "over" and rows < counts[name]:
            raise StrategyError(
                f"over-sampling removes no rows: class {name!r} has {counts[name]}, and sampling_strategy asks for {rows}; "
                "ask for as many or more, or under-sample it"
            )
        if sampling == "under" and rows > counts[name]:
            raise StrategyError(
                f"under-sampling adds no rows: class {name!r} has {counts[name]}, and sampling_strategy asks for {rows}; "
                "ask for as many or fewer, or over-sample it"
            )
    if sampling == "over":
        return {c: int(rows) - counts[c] for c, rows in asked.items()}
    return {c: int(rows) for c, rows in asked.items()}


def _share(share: float, counts: Mapping[Any, int], sampling: str) -> dict[Any, int]:
    if not 0 < share <= 1:
        raise StrategyError(f"a number as sampling_strategy must lie in (0, 1], got {share:g}")
    if len(counts) != 2:
        raise StrategyError(
            f"a number as sampling_strategy is for two classes, found {len(counts)}: give a dict of class and rows"
        )
    if sampling == "over":
        large = _largest(counts)
        small = next(c for c in counts if c != large)
    else:
        small = _smallest(counts)
        large = next(c for c in counts if c != small)
    now = f"there are {counts[small]} rows of {small!r} to {counts[large]} of {large!r}, {counts[small] / counts[large]:.3g}"
    if sampling == "over":
        added = int(counts[large] * share - counts[small])
        if added <= 0:
            raise StrategyError(f"sampling_strategy={share:g} would add no row: {now}; ask for a larger share")
        return {small: added}
    kept = int(counts[small] / share)
    if kept > counts[large]:
        raise StrategyError(f"sampling_strategy={share:g} would remove no row: {now}; ask for a larger share")
    return {large: kept}


def _largest(counts: Mapping[Any, int]) -> Any:
    return max(counts, key=counts.get)


def _smallest(counts: Mapping[Any, int]) -> Any:
    return min(counts, key=counts.get)
