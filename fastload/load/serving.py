"""Who says which row comes when: the engine, a plan, or a sampler of the user's."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import BatchSampler

from fastload import _core
from fastload.block.dataset import RowAccess
from fastload.block.padding import Entry
from fastload.errors import ArgumentError, FastloadError, RefusedValueError, StateError
from fastload.load.audit import Audit, digest_of, digest_of_all
from fastload.load.deal import Share, stock_order, usual_lanes
from fastload.load.packing import PackedRows
from fastload.load.passes import EnginePass, GatheringPass, Key, Pass, Taken
from fastload.load.skipping import OnError
from fastload.load.transforming import batch_columns
from fastload.plan.order import mix
from fastload.plan.packing import SequencePacking
from fastload.plan.random import ROW_KEYS, stream_key
from fastload.plan.row_plan import Recent
from fastload.transform.recipe import Recipe, recipe_of

PREFETCH_BYTES = 8 << 20  # finished batches that wait for the consumer: as much as the caches keep warm
STRETCH_ROWS = 4096  # of a plan, asked for at a time
GROUP_BYTES = 4 << 20  # of small batches that are packed together
GATHER_DEPTH = 4  # batches asked for ahead of each thread where the rows are named


def is_plan(sampler: Any) -> bool:
    """Whether it is a RowPlan, which names the row at any position."""
    return hasattr(sampler, "rows") and hasattr(sampler, "fingerprint")


def serving_of(rows: RowAccess, batch_sampler: Any, packing: Any, recipe: Recipe) -> Serving:
    """What serves a loader with this batch sampler. recipe : what is made of the rows, where they are not packed."""
    sampler = batch_sampler.sampler if type(batch_sampler) is BatchSampler else None
    if packing is not None:
        shuffles = stock_order(sampler, rows.num_rows)
        if shuffles is None:
            raise ArgumentError(
                "packing and a sampler of your own exclude each other: packing says which rows come when"
            )
        return PackedServing(rows, packing, shuffles)
    if is_plan(sampler):
        return PlanServing(rows, recipe, sampler)
    shuffles = stock_order(sampler, rows.num_rows)
    return SamplerServing(rows, recipe) if shuffles is None else EngineServing(rows, recipe, shuffles)


class Serving:
    """Begins passes over `rows`; a loader has one. `deals` : it knows ranks, and positions of a global order."""

    name = "sampler"
    deals = True
    shuffles = True

    def __init__(self, rows: RowAccess, recipe: Recipe) -> None:
        self.rows, self.recipe = rows, recipe
        self.schema = recipe.schema  # of batches
        self._columns: _core.BatchColumns | None = None
        self.forget_threads()

    def total_rows(self, key: Key) -> int:
        """Positions of the order."""
        raise NotImplementedError

    def begin(self, loader: Any, key: Key, share: Share, make: Any) -> Pass:
        raise NotImplementedError

    def definition(self, loader: Any) -> dict[str, Any]:
        """What the order is a function of, beside seed and epoch: goes into states."""
        raise NotImplementedError

    def row_numbers(self, loader: Any, key: Key, share: Share, first: int, count: int) -> np.ndarray:
        """The rows that a rank gets at so many of its positions."""
        raise NotImplementedError

    def audit(self, key: Key, digest: int, rows: int) -> Audit:
        raise NotImplementedError

    def forget_threads(self) -> None:
        """Before a pickle, and in it."""
        self._columns = None

    def columns(self) -> _core.BatchColumns | None:
        """The engine's form of the recipe."""
        if self._columns is None:
            self._columns = batch_columns(self.recipe)
        return self._columns

    def draw_key(self, loader: Any, key: Key) -> int:
        """What a row's random draws are made of, together with its number."""
        return stream_key(loader._draw_seed(key), key.epoch, ROW_KEYS)


