"""Image folders, CIFAR's and MNIST's files, on generated ones of the same layout; and the README's example."""

from __future__ import annotations

import builtins
import gzip
import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastload as fl
from fastload.block.threads import default_threads
from fastload.errors import ArgumentError, IngestError, MissingExtraError
from fastload.ingest import arrays, images
from fastload.ingest.decisions import Decisions
from fastload.ingest.summary import Tally

RNG = np.random.default_rng(0)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def small_chunks(monkeypatch):
    """Sources come in runs of a few rows."""
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 10_000)
    monkeypatch.setattr(images, "CHUNK_BYTES", 1000)


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image")


def stored(path):
    """{field: array of all rows, or list for categories and bytes} of a data set, in file order."""
    ds = fl.open(path)
    columns = {name: [] for name in ds.schema.names}
    for batch in ds.batches():
        for name, data in batch.items():
            if ds.schema[name].categories:
                columns[name] += [data.categories[code] for code in data.codes.tolist()]
            elif ds.schema[name].dtype == "bytes":
                columns[name] += [data.values[a:b].tobytes() for a, b in zip(data.offsets[:-1], data.offsets[1:])]
            else:
                columns[name] += list(data)
    return {n: np.array(c) if c and isinstance(c[0], (np.ndarray, np.generic)) else c for n, c in columns.items()}


def nothing_left(folder):
    return not list(folder.glob("*.fl*"))


# --- folders of images ----------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path, pillow):
    """root/<class>/<n>.png, 20 of 6 x 8, and what they show: {relative path: uint8 [6, 8, 3]}."""
    root, shown = tmp_path / "photos", {}
    for number in range(20):
        name = f"{('dog', 'cat', 'Bird')[number % 3]}/{number:02}.png"
        shown[name] = RNG.integers(0, 256, (6, 8, 3), np.uint8)
        save(root / name, shown[name])
    return root, dict(sorted(shown.items()))


def save(path, array, **options):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)


def test_a_folder_for_each_class(photos, tmp_path, small_chunks):
    root, shown = photos
    summary = fl.convert(root, tmp_path / "p.fl")
    ds = fl.open(tmp_path / "p.fl")
    assert [(f.name, f.dtype, f.shape, f.categories) for f in ds.schema] == [
        ("image", "uint8", (6, 8, 3), False),
        ("label", "int32", (), True),
    ]
    columns = stored(tmp_path / "p.fl")
    assert np.array_equal(columns["image"], list(shown.values()))
    assert columns["label"] == [name.split("/")[0] for name in shown]
    assert ds.categories("label") == ["Bird", "cat", "dog"]
    assert (summary.kind, summary.rows_read, summary.rows_written) == ("images", 20, {"all": 20})
    assert [(field.source, field.stored) for field in summary.fields] == [
        ("RGB image", "uint8 [6, 8, 3]"),
        ("dictionary", "category"),
    ]


def test_classes_are_those_of_torchvision(photos, tmp_path):
    """The same codes as ImageFolder's, also where a class has no file; and a note of that. Hidden folders are none."""
    root, _ = photos
    (root / "ape").mkdir()
    save(root / "_thumbnails" / "00.png", np.zeros((2, 2, 3), np.uint8))
    summary = fl.convert(root, tmp_path / "p.fl")
    assert fl.open(tmp_path / "p.fl").categories("label") == ["Bird", "ape", "cat", "dog"]
    assert [note for note in summary.notes if "1 of 4 classes have no file" in note and note.endswith(": ape")]


def test_no_classes_no_labels(photos, tmp_path):
    root, shown = photos
    fl.convert(root / "dog", tmp_path / "flat.fl")
    expected = [image for name, image in shown.items() if name.startswith("dog/")]
    assert np.array_equal(stored(tmp_path / "flat.fl")["image"], expected)
    fl.convert([root / "cat" / "01.png", root / "dog" / "00.png"], tmp_path / "listed.fl")
    columns = stored(tmp_path / "listed.fl")
    assert list(columns) == ["image"]
    assert np.array_equal(columns["image"], [shown["cat/01.png"], shown["dog/00.png"]])


