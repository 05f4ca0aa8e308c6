"""Every kernel for CUDA becomes machine code for sm_80 and sm_90, with no driver, and the code is looked at: nothing in double
precision, nothing spilled, no local memory, no 64-bit division. ``make test-cuda`` installs what this needs."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("cuda.core", reason="needs the CUDA compilers: make test-cuda")
pytest.importorskip("cuda.bindings.nvjitlink", reason="needs the CUDA compilers: make test-cuda")

from numba import cuda, float32, int64, types, uint8, uint16, uint32

from fastload.kernels.cuda import FUNCTIONS, PIXELS_KERNELS, PIXELS_SOURCE, _Numbered

ARCHITECTURES = [(8, 0), (9, 0)]
VECTOR, MATRIX = float32[::1], float32[:, ::1]
SIGNATURES = {
    "scale float32": ("scale", types.void(VECTOR, MATRIX, int64, VECTOR)),
    "scale uint8": ("scale", types.void(uint8[::1], MATRIX, int64, VECTOR)),
    "to_float16": ("to_float16", types.void(uint32[::1], MATRIX, int64, uint16[::1])),
    "to_bfloat16": ("to_bfloat16", types.void(uint32[::1], MATRIX, int64, uint16[::1])),
    "interpolate": ("interpolate", types.void(MATRIX, int64[::1], int64[::1], VECTOR, MATRIX)),
}


def ids(architecture):
    return f"sm_{architecture[0]}{architecture[1]}"


def link(code: bytes, architecture: tuple[int, int]) -> str:
    """PTX -> machine code; what the linker says of it."""
    from cuda.bindings import nvjitlink

    options = [f"-arch={ids(architecture)}", "-verbose", "-O3"]
    handle = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, code, len(code), "kernel")
        nvjitlink.complete(handle)
        assert nvjitlink.get_linked_cubin_size(handle) > 0
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
        return log.decode(errors="replace")
    finally:
        nvjitlink.destroy(handle)


def inner_loops(ptx: str) -> list[str]:
    """The text from a label to a branch back to it, where no other such text lies within. Before a loop the compiler may divide,
    to unroll it."""
    labels = {m[1]: m.start() for m in re.finditer(r"^(\$\w+):", ptx, re.M)}
    branches = [(labels[m[1]], m.end()) for m in re.finditer(r"bra(?:\.uni)?\s+(\$\w+);", ptx) if m[1] in labels]
    loops = [(begin, end) for begin, end in branches if begin < end]
    return [ptx[a:b] for a, b in loops if not any((c, d) != (a, b) and a <= c and d <= b for c, d in loops)]


def assert_spills_nothing(log: str) -> None:
    assert re.search(r"Used \d+ registers", log), log
    assert max(map(int, re.findall(r"Used (\d+) registers", log))) <= 128, log
    assert set(re.findall(r"(\d+) bytes (?:spill|stack)", log)) <= {"0"}, log


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=ids)
@pytest.mark.parametrize("kernel", SIGNATURES)
def test_numba_kernels(kernel, architecture):
    name, signature = SIGNATURES[kernel]
    ptx, _ = cuda.compile(FUNCTIONS[name], signature, cc=architecture, device=False, abi="numba", output="ptx")
    ptx = ptx.decode() if isinstance(ptx, bytes) else ptx
    for wrong in (r"\.f64", r"\.local", r"\bcall\b"):
        assert re.findall(f".*{wrong}.*", ptx) == []
    assert inner_loops(ptx), "a loop over the grid"
    for loop in inner_loops(ptx):
        assert re.findall(r".*\b(?:div|rem)\.[su]64.*", loop) == []
    assert_spills_nothing(link(ptx.encode(), architecture))


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=ids)
def test_pixels_source(architecture, tmp_path):
    """All of the CUDA C++, and that its stores are of 128 bits, where floats are stored."""
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(arch=ids(architecture), std="c++17", name="pixels.cu")
    code = Program(PIXELS_SOURCE.read_text(), "c++", options).compile(
        "cubin", name_expressions=list(PIXELS_KERNELS.values())
    )
    (tmp_path / "pixels.cubin").write_bytes(bytes(code.code))
    disassembler = Path(find_spec("nvidia.cu13").submodule_search_locations[0]) / "bin" / "nvdisasm"
    assert disassembler.exists(), "nvidia-cuda-nvdisasm is not installed"
    said = subprocess.run([disassembler, tmp_path / "pixels.cubin"], capture_output=True, text=True, check=True).stdout
    functions = {m[1]: m[2] for m in re.finditer(r"^\.text\.(\S+):\n(.*?)(?=^\.text\.|\Z)", said, re.M | re.S)}
    assert len(functions) == len(PIXELS_KERNELS)
    for name, instructions in functions.items():
        assert re.findall(r".*\b(?:LDL|STL|DADD|DMUL|DFMA)\b.*", instructions) == [], name
        if "warp" in name or "copy_pixelsIf" in name:
            assert "STG.E.128" in instructions, name


def test_cupy_takes_a_stream_by_its_number():
    cupy = pytest.importorskip("cupy")
    assert cupy.cuda.Stream.from_external(_Numbered(17)).ptr == 17