class EngineServing(Serving):
    """An order of the engine's own: nothing is drawn beforehand, and a rank decodes its lanes only."""

    def __init__(self, rows: RowAccess, recipe: Recipe, shuffles: bool) -> None:
        super().__init__(rows, recipe)
        self.shuffles = shuffles
        self.name = "permutation" if shuffles else "sequential"

    def forget_threads(self) -> None:
        super().forget_threads()
        self._engine: _core.Engine | None = None
        self._made_for: tuple[int, ...] = ()
        self._ahead: tuple[Any, _core.Epoch] | None = None

    def total_rows(self, key: Key) -> int:
        return self.rows.num_rows

    def engine(self, loader: Any) -> _core.Engine:
        memory_bytes = loader.memory_bytes - self.rows.resident_bytes
        made_for = (os.getpid(), loader.num_workers, memory_bytes, self.rows._held_at())
        if self._engine is None or self._made_for != made_for:
            self._engine = _core.Engine(
                self.rows._source(),
                threads=loader.num_workers,
                memory_bytes=memory_bytes,
                prefetch_bytes=PREFETCH_BYTES,
                prefetch_batches=(vars(loader)["prefetch_factor"] or 0) * loader.num_workers,
            )
            self._made_for = made_for
            self._ahead = None
        return self._engine

    def lanes(self, loader: Any, share: Share) -> int:
        told = loader.lanes or loader._adopted_lanes
        if told is not None:
            return told
        if not self.shuffles or share.world_size == 1:
            return 1
        source = self.rows._source()
        decoded, blocks = source.decoded_bytes, len(source.block_rows)
        in_memory = int(blocks * min(1.0, loader.memory_bytes / decoded)) if decoded else 0
        return usual_lanes(share.world_size, in_memory)

    def _options(self, loader: Any, key: Key, share: Share) -> _core.OrderOptions:
        return _core.OrderOptions(
            shuffle=self.shuffles,
            seed=key.seed,
            epoch=key.epoch,
            lanes=self.lanes(loader, share),
            rank=share.rank,
            world_size=share.world_size,
            ends="drop" if share.ends == "drop" else "repeat",
            first_position=key.position,
        )

    def begin(self, loader: Any, key: Key, share: Share, make: Any) -> EnginePass:
        engine = self.engine(loader)
        made_for = (key, share, loader._batch_rows)
        if self._ahead is not None and self._ahead[0] == made_for:
            epoch = self._ahead[1]
        else:
            epoch = self._start(engine, loader, key, share, None)
        self._ahead = None
        if loader.persistent_workers and (loader._has_own_seed() or not self.shuffles):
            following = Key(key.seed, key.epoch + 1, 0)
            self._ahead = ((following, *made_for[1:]), self._start(engine, loader, following, share, epoch))
        return EnginePass(
            engine,
            epoch,
            key,
            share,
            make,
            loader._on_error(),
            shuffles=self.shuffles,
            batch_rows=loader._batch_rows,
            timeout_s=float(loader.timeout),
        )

    def _start(self, engine: _core.Engine, loader: Any, key: Key, share: Share, after: Any) -> _core.Epoch:
        return engine.start(
            loader._batch_rows,
            loader._drops_last,
            self._options(loader, key, share),
            loader._padding(),
            row_numbers=loader._gives_seeds(),
            retries=loader.on_error == "retry",
            skips=loader.on_error == "skip",
            columns=self.columns(),
            draw_key=self.draw_key(loader, key),
            after=after,
        )

    def definition(self, loader: Any) -> dict[str, Any]:
        if not self.shuffles:
            return {"order": "file", "lanes": self.lanes(loader, loader._share())}
        held = self.engine(loader).holds_everything  # whether windows are needed depends on the machine, too
        window = {} if held else {"memory_bytes": loader.memory_bytes}
        return {"order": "permutation" if held else "windowed", "lanes": self.lanes(loader, loader._share()), **window}

    def row_numbers(self, loader: Any, key: Key, share: Share, first: int, count: int) -> np.ndarray:
        order = self.engine(loader).order(self._options(loader, key, share))
        return order.row_numbers(min(first, order.rows), max(0, min(count, order.rows - first)))

    def audit(self, key: Key, digest: int, rows: int) -> Audit:
        return Audit(rows, digest, self.rows.num_rows, digest_of_all(self.rows.num_rows))


