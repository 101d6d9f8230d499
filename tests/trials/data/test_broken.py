"""Broken inputs: each is refused in one line that names the place, before anything is decoded
for training or a device is held."""

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trials.data.readers import made
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.errors import DataError

Break = Callable[[Path], None]


def folders(root: Path) -> None:
    made.image_folder(root)


def remove(*names: str) -> Break:
    """An image folder without some files."""

    def broken(root: Path) -> None:
        folders(root)
        for name in names:
            for path in sorted(root.glob(name)):
                path.unlink()

    return broken


def with_file(name: str, content: bytes) -> Break:
    """An image folder with one more file."""

    def broken(root: Path) -> None:
        folders(root)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return broken


def circle(root: Path) -> None:
    folders(root)
    (root / "train" / "cat" / "again").symlink_to(root / "train")


def lost_link(root: Path) -> None:
    folders(root)
    (root / "train" / "cat" / "lost.png").symlink_to(root / "nowhere.png")


def parquet(columns: Callable[[int], dict[str, Any]], name: str = "train.parquet") -> Break:
    """One parquet file of 30 rows."""

    def broken(root: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet as files

        root.mkdir(parents=True, exist_ok=True)
        content = made.encoded(made.picture("train", 0, 0))
        images = {"image": [{"bytes": content, "path": None}] * 30}
        files.write_table(pa.table(images | columns(30)), root / name)

    return broken


def cut(make: Callable[[Path], Any], name: str, left: float = 0.5) -> Break:
    """A file that was not written to its end."""

    def broken(root: Path) -> None:
        make(root)
        path = next(iter(sorted(root.rglob(name))))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])

    return broken


def tar_without_labels(root: Path) -> None:
    root.mkdir(parents=True)
    with tarfile.open(root / "train.tar", "w") as tar:
        made.add(tar, "a.png", made.encoded(made.picture("train", 0, 0)))


def tar_of_several_labels(root: Path) -> None:
    root.mkdir(parents=True)
    with tarfile.open(root / "train.tar", "w") as tar:
        for i in range(4):
            made.add(tar, f"{i}.png", made.encoded(made.picture("train", 0, i)))
            made.add(tar, f"{i}.json", json.dumps({"tags": [i, 1]}).encode())


def twice(root: Path) -> None:
    """Two data sets below one root."""
    for name in ("one", "two"):
        made.parquet_files(root / name)


