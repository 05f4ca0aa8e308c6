from __future__ import annotations

import numpy as np
import pytest

from fastload.block.dataset import Dataset
from fastload.schema import Categorical, Ragged


def as_list(data, dtype):
    """One column of Dataset.batches as plain values, None for null."""
    if isinstance(data, Categorical):
        valid = [True] * len(data.codes) if data.valid is None else data.valid.tolist()
        return [data.categories[c] if v else None for c, v in zip(data.codes.tolist(), valid, strict=True)]
    if isinstance(data, Ragged):
        valid = [True] * data.num_rows if data.valid is None else data.valid.tolist()
        runs = [data.values[a:b] for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)]
        show = {"string": lambda r: r.tobytes().decode(), "bytes": lambda r: r.tobytes()}.get(
            dtype, lambda r: r.tolist()
        )
        return [show(run) if v else None for run, v in zip(runs, valid, strict=True)]
    if isinstance(data, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(data).reshape(len(data), -1).all(axis=1)
        return [None if m else v for m, v in zip(mask.tolist(), np.ma.getdata(data).tolist(), strict=True)]
    return data.tolist()


@pytest.fixture
def read_back():
    """path -> {field: list of values} of a data set, in file order."""

    def read(path):
        dataset = Dataset(path)
        columns = {field.name: [] for field in dataset.schema}
        for batch in dataset.batches():
            for field in dataset.schema:
                columns[field.name] += as_list(batch[field.name], field.dtype)
        return columns

    return read
