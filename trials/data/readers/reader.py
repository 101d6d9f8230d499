"""What a reader is: one small module, and one row in the table of `readers/__init__.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trials.data.config import DataConfig
from trials.data.images import Split
from trials.data.listing import Problems, Scan, Sizes


@dataclass(frozen=True, slots=True)
class Arrays:
    """A small data set as it lies in memory; known by its pixels.

    Attributes:
        classes: their names.
    """

    classes: tuple[str, ...]
    train: Split
    test: Split


@dataclass(frozen=True, slots=True)
class Reader:
    """How one kind of data set is read.

    Attributes:
        problems: settings of `data:` that do not fit, told without looking at a file.
        open: reads it or looks at its files.
        sizes: what is known of it without its files; None = nothing.
        validation: images set aside to select on by default; None = a tenth of the training set.

    Raises:
        DataError: `open`, where files are absent or damaged.
    """

    problems: Callable[[DataConfig], Problems]
    open: Callable[[DataConfig], Arrays | Scan]
    sizes: Callable[[DataConfig], Sizes | None] = lambda cfg: None
    validation: int | None = None
