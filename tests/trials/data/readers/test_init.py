"""What holds for every reader, over the table of made-up data sets and the two that ship arrays."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from tests.trials.data.readers import made
from trials.data import datasets as data
from trials.data.config import DataConfig, SourceName
from trials.data.datasets import Counts, Dataset, Split
from trials.data.images import HostImages
from trials.data.listing import PARTS
from trials.data.readers import READERS
from trials.errors import DataError

Config = Callable[..., DataConfig]

ARRAYS = {"digits", "cifar10"}
"""Readers of fixed arrays, which have no settings of their own."""


def test_every_reader_can_be_asked_for_and_has_a_made_up_data_set() -> None:
    assert tuple(READERS) == get_args(SourceName)
    assert {name.split()[0] for name in made.MADE} | ARRAYS == set(READERS)


def images(*splits: Split) -> Counter[tuple[int, bytes]]:
    """Label and pixels of each image."""
    return Counter(
        (int(label), image.tobytes())
        for split in splits
        for label, image in zip(split.labels, split.images[:], strict=True)
    )


def expected(kind: str, part: str) -> Counter[tuple[int, bytes]]:
    """What a made-up data set holds."""
    found: Counter[tuple[int, bytes]] = Counter()
    for one, label, number in made.everything():
        if one == part:
            picture = made.picture(part, label, number)
            if kind == "torchvision":
                picture = picture.convert("L").resize((28, 28))
            array = np.asarray(picture)
            array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
            found[label, array.tobytes()] += 1
    return found


def test_every_image_is_in_the_part_and_class_that_its_files_say(kind: str, config: Config) -> None:
    found = data.load(config())
    assert images(found.train, found.validation) == expected(kind, "train")
    assert images(found.test) == expected(kind, "test")


def test_classes_keep_their_names(kind: str, config: Config) -> None:
    found = data.load(config())
    assert found.classes == 3
    assert found.class_names == (("0", "1", "2") if kind == "torchvision" else made.CLASSES)


def test_sizes_are_known_before_an_image_is_decoded(config: Config, cache: Path) -> None:
    counts = Counts.of(data.load(config()))
    assert (counts.train, counts.validation, counts.test) == (56, 6, 18)
    assert not list(cache.glob("images/*/images.npy"))


def test_a_moved_folder_is_the_same_data(config: Config, tmp_path: Path) -> None:
    cfg = config()
    before = data.load(cfg).digest
    shutil.move(tmp_path / "set", tmp_path / "elsewhere")
    assert data.load(cfg.model_copy(update={"root": tmp_path / "elsewhere"})).digest == before


def payload(root: Path) -> Path:
    """A file that holds images."""
    found = [
        path
        for path in sorted(root.rglob("*"))
        if (path.is_file() and path.suffix in (".png", ".parquet", ".arrow", ".tar"))
        or ("images-idx3" in path.name and path.suffix != ".gz")
    ]
    return found[0]


def test_a_changed_file_is_other_data(config: Config, tmp_path: Path) -> None:
    cfg = config()
    before = data.load(cfg).digest
    path = payload(tmp_path / "set")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # a trailer: checked by nobody, or noticed only when it is decoded
    path.write_bytes(content)
    after = before
    with contextlib.suppress(DataError):  # what needs its trailer refuses the file
        after = ""
        after = data.load(cfg).digest
    assert after != before


@pytest.mark.usefixtures("settled")
def test_unchanged_files_are_not_read_again(config: Config, hashed: list[str]) -> None:
    cfg = config()
    first = data.load(cfg).digest
    assert hashed
    hashed.clear()
    assert data.load(cfg).digest == first
    assert not hashed


@pytest.mark.parametrize(
    "change",
    [{"size": 8}, {"size": 8, "resize": "center_crop"}, {"window": (0, 255)}, {"split_seed": 1}],
    ids=str,
)
def test_how_images_are_made_and_split_is_part_of_the_digest(
    config: Config, change: dict[str, object]
) -> None:
    digests = {data.load(config(**some)).digest for some in ({}, {"size": 8}, change)}
    assert len(digests) == (2 if change == {"size": 8} else 3)


def test_where_images_are_held_is_not_part_of_the_digest(config: Config) -> None:
    assert data.load(config(memory_gib=0)).digest == data.load(config()).digest


def test_images_from_a_file_and_from_memory_give_the_same_batches(
    config: Config, cpu: torch.device
) -> None:
    held, mapped = data.load(config()), data.load(config(memory_gib=0))
    rows = torch.tensor([5, 0, 11, 5])
    for part in PARTS:
        rows = rows % len(getattr(held, part))
        (here, labels), (there, same) = held.on(cpu, part), mapped.on(cpu, part)
        assert isinstance(here, torch.Tensor)
        assert isinstance(there, HostImages)
        assert tuple(here.shape) == there.shape
        assert torch.equal(here[rows], there[rows])
        assert torch.equal(here[2:5], there[2:5])
        assert torch.equal(labels, same)


def test_images_come_at_the_asked_size_and_channels(config: Config) -> None:
    found = data.load(config(size=20, channels=1))
    assert found.channels == 1
    assert found.train.images.shape == (56, 1, 20, 20)
    assert found.train.images[:].dtype == np.uint8


def test_a_second_process_finds_the_decoded_images(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config()
    data.load(cfg).prepare()
    from trials.data import decoded

    monkeypatch.setattr(decoded, "decode", None)
    again: Dataset = data.load(cfg)
    again.prepare()
    assert len(again.train.images[:]) == 56


def test_a_setting_of_another_reader_is_a_problem() -> None:
    for name, reader in READERS.items():
        foreign = {
            "digits": {"size": 8},
            "cifar10": {"download": True},
            "imagefolder": {"label_column": "x"},
            "torchvision": {"image_column": "x"},
            "huggingface": {"dataset": "MNIST"},
            "webdataset": {"download": True},
        }[name]
        cfg = DataConfig.model_validate({"name": name, "root": "/data", **foreign})
        assert any("says nothing to" in message for _, message in reader.problems(cfg)), name
