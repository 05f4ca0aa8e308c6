"""The report on synthetic data: how useful, how faithful and how private they are; and the limits that they must keep to."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from fastload.errors import ArgumentError
from fastload.ingest.summary import format_table
from fastload.report.numbers import percent_text, significant
from fastload.synth.aligned import align
from fastload.synth.fidelity import (
    ColumnShape,
    PairTrend,
    Usefulness,
    column_shape,
    correlation_error,
    detection_auc,
    independent,
    mean_trend,
    pair_trends,
    usefulness,
)
from fastload.synth.privacy import Privacy, measure_privacy

SHOWN = 5  # columns and pairs that are told in the terminal
SMALL_HOLDOUT = 1_000

NO_PROOF = (
    "That an attack fails, or that no row is near a training row, proves nothing: a better attack may succeed. Only training with "
    "differential privacy gives a guarantee."
)


@dataclass(frozen=True)
class SynthesisReport:
    """What ``check_synthetic`` found. ``print(report)`` shows it.

    trends : of all pairs of columns. independent_trends, holdout_trends : what `pair_trends` is for the real columns, each shuffled
    by itself, and for other real rows; a generator is to be between them. guarantee : (epsilon, delta) of differential privacy, as
    it was told.
    """

    num_real: int
    num_synthetic: int
    shapes: tuple[ColumnShape, ...]
    trends: tuple[PairTrend, ...]
    independent_trends: float | None
    holdout_trends: float | None
    detection_auc: float
    use: Usefulness | None
    privacy: Privacy
    guarantee: tuple[float, float] | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def column_shapes(self) -> float | None:
        """Mean score of the columns: columns drawn independently reach 1."""
        scores = [shape.score for shape in self.shapes if shape.score is not None]
        return math.fsum(scores) / len(scores) if scores else None

    @property
    def pair_trends(self) -> float | None:
        """Mean score of the pairs that depend on each other in the real table."""
        return mean_trend(self.trends)

    @property
    def correlation_error(self) -> float | None:
        return correlation_error(self.trends)

    @property
    def validity(self) -> float:
        """Share of the cells within the real range, or among the real categories."""
        return math.fsum(shape.validity for shape in self.shapes) / len(self.shapes)

    @property
    def usefulness(self) -> float | None:
        """What a model learns from synthetic rows, of what it learns from real ones: 0 nothing, 1 all."""
        return None if self.use is None else self.use.kept

    @property
    def membership_auc(self) -> float | None:
        return None if self.privacy.membership is None else self.privacy.membership.auc

    @property
    def membership_true_positives(self) -> float | None:
        return None if self.privacy.membership is None else self.privacy.membership.true_positives

    @property
    def excess_copies(self) -> float:
        """Share of the synthetic rows that equal a training row and that chance does not explain."""
        return self.privacy.copies.excess

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a script. What was not measured is None."""
        return asdict(self) | {name: getattr(self, name) for name in MEASURES}

    def __str__(self) -> str:
        return "\n".join([*_head_lines(self), "", *_column_lines(self), *_pair_lines(self)]
                         + [f"note: {note}" for note in self.notes])  # fmt: skip


