"""What all transforms have in common: scikit-learn's fit and transform, JSON, and the way into the loader."""

from __future__ import annotations

import inspect
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastload.block.threads import default_threads
from fastload.errors import ArgumentError, DtypeError, RefusedValueError, ShapeError
from fastload.kernels import cpu_kernels, cuda_kernels
from fastload.plan.random import row_keys
from fastload.schema import DTYPES, Field
from fastload.transform.chain import Chain

_KINDS: dict[str, type[Transform]] = {}


class Transform(ABC):
    """Makes something else of the values of one field. Subclasses say in `extend` what.

    Parameters are attributes of the same names; what is learned in `fit` are attributes that end in an underscore, of which
    `_LEARNED` names those that go into JSON.
    """

    _LEARNED: tuple[str, ...] = ()
    draws = False  # at random, by (seed, epoch, row)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _KINDS[cls.__name__] = cls

    @abstractmethod
    def extend(self, chain: Chain) -> None:
        """Adds the steps to a chain."""

    # --- scikit-learn's ways ------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Transform:
        """Learns what the transform needs to know. `X` : array [rows, ...], or a Dataset of one field."""
        return self

    def transform(
        self,
        X: Any,
        *,
        seed: int = 0,
        epoch: int = 0,
        rows: Any = None,
        num_workers: int | None = None,
        stream: int = 0,
    ) -> Any:
        """What becomes of `X`.

        Parameters
        ----------
        X : array [rows, ...]
            NumPy, or what NumPy takes. Of an array on a CUDA device (torch, CuPy, numba) comes one of the same library there.
        seed, epoch : int
            Random transforms draw by (seed, epoch, row).
        rows : int64 array [rows], optional
            Numbers of the rows; 0, 1, ... by default.
        num_workers : int, optional
            Threads; by default the processors this process may use, at most 4.
        stream : int
            The CUDA stream that work on a device is queued on, as a number.

        Raises
        ------
        NotFittedError, RefusedValueError, ArgumentError, DtypeError, MissingExtraError
        """
        on_device = getattr(X, "__cuda_array_interface__", None)
        values = X if on_device is not None else np.ascontiguousarray(X)
        chain = Chain(
            _field_of(values.shape, np.dtype(on_device["typestr"]) if on_device is not None else values.dtype)
        )
        self.extend(chain)
        chain.finish()
        if chain.masks:
            raise ArgumentError(
                "a mask of missing values comes beside the batches of a loader; of an array np.isnan(X) is one"
            )
        keys = None
        if chain.draws:
            keys = row_keys(seed, epoch, np.arange(values.shape[0]) if rows is None else np.asarray(rows))
        if not chain.calls:
            return values
        if on_device is not None:
            cuda = cuda_kernels()
            return cuda.viewed(cuda.run(chain.calls, values, keys, stream=stream), chain.dtype)
        return run_chain(chain, values, None, keys, num_workers)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        return self.fit(X).transform(X)

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return list(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Transform:
        unknown = set(params) - set(self._parameter_names())
        if unknown:
            raise ArgumentError(f"{type(self).__name__} has no parameter {sorted(unknown)[0]!r}")
        self.__init__(**{**self.get_params(), **params})
        return self

    def __repr__(self) -> str:
        defaults = {n: p.default for n, p in inspect.signature(type(self)).parameters.items()}
        given = {n: v for n, v in self.get_params().items() if not (type(v) is type(defaults[n]) and v == defaults[n])}
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in given.items())})"

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Transform:
        return cls(**parameters)

    # --- JSON ---------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Parameters and what was learned, as JSON has it. See `from_json`."""
        learned = {name: _plain(getattr(self, name)) for name in self._LEARNED if hasattr(self, name)}
        return {"kind": type(self).__name__, "parameters": _plain(self.get_params()), "learned": learned}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_json` to a file; ``fastload.load_transform`` reads it, anywhere."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")


def from_json(state: Any) -> Transform:
    """The transform that ``to_json`` gave this of; ArgumentError if it is something else.

    >>> from fastload.transform.clip import Clip
    >>> from_json(Clip(0, 1).to_json())
    Clip(low=0, high=1)
    """
    if not isinstance(state, dict) or state.get("kind") not in _KINDS or not isinstance(state.get("parameters"), dict):
        raise ArgumentError(f"this is no transform as to_json() gives one: {state!r:.80}")
    transform = _KINDS[state["kind"]]._from_parameters(state["parameters"])
    for name, value in state.get("learned", {}).items():
        if name not in transform._LEARNED:
            raise ArgumentError(f"{state['kind']} learns no {name!r}")
        setattr(transform, name, np.asarray(value) if isinstance(value, list) else value)
    return transform


def load_transform(path: str | os.PathLike[str]) -> Transform:
    """A transform that was saved, with what it had learned.

    Raises
    ------
    ArgumentError
        The file holds something else.

    Examples
    --------
    >>> import tempfile, fastload as fl
    >>> path = tempfile.mkdtemp() + "/scale.json"
    >>> fl.Normalize().fit(np.array([[1.0], [3.0]])).save(path)
    >>> fl.load_transform(path).transform(np.array([[5.0]])).tolist()
    [[3.0]]
    """
    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArgumentError(f"{str(path)!r} is not JSON: {error}") from None
    return from_json(state)


def run_chain(
    chain: Chain,
    values: np.ndarray,
    valid: Any = None,
    keys: Any = None,
    num_workers: int | None = None,
    first_row: int = 0,
) -> np.ndarray:
    """Values of a finished chain's source [rows, ...], through it. valid : bool [rows], where the source is nullable.
    first_row : the number of the first of them, for errors."""
    if not chain.calls:
        return values
    threads = default_threads() if num_workers is None else num_workers
    out, refused, refusal = cpu_kernels().run(chain.calls, values, valid, keys, threads)
    if refused:
        raise RefusedValueError(f"field {chain.name!r}, row {first_row + refused - 1}: {refusal}")
    return out.view(np.float16) if chain.dtype == "float16" else out


def _field_of(shape: tuple[int, ...], dtype: np.dtype) -> Field:
    if dtype.kind not in "biuf" or dtype.name not in DTYPES:
        raise DtypeError(f"transforms take numbers, got an array of {dtype}; text becomes categories at conversion")
    if not shape:
        raise ShapeError("transforms take arrays with one entry a row, got a single value")
    return Field("X", dtype.name, tuple(shape[1:]))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, Transform):
        return value.to_json()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value
