"""What is known of data sets before they are on disk: their published sizes.

For estimates only: what is computed comes from the images themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from trials.data.datasets import Counts, DataConfig
from trials.errors import DataError


@dataclass(frozen=True, slots=True)
class Whole:
    """A data set before it is split.

    Attributes:
        validation: images to select on that are set aside unless the sweep file says otherwise.
    """

    train: int
    test: int
    classes: int
    channels: int
    validation: int


KNOWN = {
    "digits": Whole(1297, 500, 10, 1, 200),
    "cifar10": Whole(50_000, 10_000, 10, 3, 5_000),
}
"""By `data.name`. Sources: the data sets' own pages; the digits as `read_digits` splits them."""


def known(cfg: DataConfig) -> Counts | None:
    """The sizes of a data set by its publisher, after the split that a sweep file asks for.

    None where only its files can tell.

    Raises:
        DataError: it asks for more images than there are.
    """
    whole = KNOWN.get(cfg.name)
    return None if whole is None else _split(whole, cfg)


def _split(whole: Whole, cfg: DataConfig) -> Counts:
    """As `datasets.load` makes it."""
    train, test = whole.train, whole.test
    if cfg.test_images is not None:
        test = _subset("test", cfg.test_images, test, "in the test set")
    if cfg.validation_from == "test":
        validation = test // 2
        test -= validation
    else:
        validation = cfg.validation or whole.validation
        if validation >= train:
            raise DataError(f"data.validation = {validation}, but there are {train} train images")
        train -= validation
    if cfg.train_images is not None:
        train = _subset("train", cfg.train_images, train, "left to train")
    return Counts(train, validation, test, whole.classes, whole.channels)


def _subset(name: str, wanted: int, there: int, where: str) -> int:
    if wanted > there:
        raise DataError(f"data.{name}_images = {wanted}, but {there} images are {where}")
    return wanted
