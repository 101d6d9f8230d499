"""Classification sets that torchvision knows by name, read by its own classes.

It compares downloads with published digests, and opens pickles only after that. A set whose files
are here is known by them; torchvision, and with it torch, is imported only to read or fetch one.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trials.data.config import DataConfig
from trials.data.identity import digest_of, walk
from trials.data.listing import (
    PARTS,
    Listing,
    Part,
    Problems,
    Scan,
    Sizes,
    needs_root,
    settled,
    takes_none,
)
from trials.data.pixels import Picture
from trials.errors import DataAbsentError, DataError

Arguments = Mapping[str, Any]

FLAGS: Mapping[Part, Arguments] = {"train": {"train": True}, "test": {"train": False}}


def _splits(
    train: str = "train", test: str = "test", validation: str = ""
) -> dict[Part, Arguments]:
    """The argument `split` of each part."""
    named: dict[Part, str] = {"train": train, "validation": validation, "test": test}
    return {part: {"split": name} for part, name in named.items() if name}


@dataclass(frozen=True, slots=True)
class Known:
    """A set of torchvision.

    Attributes:
        folder: where it lies below the root.
        parts: what its class is told for each part; of one part only, that is split here.
        sizes: images by part and classes, as published: (train, validation, test, classes).
        grey: whether its images have one channel.
        more: further arguments of its class.
        downloads: whether its class can fetch it.
    """

    folder: str
    parts: Mapping[Part, Arguments]
    sizes: tuple[int, int, int, int]
    grey: bool = False
    more: Arguments = field(default_factory=dict)
    downloads: bool = True


WHOLE: Mapping[Part, Arguments] = {"train": {}}

SETS: dict[str, Known] = {
    "Caltech101": Known("caltech101", WHOLE, (8677, 0, 0, 101), downloads=False),
    "Caltech256": Known("caltech256", WHOLE, (30607, 0, 0, 257), downloads=False),
    "CIFAR10": Known("cifar-10-batches-py", FLAGS, (50000, 0, 10000, 10)),
    "CIFAR100": Known("cifar-100-python", FLAGS, (50000, 0, 10000, 100)),
    "Country211": Known(
        "country211", _splits(validation="valid"), (31650, 10550, 21100, 211)
    ),
    "DTD": Known("dtd", _splits(validation="val"), (1880, 1880, 1880, 47)),
    "EMNIST": Known(
        "EMNIST", FLAGS, (112800, 0, 18800, 47), grey=True, more={"split": "balanced"}
    ),
    "EuroSAT": Known("eurosat", WHOLE, (27000, 0, 0, 10)),
    "FashionMNIST": Known("FashionMNIST", FLAGS, (60000, 0, 10000, 10), grey=True),
    "FGVCAircraft": Known(
        "fgvc-aircraft-2013b", _splits(validation="val"), (3334, 3333, 3333, 100)
    ),
    "Flowers102": Known("flowers-102", _splits(validation="val"), (1020, 1020, 6149, 102)),
    "Food101": Known("food-101", _splits(), (75750, 0, 25250, 101)),
    "GTSRB": Known("gtsrb", _splits(), (26640, 0, 12630, 43)),
    "Imagenette": Known("imagenette2", _splits(test="val"), (9469, 0, 3925, 10)),
    "KMNIST": Known("KMNIST", FLAGS, (60000, 0, 10000, 10), grey=True),
    "MNIST": Known("MNIST", FLAGS, (60000, 0, 10000, 10), grey=True),
    "OxfordIIITPet": Known("oxford-iiit-pet", _splits(train="trainval"), (3680, 0, 3669, 37)),
    "QMNIST": Known("QMNIST", FLAGS, (60000, 0, 60000, 10), grey=True),
    "RenderedSST2": Known("rendered-sst2", _splits(validation="val"), (6920, 872, 1821, 2)),
    "StanfordCars": Known(
        "stanford_cars", _splits(), (8144, 0, 8041, 196), downloads=False
    ),
    "STL10": Known("stl10_binary", _splits(), (5000, 0, 8000, 10)),
    "SUN397": Known("SUN397", WHOLE, (108754, 0, 0, 397)),
    "SVHN": Known("", _splits(), (73257, 0, 26032, 10)),
    "USPS": Known("", FLAGS, (7291, 0, 2007, 10), grey=True),
}  # fmt: skip

FILES = {
    "SVHN": ("train_32x32.mat", "test_32x32.mat"),
    "USPS": ("usps.bz2", "usps.t.bz2"),
}
"""Of sets that have no folder of their own."""

MULTI_LABEL = ("CelebA", "VOCDetection", "VOCSegmentation", "CocoDetection", "WIDERFace")

ARCHIVES = (".tar", ".tgz", ".gz", ".zip", ".rar")
"""What a set was unpacked from: whether it is still there makes no other data set."""


def problems(cfg: DataConfig) -> Problems:
    """Settings that do not fit."""
    yield from takes_none(cfg, "image_column", "label_column")
    yield from needs_root(cfg, "the set, or is to hold it (with `download: true`)")
    name = cfg.dataset
    if name is None:
        yield "data.dataset", f" is missing: one of {', '.join(SETS)}"
    elif name in MULTI_LABEL:
        yield (
            "data.dataset",
            f" = {name}: its images have several labels each. Multi-label data cannot be used: "
            "accuracy, tickets and masks are those of one class an image",
        )
    elif name not in SETS:
        own = "; its files are read with `name: imagefolder`" if name == "ImageNet" else ""
        yield "data.dataset", f" = {name}: must be one of {', '.join(SETS)}{own}"
    elif cfg.download and not SETS[name].downloads:
        yield "data.download", f": torchvision cannot fetch {name}: put its files into data.root"


def sizes(cfg: DataConfig) -> Sizes | None:
    """As published."""
    if (known := SETS.get(cfg.dataset or "")) is None:
        return None
    train, validation, test, classes = known.sizes
    return Sizes(train, validation, test, classes, 1 if known.grey else 3)


def scan(cfg: DataConfig) -> Scan:
    """Look at its files, after fetching them where the sweep file says so and they are absent.

    Raises:
        DataAbsentError: they are not there, and are not to be fetched.
        DataError: they cannot be fetched.
    """
    name, root = cfg.dataset, cfg.folder
    if name is None:
        raise DataError("data.dataset is missing: name a set of torchvision")
    if not _is_here(name, root):
        if not cfg.download:
            raise DataAbsentError(
                f"data.root = {root} holds no {name} ({_place(name)}): name the folder that holds "
                "it" + (", or write `data.download: true`" if SETS[name].downloads else "")
            )
        _fetch(name, root)
    own = SETS[name].folder
    folders = walk(root / own, lambda file: _counts(name, file), deep=bool(own))
    return Scan(digest_of(folders), lambda: _listing(name, root))


def _place(name: str) -> str:
    return f"{SETS[name].folder}/" if SETS[name].folder else ", ".join(FILES[name])


def _counts(name: str, file: str) -> bool:
    return file in FILES[name] if name in FILES else not file.endswith(ARCHIVES)


def _is_here(name: str, root: Path) -> bool:
    if name in FILES:
        return all((root / file).is_file() for file in FILES[name])
    folder = root / SETS[name].folder
    return folder.is_dir() and any(True for _ in os.scandir(folder))


def _fetch(name: str, root: Path) -> None:
    """By torchvision, which compares what it gets with the published digest.

    Raises:
        DataError: it could not be had, or is another file than the published one.
    """
    root.mkdir(parents=True, exist_ok=True)
    for part in SETS[name].parts:
        _made(name, root, part, download=True)


def _made(name: str, root: Path, part: Part, **more: Any) -> Any:
    """torchvision's own object.

    Raises:
        DataError: it refuses what it finds.
    """
    from torchvision import datasets

    known = SETS[name]
    arguments = {**known.more, **known.parts[part], **more}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return getattr(datasets, name)(str(root), **arguments)
    except Exception as error:  # of its own, of the network, of whatever opens its files
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        how = "fetched" if more else "read"
        raise DataError(
            f"{name} in data.root = {root} cannot be {how} by torchvision: {reason}. Remove "
            f"{_place(name)} there if it is damaged or half unpacked"
        ) from None


def _listing(name: str, root: Path) -> Listing:
    parts = [part for part in PARTS if part in SETS[name].parts]
    made = {part: _made(name, root, part) for part in parts}
    labels = {part: _labels(one) for part, one in made.items()}
    count = 1 + max(int(own.max()) for own in labels.values())
    named = getattr(made["train"], "classes", None)
    if not isinstance(named, list | tuple) or len(named) != count:
        named = range(count)
    classes = tuple(_name(one) for one in named)

    def pictures() -> Iterator[tuple[int, str, Picture]]:
        row = 0
        for part, one in made.items():
            for i in range(len(one)):
                yield row, f"{name}, {part} image {i}", _opener(one, i)
                row += 1

    return Listing(classes, settled(labels), pictures, 1 if SETS[name].grey else 3)


def _name(given: Any) -> str:
    return str(given[0]) if isinstance(given, tuple) and given else str(given)


def _opener(one: Any, i: int) -> Any:
    def opened() -> Any:
        return one[i][0]

    return opened


LABELS = ("targets", "labels", "_labels", "y")
"""Where torchvision's classes keep the label of each image; of another one each is asked for."""


def _labels(one: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    for name in LABELS:
        found = getattr(one, name, None)
        if found is not None and len(found) == len(one):
            return np.asarray(found).astype(np.int64)
    return np.array([int(one[i][1]) for i in range(len(one))], dtype=np.int64)
