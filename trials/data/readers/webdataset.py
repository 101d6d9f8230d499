"""WebDataset: tar files in which the files of a sample follow one another and share a name.

`n01.jpg` and `n01.cls` are one sample. Nothing is unpacked.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trials.data.config import DataConfig
from trials.data.identity import digest_of
from trials.data.listing import (
    Listing,
    Problems,
    Scan,
    needs_root,
    numbered,
    settled,
    takes_none,
)
from trials.data.pixels import Picture
from trials.data.readers.imagefolder import SUFFIXES
from trials.data.shards import Shards, folders_with, shards_of
from trials.errors import DataError

LABEL = "cls"

Sample = tuple[str, dict[str, bytes]]
"""Name, and content by extension."""


def problems(cfg: DataConfig) -> Problems:
    """Settings that do not fit."""
    yield from needs_root(cfg, "tar files")
    yield from takes_none(cfg, "dataset", "download")


def scan(cfg: DataConfig) -> Scan:
    """Look at the files.

    Raises:
        DataError: there are none.
    """
    root = cfg.folder
    folders = folders_with((".tar", ".tar.gz", ".tgz"), "tar file", root)
    return Scan(digest_of(folders), lambda: _listing(cfg, shards_of(root, folders), root))


def _listing(cfg: DataConfig, shards: Shards, root: Path) -> Listing:
    wanted = cfg.label_column or LABEL
    values: list[Any] = []
    counts = []
    for files in shards.values():
        before = len(values)
        for path in files:
            values += [_label(sample, wanted, path) for sample in _samples(path, {wanted, "json"})]
        counts.append(len(values) - before)
    classes, labels = numbered(values, f"label {wanted!r} in {root}")
    parts = dict(zip(shards, np.split(labels, np.cumsum(counts)[:-1]), strict=True))
    return Listing(classes, settled(parts), lambda: _pictures(cfg, shards))


def _label(sample: Sample, wanted: str, path: Path) -> Any:
    """A whole number where the text is one; of a `json` the value under that name.

    Raises:
        DataError: the sample has none.
    """
    name, files = sample
    if wanted in files:
        text = files[wanted].decode("utf-8", "replace").strip()
        return int(text) if text.lstrip("-").isdecimal() else text
    if "json" in files:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # said below
            return json.loads(files["json"])[wanted]
    raise DataError(
        f"{path}: sample {name!r} has no label .{wanted}, nor a .json that holds {wanted!r}: name "
        "the extension or the key with `data.label_column`"
    )


def _pictures(cfg: DataConfig, shards: Shards) -> Iterator[tuple[int, str, Picture]]:
    wanted = SUFFIXES if cfg.image_column is None else frozenset([cfg.image_column])
    row = 0
    for path in (path for files in shards.values() for path in files):
        for name, files in _samples(path, wanted):
            if len(files) > 1:
                raise DataError(
                    f"{path}: sample {name!r} has several images ({', '.join(sorted(files))}): "
                    "name the extension of one with `data.image_column`"
                )
            # A sample without an image is as one whose image cannot be decoded.
            yield row, f"{path.name}: {name}", next(iter(files.values()), b"")
            row += 1


def _refuse_cut(path: Path) -> None:
    """A tar ends with a block of zeros; Python's reader takes one that was cut for a shorter one.

    Raises:
        tarfile.ReadError: it does not.
    """
    if path.suffix != ".tar":
        return  # a compressed one notices by itself
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - tarfile.BLOCKSIZE))
        if file.read() != b"\0" * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it was not written to its end")


def _samples(path: Path, wanted: Sequence[str] | set[str] | frozenset[str]) -> Iterator[Sample]:
    """The samples of a tar in their order, with the content of the files that are wanted.

    Raises:
        DataError: the tar is damaged.
    """
    current, files = None, dict[str, bytes]()
    try:
        _refuse_cut(path)
        with tarfile.open(path) as tar:
            for member in tar:
                if not member.isfile() or Path(member.name).name.startswith("."):
                    continue
                folder, _, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                name = f"{folder}/{stem}" if folder else stem
                if current is not None and name != current:
                    yield current, files
                    files = {}
                current = name
                if extension.lower() in wanted:
                    content = tar.extractfile(member)
                    files[extension.lower()] = content.read() if content is not None else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is damaged, or no tar file: {reason}") from None
    if current is not None:
        yield current, files
