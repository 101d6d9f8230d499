"""Labels and classes, read once: files of many images need not be opened again for them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trials.data.listing import PARTS, Labels, Part, Scan


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a data set's pictures without a pixel.

    Attributes:
        labels: of each part, as in a `Listing`.
    """

    classes: tuple[str, ...]
    labels: dict[Part, Labels]
    channels: int


def facts_of(scan: Scan, path: Path) -> Facts:
    """Read the labels, or look up what was read of the same files before.

    Args:
        path: where that is kept.
    """
    if not scan.instant:
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError):
            return _load(path)
    listing = scan.listing()
    facts = Facts(listing.classes, dict(listing.labels), listing.channels)
    if not scan.instant:
        with contextlib.suppress(OSError):
            _save(facts, path)
    return facts


def _load(path: Path) -> Facts:
    with np.load(path, allow_pickle=False) as found:
        about = json.loads(found["about"].tobytes())
        labels = {part: found[part].astype(np.int64) for part in PARTS if part in found}
    if about["sha256"] != _digest(labels):
        raise ValueError(f"{path} is damaged")
    return Facts(tuple(about["classes"]), labels, int(about["channels"]))


def _save(facts: Facts, path: Path) -> None:
    about = {"classes": facts.classes, "channels": facts.channels, "sha256": _digest(facts.labels)}
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, about=text, **facts.labels)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _digest(labels: dict[Part, Labels]) -> str:
    total = hashlib.sha256()
    for part in PARTS:
        if part in labels:
            total.update(part.encode() + np.ascontiguousarray(labels[part]).tobytes())
    return total.hexdigest()
