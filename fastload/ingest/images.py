"""Folders of image files: decoded to arrays of one size, or kept as the bytes they are.

    root/cat/1.jpg  root/dog/2.jpg                 a folder for each class, as torchvision's ImageFolder has it
    root/train/cat/1.jpg  root/val/dog/2.jpg       the same for each part (PARTS): one data set for each
    root/1.jpg  root/2.jpg                         no classes, no labels

Pillow does the decoding, and is imported only for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from fastload.block.threads import default_threads
from fastload.errors import ArgumentError, IngestError, MissingExtraError
from fastload.ingest.ahead import read_ahead
from fastload.ingest.columns import Column
from fastload.ingest.decisions import ALL, Chunk, Decisions
from fastload.ingest.summary import Tally
from fastload.schema import Categorical, Ragged

CHUNK_BYTES = 8 << 20
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
CHANNELS = {"RGB": 3, "L": 1}
PARTS = ("train", "val", "valid", "validation", "test")


@dataclass(frozen=True)
class ImageOptions:
    """How images are stored.

    mode : "RGB", "L" (one grey channel), or "bytes" (the files as they are, not looked into).
    size : (height, width) to which all are resized; None where all have one size already.
    skips_bad : files that cannot be stored are left out and counted.
    """

    mode: str = "RGB"
    size: tuple[int, int] | None = None
    skips_bad: bool = False

    def __post_init__(self) -> None:
        if self.mode not in (*CHANNELS, "bytes"):
            raise ArgumentError(f'image_mode must be "RGB", "L" or "bytes", got {self.mode!r}')
        if self.size is None:
            return
        if self.mode == "bytes":
            raise ArgumentError('image_size has no meaning with image_mode="bytes", which keeps the files as they are')
        is_pair = isinstance(self.size, (tuple, list)) and len(self.size) == 2
        if not is_pair or not all(isinstance(n, (int, np.integer)) and n > 0 for n in self.size):
            raise ArgumentError(f"image_size must be (height, width), both at least 1; got {self.size!r}")

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of every stored image; None where it is not known beforehand."""
        return None if self.size is None else (*map(int, self.size), CHANNELS[self.mode])


def image_readers(paths: list[Path], root: Path | None, options: ImageOptions) -> list[tuple[str, ImagesReader]]:
    """(part, reader) of the images found in a folder, or given one by one (root None)."""
    if root is None:
        return [(ALL, ImagesReader(paths, None, [], options))]
    places = [path.relative_to(root).parts for path in paths]
    tops = {place[0] for place in places}
    is_divided = tops <= set(PARTS) and all(len(place) > 2 for place in places)
    roots = {part: root / part for part in PARTS if part in tops} if is_divided else {ALL: root}
    classes: list[str] = []
    if any(len(place) > 1 for place in places):
        folders = (entry for part_root in roots.values() for entry in part_root.iterdir() if entry.is_dir())
        classes = sorted({folder.name for folder in folders if not folder.name.startswith((".", "_"))})
    return [
        (part, ImagesReader([path for path in paths if path.is_relative_to(folder)], folder, classes, options))
        for part, folder in roots.items()
    ]


@dataclass(frozen=True)
class _Refused:
    """A file that cannot be stored. reason : the same for all such files. found : in this one."""

    reason: str
    found: str
    remedy: str = ""


