"""``python tests/make_golden.py``: write the golden data sets that are missing.

One that is there is never touched: files of a published version of the format must be readable for ever.
"""

from __future__ import annotations

import sys

import golden

import fastload as fl


def main() -> int:
    for name, (schema, columns, appends, options) in golden.GOLDEN.items():
        folder = golden.FOLDER / f"{name}.fl"
        if folder.exists():
            sys.stdout.write(f"{folder} exists and stays as it is\n")
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        first = 0
        for number, calls in enumerate(appends):
            with fl.Writer(folder, schema, num_workers=0, append=number > 0, **options) as writer:
                for rows in calls:
                    writer.append(columns(first, rows))
                    first += rows
        sys.stdout.write(f"{folder} written: {first} rows\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
