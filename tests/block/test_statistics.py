"""Statistics of very many rows: records merged over blocks, shards and appended data, against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import fsum, isqrt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import fastload as fl
from fastload.block.statistics import RECORD, merge_records

BLOCK = 4096


def record_of_progression(first: Fraction, step: Fraction, count: int) -> tuple[Fraction, Fraction]:
    """Mean and sum of squared deviations of first, first + step, ...: exact."""
    mean = first + step * (count - 1) / 2
    return mean, step * step * count * (count * count - 1) / 12


def sqrt_of(value: Fraction) -> float:
    scale = 10**40
    return isqrt(value.numerator * scale * scale // value.denominator) / scale


@settings(max_examples=30, deadline=None)
@given(offset=st.integers(-(10**9), 10**9), step=st.integers(1, 1000), blocks=st.integers(2, 300))
def test_a_billion_rows_in_records(offset, step, blocks):
    """Blocks of a progression that together hold 10^9 rows: mean and deviation to 1e-12, far from zero as well."""
    rows = 10**9 // blocks
    records = np.zeros((blocks, 1), RECORD)
    step = Fraction(step, 10**9)
    for b in range(blocks):
        mean, m2 = record_of_progression(offset + step * rows * b, step, rows)
        records[b, 0] = (rows, 0, 0, 0, 0, 0, float(mean), float(m2))
    merged = merge_records(records, "f")
    mean, m2 = record_of_progression(Fraction(offset), step, rows * blocks)
    assert abs(Fraction(float(merged.mean[0])) - mean) <= abs(mean) * Fraction(1, 10**13) + Fraction(1, 10**13)
    std = sqrt_of(m2 / (rows * blocks))
    # a mean rounded to double shifts each block by up to half an ulp of the offset
    allowed = 1e-12 * std + abs(offset) * 2.0**-52 * 2
    assert abs(float(merged.std[0]) - std) <= allowed


def test_over_blocks_shards_and_appended_data(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(1e6, 1e-2, 300_000)
    values[rng.random(len(values)) < 0.01] = np.nan
    parts = np.split(values, [100_000, 123_456])
    fl.write(tmp_path / "d.fl", {"x": parts[0]}, block_bytes=BLOCK, shard_bytes=100_000)
    for part in parts[1:]:
        with fl.Writer(tmp_path / "d.fl", [fl.Field("x", "float64")], append=True) as writer:
            writer.append({"x": part})
    data = fl.open(tmp_path / "d.fl")
    assert data.num_shards > 3
    found, finite = data.statistics["x"], values[~np.isnan(values)]
    mean = fsum(finite) / len(finite)
    std = (fsum((v - mean) ** 2 for v in finite.tolist()) / len(finite)) ** 0.5
    assert (found.count, found.nans) == (len(finite), len(values) - len(finite))
    assert abs(found.mean - mean) <= 1e-15 * mean * 10
    assert abs(found.std - std) <= 1e-9 * std
    assert (found.min, found.max) == (finite.min(), finite.max())
