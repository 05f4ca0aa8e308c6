"""Imports go down only, and importing the package pulls in nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import fastload

ROOT = Path(fastload.__file__).parent
LAYERS = [
    {"errors", "schema", "_core"},
    {"block", "plan", "kernels", "security", "report"},
    {"transform"},
    {"ingest", "balance"},
    {"load", "clean"},
    {"synth", "engines", "demo", "bench"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ONLY_IN = {
    "torch": {"load", "synth", "demo", "bench"},
    "opacus": {"synth"},
    "numba": {"kernels"},
    "cupy": {"kernels"},
    "pyarrow": {"ingest", "clean", "demo", "engines"},
    "polars": {"clean"},
    "PIL": {"ingest"},
    "accelerate": {"load"},
    "transformers": {"load"},
    "lightning": set(),
    "imblearn": set(),
}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> list[tuple[str, Path]]:
    """(room, file) of every module but the package's own face."""
    return [
        (path.relative_to(ROOT).parts[0].removesuffix(".py"), path)
        for path in sorted(ROOT.rglob("*.py"))
        if path != ROOT / "__init__.py"
    ]


def test_imports_go_down():
    wrong = []
    for room, path in modules():
        assert room in LEVEL, f"{path}: say in LAYERS on which level '{room}' stands"
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "fastload" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != room:
                # level 0 is one room
                if LEVEL[parts[1]] >= LEVEL[room] and LEVEL[room] > 0:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_heavy_packages_stay_in_their_rooms():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room, path in modules()
        for name in imports_of(path)
        for package, rooms in ONLY_IN.items()
        if name.split(".")[0] == package and room not in rooms
    ]
    assert not wrong


def test_environment_is_read_in_two_places_only():
    allowed = {ROOT / "security" / "keys.py", ROOT / "cli.py"}
    readers = [str(path) for _, path in modules() if path not in allowed and "os.environ" in path.read_text()]
    assert not readers


def test_importing_the_package_is_light():
    program = (
        "import sys, fastload as fl, fastload.errors, fastload.schema; fl.Field('x', 'int8'); "
        "fl.open; fl.write; fl.Writer; "
        "heavy = {'torch', 'numba', 'cupy', 'pyarrow', 'PIL', 'pandas', 'sklearn', 'scipy', 'polars', 'rich', "
        "'accelerate', 'transformers', 'lightning'}; "
        "found = heavy & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_resolves():
    for name in fastload.__all__:
        assert getattr(fastload, name) is not None
