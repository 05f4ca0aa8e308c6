"""How alike synthetic data are to real ones: columns, pairs of columns, and what a classifier learns from them.

Shapes and trends are those of sdmetrics 0.32, whose average over both ranks columns drawn independently above every trained
generator: there is none here. What counts is whether pairs of columns go together, and whether a model trained on synthetic rows
is of use on real ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score

from fastload.clean.drift import category_drift, number_drift
from fastload.errors import ArgumentError, TooFewRowsError, UnknownFieldError
from fastload.synth.aligned import Column

DECIMALS = 14  # numbers that are equal when rounded so are equal
BINS = 10  # of numbers beside categories
STRONG_CORRELATION, STRONG_ASSOCIATION = 0.5, 0.3  # of real pairs whose trends are averaged
MAX_CELLS = 1 << 20  # of a table of counts that is laid out whole
SHOWN_VALUES = 8
DETECTION_ROWS, MIN_ROWS, DETECTION_FOLDS = 10_000, 20, 3
MAX_CLASSES = 50
MIN_GAIN = 0.02  # over chance: what real rows must bring before it is asked what synthetic ones keep of it


# --- columns -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColumnShape:
    """One column of both tables.

    score : 1 - the Kolmogorov-Smirnov distance of numbers, 1 - the total variation of categories; 1 is the same distribution, None
    where the real column has no value.
    validity : share of synthetic cells within the real range, or among the real categories; a gap is valid if real ones have some.
    missing : shares of missing cells, real and synthetic.
    places, real, synthetic : for a plot, centres of bins or the values that are most off, and shares of the cells.
    """

    name: str
    kind: str
    score: float | None
    validity: float
    missing: tuple[float, float]
    places: list[float] | list[str]
    real: list[float]
    synthetic: list[float]


def column_shape(column: Column) -> ColumnShape:
    """
    Examples
    --------
    >>> from fastload.synth.aligned import align
    >>> (column,) = align({"a": ["x", "x", "y", "y"]}, {"a": ["x", "x", "x", "z"]})
    >>> shape = column_shape(column)
    >>> shape.score, shape.validity
    (0.5, 0.75)
    """
    is_there = [_is_there(column, values) for values in (column.real, column.synthetic)]
    real, synthetic = column.real[is_there[0]], column.synthetic[is_there[1]]
    score, plot = (_number_shape if column.is_number else _category_shape)(column, real, synthetic)
    if not len(real) or not len(synthetic):
        score = 0.0 if len(real) else None
    missing = tuple(float(1 - there.mean()) for there in is_there)
    return ColumnShape(column.name, column.kind, score, _validity(column, real, is_there[1]), missing, *plot)


def _is_there(column: Column, values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values) if column.is_number else values >= 0


def _number_shape(
    column: Column, real: np.ndarray, synthetic: np.ndarray
) -> tuple[float | None, tuple[list, list, list]]:
    drift = number_drift(column.name, _rounded(real), _rounded(synthetic), (0.0, 0.0))
    return (None, ([], [], [])) if drift is None else (1 - drift.distance, drift.shapes or ([], [], []))


def _category_shape(
    column: Column, real: np.ndarray, synthetic: np.ndarray
) -> tuple[float | None, tuple[list, list, list]]:
    counts = [np.bincount(codes, minlength=len(column.values)) for codes in (real, synthetic)]
    drift = category_drift(column.name, *({i: int(c[i]) for i in np.flatnonzero(c)} for c in counts), (0.0, 0.0))
    shares = [c / max(1, c.sum()) for c in counts]
    shown = np.argsort(-np.abs(shares[0] - shares[1]), kind="stable")
    shown = shown[np.maximum(*counts)[shown] > 0][:SHOWN_VALUES]
    plot = [str(column.values[i]) for i in shown], *(s[shown].tolist() for s in shares)
    return None if drift is None else 1 - drift.distance, plot


def _validity(column: Column, real: np.ndarray, is_there: np.ndarray) -> float:
    """real : without gaps."""
    if not len(real):
        known = np.zeros(len(column.synthetic), bool)
    elif column.is_number:
        known = (column.synthetic >= real.min()) & (column.synthetic <= real.max())
    else:
        known = np.isin(column.synthetic, real)
    has_gaps = len(real) < len(column.real)
    return float(np.where(is_there, known, has_gaps).mean())


def _rounded(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        near = np.round(numbers, DECIMALS)
    return np.where(np.isfinite(near), near, numbers)


# --- pairs of columns ----------------------------------------------------------------------------


@dataclass(frozen=True)
class PairTrend:
    """How two columns go together.

    measure : "correlation" of two columns of numbers, or "contingency": of categories, numbers beside them in ten bins.
    score : of correlations 1 - |real - synthetic| / 2; else 1 - the total variation of the tables of counts. None where the real
    columns do not vary.
    real, synthetic : how strongly they depend on each other: Pearson's correlation, or Cramér's V.
    """

    first: str
    second: str
    measure: str
    score: float | None
    real: float
    synthetic: float

    @property
    def is_strong(self) -> bool:
        """It is one that matters: the real columns depend on each other."""
        limit = STRONG_CORRELATION if self.measure == "correlation" else STRONG_ASSOCIATION
        return self.score is not None and abs(self.real) > limit


def pair_trends(columns: Sequence[Column]) -> list[PairTrend]:
    """One for each pair of columns.

    The bins of numbers are tenths of a table's own range, real or synthetic, as sdmetrics has them.

    Examples
    --------
    >>> from fastload.synth.aligned import align
    >>> columns = align({"a": [1.5, 2.5, 4], "b": [2, 4, 9.5]}, {"a": [1, 2, 2.5], "b": [3, 2, 1.5]})
    >>> [trend.score < 0.1 for trend in pair_trends(columns)]
    [True]
    """
    cells = [_cells(column) for column in columns]
    return [
        _correlation(columns[i], columns[j])
        if columns[i].is_number and columns[j].is_number
        else _contingency(columns[i].name, columns[j].name, cells[i], cells[j])
        for i, j in combinations(range(len(columns)), 2)
    ]


def mean_trend(trends: Iterable[PairTrend]) -> float | None:
    """Mean score of the pairs that depend on each other; None where there is none.

    Beside that of sdmetrics, a pair whose synthetic columns do not vary counts, and no rows are left out of large tables.
    """
    scores = [trend.score for trend in trends if trend.is_strong]
    return float(np.mean(scores)) if scores else None


def correlation_error(trends: Iterable[PairTrend]) -> float | None:
    """Mean absolute difference of the correlations of all pairs of numbers; None where there is none."""
    apart = [abs(t.real - t.synthetic) for t in trends if t.measure == "correlation" and t.score is not None]
    return float(np.mean(apart)) if apart else None


def independent(columns: Sequence[Column], seed: int = 0) -> list[Column]:
    """The real columns, each shuffled by itself, in the place of the synthetic ones: a generator that learnt no more than these."""
    random = np.random.default_rng(seed)
    return [column._replace(synthetic=random.permutation(column.real)) for column in columns]


class _Cells(NamedTuple):
    """A column as codes 0 .. size - 1, a missing value being one."""

    real: np.ndarray
    synthetic: np.ndarray
    size: int


def _cells(column: Column) -> _Cells:
    if column.is_number:
        return _Cells(_binned(column.real), _binned(column.synthetic), BINS + 2)
    return _Cells(column.real + 1, column.synthetic + 1, len(column.values) + 1)


def _binned(numbers: np.ndarray) -> np.ndarray:
    """A missing number is in the bin of the largest one."""
    there = numbers[~np.isnan(numbers)]
    return np.digitize(numbers, np.histogram_bin_edges(there, BINS)) if len(there) else np.zeros(len(numbers), np.int64)


def _contingency(first: str, second: str, a: _Cells, b: _Cells) -> PairTrend:
    pairs = a.real * b.size + b.real, a.synthetic * b.size + b.synthetic
    if a.size * b.size > MAX_CELLS:
        pairs = np.split(np.unique(np.concatenate(pairs), return_inverse=True)[1], [len(pairs[0])])
    size = 1 + max(int(p.max()) for p in pairs)
    counts = [np.bincount(p, minlength=size) for p in pairs]
    apart = np.abs(counts[0] / len(pairs[0]) - counts[1] / len(pairs[1])).sum()
    strength = _cramer(a.real, b.real, counts[0][pairs[0]])
    score = None if math.isnan(strength) else float(1 - apart / 2)
    synthetic = _cramer(a.synthetic, b.synthetic, counts[1][pairs[1]])
    return PairTrend(first, second, "contingency", score, *(0.0 if math.isnan(v) else v for v in (strength, synthetic)))


def _cramer(a: np.ndarray, b: np.ndarray, together: np.ndarray) -> float:
    """Cramér's V of two columns of codes; NaN where one does not vary.

    together : for each row, how many rows have the same two codes.
    """
    counts = np.bincount(a), np.bincount(b)
    smaller = min(np.count_nonzero(c) for c in counts)
    if smaller < 2:
        return float("nan")
    squared = (together / (counts[0][a] * counts[1][b])).sum() - 1  # chi-square over rows
    return math.sqrt(max(0.0, float(squared)) / (smaller - 1))


def _correlation(first: Column, second: Column) -> PairTrend:
    real, synthetic = _pearson(first.real, second.real), _pearson(first.synthetic, second.synthetic)
    score = None if math.isnan(real) else 1 - abs(real - (0.0 if math.isnan(synthetic) else synthetic)) / 2
    values = (0.0 if math.isnan(r) else r for r in (real, synthetic))
    return PairTrend(first.name, second.name, "correlation", score, *values)


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Over the rows that have both; NaN where one does not vary."""
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    a, b = ((x - x.mean()) / x.std() for x in (a / np.abs(a).max(), b / np.abs(b).max()))
    return float(np.clip(np.mean(a * b), -1, 1))


