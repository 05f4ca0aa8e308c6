"""The report and its gate: what is told, what fails, and what is not judged because it was not measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from made_tables import weather

from fastload.errors import ArgumentError
from fastload.report.html import Figure
from fastload.report.images import image_grid
from fastload.synth.page import synthesis_page
from fastload.synth.quality import MEASURES, NO_PROOF, Limits, check_synthetic, failures, verdicts

ROWS = 700
LOOSE = Limits(validity=0.95)  # a perfect generator, too, may go beyond the range of so few rows


@pytest.fixture(scope="module")
def fresh():
    return check_synthetic(
        weather(ROWS, 0), weather(ROWS, 1), holdout=weather(ROWS, 2), test=weather(900, 3), target="wet"
    )


@pytest.fixture(scope="module")
def copied():
    return check_synthetic(weather(ROWS, 0), weather(ROWS, 0), holdout=weather(ROWS, 2), target="wet")


@pytest.fixture(scope="module")
def alone():
    """Without a hold-out and a target."""
    return check_synthetic(weather(ROWS, 0), weather(ROWS, 1))


def shuffled(table: dict) -> dict:
    random = np.random.default_rng(0)
    return {name: [values[i] for i in random.permutation(len(values))] for name, values in table.items()}


def test_fresh_rows_pass_and_copies_do_not(fresh, copied):
    assert failures(fresh, LOOSE) == []
    assert fresh.usefulness > 0.8
    assert fresh.use.test_rows == 900
    assert copied.use.test_rows == ROWS  # the hold-out
    found = failures(copied)
    assert len(found) == 3
    assert re.fullmatch(r"membership AUC must be at most 0\.5\d+, found 1", found[0])
    assert "the share of copies beyond chance must be at most 0, found 1" in found


def test_columns_drawn_independently_do_not_pass():
    real = weather(ROWS, 0)
    report = check_synthetic(real, shuffled(real), test=weather(ROWS, 3), target="wet")
    assert report.column_shapes == pytest.approx(1)
    assert [text.partition(" must")[0] for text in failures(report, Limits(pair_trends=0.9))] == [
        "usefulness",
        "pair trends",
    ]
    floor = replace(report, independent_trends=0.95)
    assert "pair trends must be at least 0.95" in failures(floor)[1]


def test_what_was_not_measured_is_not_judged_and_is_told(alone):
    assert {verdict.what for verdict in verdicts(alone)} == {
        "pair trends",
        "validity",
        "the share of copies beyond chance",
    }
    text = str(alone)
    assert re.search(r"membership AUC +not measured", text)
    assert "note: usefulness was not measured" in text
    assert "note: membership was not measured" in text
    page = synthesis_page(alone)
    assert "not measured" in page
    assert "Of the 700 training rows 0 equal another one" in page


def test_a_small_hold_out_is_told_and_luck_is_no_failure(fresh):
    assert "note: the hold-out is small" in str(fresh)
    luck = {verdict.what: verdict.limit for verdict in verdicts(fresh)}
    assert luck["membership AUC"] == max(0.55, fresh.privacy.membership.guessed_auc) > 0.55
    assert luck["true positives of membership at 1 % false positives"] > 0.03


def test_limits():
    assert Limits.parse([]) == Limits()
    given = Limits.parse(["detection_auc = 0.8", "validity=none", "excess_copies=1%"])
    assert (given.detection_auc, given.validity, given.excess_copies, given.pair_trends) == (0.8, None, 0.01, 0.7)
    for wrong, words in (
        ("trends=1", "one of usefulness, "),
        ("validity", "looks like"),
        ("validity=nan", "looks like"),
        ("validity=.", "looks like"),
    ):
        with pytest.raises(ArgumentError, match=words):
            Limits.parse([wrong])


def test_every_measure_can_be_limited(fresh):
    assert set(vars(Limits())) == set(MEASURES)
    impossible = Limits(
        **{name: -1.0 if name in ("correlation_error", "detection_auc", "excess_copies") else 1.5 for name in MEASURES}
    )
    assert len(failures(fresh, impossible)) == len(MEASURES) - 2  # membership may be up to 1.5
    close = replace(fresh, independent_trends=0.0)
    limit = close.pair_trends * (1 + 1e-9)
    found, needed = re.findall(r"[\d.]+\d", failures(close, replace(LOOSE, pair_trends=limit))[0])
    assert found != needed


def test_json_is_plain(fresh, alone):
    plain = json.loads(json.dumps(fresh.to_json(), allow_nan=False))
    assert plain["pair_trends"] == fresh.pair_trends
    assert plain["privacy"]["membership"]["attacks"][0]["name"] == "nearest"
    assert plain["shapes"][0]["name"] == "heat"
    assert plain["use"]["synthetic"]["score"] == fresh.use.synthetic.score
    assert json.loads(json.dumps(alone.to_json(), allow_nan=False))["membership_auc"] is None


def test_text_begins_with_use_and_pairs(fresh):
    lines = str(fresh).splitlines()
    assert lines[0] == "700 synthetic rows beside 700 real ones, 7 columns"
    assert lines[2].startswith("AUC of wet ")
    assert "of a real category" in str(fresh)
    assert max(map(len, lines)) < 132


def test_the_same_seed_gives_the_same_report(alone):
    again = check_synthetic(weather(ROWS, 0), weather(ROWS, 1))
    assert replace(again, seconds=0) == replace(alone, seconds=0)


class Balance(HTMLParser):
    """Fails where tags do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page(fresh, copied):
    page = synthesis_page(fresh, limits=LOOSE)
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert not re.search(r"(src|href)\s*=|<script", page)
    for words in (
        "AUC of wet",
        "pair trends",
        "All limits are kept.",
        "How far the columns are off",
        NO_PROOF,
        "an alarm",
    ):
        assert words in page
    failed = synthesis_page(copied)
    assert "not all limits are kept" in failed
    assert failed.count("not kept") == 3


def test_page_with_samples_and_a_guarantee(fresh):
    svg = image_grid(np.zeros((4, 8, 8), np.uint8), title="Drawn")
    page = synthesis_page(replace(fresh, guarantee=(2.0, 1e-5)), samples=[Figure(svg, "Digits.")])
    assert page.count("data:image/png") == 1
    assert "epsilon 2 at delta 1e-05" in page
    assert "at delta 1e-05: bounds what the network tells" in str(replace(fresh, guarantee=(2.0, 1e-5)))


def test_page_of_a_table_with_little_in_it():
    hostile = "<b>&"
    table = {hostile: ["<x>"] * 20, "n": [None] * 20}
    page = synthesis_page(check_synthetic(table, table))
    assert hostile not in page
    numbers = {"n": np.arange(40.0)}
    assert "Distributions" not in synthesis_page(check_synthetic(numbers, numbers, holdout=None, target=None))
    regression = check_synthetic(weather(ROWS, 0), weather(ROWS, 1), test=weather(ROWS, 2), target="humid")
    assert "R2 of humid" in synthesis_page(regression)
    assert "average precision" not in str(regression)


def test_a_target_needs_rows_to_test_on():
    with pytest.raises(ArgumentError, match="give test or holdout"):
        check_synthetic(weather(50, 0), weather(50, 1), target="wet")
