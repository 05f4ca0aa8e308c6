"""Run arms in turn, round after round, and turn the runs into medians, spreads, ratios, a CSV and a table.

An arm is one thing that is timed: a name and a call that does one run in a process of its own. All arms are
run once, then all again from another start, and so on: when the machine drifts, it drifts for everybody, and
a ratio is taken between runs of the same round.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from benchmarks import process

Arms = dict[str, Callable[[], dict]]
Claim = tuple[str, bool | None]  # what is claimed, and whether it held; None: not measured


@dataclass(frozen=True)
class Options:
    """What the command line says. `num_rows` None: the workload's full size."""

    data: Path
    out: Path
    peers: str = ""
    repeats: int = 5
    epochs: int = 3
    limit_s: float = 20.0
    num_rows: int | None = None
    quick: bool = False
    fresh: bool = False
    memory: bool = True


@dataclass
class Runs:
    """All runs of one question: dicts with ``arm``, ``round`` and what the run returned; and the failures."""

    records: list[dict] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def values(self, arm: str, key: str) -> list[float]:
        """What `arm` gave for `key`, one a round, without the rounds that gave nothing."""
        return [r[key] for r in self.records if r["arm"] == arm and r.get(key) is not None]

    def median(self, arm: str, key: str) -> float | None:
        found = self.values(arm, key)
        return median(found) if found else None

    def seeds(self, name: str) -> list[dict]:
        """The runs of the arms ``<name>, seed <number>``."""
        return [record for record in self.records if record["arm"].startswith(f"{name}, seed ")]

    def ratio(self, arm: str, baseline: str, key: str) -> float | None:
        """Median of arm / baseline, each ratio taken within a round; None where no round has both."""
        by_round = {(r["arm"], r["round"]): r.get(key) for r in self.records}
        rounds = {r["round"] for r in self.records}
        pairs = [(by_round.get((arm, n)), by_round.get((baseline, n))) for n in rounds]
        ratios = [a / b for a, b in pairs if a is not None and b]
        return median(ratios) if ratios else None


def run_rounds(arms: Arms, repeats: int) -> Runs:
    """`repeats` rounds over all arms, each starting one arm further; an arm that fails is then left out."""
    runs = Runs()
    names = list(arms)
    for number in range(repeats):
        shift = number % max(len(names), 1)
        for name in names[shift:] + names[:shift]:
            if name in runs.failures:
                continue
            note(f"round {number + 1}/{repeats}  {name}")
            try:
                runs.records.append({"arm": name, "round": number, **arms[name]()})
            except process.RunFailed as error:
                runs.failures[name] = str(error)
                note(f"FAILED {name}: {error}")
    note("")
    return runs


def note(text: str) -> None:
    """A line of progress on stderr; on a terminal the next one overwrites it, unless something failed."""
    terminal = sys.stderr.isatty()
    lasting = text.startswith(("FAILED", "skipped"))
    sys.stderr.write(("\r\x1b[K" if terminal else "") + text + ("\n" if text and (lasting or not terminal) else ""))
    sys.stderr.flush()


