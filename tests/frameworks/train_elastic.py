"""What test_torchrun.py starts on each rank: one epoch of data-parallel training, from a checkpoint if there is one.

    torchrun --nproc-per-node N train_elastic.py DATA FOLDER [KILLED_RANK KILLED_STEP]

Model, step and loader go into FOLDER/checkpoint.pt together, at once, every third step. A rank writes the rows of its steps into
FOLDER/rows-N-RANK.jsonl, and rank 0 the model of the end into FOLDER/final.pt.

Reduction and SGD are done by hand: to create an optimizer of torch's takes each rank a second of imports, and gloo's thread may
abort a process that ends with a DistributedDataParallel (torch 2.13: once in 40 runs of three).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from counting import Counting, delivered

import fastload as fl


def save(path: Path, states: dict) -> None:
    torch.save(states, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def train(data: str, folder: Path, killed_rank: int = -1, killed_step: int = -1) -> None:
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    loader = fl.DataLoader(data, batch_size=5, shuffle=True, seed=3, rank=rank, world_size=world_size, num_workers=1)
    model = Counting()
    step, checkpoint = 0, folder / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        loader.load_state_dict(saved["loader"])
        step = saved["step"]
    with open(folder / f"rows-{world_size}-{rank}.jsonl", "w") as log:
        for batch in loader:
            step += 1
            log.write(json.dumps([step, delivered(batch).tolist()]) + "\n")
            log.flush()
            if (rank, step) == (killed_rank, killed_step):
                os.kill(os.getpid(), signal.SIGKILL)
            model(delivered(batch)).backward()
            dist.all_reduce(model.seen.grad)
            model.seen.data -= model.seen.grad
            model.zero_grad()
            if rank == 0 and step % 3 == 0:
                save(checkpoint, {"model": model.state_dict(), "loader": loader.state_dict(), "step": step})
    if rank == 0:
        save(folder / "final.pt", model.state_dict())
    dist.destroy_process_group()


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