def check_synthetic(
    real: Any,
    synthetic: Any,
    *,
    holdout: Any = None,
    test: Any = None,
    target: str | None = None,
    discrete: Iterable[str] = (),
    guarantee: tuple[float, float] | None = None,
    seed: int = 0,
) -> SynthesisReport:
    """Measures synthetic rows beside the real ones that they were learnt from.

    Parameters
    ----------
    real, synthetic : polars or pandas frame, pyarrow Table, dict of arrays, array [rows, columns]
        Of the same columns. `real` are the rows that the model was trained on, all of them.
    holdout : table, optional
        Real rows that the model has not seen, best as many as `real`. Without, membership is not measured.
    test : table, optional
        More real rows, to test on what models learn that predict `target`; `holdout` by default.
    target : column, optional
        What a model is to predict: of 2 to 50 classes, or numbers.
    discrete : names of columns of numbers that are categories
        Integers of few values are in any case (see `Columns`).
    guarantee : (epsilon, delta), optional
        Of training with differential privacy, to be told in the report.
    seed : int

    Raises
    ------
    UnknownFieldError, DtypeError, ArgumentError, EmptyError, NotFiniteError
        The tables cannot be compared, or the hold-out holds training rows.
    TooFewRowsError
        The hold-out has less than 100 rows, or another table less than 20.

    Examples
    --------
    >>> import numpy as np
    >>> def table(seed):
    ...     x = np.random.default_rng(seed).normal(size=400).clip(-1, 1)
    ...     return {"x": x, "y": x > 0}
    >>> report = check_synthetic(table(0), table(1), holdout=table(2), target="y")
    >>> report.pair_trends > 0.8, report.usefulness > 0.9, failures(report)
    (True, True, [])
    >>> print(failures(check_synthetic(table(0), table(0), holdout=table(2)))[-1])
    the share of copies beyond chance must be at most 0, found 0.584
    """
    start_s = time.perf_counter()
    if test is None and target is not None:
        test = holdout
    columns = align(real, synthetic, holdout=holdout, test=test, discrete=discrete)
    trends = pair_trends(columns)
    report = SynthesisReport(
        num_real=len(columns[0].real),
        num_synthetic=len(columns[0].synthetic),
        shapes=tuple(column_shape(column) for column in columns),
        trends=tuple(trends),
        independent_trends=mean_trend(pair_trends(independent(columns, seed))),
        holdout_trends=None
        if holdout is None
        else mean_trend(pair_trends([c._replace(synthetic=c.holdout) for c in columns])),
        detection_auc=detection_auc(columns, seed=seed),
        use=None if target is None else usefulness(columns, target, seed=seed),
        privacy=measure_privacy(columns, seed=seed),
        guarantee=guarantee,
        notes=(),
        seconds=0.0,
    )
    return replace(report, notes=tuple(_notes(report)), seconds=time.perf_counter() - start_s)


def _notes(report: SynthesisReport) -> list[str]:
    notes = []
    if report.use is None:
        notes.append("usefulness was not measured: name a target, a column to predict, and give real rows to test on")
    elif report.use.synthetic is None:
        notes.append(f"all synthetic rows are of one class of {report.use.target}: nothing can be learnt from them")
    elif report.use.kept is None:
        notes.append(f"{report.use.target} can hardly be predicted from real rows either: usefulness is not told")
    if report.pair_trends is None:
        notes.append("no two real columns depend on each other strongly: pair trends are not told")
    membership = report.privacy.membership
    if membership is None:
        notes.append("membership was not measured: give a hold-out, real rows that the model has not seen")
    elif membership.others + membership.references < SMALL_HOLDOUT:
        notes.append(
            f"the hold-out is small: guesses come to a membership AUC of {significant(membership.guessed_auc)} and to "
            f"{percent_text(membership.guessed_true_positives)} true positives"
        )
    return notes


# --- limits --------------------------------------------------------------------------------------


MEASURES = {
    "usefulness": "usefulness",
    "pair_trends": "pair trends",
    "column_shapes": "column shapes",
    "correlation_error": "correlation error",
    "validity": "validity",
    "detection_auc": "detection AUC",
    "membership_auc": "membership AUC",
    "membership_true_positives": "true positives of membership at 1 % false positives",
    "excess_copies": "the share of copies beyond chance",
}
AT_MOST = ("correlation_error", "detection_auc", "membership_auc", "membership_true_positives", "excess_copies")


@dataclass(frozen=True)
class Limits:
    """What synthetic data must reach, or must not exceed: see the properties of `SynthesisReport`. None: it may be what it is.

    What was not measured is not judged. Rows of `usefulness` 0.5 teach a model half of what real rows do. `pair_trends` must not be
    below those of columns drawn independently either. Of a generator that gives nothing away, membership AUC is 0.5, and true
    positives are 0.01; what guesses come to where the hold-out is small is no failure. One copy is too many, but where rows repeat
    among real ones as well.

    Examples
    --------
    >>> limits = Limits.parse(["pair_trends=0.6", "validity=99%", "usefulness=none"])
    >>> limits.pair_trends, limits.validity, limits.usefulness, limits.membership_auc
    (0.6, 0.99, None, 0.55)
    """

    usefulness: float | None = 0.5
    pair_trends: float | None = 0.7
    column_shapes: float | None = None
    correlation_error: float | None = None
    validity: float | None = 1.0
    detection_auc: float | None = None
    membership_auc: float | None = 0.55
    membership_true_positives: float | None = 0.03
    excess_copies: float | None = 0.0

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Limits:
        """The usual limits but for those given, each as NAME=NUMBER, NAME=PER CENT% or NAME=none.

        Raises
        ------
        ArgumentError
        """
        return cls(**dict(_limit(text) for text in texts))


