"""The loop that every model here is trained by."""

from __future__ import annotations

import inspect
import math
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from fastload.errors import ArgumentError, DivergedError, NotFittedError, StateError
from fastload.ingest.progress import show_progress
from fastload.plan.random import checked_word
from fastload.plan.row_plan import checked_count
from fastload.synth.batches import Batch, Batches, loader_of
from fastload.synth.ranks import agree, average, rank_and_world, take_from_first
from fastload.synth.saved import is_plain, load, save
from fastload.synth.seeded import seeded

PRECISIONS = ("float32", "bfloat16")
# from part to part of a training
MAY_CHANGE = {"max_steps", "timeout_s", "score_every", "patience", "device", "compile"}
WARM_UP = 100  # steps over which a rate that falls rises first
LAST_RATE = 0.02  # of the learning rate, at the end of one that falls
READ_EVERY = 50  # steps after which losses are read from a device that would be waited for
_T = TypeVar("_T", bound="Trainer")


class Trainer(ABC):
    """What all models that are trained have in common: the loop, checkpoints, averaged weights, early stop.

    A subclass makes its networks in `_build` and trains them by one batch in `_step`; the rest has a meaning without it.

    Parameters
    ----------
    batch_size : int
        Rows of a step, on each rank.
    max_steps : int
    learning_rate : float
    seed : int
        What is drawn, rows and noise, is a function of it and of the step. Torch's own generators stay as they are.
    device : str
        "cpu", "cuda", "cuda:1" ...
    precision : "float32" or "bfloat16"
        "bfloat16" computes where it can in 16 bits (``torch.autocast``); weights keep 32.
    compile : bool
        Networks are compiled by ``torch.compile``, which takes a minute or more before the first step: for long training.
    ema : float
        Decay of the averaged weights, which are those that are used after training; 0 takes the last ones. It begins low and
        reaches its value after about ``10 / (1 - ema)`` steps.
    score_every : int
        Steps between two scores, where there is a score. In the end the weights are those of the best one.
    patience : int, optional
        Training ends after so many scores in a row that were no better.
    timeout_s : float, optional
        A call of `fit` ends at the first step after so many seconds.

    Attributes
    ----------
    step : int
        Steps done.
    history : list of dict
        For each step "step", its losses by name, and "score" where one was taken.
    schema : {name: [dtype, shape of a row]}
        Of the batches.

    Examples
    --------
    >>> class Line(Trainer):
    ...     def _build(self, schema):
    ...         self.line = nn.Linear(schema["x"][1][0], 1)
    ...         self.adam = self._adam(self.line)
    ...     def _modules(self):
    ...         return {"line": self.line}
    ...     def _optimizers(self):
    ...         return {"adam": self.adam}
    ...     def _step(self, batch):
    ...         loss = (self.line(batch["x"])[:, 0] - batch["y"]).square().mean()
    ...         self._descend(loss, self.adam)
    ...         return {"loss": loss}
    >>> x = np.linspace(0, 1, 100, dtype=np.float32)
    >>> line = Line(batch_size=10, max_steps=500, learning_rate=0.05, ema=0.9).fit((x[:, None], 2 * x + 1))
    >>> line._fitted("line")(torch.tensor([[0.5]])).round().item(), line.history[-1]["step"]
    (2.0, 500)
    """

    _names: tuple[str, ...] = ("x", "y")  # of arrays that are given without names

    def __init__(
        self, *, batch_size: int = 500, max_steps: int = 2000, learning_rate: float = 1e-3, seed: int = 0, device: str = "cpu",
        precision: str = "float32", compile: bool = False, ema: float = 0.999, score_every: int = 200,
        patience: int | None = None, timeout_s: float | None = None,
    ) -> None:  # fmt: skip
        if not learning_rate > 0:
            raise ArgumentError(f"learning_rate must be positive, got {learning_rate!r}")
        if precision not in PRECISIONS:
            raise ArgumentError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
        if not 0 <= ema < 1:
            raise ArgumentError(f"ema must be at least 0 and less than 1, got {ema!r}")
        if timeout_s is not None and not timeout_s > 0:
            raise ArgumentError(f"timeout_s must be positive, got {timeout_s!r}")
        self.batch_size = checked_count("batch_size", batch_size)
        self.max_steps = checked_count("max_steps", max_steps)
        self.score_every = checked_count("score_every", score_every)
        self.patience = None if patience is None else checked_count("patience", patience)
        self.learning_rate, self.seed, self.device = float(learning_rate), checked_word("seed", seed), str(device)
        self.precision, self.compile, self.ema, self.timeout_s = precision, bool(compile), float(ema), timeout_s
        self.step, self.history, self.schema = 0, [], None
        self._averages: dict[str, nn.Module] = {}
        self._best: dict[str, Any] | None = None
        self._unread: list[dict[str, Tensor]] = []  # losses of the last steps, which `history` does not have yet

    # --- what a subclass says -------------------------------------------------------------------------

    @abstractmethod
    def _build(self, schema: dict[str, list]) -> None:
        """Makes networks and optimisers for batches like these. What is drawn from torch's global generator is seeded."""

    @abstractmethod
    def _modules(self) -> dict[str, nn.Module]:
        """The networks, by name."""

    @abstractmethod
    def _optimizers(self) -> dict[str, Optimizer]:
        """The optimisers, by name."""

    @abstractmethod
    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """Trains by one batch, with `_descend`, and returns its losses, tensors []. What is drawn from torch's global generator
        is seeded. The networks are in training mode."""

    def _score(self) -> float | None:
        """How bad the model is, by data that it is not trained on; None if that is not known."""
        return None

    def _schema(self, batch: Batch) -> dict[str, list]:
        """What networks are made for, of the first batch; errors if they cannot be."""
        return {name: [str(x.dtype).removeprefix("torch."), list(x.shape[1:])] for name, x in batch.items()}

    def _averaged(self) -> Iterable[str]:
        """The networks that are used after training, of which weights are averaged."""
        return self._modules()

    def _compiled(self) -> Iterable[str]:
        """The networks that torch can compile: those whose gradients are differentiated again are not."""
        return self._modules()

    def _config(self) -> dict[str, Any]:
        """Plain values and arrays from which `_configure` makes the same model, without weights. A checkpoint of another
        configuration is refused."""
        return {"arguments": self._arguments(), "schema": self.schema}

    def _configure(self, config: Mapping[str, Any]) -> None:
        self.schema = config["schema"]

    def _descend(self, loss: Tensor, optimizer: Optimizer, *, max_norm: float | None = None) -> None:
        """One step of an optimiser, by gradients that are averaged over the ranks, and no longer than `max_norm`."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        with torch.autocast(self._device.type, enabled=False):
            optimizer.zero_grad()
            loss.backward(inputs=parameters)
            average([parameter.grad for parameter in parameters if parameter.grad is not None])
            if max_norm is not None:
                nn.utils.clip_grad_norm_(parameters, max_norm)
            optimizer.step()

    def _adam(self, *modules: nn.Module, **options: Any) -> Adam:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        return Adam(parameters, **{"lr": self.learning_rate, "fused": True} | options)

    def _set_rate(self, optimizer: Optimizer) -> None:
        """For this step, of a training in which the learning rate rises at first, and then falls evenly until `max_steps`."""
        falling = 1 - (1 - LAST_RATE) * self.step / self.max_steps
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * falling * min(1, (self.step + 1) / WARM_UP)

    # --- training -------------------------------------------------------------------------------------

    def fit(
        self: _T, data: Any, *, checkpoint: str | os.PathLike[str] | None = None, resume: bool = True, checkpoint_every: int = 200,
        score: Callable[[_T], float] | None = None, progress: Any = False, callback: Callable[[_T, int], None] | None = None,
    ) -> _T:  # fmt: skip
        """Trains anew, or goes on where a checkpoint was written.

        Parameters
        ----------
        data : array, tensor, tuple or dict of such, path, Dataset, or loader
            Rows, which are shuffled by `seed`; or a ``fastload.DataLoader``, ``fastload.IterableDataset`` or another iterable
            of batches, which is used as it is, pass after pass. Give it a seed if training is to be repeatable.
        checkpoint : path-like, optional
            A file that holds all that training needs to go on as if it had not ended, whenever that was: weights, state of the
            optimisers, place in the data, history.
        resume : bool
            Go on from `checkpoint` if there is one; else begin anew and overwrite it.
        checkpoint_every : int
            Steps after which it is written, and to which divergence goes back. It is also written in the end, and on Ctrl-C.
        score : callable (trainer) -> float, optional
            In place of the model's own score; lower is better.
        progress : bool, None or callable
            As for ``fastload.convert``.
        callback : callable (trainer, step), optional
            Called after each step; to look at samples, say.

        Raises
        ------
        TooFewRowsError
            The data do not fill a batch.
        StateError
            The checkpoint is of other data, or of another model; the message says what differs.
        DivergedError
            A loss is not finite. The weights are then those of the last checkpoint.
        """
        checked_count("checkpoint_every", checkpoint_every)
        rank, world_size = rank_and_world()
        loader = loader_of(data, self._names, self.batch_size, self.seed, rank, world_size)
        batches = Batches(loader, self._names, self._device)
        self._begin(batches, checkpoint if resume else None)
        until_s = math.inf if self.timeout_s is None else time.monotonic() + self.timeout_s
        rows = self.max_steps * self.batch_size * world_size
        with show_progress(type(self).__name__, progress, total_rows=rows) as bar:
            try:
                while self.step < self.max_steps and not self._is_no_better() and not _is_over(until_s):
                    batch = next(batches)
                    with uninterrupted():
                        self._advance(batch)
                        self._position = batches.state()
                        if self.step % self.score_every == 0:
                            self._take_score(score)
                    if self.step % checkpoint_every == 0:
                        self._keep(checkpoint)
                    if callback is not None:
                        callback(self, self.step)
                    bar.at(self.step * self.batch_size * world_size, 0, label=self._label())
                self._keep(checkpoint)
            except KeyboardInterrupt:
                self._keep(checkpoint)
                raise
            except DivergedError as error:
                self._restore(self._good)
                raise DivergedError(f"{error}; {self._went_back(checkpoint)}") from None
        if self._best is not None:
            self._set_weights(self._best["weights"])
        return self

    def _begin(self, batches: Batches, checkpoint: str | os.PathLike[str] | None) -> None:
        saved = None
        if checkpoint is not None and agree(Path(checkpoint).exists()):
            saved = self._saved(checkpoint)
            batches.load_state(saved["batches"])
        self.step, self.history, self.schema, self._best = 0, [], self._schema(batches.peek()), None
        self._unread.clear()
        if saved is not None:
            _check_same(self._config(), saved["config"], checkpoint)
        self._construct()
        if saved is not None:
            self._restore(saved)
        self._position = batches.state()
        self._good = deepcopy(self._state())

    def _construct(self) -> None:
        with seeded(self.seed, "build"):
            self._build(self.schema)
        modules = self._modules()
        for module in modules.values():
            module.to(self._device).train()
        take_from_first(modules.values())
        self._averages = {name: deepcopy(modules[name]).eval().requires_grad_(False) for name in self._averaged()}
        if self.compile:
            for module in map(modules.get, self._compiled()):
                module.forward = torch.compile(module.forward)  # Module.compile() passes torch's own containers over

    def _advance(self, batch: Batch) -> None:
        rank, world_size = rank_and_world()
        use_bfloat16 = self.precision == "bfloat16"
        with (
            seeded(self.seed, "step", self.step * world_size + rank, device=self._device),
            torch.autocast(self._device.type, torch.bfloat16, enabled=use_bfloat16),
        ):
            self._unread.append(self._step(batch))
        self.step += 1
        take_from_first(self._modules().values(), buffers_only=True)
        self._average_weights()
        if self._device.type == "cpu" or len(self._unread) == READ_EVERY:
            self._read_losses()

    @torch.no_grad()
    def _average_weights(self) -> None:
        weight = 1 - min(self.ema, (1 + self.step) / (10 + self.step)) if self.ema else 1.0
        modules = self._modules()
        for name, mean in self._averages.items():
            for averaged, value in zip(_tensors(mean), _tensors(modules[name])):
                if averaged.is_floating_point():
                    averaged.lerp_(value, weight)
                else:
                    averaged.copy_(value)

    def _read_losses(self) -> None:
        """Moves what is unread to `history`."""
        if not self._unread:
            return
        values = torch.stack([loss.detach().float() for row in self._unread for loss in row.values()])
        average([values])
        numbers = iter(values.tolist())
        first = self.step - len(self._unread) + 1
        rows = [{"step": step, **{name: next(numbers) for name in row}} for step, row in enumerate(self._unread, first)]
        self._unread.clear()
        self.history += rows
        for row in rows:
            for name, value in row.items():
                if not math.isfinite(value):
                    raise DivergedError(f"losses must be finite, and {name!r} is {value} at step {row['step']}")

    def _take_score(self, score: Callable[[Any], float] | None) -> None:
        self._read_losses()
        with seeded(self.seed, "score", self.step, device=self._device):
            value = agree(self._score() if score is None else float(score(self)))
        for module in self._modules().values():
            module.train()
        if value is None:
            return
        if not math.isfinite(value):
            raise DivergedError(f"scores must be finite, and that of step {self.step} is {value}")
        self.history[-1]["score"] = value
        if self._best is None or value < self._best["score"]:
            self._best = {"score": value, "step": self.step, "weights": deepcopy(self._weights())}

    def _is_no_better(self) -> bool:
        if self.patience is None or self._best is None:
            return False
        return self.step - self._best["step"] >= self.patience * self.score_every

    def _label(self) -> str:
        losses = self.history[-1] if self.history else {}
        return " ".join([type(self).__name__, *(f"{k} {v:.3g}" for k, v in losses.items() if k != "step")])

    @property
    def _device(self) -> torch.device:
        return torch.device(self.device)

    def _fitted(self, name: str) -> nn.Module:
        """The network with averaged weights, in evaluation mode."""
        if name not in self._averages:
            raise NotFittedError(f"this {type(self).__name__} must be trained before it is used: call fit, or load one")
        return self._averages[name]

    # --- states ---------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model and all that training needs to go on to one file.

        Raises
        ------
        NotFittedError, FileIOError, DiskFullError
        """
        if not self._averages:
            raise NotFittedError(f"this {type(self).__name__} must be trained before it is saved: call fit")
        save(path, self._state())

    @classmethod
    def load(cls: type[_T], path: str | os.PathLike[str], **arguments: Any) -> _T:
        """The model of a file that `save` or `fit` has written.

        Parameters
        ----------
        path : path-like
        arguments
            Of the constructor: what no file can hold, as networks or functions of your own, and what is to be another one,
            as `device`.

        Raises
        ------
        FormatError
            The file is damaged.
        StateError
            It holds another kind of model.
        """
        saved = cls._saved(path)
        trainer = cls(**saved["config"]["arguments"] | arguments)
        trainer._configure(saved["config"])
        trainer._construct()
        trainer._restore(saved)
        if trainer._best is not None:  # a checkpoint has the last weights beside them, to go on from
            trainer._set_weights(trainer._best["weights"])
        return trainer

    @classmethod
    def _saved(cls, path: str | os.PathLike[str]) -> dict[str, Any]:
        saved = load(path)
        kind = saved.get("kind") if isinstance(saved, dict) else None
        if kind != cls.__name__:
            raise StateError(
                f"'{path}' must hold a {cls.__name__}, and holds {'a ' + kind if kind else 'something else'}"
            )
        return saved

    def _state(self) -> dict[str, Any]:
        names = dict.fromkeys(name for row in self.history for name in row)
        return {
            "kind": type(self).__name__,
            "config": self._config(),
            "step": self.step,
            "weights": self._weights(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers().items()},
            "batches": self._position,
            "history": {name: np.array([row.get(name, math.nan) for row in self.history]) for name in names},
            "best": self._best,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        state = deepcopy(state)  # optimisers keep what they are given
        self.step, self._position, self._best = state["step"], state["batches"], state["best"]
        self._set_weights(state["weights"])
        for name, optimizer in self._optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        columns = [column.tolist() for column in state["history"].values()]
        rows = (dict(zip(state["history"], row)) for row in zip(*columns))
        self.history = [{k: v for k, v in row.items() if v == v} | {"step": int(row["step"])} for row in rows]
        self._unread.clear()

    def _weights(self) -> dict[str, Any]:
        return {
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
            "averages": {name: module.state_dict() for name, module in self._averages.items()},
        }

    def _set_weights(self, weights: Mapping[str, Any]) -> None:
        for modules, states in ((self._modules(), weights["modules"]), (self._averages, weights["averages"])):
            for name, module in modules.items():
                module.load_state_dict(states[name])

    def _keep(self, checkpoint: str | os.PathLike[str] | None) -> None:
        """The state as it is becomes the one to go back to."""
        self._read_losses()
        for name, module in self._modules().items():
            if not all(bool(parameter.isfinite().all()) for parameter in module.parameters()):
                raise DivergedError(f"weights must be finite, and those of the {name} are not at step {self.step}")
        self._good = deepcopy(self._state())
        if checkpoint is not None and rank_and_world()[0] == 0:
            save(checkpoint, self._good)

    def _went_back(self, checkpoint: str | os.PathLike[str] | None) -> str:
        where = f", which '{checkpoint}' holds" if checkpoint is not None and self.step else ""
        return (
            f"training has diverged. The weights are again those of step {self.step}{where}; a smaller learning_rate, which is "
            f"{self.learning_rate:g}, may help"
        )

    def _arguments(self) -> dict[str, Any]:
        """What the constructors were given, as far as a file can hold it."""
        kinds = [kind for kind in type(self).__mro__ if issubclass(kind, Trainer) and "__init__" in vars(kind)]
        given = [p for kind in reversed(kinds) for p in inspect.signature(kind.__init__).parameters.values()]
        names = [p.name for p in given if p.kind is not p.VAR_KEYWORD and p.name != "self"]
        return {name: getattr(self, name) for name in names if is_plain(getattr(self, name))}


def _check_same(here: Mapping[str, Any], saved: Mapping[str, Any], path: Any) -> None:
    differing = list(_differences(here, saved, ""))
    if differing:
        raise StateError(
            f"'{path}' is of another training, and differs in {'; '.join(differing)}. Train by what it was begun with, or give "
            "another file, or resume=False to begin anew"
        )


def _differences(here: Any, saved: Any, where: str) -> Iterator[str]:
    if isinstance(here, Mapping) and isinstance(saved, Mapping):
        for key in dict.fromkeys([*here, *saved]):
            if key not in MAY_CHANGE:
                yield from _differences(here.get(key), saved.get(key), f"{where}.{key}" if where else str(key))
    elif isinstance(here, np.ndarray) or isinstance(saved, np.ndarray):
        if not np.array_equal(here, saved):
            yield where
    elif here != saved:
        yield f"{where}: {saved!r} there, {here!r} here"


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _is_over(until_s: float) -> bool:
    return until_s < math.inf and agree(time.monotonic() >= until_s)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, so that there is no half of a step."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield  # no signal comes here, or it is not Python that handles it
        return
    came = []
    before = signal.signal(signal.SIGINT, lambda *signal_and_frame: came.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])
