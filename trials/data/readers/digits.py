"""scikit-learn's 1,797 hand-written digits, 8 x 8.

Source: Alpaydin and Kaynak 1998, UCI; they ship with scikit-learn.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    table = _table()
    images = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[:, None]
    whole = Split(images, table[:, 64].astype(np.int64))
    test, train = two_parts(whole.labels, 500, 0, "digits test")
    return Arrays(tuple("0123456789"), whole.take(train), whole.take(test))


def _table() -> NDArray[np.float64]:
    """64 grey values from 0 to 16 and the label of each digit, float64 (1,797, 65).

    From scikit-learn's file, because importing scikit-learn costs a process most of a second; where
    the file is not in its usual place, scikit-learn is asked.
    """
    spec = find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])
