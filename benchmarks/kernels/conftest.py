"""What the kernels are timed on: one block of W1's rows, a mebibyte."""

from __future__ import annotations

import numpy as np
import pytest

BLOCK_ROWS, COLUMNS = 4096, 64


@pytest.fixture(scope="session")
def block() -> np.ndarray:
    """float32 [4096, 64], every second column rounded to 1/32."""
    rows = np.random.default_rng(1).standard_normal((BLOCK_ROWS, COLUMNS), dtype=np.float32)
    rows[:, 1::2] = np.round(rows[:, 1::2] * 32) / 32
    return rows


@pytest.fixture(scope="session")
def block_bytes(block: np.ndarray) -> np.ndarray:
    """The same as uint8 [1 MiB]."""
    return block.reshape(-1).view(np.uint8)


@pytest.fixture(scope="session")
def token_bytes() -> np.ndarray:
    """Zipf-like int32 tokens as uint8 [1 MiB]: what byte-shuffle is for."""
    tokens = (np.random.default_rng(3).zipf(1.2, 1 << 18) - 1) % 32_000 + 1
    return tokens.astype(np.int32).view(np.uint8)
