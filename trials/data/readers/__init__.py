"""The kinds of data sets, in one table: a new one is a module here and a row.

All tests in `tests/trials/data/readers/test_init.py` run over the table there as well, which has
one made-up data set for each row.
"""

from trials.data.config import DataConfig
from trials.data.readers import (
    cifar10,
    digits,
    huggingface,
    imagefolder,
    torchvision_sets,
    webdataset,
)
from trials.data.readers.reader import Reader

READERS: dict[str, Reader] = {
    "digits": Reader(digits.problems, digits.read, lambda cfg: digits.SIZES, validation=200),
    "cifar10": Reader(cifar10.problems, cifar10.read, lambda cfg: cifar10.SIZES, validation=5000),
    "imagefolder": Reader(imagefolder.problems, imagefolder.scan),
    "torchvision": Reader(torchvision_sets.problems, torchvision_sets.scan, torchvision_sets.sizes),
    "huggingface": Reader(huggingface.problems, huggingface.scan),
    "webdataset": Reader(webdataset.problems, webdataset.scan),
}


def reader_of(cfg: DataConfig) -> Reader:
    """Of a data set."""
    return READERS[cfg.name]
