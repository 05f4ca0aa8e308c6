"""The fault harness sees what it must see: silence, detection, and readers that die."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from benchmarks import faults


def written(folder: Path) -> faults.Files:
    faults.write_npy(folder, *faults.make_arrays(8, 4))
    return faults.files_in(folder)


def test_each_fault_changes_one_file_as_it_says(tmp_path: Path) -> None:
    files, rng = written(tmp_path), random.Random(1)
    path, damaged = faults.flip(files, rng)
    bits = [(a ^ b).bit_count() for a, b in zip(files[path], damaged, strict=True)]
    assert sum(bits) == 1
    path, damaged = faults.zero_sector(files, rng)
    assert len(damaged) == len(files[path])
    assert damaged != files[path]
    path, damaged = faults.cut(files, rng)
    assert files[path].startswith(damaged)
    assert len(damaged) < len(files[path])


def test_verdicts(tmp_path: Path) -> None:
    files = written(tmp_path)
    npy = next(f for f in faults.formats() if f.name == "npy")
    wanted, x = npy.read(tmp_path), tmp_path / "x.npy"
    assert faults.verdict(npy, tmp_path, wanted) == "same"
    faults.restore(x, faults.flip_bit(files, x, len(files[x]) - 1, 0)[1])
    assert faults.verdict(npy, tmp_path, wanted) == "silent"
    faults.restore(x, files[x][:-1])
    assert faults.verdict(npy, tmp_path, wanted) == "detected"
    strict = faults.Format("strict", "fastload", faults.write_npy, faults.read_npy, "FastloadError")
    assert faults.verdict(strict, tmp_path, wanted) == "crash (ValueError)"


def test_a_reader_that_dies_is_a_crash_and_the_next_one_goes_on(tmp_path: Path) -> None:
    files = written(tmp_path)
    readers = faults.Readers("npy", tmp_path)
    x = tmp_path / "x.npy"
    assert readers.verdicts(("damage", x, files[x])) == {"same": 1}
    os.kill(readers._process.pid, signal.SIGBUS)
    assert readers.verdicts(("damage", x, files[x])) == {"crash (SIGBUS)": 1}
    assert readers.verdicts(("damage", x, files[x])) == {"same": 1}
    readers.close()


def test_damage_in_our_files_ends_the_command_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"format": "fastload", "fault": "bit", "n": 4, "detected": 3, "silent": 1, "same": 0, "crash": 0}
    kills = {"kills": 1, "torn": 0}
    assert faults.report(tmp_path, [row], [], kills) == 1
    assert faults.report(tmp_path, [row | {"silent": 0, "detected": 4}], [], kills) == 0
    assert faults.report(tmp_path, [], [], kills | {"torn": 1}) == 1
    assert "75 / 25 / 0 / 0 (4)" in capsys.readouterr().out
