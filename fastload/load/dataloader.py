"""``fastload.DataLoader``: torch's DataLoader, with native threads where the data allow it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import BatchSampler, DistributedSampler, RandomSampler, Sampler, default_collate
from torch.utils.data import DataLoader as TorchDataLoader

from fastload.block.padding import Entry, Padding, masked_fields, padding_entries
from fastload.block.threads import default_threads
from fastload.errors import ArgumentError, StateError
from fastload.load.assemble import MADE, REPEATED, SEEDS, Assembler
from fastload.load.asynchronous import AsyncBatches
from fastload.load.audit import Audit
from fastload.load.balancing import balanced, check_alone, class_balanced
from fastload.load.deal import EpochSampler, RankSampler, Share, agreed_seed, check_share, stock_order
from fastload.load.device import Computer, DeviceBatches, Mover, mover_for
from fastload.load.packing import Packing
from fastload.load.passes import Key, Pass
from fastload.load.serving import Serving, is_plan, serving_of
from fastload.load.skipping import OnError, SkippedRow, check_on_error
from fastload.load.sources import to_rows
from fastload.load.transforming import Arrival, asked_of, on_arrival
from fastload.plan.random import row_keys
from fastload.transform.recipe import recipe_of

_T_co = TypeVar("_T_co", covariant=True)

STATE_VERSION = 1


class DataLoader(TorchDataLoader[_T_co]):
    """torch's DataLoader with the same arguments; decoding, shuffling and batching run in native threads.

    ====================================================================  ==========================================
    `dataset`                                                             served by
    ====================================================================  ==========================================
    path, ``fastload.Dataset``, dict, tuple or list of arrays or tensors,  the engine
    exactly ``TensorDataset``
    the same with torch's RandomSampler, SequentialSampler or              the engine, as the equal native order
    DistributedSampler
    the same with another `sampler` or `batch_sampler`                     the engine gathers the rows it names
    the same with a `collate_fn`                                           the engine gathers; the function gets the
                                                                           list of samples, as in torch
    the same with ``fastload.WeightedSampler``, ``LengthBuckets``          the engine gathers the rows that these name
    any other Dataset or IterableDataset, or ``batch_size=None``           torch's own machinery, unchanged
    ====================================================================  ==========================================

    Batches are dicts of tensors; tuple data give lists, as torch does. Variable-length fields are padded with zeros
    to the longest row and bring ``<name>_lengths``; nullable ones bring ``<name>_valid``. A batch owns its memory and
    may be kept. The order is the same for any number of threads; it is not torch's order for the same seed.

    Parameters
    ----------
    dataset, batch_size, shuffle, sampler, batch_sampler, collate_fn, pin_memory, drop_last, timeout, generator
        As in torch.
    num_workers : int, optional
        Native threads. Default: the processors this process may use, at most 4; 0 works in the caller's thread. Where
        torch's own machinery serves, worker processes, and 0 by default.
    prefetch_factor : int, optional
        Batches per thread that may wait finished. Default: as many as fit 8 MiB, and one per thread.
    persistent_workers : bool
        With an order known in advance (a `seed`, or no shuffling) the next epoch's first batches are prepared while
        the last ones of this epoch are consumed. Threads and decoded blocks stay for the loader's life in any case.
    worker_init_fn, multiprocessing_context
        Of torch's worker processes; a warning says so where native threads serve.
    seed : int, optional, keyword only
        Epoch e is shuffled by (seed, e). Without it a seed is drawn from `generator`, or torch's global one, once per
        pass, as torch does.
    memory_bytes : int, keyword only
        Budget for decoded blocks, 1 GiB by default. Data within it, and data stored raw, are shuffled by a true
        permutation; larger ones through windows of this size. It is part of the order's definition.
    rank, world_size : int, keyword only
        This loader delivers the share of one rank: the positions ``rank + q * world_size`` of the one global order. Without
        them nothing is dealt, unless `sampler` is a DistributedSampler, which then says the rank.
    ends : "pad", "drop" or "wrap", keyword only
        Where the rows do not come out even among the ranks: "pad" repeats rows from the beginning of the order and marks
        them in ``batch["is_padding"]`` (not where rows are tuples), "wrap" does not mark them, "drop" leaves the last rows
        out. All ranks make equally many steps.
    lanes : int, keyword only
        The data are shuffled in so many lanes, and a rank decodes its lanes only; the order depends on it, and not on the
        number of ranks. By default 1 for one rank, for data that need no decoding and for those that are not shuffled, else
        60 or less, a multiple of `world_size`.
    padding : Padding or dict of field names to Padding, keyword only
        How rows of unequal length become a rectangle: value, side, multiple, a fixed length, masks. By default zeros on
        the right, to the longest row of the batch.
    packing : Packing, keyword only
        Rows of a variable-length field are packed whole into rows of a fixed length instead.
    transform : dict of field names to transforms, or callable, keyword only
        What is done to fields before they are a batch. ``fastload.Normalize`` and its like, or lists of them, run compiled in
        the engine's threads, and draw by (seed, epoch, row); a function for a field gets its tensor, one for all the batch,
        and runs in Python, which ``stats()`` shows. Fields of tuples are named "0", "1", ...
    balance : str, or dict of the label's name to a sampler, keyword only
        Classes of a label, the name of a field, are balanced while loading. A name: rows are drawn with replacement, every class
        equally likely. ``{"label": fastload.SMOTE()}``, ``SMOTENC`` or ``RandomOverSampler``: an epoch is all rows once, and as
        many more of the rarer classes as the sampler's `sampling_strategy` says, which are made for their batch, of (seed, epoch,
        row), and stored nowhere; what they are made of takes part of `memory_bytes`. The table of neighbours is kept in the
        folder of the data set. ``SMOTENC("auto")`` takes categories, text and truth values for categorical. The sampler's
        `random_state` is not used: `seed` says it.
    sample_seeds : bool, keyword only
        Adds ``batch["sample_seed"]``, int64, a number for each row that is a function of (seed, epoch, row) and of nothing
        else: what is drawn from it is the same for any number of threads, ranks and batches.
    on_error : "raise", "retry" or "skip", keyword only
        For data that cannot be read. "raise" at each batch that needs them, and the next call goes on after it; "retry"
        reads once more before that; "skip" leaves the rows out, listed in ``loader.skipped``, up to `skip_limit` in a pass.
    device : str or torch.device, keyword only
        Batches arrive there: copied from pinned memory on a stream of their own while the step before runs.

    Raises
    ------
    ArgumentError, EmptyError, FormatError and its kinds; ValueError and TypeError as torch

    Examples
    --------
    >>> import numpy as np, fastload as fl
    >>> data = {"x": np.arange(12, dtype="float32").reshape(6, 2), "y": np.arange(6)}
    >>> loader = fl.DataLoader(data, batch_size=4, shuffle=True, seed=0)
    >>> [batch["x"].shape[0] for batch in loader]
    [4, 2]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Any | None = None,
        batch_sampler: Sampler[list] | Any | None = None,
        num_workers: int | None = None,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int | None = None,
        memory_bytes: int = 1 << 30,
        rank: int | None = None,
        world_size: int | None = None,
        ends: str = "pad",
        lanes: int | None = None,
        padding: Padding | Mapping[str, Padding] | None = None,
        packing: Packing | None = None,
        transform: Mapping[str, Any] | Callable[[Any], Any] | None = None,
        balance: str | Mapping[str, Any] | None = None,
        sample_seeds: bool = False,
        on_error: str = "raise",
        skip_limit: int = 1000,
        device: str | torch.device | None = None,
    ) -> None:
        dataset, rows = to_rows(dataset)
        native = rows is not None and (batch_size is not None or batch_sampler is not None)
        _check_options(native, batch_size, prefetch_factor, seed, memory_bytes, lanes)
        check_share(rank, world_size, ends)
        check_on_error(on_error, skip_limit)
        self._mover: Mover | None = mover_for(device) if device is not None else None
        if not native:
            _refuse_where_torch_serves(
                padding=padding,
                packing=packing,
                transform=transform,
                balance=balance,
                sample_seeds=sample_seeds or None,
                rank=rank,
                lanes=lanes,
                on_error=on_error if on_error != "raise" else None,
            )
        self._tensors = dataset is not rows  # of a TensorDataset: lists, as torch gives
        if balance is not None:
            check_alone(balance, sampler, batch_sampler, shuffle, packing)
            if isinstance(balance, str):
                sampler, shuffle = sampler or class_balanced(rows, balance), None
            else:
                dataset = rows = balanced(rows, balance, memory_bytes)
        if rank is not None:
            order = stock_order(sampler, rows.num_rows) if type(sampler) is not DistributedSampler else None
            if order is not None:  # it says how to shuffle, and nothing of ranks; frameworks hand such ones back
                sampler, shuffle = None, order
            if (sampler is not None and not is_plan(sampler)) or not _deals(batch_sampler, rank, world_size):
                raise ArgumentError(
                    "rank and world_size deal the rows of an order that fastload makes; a sampler of your own already says "
                    "which rows this rank gets: give one or the other (fastload.WeightedSampler takes both)"
                )
            if sampler is None and batch_sampler is None:
                sampler = RankSampler(self, dataset, rank, world_size, bool(shuffle), ends == "drop")
                shuffle = None
        elif native and shuffle and seed is not None and sampler is None and batch_sampler is None:
            sampler, shuffle = EpochSampler(dataset, generator=generator), None
        if num_workers is None:
            num_workers = default_threads() if native else 0
        with warnings.catch_warnings():
            if native:  # threads cost no processes, and more of them than processors are no mistake
                warnings.filterwarnings("ignore", message="This DataLoader will create")
            super().__init__(
                dataset,
                batch_size=batch_size,
                shuffle=shuffle,
                sampler=sampler,
                batch_sampler=batch_sampler,
                num_workers=num_workers,
                collate_fn=collate_fn,
                pin_memory=pin_memory,
                drop_last=drop_last,
                timeout=timeout,
                worker_init_fn=worker_init_fn,
                multiprocessing_context=multiprocessing_context,
                generator=generator,
                prefetch_factor=prefetch_factor,
                persistent_workers=persistent_workers,
                pin_memory_device=pin_memory_device,
                in_order=in_order,
            )
        self.seed = seed
        self.memory_bytes = memory_bytes
        self.rank, self.world_size, self.ends = rank, world_size, ends
        self.lanes = lanes
        self.padding, self.packing = padding, packing
        self.transform = transform
        self.balance = balance
        self.sample_seeds = sample_seeds
        self.on_error, self.skip_limit = on_error, skip_limit
        self.device = device
        self.prefetch_factor = prefetch_factor  # as it was asked
        self._epoch = 0
        self._rows = rows if native else None
        self._asked = asked_of(transform)
        self._serving: Serving | None = None
        self._arriving: dict[str, Any] = {}  # fields that are transformed on the device
        self._bases: dict[str, np.ndarray] = {}  # of fields whose made rows are made there
        if native:
            recipe = recipe_of(self._asked.kernels, rows)
            in_python = rows.as_tuple or self._collates() or self._asked.whole is not None  # wants them done before
            if isinstance(self._mover, Computer) and not in_python:
                recipe, self._arriving = on_arrival(recipe, rows)
                if isinstance(balance, Mapping):
                    self._rows, self._bases = rows.without_mixing(recipe.unchanged)
            self._serving = serving_of(self._rows, self.batch_sampler, packing, recipe)
        self._last: Pass | None = None
        self._resume: dict[str, Any] | None = None  # a state that was loaded and not yet begun from
        self._adopted_lanes: int | None = None
        if native:
            self._check_together()
        if native and (worker_init_fn is not None or multiprocessing_context is not None):
            name = "worker_init_fn" if worker_init_fn is not None else "multiprocessing_context"
            warnings.warn(
                f"{name} is for worker processes; this data set is served by native threads, which do not use it",
                UserWarning,
                stacklevel=2,
            )

    def _check_together(self) -> None:
        """ArgumentError where options exclude each other."""
        schema, as_tuple = self._rows.schema, self._rows.as_tuple or self._tensors
        if self.padding is not None:
            if self._collates():
                raise ArgumentError("padding and collate_fn exclude each other: the function gets rows as they are")
            if self.packing is not None:
                raise ArgumentError("padding and packing exclude each other")
            padding_entries(schema, self.padding)
        if self.packing is not None and (as_tuple or self.sample_seeds or self.on_error == "skip"):
            raise ArgumentError("packing is for rows that are dicts, and excludes sample_seeds and on_error='skip'")
        if self._asked.functions and (as_tuple or self._collates()):
            raise ArgumentError(
                "a function for one field needs batches that are dicts, and no collate_fn: give one function for the whole batch"
            )
        if self.transform is not None and self.packing is not None:
            raise ArgumentError("transform and packing exclude each other")
        if self.sample_seeds and (as_tuple or not self._serving.deals):
            raise ArgumentError("sample_seeds need rows that are dicts, in an order that fastload makes")
        added = [SEEDS] * self._gives_seeds() + [REPEATED] * self._marks_repeated() + [*MADE] * bool(self._bases)
        for name in added:
            if name in schema.names:
                raise ArgumentError(
                    f"batches get an entry {name!r}, and a field has that name: rename it, or select others"
                )

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: all but the threads and the passes under way, which the copy begins anew."""
        serving = copy(self._serving)
        if serving is not None:
            serving.forget_threads()
        state = self.__dict__ | {"_serving": serving, "_last": None, "_iterator": None}
        return state | {"_mover": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._mover = mover_for(self.device) if self.device is not None else None

    @property
    def prefetch_factor(self) -> int | None:
        """As torch shows it: 2 where workers were given and nothing was asked. The instance keeps what was asked: Lightning
        reads it there to build the loader again."""
        asked = vars(self)["prefetch_factor"]
        return 2 if asked is None and self.num_workers > 0 else asked

    @prefetch_factor.setter
    def prefetch_factor(self, asked: int | None) -> None:
        vars(self)["prefetch_factor"] = asked

    # --- order ----------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of the next pass: of the one that is begun but was not asked for a batch yet, else of the next ``iter()``."""
        sampler = self._epoch_sampler()
        return self._epoch if sampler is None else sampler.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        sampler = self._epoch_sampler()
        if sampler is None:
            self._epoch = epoch
        else:
            sampler.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass; it counts up by itself from there. Matters with a `seed`.

        A pass is of the epoch that stands when its first batch is asked for, so it may be told after ``iter()``, as Lightning
        does. Setting the epoch that a loaded state lies in changes nothing: the pass goes on in the middle.
        """
        self.epoch = int(epoch)

    def _epoch_sampler(self) -> Any:
        """The sampler that keeps the epoch, for frameworks that tell it there; None if the loader does."""
        sampler = getattr(self.batch_sampler, "sampler", None)
        return sampler if type(sampler) in (DistributedSampler, RankSampler, EpochSampler) else None

    def _dealing_sampler(self) -> DistributedSampler | None:
        sampler = getattr(self.batch_sampler, "sampler", None)
        return sampler if type(sampler) in (DistributedSampler, RankSampler) else None

    def _share(self) -> Share:
        sampler = self._dealing_sampler()
        if sampler is not None:
            return Share(sampler.rank, sampler.num_replicas, "drop" if sampler.drop_last else self.ends)
        return Share() if self.rank is None else Share(self.rank, self.world_size, self.ends)

    def _draw_seed(self, key: Key) -> int:
        """Of what is drawn for a row: that of the order, where it has one."""
        if self._serving.deals and self._serving.shuffles:
            return key.seed
        return (self.seed or 0) & (1 << 64) - 1

    def _has_own_seed(self) -> bool:
        return self.seed is not None or type(self._dealing_sampler()) is DistributedSampler

    def _next_key(self) -> Key:
        """What a pass is a function of. Draws from torch's generators what torch would: one number for the iterator, and one
        for a random sampler that has no generator of its own."""
        serving = self._serving
        drawn = _draw(self.generator)
        sampler = getattr(self.batch_sampler, "sampler", None)
        if type(sampler) in (RandomSampler, EpochSampler) and serving.deals and serving.shuffles:
            drawn = _draw(sampler.generator)
        resume = self._pending_state()
        position = resume["position"] if resume is not None else 0
        return Key(self._seed(drawn, resume) & (1 << 64) - 1 if serving.deals else 0, self.epoch, position)

    def _pending_state(self) -> dict[str, Any] | None:
        """The state that was loaded, until a batch was asked for from there or another epoch was told."""
        return self._resume if self._resume is not None and self._resume["epoch"] == self.epoch else None

    def _seed(self, drawn: int, resume: Mapping[str, Any] | None) -> int:
        if not self._serving.shuffles:
            return 0
        if resume is not None and resume["position"]:
            return resume["seed"]
        if self.seed is not None:
            return self.seed
        sampler = self._dealing_sampler()
        if type(sampler) is DistributedSampler:
            return sampler.seed
        return agreed_seed(drawn, self._share().world_size)

    # --- passes ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        if self._serving is None or not self._serving.deals:
            return super().__len__()
        rows = self._share().rows(self._serving.total_rows(Key(self._known_seed(), self.epoch, 0)))
        return rows // self._batch_rows if self._drops_last else -(-rows // self._batch_rows)

    @property
    def _batch_rows(self) -> int | None:
        """None where a batch sampler of the user's decides."""
        return self.batch_sampler.batch_size if type(self.batch_sampler) is BatchSampler else None

    @property
    def _drops_last(self) -> bool:
        return type(self.batch_sampler) is BatchSampler and self.batch_sampler.drop_last

    def _known_seed(self) -> int:
        return self._seed(0, None) & (1 << 64) - 1 if self._has_own_seed() else 0

    def __iter__(self) -> Iterator[Any]:
        if self._serving is None:
            batches = super().__iter__()
            return batches if self._mover is None else DeviceBatches(batches, self._mover)
        if self.timeout > 0 and self.num_workers == 0:  # torch's error, at torch's moment
            raise AssertionError(
                f"timeout is for batches made by others; with num_workers=0 it must be 0, got {self.timeout}"
            )
        iterator = self._iterator if self._iterator is not None else LoaderIterator()
        iterator.close()  # a pass that was not ended gives its memory back first
        if self.persistent_workers:
            self._iterator = iterator
        return iterator.begin(self, *self._begin(self._next_key()))

    def __aiter__(self) -> AsyncBatches:
        """``async for``: a pass whose batches are awaited without holding up the event loop."""
        return AsyncBatches(iter(self))

    def _begin(self, key: Key) -> tuple[Pass, Iterator[Any]]:
        """A pass, and its batches where they are wanted."""
        self._last = batches = self._serving.begin(self, key, self._share(), self._assembler(key))
        if self._mover is not None:
            batches = DeviceBatches(batches, self._mover, self._arrival())
            self._last.moved = batches.moved
        return self._last, batches

    def _key_told_since(self, key: Key) -> Key | None:
        """What a pass that was begun with `key` is to be a function of, if another epoch was told since. To the samplers of
        users an epoch is only a number; they are asked anew only if some of their batches were passed over."""
        if key.epoch == self.epoch or not (self._serving.deals or key.position):
            return None
        return Key(self._known_seed() if self._has_own_seed() else key.seed, self.epoch, 0)

    def _count(self) -> None:
        """The first batch of a pass was asked for."""
        self._resume = None
        if type(self._epoch_sampler()) is not DistributedSampler:  # that one is told its epochs
            self.epoch += 1

    def _assembler(self, key: Key) -> Assembler:
        rows, schema = self._rows, self._serving.schema
        return Assembler(
            schema,
            self.collate_fn if self._collates() else None,
            as_tuple=rows.as_tuple,
            tensors=self._tensors,
            masks=masked_fields(schema, self.padding) if self.padding is not None else {},
            marks_repeated=self._marks_repeated(),
            seeds=(self._draw_seed(key), key.epoch) if self._gives_seeds() else None,
            parents=rows.parents if self._bases else None,
            function=self._asked.call if self._asked.calls_python else None,
            pins=self._pins(),
        )

    def _gives_seeds(self) -> bool:
        draws = any(call.draws for calls, _ in self._arriving.values() for call in calls)
        return self.sample_seeds or draws or bool(self._bases)

    def _arrival(self) -> Arrival | None:
        if not (self._arriving or self._bases):
            return None
        return Arrival(self._arriving, self._bases, SEEDS if self._gives_seeds() else None, self.sample_seeds)

    def _marks_repeated(self) -> bool:
        share = self._share()
        as_tuple = self._rows.as_tuple or self._tensors
        return share.world_size > 1 and share.ends == "pad" and self._serving.deals and not as_tuple

    def _collates(self) -> bool:
        return self.collate_fn is not None and self.collate_fn is not default_collate

    def _padding(self) -> list[Entry] | bool:
        """As the engine takes it. A collate_fn of the user's gets rows without padding: theirs is cut off again."""
        return True if self._collates() else padding_entries(self._rows.schema, self.padding)

    def _pins(self) -> bool:
        if not self.pin_memory or self._mover is not None:  # a mover pins by itself
            return False
        if not torch.accelerator.is_available():
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
                stacklevel=4,
            )
            return False
        return True

    def _on_error(self) -> OnError:
        return OnError(self.on_error, self.skip_limit, getattr(self._rows, "place_of", lambda row: ("memory", 0, row)))

    # --- state ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the latest pass stands: what was delivered is not delivered again, whatever lies prefetched.

        Returns
        -------
        dict
            For JSON, and as cheap as that; the same on all ranks that have made equally many steps. `position` counts rows
            of the epoch's global order, so that the pass can go on with another batch size, number of threads or of ranks.
            With a sampler of yours it counts batches. Empty where torch's own machinery serves, which has no such state.

        Examples
        --------
        >>> import numpy as np, fastload as fl
        >>> loader = fl.DataLoader({"x": np.arange(10)}, batch_size=4, shuffle=True, seed=1)
        >>> rows = iter(loader)
        >>> first = next(rows)["x"].tolist()
        >>> state = loader.state_dict()
        >>> again = fl.DataLoader({"x": np.arange(10)}, batch_size=3, shuffle=True, seed=1)
        >>> again.load_state_dict(state)
        >>> sorted(first + [row for batch in again for row in batch["x"].tolist()])
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        """
        if self._serving is None:
            return {}
        if (pending := self._pending_state()) is not None:
            return dict(pending)
        state = {"version": STATE_VERSION, **self._definition(), "seed": None, "epoch": self.epoch, "position": 0}
        if self._last is None or not self._last.is_counted:
            return state
        key, delivered = self._last.key, self._last.handed_out()
        if not self._last.is_over_after(delivered):
            state |= {"seed": key.seed, "epoch": key.epoch, "position": self._last.position_after(delivered)}
        elif key.epoch == self.epoch:  # a DistributedSampler is not told the next one yet
            state["epoch"] += 1
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next pass goes on where `state` was taken, at no cost; the passes after it follow as usual. One that is begun and
        not asked for a batch, as Lightning may do, takes nothing away.

        A loader that was not told `lanes` takes those of the state, from now on.

        Raises
        ------
        StateError
            The state is of other data, of another order, or no state.
        """
        if self._serving is None:
            if state:
                raise StateError(
                    "this loader is served by torch's own machinery and cannot go on in the middle of a pass"
                )
            return
        keys = {"version", "order", "num_rows", "seed", "epoch", "position"}
        if not isinstance(state, Mapping) or not keys <= set(state):
            raise StateError(f"a state has the entries {', '.join(sorted(keys))}; got {state!r}")
        if self.lanes is None:
            self._adopted_lanes = state.get("lanes")
        expected = {"version": STATE_VERSION, **self._definition()}
        other = {name: state.get(name) for name, value in expected.items() if state.get(name) != value}
        if other:
            here = {name: expected[name] for name in other}
            raise StateError(
                f"the state was taken with {other}, and this loader has {here}; the order would be another"
            )
        self._resume = dict(state)
        self.epoch = int(state["epoch"])

    def _definition(self) -> dict[str, Any]:
        """What the order is a function of, beside seed and epoch."""
        added = {"balance": self._rows.fingerprint} if isinstance(self.balance, Mapping) else {}
        return {**self._serving.definition(self), "num_rows": self._rows.num_rows, **added}

    # --- what Accelerate asks -------------------------------------------------------------------------

    use_stateful_dataloader = True  # its save_state and load_state keep our state among their own

    @property
    def _is_accelerate_prepared(self) -> bool:
        """See `is_left_alone`. Otherwise it would build a loader of torch's from our parts, and drop ours without a word."""
        from fastload.load.frameworks import is_left_alone

        return is_left_alone(self)

    @_is_accelerate_prepared.setter
    def _is_accelerate_prepared(self, _: bool) -> None:
        """It sets what it has found."""

    # --- what was done --------------------------------------------------------------------------------

    @property
    def skipped(self) -> list[SkippedRow]:
        """The rows that the latest pass left out because they could not be read (``on_error="skip"``)."""
        return list(self._last.on_error.skipped) if self._last is not None else []

    def audit(self) -> Audit:
        """A digest of the rows that the latest pass has delivered, beside that of the whole epoch.

        Raises
        ------
        StateError
            No pass was begun, or a sampler of yours or torch's machinery says what comes.

        Examples
        --------
        >>> import numpy as np, fastload as fl
        >>> loader = fl.DataLoader({"x": np.arange(10)}, batch_size=4, shuffle=True)
        >>> batches = iter(loader)
        >>> _ = next(batches)
        >>> loader.audit().rows, loader.audit().is_complete
        (4, False)
        >>> _ = list(batches)
        >>> loader.audit().is_complete
        True
        """
        return self._serving_of_latest_pass().audit(self._last.key, *self._last.digest_handed_out())

    def explain(self, step: int, epoch: int | None = None) -> dict[str, Any]:
        """What the batch number `step` holds, without running up to it.

        Parameters
        ----------
        step : int
            Batch of the latest pass, from 0 on.
        epoch : int, optional
            Another epoch of the same seed, from its beginning.

        Returns
        -------
        dict
            seed, epoch; rows : int64, numbers of the rows in the data set, in the order of the batch (documents, where
            they are packed); blocks : where they lie, a list of (file, block) in the order of the file; sample_seeds :
            int64, what ``batch["sample_seed"]`` is with ``sample_seeds=True``; with a `balance` that makes rows, origins : which
            of them are made, of which two rows of the data set, and how far they lie from the one to the other.

        Raises
        ------
        StateError
            As for `audit`.
        ArgumentError
            There is no such step.
        """
        serving = self._serving_of_latest_pass()
        key, share = self._last.key, self._last.share
        if epoch is not None and epoch != key.epoch:
            key = Key(key.seed, epoch, 0)
        first = step * self._batch_rows
        rows = serving.row_numbers(self, key, share, first, self._batch_rows) if step >= 0 else np.zeros(0)
        if not len(rows):
            raise ArgumentError(f"step must be a batch of the pass, got {step}")
        places = {self._on_error()._place_of(int(row))[:2] for row in rows}
        keys = row_keys(self._draw_seed(key), key.epoch, rows)
        explained = {
            "step": step,
            "seed": key.seed,
            "epoch": key.epoch,
            "rows": rows,
            "blocks": sorted(places),
            "sample_seeds": keys.view(np.int64),
        }
        if isinstance(self.balance, Mapping):
            explained["origins"] = self._rows.origins(rows, keys)
        return explained

    def _serving_of_latest_pass(self) -> Serving:
        if self._serving is None:
            raise StateError("this loader is served by torch's own machinery, which does not know what it delivers")
        if self._last is None:
            raise StateError("no pass was begun")
        return self._serving

    def _rows_of_epoch(self, epoch: int) -> np.ndarray:
        key, share = Key(self._known_seed(), epoch, 0), self._share()
        return self._serving.row_numbers(self, key, share, 0, share.rows(self._serving.total_rows(key)))

    def stats(self) -> dict[str, Any]:
        """What the latest pass did.

        Returns
        -------
        dict
            order : "permutation", "windowed", "sequential", "sampler" (named rows), or "torch" (not served by the engine);
            mix : mixing reached, 1.0 = a true permutation (see ``fastload.plan.order.mix``), None where not known;
            window_rows : rows of the largest window, where the order has windows; delivered_rows, delivered_batches,
            delivered_bytes;
            wait_s : seconds the loop spent in ``next()``; busy_s : seconds between its calls;
            stages_s : seconds by stage: ``read`` (standing still for stored bytes), ``verify``, ``decode``, ``gather``,
            ``kernels`` (compiled transforms) of all threads together; of the consumer's own thread ``transform`` (functions of
            yours, collate_fn among them), ``hand_over``, and ``copy`` with a device;
            padding_share : share of the places in padded fields or packed rows that hold padding;
            loaded_blocks, read_bytes : verified and decoded in this pass; ready_batches : finished ones that waited, on
            average; skipped_rows : see ``skipped``; verdict : who waits for whom, and what to change.

        With the logger ``fastload.load`` at level INFO, each whole pass writes a line.
        """
        if self._serving is None:
            return {"order": "torch", "mix": None}
        if self._last is None:
            return {"order": self._serving.name, "mix": None, "delivered_rows": 0}
        return self._last.stats()


