"""The numba kernels for CUDA in numba's simulator, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_kernels_in_the_simulator():
    pytest.importorskip("numba.cuda", reason="numba without numba.cuda: install fastload[cuda]")
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    program = Path(__file__).with_name("cudasim.py")
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[:3] == ["checked check_scale", "checked check_halves", "checked check_interpolate"]