def test_files_kept_as_they_are(photos, tmp_path, small_chunks):
    root, shown = photos
    fl.convert(root, tmp_path / "p.fl", image_mode="bytes")
    columns = stored(tmp_path / "p.fl")
    assert columns["image"] == [(root / name).read_bytes() for name in shown]
    assert columns["label"] == [name.split("/")[0] for name in shown]
    assert fl.open(tmp_path / "p.fl").schema["image"].dtype == "bytes"


def test_keeping_files_needs_no_pillow_and_decoding_says_what_to_install(photos, tmp_path, monkeypatch):
    root, _ = photos
    real = builtins.__import__

    def without_pillow(name, *rest):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    fl.convert(root, tmp_path / "bytes.fl", image_mode="bytes")
    with pytest.raises(MissingExtraError, match=r"fastload\[images\]"):
        fl.convert(root, tmp_path / "p.fl")


def test_resized_and_grey(photos, tmp_path, pillow, small_chunks):
    root, shown = photos
    save(root / "dog" / "large.jpg", RNG.integers(0, 256, (30, 20, 3), np.uint8))
    fl.convert(root, tmp_path / "p.fl", image_size=(5, 7), image_mode="L", columns=["image"])
    columns = stored(tmp_path / "p.fl")
    assert list(columns) == ["image"]
    expected = []
    for name in [*shown, "dog/large.jpg"]:
        image = pillow.open(root / name).convert("L").resize((7, 5), pillow.Resampling.BILINEAR)
        expected.append(np.asarray(image)[..., None])
    assert columns["image"].shape == (21, 5, 7, 1)
    assert np.array_equal(columns["image"], expected)


def test_every_form_of_picture_becomes_rgb(tmp_path, pillow):
    colour = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8)
    folder, picture = tmp_path / "in", pillow.fromarray(colour)
    grey = picture.convert("L")
    turned = pillow.fromarray(np.rot90(colour).copy())  # stored turned; EXIF says how to put it right
    exif = pillow.Exif()
    exif[0x0112] = 6
    save(folder / "a.png", picture)
    save(folder / "b.png", picture.convert("P", palette=pillow.Palette.ADAPTIVE))
    save(folder / "c.png", picture.convert("RGBA"))
    save(folder / "d.png", picture.convert("P", palette=pillow.Palette.ADAPTIVE), transparency=bytes([0, 128, 255, 9]))
    save(folder / "e.png", turned, exif=exif)
    save(folder / "f.png", grey)
    save(folder / "g.BMP", picture)
    save(folder / "h.png", picture.convert("1"))
    fl.convert(folder, tmp_path / "p.fl")
    found = stored(tmp_path / "p.fl")["image"]
    black_and_white = np.asarray(picture.convert("1").convert("RGB"))
    expected = [colour, colour, colour, colour, colour, np.repeat(np.asarray(grey)[..., None], 3, 2), colour]
    assert np.array_equal(found, [*expected, black_and_white])


def test_split_of_images(photos, tmp_path):
    root, shown = photos
    summary = fl.convert(root, tmp_path / "p.fl", split={"train": 0.5, "test": 0.5})
    assert sum(summary.rows_written.values()) == 20
    for ds in summary.datasets.values():
        assert ds.categories("label") == ["Bird", "cat", "dog"]
    found = np.concatenate([stored(path)["image"] for path in summary.paths.values()])
    assert {image.tobytes() for image in found} == {image.tobytes() for image in shown.values()}


def test_parts_in_folders_of_their_own(photos, tmp_path):
    """root/train/<class> and root/val/<class>: two data sets, with the same codes for the same classes."""
    root, shown = photos
    (tmp_path / "net").mkdir()
    root.rename(tmp_path / "net" / "train")
    save(tmp_path / "net" / "val" / "dog" / "new.png", shown["dog/00.png"])
    summary = fl.convert(tmp_path / "net", tmp_path / "net.fl")
    assert summary.rows_written == {"train": 20, "val": 1}
    assert {name: path.name for name, path in summary.paths.items()} == {"train": "net.train.fl", "val": "net.val.fl"}
    assert stored(tmp_path / "net.val.fl")["label"] == ["dog"]
    assert all(ds.categories("label") == ["Bird", "cat", "dog"] for ds in summary.datasets.values())
    with pytest.raises(ArgumentError, match="split has no meaning for a source that is divided into train and val"):
        fl.convert(tmp_path / "net", tmp_path / "other.fl", split={"a": 0.5, "b": 0.5})
    assert np.array_equal(stored(tmp_path / "net.train.fl")["image"], list(shown.values()))