class ImagesReader:
    """Image files, one a row: `image`, and `label` where they lie in a folder for each class.

    Threads decode them, about CHUNK_BYTES of rows at a time, in order. The file decides nothing but its own
    row: one that cannot be decoded, or differs in size from the first, is refused.
    """

    def __init__(self, paths: list[Path], root: Path | None, classes: list[str], options: ImageOptions) -> None:
        if options.mode != "bytes":
            _import_pillow()
        self.kind, self.paths, self._root = "images", paths, root
        self._classes, self._options = classes, options
        self._ends = np.cumsum([path.stat().st_size for path in paths])  # bytes up to and with each file
        self.size_bytes = int(self._ends[-1])
        self.num_rows = None if options.skips_bad else len(paths)
        self.nullable: set[str] = set()
        self.names = ["image", "label"] if classes else ["image"]
        self._chosen = set(self.names)

    def choose(self, names: Iterable[str]) -> None:
        """Store only these columns. All files are decoded, so that the rows are the same."""
        self._chosen = set(names)

    def chunks(self, decisions: Decisions, tally: Tally) -> Iterator[Chunk]:
        self._note_empty_classes(tally)
        with read_ahead(self._runs()) as runs:
            for first, values in runs:
                kept = []
                for row, value in enumerate(values, first):
                    if isinstance(value, _Refused):
                        self._refuse(value, row, tally)
                    else:
                        kept.append(row)
                if kept:
                    images = [value for value in values if not isinstance(value, _Refused)]
                    columns = {"image": self._image_column(images)}
                    if self._classes:
                        columns["label"] = self._label_column(kept)
                    columns = {name: column for name, column in columns.items() if name in self._chosen}
                    bytes_read = int(self._ends[first + len(values) - 1])
                    yield Chunk(columns, len(kept), first, bytes_read, rows=np.array(kept))

    def _runs(self) -> Iterator[tuple[int, list[np.ndarray | bytes | _Refused]]]:
        """(first row, what each file gave); the first run is one file where that has yet to tell the shape."""
        shape, start = self._options.shape, 0
        with ThreadPoolExecutor(default_threads(), "fastload-images") as pool:
            while start < len(self.paths):
                stop = self._end_of_run(start, shape)
                values = list(pool.map(self._load, self.paths[start:stop]))
                shape = shape or next((value.shape for value in values if isinstance(value, np.ndarray)), None)
                yield start, [_unless_of_another_shape(value, shape) for value in values]
                start = stop

    def _end_of_run(self, start: int, shape: tuple[int, ...] | None) -> int:
        if self._options.mode == "bytes":
            return max(start + 1, int(np.searchsorted(self._ends, self._ends[start] + CHUNK_BYTES)))
        if shape is None:
            return start + 1
        return start + max(default_threads(), CHUNK_BYTES // prod(shape))

    def _load(self, path: Path) -> np.ndarray | bytes | _Refused:
        if path.suffix.lower() not in EXTENSIONS:
            return _Refused("every file among images must be one by its name", f"'{path.name}'")
        if self._classes and path.parent == self._root:
            return _Refused("an image must lie in the folder of its class", "it beside the folders of classes")
        try:
            return path.read_bytes() if self._options.mode == "bytes" else self._decode(path)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file makes Pillow raise whatever its decoder stumbles over
            return _Refused("an image must be whole and readable", f"{type(error).__name__}: {error}")

    def _decode(self, path: Path) -> np.ndarray | _Refused:
        """uint8 [height, width, channels], upright as its EXIF data say; transparency is dropped."""
        Image, ImageOps = _import_pillow()
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would clip them to 255
                remedy = 'convert it beforehand or keep files as they are with image_mode="bytes", '
                return _Refused("an image must have 8 bits a channel", f"mode {image.mode}", remedy)
            upright = ImageOps.exif_transpose(image)
            if upright.mode == "P" and "transparency" in upright.info:
                upright = upright.convert("RGBA")  # as Pillow asks for, with a warning otherwise
            upright = upright.convert(self._options.mode)
        if self._options.size is not None:
            height, width = self._options.size
            upright = upright.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(upright).reshape(upright.height, upright.width, -1)

    def _refuse(self, refused: _Refused, row: int, tally: Tally) -> None:
        path = self.paths[row]
        if not self._options.skips_bad:
            raise IngestError(
                f"{refused.reason}; found {refused.found}: {refused.remedy}"
                f'repair or remove it, or leave such files out with on_bad_rows="skip"',
                path=path,
            )
        name = path.name if self._root is None else path.relative_to(self._root)
        tally.refuse(refused.reason, row, f"{name}: {refused.found}")

    def _image_column(self, images: list[np.ndarray] | list[bytes]) -> Column:
        if self._options.mode == "bytes":
            return Column(Ragged.from_rows(images, "bytes"), "bytes", "image file")
        return Column(np.stack(images), "uint8", f"{self._options.mode} image")

    def _label_column(self, rows: list[int]) -> Column:
        codes = {name: code for code, name in enumerate(self._classes)}
        depth = len(self._root.parts)
        found = np.array([codes[self.paths[row].parts[depth]] for row in rows], np.int32)
        return Column(Categorical(found, self._classes), "int32", "dictionary")

    def _note_empty_classes(self, tally: Tally) -> None:
        if self._classes:
            depth = len(self._root.parts)
            empty = sorted(set(self._classes) - {path.parts[depth] for path in self.paths})
            if empty:
                shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
                tally.note(f"{len(empty):,} of {len(self._classes):,} classes have no file in {self._root}: {shown}")


def _unless_of_another_shape(
    value: np.ndarray | bytes | _Refused, shape: tuple[int, ...] | None
) -> np.ndarray | bytes | _Refused:
    if not isinstance(value, np.ndarray) or value.shape == shape:
        return value
    return _Refused(
        f"all images must have the size of the first, {shape[0]} x {shape[1]}",
        f"{value.shape[0]} x {value.shape[1]}",
        "resize all with image_size=(height, width), ",
    )


def _import_pillow() -> tuple:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingExtraError("pillow", extra="images") from None
    return Image, ImageOps
