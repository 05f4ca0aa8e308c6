"""A comparison as rows of a table, as plain values, and as one self-contained page."""

from __future__ import annotations

from typing import Any

from fastload.bench.measure import Comparison, Measured
from fastload.report.figures import Bar, bar_chart
from fastload.report.html import Figure, Note, Section, Table, Tile, Tiles, page
from fastload.report.machine import machine_text
from fastload.report.numbers import bytes_text, number_text, ratio_text, seconds_text

HEADER = ("loader", "rows/s", "range", "MB/s", "first batch", "ratio", "checked")


def comparison_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """One row of text per loader, under HEADER."""
    ours = comparison.loaders[0]
    return [
        (
            m.loader,
            number_text(m.rows_per_s),
            f"{number_text(min(rates := [e.rows_per_s for e in m.epochs]))} to {number_text(max(rates))}",
            f"{m.rows_per_s * comparison.row_bytes / 1e6:,.0f}",
            seconds_text(m.first_batch_s),
            "" if m is ours else ratio_text(ours.rows_per_s / m.rows_per_s),
            _check_text(m),
        )
        for m in comparison.loaders
    ]


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Plain values, for a script. ratio : fastload's median rate over this loader's."""
    ours = comparison.loaders[0]
    return {
        **{name: value for name, value in comparison._asdict().items() if name != "loaders"},
        "machine": machine_text(),
        "loaders": [
            {
                "loader": m.loader,
                "rows_per_s": m.rows_per_s,
                "rows_per_s_of_epochs": [epoch.rows_per_s for epoch in m.epochs],
                "first_batch_s": m.first_batch_s,
                "ratio": ours.rows_per_s / m.rows_per_s,
                "complete_epochs": sum(epoch.complete for epoch in m.epochs),
                "sums_agree": m.agrees,
            }
            for m in comparison.loaders
        ],
    }


def comparison_page(comparison: Comparison) -> str:
    """Comparison -> HTML."""
    ours = comparison.loaders[0]
    best = max(comparison.loaders[1:], key=lambda measured: measured.rows_per_s)
    bars = []
    for m in comparison.loaders:
        rates = [epoch.rows_per_s for epoch in m.epochs]
        bars.append(Bar(m.loader, m.rows_per_s, min(rates), max(rates), strong=m is ours))
    chart = bar_chart(
        bars,
        title="Rows per second",
        description=f"Median of {comparison.num_epochs} epochs; whiskers from the slowest to the fastest.",
        value_text=lambda value: f"{number_text(value)} rows/s",
    )
    tiles = [
        Tile(number_text(ours.rows_per_s), "rows per second", ours.loader),
        *(Tile(ratio_text(ours.rows_per_s / m.rows_per_s), "the speed of", m.loader) for m in comparison.loaders[1:]),
    ]
    return page(
        "How fast this data set loads",
        f"{comparison.path}: {comparison.num_rows:,} rows of {bytes_text(comparison.row_bytes)}, shuffled, "
        f"in batches of {comparison.batch_size:,}. The strongest form of torch's DataLoader here: "
        f"{best.loader}.",
        [
            Section("Result", [Tiles(tiles), Figure(chart), Table(HEADER, comparison_rows(comparison), strong=0)]),
            Section("How this was measured", [Note(text) for text in method_texts(comparison)]),
        ],
        footer="Made by: fastload bench.",
    )


def method_texts(comparison: Comparison) -> list[str]:
    """What one must know to judge the figures, a paragraph each."""
    mix = "" if comparison.mix is None else f", mix {comparison.mix:.2f} (1 is a full shuffle)"
    return [
        "torch reads the same rows, decoded, from memory-mapped arrays; fastload reads its own files. "
        "Every loader is consumed by one thread that sums each batch. The loaders take turns, epoch by "
        "epoch; fastload's first epoch, which decodes the blocks, is among its epochs. Worker processes "
        "are kept from epoch to epoch.",
        f"An epoch is ended after {comparison.max_epoch_s:g} s; a rate is then that of the part after the "
        "first batch. “checked” says that complete epochs held each field's right sum and the right number "
        "of rows.",
        f"fastload's order: {comparison.order}{mix}. {machine_text()}.",
    ]


def _check_text(measured: Measured) -> str:
    return {True: "yes", False: "WRONG", None: "no full epoch"}[measured.agrees]