def _limit(text: str) -> tuple[str, float | None]:
    name, _, number = (part.strip() for part in text.partition("="))
    if name not in MEASURES:
        raise ArgumentError(f"a limit must be on one of {', '.join(MEASURES)}; got {text!r}")
    if number == "none":
        return name, None
    match = re.fullmatch(r"([0-9.]+)\s*(%?)", number)
    try:
        return name, float(match[1]) / (100 if match[2] else 1)
    except (TypeError, ValueError):
        raise ArgumentError(f'a limit looks like "{name}=0.7", "{name}=70%" or "{name}=none"; got {text!r}') from None


class Verdict(NamedTuple):
    """One limit that applies. what : the measure, in words."""

    what: str
    found: float
    limit: float
    at_most: bool

    @property
    def is_kept(self) -> bool:
        return self.found <= self.limit if self.at_most else self.found >= self.limit

    def __str__(self) -> str:
        return f"{self.what} must be {self.bound}, found {self.found_text}"

    @property
    def bound(self) -> str:
        """Such as "at least 0.7"."""
        return f"{'at most' if self.at_most else 'at least'} {_told(self.limit, self.found)}"

    @property
    def found_text(self) -> str:
        return _told(self.found, self.limit)


def verdicts(report: SynthesisReport, limits: Limits | None = None) -> list[Verdict]:
    """One for each limit on what was measured."""
    least = {"pair_trends": report.independent_trends}
    membership = report.privacy.membership
    if membership is not None:
        least |= {
            "membership_auc": membership.guessed_auc,
            "membership_true_positives": membership.guessed_true_positives,
        }
    return [
        Verdict(MEASURES[name], found, max(limit, least.get(name, limit)), name in AT_MOST)
        for name, limit in asdict(limits or Limits()).items()
        if limit is not None and (found := getattr(report, name)) is not None
    ]


def failures(report: SynthesisReport, limits: Limits | None = None) -> list[str]:
    """Why synthetic data are not to be used, a sentence for each limit that is not kept; empty where all are."""
    return [str(verdict) for verdict in verdicts(report, limits) if not verdict.is_kept]


def _told(value: float, other: float) -> str:
    """With as many digits as tell it from the other one."""
    texts = [(significant(value, digits), significant(other, digits)) for digits in range(3, 18)]
    return next((text for text, others in texts if text != others), texts[0][0])


# --- as text -------------------------------------------------------------------------------------


class Finding(NamedTuple):
    """beside : what to hold it against. is_headline : one to look at first."""

    what: str
    found: str
    beside: str
    is_headline: bool = True


def findings(report: SynthesisReport) -> list[Finding]:
    """What was found, as texts; an average over columns is no headline."""
    return [*_use_findings(report.use), *_likeness_findings(report), *_privacy_findings(report)]


def _use_findings(use: Usefulness | None) -> list[Finding]:
    if use is None:
        return []

    def finding(what: str, name: str, is_headline: bool) -> Finding:
        found, real, bootstrap = (
            "none" if scores is None else significant(getattr(scores, name))
            for scores in (use.synthetic, use.real, use.bootstrap)
        )
        beside = f"learnt from synthetic rows; from real ones {real}, from a bootstrap of them {bootstrap}"
        return Finding(what, found, beside, is_headline)

    score = finding(f"{use.measure} of {use.target}", "score", True)
    return [score] if use.measure == "R2" else [score, finding("average precision", "average_precision", False)]


