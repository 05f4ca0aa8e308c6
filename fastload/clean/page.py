"""The quality report as one self-contained page."""

from __future__ import annotations

from fastload.clean.check import (
    COLUMN_HEADER,
    DRIFT_HEADER,
    QualityReport,
    column_rows,
    column_sets,
    counted,
    drift_rows,
    oddities,
)
from fastload.report.figures import Bar, Series, bar_chart, histogram, line_chart
from fastload.report.html import Figure, Note, Section, Table, Text, Tile, Tiles, page
from fastload.report.numbers import number_text, percent_text, seconds_text, significant

MAX_HISTOGRAMS, MAX_BARS, MAX_DRIFT_PLOTS = 12, 20, 4


def quality_page(report: QualityReport) -> str:
    """QualityReport -> HTML.

    >>> from fastload.clean.check import check_quality
    >>> "duplicate rows" in quality_page(check_quality({"a": [1, 2, 2]}))
    True
    """
    sections = [
        Section("In short", _short(report)),
        Section("Columns", _columns(report)),
        Section("What is missing, what lies out", _gaps(report)),
    ]
    if report.label is not None:
        sections.append(Section(f"The label, {report.label.name}", _label(report)))
    if report.against is not None:
        sections.append(Section(f"Against {report.against.name}", _against(report)))
    plots = _histograms(report)
    if plots:
        sections.append(Section("Distributions", plots))
    return page(
        f"Quality of {report.name}",
        f"{report.num_rows:,} rows, {len(report.columns)} columns, looked at in {seconds_text(report.seconds)}.",
        [section for section in sections if section.parts],
        footer="Made by: fastload check.",
    )


def _short(report: QualityReport) -> list[Tiles | Note]:
    tiles = [Tile(_share(report.num_missing, report.num_cells), "cells missing", f"{report.num_missing:,} cells")]
    if report.duplicates is not None:
        tiles += [
            Tile(
                _share(report.duplicates, report.num_rows),
                "duplicate rows",
                f"{report.duplicates:,} equal an earlier one",
            ),
            Tile(
                _share(report.near_duplicates, report.num_rows),
                "near duplicates",
                f"{report.near_duplicates:,} more once rounded",
            ),
        ]
    useless = len(report.constant_columns) + len(report.duplicate_columns)
    tiles.append(Tile(str(useless), "columns that tell nothing", "constant, or repeat another one"))
    label, against = report.label, report.against
    if label is not None and label.judged:
        tiles.append(Tile(_share(label.suspects, label.judged), "labels suspect", f"of {label.judged:,} judged"))
    if against is not None:
        tiles.append(
            Tile(_share(against.leaked, against.num_rows), "rows leaked", f"{against.leaked:,} are in both tables")
        )
        drifted = sum(d.has_drifted for d in against.drifts)
        tiles.append(Tile(str(drifted), "columns have drifted", f"of {len(against.drifts)} compared"))
    return [Tiles(tiles), *(Note(f"{note[0].upper()}{note[1:]}.") for note in report.notes)]


def _share(count: int, total: int) -> str:
    return percent_text(count / total) if count else "0"


def _columns(report: QualityReport) -> list[Table]:
    odd = [(c.name, finding) for c in report.columns for finding in oddities(c, report.is_text)]
    parts = [Table(COLUMN_HEADER[:-1], [row[:-1] for row in column_rows(report)], align="ll" + "r" * 5)]
    return parts + ([Table(("column", "what is odd"), odd, align="ll")] if odd else [])