class Reading(NamedTuple):
    """How a pass reads its rows. Not the loader itself: the loader keeps its latest pass, and would then live until the
    garbage is collected, with all that it has decoded."""

    memory_bytes: int
    batch_rows: int
    padding: list[Entry] | bool
    on_error: OnError
    costs: _core.ReadCosts
    columns: _core.BatchColumns | None
    draw_key: int


class GatheringServing(Serving):
    """Rows are named, and gathered from blocks that are kept decoded within the loader's budget."""

    def __init__(self, rows: RowAccess, recipe: Recipe) -> None:
        super().__init__(rows, recipe)
        self._has_warned = False

    def forget_threads(self) -> None:
        super().forget_threads()
        self._reader: _core.RowReader | None = None
        self._made_for: tuple[int, ...] = ()

    def _reading(self, loader: Any, key: Key) -> Reading:
        return Reading(
            loader.memory_bytes,
            loader._batch_rows or 1,
            loader._padding(),
            loader._on_error(),
            _core.ReadCosts(),
            self.columns(),
            self.draw_key(loader, key),
        )

    def _read(self, how: Reading, rows: np.ndarray, padding: Any) -> Any:
        made_for = (os.getpid(), how.memory_bytes, self.rows._held_at())
        if self._made_for != made_for:
            self._reader, self._made_for = _core.RowReader(self.rows._source(), how.memory_bytes), made_for
        return self.rows.read_rows(rows, padding, self._reader, how.costs, how.columns, how.draw_key)

    def _fetch(self, how: Reading, rows: np.ndarray, repeated: int = 0) -> Taken:
        try:
            return Taken(self._read(how, rows, how.padding), rows, repeated)
        except RefusedValueError:  # to read it once more would not help, and to skip it would hide it
            raise
        except FastloadError as error:
            if how.on_error.mode == "raise":
                raise
            if how.on_error.mode == "retry":
                return Taken(self._read(how, rows, how.padding), rows, repeated)
            return self._fetch_readable(how, rows, repeated, error)

    def _fetch_readable(self, how: Reading, rows: np.ndarray, repeated: int, error: FastloadError) -> Taken:
        readable = np.array([self._is_readable(how, row) for row in rows])
        if readable.all():
            raise error
        how.on_error.note(rows[~readable], str(error))
        kept = rows[readable]
        if not len(kept):
            return Taken(None, kept)
        return Taken(self._read(how, kept, how.padding), kept, min(repeated, len(kept)))

    def _is_readable(self, how: Reading, row: int) -> bool:
        try:
            self._read(how, np.array([row]), False)
        except FastloadError:
            return False
        return True

    def _warn_if_slow(self, loader: Any) -> None:
        decoded_bytes = self.rows._source().decoded_bytes
        if self._has_warned or decoded_bytes <= loader.memory_bytes:
            return
        self._has_warned = True
        warnings.warn(
            f"a sampler names the rows, and the blocks they lie in take {decoded_bytes:,} bytes when decoded; memory_bytes is "
            f"{loader.memory_bytes:,}, so that a row may cost the decoding of a block. Raise memory_bytes, write the data with "
            "codec='raw', or use shuffle=True",
            UserWarning,
            stacklevel=6,
        )

    def _pass(
        self, loader: Any, how: Reading, requests: Iterator[Any], fetch: Any, make: Any, length: Any
    ) -> GatheringPass:
        self._warn_if_slow(loader)
        return GatheringPass(
            requests,
            fetch,
            make,
            how.costs,
            length=length,
            threads=loader.num_workers,
            depth=(vars(loader)["prefetch_factor"] or GATHER_DEPTH) * max(1, loader.num_workers),
            batch_rows=how.batch_rows,
            timeout_s=float(loader.timeout),
        )


