"""CRC32C of a block, ours by instruction and by table, beside zlib's CRC32. 1 MiB a call."""

from __future__ import annotations

import zlib

import pytest

core = pytest.importorskip("fastload._core", reason="the compiled core is not installed: pip install -e .")


@pytest.mark.benchmark(group="checksum, 1 MiB")
def test_crc32c(benchmark, block_bytes):
    assert benchmark(core.crc32c, block_bytes) == core.crc32c_portable(block_bytes)


@pytest.mark.benchmark(group="checksum, 1 MiB")
def test_crc32c_by_table(benchmark, block_bytes):
    assert benchmark(core.crc32c_portable, block_bytes) == core.crc32c(block_bytes)


@pytest.mark.benchmark(group="checksum, 1 MiB")
def test_zlib_crc32(benchmark, block_bytes):
    assert benchmark(zlib.crc32, block_bytes) == zlib.crc32(block_bytes.tobytes())
