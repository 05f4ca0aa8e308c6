"""What is said where no CUDA device, no compiler for one, or no numba is there."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import fastload as fl
from fastload.errors import ArgumentError
from fastload.kernels import cuda_kernels
from fastload.schema import Field
from fastload.transform.chain import Chain

without_device = pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")


@without_device
def test_a_missing_device_is_named():
    pytest.importorskip("numba.cuda", reason="numba without numba.cuda: install fastload[cuda]")
    chain = Chain(Field("x", "float32", (2,)))
    fl.Clip(0, 1).extend(chain)
    chain.finish()
    with pytest.raises(ArgumentError, match="a CUDA device is needed"):
        cuda_kernels().run(chain.calls, np.zeros((3, 2), np.float32))
    with pytest.raises(ArgumentError, match=r"torch\.cuda\.is_available"):
        fl.DataLoader({"x": np.zeros((3, 2), np.float32)}, device="cuda", transform={"x": fl.Clip(0, 1)})


def test_what_only_the_cpu_can_do_is_named():
    pytest.importorskip("numba.cuda", reason="numba without numba.cuda: install fastload[cuda]")
    chain = Chain(Field("x", "int64"))
    fl.Ordinal(categories=[1, 2]).extend(chain)
    chain.finish()
    with pytest.raises(ArgumentError, match="do it on the CPU"):
        cuda_kernels().run(chain.calls, np.zeros(3, np.int64))


def test_without_numba_the_error_says_what_to_install():
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np, fastload as fl\n"
        "from fastload.errors import MissingExtraError\n"
        "try:\n    fl.Clip(0, 1).transform(np.zeros(3))\n"
        "except MissingExtraError as error:\n    print(error)\n"
        "list(fl.DataLoader({'x': np.zeros(3)}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'pip install "fastload[numba]"' in done.stdout
