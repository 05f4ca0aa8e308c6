"""A plan proposed from what a check found."""

from __future__ import annotations

from fastload.clean.check import QualityReport
from fastload.clean.columns import DropColumns
from fastload.clean.duplicates import DropDuplicates
from fastload.clean.missing import DropMissing, FillMissing, MarkMissing
from fastload.clean.noise import ImpossibleValues
from fastload.clean.outliers import Outliers
from fastload.clean.plan import Plan
from fastload.clean.profile import ColumnQuality, Looks
from fastload.clean.step import Step
from fastload.clean.types import RareCategories, RepairTypes, StripText
from fastload.errors import ArgumentError

MAX_MISSING = 0.5  # of a column that misses more there is little to learn
FAR_OUT = 3.0  # interquartile ranges; Tukey's word for values beyond
MAX_CLIPPED = 0.01  # a column with more values far out has a long tail rather than outliers
UNKNOWN = "unknown"


def propose_plan(report: QualityReport, looks: Looks | None = None) -> Plan:
    """Steps that mend what ``check_quality`` found, each with the reason as its comment; to be read, and edited, before it is used.

    Careful by intent: rows go only where they are duplicates or have no label, values only where they cannot be or lie far out;
    suspected numbers are taken for missing. The label is never filled, clipped or changed.

    Parameters
    ----------
    report : QualityReport
    looks : what the check was told to look for (texts and numbers that mean missing, rules), if it was

    Raises
    ------
    ArgumentError
        The report is of statistics alone (``check_statistics``).

    Examples
    --------
    >>> from fastload.clean import check_quality
    >>> table = {"a": [1.0, 1.0, float("nan"), 2.0], "b": ["x", "x", "y", "z"], "c": [7, 7, 7, 7]}
    >>> propose_plan(check_quality(table))
    Plan([MarkMissing(), DropDuplicates(), DropColumns(columns=['c']), FillMissing(columns=['a'])])
    """
    if report.duplicates is None:
        raise ArgumentError(
            "a plan is proposed from a check of the whole table; this report is of its statistics alone"
        )
    looks = looks or Looks()
    steps: list[tuple[Step, str]] = []
    label = None if report.label is None else report.label.name
    steps += _missing_steps(report, looks)
    steps += _text_steps(report)
    if looks.rules and any(column.impossible for column in report.columns):
        count = sum(column.impossible for column in report.columns)
        steps.append((ImpossibleValues(looks.rules), f"{count:,} values break the rules that were declared"))
    if report.duplicates:
        steps.append((DropDuplicates(), f"{report.duplicates:,} rows equal one before them"))
    gone = _useless_columns(report, label)
    if gone:
        why = "\n".join(f"{name}: {reason}" for name, reason in gone.items())
        steps.append((DropColumns(list(gone)), why))
    left = [column for column in report.columns if column.name not in gone and column.name != label]
    if label is not None and report.column(label).num_missing:
        steps.append((DropMissing(columns=[label]), f"{report.column(label).num_missing:,} rows have no label"))
    steps += _number_steps(left, report.num_rows)
    steps += _category_steps(left)
    if not steps:
        steps.append((MarkMissing(), "nothing was found to mend; later data may say that something is missing"))
    return Plan([step for step, _ in steps], [why for _, why in steps])


