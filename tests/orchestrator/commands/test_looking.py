"""What data somebody has."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.commands import looking
from orchestrator.commands.looking import look
from trials.data.datasets import Counts
from trials.errors import DataError


def test_a_name_is_a_data_set_and_its_sizes_are_read() -> None:
    seen = look("digits")
    assert seen.settings == {"name": "digits"}
    assert (seen.counts, seen.pixels, seen.absent) == (Counts(1097, 200, 500, 10, 1), 8, "")
    assert seen.said == ("1,797 images in 10 classes, 174 to 183 of each.",)


def test_a_data_set_that_is_not_there_is_known_by_its_publisher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = look("CIFAR10")
    assert seen.settings == {"name": "cifar10", "root": str(tmp_path / "data")}
    assert seen.counts == Counts(45_000, 5_000, 10_000, 10, 3)
    assert "holds no CIFAR-10" in seen.absent
    assert seen.said == ("60,000 images in 10 classes.",)


def test_the_folder_of_cifar10_is_known_by_what_it_holds(cifar10_root: Path) -> None:
    for folder in (cifar10_root, cifar10_root / "cifar-10-batches-py"):
        seen = look(str(folder))
        assert seen.settings == {"name": "cifar10", "root": str(folder.absolute())}
        assert seen.said == ("60,000 images in 10 classes, 6,000 of each.",)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("train/cat/1.jpg", "imagefolder"),
        ("cat/1.PNG", "imagefolder"),
        ("data/train-00000-of-00001.parquet", "huggingface"),
        ("train/data-00000-of-00001.arrow", "huggingface"),
        ("train-0000.tar", "webdataset"),
    ],
)
def test_the_kind_of_a_folder_is_known_by_its_files(file: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    (tmp_path / "README.md").write_text("about")
    assert looking._kind(tmp_path) == kind


def test_a_folder_without_images_says_what_it_should_hold(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no images: name a folder that has"):
        look(str(tmp_path))


def test_sizes_are_looked_at_and_damaged_images_left_out(tmp_path: Path) -> None:
    for number, size in enumerate([(40, 30), (40, 30), (64, 64), (20, 50)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    sizes = looking._sizes(tmp_path)
    assert sizes == {(40, 30): 2, (64, 64): 1, (20, 50): 1}
    assert looking._typical(sizes) == 30
    assert looking._sizes_in_words(sizes).startswith("Images of 40 × 30, ")
    more = looking._sizes_in_words(sizes + Counter([(1, 1)]))
    assert more.startswith("Images of 4 sizes among 5; the usual ones: 40 × 30, ")


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(DataError, match="did you mean `digits`"):
        look("digit")


def folder(root: Path, each: int = 10) -> Path:
    """Two classes of small images."""
    for name in ("cats", "dogs"):
        (root / name).mkdir(parents=True)
        for number in range(each):
            Image.new("RGB", (30 + number % 2, 20), "red").save(root / name / f"{number}.png")
    return root


def test_a_folder_of_classes_is_counted(tmp_path: Path) -> None:
    seen = look(str(folder(tmp_path / "pets", each=50)))
    assert seen.settings == {"name": "imagefolder", "root": str(tmp_path / "pets")}
    assert (seen.counts, seen.pixels) == (Counts(72, 8, 20, 2, 3), 20)
    assert seen.said == (
        "100 images in 2 classes, 50 of each.", "Images of 30 × 20, 31 × 20 pixels."
    )  # fmt: skip


def test_torchvisions_sets_are_known_by_name_and_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = look("cifar100")
    root = str(tmp_path / "data")
    assert seen.settings == {"name": "torchvision", "dataset": "CIFAR100", "root": root}
    assert (seen.counts, seen.pixels) == (Counts(45_000, 5_000, 10_000, 100, 3), 32)
    assert "write `data.download: true`" in seen.absent
    assert list(tmp_path.iterdir()) == []