# --- what a classifier makes of them -------------------------------------------------------------


def detection_auc(columns: Sequence[Column], *, seed: int = 0) -> float:
    """How well a classifier tells synthetic rows from real ones: 0.5 not at all, 1 all of them. Cross-validated gradient boosting.

    Below 0.5 where many synthetic rows are copies: the classifier takes them for what their twins were.

    Raises
    ------
    TooFewRowsError
        There are less than 20 of either kind.
    """
    rows = min(len(columns[0].real), len(columns[0].synthetic), DETECTION_ROWS)
    if rows < MIN_ROWS:
        raise TooFewRowsError(
            f"a table to tell from another must have {MIN_ROWS} rows or more, the smaller one has {rows}"
        )
    random = np.random.default_rng(seed)
    parts = []
    for role in ("real", "synthetic"):
        chosen = np.sort(random.permutation(len(getattr(columns[0], role)))[:rows])
        parts.append(features(columns, role)[chosen])
    folds = StratifiedKFold(DETECTION_FOLDS, shuffle=True, random_state=seed)
    labels = np.repeat([0, 1], rows)
    model = HistGradientBoostingClassifier(random_state=seed)
    return float(cross_val_score(model, np.concatenate(parts), labels, cv=folds, scoring="roc_auc").mean())


@dataclass(frozen=True)
class Scores:
    """Of a model on real rows that no model has seen. score : area under the ROC curve, or R2. average_precision : None for R2."""

    score: float
    average_precision: float | None


