"""``python -m fastload`` is ``fastload``."""

from fastload.cli import run

if __name__ == "__main__":
    run()
