"""What synthetic rows tell of the rows that they were learnt from.

The measure is an attack: of rows that were trained on and of others that were not, it says which are which, knowing the synthetic
rows and some reference rows of the same kind. What it finds has leaked; that it finds nothing proves nothing, as a stronger attack
may. Distances to the nearest training rows are an alarm only: data that pass such tests have been found to leak (Yao et al., "The
DCR delusion", ESORICS 2025). Training with differential privacy alone gives a guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from fastload.errors import ArgumentError, TooFewRowsError
from fastload.synth.aligned import Column

CANDIDATES = 5_000  # rows of a kind that are judged
NEIGHBOR_ROWS = 100_000  # among which the nearest ones are looked for
MIN_HOLDOUT = 100
FALSE_POSITIVES = 0.01
NEAR = 0.05  # share of the hold-out rows, those that lie nearest to training rows
ERRORS, CERTAIN_ERRORS = 3, 5  # standard errors that chance explains, and those that it does not
TAIL = 0.01  # share of the lowest and of the highest numbers that have no say in how far others are apart
BLOCK = 4 << 20  # distances that are held at once

Table = list[np.ndarray]  # the values of each column [rows]


# --- membership ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """How well one attack tells members from others.

    auc : 0.5 by chance, 1 for certainty. true_positives : share of the members that are found while one other row in a hundred is
    taken for one; 0.01 by chance.
    """

    name: str
    auc: float
    true_positives: float


@dataclass(frozen=True)
class Membership:
    """Attacks on so many training rows (members) and hold-out rows (others), with other hold-out rows for reference."""

    attacks: tuple[Attack, ...]
    members: int
    others: int
    references: int

    @property
    def strongest(self) -> Attack:
        return max(self.attacks, key=lambda attack: attack.auc)

    @property
    def auc(self) -> float:
        """Of the strongest attack."""
        return self.strongest.auc

    @property
    def true_positives(self) -> float:
        """At 1 % false positives, of the attack that finds most."""
        return max(attack.true_positives for attack in self.attacks)

    @property
    def guessed_auc(self) -> float:
        """What guesses hardly exceed with so many rows: three standard errors above 0.5."""
        return 0.5 + ERRORS * math.sqrt((self.members + self.others + 1) / (12 * self.members * self.others))

    @property
    def guessed_true_positives(self) -> float:
        """The same of true positives; of their square root, which is off to both sides alike."""
        error = math.sqrt(1 / self.members + 1 / self.others) / 2
        return (math.sqrt(FALSE_POSITIVES) + ERRORS * error) ** 2


def membership(columns: Sequence[Column], *, seed: int = 0) -> Membership:
    """Three attacks, each of which gives every row a score, higher for what it takes for a member.

    - nearest: how near the nearest synthetic row is.
    - density: how near it is against how near the nearest reference row is (van Breugel et al., "Membership inference attacks
      against synthetic data through overfitting detection", AISTATS 2023); where rows are crowded all are near to something.
    - copies: how many synthetic rows equal this one, against how many reference rows do.

    Half of the hold-out is for reference. At most 5,000 rows of each kind are judged, by at most 100,000 synthetic ones.

    Raises
    ------
    TooFewRowsError
        The hold-out has less than 100 rows.
    """
    random = np.random.default_rng(seed)
    holdout = random.permutation(len(columns[0].holdout))
    if len(holdout) < MIN_HOLDOUT:
        raise TooFewRowsError(
            f"a hold-out must have {MIN_HOLDOUT} rows or more to be told from training rows, got {len(holdout)}"
        )
    members = random.permutation(len(columns[0].real))[:CANDIDATES]
    others, references = holdout[: len(holdout) // 2][:CANDIDATES], holdout[len(holdout) // 2 :][:NEIGHBOR_ROWS]
    drawn = random.permutation(len(columns[0].synthetic))[:NEIGHBOR_ROWS]
    judged = [np.concatenate([c.real[members], c.holdout[others]]) for c in columns]
    synthetic, reference = [c.synthetic[drawn] for c in columns], [c.holdout[references] for c in columns]
    is_member = np.arange(len(judged[0])) < len(members)
    attacks = tuple(
        _attack(name, is_member, scores) for name, scores in _scores(columns, judged, synthetic, reference).items()
    )
    return Membership(attacks, len(members), len(others), len(references))


def _scores(columns: Sequence[Column], judged: Table, synthetic: Table, reference: Table) -> dict[str, np.ndarray]:
    space = Space(columns, reference)
    to_synthetic, to_reference = (space.nearest(judged, table, 1)[:, 0] for table in (synthetic, reference))
    small = 1e-3 * to_reference.mean() + 1e-9  # where there are copies, distances are 0
    twins = [np.log(0.5 + count_twins(judged, table)) for table in (synthetic, reference)]
    return {
        "nearest": -to_synthetic,
        "density": np.log(to_reference + small) - np.log(to_synthetic + small),
        "copies": twins[0] - twins[1],
    }


def _attack(name: str, is_member: np.ndarray, scores: np.ndarray) -> Attack:
    false, true, _ = roc_curve(is_member, scores)
    return Attack(name, float(roc_auc_score(is_member, scores)), float(np.interp(FALSE_POSITIVES, false, true)))


# --- distances to training rows ------------------------------------------------------------------


@dataclass(frozen=True)
class Nearness:
    """How near rows lie to training rows: an alarm, and never a proof that nothing leaks.

    distance : median distance to the nearest training row (see `Space`). ratio : median of that distance over the one to the second
    nearest; near 0 where rows are copies, or hardly changed ones.
    """

    distance: float
    ratio: float


@dataclass(frozen=True)
class Nearest:
    """Of synthetic rows, and of hold-out rows, which shows what is usual.

    near_share : share of the synthetic rows that are nearer to a training row than all but 5 % of the hold-out rows are; 0.05 where
    they are as near as these.
    """

    synthetic: Nearness
    holdout: Nearness | None
    near_share: float | None


def nearest_training_rows(columns: Sequence[Column], *, seed: int = 0) -> Nearest:
    """At most 5,000 rows of each kind are looked at, and the nearest of 100,000 training rows."""
    random = np.random.default_rng(seed)
    space = Space(columns, [column.real for column in columns])
    drawn = random.permutation(len(columns[0].real))[:NEIGHBOR_ROWS]
    real = [column.real[drawn] for column in columns]

    def distances(role: str) -> np.ndarray:
        some = random.permutation(len(getattr(columns[0], role)))[:CANDIDATES]
        return space.nearest([getattr(column, role)[some] for column in columns], real, min(2, len(drawn)))

    synthetic = distances("synthetic")
    if columns[0].holdout is None:
        return Nearest(_nearness(synthetic), None, None)
    holdout = distances("holdout")
    near_share = float((synthetic[:, 0] < np.quantile(holdout[:, 0], NEAR)).mean())
    return Nearest(_nearness(synthetic), _nearness(holdout), near_share)


def _nearness(distances: np.ndarray) -> Nearness:
    """distances : [rows, 2], or [rows, 1] where there is one training row."""
    first, second = distances[:, 0], distances[:, -1]
    ratios = np.divide(first, second, out=np.ones(len(first)), where=second > 0)
    return Nearness(float(np.median(first)), float(np.median(ratios)))


# --- copies --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Twins:
    """How many rows of a table, of so many, equal a training row; in case of the training rows themselves, another one."""

    count: int
    rows: int

    @property
    def share(self) -> float:
        return self.count / self.rows


@dataclass(frozen=True)
class Copies:
    """How often synthetic rows equal a training row, and other real rows: where rows repeat, some are equal by chance."""

    synthetic: Twins
    real: Twins
    holdout: Twins | None

    @property
    def usual(self) -> Twins:
        """Of the hold-out, or of training rows where there is none: both show what new rows come to by chance."""
        return self.holdout or self.real

    @property
    def excess(self) -> float:
        """Share of the synthetic rows that are copies and that chance does not explain.

        Three standard errors are allowed for, which is nothing where no other real row is a copy.
        """
        expected = self.usual.share
        error = math.sqrt(expected * (1 - expected) * (1 / self.synthetic.rows + 1 / self.usual.rows))
        return max(0.0, self.synthetic.share - expected - ERRORS * error)


def count_copies(columns: Sequence[Column]) -> Copies:
    """All rows are compared.

    Raises
    ------
    ArgumentError
        Hold-out rows equal training rows more often than chance explains: they are no rows that the model has not seen.

    Examples
    --------
    >>> from fastload.synth.aligned import align
    >>> real, synthetic = {"a": ["x", "y"], "b": [1, 2]}, {"a": ["x", "x", "y"], "b": [1, 2, 2]}
    >>> count_copies(align(real, synthetic)).synthetic
    Twins(count=2, rows=3)
    """
    real = [column.real for column in columns]

    def twins(role: str) -> Twins:
        table = [getattr(column, role) for column in columns]
        return Twins(int((count_twins(table, real) > (role == "real")).sum()), len(table[0]))

    found = Copies(twins("synthetic"), twins("real"), None if columns[0].holdout is None else twins("holdout"))
    if found.holdout is not None:
        _check_holdout(found.holdout, found.real)
    return found


def _check_holdout(holdout: Twins, real: Twins) -> None:
    rows = holdout.rows + real.rows
    together = (holdout.count + real.count) / rows
    error = math.sqrt(together * (1 - together) * (1 / holdout.rows + 1 / real.rows))
    if holdout.share - real.share > CERTAIN_ERRORS * error:
        raise ArgumentError(
            f"a hold-out must hold rows that the model has not seen: {holdout.count:,} of its {holdout.rows:,} rows equal training "
            f"rows, of which only {real.count:,} of {real.rows:,} equal another one; give other rows"
        )


def count_twins(table: Table, among: Table) -> np.ndarray:
    """int64 [rows of `table`]: how many rows of `among` equal each, missing values being equal."""
    rows, same = len(table[0]), np.zeros(len(table[0]) + len(among[0]), np.int64)
    for values in zip(table, among):
        codes = np.unique(np.concatenate(values), return_inverse=True)[1]
        same = np.unique(same * (1 + codes.max()) + codes, return_inverse=True)[1]
    return np.bincount(same[rows:], minlength=1 + same.max())[same[:rows]]


# --- the space that rows lie in ------------------------------------------------------------------


class _Points(NamedTuple):
    """float32 [rows, columns of numbers] and [rows, columns of categories]."""

    numbers: Tensor
    codes: Tensor


class Space:
    """Distances of rows of numbers and categories: the mean over the columns.

    A category that differs counts 1. The difference of two numbers counts in such a unit that it is a third on average among the
    `known` rows, whatever the outliers; a number that is missing counts 1 beside one that is not.

    Examples
    --------
    >>> from fastload.synth.aligned import align
    >>> columns = align({"a": [1.0, 2.0, 4.0], "b": ["x", "y", "y"]}, {"a": [4.0], "b": ["x"]})
    >>> space = Space(columns, [column.real for column in columns])
    >>> space.nearest([c.synthetic for c in columns], [c.real for c in columns], 2).round(2).tolist()
    [[0.26, 0.5]]
    """

    def __init__(self, columns: Sequence[Column], known: Table) -> None:
        self._scales = [_scale(values) if column.is_number else None for column, values in zip(columns, known)]
        self._have_gaps = [column.is_number and column.has_gaps for column in columns]

    def nearest(self, queries: Table, among: Table, k: int) -> np.ndarray:
        """float64 [queries, k], ascending: distances to the nearest rows of `among`."""
        points, others = self._points(queries), self._points(among)
        found = []
        rows = max(1, BLOCK // len(others.codes))
        for numbers, codes in zip(*(part.split(rows) for part in points)):
            apart = torch.cdist(codes, others.codes, p=0)
            apart += torch.cdist(numbers, others.numbers, p=1)
            found.append(apart.topk(k, largest=False).values)
        return torch.cat(found).double().numpy() / len(self._scales)

    def _points(self, table: Table) -> _Points:
        numbers, codes = [], []
        for scale, has_gaps, values in zip(self._scales, self._have_gaps, table):
            if scale is None:
                codes.append(values)
            else:
                numbers.append(np.nan_to_num((values - scale.middle) / scale.width))
            if has_gaps:
                codes.append(np.isnan(values))
        return _Points(*(_tensor(columns, len(table[0])) for columns in (numbers, codes)))


def _tensor(columns: Table, rows: int) -> Tensor:
    """float32 [rows, columns]"""
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32)) if columns else torch.zeros(rows, 0)


class _Scale(NamedTuple):
    middle: float
    width: float


def _scale(values: np.ndarray) -> _Scale:
    """width : three times the mean difference of two values, which is the range of evenly distributed ones."""
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return _Scale(0.0, 1.0)
    middle = float(np.median(values))
    for some in (
        np.clip(values, *np.quantile(values, (TAIL, 1 - TAIL))),
        values,
    ):  # the latter where all but few are equal
        pairs = len(some) * (len(some) - 1) / 2
        difference = float((2 * np.arange(1, len(some) + 1) - len(some) - 1) @ (some - middle)) / max(1, pairs)
        if difference > 0:
            return _Scale(middle, 3 * difference)
    return _Scale(middle, 1.0)


# --- all of it -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Privacy:
    """membership : None without a hold-out."""

    membership: Membership | None
    nearest: Nearest
    copies: Copies


def measure_privacy(columns: Sequence[Column], *, seed: int = 0) -> Privacy:
    """All that this module measures. Without a hold-out there is no attack.

    Raises
    ------
    TooFewRowsError, ArgumentError
        The hold-out has less than 100 rows, or holds training rows.
    """
    copies = count_copies(columns)
    attacked = None if columns[0].holdout is None else membership(columns, seed=seed)
    return Privacy(attacked, nearest_training_rows(columns, seed=seed), copies)
