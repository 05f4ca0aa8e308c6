"""LZ4 and byte-shuffle of a block, ours beside the lz4 package and NumPy. 1 MiB a call."""

from __future__ import annotations

import numpy as np
import pytest

core = pytest.importorskip("fastload._core", reason="the compiled core is not installed: pip install -e .")


@pytest.fixture(params=["table", "tokens"])
def raw(request, block_bytes, token_bytes) -> np.ndarray:
    return {"table": block_bytes, "tokens": token_bytes}[request.param]


@pytest.mark.benchmark(group="LZ4 compress, 1 MiB")
def test_lz4_compress(benchmark, raw):
    stored = benchmark(core.lz4_compress, raw)
    assert np.array_equal(core.lz4_decompress(stored, raw.size), raw)
    benchmark.extra_info["stored / raw"] = round(stored.size / raw.size, 3)


@pytest.mark.benchmark(group="LZ4 compress, 1 MiB")
def test_lz4_package_compress(benchmark, raw):
    block = pytest.importorskip("lz4.block")
    stored = benchmark(block.compress, raw, store_size=False)
    assert np.array_equal(core.lz4_decompress(np.frombuffer(stored, np.uint8), raw.size), raw)
    benchmark.extra_info["stored / raw"] = round(len(stored) / raw.size, 3)


@pytest.mark.benchmark(group="LZ4 decompress, 1 MiB")
def test_lz4_decompress(benchmark, raw):
    assert np.array_equal(benchmark(core.lz4_decompress, core.lz4_compress(raw), raw.size), raw)


@pytest.mark.benchmark(group="LZ4 decompress, 1 MiB")
def test_lz4_package_decompress(benchmark, raw):
    block = pytest.importorskip("lz4.block")
    stored = block.compress(raw, store_size=False)
    assert benchmark(block.decompress, stored, uncompressed_size=raw.size) == raw.tobytes()


@pytest.mark.benchmark(group="byte-shuffle, 1 MiB of 4-byte elements")
def test_byte_shuffle(benchmark, raw):
    assert np.array_equal(benchmark(core.byte_shuffle, raw, 4), raw.reshape(-1, 4).T.reshape(-1))


@pytest.mark.benchmark(group="byte-shuffle, 1 MiB of 4-byte elements")
def test_byte_unshuffle(benchmark, raw):
    assert np.array_equal(benchmark(core.byte_unshuffle, core.byte_shuffle(raw, 4), 4), raw)


@pytest.mark.benchmark(group="byte-shuffle, 1 MiB of 4-byte elements")
def test_numpy_shuffle(benchmark, raw):
    shuffled = benchmark(lambda: np.ascontiguousarray(raw.reshape(-1, 4).T))
    assert np.array_equal(shuffled.reshape(-1), core.byte_shuffle(raw, 4))
