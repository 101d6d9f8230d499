"""Data sets as stages get them: three parts that share no image, known by content.

How one is read is a reader's business (`readers/`); here it is split.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from trials.data import decoded
from trials.data.config import DataConfig
from trials.data.decoding import Told
from trials.data.images import Array, HostImages, Split, Stored, memory_limit, placed, shared
from trials.data.listing import PARTS, Scan
from trials.data.readers import reader_of
from trials.data.splits import fraction_indices, stratified_order, two_parts
from trials.errors import DataError
from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Array",
    "Counts",
    "Dataset",
    "HostImages",
    "Split",
    "fraction_indices",
    "load",
    "stratified_order",
]

PART_OF_TRAIN = 0.1
"""Of the training images, to select on, where nothing else is known of a data set."""


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test images, which share no image.

    Attributes:
        class_names: of each label; empty where nobody knows them.
        limit_bytes: of memory, for images that lie in a file.
    """

    name: str
    digest: str
    classes: int
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...] = ()
    limit_bytes: float = math.inf
    _placed: dict[tuple[str, str], tuple[Tensor | HostImages, Tensor]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def channels(self) -> int:
        """Colour channels of an image."""
        images = self.train.images
        return images.channels if isinstance(images, Stored) else int(images.shape[1])

    def on(self, device: torch.device, split: str) -> tuple[Tensor | HostImages, Tensor]:
        """Images uint8 (N, C, H, W) and labels int64 (N,) of a split, placed once per process.

        On the CPU both are views of memory that other processes share: nobody writes into them.
        Images that do not fit come batch by batch (`HostImages`).
        """
        key = (split, str(device))
        if key not in self._placed:
            part: Split = getattr(self, split)
            images = placed(part.images, device, self.limit_bytes)
            self._placed[key] = images, shared(part.labels).to(device)
        return self._placed[key]

    def prepare(self, told: Told | None = None) -> None:
        """Decode images that lie in files, where nobody has on this machine.

        Raises:
            DataError: one cannot be decoded, or there is no room.
        """
        if isinstance(self.train.images, Stored):
            self.train.images.whole.made(told)

    def in_memory(self, limit_bytes: float = math.inf) -> Dataset:
        """With arrays instead of a file, where they take no more than is allowed.

        What stays in a file is mapped by each process, which takes no copy of its own.
        """
        size = sum(one.images.nbytes for one in (self.train, self.validation, self.test))
        if size > min(self.limit_bytes, limit_bytes):
            return replace(self, limit_bytes=0, _placed={})
        return replace(
            self,
            train=self.train.in_memory(),
            validation=self.validation.in_memory(),
            test=self.test.in_memory(),
            _placed={},
        )


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


@dataclass(frozen=True, slots=True)
class Found:
    """A data set as its reader gives it.

    Attributes:
        validation, test: None = it has no such part.
    """

    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split | None


def load(cfg: DataConfig) -> Dataset:
    """Read a data set and split it. Images in files are not decoded yet.

    Raises:
        DataError: absent, damaged, or too few images for the split.
    """
    for setting, message in reader_of(cfg).problems(cfg):
        raise DataError(f"{setting}{message}")
    found = _read(cfg)
    train, validation, test = _split(found, cfg)
    return Dataset(
        cfg.name if cfg.dataset is None else cfg.dataset,
        _digest((train, validation, test)),
        len(found.classes),
        train,
        validation,
        test,
        found.classes,
        memory_limit(cfg.memory_gib),
    )


def _read(cfg: DataConfig) -> Found:
    found = reader_of(cfg).open(cfg)
    if not isinstance(found, Scan):
        return Found(found.classes, found.train, None, found.test)
    facts, images = decoded.opened(found, cfg)
    corrupt = images.made().corrupt if cfg.corrupt == "leave_out" else {}
    ends = np.cumsum([len(facts.labels.get(part, ())) for part in PARTS])
    parts: list[Split | None] = []
    for part, end in zip(PARTS, ends, strict=True):
        if (labels := facts.labels.get(part)) is None:
            parts.append(None)
            continue
        rows = np.arange(end - len(labels), end)
        whole = Split(Stored(images, rows, cfg.channels or facts.channels), labels)
        bad = np.isin(rows, list(corrupt))
        parts.append(whole.take(np.flatnonzero(~bad)) if bad.any() else whole)
    train, validation, test = parts
    if train is None:
        raise DataError(f"data.root = {cfg.root} has no training images")
    lost = np.flatnonzero(np.bincount(train.labels, minlength=len(facts.classes)) == 0)
    if len(lost):
        raise DataError(f"no training image of class {facts.classes[lost[0]]!r} can be decoded")
    return Found(facts.classes, train, validation, test)


def _split(found: Found, cfg: DataConfig) -> tuple[Split, Split, Split]:
    """Train, validation and test."""
    train, test = found.train, found.test
    if test is None:
        count = max(1, round(cfg.test_fraction * len(train)))
        test, train = _parts(train, count, cfg.split_seed, "test part")
    if cfg.test_images is not None:
        test = _subset(test, cfg.test_images, cfg.split_seed, "test", "in the test set")
    if cfg.validation_from == "test":
        validation, test = _halves(found, test, cfg)
    elif found.validation is not None:
        validation = found.validation
        if cfg.validation is not None:
            where = "in the validation set"
            validation = _subset(validation, cfg.validation, cfg.split_seed, "validation", where)
    else:
        known = reader_of(cfg).validation
        count = cfg.validation or known or max(1, round(PART_OF_TRAIN * len(train)))
        if count >= len(train):
            raise DataError(f"data.validation = {count}, but there are {len(train)} train images")
        validation, train = _parts(train, count, cfg.split_seed, "validation")
    if cfg.train_images is not None:
        train = _subset(train, cfg.train_images, cfg.split_seed, "train", "left to train")
    return train, validation, test


def _halves(found: Found, test: Split, cfg: DataConfig) -> tuple[Split, Split]:
    if cfg.validation is not None:
        raise DataError(
            "data.validation cannot be chosen with validation_from: test; the test set is "
            "split into halves. Remove `data.validation`."
        )
    if found.validation is not None:
        raise DataError(
            "data.validation_from = test, but the data set has a validation part of its own, "
            "which is used as it is: remove `data.validation_from`"
        )
    return _parts(test, len(test) // 2, cfg.split_seed, "test halves")


def _subset(whole: Split, count: int, seed: int, name: str, where: str) -> Split:
    setting = name if name == "validation" else f"{name}_images"
    if count > len(whole):
        raise DataError(f"data.{setting} = {count}, but {len(whole)} images are {where}")
    rows, _ = two_parts(whole.labels, count, seed, f"{name} subset", keep_last=False)
    return whole.take(rows)


def _parts(whole: Split, first: int, seed: int, purpose: str) -> tuple[Split, Split]:
    a, b = two_parts(whole.labels, first, seed, purpose)
    return whole.take(a), whole.take(b)


def _digest(splits: Sequence[Split]) -> str:
    """Of the images of each part: of their pixels, or of what they are made from."""
    total = hashlib.sha256()
    for split in splits:
        images = split.images
        if isinstance(images, Stored):
            total.update(f"{images.whole.key} {len(split)}".encode())
            total.update(np.ascontiguousarray(images.rows).data)
        else:
            total.update(str(images.shape).encode())
            total.update(np.ascontiguousarray(images).data)
        total.update(np.ascontiguousarray(split.labels).data)
    return total.hexdigest()