def low_median_high(values: Sequence[float], name: str) -> dict[str, float | None]:
    """Three columns for a CSV: ``name``, ``name_min`` and ``name_max``; the first is the median.

    >>> low_median_high([1.0, 2.0, 4.0], "rate")
    {'rate': 2.0, 'rate_min': 1.0, 'rate_max': 4.0}
    """
    if not values:
        return {name: None, f"{name}_min": None, f"{name}_max": None}
    return {name: median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def shown(value: float | None, digits: int = 2) -> str:
    """A number for the screen, nothing for None.

    >>> shown(1234.567, 1)
    '1,234.6'
    """
    return "" if value is None else f"{value:,.{digits}f}"


def shown_spread(row: dict[str, Any], name: str, scale: float = 1.0, digits: int = 2) -> str:
    """``median (min..max)`` of the columns of `low_median_high`, times `scale`.

    >>> shown_spread(low_median_high([1.0, 2.0, 4.0], "rate"), "rate")
    '2.00 (1.00..4.00)'
    """
    if row[name] is None:
        return ""
    middle, low, high = (f"{row[key] * scale:.{digits}f}" for key in (name, f"{name}_min", f"{name}_max"))
    return middle if low == high else f"{middle} ({low}..{high})"


def precision_by_seed(runs: Runs, names: Sequence[str], heading: str, column: str) -> tuple[list[dict], list[dict]]:
    """Summary and screen for `finish`, of arms ``<name>, seed <number>`` that gave ``average_precision`` and ``auc``.

    heading, column : what names are called on the screen, and in the CSV
    """
    summary = []
    for name in names:
        found = runs.seeds(name)
        precisions, areas = ([record[key] for record in found] for key in ("average_precision", "auc"))
        spread = low_median_high(precisions, "average_precision")
        means = {"mean": mean(precisions), "std": stdev(precisions), "auc_mean": mean(areas), "auc_std": stdev(areas)}
        summary.append({column: name, "seeds": len(found), **spread, **means})
    screen = [
        {
            heading: row[column],
            "average precision": shown_spread(row, "average_precision", digits=4),
            "mean": f"{row['mean']:.4f}",
            "std over seeds": f"{row['std']:.4f}",
            "AUC": f"{row['auc_mean']:.4f} ({row['auc_std']:.4f})",
        }
        for row in summary
    ]
    return summary, screen


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as CSV; the columns are all keys, in the order they turn up. A list becomes ``a; b``."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: "; ".join(map(str, v)) if isinstance(v, list) else _rounded(v) for key, v in row.items()}
            )


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of one shape as a Markdown table, numbers to the right.

    >>> print(table([{"loader": "a", "rate": 1.5}]))
    | loader | rate |
    |---|---:|
    | a      |  1.5 |
    """
    if not rows:
        return "(nothing was run)"
    columns = list(rows[0])
    cells = [["" if row[c] is None else str(row[c]) for c in columns] for row in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(columns)]
    right = [i > 0 for i in range(len(columns))]

    def line(values: Sequence[str]) -> str:
        padded = [v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("---:" if r else "---" for r in right) + "|"
    return "\n".join([line(columns), rule, *map(line, cells)])


def finish(
    name: str,
    options: Options,
    runs: Runs,
    summary: list[dict],
    screen: list[dict],
    claims: Sequence[Claim] = (),
) -> int:
    """Write what came of a question, and print its table, its failures and its claims.

    Files: ``<name>.csv``, ``<name>-runs.csv`` and ``<name>-machine.json``.

    summary : rows of plain numbers for the CSV. screen : what of them is printed, as text.
    Returns the exit code: 1 if a run failed or delivered something wrong, else 0. A claim (text, held) that
    did not hold is printed, and does not change the code: how fast a machine is, is no error.
    """
    write_csv(options.out / f"{name}-runs.csv", runs.records)
    write_csv(options.out / f"{name}.csv", summary)
    (options.out / f"{name}-machine.json").write_text(json.dumps(process.machine(), indent=1) + "\n")
    print(table(screen))
    wrong = {r["arm"]: r["problems"] for r in runs.records if r.get("problems")}
    for arm, problems in wrong.items():
        print(f"WRONG   {arm}: {'; '.join(problems[:3])}")
    for arm, reason in runs.failures.items():
        print(f"FAILED  {arm}: {reason.splitlines()[-1]}")
    for text, held in claims:
        print(f"{'unknown' if held is None else 'yes' if held else 'NO':8}{text}")
    print(f"written: {options.out / name}.csv, {name}-runs.csv, {name}-machine.json")
    return 1 if wrong or runs.failures else 0


def at_least(what: str, value: float | None, bar: float) -> Claim:
    """A claim for `finish`: `value` reaches `bar`."""
    return (
        f"{what}: {'not measured' if value is None else f'{value:.2f}'} (at least {bar:g})",
        None if value is None else value >= bar,
    )


def at_most(what: str, value: float | None, bar: float) -> Claim:
    """A claim for `finish`: `value` stays within `bar`."""
    return (
        f"{what}: {'not measured' if value is None else f'{value:.2f}'} (at most {bar:g})",
        None if value is None else value <= bar,
    )
