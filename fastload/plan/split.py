"""Which split a row belongs to: a pure function of (seed, row number) or of (seed, key).

Nothing is drawn and nothing remembered, so a split needs no second pass, no memory, and comes out the same on
every platform, for any chunking of the input and for ever: the functions below are part of the package's
contract.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from fastload.errors import ArgumentError, DtypeError
from fastload.plan.random import GOLDEN, checked_word, mix64
from fastload.schema import Categorical, Ragged

NULL_KEY = np.uint64(0x6E756C6C6B657931)  # rows without a key stay together
NAN_KEY = np.uint64(0x6E616E6B65797331)  # so do rows whose key is not a number
SPLIT_NAME = re.compile(r"[A-Za-z0-9_-]+")


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Raise ArgumentError unless `fractions` maps names fit for a file name to shares > 0 that sum to 1 (to
    1e-9).

    >>> check_fractions({"train": 0.8, "test": 0.2})
    """
    if not isinstance(fractions, Mapping) or not fractions:
        raise ArgumentError(
            f"a split is a dict of name -> share, such as {{'train': 0.8, 'test': 0.2}}; got {fractions!r}"
        )
    if len(fractions) > 255:
        raise ArgumentError(f"a split has at most 255 parts, got {len(fractions)}")
    for name, share in fractions.items():
        if not isinstance(name, str) or not SPLIT_NAME.fullmatch(name):
            raise ArgumentError(f"a split's name is made of letters, digits, '_' and '-'; got {name!r}")
        if not isinstance(share, (int, float, np.floating)) or not 0 < share <= 1:
            raise ArgumentError(f"split {name!r}: a share must be above 0 and at most 1, got {share!r}")
    total = math.fsum(fractions.values())
    if abs(total - 1) > 1e-9:
        raise ArgumentError(f"the shares of a split must sum to 1 (within 1e-9), got {total!r} for {dict(fractions)!r}")


def split_rows(first_row: int, num_rows: int, fractions: Mapping[str, float], *, seed: int = 0) -> np.ndarray:
    """The split of rows ``first_row .. first_row + num_rows``, each decided by its own number.

    Every row falls into split s with probability ``fractions[s]``, so sizes are near the shares, not equal to
    them.

    Returns
    -------
    uint8 array [num_rows] : position of the split in ``list(fractions)``.

    Raises
    ------
    ArgumentError
        The fractions do not sum to 1, or the seed is not in 0 .. 2^64 - 1.

    Examples
    --------
    >>> split_rows(0, 10, {"train": 0.5, "test": 0.5}).tolist()
    [0, 1, 1, 0, 1, 1, 0, 1, 0, 0]
    """
    check_fractions(fractions)
    rows = np.arange(first_row, first_row + num_rows, dtype=np.uint64)
    return _place(_mix(_mix(_seed(seed)) + rows * GOLDEN), fractions)


def split_keys(keys: np.ndarray | Ragged | Categorical, fractions: Mapping[str, float], *, seed: int = 0) -> np.ndarray:
    """The split of rows by their key: equal keys always land in the same split.

    Parameters
    ----------
    keys : column of one key per row, as for ``hash_keys``.

    Returns
    -------
    uint8 array [rows] : position of the split in ``list(fractions)``.

    Examples
    --------
    >>> split_keys(np.array(["ann", "bob", "ann"]), {"train": 0.5, "test": 0.5}).tolist()
    [1, 0, 1]
    """
    check_fractions(fractions)
    return _place(hash_keys(keys, seed=seed), fractions)


