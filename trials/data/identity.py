"""What a folder of files holds, as one digest: sha256 over sorted relative paths and contents.

Each file is read once. A local index keeps, for each folder, size, times and inode of its files
with their sha256, so that an unchanged ImageNet costs one look at each file. The index is only a
cache: what is absent, damaged or cannot be written is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trials.caches import cache_of
from trials.errors import DataError

FRESH_NS = 2_000_000_000
"""A file that changed so shortly ago may change again without another time: it is not indexed."""

AT_ONCE = 16
"""Files that are read at a time: on a network each waits for its answer."""

FACTS = 4
"""Of a file: size, mtime and ctime in nanoseconds, inode."""

Facts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one folder that count.

    Attributes:
        path: absolute.
        relative: to the root of the data set, "" for that itself.
        names: sorted.
        facts: int64 (files, FACTS).
        looked_ns: when it was looked at, in nanoseconds since 1970.
    """

    path: str
    relative: str
    names: tuple[str, ...]
    facts: Facts
    looked_ns: int

    def paths(self) -> Iterator[str]:
        """Of its files, relative to the root."""
        return (os.path.join(self.relative, name) for name in self.names)


def walk(root: Path, counts: Callable[[str], bool], *, deep: bool = True) -> list[Folder]:
    """All folders below a root that hold files which count, sorted by path, each looked at once.

    Hidden files and folders do not count. Links are followed.

    Args:
        counts: whether a file does, by its name.
        deep: look into the folders below as well.

    Raises:
        DataError: a folder cannot be read, or links lead in a circle.
    """
    return list(_walk(str(root), "", counts, () if deep else None))


def _walk(
    path: str, relative: str, counts: Callable[[str], bool], above: tuple[str, ...] | None
) -> Iterator[Folder]:
    real = os.path.realpath(path)
    if above is not None and real in above:
        raise DataError(f"{path} is a link to a folder that it lies in: remove the link")
    found: dict[str, tuple[int, ...]] = {}
    folders, looked_ns = [], time.time_ns()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif counts(entry.name):
                    at = entry.stat()
                    found[entry.name] = (at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino)
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror}") from None
    if found:
        names = sorted(found)
        facts = np.array([found[name] for name in names], dtype=np.uint64).astype(np.int64)
        yield Folder(path, relative, tuple(names), facts, looked_ns)
    if above is None:
        return
    for name in sorted(folders):
        below = os.path.join(relative, name)
        yield from _walk(os.path.join(path, name), below, counts, (*above, real))


def digest_of(folders: Sequence[Folder]) -> str:
    """One digest of all files: their paths below the root, and their contents.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    with Index.opened() as index:
        for folder in sorted(folders, key=lambda one: os.fsencode(one.relative)):
            for path, digest in zip(folder.paths(), _digests(folder, index), strict=True):
                total.update(os.fsencode(path) + b"\0" + digest)
    return total.hexdigest()


def _digests(folder: Folder, index: Index) -> list[bytes]:
    """The sha256 of each file, from the index where nothing about the file has changed."""
    known = index.get(folder.path)
    digests = [_unchanged(known, name, facts) for name, facts in _rows(folder)]
    missing = [i for i, digest in enumerate(digests) if digest is None]
    if missing:
        paths = [os.path.join(folder.path, folder.names[i]) for i in missing]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for i, digest in zip(missing, pool.map(_sha256, paths), strict=True):
                digests[i] = digest
    found = [digest for digest in digests if digest is not None]
    if missing or len(known) != len(found):
        index.put(folder, found)
    return found


Known = dict[str, tuple[bytes, bytes]]
"""Name of a file -> the bytes of its facts, and its sha256."""


def _rows(folder: Folder) -> Iterable[tuple[str, bytes]]:
    whole, size = folder.facts.tobytes(), FACTS * 8
    return ((name, whole[i * size : (i + 1) * size]) for i, name in enumerate(folder.names))


def _unchanged(known: Known, name: str, facts: bytes) -> bytes | None:
    found = known.get(name)
    return found[1] if found is not None and found[0] == facts else None


def _sha256(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


class Index:
    """Folders with the facts and digests of their files, in SQLite.

    Every trouble with it counts as if it were empty.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None

    @classmethod
    @contextlib.contextmanager
    def opened(cls) -> Iterator[Index]:
        """This user's."""
        index = cls(cache_of("files.sqlite"))
        try:
            index.open()
            yield index
        finally:
            index.close()

    def open(self) -> None:
        """Connect, where that is possible."""
        if self._path is None:
            return
        for _ in range(2):
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._database = sqlite3.connect(self._path, timeout=10, isolation_level=None)
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = OFF")
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS folders (path BLOB PRIMARY KEY, names BLOB, "
                    "facts BLOB, digests BLOB, sha256 BLOB) WITHOUT ROWID"
                )
                break
            except (sqlite3.OperationalError, OSError):
                self.close()  # of another user, on a full disk, or without locks
                break
            except sqlite3.DatabaseError:
                self._remove()

    def close(self) -> None:
        """Disconnect."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
        self._database = None

    def _remove(self) -> None:
        """A damaged one: others that have it open go on with what they have."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._path}{suffix}")

    def get(self, path: str) -> Known:
        """What is known of a folder's files."""
        if self._database is None:
            return {}
        asked = "SELECT names, facts, digests, sha256 FROM folders WHERE path = ?"
        try:
            row = self._database.execute(asked, (os.fsencode(path),)).fetchone()
        except sqlite3.Error:
            return {}
        if row is None or _checksum(*row[:3]) != row[3]:
            return {}
        names, facts, digests = row[:3]
        size = FACTS * 8
        return {
            os.fsdecode(name): (facts[i * size : (i + 1) * size], digests[i * 32 : (i + 1) * 32])
            for i, name in enumerate(names.split(b"\0"))
        }

    def put(self, folder: Folder, digests: Sequence[bytes]) -> None:
        """Keep what is known now, of files that have not changed just before."""
        if self._database is None:
            return
        before = folder.looked_ns - FRESH_NS
        settled = (folder.facts[:, 1] < before) & (folder.facts[:, 2] < before)
        kept: list[int] = np.flatnonzero(settled).tolist()
        names = b"\0".join(os.fsencode(folder.names[i]) for i in kept)
        row = (names, folder.facts[kept].tobytes(), b"".join(digests[i] for i in kept))
        values = (os.fsencode(folder.path), *row, _checksum(*row))
        with contextlib.suppress(sqlite3.Error):
            if len(kept):
                self._database.execute("REPLACE INTO folders VALUES (?, ?, ?, ?, ?)", values)


def _checksum(names: bytes, facts: bytes, digests: bytes) -> bytes:
    """Of a row: a damaged page may still be a valid one."""
    total = hashlib.sha256(len(names).to_bytes(8, "big"))
    for part in (names, facts, digests):
        total.update(part)
    return total.digest()
