"""Scripts of this folder, run on several processes by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def torchrun(
    script: str, num_processes: int, *arguments: object, timeout_s: float = 240
) -> subprocess.CompletedProcess:
    """The run when it has ended; torchrun ends the other ranks when one dies."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    return subprocess.run(
        [*command, str(HERE / script), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def leave() -> None:
    """Ends a script at once. Gloo's thread may want the interpreter while that shuts down, and then aborts the process
    (torch 2.13, where a DistributedDataParallel is left: once in 40 runs of three)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def read_steps(folder: Path, run: str) -> list[list[list[int]]]:
    """What the ranks of a run have written: of each rank, the rows of every step."""
    ranks = range(len(list(folder.glob(f"{run}-*.json"))))
    return [json.loads((folder / f"{run}-{rank}.json").read_text()) for rank in ranks]