def test_train_and_test_may_be_classes(pillow, tmp_path):
    """Folders of that name that hold images at once are classes like others."""
    for name in ("train", "test"):
        save(tmp_path / "toys" / name / "1.png", np.zeros((3, 3, 3), np.uint8))
    assert fl.convert(tmp_path / "toys", tmp_path / "t.fl").rows_written == {"all": 2}
    assert stored(tmp_path / "t.fl")["label"] == ["test", "train"]


def test_few_rows_at_a_time_and_progress_to_the_end(photos, tmp_path, small_chunks):
    """No more than CHUNK_BYTES of rows (or one a thread) are decoded at once; the bar comes to its end."""
    root, _ = photos
    ((_, reader),) = images.image_readers(sorted(root.rglob("*.png")), root, images.ImageOptions())
    rows = [chunk.num_rows for chunk in reader.chunks(Decisions({}, 10), Tally())]
    assert sum(rows) == 20
    assert max(rows) <= max(default_threads(), 1000 // (6 * 8 * 3))
    (tmp_path / "net").mkdir()
    root.rename(tmp_path / "net" / "train")
    for number in range(3):
        save(tmp_path / "net" / "test" / "dog" / f"{number}.png", np.zeros((6, 8, 3), np.uint8))
    states = []
    fl.convert(tmp_path / "net", tmp_path / "net.fl", progress=states.append)
    size_bytes = sum(path.stat().st_size for path in (tmp_path / "net").rglob("*.png"))
    assert (states[-1].rows, states[-1].total_rows) == (23, 23)
    assert (states[-1].size_bytes, states[-1].total_bytes) == (size_bytes, size_bytes)


def test_a_value_that_does_not_fit_is_told_with_its_row(photos, tmp_path):
    """Counted in files, also where one before was left out."""
    root = photos[0] / "cat"
    paths = sorted(root.iterdir())
    for path in paths[:4]:
        save(path, np.zeros((6, 8, 3), np.uint8))
    paths[1].write_bytes(b"")
    save(paths[4], np.full((6, 8, 3), 200, np.uint8))
    with pytest.raises(IngestError, match="int8 holds -128 to 127; found 200") as caught:
        fl.convert(root, tmp_path / "p.fl", dtypes={"image": "int8"}, on_bad_rows="skip")
    assert (caught.value.row, caught.value.field) == (4, "image")


def spoil(root, how):
    if how == "text":
        (root / "cat" / "bad.png").write_text("no image")
    elif how == "empty":
        (root / "cat" / "bad.png").write_bytes(b"")
    elif how == "cut short":
        whole = (root / "cat" / "01.png").read_bytes()
        (root / "cat" / "bad.png").write_bytes(whole[: len(whole) // 2])
    elif how == "bit":
        whole = bytearray((root / "cat" / "01.png").read_bytes())
        whole[len(whole) // 2] ^= 1
        (root / "cat" / "bad.png").write_bytes(whole)
    elif how == "deep":
        save(root / "cat" / "bad.png", np.full((6, 8), 1000, np.uint16))
    elif how == "size":
        save(root / "cat" / "bad.png", np.zeros((8, 6, 3), np.uint8))
    elif how == "stray":
        (root / "cat" / "bad.txt").write_text("notes")
    elif how == "misplaced":
        save(root / "bad.png", np.zeros((6, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("text", "must be whole and readable; found UnidentifiedImageError"),
        ("empty", "must be whole and readable"),
        ("cut short", "must be whole and readable"),
        ("bit", "must be whole and readable"),
        ("deep", "8 bits a channel; found mode I"),
        ("size", r"the size of the first, 6 x 8; found 8 x 6: resize all with image_size"),
        ("stray", "must be one by its name; found 'bad.txt'"),
        ("misplaced", "must lie in the folder of its class"),
    ],
)
def test_a_file_that_cannot_be_stored(photos, tmp_path, small_chunks, how, message):
    """An error that names it; or left out and counted, and every other row is there."""
    root, shown = photos
    spoil(root, how)
    with pytest.raises(IngestError, match=message) as caught:
        fl.convert(root, tmp_path / "p.fl")
    assert caught.value.path.stem == "bad"
    assert 'on_bad_rows="skip"' in str(caught.value)
    assert nothing_left(tmp_path)
    summary = fl.convert(root, tmp_path / "p.fl", on_bad_rows="skip")
    assert (summary.rows_read, summary.rows_written, summary.rows_refused) == (21, {"all": 20}, 1)
    assert "bad." in summary.refusals[0].examples[0][1]
    columns = stored(tmp_path / "p.fl")
    assert np.array_equal(columns["image"], list(shown.values()))
    assert columns["label"] == [name.split("/")[0] for name in shown]


def test_the_first_file_that_can_be_read_tells_the_size(photos, tmp_path):
    root, _ = photos
    first = root / "Bird" / "02.png"
    first.write_bytes(b"")
    summary = fl.convert(root, tmp_path / "p.fl", on_bad_rows="skip")
    assert (summary.rows_written["all"], summary.rows_refused) == (19, 1)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(IngestError, match="all 20 rows were refused; an image must be whole"):
        fl.convert(root, tmp_path / "q.fl", on_bad_rows="skip")
    assert not (tmp_path / "q.fl").exists()


def test_folders_that_are_not_of_images(photos, tmp_path):
    root, _ = photos
    (tmp_path / "empty").mkdir()
    with pytest.raises(IngestError, match="a folder must hold files to convert"):
        fl.convert(tmp_path / "empty", tmp_path / "p.fl")
    np.save(root / "x.npy", np.zeros(3))
    with pytest.raises(IngestError, match="of one kind; found images, npy"):
        fl.convert(root, tmp_path / "p.fl")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("")
    with pytest.raises(IngestError, match="the file's extension must be one of"):
        fl.convert(tmp_path / "notes", tmp_path / "p.fl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_mode": "CMYK"}, 'image_mode must be "RGB", "L" or "bytes"'),
        ({"image_size": (0, 3)}, "image_size must be"),
        ({"image_size": 32}, "image_size must be"),
        ({"image_size": (3, 3), "image_mode": "bytes"}, "no meaning with image_mode"),
        ({"on_bad_rows": "ignore"}, 'on_bad_rows must be "raise" or "skip"'),
        ({"delimiter": ";"}, "delimiter has no meaning for image files"),
        ({"names": ["x"]}, "names has no meaning for image files"),
    ],
)
def test_options_without_meaning(photos, tmp_path, options, message):
    with pytest.raises(ArgumentError, match=message):
        fl.convert(photos[0], tmp_path / "p.fl", **options)
    with pytest.raises(TypeError):
        fl.convert(photos[0], tmp_path / "p.fl", decoder="mine")
    assert nothing_left(tmp_path)


def test_image_options_are_for_images(tmp_path):
    with pytest.raises(ArgumentError, match="image_size has no meaning for a dict of arrays"):
        fl.convert({"x": np.zeros(3)}, tmp_path / "p.fl", image_size=(3, 3))
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(ArgumentError, match="image_mode has no meaning for CSV"):
        fl.convert(tmp_path / "a.csv", tmp_path / "p.fl", image_mode="L")


# --- CIFAR ----------------------------------------------------------------------------------------


def cifar_rows(num_rows, *label_limits):
    labels = [RNG.integers(0, limit, num_rows).astype(np.uint8) for limit in label_limits]
    return RNG.integers(0, 256, (num_rows, 32, 32, 3), np.uint8), labels


def write_cifar(path, pixels, *labels):
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)  # red, green, blue, each row by row
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.concatenate([*(label[:, None] for label in labels), planes], axis=1).tobytes())


