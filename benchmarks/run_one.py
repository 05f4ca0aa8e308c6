"""The child of `process.in_own_process`: call one function with JSON arguments, write its result as JSON."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path


def main(target: str, arguments: str, result_path: str) -> None:
    """`target` is ``package.module:function``; the result appears under `result_path` whole or not at all."""
    module, _, name = target.partition(":")
    result = getattr(import_module(module), name)(**json.loads(arguments))
    draft = Path(result_path + ".draft")
    draft.write_text(json.dumps(result))
    draft.rename(result_path)


if __name__ == "__main__":
    main(*sys.argv[1:])
