import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from trials.data import datasets as data
from trials.data.datasets import DataConfig, Dataset, Split, fraction_indices, stratified_order
from trials.errors import DataError

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(np.array)


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

    monkeypatch.setitem(data.READERS, "digits", lambda _: (split(0, 400), split(400, 101)))


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
    train, test = data.READERS["digits"](None)
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
    train, test = data.READERS["digits"](None)
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


@given(LABELS, st.integers(0, 5))
def test_a_stratified_order_is_a_permutation_whose_prefixes_hold_each_classs_share(
    labels: NDArray[np.int64], seed: int
) -> None:
    order = stratified_order(labels, seed, "test")
    assert sorted(order.tolist()) == list(range(len(labels)))
    classes, sizes = np.unique(labels, return_counts=True)
    for length in range(1, len(labels) + 1):
        counts = np.array([(labels[order[:length]] == c).sum() for c in classes])
        # Each of the other classes can be half an image early or late.
        assert np.abs(counts - length * sizes / len(labels)).max() <= len(classes) / 2 + 1


@given(LABELS, st.floats(0.1, 1), st.floats(0.1, 1))
def test_data_fractions_nest(labels: NDArray[np.int64], a: float, b: float) -> None:
    inner, outer = (fraction_indices(labels, f, 0, "mask data") for f in sorted((a, b)))
    assert set(inner) <= set(outer)


@given(LABELS, st.floats(0.1, 1))
def test_a_data_fraction_has_the_asked_size_ascending_without_repeats(
    labels: NDArray[np.int64], fraction: float
) -> None:
    chosen = fraction_indices(labels, fraction, 0, "mask data")
    assert len(chosen) == max(1, round(fraction * len(labels)))
    assert (np.diff(chosen) > 0).all()
    everything = fraction_indices(labels, 1.0, 0, "mask data")
    assert everything.tolist() == list(range(len(labels)))


def test_a_tenth_of_balanced_images_is_balanced() -> None:
    labels = np.arange(1000) % 10
    assert np.bincount(labels[fraction_indices(labels, 0.1, 0, "mask data")]).tolist() == [10] * 10


def test_fractions_differ_by_seed_and_purpose() -> None:
    labels = np.arange(100) % 10
    drawn = [fraction_indices(labels, 0.3, *how).tolist() for how in ((0, "a"), (1, "a"), (0, "b"))]
    assert len({tuple(one) for one in drawn}) == 3


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


def test_a_split_is_placed_once_and_as_a_copy(small: Dataset, cpu: torch.device) -> None:
    images, labels = small.on(cpu, "validation")
    assert small.on(cpu, "validation")[0] is images
    assert np.array_equal(images.numpy(), small.validation.images)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert not np.shares_memory(images.numpy(), small.validation.images)


def test_cifar10_without_a_folder_says_what_to_name() -> None:
    with pytest.raises(DataError, match=r"data\.root is missing"):
        data.load(DataConfig(name="cifar10"))


def test_cifar10_that_is_absent_says_which_folder_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"data.root = {tmp_path} .* no cifar-10-batches-py"):
        data.load(DataConfig(name="cifar10", root=tmp_path))


class Trap:
    """Unpickling this writes a file, as a malicious batch could run anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path, bytes]]:
        return Path.write_bytes, (self.path, b"opened")


def test_a_cifar_batch_that_is_not_the_published_file_is_refused_unopened(tmp_path: Path) -> None:
    folder, opened = tmp_path / "cifar-10-batches-py", tmp_path / "opened"
    folder.mkdir()
    for name in data.CIFAR10_MD5:
        (folder / name).write_bytes(pickle.dumps(Trap(opened)))
    with pytest.raises(DataError, match="it was not opened"):
        data.load(DataConfig(name="cifar10", root=tmp_path))
    assert not opened.exists()
    pickle.loads((folder / "test_batch").read_bytes())  # noqa: S301 - shows that the trap works
    assert opened.exists()


def test_one_damaged_byte_in_a_real_cifar_batch_is_noticed(
    cifar10_root: Path, tmp_path: Path
) -> None:
    real = cifar10_root / "cifar-10-batches-py"
    for name in data.CIFAR10_MD5:
        (tmp_path / name).symlink_to(real / name)
    content = bytearray((real / "data_batch_3").read_bytes())
    content[1_000_000] ^= 1
    (tmp_path / "data_batch_3").unlink()
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_3 is damaged .*it was not opened"):
        data.load(DataConfig(name="cifar10", root=tmp_path))


def test_the_real_cifar10_is_read_and_split(cifar10_root: Path) -> None:
    found = data.load(DataConfig(name="cifar10", root=cifar10_root))
    sizes = [len(part) for part in (found.train, found.validation, found.test)]
    assert sizes == [45_000, 5_000, 10_000]
    assert found.train.images.shape[1:] == (3, 32, 32)
    assert (found.classes, found.channels) == (10, 3)
    assert np.bincount(found.validation.labels).tolist() == [500] * 10
    # The published mean of all training pixels.
    means = found.train.images.mean((0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)


def test_a_smaller_test_set_is_stratified_and_is_what_the_halves_are_made_of() -> None:
    whole = data.load(DataConfig(name="digits", validation_from="test"))
    found = data.load(DataConfig(name="digits", validation_from="test", test_images=100))
    assert (len(found.validation), len(found.test)) == (50, 50)
    assert np.array_equal(found.train.images, whole.train.images)
    both = np.concatenate([found.validation.labels, found.test.labels])
    assert set(np.bincount(both)) <= {9, 10, 11}