class PlanServing(GatheringServing):
    """The order is a RowPlan: which row, at any position, as a function of seed and epoch."""

    def __init__(self, rows: RowAccess, recipe: Recipe, plan: Any) -> None:
        super().__init__(rows, recipe)
        if plan.dataset_rows != rows.num_rows:
            raise ArgumentError(
                f"the sampler was made for {plan.dataset_rows} rows, and the data set has {rows.num_rows}: make it anew"
            )
        self._plan = plan

    def total_rows(self, key: Key) -> int:
        return self._plan.num_rows(key.seed, key.epoch)

    def begin(self, loader: Any, key: Key, share: Share, make: Any) -> GatheringPass:
        total, how = self.total_rows(key), self._reading(loader, key)
        batch_rows = how.batch_rows
        mine = share.rows(total, key.position)
        batches = mine // batch_rows if loader._drops_last else -(-mine // batch_rows)
        group = self._group_batches(batch_rows)
        mine = mine if not loader._drops_last else batches * batch_rows
        stretch = group * batch_rows * max(1, STRETCH_ROWS // (group * batch_rows))
        named = Recent(capacity=2 + loader.num_workers)  # a plan is asked for the rows of many batches at a time

        def fetch(first: int) -> list[Taken | Exception]:
            begin, end = first // stretch * stretch, min(mine, first + group * batch_rows)
            positions = self._positions(key, share, begin, min(stretch, mine - begin))
            names = named.get(begin, lambda: self._name(key, positions % total))
            repeats = positions[end - begin - 1] >= total  # a rank's last row at most
            return self._fetch_named(how, names, first - begin, end - first, bool(repeats))

        requests = iter(range(0, mine, group * batch_rows))
        pass_ = self._pass(loader, how, requests, fetch, make, lambda: batches)
        pass_.key, pass_.share, pass_.total_rows, pass_.on_error = key, share, total, how.on_error
        pass_.measure_mix = self._measure_of_mix(key, share, mine, batch_rows)
        return pass_

    def _measure_of_mix(self, key: Key, share: Share, mine: int, batch_rows: int) -> Callable[[], float] | None:
        total = self.total_rows(key)

        def rows_at(first: int, count: int) -> np.ndarray:
            return self._name(key, self._positions(key, share, first, count) % total)

        return lambda: mix(rows_at, mine, batch_rows, self.rows.num_rows)

    def _positions(self, key: Key, share: Share, first: int, count: int) -> np.ndarray:
        return key.position + share.rank + np.arange(first, first + count) * share.world_size

    def _name(self, key: Key, positions: np.ndarray) -> Any:
        return self._plan.rows(key.seed, key.epoch, positions)

    def _group_batches(self, batch_rows: int) -> int:
        """Batches that are fetched together."""
        return 1

    def _fetch_named(self, how: Reading, names: Any, first: int, count: int, repeats: bool) -> list[Taken | Exception]:
        return [self._fetch(how, names[first : first + count], int(repeats))]

    def definition(self, loader: Any) -> dict[str, Any]:
        return {"order": type(self._plan).__name__, "plan": self._plan.fingerprint}

    def row_numbers(self, loader: Any, key: Key, share: Share, first: int, count: int) -> np.ndarray:
        total = self.total_rows(key)
        count = max(0, min(count, share.rows(total, key.position) - first))
        return self._plan.rows(key.seed, key.epoch, self._positions(key, share, first, count) % total)

    def audit(self, key: Key, digest: int, rows: int) -> Audit:
        total, chunk = self.total_rows(key), 1 << 20
        expected = sum(
            digest_of(self._plan.rows(key.seed, key.epoch, np.arange(first, min(total, first + chunk))))
            for first in range(0, total, chunk)
        )
        return Audit(rows, digest, total, expected % (1 << 64))


class PackedServing(PlanServing):
    """Rows of the order are packed rows, made of documents."""

    def __init__(self, rows: RowAccess, packing: Any, shuffles: bool) -> None:
        field = packing.field_of(rows.schema)
        documents = rows.select(field.name)
        super().__init__(
            documents,
            recipe_of({}, documents),
            SequencePacking(
                rows.lengths(field.name), packing.length, pool_documents=packing.pool_documents, shuffle=shuffles
            ),
        )
        self.shuffles = shuffles
        self._packed = PackedRows(field, packing)
        self.schema = self._packed.schema

    def _name(self, key: Key, positions: np.ndarray) -> Any:
        return self._plan.documents(key.seed, key.epoch, positions)

    def _measure_of_mix(self, key: Key, share: Share, mine: int, batch_rows: int) -> None:
        """Not known: a packed row is of many documents."""

    def _group_batches(self, batch_rows: int) -> int:
        # What a batch costs in Python, and in waking its consumer, is as much as the copying: several share it.
        return max(1, GROUP_BYTES // (batch_rows * self._packed.row_bytes))

    def _fetch_named(self, how: Reading, names: Any, first: int, count: int, repeats: bool) -> list[Taken | Exception]:
        begin, end = np.searchsorted(names[3], (first, first + count))
        documents, starts, lengths, bins = (column[begin:end] for column in names)
        ((values, _, offsets, _),) = self._read(how, documents, False)
        taken, batch_rows = [], how.batch_rows
        for at in range(0, count, batch_rows):
            rows = min(batch_rows, count - at)
            repeated = int(repeats and at + rows == count)
            i, j = np.searchsorted(bins, (first + at, first + at + rows))
            local = bins[i:j] - (first + at)
            parts = self._packed.place(values, offsets[i:], starts[i:j], lengths[i:j], local, rows)
            begun = documents[i:j][(starts[i:j] == 0) & (local < rows - repeated)]
            how.costs.note_places(int(lengths[i:j].sum()), rows * self._plan.row_tokens)
            taken.append(Taken(parts, None, repeated, begun))
        return taken

    def row_numbers(self, loader: Any, key: Key, share: Share, first: int, count: int) -> np.ndarray:
        total = self.total_rows(key)
        count = max(0, min(count, share.rows(total, key.position) - first))
        positions = self._positions(key, share, first, count) % total
        return self._plan.documents(key.seed, key.epoch, positions)[0]

    def audit(self, key: Key, digest: int, rows: int) -> Audit:
        """Of documents, each counted where it begins."""
        documents = np.flatnonzero(self.rows.lengths(self.rows.schema.names[0]))
        return Audit(rows, digest, len(documents), digest_of(documents))


class SamplerServing(GatheringServing):
    """A sampler of the user's names the rows, in the caller's thread. It has no positions: a state counts batches."""

    deals = False

    def begin(self, loader: Any, key: Key, share: Share, make: Any) -> GatheringPass:
        sampler, how = loader.batch_sampler, self._reading(loader, key)
        lists = iter(sampler)
        for _ in range(key.position):
            next(lists, None)

        def fetch(rows: Any) -> list[Taken | Exception]:
            return [self._fetch(how, np.asarray(rows, np.int64))]

        def length() -> int:
            return max(0, len(sampler) - key.position)

        pass_ = self._pass(loader, how, lists, fetch, make, length)
        pass_.key, pass_.share, pass_.on_error = key, share, how.on_error
        pass_.position_after = lambda batches: key.position + batches
        return pass_

    def definition(self, loader: Any) -> dict[str, Any]:
        return {"order": "sampler"}

    def row_numbers(self, loader: Any, key: Key, share: Share, first: int, count: int) -> np.ndarray:
        raise StateError(
            "a sampler of your own cannot be asked which rows come at a step: it has to be run up to there"
        )

    def audit(self, key: Key, digest: int, rows: int) -> Audit:
        raise StateError("what a sampler of your own should deliver is not known, so it cannot be audited")
