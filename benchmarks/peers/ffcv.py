"""FFCV: its .beton file and Loader, random order, two threads; compiled before the first batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import Batches, Peer
from benchmarks.workloads import Workload


class Rows:
    """Row i as NumPy values (x float32 [64], y int), which is what ffcv's writer asks for."""

    def __init__(self, workload: Workload) -> None:
        self.x, self.y = workload.arrays()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple:
        return self.x[row], int(self.y[row])


def write(workload: Workload, folder: Path) -> None:
    import numpy as np
    from ffcv.fields import IntField, NDArrayField
    from ffcv.writer import DatasetWriter

    fields = {"x": NDArrayField(np.dtype("float32"), (workload.columns,)), "y": IntField()}
    DatasetWriter(str(folder / "rows.beton"), fields, num_workers=1).from_indexed_dataset(Rows(workload))


def open_loader(workload: Workload, folder: Path) -> Callable[[int], Batches]:
    from ffcv.fields.decoders import IntDecoder, NDArrayDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor

    loader = Loader(
        str(folder / "rows.beton"),
        batch_size=workload.batch_rows,
        num_workers=2,
        order=OrderOption.RANDOM,
        drop_last=False,
        seed=1,
        pipelines={"x": [NDArrayDecoder(), ToTensor()], "y": [IntDecoder(), ToTensor()]},
    )
    return lambda epoch: ((x, y.flatten()) for x, y in loader)


PEERS = [
    Peer(
        "ffcv/2t",
        "w1",
        open_loader,
        write,
        "ffcv",
        needs=("ffcv", "cv2"),
        install="apt-get install libopencv-dev libturbojpeg0-dev pkg-config && pip install ffcv "
        "opencv-python-headless numba",
    )
]
