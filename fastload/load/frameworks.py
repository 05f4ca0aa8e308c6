"""What Accelerate and the Transformers Trainer need beyond the class itself. Plain torch, torchrun and Lightning need nothing.

Their packages are not imported before they are there.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, TypeVar

from torch.utils.data import BatchSampler, Sampler
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import Dataset as TorchDataset

from fastload.errors import ArgumentError
from fastload.load.dataloader import DataLoader

_T_co = TypeVar("_T_co", covariant=True)


# --- Accelerate -------------------------------------------------------------------------------------


def prepare(accelerator: Any, loader: TorchDataLoader[_T_co]) -> TorchDataLoader[_T_co]:
    """``accelerator.prepare`` for a loader: this process's share of the rows, on its device.

    ``accelerator.save_state`` and ``load_state`` keep its position among their own, so that a run goes on in the middle of an
    epoch, with another number of processes, too; ``skip_first_batches`` is not needed and must not be used. Gradients that
    are accumulated are applied at the end of an epoch, as with torch's loader. Rows repeated to make the processes' shares
    equal are marked, in ``batch["is_padding"]``; ``gather_for_metrics`` does not drop them.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
    loader : fastload.DataLoader
        A `rank` and a `device` that it has are kept; that is how to deal to groups of processes (tensor parallel ones, say).
        Where torch's own machinery serves, or a sampler of yours names the rows for all processes, Accelerate does it all.

    Returns
    -------
    DataLoader
        Another loader over the same data, with the same options.

    Raises
    ------
    ArgumentError
        `accelerator` splits or dispatches batches: it would have to take apart what comes finished.
    """
    if not isinstance(loader, DataLoader) or not _can_deal(loader, accelerator.num_processes):
        return accelerator.prepare(loader)
    if accelerator.split_batches or accelerator.dispatch_batches:
        raise ArgumentError(
            "split_batches and dispatch_batches take batches apart, and fastload makes those of each process by itself: "
            "leave them out, and give the batch_size of one process"
        )
    changes: dict[str, Any] = {}
    if accelerator.num_processes > 1 and not _knows_rank(loader):
        changes |= {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    if loader.device is None and accelerator.device_placement and accelerator.device.type != "cpu":
        changes["device"] = accelerator.device
    return accelerator.prepare(AcceleratedLoader(**_options_of(loader) | changes))


def _options_of(loader: DataLoader) -> dict[str, Any]:
    """What the loader was made of: every parameter is an attribute of the same name."""
    options = {name: vars(loader)[name] for name in inspect.signature(DataLoader).parameters if name in vars(loader)}
    if type(loader.batch_sampler) is BatchSampler:  # torch's own, made of sampler, batch_size and drop_last
        del options["batch_sampler"]
    else:
        options = {name: options[name] for name in options if name not in ("sampler", "batch_size", "drop_last")}
    return options


class AcceleratedLoader(DataLoader[_T_co]):
    """Tells Accelerate when the last batch of a pass is out: then gradients that were accumulated are applied."""

    end_of_dataloader = False
    remainder = (
        -1
    )  # rows to keep of the last batch that is gathered; not known, as the repeated ones are not at its end

    def __iter__(self) -> Iterator[Any]:
        from accelerate.state import GradientState

        state, batches = GradientState(), super().__iter__()
        self.end_of_dataloader = False
        state._add_dataloader(self)
        try:
            for number, batch in enumerate(batches, 1):
                self.end_of_dataloader = number == len(batches)
                yield batch
        finally:
            state._remove_dataloader(self)


def is_left_alone(loader: DataLoader) -> bool:
    """What Accelerate is told when it asks: True, and it takes the loader as it is; False, and it builds one of torch's from the
    parts. That it may where torch's machinery serves anyway, or where it has to deal what a sampler of the user's names.

    Raises
    ------
    ArgumentError
        Every process would get every row, or batches on the CPU where it trains elsewhere.
    """
    module = sys.modules.get("accelerate.state")
    if module is None or not module.is_initialized():
        return loader._serving is not None
    state = module.AcceleratorState()
    if not _can_deal(loader, state.num_processes):
        return False
    many = state.num_processes > 1 and not _knows_rank(loader)
    if many or (loader.device is None and state.device.type != "cpu"):
        found = (
            f"all {state.num_processes} processes every row" if many else f"batches on the CPU, not on {state.device}"
        )
        raise ArgumentError(
            f"as it is, this loader gives {found}; say loader = fastload.frameworks.prepare(accelerator, loader), or give it "
            "rank=accelerator.process_index, world_size=accelerator.num_processes, device=accelerator.device"
        )
    return True


def _can_deal(loader: DataLoader, num_processes: int) -> bool:
    return loader._serving is not None and (loader._serving.deals or num_processes == 1)


def _knows_rank(loader: DataLoader) -> bool:
    return loader.rank is not None or loader._dealing_sampler() is not None


# --- Trainer ----------------------------------------------------------------------------------------


def trainer_loader(trainer: Any, dataset: Any = None, **options: Any) -> StepLoader:
    """The loader for ``Trainer.get_train_dataloader``; a checkpoint is gone on from at the same batch, at no cost.

    Taken from the trainer's arguments: batch size, seed, `drop_last`, the rank, the device, and the data collator, if it is
    not the default one. Rows repeated to make the ranks' shares equal are not marked, since models take no such argument.
    A run must go on with the same batch size and number of processes, since Trainer counts steps.

    Parameters
    ----------
    trainer : transformers.Trainer
    dataset : optional
        By default ``trainer.train_dataset``. Its fields are the model's arguments: select others away.
    options
        Of ``fastload.DataLoader``, in place of those taken from the trainer.

    Raises
    ------
    ArgumentError
        Torch's own machinery would serve this data: leave ``get_train_dataloader`` as it is.
    """
    from transformers import default_data_collator

    args = trainer.args
    usual = {
        "batch_size": args.train_batch_size,
        "shuffle": "sampler" not in options,
        "seed": args.seed if args.data_seed is None else args.data_seed,
        "drop_last": args.dataloader_drop_last,
        "rank": args.process_index,
        "world_size": args.world_size,
        "ends": "wrap",
        "device": None if args.device.type == "cpu" else args.device,
        "collate_fn": None if trainer.data_collator is default_data_collator else trainer.data_collator,
    }
    return StepLoader(DataLoader(trainer.train_dataset if dataset is None else dataset, **usual | options))


class StepLoader(TorchDataLoader):
    """A loader of torch's whose data set are the batches of `loader`, by (epoch, step), each had at no cost.

    So whatever leaves out the first batches by naming the others gets these at once, for example
    ``accelerate.skip_first_batches``, which is how Trainer goes on from a checkpoint.

    Parameters
    ----------
    loader : fastload.DataLoader
        With a `seed`, if it shuffles, and no sampler of yours.

    Examples
    --------
    >>> import numpy as np, fastload as fl
    >>> loader = StepLoader(fl.DataLoader({"x": np.arange(6)}, batch_size=2))
    >>> [batch["x"].tolist() for batch in loader]
    [[0, 1], [2, 3], [4, 5]]
    >>> [loader.dataset[where]["x"].tolist() for where in ((0, 2), (7, 1))]
    [[4, 5], [2, 3]]
    """

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(_Steps(loader), batch_sampler=_StepNumbers(loader), collate_fn=itemgetter(0))

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)


class _Steps(TorchDataset):
    def __init__(self, loader: DataLoader) -> None:
        state = loader.state_dict()
        if not state or not loader._serving.deals or (loader.seed is None and loader._serving.shuffles):
            raise ArgumentError("steps can be named in an order that fastload makes, with a seed if it shuffles")
        self._loader, self._state = loader, state
        self._batches: Iterator[Any] = iter(())
        self._following: tuple[int, int] | None = None  # (epoch, step) that `_batches` gives next

    def __len__(self) -> int:
        """Rows: Trainer reports them as examples."""
        return len(self._loader.dataset)

    def __getitem__(self, where: tuple[int, int]) -> Any:
        epoch, step = where
        if where != self._following:
            self._batches = self._from(epoch, step)
        batch = next(self._batches)
        self._following = (epoch, step + 1)
        return batch

    def _from(self, epoch: int, step: int) -> Iterator[Any]:
        loader = self._loader
        position = step * loader.batch_size * (loader.world_size or 1)
        loader.load_state_dict({**self._state, "seed": loader.seed, "epoch": epoch, "position": position})
        return iter(loader)


class _StepNumbers(Sampler[list[tuple[int, int]]]):
    """A batch sampler of batches of one (epoch, step)."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter([[(self._epoch, step)] for step in range(len(self))])