def write_cifar10(folder, num_rows=7):
    """data_batch_1.bin ... 5, test_batch.bin and what comes beside them; {part: (pixels, labels)}."""
    written = {}
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        pixels, (labels,) = cifar_rows(num_rows, 10)
        write_cifar(folder / f"{name}.bin", pixels, labels)
        part = written.setdefault("test" if name == "test_batch" else "train", ([], []))
        part[0].append(pixels)
        part[1].append(labels)
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    (folder / "readme.html").write_text("<html></html>")
    return {part: (np.concatenate(pixels), np.concatenate(labels)) for part, (pixels, labels) in written.items()}


@pytest.fixture
def cifar10(tmp_path):
    return tmp_path / "cifar-10-batches-bin", write_cifar10(tmp_path / "cifar-10-batches-bin")


def test_cifar10_comes_apart_into_train_and_test(cifar10, tmp_path, small_chunks):
    folder, written = cifar10
    summary = fl.convert(folder, tmp_path / "cifar.fl")
    assert summary.rows_written == {"train": 35, "test": 7}
    assert (summary.kind, list(summary.paths)) == ("CIFAR-10", ["train", "test"])
    for part, (pixels, labels) in written.items():
        path = tmp_path / f"cifar.{part}.fl"
        columns = stored(path)
        assert np.array_equal(columns["image"], pixels)
        assert columns["label"] == [NAMES[label] for label in labels]
        assert fl.open(path).categories("label") == NAMES
        assert fl.open(path).schema["image"].shape == (32, 32, 3)


