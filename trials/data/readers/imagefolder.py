"""A folder for each class, below train/ and val/ or test/, or directly below the root."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trials.data.config import DataConfig
from trials.data.identity import Folder, digest_of, walk
from trials.data.listing import (
    PARTS,
    Listing,
    Part,
    Problems,
    Scan,
    needs_root,
    part_of,
    settled,
    takes_none,
)
from trials.data.pixels import Picture
from trials.errors import DataError

SUFFIXES = frozenset(
    "jpg jpeg jfif png bmp gif webp tif tiff ppm pgm pbm pnm jp2".split()  # noqa: SIM905
)
"""Of files that are images; others do not count."""

Owned = list[tuple[Part, str, Folder]]
"""Part, class and folder of images."""


def problems(cfg: DataConfig) -> Problems:
    """Settings that do not fit."""
    yield from needs_root(cfg, "a folder for each class, or train/ with val/ or test/")
    yield from takes_none(cfg, "dataset", "download", "image_column", "label_column")


def scan(cfg: DataConfig) -> Scan:
    """Look at every file.

    Raises:
        DataError: there is no such folder, or it is not laid out so.
    """
    root = cfg.folder
    if not root.is_dir():
        raise DataError(f"data.root = {root}: there is no such folder")
    folders = walk(root, is_image)
    owned = _owned(root, folders)
    _refuse_empty(root, owned)
    return Scan(digest_of(folders), lambda: _listing(owned), instant=True)


def is_image(name: str) -> bool:
    """By the suffix of a file."""
    return name.rpartition(".")[2].lower() in SUFFIXES


def _owned(root: Path, folders: Sequence[Folder]) -> Owned:
    """What each folder is of: the class is the first folder below the part, or below the root.

    Raises:
        DataError: images lie in no class folder.
    """
    if not folders:
        raise DataError(
            f"data.root = {root} holds no image ({', '.join(sorted(SUFFIXES))}): name the folder "
            "that holds a folder for each class"
        )
    ways = [(folder, [way for way in folder.relative.split(os.sep) if way]) for folder in folders]
    in_parts = any(len(way) > 1 and part_of(way[0]) == "train" for _, way in ways)
    found: Owned = []
    for folder, way in ways:
        part: Part | None = part_of(way[0]) if in_parts and way else None if in_parts else "train"
        if in_parts and part is None and way:
            continue  # beside the parts, such as a folder of annotations
        below = way[1:] if in_parts else way
        if part is None or not below:
            raise DataError(
                f"{folder.path} holds {len(folder.names)} images beside the class folders "
                f"(such as {folder.names[0]}): move each into the folder of its class"
            )
        found.append((part, below[0], folder))
    return found


def _refuse_empty(root: Path, owned: Owned) -> None:
    """A class folder without an image is a mistake, and not one class less."""
    classes = {name for part, name, _ in owned if part == "train"}
    tops = {folder.relative.split(os.sep)[0] for part, _, folder in owned if part == "train"}
    (top,) = tops if not tops <= classes and len(tops) == 1 else ("",)
    for entry in sorted(os.scandir(root / top), key=lambda one: one.name):
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in classes:
            raise DataError(f"class folder {entry.path} holds no image: remove it, or fill it")


def _listing(owned: Owned) -> Listing:
    classes = tuple(sorted({name for part, name, _ in owned if part == "train"}))
    place = {name: i for i, name in enumerate(classes)}
    if odd := [(part, name) for part, name, _ in owned if name not in place]:
        raise DataError(f"class {odd[0][1]!r} of the {odd[0][0]} part is not in the training part")
    by_part = {part: [one for one in owned if one[0] == part] for part in PARTS}
    labels = {
        part: np.concatenate([np.full(len(f.names), place[name]) for _, name, f in own])
        for part, own in by_part.items()
        if own
    }
    ordered = [one for part in PARTS for one in by_part[part]]
    return Listing(classes, settled(labels), lambda: _pictures(ordered))


def _pictures(owned: Owned) -> Iterator[tuple[int, str, Picture]]:
    row = 0
    for _, _, folder in owned:
        for path, name in zip(folder.paths(), folder.names, strict=True):
            yield row, path, Path(folder.path, name)
            row += 1
