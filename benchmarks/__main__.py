"""``python -m benchmarks QUESTION``: one question, its table on the screen, its CSV and plot in a folder."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from benchmarks import faults, peers
from benchmarks.harness import Options
from benchmarks.workloads import WORKLOADS

QUESTIONS = (
    "w1",
    "w2",
    "w3",
    "second_thread",
    "packing",
    "spinning",
    "first_batch",
    "cold",
    "convert",
    "train",
    "transform",
    "stream_smote",
    "arrays",
    "balance",
    "clean",
    "digits",
    "late",
    "synth_late",
    "synth_speed",
    "synth_minority",
    "digit_gan",
    "autoencoder",
    "gpu",
    "synth_gpu",
    "counters",
    "kernels",
)
HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["faults"]:  # nothing is timed there, so it has options of its own
        return faults.main(arguments[1:])
    given = _parser().parse_args(arguments)
    if given.question == "list":
        return show_list()
    options = Options(
        data=given.data,
        out=given.out or HERE / "results" / ("quick" if given.quick else ""),
        peers=given.peers,
        repeats=given.repeats or (1 if given.quick else 5),
        epochs=given.epochs or (2 if given.quick else 3),
        limit_s=given.limit_s or (3.0 if given.quick else 20.0),
        num_rows=given.rows,
        quick=given.quick,
        fresh=given.fresh,
        memory=not given.no_memory,
    )
    try:
        return import_module(f"benchmarks.bench_{given.question}").run(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.split("``: ")[1])
    parser.add_argument(
        "question",
        choices=[*QUESTIONS, "faults", "list"],
        help="list: what each one asks, and which peers are here",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the rows, one round: does it run, not how fast"
    )
    parser.add_argument(
        "--peers", default="", help="families or full names, say torch,ours/raw-2t (default: all installed)"
    )
    parser.add_argument("--rows", type=_positive, help="rows of the workload (default: its full size)")
    parser.add_argument("--repeats", type=_positive, help="rounds over all arms (default: 5)")
    parser.add_argument("--epochs", type=_positive, help="epochs a run: one first, the rest later ones (default: 3)")
    parser.add_argument("--limit-s", type=float, help="seconds after which an epoch is cut short (default: 20)")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="where workloads and peers' files are kept")
    parser.add_argument("--out", type=Path, help="where CSV and plot go (default: benchmarks/results)")
    parser.add_argument("--fresh", action="store_true", help="write the peers' files anew")
    parser.add_argument("--no-memory", action="store_true", help="leave out the extra run that watches memory")
    return parser


def _positive(text: str) -> int:
    value = int(text.replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, found {text}")
    return value


def show_list() -> int:
    for name in QUESTIONS:
        print(f"{name:15}{import_module(f'benchmarks.bench_{name}').__doc__.splitlines()[0]}")
    print(f"{'faults':15}{faults.__doc__.splitlines()[0]}")
    print()
    for workload in WORKLOADS:
        for peer in peers.of_workload(workload):
            state = f"missing: {peer.install}" if peer.missing else "ready"
            print(f"{workload}  {peer.name:26}{state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