@dataclass(frozen=True)
class Usefulness:
    """A model trained on synthetic rows beside the same one trained on real ones; all are tested on other real rows.

    measure : "AUC" of the rarer of two classes, or the mean over each of several against the rest; "R2" of a number.
    bootstrap : trained on real rows drawn with replacement, which is as good as a copying generator can be.
    synthetic : None where the synthetic rows are all of one class.
    """

    target: str
    measure: str
    test_rows: int
    synthetic: Scores | None
    real: Scores
    bootstrap: Scores

    @property
    def kept(self) -> float | None:
        """What synthetic rows teach, of what real ones do; None where these teach next to nothing."""
        chance = 0.5 if self.measure == "AUC" else 0.0
        if self.real.score < chance + MIN_GAIN:
            return None
        return 0.0 if self.synthetic is None else (self.synthetic.score - chance) / (self.real.score - chance)


def usefulness(columns: Sequence[Column], target: str, *, seed: int = 0) -> Usefulness:
    """Train on synthetic, test on real (TSTR), with gradient boosting (scikit-learn's, as it comes). Categories are taken as codes.

    Raises
    ------
    UnknownFieldError, ArgumentError
        There is no such column; it has one class or more than 50; there is no test table.
    """
    goal = next((column for column in columns if column.name == target), None)
    if goal is None:
        raise UnknownFieldError(f"no column {target!r} to learn; the columns are {', '.join(c.name for c in columns)}")
    if goal.test is None:
        raise ArgumentError(
            "to measure how useful synthetic rows are takes real ones that no model has seen: give test or holdout"
        )
    others = [column for column in columns if column is not goal]
    if not others:
        raise ArgumentError(f"there must be columns to learn {target!r} from, and it is the only one")
    rows = {role: _labelled(others, goal, role) for role in ("real", "synthetic", "test")}
    classes = None if goal.is_number else _classes(goal, rows["real"][1])
    drawn = np.random.default_rng(seed).integers(0, len(rows["real"][1]), len(rows["real"][1]))
    bootstrap = tuple(part[drawn] for part in rows["real"])
    found = [_scores(train, rows["test"], classes, seed) for train in (rows["synthetic"], rows["real"], bootstrap)]
    return Usefulness(target, "R2" if goal.is_number else "AUC", len(rows["test"][1]), *found)


