"""Training by Lightning, in this process or by torchrun on several:

    torchrun --nproc-per-node N train_lightning.py DATA FOLDER KIND RUN [KILL_AFTER]

goes on from FOLDER/checkpoint.ckpt if it is there. After KILL_AFTER steps it saves that checkpoint and ends. RANK's rows of each
step go into FOLDER/RUN-RANK.json, the weights of the end into FOLDER/RUN.pt.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import lightning
import torch
from counting import BATCH_ROWS, Counting, delivered
from launch import leave

import fastload as fl

EPOCHS = 2


class Module(lightning.LightningModule):
    def __init__(self, data: Path, kind: str, world_size: int = 1) -> None:
        super().__init__()
        self.model = Counting(world_size=world_size)
        self.data, self.kind = data, kind
        self.steps: list[list[int]] = []

    def training_step(self, batch, _):
        rows = delivered(batch)
        self.steps.append(rows.tolist())
        return self.model(rows)

    def predict_step(self, batch, _):
        return batch["row"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def train_dataloader(self):
        """Not used where a loader is given to ``fit``."""
        return loader_of(self.data, self.kind)


def loader_of(data: Path, kind: str, **options) -> fl.DataLoader:
    """kind : "plain", or "rank" where the loader deals by itself."""
    options = {"batch_size": BATCH_ROWS, "shuffle": True, "seed": 7} | options
    if kind == "rank":
        rank, world_size = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
        options |= {"rank": rank, "world_size": world_size}
    return fl.DataLoader(data, **options)


class Killed(Exception):
    pass


class KillAfter(lightning.Callback):
    """Saves and ends the run when so many steps are done: right after the step, or when the epoch ends with it."""

    def __init__(self, steps: int, path: Path, when: str = "step") -> None:
        self.steps, self.path, self.when = steps, path, when

    def _kill(self, trainer: lightning.Trainer, when: str) -> None:
        if (trainer.global_step, when) == (self.steps, self.when):
            trainer.save_checkpoint(self.path)
            raise Killed

    def on_train_batch_end(self, trainer, *_):
        self._kill(trainer, "step")

    def on_train_epoch_end(self, trainer, *_):
        self._kill(trainer, "epoch end")


def new_trainer(**options) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return lightning.Trainer(accelerator="cpu", **quiet | {"max_epochs": EPOCHS, "devices": 1} | options)


def main(data: Path, folder: Path, kind: str, run: str, kill_after: int = 0) -> None:
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    checkpoint = folder / "checkpoint.ckpt"
    module = Module(data, kind, world_size)
    trainer = new_trainer(devices=world_size, strategy="ddp", callbacks=[KillAfter(kill_after, checkpoint)])
    try:
        trainer.fit(module, loader_of(data, kind), ckpt_path=checkpoint if checkpoint.exists() else None)
        if rank == 0:
            torch.save(module.model.state_dict(), folder / f"{run}.pt")
    except Killed:
        pass
    (folder / f"{run}-{rank}.json").write_text(json.dumps(module.steps))
    torch.distributed.barrier()
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], *map(int, sys.argv[5:]))
