"""Several transforms, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastload.errors import ArgumentError
from fastload.transform.base import Transform, from_json
from fastload.transform.chain import Chain
from fastload.transform.learn import array_of


class Compose(Transform):
    """Several transforms, one after the other; what can be is done in one pass over the values.

    Parameters
    ----------
    transforms : sequence of Transform

    Examples
    --------
    >>> import numpy as np
    >>> from fastload.transform.cast import Cast
    >>> from fastload.transform.clip import Clip
    >>> Compose([Clip(0, 2), Cast("int8")]).transform(np.array([-1.0, 1.5, 9.0])).tolist()
    [0, 1, 2]
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        wrong = [t for t in transforms if not isinstance(t, Transform)]
        if wrong or not transforms:
            raise ArgumentError(f"Compose takes at least one transform, and nothing else; got {wrong or 'none'}")
        self.transforms = list(transforms)

    @property
    def draws(self) -> bool:
        return any(transform.draws for transform in self.transforms)

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Compose:
        return cls([from_json(state) for state in parameters["transforms"]])

    def fit(self, X: Any, y: Any = None) -> Compose:
        """Fits each on what those before it make of `X`; those that draw are left out, as they move pixels and change none."""
        for i, transform in enumerate(self.transforms):
            transform.fit(X)
            if i + 1 < len(self.transforms) and not transform.draws:
                X = transform.transform(array_of(X))
        return self

    def extend(self, chain: Chain) -> None:
        for transform in self.transforms:
            transform.extend(chain)


def as_transform(given: Any) -> Transform | None:
    """A transform, or a list of them as one; None if it is neither."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        return Compose(given)
    return given if isinstance(given, Transform) else None
