"""The folder around the shards: which shards make the data set, and how a version of it becomes visible.

A data set is a folder::

    name.fl/
        manifest.json                     names the shards; what is not named here does not belong
        000001-00000-9f2c61d0.flb         generation, number, random; never rewritten
        .000001-00001-1b7d0a44.flb.tmp    a shard being written

manifest.json is one JSON object that starts with ``{"crc32c": "xxxxxxxx", ``: the CRC32C, in lower-case hexadecimal, of
all bytes after that prefix. So every bit of the file is covered.

To publish: write a temporary file, fsync, rename over the old manifest, fsync the folder. Shards are renamed to their
final names before; a writer that dies earlier leaves files that no manifest names, and the next writer removes them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

from fastload import _core
from fastload.errors import (
    DiskFullError,
    FileIOError,
    FormatError,
    ManifestError,
    NotADatasetError,
    SchemaError,
    VersionError,
)
from fastload.schema import Schema

NAME = "manifest.json"
FORMAT = "fastload"
VERSION = 1
MAX_BYTES = 64 << 20
_PREFIX = re.compile(rb'\{"crc32c": "([0-9a-f]{8})", ')
_SHARD_NAME = re.compile(r"[0-9A-Za-z_-]{1,80}\.flb")


@dataclass(frozen=True)
class ShardEntry:
    """What the manifest knows of a shard; a shard that differs is refused."""

    name: str
    size_bytes: int
    rows: int
    file_id: str  # 32 hexadecimal digits
    footer_crc32c: int


@dataclass(frozen=True)
class Manifest:
    generation: int
    schema: Schema
    shards: tuple[ShardEntry, ...]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def to_bytes(self) -> bytes:
        body: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "generation": self.generation,
            "rows": self.rows,
            "schema": self.schema.to_json(),
            "shards": [asdict(shard) for shard in self.shards],
        }
        rest = json.dumps(body, indent=1)[1:].lstrip().encode("utf-8") + b"\n"
        return b'{"crc32c": "%08x", ' % _core.crc32c(rest) + rest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a data set.

    Raises
    ------
    NotADatasetError
        No folder, or no manifest in it.
    ManifestError
        Damaged, or not made by fastload.
    VersionError
        Of a newer format.
    """
    path = folder / NAME
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            content = file.read(min(size_bytes, MAX_BYTES) + 1)  # no buffer of the limit's size for each opening
    except (FileNotFoundError, NotADirectoryError):
        kind = "does not exist" if not folder.exists() else "holds no manifest.json" if folder.is_dir() else "is a file"
        raise NotADatasetError(
            f"a data set is a folder with a {NAME}; '{folder}' {kind}"
            + ("; make one with fastload.convert()" if kind == "is a file" else "")
        ) from None
    except OSError as error:
        raise FileIOError(f"cannot read '{path}': {error.strerror}") from error
    return _parse(content, path)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe must be refused, not waited for


def _parse(content: bytes, path: Path) -> Manifest:
    prefix = _PREFIX.match(content)
    if len(content) > MAX_BYTES or prefix is None:
        raise ManifestError(
            f"'{path}' is no manifest of fastload: it must start with its own checksum and have at most {MAX_BYTES} bytes; "
            f"found {content[:24]!r}..., {len(content)} bytes"
        )
    rest = content[prefix.end() :]
    if _core.crc32c(rest) != int(prefix[1], 16):
        raise ManifestError(
            f"'{path}' has changed since it was written (CRC32C differs); restore it from a copy, do not edit it by hand"
        )
    try:
        body = json.loads(b"{" + rest)
        if body["format"] != FORMAT:
            raise ValueError(f"format {body['format']!r}")
        if body["version"] != VERSION:
            raise VersionError(
                f"'{path}' is of version {body['version']!r}, this build reads {VERSION}; update fastload"
            )
        shards = tuple(ShardEntry(**entry) for entry in body["shards"])
        manifest = Manifest(body["generation"], Schema.from_json(body["schema"]), shards)
        if body["rows"] != manifest.rows or any(not _SHARD_NAME.fullmatch(s.name) for s in shards):
            raise ValueError("rows or shard names do not fit")
        if len({shard.name for shard in shards}) != max(len(shards), 1):
            raise ValueError("a shard is named twice, or none at all")
        if not isinstance(manifest.generation, int) or manifest.generation < 1:
            raise ValueError(f"generation {manifest.generation!r}")
    except (ValueError, KeyError, TypeError, SchemaError, RecursionError) as error:
        raise ManifestError(f"'{path}' does not hold what a manifest holds: {error}") from error
    return manifest


def publish(folder: Path, manifest: Manifest) -> None:
    """Make `manifest` the visible version, atomically and durably."""
    temporary = folder / f".{NAME}.{secrets.token_hex(4)}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            content = memoryview(manifest.to_bytes())
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, folder / NAME)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise io_error(f"cannot write '{folder / NAME}', the version before it is still whole", error) from error
        raise
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise io_error(f"cannot make the folder '{folder}' durable", error) from error


def io_error(what: str, error: OSError) -> FileIOError:
    kind = DiskFullError if error.errno in (ENOSPC, EDQUOT) else FileIOError
    return kind(f"{what}: {error.strerror or error}")


def named_shards(folder: Path) -> set[str]:
    """The files of the version that is visible now; empty where there is none."""
    try:
        return {shard.name for shard in read_manifest(folder).shards}
    except (NotADatasetError, FormatError):
        return set()


def remove_strays(folder: Path, manifest: Manifest) -> None:
    """Delete shards and temporary files that no manifest names: older versions, and what dead writers left."""
    named = {shard.name for shard in manifest.shards}
    for path in folder.iterdir():
        is_shard = path.suffix == ".flb" and path.name not in named
        is_temporary = path.name.startswith(".") and path.suffix == ".tmp"
        if is_shard or is_temporary:
            with suppress(OSError):  # the next writer tries again
                path.unlink(missing_ok=True)
