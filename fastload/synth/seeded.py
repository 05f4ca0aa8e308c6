"""Draws that are a function of a seed, from code that draws from torch's global generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fastload.plan.random import stream_key


@contextmanager
def seeded(seed: int, use: str, number: int = 0, *, device: torch.device | str = "cpu") -> Iterator[None]:
    """What is drawn in the block, on the CPU and on `device`, is a function of these numbers; afterwards torch's generators are
    as they were before.

    Dropout and ``torch.randn`` need no generator to be handed around, and a state of random numbers need not be saved:
    the number of a training step says all of it.

    Parameters
    ----------
    seed, number : int
        0 .. 2^64 - 1.
    use : str of at most 8 ASCII letters
        Draws of one use tell nothing about those of another.

    Examples
    --------
    >>> with seeded(0, "example"):
    ...     first = torch.rand(2)
    >>> with seeded(0, "example"):
    ...     bool((torch.rand(2) == first).all())
    True
    """
    generators = [torch.default_generator]
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    states = [generator.get_state() for generator in generators]
    key = stream_key(seed, number, int.from_bytes(use.encode(), "big"))
    try:
        for generator in generators:
            generator.manual_seed(key)
        yield
    finally:
        for generator, state in zip(generators, states):
            generator.set_state(state)
