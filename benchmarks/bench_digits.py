"""Does a network learn as well from images that fastload augments as from the same augmentation in torch?

scikit-learn's 1,797 digits (8 x 8, 16 levels), a fifth of them held back; shifted by up to a pixel, turned by up to 10 degrees
(bilinear), normalised. The same small network, seeds, batches and steps; five seeds a side.
"""

from __future__ import annotations

from functools import partial
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import process
from benchmarks.harness import Claim, Options, Runs, at_most, finish, low_median_high, run_rounds, shown_spread

SEEDS = 5
EPOCHS, BATCH = 15, 64
DEGREES, SHIFT = 10.0, 1
PIPELINES = ("fastload", "torch", "fastload, not augmented")


def run(options: Options) -> int:
    seeds = 2 if options.quick else SEEDS
    arms = {
        f"{name}, seed {seed}": partial(process.in_own_process, trained, pipeline=name, seed=seed)
        for seed in range(seeds)
        for name in PIPELINES
    }
    runs = run_rounds(arms, 1)
    summary = []
    for name in PIPELINES:
        found = [record["accuracy"] for record in runs.seeds(name)]
        summary.append({"pipeline": name, "seeds": len(found), **low_median_high(found, "accuracy"), "mean": mean(found),
                        "std": stdev(found)})  # fmt: skip
    screen = [
        {"pipeline": row["pipeline"], "accuracy": shown_spread(row, "accuracy", digits=4), "mean": f"{row['mean']:.4f}",
         "std over seeds": f"{row['std']:.4f}"}
        for row in summary
    ]  # fmt: skip
    return finish("digits", options, runs, summary, screen, claims(runs))


def claims(runs: Runs) -> list[Claim]:
    ours, theirs = ([record["accuracy"] for record in runs.seeds(name)] for name in PIPELINES[:2])
    spread = max(ours + theirs) - min(ours + theirs)
    return [at_most("difference of the means / spread over the seeds", abs(mean(ours) - mean(theirs)) / spread, 0.5)]


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 [rows, 8, 8, 1] and labels, to train on and held back."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) * 15).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(labels))
    kept = len(order) // 5
    return images[order[kept:]], labels[order[kept:]], images[order[:kept]], labels[order[:kept]]


class Augmented(Dataset):
    """The same in torch, a batch at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, center: float, spread: float) -> None:
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        self.labels, self.center, self.spread = torch.from_numpy(labels), center, spread

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        n = len(rows)
        angle = (torch.rand(n) * 2 - 1) * (DEGREES * torch.pi / 180)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = angle.cos()
        theta[:, 1, 0], theta[:, 0, 1] = angle.sin(), -angle.sin()
        theta[:, :, 2] = torch.randint(-SHIFT, SHIFT + 1, (n, 2)) / 4  # of half a side
        grid = functional.affine_grid(theta, [n, 1, 8, 8], align_corners=False)
        moved = functional.grid_sample(self.images[rows], grid, align_corners=False)
        return (moved - self.center) / self.spread, self.labels[rows]


def as_it_is(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return batch


def trained(*, pipeline: str, seed: int) -> dict[str, Any]:
    """Accuracy on the images held back after training with `seed`."""
    import fastload as fl

    images, labels, test_images, test_labels = digits()
    scale = fl.Normalize().fit(images)
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    if pipeline == "torch":
        center, spread = scale.center_.item(), scale.scale_.item()
        loader = DataLoader(Augmented(images, labels, center, spread), BATCH, shuffle=True, collate_fn=as_it_is)
    else:
        steps = [fl.RandomRotate(DEGREES), fl.RandomTranslate(SHIFT)] if pipeline == "fastload" else []
        loader = fl.DataLoader((images, labels), BATCH, shuffle=True, seed=seed, transform={"0": [*steps, scale]})
    for _ in range(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    with torch.no_grad():
        found = network(torch.from_numpy(scale.transform(test_images))).argmax(dim=1).numpy()
    return {"accuracy": float((found == test_labels).mean()), "problems": []}
