from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from trials.config import TrialConfig
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Dataset, Split
from trials.data.readers import READERS
from trials.data.readers.reader import Arrays
from trials.errors import DataError
from trials.graph.execute import Direct
from trials.graph.pipeline import pipeline
from trials.graph.sources import open_sources


def fingerprints(split: Split) -> Counter[bytes]:
    return Counter(image.tobytes() for image in split.images)


def shares(split: Split) -> NDArray[np.float64]:
    return np.bincount(split.labels, minlength=10) / len(split)


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of digits: 400 train and 101 test images that all differ, classes of any size."""

    def split(first: int, count: int) -> Split:
        images = np.zeros((count, 1, 8, 8), dtype=np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(first, first + count), 256)
        labels = 9 - np.sqrt(np.arange(count) * 100 / count).astype(np.int64)
        return Split(images, labels)

    whole = Arrays(tuple("0123456789"), split(0, 400), split(400, 101))
    reader = replace(READERS["digits"], open=lambda cfg: whole)
    monkeypatch.setitem(READERS, "digits", reader)


def whole() -> tuple[Split, Split]:
    """All training and test images of `numbered`."""
    found = READERS["digits"].open(DataConfig(name="digits"))
    assert isinstance(found, Arrays)
    return found.train, found.test


CONFIGS = {
    "from-train": DataConfig(name="digits", validation=100),
    "test-halves": DataConfig(name="digits", validation_from="test"),
    "subset": DataConfig(name="digits", validation=100, train_images=50),
}


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=CONFIGS.keys())
def test_splits_share_no_image_and_are_stratified(cfg: DataConfig) -> None:
    found = data.load(cfg)
    parts = (found.train, found.validation, found.test)
    together = sum((fingerprints(part) for part in parts), Counter())
    assert max(together.values()) == 1
    train, test = whole()
    everything = fingerprints(train) + fingerprints(test)
    assert not together - everything
    if cfg.train_images is None:
        assert together == everything
    halves = cfg.validation_from == "test"
    for part, source in zip(parts, (train, test if halves else train, test), strict=True):
        share = shares(source)
        assert np.abs(shares(part) - share).max() <= 1 / len(part) + 1e-9


@pytest.mark.usefixtures("numbered")
def test_validation_from_test_splits_the_test_set_into_halves_and_keeps_train_whole() -> None:
    found = data.load(CONFIGS["test-halves"])
    assert (len(found.train), len(found.validation), len(found.test)) == (400, 50, 51)
    train, test = whole()
    assert fingerprints(found.train) == fingerprints(train)
    assert fingerprints(found.validation) + fingerprints(found.test) == fingerprints(test)


@pytest.mark.usefixtures("numbered")
def test_a_split_is_the_same_every_time_and_another_with_another_split_seed() -> None:
    cfg = CONFIGS["from-train"]
    first, again = data.load(cfg), data.load(cfg)
    other = data.load(cfg.model_copy(update={"split_seed": 1}))
    assert np.array_equal(first.validation.images, again.validation.images)
    assert first.digest == again.digest
    assert not np.array_equal(first.validation.images, other.validation.images)


@pytest.mark.usefixtures("numbered")
def test_the_digest_changes_with_whatever_changes_the_split() -> None:
    cfg = CONFIGS["from-train"]
    changes = [{}, {"validation": 101}, {"split_seed": 1}, {"train_images": 299}]
    changes.append({"test_images": 100})
    digests = [data.load(cfg.model_copy(update=change)).digest for change in changes]
    digests.append(data.load(CONFIGS["test-halves"]).digest)
    assert len(set(digests)) == len(digests)
    moved = data.load(cfg.model_copy(update={"root": Path("elsewhere")}))
    assert moved.digest == digests[0], "the path is no part of the identity"


@pytest.mark.usefixtures("numbered")
def test_a_subset_of_fewer_images_than_classes_keeps_the_number_of_classes() -> None:
    found = data.load(DataConfig(name="digits", validation=100, train_images=3))
    assert (len(found.train), found.classes) == (3, 10)


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (DataConfig(name="digits", validation=400), "validation = 400, but there are 400 train"),
        (DataConfig(name="digits", validation=100, train_images=301), "300 images are left"),
        (DataConfig(name="digits", test_images=102), "data.test_images = 102, but 101 images"),
        (
            DataConfig(name="digits", validation=100, validation_from="test"),
            r"Remove `data\.validation`",
        ),
    ],
)
def test_an_impossible_split_is_refused(cfg: DataConfig, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.load(cfg)


def test_unknown_data_sets_and_settings_are_refused() -> None:
    for wrong in (
        {"name": "mnist"},
        {"name": "digits", "validaton": 5},
        {"name": "digits", "validation": 0},
    ):
        with pytest.raises(ValidationError):
            DataConfig.model_validate(wrong)


def test_digits_are_the_1797_real_images_of_scikit_learn(digits: Dataset) -> None:
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1097, 200, 500)
    assert digits.train.images.shape[1:] == (1, 8, 8)
    assert (digits.classes, digits.channels) == (10, 1)
    assert digits.train.images.dtype == np.uint8
    assert (digits.train.images.min(), digits.train.images.max()) == (0, 255)
    assert np.abs(shares(digits.test) - 0.1).max() < 0.01


def test_the_digest_of_digits_is_pinned(digits: Dataset) -> None:
    """A change of this number makes every stored result of every digits sweep unreadable."""
    assert digits.digest == data.load(DataConfig(name="digits", validation=200)).digest
    assert digits.digest == "855b830aa371b07ce6abdaeeb59a661e3377afcfcb1040fe4b18444458b22be0"


def test_a_split_is_placed_once_and_not_copied_on_a_cpu(small: Dataset, cpu: torch.device) -> None:
    images, labels = small.on(cpu, "validation")
    assert isinstance(images, torch.Tensor)
    assert small.on(cpu, "validation")[0] is images
    assert np.array_equal(images.numpy(), small.validation.images)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert np.shares_memory(images.numpy(), small.validation.images)


def test_nothing_writes_into_images_that_processes_share(
    tiny_trial: Callable[..., TrialConfig],
) -> None:
    """They are mapped read-only in a worker: a write would end its process."""
    opened = open_sources(tiny_trial().data, tiny_trial().model)
    before = opened.dataset.train.images.copy()
    trial = tiny_trial(finetune={
        "epochs": 1, "lr": 1e-3, "batch_size": 32, "weights": "current", "flip": True,
    })  # fmt: skip
    graph = pipeline(trial, opened.sources)
    Direct(opened.objects()).get(graph.final)
    assert np.array_equal(opened.dataset.train.images, before)


def test_a_smaller_test_set_is_stratified_and_is_what_the_halves_are_made_of() -> None:
    whole = data.load(DataConfig(name="digits", validation_from="test"))
    found = data.load(DataConfig(name="digits", validation_from="test", test_images=100))
    assert (len(found.validation), len(found.test)) == (50, 50)
    assert np.array_equal(found.train.images, whole.train.images)
    both = np.concatenate([found.validation.labels, found.test.labels])
    assert set(np.bincount(both)) <= {9, 10, 11}
