"""What is known of data sets before they are on disk: their published sizes.

For estimates only: what is computed comes from the images themselves.
"""

from __future__ import annotations

from trials.data.config import DataConfig
from trials.data.datasets import PART_OF_TRAIN, Counts
from trials.data.listing import Sizes
from trials.data.readers import reader_of
from trials.errors import DataError


def known(cfg: DataConfig) -> Counts | None:
    """The sizes of a data set by its publisher, after the split that a sweep file asks for.

    None where only its files can tell.

    Raises:
        DataError: it asks for more images than there are.
    """
    whole = reader_of(cfg).sizes(cfg)
    return None if whole is None else _split(whole, cfg)


def _split(whole: Sizes, cfg: DataConfig) -> Counts:
    """As `datasets.load` makes it."""
    train, own, test = whole.train, whole.validation, whole.test
    if not test:
        own, test = 0, own  # the only other part is reported on
    if not test:
        test = max(1, round(cfg.test_fraction * train))
        train -= test
    if cfg.test_images is not None:
        test = _subset("test_images", cfg.test_images, test, "in the test set")
    if cfg.validation_from == "test":
        validation = test // 2
        test -= validation
    elif own:
        validation = _subset("validation", cfg.validation or own, own, "in the validation set")
    else:
        share = max(1, round(PART_OF_TRAIN * train))
        validation = cfg.validation or reader_of(cfg).validation or share
        if validation >= train:
            raise DataError(f"data.validation = {validation}, but there are {train} train images")
        train -= validation
    if cfg.train_images is not None:
        train = _subset("train_images", cfg.train_images, train, "left to train")
    return Counts(train, validation, test, whole.classes, cfg.channels or whole.channels)


def _subset(setting: str, wanted: int, there: int, where: str) -> int:
    if wanted > there:
        raise DataError(f"data.{setting} = {wanted}, but {there} images are {where}")
    return wanted
