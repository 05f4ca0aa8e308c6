"""On a CUDA device: how fast are the kernels beside torch's own operations, and what does transforming on arrival save?

Without a device it says so and measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import measure, process
from benchmarks.harness import Claim, Options, Runs, at_least, finish, low_median_high, run_rounds, shown_spread

ROWS, COLUMNS = 2_000_000, 64
IMAGES = 16_384
MEAN, STD, DEGREES, SHIFT = 120.0, 60.0, 15.0, 4
TIMES = 20


def run(options: Options) -> int:
    if not torch.cuda.is_available():
        print(f"skipped: no CUDA device is there (torch {torch.__version__}); nothing was measured")
        return 0
    arms = {name: partial(process.in_own_process, timed, name=name) for name in ARMS}
    arms |= {
        f"loader, transformed {where}": partial(process.in_own_process, loaded, on_device=on_device)
        for where, on_device in (("on arrival", True), ("before", False))
    }
    runs = run_rounds(arms, options.repeats)
    summary = [{"arm": arm, **low_median_high(runs.values(arm, "seconds"), "seconds")} for arm in arms]
    screen = [{"what": row["arm"], "ms": shown_spread(row, "seconds", 1e3, 3)} for row in summary]
    return finish("gpu", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    pairs = [
        ("ours: normalize", "torch: normalize"),
        ("ours: flip, crop, normalize", "torch: normalize images"),
        ("ours: rotate", "torch: rotate"),
        ("ours: rows between rows", "torch: rows between rows"),
        ("loader, transformed on arrival", "loader, transformed before"),
    ]
    return [at_least(f"{ours} / {theirs}", runs.ratio(theirs, ours, "seconds"), 1) for ours, theirs in pairs]


def timed(*, name: str) -> dict[str, Any]:
    """Seconds of one call by the device's clock, the best of some, after a warm-up; results are compared with the CPU's."""
    call, check = ARMS[name]()
    for _ in range(3):
        result = call()
    taken_ms = []
    for _ in range(TIMES):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        call()
        ended.record()
        torch.cuda.synchronize()
        taken_ms.append(began.elapsed_time(ended))
    return {"seconds": min(taken_ms) / 1e3, "problems": check(result), "device": torch.cuda.get_device_name()}


Prepared = tuple[Callable[[], torch.Tensor], Callable[[torch.Tensor], list[str]]]


def _compared(expected: np.ndarray, tolerance: float) -> Callable[[torch.Tensor], list[str]]:
    def check(found: torch.Tensor) -> list[str]:
        close = np.allclose(found[: len(expected)].cpu().numpy(), expected, atol=tolerance, equal_nan=True)
        return [] if close else ["values differ from the CPU's"]

    return check


def _ours(transform: Any, values: torch.Tensor, tolerance: float) -> Prepared:
    stream = torch.cuda.current_stream().cuda_stream
    expected = transform.transform(values[:1000].cpu().numpy(), seed=1)
    return lambda: transform.transform(values, seed=1, stream=stream), _compared(expected, tolerance)


def _table() -> torch.Tensor:
    values = torch.randn(ROWS, COLUMNS, device="cuda")
    values[torch.rand_like(values) < 0.01] = float("nan")
    return values


def _images() -> torch.Tensor:
    return torch.randint(0, 256, (IMAGES, 32, 32, 3), dtype=torch.uint8, device="cuda")


def ours_normalize() -> Prepared:
    import fastload as fl

    steps = [fl.Impute("constant", fill_value=0.5), fl.Normalize(mean=0.5, std=2.0), fl.Clip(-3, 3)]
    return _ours(fl.Compose(steps), _table(), 1e-6)


def torch_normalize() -> Prepared:
    values = _table()

    def call() -> torch.Tensor:
        return values.nan_to_num(nan=0.5).sub_(0.5).mul_(1 / 2.0).clamp_(-3, 3)

    return call, lambda found: []


def ours_images() -> Prepared:
    import fastload as fl

    steps = [fl.RandomCrop(32, padding=4), fl.RandomFlip(), fl.Normalize(mean=MEAN, std=STD)]
    return _ours(fl.Compose(steps), _images(), 0.0)


def torch_images() -> Prepared:
    images = _images()
    return lambda: images.permute(0, 3, 1, 2).float().sub_(MEAN).mul_(1 / STD), lambda found: []


def ours_rotate() -> Prepared:
    import fastload as fl

    steps = [fl.RandomRotate(DEGREES), fl.RandomTranslate(SHIFT), fl.RandomFlip(), fl.Normalize(mean=MEAN, std=STD)]
    return _ours(fl.Compose(steps), _images(), 1e-4)


def torch_rotate() -> Prepared:
    import torch.nn.functional as functional

    images = _images()

    def call() -> torch.Tensor:
        n = len(images)
        angle = (torch.rand(n, device="cuda") * 2 - 1) * (DEGREES * torch.pi / 180)
        theta = torch.zeros(n, 2, 3, device="cuda")
        theta[:, 0, 0] = theta[:, 1, 1] = angle.cos()
        theta[:, 1, 0], theta[:, 0, 1] = angle.sin(), -angle.sin()
        floats = images.permute(0, 3, 1, 2).float()
        grid = functional.affine_grid(theta, list(floats.shape), align_corners=False)
        return functional.grid_sample(floats, grid, align_corners=False).sub_(MEAN).mul_(1 / STD)

    return call, lambda found: []


def _between() -> tuple[torch.Tensor, ...]:
    """Rows of a rare class, and pairs of them with a way between: what SMOTE makes 1,000,000 rows of."""
    rows = torch.randn(20_000, COLUMNS, device="cuda")
    return rows, *torch.randint(0, len(rows), (2, ROWS // 2), device="cuda"), torch.rand(ROWS // 2, device="cuda")


def ours_between() -> Prepared:
    from fastload.kernels import cuda_kernels, reference

    arrays = _between()
    rows, *some = arrays[0].cpu().numpy(), *(array[:1000].cpu().numpy() for array in arrays[1:])
    stream = torch.cuda.current_stream().cuda_stream
    call = partial(cuda_kernels().interpolate, *arrays, stream=stream)
    return call, _compared(reference.interpolate(rows, *some), 1e-5)


def torch_between() -> Prepared:
    rows, bases, neighbors, parts = _between()
    return lambda: rows[bases].lerp_(rows[neighbors], parts[:, None]), lambda found: []


def loaded(*, on_device: bool) -> dict[str, Any]:
    """Seconds of an epoch of images that end on the device, normalised there or before."""
    import time

    import fastload as fl

    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 64, 64, 3), np.uint8)
    pipeline = [fl.RandomCrop(64, padding=4), fl.RandomFlip(), fl.Normalize(mean=MEAN, std=STD)]
    options = {"batch_size": 256, "shuffle": True, "seed": 1, "transform": {"x": pipeline}}
    loader = fl.DataLoader({"x": images}, device="cuda" if on_device else None, **options)
    measure.settle_memory()
    taken_s = []
    for _ in range(4):
        started, rows = time.perf_counter(), 0
        for batch in loader:
            x = batch["x"] if on_device else batch["x"].cuda()
            rows += len(x)
            x.sum()
        torch.cuda.synchronize()
        taken_s.append(time.perf_counter() - started)
    return {"seconds": min(taken_s[1:]), "problems": [] if rows == IMAGES else ["rows are missing"]}


ARMS = {
    "ours: normalize": ours_normalize,
    "torch: normalize": torch_normalize,
    "ours: flip, crop, normalize": ours_images,
    "torch: normalize images": torch_images,
    "ours: rotate": ours_rotate,
    "torch: rotate": torch_rotate,
    "ours: rows between rows": ours_between,
    "torch: rows between rows": torch_between,
}
