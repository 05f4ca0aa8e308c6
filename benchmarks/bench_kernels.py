"""How fast are the parts by themselves: checksum, LZ4, byte-shuffle, order, gather (pytest-benchmark)?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Options, shown, table, write_csv

FOLDER = Path(__file__).parent / "kernels"


def run(options: Options) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    report = options.out / "kernels-pytest.json"
    report.unlink(missing_ok=True)
    # the project's own options leave benchmarks out of its tests, so they are set aside here
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(FOLDER),
        "-q",
        "-o",
        "addopts=",
        f"--benchmark-json={report}",
    ]
    if options.quick:
        command += ["--benchmark-max-time=0.1", "--benchmark-min-rounds=3"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout)
    if report.exists() and report.stat().st_size:
        show(json.loads(report.read_text())["benchmarks"], options.out / "kernels.csv")
    return 1 if done.returncode else 0


def show(benchmarks: list[dict], path: Path) -> None:
    rows = [
        {
            "group": each["group"],
            "kernel": each["name"].removeprefix("test_"),
            "rounds": each["stats"]["rounds"],
        }
        | {f"{key}_us": each["stats"][key] * 1e6 for key in ("median", "min", "max")}
        for each in sorted(benchmarks, key=lambda each: (each["group"], each["stats"]["median"]))
    ]
    write_csv(path, rows)
    print(table([{key: shown(v, 1) if isinstance(v, float) else v for key, v in row.items()} for row in rows]))
    print(f"written: {path}")
