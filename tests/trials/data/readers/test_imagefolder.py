"""The layouts in which folders of images come."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trials.data.readers import made
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Dataset
from trials.errors import DataError


def fill(root: Path, *folders: str, count: int = 10) -> None:
    """Images in each of several folders."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = made.picture("train", len(folder), number)
            (root / folder / f"{number}.png").write_bytes(made.encoded(picture))


def loaded(root: Path, **more: Any) -> Dataset:
    settings = {"name": "imagefolder", "root": root} | more
    return data.load(DataConfig.model_validate(settings))


def sizes(found: Dataset) -> tuple[int, int, int]:
    return len(found.train), len(found.validation), len(found.test)


def test_one_folder_is_split_stratified(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog", count=50)
    found = loaded(tmp_path)
    assert sizes(found) == (72, 8, 20)
    for part in (found.train, found.validation, found.test):
        assert np.bincount(part.labels).tolist() == [len(part) / 2] * 2
    assert sizes(loaded(tmp_path, test_fraction=0.5)) == (45, 5, 50)


def test_without_a_test_part_the_validation_part_is_reported_on_as_for_imagenet(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog")
    assert sizes(loaded(tmp_path)) == (18, 2, 20)


def test_three_parts_are_used_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog", "valid/cat", "valid/dog", "test/cat", "test/dog")
    found = loaded(tmp_path)
    assert sizes(found) == (20, 20, 20)
    assert sizes(loaded(tmp_path, validation=6)) == (20, 6, 20)
    with pytest.raises(DataError, match="validation part of its own, which is used as it is"):
        loaded(tmp_path, validation_from="test")


def test_a_test_part_alone_leaves_validation_to_the_training_part(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
    assert sizes(loaded(tmp_path)) == (18, 2, 20)
    assert sizes(loaded(tmp_path, validation_from="test")) == (20, 10, 10)


def test_folders_beside_the_parts_and_other_files_do_not_count(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog", "devkit/figures")
    (tmp_path / "train/cat/notes.txt").write_text("x")
    (tmp_path / "train/cat/.DS_Store").write_text("x")
    assert sizes(loaded(tmp_path)) == (18, 2, 20)


def test_folders_below_a_class_are_of_that_class(tmp_path: Path) -> None:
    fill(tmp_path, "cat/black", "cat/white/young", "dog")
    found = loaded(tmp_path)
    assert found.class_names == ("cat", "dog")
    labels = np.concatenate([part.labels for part in (found.train, found.validation, found.test)])
    assert np.bincount(labels).tolist() == [20, 10]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, "bus", "train", "tram")
    assert loaded(tmp_path).class_names == ("bus", "train", "tram")


def test_a_rare_class_is_in_every_part_that_it_is_large_enough_for(tmp_path: Path) -> None:
    fill(tmp_path, "common", count=60)
    fill(tmp_path, "rare", count=3)
    fill(tmp_path, "single", count=1)
    found = loaded(tmp_path)
    counts = [
        np.bincount(part.labels, minlength=3).tolist()
        for part in (found.train, found.validation, found.test)
    ]
    assert [one[1] for one in counts] == [1, 1, 1]
    assert [one[2] for one in counts] == [1, 0, 0]


def test_images_of_every_suffix_count(tmp_path: Path) -> None:
    fill(tmp_path, "cat", "dog")
    picture = made.picture("train", 0, 0)
    for suffix, kind in (("JPG", "JPEG"), ("bmp", "BMP"), ("webp", "WEBP"), ("tif", "TIFF")):
        (tmp_path / "cat" / f"x.{suffix}").write_bytes(made.encoded(picture, kind))
    found = loaded(tmp_path)
    assert sum(sizes(found)) == 24
    found.prepare()
