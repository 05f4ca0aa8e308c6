"""Does balancing classes while loading help a small network on the flights? Reported as it is.

"Will it arrive more than two hours late?", of what is known at departure (fastload.demo.flights): one row in 32 did. A fifth of
the days is held back. The same network, seeds and number of steps, with batches drawn plainly, with the loss weighted, with every
class equally often, and with SMOTENC's rows made in the loader; average precision and area under the ROC curve on the rows held
back, five seeds. No claim is made.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks import process
from benchmarks.harness import Options, finish, precision_by_seed, run_rounds

SEEDS, STEPS, BATCH = 5, 1500, 1024
LOADERS = ("plain", "plain, loss weighted", "class-balanced", "SMOTENC, 1 : 4", "SMOTENC, 1 : 1")
CATEGORIES = ("carrier", "origin", "dest")


def run(options: Options) -> int:
    seeds = 2 if options.quick else SEEDS
    arms = {
        f"{name}, seed {seed}": partial(
            process.in_own_process,
            trained,
            data=str(options.data),
            loading=name,
            seed=seed,
            steps=STEPS // (10 if options.quick else 1),
        )
        for seed in range(seeds)
        for name in LOADERS
    }
    runs = run_rounds(arms, 1)
    summary, screen = precision_by_seed(runs, LOADERS, "loader", "loader")
    return finish("late", options, runs, summary, screen, [])


@cache
def columns() -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """x, standardised, its gaps filled with the mean; codes; late; day; and the categories' names."""
    import pyarrow.csv

    from fastload.demo import flights

    with TemporaryDirectory() as folder:
        flights.prepare(flights.find_folder(), Path(folder) / "late.csv")
        table = pyarrow.csv.read_csv(Path(folder) / "late.csv")
    x = np.column_stack([table[name].to_numpy().astype(np.float64) for name in flights.NUMERIC])
    x = np.nan_to_num((x - np.nanmean(x, 0)) / np.nanstd(x, 0)).astype(np.float32)
    found, names = {"x": x, "late": table["late"].to_numpy(), "day": table["day"].to_numpy()}, {}
    for name in CATEGORIES:
        coded = table[name].combine_chunks().dictionary_encode()
        found[name], names[name] = coded.indices.to_numpy().astype(np.int32), coded.dictionary.to_pylist()
    return found, names


def written(data: str) -> tuple[Path, dict[str, np.ndarray], dict[str, list[str]]]:
    """The rows to train on as a data set, and those held back."""
    import fastload as fl

    found, names = columns()
    is_test = found.pop("day") % 5 == 0
    path = Path(data) / "late.fl"
    if not path.exists():
        train = {name: values[~is_test] for name, values in found.items()}
        fl.write(path, train | {name: fl.Categorical(train[name], names[name]) for name in CATEGORIES})
    return path, {name: values[is_test] for name, values in found.items()}, names


def trained(*, data: str, loading: str, seed: int, steps: int) -> dict[str, Any]:
    """Average precision and area under the curve, of the rows held back, after so many steps."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    import fastload as fl
    from fastload.demo.network import DelayNetwork, scores

    path, test, names = written(data)
    share = {"SMOTENC, 1 : 4": 0.25, "SMOTENC, 1 : 1": 1.0}.get(loading)
    balance = None
    if share is not None:
        balance = {"late": fl.SMOTENC(CATEGORIES, sampling_strategy=share)}
    elif loading == "class-balanced":
        balance = "late"
    loader = fl.DataLoader(path, BATCH, shuffle=True, seed=seed, drop_last=True, balance=balance)
    torch.manual_seed(seed)
    weight = 31.6 if loading == "plain, loss weighted" else 1.0
    width = test["x"].shape[1]
    network = DelayNetwork(
        np.zeros(width), np.ones(width), {name: len(names[name]) for name in CATEGORIES}, late_weight=weight
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    done = 0
    while done < steps:
        for batch in loader:
            optimizer.zero_grad()
            network.loss(batch).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    found = scores(network, {name: torch.from_numpy(values) for name, values in test.items()})
    return {
        "average_precision": float(average_precision_score(test["late"], found)),
        "auc": float(roc_auc_score(test["late"], found)),
        "problems": [] if np.isfinite(found).all() else ["scores that are no numbers"],
    }
