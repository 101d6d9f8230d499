"""CIFAR-10's original python batches: pickles, so each is opened only if it is the published one.

Source: Krizhevsky 2009, cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trials.data.config import DataConfig
from trials.data.images import Array, Split
from trials.data.listing import Problems, Sizes, needs_root, takes_none
from trials.data.readers.digits import OF_FILES
from trials.data.readers.reader import Arrays
from trials.errors import DataAbsentError, DataError

MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

SIZES = Sizes(train=50_000, validation=0, test=10_000, classes=10, channels=3)


def problems(cfg: DataConfig) -> Problems:
    """Settings that do not fit."""
    yield from needs_root(cfg, "cifar-10-batches-py/")
    yield from takes_none(cfg, *OF_FILES)


def read(cfg: DataConfig) -> Arrays:
    """The batches under `root/cifar-10-batches-py`, or in `root` itself.

    Raises:
        DataAbsentError: none of it is there.
        DataError: a batch is absent or is not the published file.
    """
    root = cfg.root
    if root is None:
        raise DataAbsentError(
            "data.root is missing: name the folder that holds cifar-10-batches-py/ "
            "(cs.toronto.edu/~kriz/cifar.html, python version)"
        )
    folder = root / "cifar-10-batches-py"
    folder = folder if folder.is_dir() else root
    if not any((folder / name).exists() for name in MD5):
        raise DataAbsentError(
            f"data.root = {root} holds no CIFAR-10: there is no cifar-10-batches-py/. Put the "
            "python version of cs.toronto.edu/~kriz/cifar.html there, or name its folder with "
            "`--set data.root=FOLDER`"
        )
    batches = [_batch(folder / name) for name in sorted(MD5)]
    images = [images for images, _ in batches]
    labels = [labels for _, labels in batches]
    train = Split(np.concatenate(images[:5]), np.concatenate(labels[:5]))
    return Arrays(CLASSES, train, Split(images[5], labels[5]))


def _batch(path: Path) -> tuple[Array, NDArray[np.int64]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): `data.root` must be the folder that "
            "holds cifar-10-batches-py/ (cs.toronto.edu/~kriz/cifar.html, python version)"
        ) from None
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != MD5[path.name]:
        raise DataError(
            f"{path} is damaged or not the published file (MD5 {digest}, expected "
            f"{MD5[path.name]}); it was not opened. Download it again."
        )
    batch = pickle.loads(content, encoding="bytes")  # noqa: S301 - the MD5 is the published one
    images = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images, np.asarray(batch[b"labels"], dtype=np.int64)
