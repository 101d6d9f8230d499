"""What data somebody has: a name that is known, or a folder and how images lie in it."""

import difflib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from trials.data import datasets
from trials.data.config import DataConfig
from trials.data.datasets import Counts
from trials.data.known import known
from trials.data.readers.imagefolder import is_image
from trials.data.readers.torchvision_sets import SETS
from trials.errors import DataAbsentError, DataError

NAMED = {
    "digits": {"name": "digits"},
    "cifar10": {"name": "cifar10"},
    **{
        name.lower(): {"name": "torchvision", "dataset": name} for name in SETS if name != "CIFAR10"
    },
}
"""Data sets that are known by name: what `data:` says of them."""

PIXELS = {
    "digits": 8, "cifar10": 32, "cifar100": 32, "svhn": 32, "stl10": 96, "usps": 16, "mnist": 28,
    "fashionmnist": 28, "kmnist": 28, "qmnist": 28, "emnist": 28, "eurosat": 64,
}  # fmt: skip
"""Of a side, by the same names, where all images have one size."""

CIFAR10 = "cifar-10-batches-py"

DEFAULT_ROOT = "data"
"""Where a data set is looked for that was given by name."""

SAMPLE = 200
"""Images of a folder whose size is looked at."""

FILES = 100_000
"""A folder is walked no further than this to see what is in it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A data set as it was found.

    Attributes:
        settings: `data:` of a sweep file.
        counts: after the split that these settings make.
        pixels: a typical height or width of its images; None = nobody knows.
        said: what it is, in sentences.
        absent: why it cannot be read yet; "" = it is there.
    """

    settings: dict[str, Any]
    counts: Counts
    pixels: int | None
    said: tuple[str, ...]
    absent: str = ""


def look(given: str) -> Seen:
    """Find out what somebody means by `--data`.

    Args:
        given: a folder, or the name of a data set.

    Raises:
        DataError: it is neither, or cannot be read.
    """
    folder = Path(given).expanduser()
    if folder.is_dir():
        return _in_folder(folder)
    if folder.exists():
        raise DataError(f"{given} is a file: name the folder that holds the data set")
    if given.lower() in NAMED:
        return _named(given.lower())
    near = difflib.get_close_matches(given.lower(), NAMED, n=1)
    listed = ", ".join(["digits", "cifar10", *(name for name in SETS if name != "CIFAR10")])
    hint = f"did you mean `{near[0]}`?" if near else f"known by name: {listed}"
    raise DataError(f"there is no such folder, and no data set of that name; {hint}")


def _named(name: str) -> Seen:
    settings: dict[str, Any] = dict(NAMED[name])
    if name != "digits":
        settings["root"] = str(Path(DEFAULT_ROOT).absolute())
    return _counted(settings, PIXELS.get(name), "")


def _in_folder(folder: Path) -> Seen:
    folder = folder.absolute()
    if folder.name == CIFAR10 or (folder / CIFAR10).is_dir():
        return _counted({"name": "cifar10", "root": str(folder)}, PIXELS["cifar10"], "")
    kind = _kind(folder)
    if kind != "imagefolder":
        return _counted({"name": kind, "root": str(folder)}, None, "")
    sizes = _sizes(folder)
    return _counted({"name": kind, "root": str(folder)}, _typical(sizes), _sizes_in_words(sizes))


def _kind(folder: Path) -> str:
    """How images lie in a folder, by the ends of the names of its files.

    Raises:
        DataError: it holds none.
    """
    names = [path.name.lower() for path in islice(_files(folder), FILES)]
    if any(name.endswith((".parquet", ".arrow")) for name in names):
        return "huggingface"
    if any(name.endswith((".tar", ".tar.gz", ".tgz")) for name in names):
        return "webdataset"
    if any(map(is_image, names)):
        return "imagefolder"
    raise DataError(
        f"{folder} holds no images: name a folder that has a folder of images for each class "
        "(or train/ with val/ or test/), parquet files, or tar files"
    )


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(where, name)


def _sizes(folder: Path) -> Counter[tuple[int, int]]:
    """Width and height of images, looked at evenly over the folder; what is damaged is left out."""
    from PIL import Image

    paths = [path for path in islice(_files(folder), FILES) if is_image(path.name)]
    found: Counter[tuple[int, int]] = Counter()
    for path in paths[:: max(1, len(paths) // SAMPLE)]:
        try:
            with Image.open(path) as image:
                found[image.size] += 1
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    return found


def _typical(sizes: Counter[tuple[int, int]]) -> int | None:
    """The median of the shorter sides."""
    shorter = sorted(min(size) for size in sizes.elements())
    return shorter[len(shorter) // 2] if shorter else None


def _sizes_in_words(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return ""
    shown = [f"{width} × {height}" for (width, height), _ in sizes.most_common(3)]
    if len(sizes) <= 3:
        return f"Images of {', '.join(shown)} pixels."
    return (
        f"Images of {len(sizes)} sizes among {sizes.total()}; the usual ones: {', '.join(shown)}."
    )


def _counted(settings: dict[str, Any], pixels: int | None, sizes: str) -> Seen:
    """With how many images and classes there are, read or, where it is not there, as published.

    Raises:
        DataError: it cannot be read, and nothing is known of it.
    """
    cfg, absent = DataConfig.model_validate(settings), ""
    try:
        found = datasets.load(cfg)
        counts, classes = Counts.of(found), _class_sizes(found)
    except DataAbsentError as error:
        known_counts = known(cfg)
        if known_counts is None:
            raise
        counts, classes, absent = known_counts, "", str(error)
    whole = counts.train + counts.validation + counts.test
    said = [f"{whole:,} images in {counts.classes} classes{classes}.", sizes]
    return Seen(settings, counts, pixels, tuple(filter(None, said)), absent)


def _class_sizes(found: datasets.Dataset) -> str:
    each = Counter(label for part in (found.train, found.validation, found.test)
                   for label in part.labels.tolist())  # fmt: skip
    least, most = min(each.values()), max(each.values())
    return f", {least:,} of each" if least == most else f", {least:,} to {most:,} of each"
