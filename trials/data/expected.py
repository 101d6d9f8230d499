"""How many images each part will have, of sets whose sizes are published: without their files."""

from __future__ import annotations

from trials.data.config import DataConfig
from trials.data.datasets import PART_OF_TRAIN, Counts
from trials.data.readers import reader_of


def expected_counts(cfg: DataConfig) -> Counts | None:
    """The counts that `load` would give; None where nothing is known of a set, or not enough."""
    reader = reader_of(cfg)
    sizes = reader.sizes(cfg)
    if sizes is None:
        return None
    train, validation, test = sizes.train, sizes.validation, sizes.test
    if not test:
        test, validation = validation, 0
    if not test:
        test = max(1, round(cfg.test_fraction * train))
        train -= test
    test = cfg.test_images or test
    if cfg.validation_from == "test":
        validation = test // 2
        test -= validation
    elif validation:
        validation = cfg.validation or validation
    else:
        validation = cfg.validation or reader.validation or max(1, round(PART_OF_TRAIN * train))
        train -= validation
    train = cfg.train_images or train
    return Counts(train, validation, test, sizes.classes, cfg.channels or sizes.channels)
