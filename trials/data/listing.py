"""What a reader says of a data set: its parts, classes and labels, and how to get its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trials.data.config import DataConfig
from trials.data.pixels import Picture
from trials.errors import DataError

Part = Literal["train", "validation", "test"]

PARTS: tuple[Part, ...] = ("train", "validation", "test")

PART_NAMES: Mapping[str, Part] = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What parts are called in folders and files."""

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Listing:
    """Every picture of a data set, with its label, before any is decoded.

    Rows count through the parts, in the order of `PARTS`.

    Attributes:
        classes: their names; a label is a place in them.
        labels: of each part that there is, int64 (N,).
        pictures: gives row, name and picture of each, in any order; called when they are decoded.
        channels: 1 for a set that is grey by nature.
    """

    classes: tuple[str, ...]
    labels: Mapping[Part, Labels]
    pictures: Callable[[], Iterator[tuple[int, str, Picture]]] = field(repr=False)
    channels: int = 3

    def __post_init__(self) -> None:
        if "train" not in self.labels:
            raise DataError("there is no training part")
        _check_classes(self.classes, self.labels)

    def __len__(self) -> int:
        return sum(len(labels) for labels in self.labels.values())


def _check_classes(classes: Sequence[str], labels: Mapping[Part, Labels]) -> None:
    """Every class is trained on, and there is something to tell apart."""
    if len(classes) < 2:
        raise DataError(f"there is only one class ({', '.join(classes) or 'none'}): two are needed")
    for part, own in labels.items():
        if not len(own):
            raise DataError(f"the {part} part holds no image")
        odd = own[(own < 0) | (own >= len(classes))]
        if len(odd):
            raise DataError(
                f"label {odd[0]} in the {part} part: {len(classes)} classes have the labels 0 to "
                f"{len(classes) - 1}. Images without a label (-1) cannot be used: take that part "
                "away, or give it labels"
            )
    absent = np.flatnonzero(np.bincount(labels["train"], minlength=len(classes)) == 0)
    if len(absent):
        raise DataError(
            f"class {classes[absent[0]]!r} has no training image ({len(absent)} such classes)"
        )


@dataclass(frozen=True, slots=True)
class Scan:
    """A data set as found on disk.

    Attributes:
        identity: of its files, by content.
        listing: reads labels; may be slow where files must be opened for them.
        instant: whether `listing` is not, so that nobody needs to keep what it gives.
    """

    identity: str
    listing: Callable[[], Listing] = field(repr=False)
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many images of each part a set has by its publisher, for plans without its files.

    Attributes:
        validation, test: 0 = it has no such part.
    """

    train: int
    validation: int
    test: int
    classes: int
    channels: int


Problems = Iterator[tuple[str, str]]
"""Setting and message of each."""


def needs_root(cfg: DataConfig, holds: str) -> Problems:
    """The problem of a missing `data.root`.

    Args:
        holds: what the folder holds.
    """
    if cfg.root is None:
        yield "data.root", f" is missing: the folder that holds {holds}"


def takes_none(cfg: DataConfig, *settings: str) -> Problems:
    """A problem for each setting that this data set has no use for, and that is written."""
    for name in settings:
        if getattr(cfg, name) != type(cfg).model_fields[name].default:
            yield f"data.{name}", f" says nothing to `name: {cfg.name}`: remove it"


def part_of(name: str) -> Part | None:
    """The part that a folder or a file is called after: `train`, `val-00000-of-00002` ..."""
    head = name.lower()
    for called, part in PART_NAMES.items():
        if head == called or (head.startswith(called) and not head[len(called)].isalnum()):
            return part
    return None


def settled(found: Mapping[Part, Labels]) -> dict[Part, Labels]:
    """The parts in their order, where a validation part without a test part is what to report on.

    So ImageNet's `val/` is reported on, as everywhere.
    """
    parts = dict(found)
    if "validation" in parts and "test" not in parts:
        parts["test"] = parts.pop("validation")
    return {part: parts[part] for part in PARTS if part in parts}


def numbered(values: Sequence[object], where: str) -> tuple[tuple[str, ...], Labels]:
    """Class names and labels of values that are whole numbers from 0 on, or texts.

    Texts are classes in their order; numbers stay what they are.

    Raises:
        DataError: lists (several labels an image), fractions, or nothing.
    """
    kinds = {type(value) for value in values}
    if odd := [value for value in values if isinstance(value, list | tuple | dict)]:
        raise DataError(
            f"{where}: an image has several labels ({str(odd[0])[:60]}). Multi-label data cannot "
            "be used: accuracy, tickets and masks are those of one class an image"
        )
    if kinds == {str}:
        names = sorted({str(value) for value in values})
        place = {name: i for i, name in enumerate(names)}
        return tuple(names), np.array([place[str(value)] for value in values], dtype=np.int64)
    if not kinds or not kinds <= {int, bool}:
        shown = ", ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
        raise DataError(f"{where}: labels must be whole numbers or texts, and are: {shown}")
    labels = np.array([int(value) for value in values if isinstance(value, int)], dtype=np.int64)
    return tuple(str(i) for i in range(int(labels.max()) + 1)), labels
