"""A nest of dicts, lists, plain values, arrays and tensors <-> one file.

The file is what ``numpy.savez`` writes, a zip of arrays that are not compressed, each with a CRC32. The member "structure" is
UTF-8 text: the nest as JSON, with {"$array": 3} where the array "3" belongs. There is no pickle in it, and nothing is run that
stands in it.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastload.block.manifest import sync_folder
from fastload.errors import DtypeError, FileIOError, FormatError, VersionError
from fastload.ingest.export import published

VERSION = 1
PLAIN = (str, bool, int, float, type(None))
DAMAGED = (  # what zipfile, NumPy and json raise for bytes that they do not expect
    zipfile.BadZipFile, zlib.error, ValueError, LookupError, TypeError, AttributeError, EOFError, MemoryError, RuntimeError,
)  # fmt: skip


def save(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` to a file, which has its old content until the new one is whole and on disk.

    Parameters
    ----------
    path : path-like
    value : any nest of
        dicts with str or int keys, lists, tuples, str, bool, int, float, None, NumPy arrays and scalars, tensors.

    Raises
    ------
    DtypeError
        Something else is in it; the message says where.
    FileIOError, DiskFullError
        Nothing was changed.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/model"
    >>> save(path, {"step": 3, "weights": [torch.ones(2)], 7: (1.5, None)})
    >>> load(path)
    {'step': 3, 'weights': [tensor([1., 1.])], 7: (1.5, None)}
    """
    arrays: list[np.ndarray] = []
    tree = {"fastload": "model", "version": VERSION, "value": _to_json(value, "", arrays)}
    text = np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8)
    with published(Path(path)) as file:
        np.savez(file, structure=text, **{str(i): array for i, array in enumerate(arrays)})
    sync_folder(Path(path).absolute().parent)


def load(path: str | os.PathLike[str]) -> Any:
    """What `save` was given; tensors are on the CPU.

    Raises
    ------
    FormatError
        The file is damaged, or none that `save` wrote.
    VersionError
        It was written by a later version.
    FileIOError
        There is none, or it cannot be read.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            tree = json.loads(found["structure"].tobytes())
            if tree["fastload"] != "model":
                raise ValueError("it is of another program")
            if tree["version"] != VERSION:
                message = f"'{path}' is of version {tree['version']}, and this build reads version {VERSION}"
                raise VersionError(message)
            return _from_json(tree["value"], found)
    except OSError as error:
        raise FileIOError(f"cannot read '{path}': {error.strerror or error}") from error
    except DAMAGED as error:
        raise FormatError(
            f"'{path}' must be a file that fastload saved a model in, and is damaged or none: {error}"
        ) from error


def is_plain(value: Any) -> bool:
    """Whether it is a plain value, or lists, tuples and dicts of such: no tensor, no module, no function.

    >>> is_plain({"betas": (0.5, 0.9)}), is_plain([print])
    (True, False)
    """
    if isinstance(value, dict):
        return is_plain(list(value)) and is_plain(list(value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return isinstance(value, (*PLAIN, np.generic))


def _to_json(value: Any, where: str, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, list):
        return [_to_json(item, f"{where}[{i}]", arrays) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": _to_json(list(value), where, arrays)}
    if isinstance(value, dict) and all(isinstance(key, (str, int)) for key in value):
        items = [[key, _to_json(item, f"{where}[{key!r}]", arrays)] for key, item in value.items()]
        is_json = all(isinstance(key, str) and not key.startswith("$") for key in value)
        return dict(items) if is_json else {"$dict": items}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcU":
        arrays.append(value)
        return {"$array": len(arrays) - 1}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        is_bfloat16 = value.dtype == torch.bfloat16  # which NumPy has not
        arrays.append((value.view(torch.int16) if is_bfloat16 else value).numpy())
        return {"$bfloat16" if is_bfloat16 else "$tensor": len(arrays) - 1}
    raise DtypeError(f"a file cannot hold a {type(value).__name__}, which is at value{where}")


def _from_json(tree: Any, arrays: Any) -> Any:
    if isinstance(tree, list):
        return [_from_json(item, arrays) for item in tree]
    if not isinstance(tree, dict):
        return tree
    mark, content = next(iter(tree.items())) if len(tree) == 1 else ("", None)
    if mark == "$tuple":
        return tuple(_from_json(content, arrays))
    if mark == "$dict":
        return {key: _from_json(item, arrays) for key, item in content}
    if mark == "$array":
        return arrays[str(content)]
    if mark == "$tensor":
        return torch.from_numpy(arrays[str(content)])
    if mark == "$bfloat16":
        return torch.from_numpy(arrays[str(content)]).view(torch.bfloat16)
    return {key: _from_json(item, arrays) for key, item in tree.items()}
