"""The file of decoded images: made once, whole or not at all, and only a cache."""

import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trials.data.readers import made
from trials.data import datasets as data
from trials.data import decoded, decoding
from trials.data.config import DataConfig
from trials.data.datasets import Dataset
from trials.data.images import Stored
from trials.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made.image_folder(tmp_path / "set")
    return tmp_path / "set"


def loaded(root: Path, **more: Any) -> Dataset:
    settings = {"name": "imagefolder", "root": root} | more
    return data.load(DataConfig.model_validate(settings))


def everything(dataset: Dataset) -> bytes:
    return b"".join(part.images[:].tobytes() for part in (dataset.train, dataset.test))


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "images").glob("*/*"))


def test_images_are_decoded_once(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(loaded(root))
    assert files(cache) == ["about.json", "images.npy"]
    monkeypatch.setattr(decoded, "decode", None)
    assert everything(loaded(root)) == before


@pytest.mark.parametrize("damage", ["gone", "cut", "no about", "wrong about", "half made"])
def test_a_damaged_file_is_made_again(root: Path, cache: Path, damage: str) -> None:
    before = everything(loaded(root))
    (folder,) = (cache / "images").iterdir()
    if damage == "gone":
        shutil.rmtree(folder)
    elif damage == "cut":
        images = folder / "images.npy"
        images.write_bytes(images.read_bytes()[:1000])
    elif damage == "no about":
        (folder / "about.json").unlink()
    elif damage == "wrong about":
        (folder / "about.json").write_text("[]")
    else:
        folder.rename(folder.with_name("x.part"))
    assert everything(loaded(root)) == before
    assert "images.npy" in files(cache)


def test_what_was_interrupted_leaves_nothing_that_counts(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loaded(root)

    def interrupted(done: int, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found.prepare(interrupted)
    assert files(cache) == []
    assert not list((cache / "images").iterdir())
    assert len(everything(found)) == (56 + 18) * 3 * made.SIDE**2


def test_two_that_decode_at_once_get_the_same(root: Path, cache: Path) -> None:
    results: list[bytes] = []
    both = [loaded(root), loaded(root)]
    threads = [
        threading.Thread(target=lambda one=one: results.append(everything(one))) for one in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert results[0] == results[1]
    assert files(cache) == ["about.json", "images.npy"]


def test_only_the_name_of_a_file_travels(root: Path) -> None:
    found = loaded(root)
    before = everything(found)
    sent = pickle.dumps(found)
    assert len(sent) < 5_000
    assert everything(pickle.loads(sent)) == before  # noqa: S301 - our own


def test_a_node_with_other_files_says_so(root: Path, cache: Path) -> None:
    found = loaded(root)
    (root / "train/cat/000.png").write_bytes(made.encoded(made.picture("train", 1, 99)))
    with pytest.raises(DataError, match="are other ones than when the sweep was planned"):
        found.prepare()


def test_a_node_without_the_files_says_what_to_do(root: Path, cache: Path) -> None:
    found = loaded(root)
    shutil.rmtree(root)
    with pytest.raises(DataError, match=r"no such folder on this machine\. .*data\.memory_gib"):
        found.prepare()


def test_a_disk_without_room_is_said_before_anything_is_decoded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(root)._replace(free=10_000)
    monkeypatch.setattr(decoding.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"80 decoded images .* lower data\.size, or set XDG_CACHE"):
        loaded(root).prepare()


def test_a_user_without_a_cache_folder_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "train/cat/000.png"))
    with pytest.raises(DataError, match="set XDG_CACHE_HOME to"):
        loaded(root).prepare()


def test_images_of_one_small_size_are_held_as_they_are(root: Path) -> None:
    assert loaded(root).train.images.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize("odd", [(16, 17), (300, 300)])
def test_images_of_several_sizes_are_held_at_224(root: Path, odd: tuple[int, int]) -> None:
    for path in (root / "train").rglob("*.png") if odd == (300, 300) else [root / "test/cat/0.png"]:
        Image.new("RGB", odd).save(path)
    if odd == (300, 300):
        for path in (root / "test").rglob("*.png"):
            Image.new("RGB", odd).save(path)
    assert loaded(root).train.images.shape[1:] == (3, 224, 224)


def test_a_part_is_read_by_rows(root: Path) -> None:
    images = loaded(root).train.images
    assert isinstance(images, Stored)
    whole = images[:]
    assert np.array_equal(images[np.array([3, 1])], whole[[3, 1]])
    assert np.array_equal(images[2:4], whole[2:4])
    assert (len(images), images.nbytes) == (56, whole.nbytes)
