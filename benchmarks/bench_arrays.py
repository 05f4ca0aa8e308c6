"""How fast are transforms of arrays: normalising and medians beside scikit-learn, rotating images beside kornia and torch?

The array is 2,000,000 x 64 float32 with 1 % NaN (a tenth of it with --quick); the images are 4,096 of 32 x 32 x 3. Results are
compared with each other in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks import process
from benchmarks.harness import Claim, Options, Runs, at_least, finish, low_median_high, note, run_rounds, shown_spread

ROWS, COLUMNS = 2_000_000, 64
IMAGES, BATCH = 4096, 256


def run(options: Options) -> int:
    rows = options.num_rows or (ROWS // 10 if options.quick else ROWS)
    arms = {}
    for name, (_function, needs) in ARMS.items():
        if needs and find_spec(needs) is None:
            note(f"skipped {name}: no module {needs}; to get it: pip install {INSTALL[needs]}")
            continue
        arms[name] = partial(
            process.in_own_process, timed, name=name, rows=rows, repeats=0 if name == "sklearn: medians" else 3
        )
    runs = run_rounds(arms, options.repeats)
    summary = [{"arm": arm, **low_median_high(runs.values(arm, "seconds"), "seconds")} for arm in arms]
    screen = [{"what": row["arm"], "seconds": shown_spread(row, "seconds", digits=4)} for row in summary]
    return finish("arrays", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    def times_faster(ours: str, theirs: str) -> float | None:
        return runs.ratio(theirs, ours, "seconds")

    peers = [times_faster("ours: rotate", f"{peer}: rotate") for peer in ("kornia", "torch")]
    best = min((p for p in peers if p is not None), default=None)
    return [
        at_least("Normalize fit + transform / StandardScaler", times_faster("ours: z-score", "sklearn: z-score"), 20),
        at_least("Normalize transform / a copy", times_faster("ours: transform", "numpy: copy"), 0.6),
        at_least(
            "medians and quartiles / SimpleImputer(median)", times_faster("ours: medians", "sklearn: medians"), 30
        ),
        at_least("flip + shift + rotate + normalise / best of kornia, torch", best, 1.6),
    ]


def table(rows: int) -> np.ndarray:
    random = np.random.default_rng(5)
    values = random.standard_normal((rows, COLUMNS), dtype=np.float32)
    values *= np.linspace(1, 50, COLUMNS, dtype=np.float32)
    values.reshape(-1)[random.integers(0, values.size, values.size // 100)] = np.nan
    return values


def images() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (IMAGES, 32, 32, 3), np.uint8)


def timed(*, name: str, rows: int, repeats: int) -> dict[str, Any]:
    """Seconds of the best of a few repeats, after one that warms up; what came is compared with what should."""
    function, _ = ARMS[name]
    data = images() if "rotate" in name else table(rows)
    call, check = function(data)
    taken_s = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        result = call()
        taken_s.append(time.perf_counter() - started)
    return {"seconds": min(taken_s[1:] or taken_s), "problems": list(check(result))}


Prepared = tuple[Callable[[], Any], Callable[[Any], list[str]]]


def _compare(expected: np.ndarray, tolerance: float) -> Callable[[Any], list[str]]:
    def check(found: Any) -> list[str]:
        close = np.allclose(np.asarray(found, np.float64), expected, atol=tolerance, equal_nan=True)
        return [] if close else ["values differ from those of float64 arithmetic"]

    return check


def _scaled(x: np.ndarray) -> Callable[[Any], list[str]]:
    some = x[:: max(1, len(x) // 1000)].astype(np.float64)
    expected = (some - np.nanmean(x, 0, dtype=np.float64)) / np.nanstd(x, 0, dtype=np.float64)
    return lambda found: _compare(expected, 1e-4)(found[:: max(1, len(x) // 1000)])


def ours_scale(x: np.ndarray) -> Prepared:
    import fastload as fl

    return lambda: fl.Normalize().fit(x).transform(x), _scaled(x)


def ours_transform(x: np.ndarray) -> Prepared:
    import fastload as fl

    return partial(fl.Normalize().fit(x).transform, x), _scaled(x)


def sklearn_scale(x: np.ndarray) -> Prepared:
    from sklearn.preprocessing import StandardScaler

    return lambda: StandardScaler().fit(x).transform(x), _scaled(x)


def copy(x: np.ndarray) -> Prepared:
    return x.copy, lambda found: []


def ours_medians(x: np.ndarray) -> Prepared:
    from fastload.transform.quantiles import quantiles

    expected = np.nanquantile(x[:, :2].astype(np.float64), (0.25, 0.5, 0.75), axis=0)
    return lambda: quantiles(x, (0.25, 0.5, 0.75)), lambda found: _compare(expected, 0.0)(found[:, :2])


def sklearn_medians(x: np.ndarray) -> Prepared:
    from sklearn.impute import SimpleImputer

    expected = np.nanmedian(x[:, :2].astype(np.float64), axis=0)
    return lambda: SimpleImputer(strategy="median").fit(x).statistics_, lambda found: _compare(expected, 1e-6)(
        found[:2]
    )


DEGREES, SHIFT, MEAN, STD = 15.0, 4, 120.0, 60.0


def ours_rotate(x: np.ndarray) -> Prepared:
    import fastload as fl

    steps = [fl.RandomRotate(DEGREES), fl.RandomTranslate(SHIFT), fl.RandomFlip(), fl.Normalize(mean=MEAN, std=STD)]
    pipeline = fl.Compose(steps)

    def all_batches() -> list[np.ndarray]:
        return [pipeline.transform(x[i : i + BATCH], epoch=i) for i in range(0, IMAGES, BATCH)]

    return all_batches, _looks_right


def torch_rotate(x: np.ndarray) -> Prepared:
    import torch
    import torch.nn.functional as functional

    def batch(images: np.ndarray) -> torch.Tensor:
        n = len(images)
        angle = (torch.rand(n) * 2 - 1) * (DEGREES * torch.pi / 180)
        sign = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
        shift = torch.randint(-SHIFT, SHIFT + 1, (n, 2)) / 16
        theta = torch.empty(n, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1], theta[:, 0, 2] = sign * angle.cos(), -angle.sin(), shift[:, 0]
        theta[:, 1, 0], theta[:, 1, 1], theta[:, 1, 2] = sign * angle.sin(), angle.cos(), shift[:, 1]
        floats = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        grid = functional.affine_grid(theta, list(floats.shape), align_corners=False)
        return functional.grid_sample(floats, grid, align_corners=False).sub_(MEAN).mul_(1 / STD)

    return lambda: [batch(x[i : i + BATCH]) for i in range(0, IMAGES, BATCH)], _looks_right


def kornia_rotate(x: np.ndarray) -> Prepared:
    import kornia.augmentation as augmentation
    import torch

    share = SHIFT / 32
    steps = augmentation.AugmentationSequential(
        augmentation.RandomHorizontalFlip(0.5),
        augmentation.RandomAffine(DEGREES, translate=(share, share), p=1.0),
        augmentation.Normalize(mean=torch.tensor([MEAN] * 3), std=torch.tensor([STD] * 3)),
    )

    def batch(images: np.ndarray) -> torch.Tensor:
        return steps(torch.from_numpy(images).permute(0, 3, 1, 2).float())

    return lambda: [batch(x[i : i + BATCH]) for i in range(0, IMAGES, BATCH)], _looks_right


def _looks_right(batches: list[Any]) -> list[str]:
    """Shape, and the level of the pixels: some of it black, come in from outside. Values are compared in the tests."""
    found = np.concatenate([np.asarray(batch) for batch in batches])
    if found.shape != (IMAGES, 3, 32, 32):
        return [f"a shape of {found.shape}"]
    level = float(found.mean()) * STD + MEAN
    return [] if 95 < level < 127 else [f"a mean level of {level:.1f}"]


ARMS: dict[str, tuple[Callable[[np.ndarray], Prepared], str]] = {
    "ours: z-score": (ours_scale, ""),
    "sklearn: z-score": (sklearn_scale, "sklearn"),
    "ours: transform": (ours_transform, ""),
    "numpy: copy": (copy, ""),
    "ours: medians": (ours_medians, ""),
    "sklearn: medians": (sklearn_medians, "sklearn"),
    "ours: rotate": (ours_rotate, ""),
    "torch: rotate": (torch_rotate, ""),
    "kornia: rotate": (kornia_rotate, "kornia"),
}
INSTALL = {"sklearn": "scikit-learn", "kornia": "kornia"}