def _missing_steps(report: QualityReport, looks: Looks) -> list[tuple[Step, str]]:
    numbers = {c.name: list(c.suspected) for c in report.columns if c.suspected}
    declared = looks.missing_numbers
    for column in report.columns:
        given = declared.get(column.name, ()) if isinstance(declared, dict) else declared
        if column.missing.get("number"):
            numbers[column.name] = list(dict.fromkeys([*given, *numbers.get(column.name, [])]))
    marked = sum(n for c in report.columns for kind, n in c.missing.items() if kind != "null")
    infinite = sum(c.infinite for c in report.columns)
    if not (marked or numbers or infinite):
        return []
    reasons = [f"{marked:,} cells are NaN, blank, or say that they are missing"] if marked else []
    reasons += [
        f"{c.name}: {n:,} cells hold {v}, far from all others; is that a number, or a gap?"
        for c in report.columns
        for v, n in c.suspected.items()
    ]
    reasons += [f"{infinite:,} cells are infinite"] if infinite else []
    mark = MarkMissing(texts=list(looks.missing_texts), numbers=numbers or (), infinite=bool(infinite))
    return [(mark if list(looks.missing_texts) != list(MarkMissing().texts) else _usual(mark), "\n".join(reasons))]


def _usual(mark: MarkMissing) -> MarkMissing:
    return MarkMissing(numbers=mark.numbers, infinite=mark.infinite)


def _text_steps(report: QualityReport) -> list[tuple[Step, str]]:
    steps: list[tuple[Step, str]] = []
    repaired = [c for c in report.columns if c.read_as]
    if repaired:
        misfits = sum(c.misfits for c in repaired)
        lost = f"\n{misfits:,} cells do not fit and become missing" if misfits else ""
        kinds = {c.read_as: [d.name for d in repaired if d.read_as == c.read_as] for c in repaired}
        why = "\n".join(f"text that reads as {kind}: {', '.join(names)}" for kind, names in kinds.items())
        steps.append((RepairTypes(), why + lost))
    untidy = [c for c in report.columns if c.untidy and not c.read_as]
    if untidy:
        why = f"{sum(c.untidy for c in untidy):,} texts have outer or doubled white space"
        steps.append((StripText(columns=[c.name for c in untidy]), why))
    return steps


def _useless_columns(report: QualityReport, label: str | None) -> dict[str, str]:
    gone = {}
    for column in report.columns:
        share = column.num_missing / report.num_rows
        if column.name == label:
            continue
        if column.is_constant:
            gone[column.name] = "the same in all rows"
        elif column.twin is not None:
            gone[column.name] = f"repeats {column.twin}"
        elif share > MAX_MISSING:
            gone[column.name] = f"{share:.0%} of it is missing"
    return gone


def _number_steps(columns: list[ColumnQuality], num_rows: int) -> list[tuple[Step, str]]:
    steps: list[tuple[Step, str]] = []
    numbers = [c for c in columns if c.mean is not None]
    out = {c.name: c.outliers.get("iqr", 0) - sum(c.suspected.values()) for c in numbers}  # those are gaps by now
    clipped = [c for c in numbers if 0 < out[c.name] <= MAX_CLIPPED * num_rows]
    if clipped:
        step = Outliers("iqr", threshold=FAR_OUT, action="clip", columns=[c.name for c in clipped])
        steps.append((step, "a few values lie far out: they are moved to the fences, three interquartile ranges away"))
    gaps = [c for c in numbers if c.num_missing or c.suspected or c.infinite or c.misfits or c.impossible]
    if gaps:
        why = "what is missing becomes the median of the training data"
        steps.append((FillMissing("median", columns=[c.name for c in gaps]), why))
    return steps


def _category_steps(columns: list[ColumnQuality]) -> list[tuple[Step, str]]:
    steps: list[tuple[Step, str]] = []
    texts = [c for c in columns if c.dtype == "text" and not c.read_as]
    gaps = [c.name for c in texts if c.num_missing or c.impossible]
    if gaps:
        steps.append(
            (FillMissing("constant", columns=gaps, value=UNKNOWN), "missing text becomes a category of its own")
        )
    rare = [c for c in texts if c.values and 0 < c.rare() < len(c.values) and len(c.values) > 2]
    if rare:
        why = "\n".join(f"{c.name}: {c.rare()} of {len(c.values)} categories are below 1 %" for c in rare)
        steps.append((RareCategories(columns=[c.name for c in rare]), why))
    return steps
