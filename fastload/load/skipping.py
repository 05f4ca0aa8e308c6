"""What becomes of rows that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastload.errors import ArgumentError, TooManySkippedError

MODES = ("raise", "retry", "skip")


class SkippedRow(NamedTuple):
    """A row that was left out of its batch."""

    row: int  # of the data set
    file: str
    block: int  # of the file
    row_in_block: int
    reason: str


class OnError:
    """Keeps the list of what one pass skipped.

    mode : "raise"; "retry" reads a block once more before it raises; "skip" leaves the rows out, up to `limit` of them.
    place_of : row -> (file, block, row in the block).
    """

    def __init__(self, mode: str, limit: int, place_of: Callable[[int], tuple[str, int, int]]) -> None:
        self.mode, self.limit = mode, limit
        self._place_of = place_of
        self.skipped: list[SkippedRow] = []

    @property
    def skipped_rows(self) -> int:
        return len(self.skipped)

    def note(self, rows: np.ndarray, reason: str) -> None:
        """Lists these rows of the data set.

        Raises
        ------
        TooManySkippedError
            These are more than may be skipped.
        """
        for row in rows.tolist():
            self.skipped.append(SkippedRow(row, *self._place_of(row), reason))
        if len(self.skipped) > self.limit:
            raise TooManySkippedError(
                f"{len(self.skipped)} rows could not be read in this pass, and skip_limit is {self.limit}; the latest: "
                f"{self.skipped[-1]}. Restore the files from a copy, or raise skip_limit"
            )


def check_on_error(mode: Any, limit: Any) -> None:
    if mode not in MODES:
        raise ArgumentError(f"on_error must be one of {', '.join(MODES)}; got {mode!r}")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise ArgumentError(f"skip_limit must be an integer of at least 0, got {limit!r}")