def test_cifar10_files_by_themselves(cifar10, tmp_path):
    folder, written = cifar10
    fl.convert(folder / "test_batch.bin", tmp_path / "test.fl")
    assert np.array_equal(stored(tmp_path / "test.fl")["image"], written["test"][0])
    batches = sorted(folder.glob("data_batch_*.bin"))
    summary = fl.convert(batches, tmp_path / "some.fl", split={"train": 0.8, "validation": 0.2}, seed=3)
    assert sum(summary.rows_written.values()) == 35
    (folder / "test_batch.bin").unlink()
    assert fl.convert(folder, tmp_path / "whole.fl").rows_written == {"all": 35}  # not divided


def test_cifar10_labels_without_names_are_numbers(cifar10, tmp_path):
    folder, written = cifar10
    (folder / "batches.meta.txt").unlink()
    fl.convert(folder / "test_batch.bin", tmp_path / "test.fl", dtypes={"label": "int64"})
    labels = stored(tmp_path / "test.fl")["label"]
    assert labels.dtype == np.int64
    assert np.array_equal(labels, written["test"][1])


def test_cifar100(tmp_path, small_chunks):
    folder = tmp_path / "cifar-100-binary"
    for name in ("train", "test"):
        pixels, (coarse, fine) = cifar_rows(9, 20, 100)
        write_cifar(folder / f"{name}.bin", pixels, coarse, fine)
    (folder / "coarse_label_names.txt").write_text("".join(f"group {n}\n" for n in range(20)))
    (folder / "fine_label_names.txt").write_text("".join(f"kind {n}\n" for n in range(100)))
    assert fl.convert(folder, tmp_path / "c.fl").rows_written == {"train": 9, "test": 9}
    columns = stored(tmp_path / "c.test.fl")
    assert list(columns) == ["image", "label", "coarse_label"]
    assert np.array_equal(columns["image"], pixels)
    assert columns["label"] == [f"kind {n}" for n in fine]
    assert columns["coarse_label"] == [f"group {n}" for n in coarse]


@pytest.mark.parametrize(("num_bytes", "row"), [(-1, 6), (1, 7), (-7 * 3073, 0)])
def test_cifar_records_that_are_not_whole(cifar10, tmp_path, num_bytes, row):
    path = cifar10[0] / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:num_bytes] if num_bytes < 0 else whole + b"\0" * num_bytes)
    with pytest.raises(IngestError, match="must hold whole records of 3,073 bytes") as caught:
        fl.convert(cifar10[0], tmp_path / "c.fl")
    assert (caught.value.path, caught.value.row) == (path, row)
    assert nothing_left(tmp_path)


def test_cifar_label_out_of_range(cifar10, tmp_path, small_chunks):
    path = cifar10[0] / "data_batch_2.bin"
    records = bytearray(path.read_bytes())
    records[5 * 3073] = 10
    path.write_bytes(records)
    with pytest.raises(IngestError, match=r"must lie in 0 \.\. 9; found 10") as caught:
        fl.convert(cifar10[0], tmp_path / "c.fl")
    assert (caught.value.path, caught.value.row, caught.value.field) == (path, 5, "label")
    assert nothing_left(tmp_path)


