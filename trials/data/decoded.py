"""The decoded images of a data set, in a file on this machine's disk that is made once.

It lies in the user's cache folder, `lotus-sweep/images/KEY/`, and is known by the content of the
files and by how they are decoded. It is made under another name and then renamed, so nobody sees
half of one; who is later uses what is there. Removing the folder costs only time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trials.caches import cache_of
from trials.data.config import DataConfig
from trials.data.decoding import IMAGES, Made, Told, decode
from trials.data.facts import Facts, facts_of
from trials.data.images import Array
from trials.data.listing import Scan
from trials.data.pixels import DECODING, Policy
from trials.data.readers import reader_of
from trials.errors import DataError

ABOUT = "about.json"

LEFT_S = 7 * 86_400.0
"""What nobody has finished for so long was left by a process that died."""

NAMED = 5
"""Corrupt images that an error names; it counts the others."""


@dataclass(frozen=True)
class Decoded:
    """The images of a data set; calling it gives the array of all, mapped into memory.

    Attributes:
        key: of the content and of how it is decoded.
    """

    cfg: DataConfig
    key: str
    _open: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"cfg": self.cfg, "key": self.key, "_open": {}}

    def __call__(self) -> Array:
        """uint8 (N, C, H, W), rows as in the listing; made first where it is not there.

        Raises:
            DataError: the files are not here, or are other ones than before.
        """
        if "array" not in self._open:
            self.made()
            mapped = np.load(self._folder() / IMAGES, mmap_mode="r")
            self._open["array"] = np.asarray(mapped)
        found: Array = self._open["array"]
        return found

    def made(self, told: Told | None = None) -> Made:
        """See that the file is there.

        Raises:
            DataError: see `__call__`; or an image is corrupt, and the sweep file leaves none out.
        """
        found = self.known()
        if found is None:
            with _alone(self.key):
                if self.known() is None:
                    self._make(told)
            found = self.known()
        if found is None:
            raise DataError(f"{self._folder()} cannot be read again: remove it")
        self.refuse(found)
        return found

    def known(self) -> Made | None:
        """What the file holds; None when there is none, or a damaged one."""
        folder = self._folder()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((folder / ABOUT).read_text("utf-8"))
            if about["bytes"] == (folder / IMAGES).stat().st_size:
                corrupt = {int(row): str(why) for row, why in about["corrupt"].items()}
                return Made(tuple(about["shape"]), corrupt)
        return None

    def refuse(self, made: Made) -> None:
        """Name and count what is corrupt.

        Raises:
            DataError: something is, and is not to be left out.
        """
        if not made.corrupt or self.cfg.corrupt == "leave_out":
            return
        listed = "; ".join(list(made.corrupt.values())[:NAMED])
        more = len(made.corrupt) - NAMED
        raise DataError(
            f"{len(made.corrupt)} of {made.shape[0]} images in data.root = {self.cfg.root} cannot "
            f"be decoded: {listed}{f'; and {more} more' if more > 0 else ''}. Mend or remove them, "
            "or write `data.corrupt: leave_out`"
        )

    def _folder(self) -> Path:
        return root() / self.key

    def _make(self, told: Told | None) -> None:
        if self.cfg.root is not None and not self.cfg.root.is_dir():
            raise DataError(
                f"data.root = {self.cfg.root}: there is no such folder on this machine. Images "
                "that do not fit into memory are read on every node: mount the folder there, or "
                "raise data.memory_gib"
            )
        scan = reader_of(self.cfg).open(self.cfg)
        if not isinstance(scan, Scan):
            raise TypeError(f"{self.cfg.name} has no files to decode")
        listing = scan.listing()
        if key_of(scan, self.cfg) != self.key:
            raise DataError(
                f"the files in data.root = {self.cfg.root} are other ones than when the sweep "
                "was planned, or than those of the driver: run the command again"
            )
        folder = self._folder()
        temporary = _temporary(folder.parent, self.key)
        try:
            made = decode(listing, Policy.of(self.cfg, listing.channels), temporary, told)
            about = asdict(made) | {"bytes": (temporary / IMAGES).stat().st_size}
            (temporary / ABOUT).write_text(json.dumps(about), encoding="utf-8")
            if folder.is_dir() and self.known() is None:
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was faster
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def opened(scan: Scan, cfg: DataConfig) -> tuple[Facts, Decoded]:
    """A data set's labels, and its images for when they are asked for.

    Raises:
        DataError: labels cannot be read.
    """
    decoded = Decoded(cfg, key_of(scan, cfg))
    if (made := decoded.known()) is not None:
        decoded.refuse(made)
    return facts_of(scan, root() / f"{decoded.key}.labels.npz"), decoded


def key_of(scan: Scan, cfg: DataConfig) -> str:
    """Of the content of the files, and of every setting by which they become images and labels."""
    named = (
        "name", "dataset", "image_column", "label_column", "size", "resize", "channels", "window",
    )  # fmt: skip
    settings = cfg.model_dump(mode="json", include=set(named))
    text = json.dumps([scan.identity, DECODING, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _alone(key: str) -> Iterator[None]:
    """One process of this machine decodes, the others wait; where nothing can be locked, all do."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            root().mkdir(mode=0o700, parents=True, exist_ok=True)
            file = held.enter_context((root() / f"{key}.lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _temporary(parent: Path, key: str) -> Path:
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in parent.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if time.time() - old.stat().st_mtime > LEFT_S:
                    shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{key[:16]}.", suffix=".part", dir=parent))
    except OSError as error:
        raise DataError(
            f"decoded images cannot be kept in {parent} ({error.strerror}): set XDG_CACHE_HOME to "
            "a folder that you may write to"
        ) from None


def root() -> Path:
    """Where images are kept.

    Raises:
        DataError: this user has no cache folder.
    """
    folder = cache_of("images")
    if folder is None:
        raise DataError("decoded images need a cache folder: set XDG_CACHE_HOME to one")
    return folder
