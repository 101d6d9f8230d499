"""Decoding every picture of a data set into one array in a file."""

from __future__ import annotations

import itertools
import math
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trials.cores import usable_cores
from trials.data.listing import Listing
from trials.data.pixels import (
    OTHER_SIZE,
    OWN_SIZE,
    CorruptError,
    Picture,
    Policy,
    pixels,
    size_of,
)
from trials.errors import DataError

IMAGES = "images.npy"

CHUNK = 32
"""Pictures that a thread decodes at a time."""

Told = Callable[[int, int], None]
"""How many images are done, of how many."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a file of images holds.

    Attributes:
        shape: (N, C, H, W).
        corrupt: row -> name and reason of each picture that could not be decoded; its pixels are 0.
    """

    shape: tuple[int, int, int, int]
    corrupt: dict[int, str]


def decode(listing: Listing, policy: Policy, folder: Path, told: Told | None) -> Made:
    """Decode every picture into the file of a folder.

    Raises:
        DataError: there is no room.
    """
    height, width = _shape(listing, policy)
    policy = replace(policy, height=height, width=width)
    shape = (len(listing), policy.channels, height, width)
    free, needed = shutil.disk_usage(folder).free, int(np.prod(shape))
    if needed > free:
        raise DataError(
            f"{shape[0]} decoded images of {height} x {width} pixels take {needed / 2**30:,.1f} "
            f"GiB, and {folder.parent} has {free / 2**30:,.1f} free: lower data.size, or set "
            "XDG_CACHE_HOME to a folder on a larger disk"
        )
    images = np.lib.format.open_memmap(folder / IMAGES, "w+", np.uint8, shape)
    corrupt: dict[int, str] = {}
    done = 0
    for part in _in_threads(listing.pictures(), lambda some: _decoded(some, policy, images)):
        corrupt |= part[1]
        done += part[0]
        if told is not None:
            told(done, shape[0])
    images.flush()
    return Made(shape, dict(sorted(corrupt.items())))


Pictures = Sequence[tuple[int, str, Picture]]


def _decoded(
    some: Pictures, policy: Policy, images: NDArray[np.uint8]
) -> tuple[int, dict[int, str]]:
    """How many were decoded, and which could not be."""
    corrupt = {}
    for row, name, picture in some:
        try:
            images[row] = pixels(picture, policy)
        except CorruptError as error:
            corrupt[row] = f"{name} ({error})"
    return len(some), corrupt


def _shape(listing: Listing, policy: Policy) -> tuple[int, int]:
    """Height and width at which the images are held.

    Without a size in the sweep file: their own, where all have one that is not large.
    """
    if policy.height is not None and policy.width is not None:
        return policy.height, policy.width
    first: tuple[int, int] | None = None
    for _, _, picture in listing.pictures():
        try:
            size = size_of(picture)
        except CorruptError:
            continue
        first = first or size
        if size != first or max(size) > OWN_SIZE:
            return OTHER_SIZE, OTHER_SIZE
    return first or (OTHER_SIZE, OTHER_SIZE)


def _in_threads(
    pictures: Iterator[tuple[int, str, Picture]], work: Callable[[Pictures], Any]
) -> Iterator[Any]:
    """Work on chunks in threads, since Pillow decodes without Python's lock; a few wait at most."""
    threads = math.ceil(usable_cores())
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while chunk := list(itertools.islice(pictures, CHUNK)):
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > 3 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
