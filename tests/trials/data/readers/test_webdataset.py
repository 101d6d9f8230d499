"""Samples of tar files, and the ways in which they carry labels."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.trials.data.readers import made
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Dataset
from trials.errors import DataError

PICTURE = made.encoded(made.picture("train", 0, 0))


def write(path: Path, samples: list[dict[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for number, sample in enumerate(samples):
            for extension, content in sample.items():
                made.add(tar, f"all/{number:04}.{extension}", content)


def loaded(root: Path, **more: Any) -> Dataset:
    settings = {"name": "webdataset", "root": root} | more
    return data.load(DataConfig.model_validate(settings))


def labelled(count: int, **more: bytes) -> list[dict[str, bytes]]:
    return [{"png": PICTURE, "cls": str(i % 3).encode()} | more for i in range(count)]


def test_numbers_are_labels_and_one_part_is_split(tmp_path: Path) -> None:
    write(tmp_path / "shard-0.tar", labelled(15))
    write(tmp_path / "shard-1.tar", labelled(15))
    found = loaded(tmp_path)
    assert found.class_names == ("0", "1", "2")
    assert (len(found.train), len(found.validation), len(found.test)) == (22, 2, 6)
    assert len(found.train.images[:]) == 22


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_label_may_stand_in_json(tmp_path: Path, suffix: str) -> None:
    samples = [
        {"png": PICTURE, "json": json.dumps({"species": ["cat", "dog"][i % 2]}).encode()}
        for i in range(20)
    ]
    write(tmp_path / f"train.{suffix}", samples)
    assert loaded(tmp_path, label_column="species").class_names == ("cat", "dog")


def test_of_several_images_one_is_named(tmp_path: Path) -> None:
    mask = made.encoded(made.picture("test", 2, 1), "JPEG")
    write(tmp_path / "train.tar", labelled(12, jpg=mask))
    with pytest.raises(DataError, match=r"several images \(jpg, png\): .*data.image_column"):
        loaded(tmp_path).prepare()
    assert loaded(tmp_path, image_column="png").train.images[:].shape[1:] == (3, 16, 16)


def test_a_sample_without_an_image_is_a_corrupt_one(tmp_path: Path) -> None:
    write(tmp_path / "train.tar", [*labelled(12), {"cls": b"1"}])
    with pytest.raises(DataError, match=r"1 of 13 images .*train\.tar: all/0012"):
        loaded(tmp_path).prepare()


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    """So a name that leads elsewhere leads nowhere."""
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for i in range(12):
            made.add(tar, f"../../evil{i}.png", PICTURE)
            made.add(tar, f"../../evil{i}.cls", str(i % 2).encode())
    loaded(tmp_path).prepare()
    assert not list(tmp_path.parent.glob("**/evil*"))