def features(columns: Sequence[Column], role: str) -> np.ndarray:
    """float64 [rows, columns] of a table. A missing value is a number below all others: a tree can tell it from them, and
    scikit-learn's fails where all values of a column are missing."""
    return np.column_stack([_without_gaps(column, getattr(column, role)) for column in columns])


def _without_gaps(column: Column, values: np.ndarray) -> np.ndarray:
    if not column.is_number or not column.has_gaps:
        return values
    tables = [table for table in (column.real, column.synthetic, column.test) if table is not None]
    return np.nan_to_num(values, nan=min(np.nanmin(table, initial=0.0) for table in tables) - 1)


def _labelled(columns: Sequence[Column], goal: Column, role: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose label is there, and their labels."""
    labels = getattr(goal, role)
    there = _is_there(goal, labels)
    return features(columns, role)[there], labels[there]


def _classes(goal: Column, labels: np.ndarray) -> list[int]:
    """The classes to find: the rarer one of two, or all."""
    classes, counts = np.unique(labels, return_counts=True)
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise ArgumentError(
            f"a column to learn must have 2 to {MAX_CLASSES} classes, or numbers; {goal.name!r} has {len(classes)} in the real one"
        )
    return [int(classes[counts.argmin()])] if len(classes) == 2 else classes.tolist()


def _scores(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], classes: list[int] | None, seed: int
) -> Scores | None:
    if classes is None:
        model = HistGradientBoostingRegressor(random_state=seed).fit(*train)
        return Scores(float(r2_score(test[1], model.predict(test[0]))), None)
    if len(np.unique(train[1])) < 2:
        return None
    model = HistGradientBoostingClassifier(random_state=seed).fit(*train)
    found = dict(zip(model.classes_.tolist(), model.predict_proba(test[0]).T))
    pairs = [(test[1] == c, found.get(c, np.zeros(len(test[1])))) for c in classes]
    pairs = [(truth, scores) for truth, scores in pairs if 0 < truth.sum() < len(truth)]
    if not pairs:
        raise ArgumentError("the test table must hold rows of two classes at least")
    return Scores(*(float(np.mean([f(*pair) for pair in pairs])) for f in (roc_auc_score, average_precision_score)))