def _check_options(
    native: bool, batch_size: Any, prefetch_factor: Any, seed: Any, memory_bytes: Any, lanes: Any
) -> None:
    if (
        native
        and batch_size is not None
        and (isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)))
    ):
        raise ArgumentError(f"batch_size must be an integer, got {batch_size!r}")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ArgumentError(f"prefetch_factor must be at least 1, got {prefetch_factor}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
        raise ArgumentError(f"seed must be an integer, got {seed!r}")
    if not isinstance(memory_bytes, (int, np.integer)) or memory_bytes < 1:
        raise ArgumentError(f"memory_bytes must be a positive number of bytes, got {memory_bytes!r}")
    if lanes is not None and (isinstance(lanes, bool) or not isinstance(lanes, int) or not 0 < lanes <= 65536):
        raise ArgumentError(f"lanes must be an integer in 1 .. 65536, got {lanes!r}")


def _refuse_where_torch_serves(**options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ArgumentError(
            f"{given[0]} is for data that fastload serves (a path, fastload.Dataset, arrays, tensors, TensorDataset) in batches; "
            "torch's own machinery serves this data set and does not know it"
        )


def _deals(batch_sampler: Any, rank: int, world_size: int) -> bool:
    """Whether it is none, or one over rows that fastload dealt to this rank: Lightning wraps ours to predict."""
    sampler = getattr(batch_sampler, "sampler", None)
    dealt = type(sampler) is RankSampler and (sampler.rank, sampler.num_replicas) == (rank, world_size)
    return batch_sampler is None or dealt


def _draw(generator: torch.Generator | None) -> int:
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())


class LoaderIterator:
    """What ``iter(loader)`` gives. Dropping it ends the pass; with persistent workers the loader keeps it, and it is begun
    anew by each ``iter()``."""

    def __init__(self) -> None:
        self._pass: Pass | None = None
        self._ending: Any = None  # ends the pass when this is dropped: Ctrl-C would be swallowed in a __del__
        self._batches: Any = None
        self._loader: DataLoader | None = None  # until the first batch is asked for

    def begin(self, loader: DataLoader, pass_: Pass, batches: Iterator[Any]) -> LoaderIterator:
        self.close()
        self._loader = loader
        self._hold(pass_, batches)
        return self

    def _hold(self, pass_: Pass, batches: Iterator[Any]) -> None:
        self._pass, self._batches = pass_, batches
        self._ending = pass_.ending()

    def close(self) -> None:
        if self._pass is not None:
            self._pass.close()

    def __iter__(self) -> LoaderIterator:
        return self

    def __len__(self) -> int:
        return len(self._pass)

    def __next__(self) -> Any:
        return next(self._batches) if self._loader is None else self._first(self._loader)

    def _first(self, loader: DataLoader) -> Any:
        """What was begun may be thrown away once more: the epoch is settled now."""
        self._loader = None
        told = loader._key_told_since(self._pass.key)
        if told is not None:
            self._pass.close()
            self._hold(*loader._begin(told))
        self._pass.key = self._pass.key._replace(epoch=loader.epoch)
        self._pass.is_counted = True
        try:
            return next(self._batches)
        finally:  # afterwards: samplers look at the epoch when they are first asked
            loader._count()

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")
