"""Data sets as uint8 arrays in memory, their splits and stratified fractions.

A data set is known by the digest of its content and of the split, never by its path.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from trials.errors import DataAbsentError, DataError
from trials.lazy import torch
from trials.seeding import Permutations
from trials.stage import StageConfig

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.uint8]

CIFAR10_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


class DataConfig(StageConfig):
    """Which images, and which of them are for training, selecting and reporting."""

    name: Literal["digits", "cifar10"] = Field(description="data set")
    root: Path | None = Field(
        None, description="folder that holds the data set; relative to the working directory"
    )
    validation: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="images set aside to select on; default: 5,000 of CIFAR-10, 200 of digits",
    )
    validation_from: Literal["train", "test"] = Field(
        "train",
        description="test: for weights that have seen the whole training set, the test set is "
        "split into a half to select on and a half to report",
    )
    train_images: Annotated[int, Field(ge=1)] | None = Field(
        None, description="train on a stratified subset of this size; default: all"
    )
    test_images: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="evaluate on a stratified subset of the test set of this size, before it is "
        "split into halves; default: all",
    )
    split_seed: int = Field(0, description="seed of the split; the same for all trials")

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: Path | None) -> Path | None:
        """Workers run in other folders: a relative path means this working directory."""
        return root.expanduser().absolute() if root is not None else None


@dataclass(frozen=True, slots=True)
class Split:
    """Images uint8 (N, C, H, W) and labels int64 (N,)."""

    images: Array
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test images, which share no image."""

    name: str
    digest: str
    classes: int
    train: Split
    validation: Split
    test: Split
    _placed: dict[tuple[str, str], tuple[Tensor, Tensor]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def channels(self) -> int:
        """Colour channels of an image."""
        return int(self.train.images.shape[1])

    def on(self, device: torch.device, split: str) -> tuple[Tensor, Tensor]:
        """Images uint8 (N, C, H, W) and labels int64 (N,) of a split, placed once per process."""
        key = (split, str(device))
        if key not in self._placed:
            part: Split = getattr(self, split)
            # A copy, because arrays from the Ray object store are read-only.
            self._placed[key] = (
                torch.tensor(part.images, device=device),
                torch.tensor(part.labels, device=device),
            )
        return self._placed[key]


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a data set, for estimates."""

    train: int
    validation: int
    test: int
    classes: int
    channels: int

    @classmethod
    def of(cls, dataset: Dataset) -> Counts:
        """The sizes of a data set in memory."""
        parts = (len(dataset.train), len(dataset.validation), len(dataset.test))
        return cls(*parts, dataset.classes, dataset.channels)


def stratified_order(labels: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.int64]:
    """An order of which every prefix is stratified by class, so fractions nest.

    Args:
        labels: int64 (N,).
        seed: of the shuffle inside each class.
        purpose: keeps the draws of different uses apart.

    Returns:
        int64 (N,): a permutation of the indices. In a prefix of k images each class has its
        share of k, rounded.
    """
    draw = Permutations(seed, "stratified", purpose)
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        shuffled = members[draw.next(len(members))]
        position[shuffled] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(position, kind="stable").astype(np.int64)


def fraction_indices(
    labels: NDArray[np.int64], fraction: float, seed: int, purpose: str
) -> NDArray[np.int64]:
    """Indices of a stratified fraction of the images, ascending; at least one."""
    count = max(1, round(fraction * len(labels)))
    return np.sort(stratified_order(labels, seed, purpose)[:count])


def load(cfg: DataConfig) -> Dataset:
    """Read a data set and split it.

    Raises:
        DataError: absent, damaged, or too few images for the split.
    """
    train, test = READERS[cfg.name](cfg.root)
    classes = int(train.labels.max()) + 1
    if cfg.test_images is not None:
        test = _subset(test, cfg.test_images, cfg.split_seed, "test", "in the test set")
    selected = cfg.validation or {"digits": 200, "cifar10": 5000}[cfg.name]
    if cfg.validation_from == "test":
        if cfg.validation is not None:
            raise DataError(
                "data.validation cannot be chosen with validation_from: test; the test set is "
                "split into halves. Remove `data.validation`."
            )
        validation, test = _split(test, len(test) // 2, cfg.split_seed, "test halves")
    elif selected >= len(train):
        raise DataError(f"data.validation = {selected}, but there are {len(train)} train images")
    else:
        validation, train = _split(train, selected, cfg.split_seed, "validation")
    if cfg.train_images is not None:
        train = _subset(train, cfg.train_images, cfg.split_seed, "train", "left to train")
    return Dataset(cfg.name, _digest(train, validation, test), classes, train, validation, test)


def _subset(whole: Split, count: int, seed: int, name: str, where: str) -> Split:
    if count > len(whole):
        raise DataError(f"data.{name}_images = {count}, but {len(whole)} images are {where}")
    return _split(whole, count, seed, f"{name} subset")[0]


def _split(whole: Split, first: int, seed: int, purpose: str) -> tuple[Split, Split]:
    order = stratified_order(whole.labels, seed, purpose)
    a, b = np.sort(order[:first]), np.sort(order[first:])
    return Split(whole.images[a], whole.labels[a]), Split(whole.images[b], whole.labels[b])


def _digest(*splits: Split) -> str:
    total = hashlib.sha256()
    for split in splits:
        total.update(str(split.images.shape).encode())
        total.update(np.ascontiguousarray(split.images).data)
        total.update(np.ascontiguousarray(split.labels).data)
    return total.hexdigest()


def read_digits(root: Path | None) -> tuple[Split, Split]:
    """scikit-learn's 1,797 hand-written digits, 8 x 8: 1,297 to train, 500 to test, fixed seed.

    Source: Alpaydin and Kaynak 1998, UCI; ships with scikit-learn, so `root` is not used.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    whole = Split(images, bunch.target.astype(np.int64))
    test, train = _split(whole, 500, 0, "digits test")
    return train, test


def read_cifar10(root: Path | None) -> tuple[Split, Split]:
    """CIFAR-10's original python batches under `root/cifar-10-batches-py` (or `root` itself).

    They are pickles, so a batch is opened only after its MD5 is the published one.

    Raises:
        DataAbsentError: none of it is there.
        DataError: a batch is absent or is not the published file.
    """
    if root is None:
        raise DataAbsentError(
            "data.root is missing: name the folder that holds cifar-10-batches-py/ "
            "(cs.toronto.edu/~kriz/cifar.html, python version)"
        )
    folder = root / "cifar-10-batches-py"
    folder = folder if folder.is_dir() else root
    if not any((folder / name).exists() for name in CIFAR10_MD5):
        raise DataAbsentError(
            f"data.root = {root} holds no CIFAR-10: there is no cifar-10-batches-py/. Put the "
            "python version of cs.toronto.edu/~kriz/cifar.html there, or name its folder with "
            "`--set data.root=FOLDER`"
        )
    batches = [_cifar_batch(folder / name) for name in sorted(CIFAR10_MD5)]
    images = [images for images, _ in batches]
    labels = [labels for _, labels in batches]
    train = Split(np.concatenate(images[:5]), np.concatenate(labels[:5]))
    return train, Split(images[5], labels[5])


def _cifar_batch(path: Path) -> tuple[Array, NDArray[np.int64]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): `data.root` must be the folder that "
            "holds cifar-10-batches-py/ (cs.toronto.edu/~kriz/cifar.html, python version)"
        ) from None
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != CIFAR10_MD5[path.name]:
        raise DataError(
            f"{path} is damaged or not the published file (MD5 {digest}, expected "
            f"{CIFAR10_MD5[path.name]}); it was not opened. Download it again."
        )
    batch = pickle.loads(content, encoding="bytes")  # noqa: S301 - the MD5 is the published one
    images = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images, np.asarray(batch[b"labels"], dtype=np.int64)


READERS: dict[str, Callable[[Path | None], tuple[Split, Split]]] = {
    "digits": read_digits,
    "cifar10": read_cifar10,
}
