"""scikit-learn's 1,797 hand-written digits, 8 x 8.

Source: Alpaydin and Kaynak 1998, UCI; they ship with scikit-learn.
"""

from __future__ import annotations

import numpy as np

from trials.data.config import DataConfig
from trials.data.images import Split
from trials.data.listing import Problems, Sizes, takes_none
from trials.data.readers.reader import Arrays
from trials.data.splits import two_parts

SIZES = Sizes(train=1297, validation=0, test=500, classes=10, channels=1)


def problems(cfg: DataConfig) -> Problems:
    """Settings that do not fit; a root is allowed, and not looked at."""
    yield from takes_none(cfg, *OF_FILES)


OF_FILES = (
    "dataset", "download", "size", "resize", "channels", "window", "corrupt", "image_column",
    "label_column", "test_fraction",
)  # fmt: skip
"""Settings that say nothing to a set of fixed arrays."""


def read(cfg: DataConfig) -> Arrays:
    """1,297 to train, 500 to test, split by a fixed seed."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    whole = Split(images, bunch.target.astype(np.int64))
    test, train = two_parts(whole.labels, 500, 0, "digits test")
    return Arrays(tuple("0123456789"), whole.take(train), whole.take(test))
