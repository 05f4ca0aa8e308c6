"""The report on synthetic data as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastload.report.figures import Bar, Series, bar_chart, line_chart
from fastload.report.html import Figure, Note, Section, Table, Text, Tile, Tiles, page
from fastload.report.numbers import percent_text, seconds_text, significant
from fastload.synth.fidelity import ColumnShape
from fastload.synth.privacy import Copies, Membership, Nearest
from fastload.synth.quality import (
    NO_PROOF,
    PAIR_HEADER,
    Limits,
    SynthesisReport,
    Verdict,
    findings,
    pair_rows,
    verdicts,
    worst_columns,
    worst_pairs,
)

MAX_BARS, MAX_DISTRIBUTIONS, MAX_VALUES, MAX_PAIRS = 20, 4, 6, 12

Parts = list[Any]


def synthesis_page(report: SynthesisReport, *, limits: Limits | None = None, samples: Sequence[Figure] = ()) -> str:
    """SynthesisReport -> HTML.

    Parameters
    ----------
    limits : as of `failures`
    samples : figures of what was drawn, such as those of ``fastload.report.images.image_grid``

    Examples
    --------
    >>> from fastload.synth.quality import check_synthetic
    >>> table = {"a": ["x", "y"] * 10, "b": ["x", "y"] * 10}
    >>> "pair trends" in synthesis_page(check_synthetic(table, table))
    True
    """
    sections = [
        Section("In short", _short(report, verdicts(report, limits))),
        Section("Samples", list(samples)),
        Section("What can be learnt from them", _use(report)),
        Section("Columns", _columns(report)),
        Section("Pairs of columns", _pairs(report)),
        Section("Privacy", _privacy(report)),
    ]
    return page(
        "Synthetic rows beside real ones",
        f"{report.num_synthetic:,} synthetic rows, {report.num_real:,} real ones that they were learnt from, {len(report.shapes)} "
        f"columns; measured in {seconds_text(report.seconds)}.",
        [section for section in sections if section.parts],
        footer="Made by: fastload synth.",
    )


def _short(report: SynthesisReport, judged: Sequence[Verdict]) -> Parts:
    kept = all(verdict.is_kept for verdict in judged)
    words = "All limits are kept." if kept else "These rows are not to be used as they are: not all limits are kept."
    rows = [
        (verdict.what, verdict.bound, verdict.found_text, "" if verdict.is_kept else "not kept") for verdict in judged
    ]
    notes = [Note(f"{note[0].upper()}{note[1:]}.") for note in report.notes]
    tiles = [Tile(found.found, found.what, found.beside) for found in findings(report) if found.is_headline]
    return [Tiles(tiles), Text(words), Table(("measure", "limit", "found", ""), rows, align="lrrl"), *notes]


def _use(report: SynthesisReport) -> Parts:
    use = report.use
    if use is None:
        return []
    scores = {"synthetic rows": use.synthetic, "real rows": use.real, "a bootstrap of them": use.bootstrap}
    words = (
        f"{'A classifier' if use.measure == 'AUC' else 'A model'} that predicts {use.target} was trained on synthetic rows, and "
        f"tested on {use.test_rows:,} real rows that no model had seen."
    )
    bars = [
        Bar(f"trained on {name}", max(0.0, found.score), strong=found is use.synthetic)
        for name, found in scores.items()
        if found is not None
    ]
    parts = [
        Text(words),
        Figure(
            bar_chart(bars, title=f"{use.measure} of {use.target} on real rows", value_text=significant),
            "A bootstrap, real rows drawn with replacement, is as good as a generator can be that only copies.",
        ),
    ]
    if use.real.average_precision is not None:
        precise = [
            (f"trained on {name}", significant(s.score), significant(s.average_precision))
            for name, s in scores.items()
            if s
        ]
        parts.append(Table(("", use.measure, "average precision"), precise))
    return parts


def _columns(report: SynthesisReport) -> Parts:
    worst = worst_columns(report)
    if not worst:
        return []
    first = f"The first {MAX_BARS} of {len(worst)} columns. " if len(worst) > MAX_BARS else ""
    parts = [
        Figure(
            bar_chart(
                [Bar(shape.name, max(0.0, 1 - shape.score)) for shape in worst[:MAX_BARS]],
                title="How far the columns are off",
                description=f"{first}0 is the same distribution, 1 one that has nothing in common.",
                value_text=significant,
            ),
            "Of numbers the largest difference of the distribution functions (Kolmogorov-Smirnov), of categories the total "
            "variation. Columns drawn independently are not off at all: that they fit says little.",
        )
    ]
    invalid = [(s.name, percent_text(1 - s.validity)) for s in worst if s.validity < 1]
    if invalid:
        parts.append(Table(("column", "cells beyond the real range, or of no real category"), invalid))
    missing = [(s.name, *map(percent_text, s.missing)) for s in worst if any(s.missing)]
    if missing:
        parts.append(Table(("column", "missing in real rows", "in synthetic rows"), missing))
    return parts + [_distribution(shape) for shape in worst[:MAX_DISTRIBUTIONS] if shape.places]


def _distribution(shape: ColumnShape) -> Figure:
    if shape.kind == "number":
        series = [Series("synthetic", shape.places, shape.synthetic), Series("real", shape.places, shape.real)]
        svg = line_chart(series, title=f"{shape.name}: synthetic and real", x_label=shape.name, y_label="share of the rows",
                         y_from_zero=True, height=160)  # fmt: skip
        return Figure(svg)
    values = list(zip(shape.places, shape.real, shape.synthetic))[:MAX_VALUES]
    bars = [
        bar
        for value, real, synthetic in values
        for bar in (Bar(f"{value}: synthetic", synthetic, strong=True), Bar(f"{value}: real", real))
    ]
    return Figure(
        bar_chart(
            bars,
            title=f"{shape.name}: synthetic and real",
            description="Shares of the rows; the values that are most off.",
            value_text=percent_text,
        )
    )


def _pairs(report: SynthesisReport) -> Parts:
    worst = worst_pairs(report)
    if not worst:
        return []
    bars = [Bar("synthetic rows", report.pair_trends, strong=True)]
    if report.holdout_trends is not None:
        bars.append(Bar("other real rows", report.holdout_trends))
    bars.append(Bar("columns drawn independently", report.independent_trends))
    few = f"The {MAX_PAIRS} least alike of {len(worst)} pairs. " if len(worst) > MAX_PAIRS else ""
    return [
        Figure(
            bar_chart(
                bars,
                title="Pair trends",
                description="1: pairs of columns go together as in the real table.",
                value_text=significant,
            ),
            f"Mean over the {len(worst)} pairs of columns that depend on each other in the real table.",
        ),
        Table(
            PAIR_HEADER,
            pair_rows(worst[:MAX_PAIRS]),
            f"{few}Real, synthetic: how strongly the two depend on each other, by Pearson's correlation of two numbers, else by "
            "Cramér's V.",
        ),
    ]


def _privacy(report: SynthesisReport) -> Parts:
    attacks = [] if report.privacy.membership is None else _attacks(report.privacy.membership)
    return [
        *attacks,
        Text(_copies(report.privacy.copies)),
        _distances(report.privacy.nearest),
        *_guarantee(report),
        Note(NO_PROOF),
    ]


def _attacks(membership: Membership) -> Parts:
    words = (
        f"Attacks that know the synthetic rows, and {membership.references:,} other real rows for reference, were given "
        f"{membership.members:,} rows that were trained on and {membership.others:,} that were not, and had to tell which are "
        f"which. Guesses have an AUC of 0.5, by luck up to {significant(membership.guessed_auc)}, and find 1 % of the training "
        f"rows, by luck up to {percent_text(membership.guessed_true_positives)}."
    )
    rows = [(a.name, significant(a.auc), percent_text(a.true_positives)) for a in membership.attacks]
    header = ("attack", "AUC", "training rows found, with 1 % of the others taken for one")
    return [Text(words), Table(header, rows, strong=membership.attacks.index(membership.strongest))]


def _copies(copies: Copies) -> str:
    others, one = ("hold-out", "one") if copies.holdout else ("training", "another one")
    return (
        f"{copies.synthetic.count:,} of the {copies.synthetic.rows:,} synthetic rows equal a training row. "
        f"Of the {copies.usual.rows:,} {others} rows {copies.usual.count:,} equal {one}: where rows repeat in reality, some are "
        "equal by chance."
    )


def _distances(nearest: Nearest) -> Table:
    sides = {"synthetic rows": nearest.synthetic, "hold-out rows": nearest.holdout}
    rows = [(name, significant(s.distance), significant(s.ratio)) for name, s in sides.items() if s is not None]
    header = ("", "distance to the nearest training row", "over that to the second nearest")
    words = "Medians; distances are means over the columns. "
    if nearest.near_share is not None:
        words += (
            f"{percent_text(nearest.near_share)} of the synthetic rows are nearer to a training row than all but 5 % of the "
            "hold-out rows are. "
        )
    return Table(header, rows, f"{words}An alarm where they are small, and no proof where they are not.")


def _guarantee(report: SynthesisReport) -> Parts:
    if report.guarantee is None:
        return []
    epsilon, delta = report.guarantee
    return [
        Text(
            f"The model was trained with differential privacy: epsilon {significant(epsilon)} at delta {delta:g} bound what its "
            "network tells of any one row, whatever the attack. Ranges and categories of the columns, and the figures of this "
            "report, are not covered."
        )
    ]