def hash_keys(keys: np.ndarray | Ragged | Categorical, *, seed: int = 0) -> np.ndarray:
    """A 64-bit hash of every key, the same on every platform and for every width a key may be stored in.

    - Integers and bools of any width by value: int8 5, uint64 5 and 5.0 are one key (below 2^63). Other
      floats by their float64 pattern (so float32 0.5 and float64 0.5 agree); all NaN are one key.
    - Text by its UTF-8 bytes: str arrays, bytes, Ragged of uint8 and Categorical agree.
    - Missing keys (masked or not valid) are one key.

    Parameters
    ----------
    keys : ndarray [rows] of bool, integers, floats, str or bytes, masked or not; Ragged of uint8; or
    Categorical.

    Returns
    -------
    uint64 array [rows].

    Raises
    ------
    DtypeError
        The keys are not scalars of these types.

    Examples
    --------
    >>> bool((hash_keys(np.array([7], "int8")) == hash_keys(np.array([7.0], "float32")))[0])
    True
    """
    start = _mix(_seed(seed))
    if isinstance(keys, Categorical):
        hashes = _hash_text(Ragged.from_rows(keys.categories, "string"), start)
        codes = np.asarray(keys.codes)
        missing = None if keys.valid is None else ~keys.valid
        if missing is not None:
            codes = np.where(missing, 0, codes)
            hashes = hashes if len(hashes) else np.zeros(1, np.uint64)
        hashes = hashes[codes]
    elif isinstance(keys, Ragged):
        if keys.values.dtype != np.uint8:
            raise DtypeError(f"a key must be one value a row, got runs of {keys.values.dtype}")
        hashes = _hash_text(keys, start)
        missing = None if keys.valid is None else ~keys.valid
    else:
        missing = np.ma.getmaskarray(keys) if isinstance(keys, np.ma.MaskedArray) else None
        hashes = _hash_array(np.ma.getdata(keys), start)
    if missing is not None:
        hashes = np.where(missing, _mix(start ^ NULL_KEY), hashes)
    return hashes


def _hash_array(keys: np.ndarray, start: np.ndarray) -> np.ndarray:
    keys = np.asarray(keys)
    if keys.ndim != 1:
        raise DtypeError(f"a key must be one value a row, got an array of shape {keys.shape}")
    if keys.dtype.kind in "US":
        return _hash_text(Ragged.from_rows(keys.tolist(), "string" if keys.dtype.kind == "U" else "bytes"), start)
    if keys.dtype.kind in "biu":
        return _mix(_mix(_integers(keys) ^ start))
    if keys.dtype.kind == "f":
        values = keys.astype(np.float64)
        whole = (np.trunc(values) == values) & (np.abs(values) < 2.0**63)
        bits = np.where(np.isnan(values), NAN_KEY, values.view(np.uint64))
        bits[whole] = _integers(values[whole].astype(np.int64))
        return _mix(_mix(bits ^ start))
    raise DtypeError(f"a key must be bool, integer, float, str or bytes, got {keys.dtype}")


def _integers(keys: np.ndarray) -> np.ndarray:
    """Any integer width -> its value modulo 2^64."""
    return keys.astype(np.uint64) if keys.dtype.kind in "bu" else keys.astype(np.int64).view(np.uint64)


def _hash_text(text: Ragged, start: np.ndarray) -> np.ndarray:
    """Hash runs of bytes, eight at a time: all rows in step, the shorter ones dropping out."""
    lengths = np.diff(text.offsets)
    padded = np.concatenate([text.values, np.zeros(8, np.uint8)])
    hashes = _mix(start ^ lengths.astype(np.uint64))
    rows = np.flatnonzero(lengths > 0)
    done = 0
    while len(rows):
        words = padded[(text.offsets[rows] + done)[:, None] + np.arange(8)].view("<u8")[:, 0].astype(np.uint64)
        left = np.minimum(lengths[rows] - done, 8).astype(np.uint64)
        words &= np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - left * np.uint64(8))  # what follows is a neighbour
        hashes[rows] = _mix(hashes[rows] * GOLDEN ^ words)
        done += 8
        rows = rows[lengths[rows] > done]
    return _mix(hashes)


def _mix(state: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: a bijection of 64-bit words; every input bit reaches every output bit."""
    return mix64(state - GOLDEN)  # which adds it first


def _seed(seed: int) -> np.ndarray:
    # one element, not a scalar: NumPy scalars warn when they wrap around; GOLDEN, since _mix(0) is 0
    return np.array([checked_word("a seed", seed)], np.uint64) + GOLDEN


def _place(hashes: np.ndarray, fractions: Mapping[str, float]) -> np.ndarray:
    """Hash -> uniform in [0, 1) -> the split whose share covers it."""
    uniform = (hashes >> np.uint64(11)) * 2.0**-53
    bounds = np.cumsum(np.fromiter(fractions.values(), np.float64))[:-1]
    return np.searchsorted(bounds, uniform, side="right").astype(np.uint8)
