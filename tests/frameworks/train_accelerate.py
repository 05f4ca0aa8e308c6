"""Training with Accelerate, in this process or by torchrun on several:

    torchrun --nproc-per-node N train_accelerate.py DATA FOLDER HOW RUN [KILL_AFTER]

HOW, RUN, KILL_AFTER and the files are those of train_lightning.py; the checkpoint is what ``save_state`` writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from counting import BATCH_ROWS, Counting, delivered
from launch import leave

import fastload as fl

EPOCHS = 2


def loader_for(accelerator: Accelerator, data: Path, how: str) -> fl.DataLoader:
    """how : "helper", or "class" where the user says the rank and the class has to suffice."""
    options = {"batch_size": BATCH_ROWS, "shuffle": True, "seed": 7}
    if how == "helper":
        return fl.frameworks.prepare(accelerator, fl.DataLoader(data, **options))
    options |= {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    return accelerator.prepare(fl.DataLoader(data, **options))


def train(data: Path, folder: Path, how: str, kill_after: int = 0) -> tuple[list[list[int]], torch.nn.Module]:
    """Rows of each step of this rank, and the model."""
    accelerator = Accelerator(cpu=True)
    model = Counting(world_size=accelerator.num_processes)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1.0))
    loader = loader_for(accelerator, data, how)
    if (folder / "checkpoint").exists():
        accelerator.load_state(str(folder / "checkpoint"))
    steps: list[list[int]] = []
    while loader.epoch < EPOCHS:
        for batch in loader:
            rows = delivered(batch)
            steps.append(rows.tolist())
            accelerator.backward(model(rows))
            optimizer.step()
            optimizer.zero_grad()
            if len(steps) == kill_after:
                accelerator.save_state(str(folder / "checkpoint"))
                return steps, accelerator.unwrap_model(model)
    return steps, accelerator.unwrap_model(model)


def main(data: Path, folder: Path, how: str, run: str, kill_after: int = 0) -> None:
    steps, model = train(data, folder, how, kill_after)
    rank = torch.distributed.get_rank()
    (folder / f"{run}-{rank}.json").write_text(json.dumps(steps))
    if rank == 0:
        torch.save(model.state_dict(), folder / f"{run}.pt")
    torch.distributed.barrier()
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], *map(int, sys.argv[5:]))
