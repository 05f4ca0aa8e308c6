"""Which rank of a distributed run gets which positions of the one global order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch.distributed as dist
from torch.utils.data import DistributedSampler, RandomSampler, SequentialSampler

from fastload.errors import ArgumentError

ENDS = ("pad", "drop", "wrap")
USUAL_LANES = 60  # what 1 to 6 ranks, 10 and 12 divide
LANE_BLOCKS = 4  # that a lane should hold at a time: it decodes about one more


class Share(NamedTuple):
    """Rank `rank` of `world_size` takes the positions ``first + rank + q * world_size``.

    ends : what happens where the rows do not come out even. "pad" and "wrap" repeat rows from the beginning of the order,
    "drop" leaves the last ones out: every rank has the same number of rows.
    """

    rank: int = 0
    world_size: int = 1
    ends: str = "pad"

    def rows(self, total: int, first: int = 0) -> int:
        """Rows of a rank when those from position `first` to `total` are dealt.

        >>> Share(0, 4).rows(10), Share(0, 4, "drop").rows(10), Share(0, 4).rows(10, first=8)
        (3, 2, 1)
        """
        left = total - first
        return left // self.world_size if self.ends == "drop" else -(-left // self.world_size)

    def position_after(self, total: int, first: int, rows: int) -> int:
        """Where the global order stands when every rank has had `rows` rows."""
        return min(total, first + rows * self.world_size)


def check_share(rank: Any, world_size: Any, ends: Any) -> None:
    """ArgumentError unless these name a rank, or none does."""
    if ends not in ENDS:
        raise ArgumentError(f"ends must be one of {', '.join(ENDS)}; got {ends!r}")
    if (rank is None) != (world_size is None):
        raise ArgumentError(f"rank and world_size go together; got rank={rank!r}, world_size={world_size!r}")
    if rank is None:
        return
    if isinstance(world_size, bool) or not isinstance(world_size, int) or world_size < 1:
        raise ArgumentError(f"world_size must be a positive integer, got {world_size!r}")
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 <= rank < world_size:
        raise ArgumentError(f"rank must be an integer in 0 .. {world_size - 1}, got {rank!r}")


class RankSampler(DistributedSampler):
    """What a loader with `rank` and `world_size` shows as its sampler: frameworks see that it deals rows by itself, and find
    ``set_epoch`` where they look for it. Iterated, it gives the rows that the loader delivers."""

    def __init__(self, loader: Any, dataset: Any, rank: int, world_size: int, shuffle: bool, drop_last: bool) -> None:
        super().__init__(dataset, world_size, rank, shuffle=shuffle, drop_last=drop_last)
        self._loader = loader

    def __iter__(self) -> Iterator[int]:
        return iter(self._loader._rows_of_epoch(self.epoch).tolist())

    def __len__(self) -> int:
        return self._loader._share().rows(len(self.dataset))


class EpochSampler(RandomSampler):
    """What a loader with a `seed` shows as its sampler when it shuffles: torch's, and a place to tell the epoch, which is
    where Lightning looks for one."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def stock_order(sampler: Any, num_rows: int) -> bool | None:
    """Whether a sampler of torch's own shuffles these rows; None if it is another one, or does not give each row once.

    Such samplers look at the length of their data set only, and so does this: a framework may have made the sampler from
    another view of the same data.

    >>> stock_order(RandomSampler(range(5)), 5), stock_order(SequentialSampler(range(5)), 5), stock_order([3, 1], 5)
    (True, False, None)
    """
    kind = type(sampler)
    if kind in (DistributedSampler, RankSampler):
        source, shuffles = sampler.dataset, sampler.shuffle
    elif kind is SequentialSampler:
        source, shuffles = sampler.data_source, False
    elif kind in (RandomSampler, EpochSampler) and not sampler.replacement and sampler._num_samples is None:
        source, shuffles = sampler.data_source, True
    else:
        return None
    return shuffles if len(source) == num_rows else None


def agreed_seed(seed: int, world_size: int) -> int:
    """Rank 0's seed, on every rank. Collective: all ranks call it at the same point of their programs.

    Raises
    ------
    ArgumentError
        torch.distributed was not initialised for these ranks, so they cannot agree.
    """
    if world_size == 1:
        return seed
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() != world_size:
        raise ArgumentError(
            f"{world_size} ranks must shuffle by one seed, and without torch.distributed being initialised for them they "
            "cannot agree on one: give seed=..., the same on all ranks"
        )
    seeds = [seed]
    dist.broadcast_object_list(seeds, src=0)
    return seeds[0]


def usual_lanes(world_size: int, blocks_in_memory: int) -> int:
    """Lanes for this many ranks, where a rank's memory holds so many blocks (0: none has to be decoded).

    >>> usual_lanes(1, 10_000), usual_lanes(4, 10_000), usual_lanes(8, 10_000), usual_lanes(4, 50), usual_lanes(4, 0)
    (1, 60, 56, 12, 1)
    """
    if world_size == 1 or blocks_in_memory == 0:
        return 1
    most = min(USUAL_LANES, blocks_in_memory // LANE_BLOCKS)
    return world_size * max(1, most // world_size)