def _likeness_findings(report: SynthesisReport) -> list[Finding]:
    found = []
    if report.pair_trends is not None:
        beside = f"columns drawn independently {significant(report.independent_trends)}"
        if report.holdout_trends is not None:
            beside = f"other real rows {significant(report.holdout_trends)}, {beside}"
        found.append(Finding("pair trends", significant(report.pair_trends), beside))
    if report.correlation_error is not None:
        beside = "mean difference of the correlations"
        found.append(Finding("correlation error", significant(report.correlation_error), beside, False))
    if report.column_shapes is not None:
        beside = "1: each column is distributed as the real one; columns drawn independently 1"
        found.append(Finding("column shapes", significant(report.column_shapes), beside, False))
    beside = "0.5: a classifier cannot tell them from real rows"
    found.append(Finding("detection AUC", significant(report.detection_auc), beside))
    beside = "share of cells in the real range, or of a real category"
    return [*found, Finding("validity", significant(report.validity, 6), beside)]


def _privacy_findings(report: SynthesisReport) -> list[Finding]:
    membership, copies, nearest = report.privacy.membership, report.privacy.copies, report.privacy.nearest
    others = "hold-out rows" if copies.holdout else "training rows equal another one"
    beside = f"of {copies.usual.rows:,} {others} {copies.usual.count:,}"
    copied = Finding("copies of training rows", f"{copies.synthetic.count:,}", beside)
    if membership is None:
        found = [Finding("membership AUC", "not measured", "takes a hold-out"), copied]
    else:
        by_luck = significant(membership.guessed_auc), percent_text(membership.guessed_true_positives)
        found = [
            Finding("membership AUC", significant(membership.auc), f"0.5 by chance, by luck up to {by_luck[0]}"),
            Finding(
                "members found",
                percent_text(membership.true_positives),
                f"at 1 % false positives; 1 % by chance, by luck up to {by_luck[1]}",
            ),
            copied,
            Finding(
                "unusually near rows",
                percent_text(nearest.near_share),
                "nearer to a training row than all but 5 % of hold-out rows; an alarm, never a proof",
            ),
        ]
    if report.guarantee is not None:
        epsilon, delta = report.guarantee
        found.append(
            Finding(
                "epsilon",
                significant(epsilon),
                f"at delta {delta:g}: bounds what the network tells of a row, whatever the attack",
            )
        )
    return found


def _head_lines(report: SynthesisReport) -> list[str]:
    rows = findings(report)
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return [
        f"{report.num_synthetic:,} synthetic rows beside {report.num_real:,} real ones, {len(report.shapes)} columns",
        "",
        *(f"{row.what:<{widths[0]}}  {row.found:>{widths[1]}}  {row.beside}" for row in rows),
    ]


COLUMN_HEADER = ("columns least alike", "kind", "shape", "validity")
PAIR_HEADER = ("pairs least alike", "score", "real", "synthetic")


def worst_columns(report: SynthesisReport) -> list[ColumnShape]:
    """Those least alike first; without those that have no value."""
    return sorted((shape for shape in report.shapes if shape.score is not None), key=lambda shape: shape.score)


def worst_pairs(report: SynthesisReport) -> list[PairTrend]:
    """Of those that depend on each other in the real table, those least alike first."""
    return sorted((trend for trend in report.trends if trend.is_strong), key=lambda trend: trend.score)


def column_rows(shapes: Sequence[ColumnShape]) -> list[tuple[str, ...]]:
    """A row of COLUMN_HEADER for each column."""
    return [(s.name, s.kind, significant(s.score), significant(s.validity, 6)) for s in shapes]


def pair_rows(trends: Sequence[PairTrend]) -> list[tuple[str, ...]]:
    """A row of PAIR_HEADER for each pair: how strongly the columns depend on each other, in the real and in the synthetic table."""
    return [(f"{t.first}, {t.second}", *map(significant, (t.score, t.real, t.synthetic))) for t in trends]


def _column_lines(report: SynthesisReport) -> list[str]:
    rows = column_rows(worst_columns(report)[:SHOWN])
    return [*format_table(COLUMN_HEADER, rows, right=(2, 3)), ""] if rows else []


def _pair_lines(report: SynthesisReport) -> list[str]:
    rows = pair_rows(worst_pairs(report)[:SHOWN])
    return [*format_table(PAIR_HEADER, rows, right=(1, 2, 3)), ""] if rows else []
