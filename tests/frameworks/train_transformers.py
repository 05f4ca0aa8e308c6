"""Training with the Transformers Trainer, in this process or by torchrun on several:

    torchrun --nproc-per-node N train_transformers.py DATA FOLDER ACCUMULATED RUN [KILL_AFTER]

RUN, KILL_AFTER and the files are those of train_lightning.py; checkpoints are Trainer's own. ACCUMULATED batches make a step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from counting import BATCH_ROWS, Counting
from launch import leave
from transformers import Trainer, TrainerCallback, TrainingArguments

import fastload as fl

EPOCHS = 2


class Model(torch.nn.Module):
    """Trainer wants a loss in a dict, and divides it by the number of batches accumulated."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.counting = Counting(world_size=scale)
        self.batches: list[list[int]] = []

    def forward(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        self.batches.append(row.tolist())
        return {"loss": self.counting(row)}


class FastTrainer(Trainer):
    def get_train_dataloader(self):
        return fl.frameworks.trainer_loader(self)


class KillAfter(TrainerCallback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.steps:
            control.should_save = control.should_training_stop = True


def train(
    data: Path, folder: Path, accumulated: int = 1, kill_after: int = 0, resume: str | None = None, **options
) -> tuple[Trainer, Model]:
    args = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH_ROWS,
        gradient_accumulation_steps=accumulated,
        data_seed=7,
        max_grad_norm=0.0,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    model = Model(scale=args.world_size * accumulated)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizers = (optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0))
    trainer = FastTrainer(
        model, args, train_dataset=fl.open(data), optimizers=optimizers, callbacks=[KillAfter(kill_after)], **options
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer, model


def main(data: Path, folder: Path, accumulated: str, run: str, kill_after: int = 0) -> None:
    checkpoints = sorted(folder.glob("checkpoint-*"))
    resume = str(checkpoints[-1]) if checkpoints else None
    trainer, model = train(data, folder, int(accumulated), kill_after, resume)
    rank = trainer.args.process_index
    (folder / f"{run}-{rank}.json").write_text(json.dumps(model.batches))
    if rank == 0:
        torch.save(model.counting.state_dict(), folder / f"{run}.pt")
    torch.distributed.barrier()
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], *map(int, sys.argv[5:]))
