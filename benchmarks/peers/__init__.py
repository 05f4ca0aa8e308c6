"""The loaders that are timed: one small file each, the same three answers from all of them.

A peer file holds ``PEERS``, a list of `Peer`. To add one: write its file, name it in `FILES`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.workloads import Workload

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]  # (x, y)

FILES = (
    "ours",
    "numpy_limit",
    "torch_default",
    "torch_getitems",
    "torch_expert",
    "torch_tensordataset",
    "augmented",
    "feather",
    "blosc2",
    "lance",
    "spdl",
    "ffcv",
    "hf_datasets",
)


@dataclass(frozen=True)
class Peer:
    """One way to load one workload.

    name : ``family/variant``, unique for a workload. workload : ``"w1"``, ``"w2"`` or ``"w3"``.
    open : (workload, folder) -> a function of the epoch number that gives that epoch's batches, tensors (x,
    y) of
        `batch_rows` rows and the rest at the end. Imports of the peer's own package belong in it.
    prepare : (workload, folder) -> None writes the peer's own files; None where it reads the npy files.
    files : peers with the same `files` share one folder. needs, install : packages, and how to get them.
    """

    name: str
    workload: str
    open: Callable[[Workload, Path], Callable[[int], Batches]]
    prepare: Callable[[Workload, Path], None] | None = None
    files: str = ""
    needs: tuple[str, ...] = ()
    install: str = ""

    @property
    def key(self) -> str:
        return f"{self.workload}:{self.name}"

    @property
    def missing(self) -> list[str]:
        """Modules of `needs` that cannot be found here."""
        return [module for module in self.needs if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False


def of_workload(workload: str, wanted: str = "") -> list[Peer]:
    """Peers of a workload, in the order of `FILES`; `wanted`: families or full names, with commas.

    Raises ValueError for a name that matches none.
    """
    every = [
        peer for file in FILES for peer in import_module(f"benchmarks.peers.{file}").PEERS if peer.workload == workload
    ]
    names = [name for name in wanted.split(",") if name]
    for name in names:
        if not any(_matches(peer, name) for peer in every):
            known = ", ".join(sorted({peer.name.split("/")[0] for peer in every}))
            raise ValueError(f"--peers takes families ({known}) or full names, found {name!r}")
    return [peer for peer in every if not names or any(_matches(peer, name) for name in names)]


def _matches(peer: Peer, name: str) -> bool:
    return peer.name == name or peer.name.split("/")[0] == name


def find(key: str) -> Peer:
    """The peer of a `Peer.key`, say ``"w1:torch/default-2w"``."""
    workload, _, name = key.partition(":")
    return next(peer for peer in of_workload(workload) if peer.name == name)


def folder_of(peer: Peer, workload: Workload) -> Path:
    """Where a peer's own files for this workload lie; it holds none for a peer that reads the npy files."""
    return workload.root / "peers" / workload.key / (peer.files or "none")


def prepare(peer: Peer, workload: Workload, fresh: bool) -> bool:
    """Write the peer's files, unless they are there, whole, and of the installed version; True if written."""
    if peer.prepare is None:
        return False
    folder = folder_of(peer, workload)
    mark, stamp = folder.with_suffix(".done"), " ".join(map(_version, peer.needs))
    if not fresh and mark.exists() and mark.read_text() == stamp:
        return False
    mark.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    peer.prepare(workload, folder)
    mark.write_text(stamp)
    return True


def _version(module: str) -> str:
    try:
        return f"{module}={version(module.partition('.')[0])}"
    except PackageNotFoundError:
        return module