def test_cifar_names_that_do_not_fit_and_files_that_do_not_belong(cifar10, tmp_path):
    folder, _ = cifar10
    (folder / "batches.meta.txt").write_text("\n".join(NAMES[:9]))
    with pytest.raises(IngestError, match="must name 10 classes, one a line; found 9") as caught:
        fl.convert(folder, tmp_path / "c.fl")
    assert caught.value.path.name == "batches.meta.txt"
    (folder / "batches.meta.txt").unlink()
    pixels, (coarse, fine) = cifar_rows(2, 20, 100)
    write_cifar(folder / "train.bin", pixels, coarse, fine)
    with pytest.raises(IngestError, match="of one kind; found CIFAR-10, CIFAR-100"):
        fl.convert(folder, tmp_path / "c.fl")
    with pytest.raises(ArgumentError, match="image_size has no meaning for files of CIFAR-10"):
        fl.convert(folder / "test_batch.bin", tmp_path / "c.fl", image_size=(8, 8))


def test_cifar_in_pickles_is_never_read(tmp_path):
    (tmp_path / "py").mkdir()
    (tmp_path / "py" / "data_batch_1").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(IngestError, match="pickles, which are never read here; get the binary version"):
        fl.convert(tmp_path / "py", tmp_path / "c.fl")


# --- MNIST ----------------------------------------------------------------------------------------


def idx_bytes(array, code=0x08):
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(path, array, code=0x08):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = idx_bytes(array, code)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder, ending=""):
    """The four files of MNIST; {part: (pixels, labels)}."""
    written = {}
    for word, part, num_rows in (("train", "train", 40), ("t10k", "test", 11)):
        written[part] = (
            RNG.integers(0, 256, (num_rows, 28, 28), np.uint8),
            RNG.integers(0, 10, num_rows).astype(np.uint8),
        )
        write_idx(folder / f"{word}-images-idx3-ubyte{ending}", written[part][0])
        write_idx(folder / f"{word}-labels-idx1-ubyte{ending}", written[part][1])
    return written


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist(tmp_path, small_chunks, ending):
    folder = tmp_path / "raw"
    written = write_mnist(folder, ending)
    assert fl.convert(folder, tmp_path / "m.fl").rows_written == {"train": 40, "test": 11}
    for part, (pixels, labels) in written.items():
        columns = stored(tmp_path / f"m.{part}.fl")
        assert list(columns) == ["image", "label"]
        assert np.array_equal(columns["image"], pixels[..., None])
        assert np.array_equal(columns["label"], labels)
    fl.convert(folder / f"train-images-idx3-ubyte{ending}", tmp_path / "one.fl")
    assert np.array_equal(stored(tmp_path / "one.fl")["label"], written["train"][1])
    fl.convert(folder / f"t10k-labels-idx1-ubyte{ending}", tmp_path / "labels.fl")
    assert list(stored(tmp_path / "labels.fl")) == ["label"]


def test_mnist_packed_and_unpacked_side_by_side_counts_once(tmp_path):
    write_mnist(tmp_path / "raw", ".gz")
    for path in list((tmp_path / "raw").iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    assert fl.convert(tmp_path / "raw", tmp_path / "m.fl").rows_written == {"train": 40, "test": 11}


@settings(max_examples=30, deadline=None)
@given(
    code=st.sampled_from([0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E]),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    is_packed=st.booleans(),
)
def test_idx_of_every_type_and_shape(tmp_path_factory, code, shape, is_packed):
    folder = tmp_path_factory.mktemp("idx")
    dtype = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}[code]
    array = np.random.default_rng(len(shape)).integers(-100, 100, shape).astype(dtype)
    path = folder / f"some.idx{len(shape)}-ubyte{'.gz' if is_packed else ''}"
    write_idx(path, array, code)
    fl.convert(path, folder / "x.fl")
    found = stored(folder / "x.fl")["x"]
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, array)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with 0, 0, a type"),
        (b"\x89PNG\r\n", "must begin with 0, 0, a type .* found the bytes 89 50 4e 47"),
        (b"\0\0\x0a\x03", "must begin with 0, 0, a type"),
        (b"\0\0\x08\x00", "must begin with 0, 0, a type"),
        (b"\0\0\x08\x03\0\0", "must give the sizes of its 3 dimensions"),
        (idx_bytes(np.zeros((3, 28, 28), np.uint8))[:-1], "3 x 28 x 28 elements; it (is too short|ends early)"),
        (idx_bytes(np.zeros((3, 28, 28), np.uint8)) + b"\0", "3 x 28 x 28 elements; it goes on after them"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "is too short for them"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 5, 0, 3), "has rows without elements"),
        (idx_bytes(np.zeros((0, 28, 28), np.uint8)), "at least one row"),
    ],
)
def test_damaged_idx(tmp_path, ending, content, message):
    path = tmp_path / f"train-images-idx3-ubyte{ending}"
    path.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(IngestError, match=message) as caught:
        fl.convert(path, tmp_path / "m.fl")
    assert caught.value.path == path
    assert nothing_left(tmp_path)


