"""A page that shows how a training goes: losses, scores, and pictures of what the model makes so far."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastload.errors import FileIOError
from fastload.ingest.export import published
from fastload.plan.row_plan import checked_count
from fastload.report.figures import Series, line_chart
from fastload.report.html import Figure, Section, page
from fastload.report.images import image_grid
from fastload.report.numbers import significant
from fastload.synth.fields import array_of
from fastload.synth.ranks import rank_and_world
from fastload.synth.training import Trainer

MAX_POINTS = 200  # of a line; each is the mean of as many steps
MAX_LINES = 5  # of a chart
MAX_GRIDS = 8  # of samples: of more, every second one is dropped


class TrainingPage:
    """A callback for `Trainer.fit` that keeps an HTML page of losses and scores, and of samples at some steps.

    It is whole at any time: open it, and reload it while training goes on. Of several ranks the first one samples and writes.
    Samples are not in checkpoints: where a training goes on in another process, they begin anew.

    Parameters
    ----------
    path : path-like
    every : int
        Steps between two writes. It is also written after the last step, unless a time limit or Ctrl-C ends the training.
    sample : callable (trainer) -> images [n, ...], optional
        Of 1 or 3 channels, last or first (in this order, where both could be), or of none: uint8, or floats from 0 to 1.
    per_row : int
        Images side by side.

    Raises
    ------
    ArgumentError
    FileIOError, DiskFullError
        Its folder is not there; or, in training, which ends then, it cannot be written: the last page is left.

    Examples
    --------
    >>> import tempfile
    >>> from fastload.synth.images import ImageGAN
    >>> path = tempfile.mkdtemp() + "/training.html"
    >>> watch = TrainingPage(path, every=2, sample=lambda gan: gan.sample(10))
    >>> images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    >>> gan = ImageGAN("dense", batch_size=20, max_steps=4).fit(images, callback=watch)
    >>> text = Path(path).read_text()
    >>> 'aria-label="Losses"' in text, text.count("data:image/png")
    (True, 2)
    """

    def __init__(
        self, path: str | os.PathLike[str], *, every: int = 500, sample: Callable[[Any], Any] | None = None, per_row: int = 10
    ) -> None:  # fmt: skip
        self.path, self.every = Path(path), checked_count("every", every)
        self.sample, self.per_row = sample, checked_count("per_row", per_row)
        if not self.path.absolute().parent.is_dir():
            raise FileIOError(f"'{path}' must lie in a folder that is there: make it first")
        self._grids: dict[int, Figure] = {}  # by step

    def __call__(self, trainer: Trainer, step: int) -> None:
        if step % self.every and step != trainer.max_steps and not trainer._is_no_better():
            return
        trainer._read_losses()  # those that a device still has; all ranks take part
        if rank_and_world()[0]:
            return
        if self.sample is not None:
            self._grids = {at: grid for at, grid in self._grids.items() if at < step}  # none of another training
            self._grids[step] = self._grid(trainer, step)
            if len(self._grids) > MAX_GRIDS:
                self._grids = dict(list(self._grids.items())[::2])  # the first and the last one stay
        with published(self.path) as file:
            file.write(self._page(trainer, step).encode())

    def _page(self, trainer: Trainer, step: int) -> str:
        history = trainer.history
        names = list(dict.fromkeys(name for row in history for name in row if name not in ("step", "score")))
        charts = [_chart(history, names[i : i + MAX_LINES], "Losses") for i in range(0, len(names), MAX_LINES)]
        if any("score" in row for row in history):
            charts.append(_chart(history, ["score"], "Score, lower being better"))
        found = ", ".join(f"{name} {significant(value)}" for name, value in history[-1].items() if name != "step")
        sections = [Section("Losses and scores", charts), Section("Samples", list(self._grids.values())[::-1])]
        return page(
            f"Training: {type(trainer).__name__}",
            f"Step {step:,} of at most {trainer.max_steps:,}: {found}.",
            [section for section in sections if section.parts],
            footer="Made by: fastload.synth.TrainingPage.",
        )

    def _grid(self, trainer: Trainer, step: int) -> Figure:
        images = array_of(self.sample(trainer))
        if images.ndim == 4 and images.shape[3] not in (1, 3):  # channels first
            images = np.moveaxis(images, 1, 3)
        if images.ndim == 4 and images.shape[3] == 1:
            images = images[..., 0]
        return Figure(image_grid(images, title=f"Step {step:,}", per_row=self.per_row))


def _chart(history: list[dict[str, float]], names: list[str], title: str) -> Figure:
    series = []
    for name in names:
        points = [(row["step"], row[name]) for row in history if name in row]
        parts = np.array_split(np.array(points, np.float64), min(len(points), MAX_POINTS))
        series.append(Series(name, [part[-1, 0] for part in parts], [part[:, 1].mean() for part in parts]))
    return Figure(line_chart(series, title=title, x_label="step"))