def unlabelled_test(root: Path) -> None:
    """As the hub has it where the labels of the test set are secret."""
    parquet(lambda n: {"label": [0, 1, 2] * (n // 3)})(root)
    parquet(lambda n: {"label": [-1] * n}, "test.parquet")(root)


def no_tar(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "a.tar").write_text("tar" * 999)


def no_folder(root: Path) -> None:
    """Nothing is there."""


def a_file(root: Path) -> None:
    root.write_text("x")


def nothing(root: Path) -> None:
    root.mkdir(parents=True)


FOLDER = {"name": "imagefolder"}
TABLE = {"name": "huggingface"}
TARS = {"name": "webdataset"}
MNIST = {"name": "torchvision", "dataset": "MNIST"}

BROKEN: dict[str, tuple[Break, dict[str, Any], str]] = {
    "no folder": (no_folder, FOLDER, r"data\.root = .*: there is no such folder"),
    "empty folder": (nothing, FOLDER, "holds no image"),
    "a file for a folder": (
        a_file, FOLDER, "there is no such folder",
    ),
    "images in no class": (
        with_file("train/loose.png", b"1"), FOLDER, "1 images beside the class folders",
    ),
    "one class": (remove("train/bird/*", "train/cat/*"), FOLDER, "class folder .*bird holds no"),
    "an empty class": (remove("train/dog/*"), FOLDER, "class folder .*dog holds no image"),
    "a class only in test": (
        with_file("test/emu/1.png", b"1"), FOLDER, "class 'emu' of the test part is not in the tr",
    ),
    "a circle of links": (circle, FOLDER, "is a link to a folder that it lies in"),
    "a link to nothing": (lost_link, FOLDER, r"lost\.png cannot be read: No such file"),
    "too large a validation": (
        folders, FOLDER | {"validation": 62}, "validation = 62, but there are 62 train images",
    ),
    "too many training images": (
        folders, FOLDER | {"train_images": 57}, "train_images = 57, but 56 images are left",
    ),
    "too many test images": (folders, FOLDER | {"test_images": 19}, "but 18 images are in the te"),
    "no table": (nothing, TABLE, "holds no parquet or arrow file"),
    "no label": (parquet(lambda n: {}), TABLE, r"no column holds the label \(there are image\)"),
    "two labels": (
        parquet(lambda n: {"fine": [1] * n, "coarse": [0] * n}), TABLE,
        r"several columns could hold the label \(fine, coarse\): name one with `data.label_column`",
    ),
    "an absent column": (
        parquet(lambda n: {"label": [0, 1, 2] * (n // 3)}), TABLE | {"label_column": "lable"},
        "data.label_column = lable, but .* has: image, label",
    ),
    "lists of labels": (
        parquet(lambda n: {"label": [[0, 1]] * n}), TABLE, "Multi-label data cannot be used",
    ),
    "fractions as labels": (
        parquet(lambda n: {"label": np.linspace(0, 1, n)}), TABLE,
        "labels must be whole numbers or texts, and are: float",
    ),
    "absent labels": (
        parquet(lambda n: {"label": [0, 1, None] * (n // 3)}), TABLE,
        "labels must be whole numbers or texts, and are: NoneType, int",
    ),
    "no labels in a part": (
        unlabelled_test,
        TABLE, r"label -1 in the test part: 3 classes have the labels 0 to 2",
    ),
    "a class without images": (
        parquet(lambda n: {"label": [0, 2, 2] * (n // 3)}), TABLE, "class '1' has no training im",
    ),
    "a cut table": (cut(made.parquet_files, "train*"), TABLE, "train-.* is damaged, or not as it"),
    "a cut stream": (cut(made.saved_to_disk, "*.arrow", 0.3), TABLE, "is damaged, or not as it"),
    "several sets": (twice, TABLE, r"holds several data sets \(one.data, two.data\)"),
    "no tar": (nothing, TARS, "holds no tar file"),
    "a cut tar": (cut(made.tar_files, "train-000000.tar", 0.333), TARS, "is damaged, or no tar f"),
    "no tar at all": (
        no_tar, TARS,
        r"a\.tar is damaged, or no tar file",
    ),
    "a sample without a label": (tar_without_labels, TARS, "sample 'a' has no label .cls"),
    "samples of several labels": (
        tar_of_several_labels, TARS | {"label_column": "tags"}, "Multi-label data cannot be used",
    ),
    "an absent set": (nothing, MNIST, r"holds no MNIST \(MNIST/\): .*data.download: true"),
    "a cut set": (cut(made.mnist_files, "train-images*byte"), MNIST, "cannot be read by torchv"),
    "a set of several labels": (
        nothing, MNIST | {"dataset": "CelebA"}, "dataset = CelebA: .*Multi-label data cannot",
    ),
    "an unknown set": (nothing, MNIST | {"dataset": "CIFAR1000"}, "must be one of Caltech101, "),
    "no set": (nothing, {"name": "torchvision"}, r"data\.dataset is missing: one of"),
    "a set nobody can fetch": (
        nothing, MNIST | {"dataset": "StanfordCars", "download": True}, "cannot fetch StanfordCars",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_said_in_one_line(name: str, tmp_path: Path) -> None:
    make, settings, message = BROKEN[name]
    make(tmp_path / "set")
    cfg = DataConfig.model_validate(settings | {"root": tmp_path / "set"})
    with pytest.raises(DataError, match=message) as refused:
        data.load(cfg)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


def corrupt_set(root: Path) -> None:
    """Of 56 training images three cannot be decoded, and one to report on."""
    folders(root)
    for name, content in {
        "train/bird/001.png": b"",
        "train/cat/002.png": b"<html>404</html>",
        "test/dog/000.png": made.encoded(made.picture("test", 2, 0))[:200],
    }.items():
        (root / name).write_bytes(content)
    jpeg = made.encoded(Image.new("RGB", (64, 64)), "JPEG")
    (root / "train/dog/003.png").write_bytes(jpeg[: len(jpeg) // 2])


def test_corrupt_images_are_named_and_counted(tmp_path: Path) -> None:
    corrupt_set(tmp_path / "set")
    found = data.load(DataConfig(name="imagefolder", root=tmp_path / "set", size=16))
    with pytest.raises(DataError, match=r"4 of 80 images .* cannot be decoded: ") as refused:
        found.prepare()
    for name in ("train/bird/001.png", "train/cat/002.png", "dog/003.png", "test/dog/000.png"):
        assert name in str(refused.value)
    assert "write `data.corrupt: leave_out`" in str(refused.value)
    with pytest.raises(DataError, match="4 of 80 images"):  # at once: nothing is decoded again
        data.load(DataConfig(name="imagefolder", root=tmp_path / "set", size=16))


def test_corrupt_images_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    corrupt_set(tmp_path / "set")
    cfg = DataConfig(name="imagefolder", root=tmp_path / "set", size=16, corrupt="leave_out")
    found = data.load(cfg)
    assert (len(found.train) + len(found.validation), len(found.test)) == (59, 17)
    images = np.concatenate([part.images[:] for part in (found.train, found.validation)])
    assert images.reshape(len(images), -1).any(1).all(), "no empty image is left"


def test_many_corrupt_images_are_counted_and_some_are_named(tmp_path: Path) -> None:
    folders(tmp_path / "set")
    for path in (tmp_path / "set/train/bird").iterdir():
        path.write_bytes(b"no image")
    found = data.load(DataConfig(name="imagefolder", root=tmp_path / "set", size=16))
    with pytest.raises(DataError, match=r"30 of 80 images .*; and 25 more\. Mend") as refused:
        found.prepare()
    assert len(str(refused.value)) < 1000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folders(tmp_path / "set")
    (tmp_path / "set/train/cat/000.png").chmod(0)
    with pytest.raises(DataError, match=r"000\.png cannot be read: Permission denied"):
        data.load(DataConfig(name="imagefolder", root=tmp_path / "set"))