def test_damaged_packing(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(path, RNG.integers(0, 256, (40, 28, 28), np.uint8))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(IngestError, match="readable to its end") as caught:
        fl.convert(path, tmp_path / "m.fl")
    assert caught.value.path == path
    path.write_bytes(b"no gzip at all")
    with pytest.raises(IngestError, match="readable to its end"):
        fl.convert(path, tmp_path / "m.fl")


def test_labels_that_do_not_fit_their_images(tmp_path):
    folder = tmp_path / "raw"
    write_mnist(folder)
    write_idx(folder / "t10k-labels-idx1-ubyte", np.zeros(10, np.uint8))
    with pytest.raises(IngestError, match="one label an image; found 10 for 11 images") as caught:
        fl.convert(folder, tmp_path / "m.fl")
    assert caught.value.path.name == "t10k-labels-idx1-ubyte"
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(IngestError, match="must hold the same columns; found image here and image, label in"):
        fl.convert(folder, tmp_path / "m.fl")
    write_idx(folder / "emnist-letters-train-images-idx3-ubyte", np.zeros((3, 28, 28), np.uint8))
    with pytest.raises(IngestError, match="convert them one by one"):
        fl.convert(folder, tmp_path / "m.fl")
    assert nothing_left(tmp_path)


# --- from the command line, and the README --------------------------------------------------------


def test_command(photos, tmp_path, capsys):
    from fastload.cli import main

    root, _ = photos
    (root / "cat" / "bad.png").write_bytes(b"")
    arguments = ["convert", str(root), str(tmp_path / "p.fl"), "--image-size", "4,5", "--image-mode", "L", "--quiet"]
    assert main(arguments) == 1
    assert "bad.png" in capsys.readouterr().err
    assert main([*arguments, "--on-bad-rows", "skip"]) == 0
    assert "21 rows read, 20 written, 1 refused" in capsys.readouterr().out
    assert fl.open(tmp_path / "p.fl").schema["image"].shape == (4, 5, 1)
    for size in ("4", "a,b", "1,2,3"):
        with pytest.raises(SystemExit):
            main(["convert", str(root), str(tmp_path / "q.fl"), "--image-size", size])
        assert "HEIGHT,WIDTH" in capsys.readouterr().err


def test_the_readme_example_runs(tmp_path, monkeypatch):
    """As it stands, in a folder where the files lie as the archive unpacks them; and a second time, converted."""
    torch = pytest.importorskip("torch")
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = [code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "class CIFAR10" in code]
    written = write_cifar10(tmp_path / "data" / "cifar-10-batches-bin", num_rows=40)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        scope = {}
        exec(example, scope)
        cifar = scope["cifar"]
        found = list(cifar.test)
        mean, std = (getattr(np, f)(written["train"][0], axis=(0, 1, 2), dtype=np.float64) for f in ("mean", "std"))
        expected = np.moveaxis((written["test"][0] - mean) / std, -1, 1)
        assert np.allclose(torch.cat([b["image"] for b in found]), expected, atol=1e-5)
        assert torch.cat([b["label"] for b in found]).tolist() == written["test"][1].tolist()
        seen = torch.cat([batch["label"] for batch in cifar.train])
        assert sorted(seen.tolist()) == sorted(written["train"][1].tolist())
        once, again = (torch.cat([batch["image"] for batch in cifar.train]) for _ in range(2))
        assert not torch.equal(once, again)
    assert (scope["images"].dtype, scope["labels"].dtype) == (torch.float32, torch.int64)
    assert scope["images"].shape[1:] == (3, 32, 32)


def test_pillow_reads_what_was_kept_as_bytes(photos, tmp_path, pillow):
    root, shown = photos
    fl.convert(root, tmp_path / "p.fl", image_mode="bytes")
    first = stored(tmp_path / "p.fl")["image"][0]
    assert np.array_equal(np.asarray(pillow.open(io.BytesIO(first))), next(iter(shown.values())))