def _gaps(report: QualityReport) -> list[Figure | Text]:
    parts: list[Figure | Text] = []
    missing = sorted((c for c in report.columns if c.num_missing), key=lambda c: -c.num_missing)
    if missing:
        parts.append(
            Figure(
                bar_chart(
                    [Bar(c.name, c.num_missing / report.num_rows) for c in missing[:MAX_BARS]],
                    title="Missing, share of a column's cells",
                    description=_first(missing),
                    value_text=percent_text,
                )
            )
        )
    outlying = sorted((c for c in report.columns if c.outliers.get("iqr")), key=lambda c: -c.outliers["iqr"])
    if outlying:
        parts.append(
            Figure(
                bar_chart(
                    [Bar(c.name, c.outliers["iqr"] / report.num_rows) for c in outlying[:MAX_BARS]],
                    title="Outliers, share of a column's cells",
                    description=f"Beyond 1.5 interquartile ranges from the quartiles. {_first(outlying)}".strip(),
                    value_text=percent_text,
                ),
                "A column with many has a long tail rather than outliers.",
            )
        )
    return parts or [Text("Nothing is missing, and nothing lies out.")]


def _first(columns: list) -> str:
    return f"The first {MAX_BARS} of {len(columns)} columns." if len(columns) > MAX_BARS else ""


def _label(report: QualityReport) -> list[Figure | Text]:
    label, parts = report.label, []
    if label.classes:
        total = sum(label.classes.values())
        shown = list(label.classes.items())[:MAX_BARS]
        rest = f", the {MAX_BARS} largest of {len(label.classes)}" if len(shown) < len(label.classes) else ""
        parts.append(
            Figure(
                bar_chart(
                    [Bar(str(value), rows) for value, rows in shown],
                    title=f"Rows of each class{rest}",
                    value_text=lambda rows: f"{number_text(rows)} ({percent_text(rows / total)})",
                )
            )
        )
    if label.imbalance is not None:
        parts.append(Text(f"{significant(label.imbalance)} rows of the most frequent class for one of the rarest."))
    if label.judged:
        at = f", such as rows {', '.join(map(str, label.examples))}" if label.suspects and label.examples else ""
        parts.append(
            Text(
                f"{counted(label.suspects, label.judged)} of {label.judged:,} rows have a label that most of their nearest "
                f"neighbours do not share{at}. Where classes overlap, right labels are among them."
            )
        )
    return parts + ([Text(f"The label {label.note}.")] if label.note else [])


def _against(report: QualityReport) -> list[Figure | Text | Table]:
    against = report.against
    at = f", such as {', '.join(map(str, against.examples))}" if against.examples else ""
    parts: list[Figure | Text | Table] = [
        Text(
            f"{counted(against.leaked, against.num_rows)} of its {against.num_rows:,} rows are in this table, too{at}."
        )
    ]
    parts += [Text(f"{what.capitalize()}: {', '.join(names)}.") for what, names in column_sets(against)]
    if against.drifts:
        parts.append(
            Table(
                DRIFT_HEADER,
                drift_rows(against),
                "PSI: population stability index. Distance: largest difference of the distribution functions "
                "(Kolmogorov-Smirnov), of categories the total variation. p: of the test that both are the same.",
                "ll" + "r" * 4 + "l",
            )
        )
    drifted = sorted((d for d in against.drifts if d.has_drifted and d.shapes), key=lambda d: -d.psi)
    for drift in drifted[:MAX_DRIFT_PLOTS]:
        x, here, there = drift.shapes
        parts.append(
            Figure(
                line_chart(
                    [Series("here", x, here), Series("there", x, there)],
                    title=f"{drift.name}: here and there",
                    x_label=drift.name,
                    y_label="share of the rows",
                    y_from_zero=True,
                    height=160,
                )
            )
        )
    return parts


def _histograms(report: QualityReport) -> list[Figure | Text]:
    columns = [c for c in report.columns if c.histogram is not None]
    parts: list[Figure | Text] = [
        Figure(histogram(*c.histogram, title=c.name, x_label="", height=120)) for c in columns[:MAX_HISTOGRAMS]
    ]
    if len(columns) > MAX_HISTOGRAMS:
        parts.append(Text(f"The first {MAX_HISTOGRAMS} of {len(columns)} columns of numbers."))
    return parts
