"""A cache of a remote store's objects on this node's disk, so that each is fetched once per node.

Without it every process of a node fetches the dense model of its trials, and again when it has
forgotten it. An object is named by the sha256 of its bytes, which is checked at every read. So a
truncated or modified file is just fetched again, and the folder can be deleted at any time.
"""

import contextlib
import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from orchestrator import metrics
from orchestrator.disks import file_system
from trials.caches import cache_of

LEAST_BYTES = 2**20
"""Smaller objects are fetched as fast as their index entry, which is fetched anyway."""

SHARE = 0.5
"""At most this share of the space that is free or taken by the cache is used."""

IN_MEMORY = {"tmpfs", "ramfs"}
"""File systems that would take memory away from trials."""


@dataclass(frozen=True, slots=True)
class Nearby:
    """A folder of objects; the least recently read one is removed first.

    Several processes may use it at once. A folder that cannot be written to counts as empty.
    """

    folder: Path
    limit_bytes: int

    def get(self, digest: str) -> bytes | None:
        """The bytes with this sha256; None if they are not cached."""
        path = self.folder / digest
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == digest:
                os.utime(path)
                metrics.count(metrics.STORE_BYTES, len(content), operation="near")
                return content
            path.unlink()
        return None

    def put(self, digest: str, content: bytes) -> None:
        """Cache an object, if there is room for it."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not LEAST_BYTES <= len(content) <= self._room_for(len(content)):
                return
            temporary = self.folder / f"{digest}.{uuid.uuid4().hex}.part"
            try:
                temporary.write_bytes(content)
                temporary.replace(self.folder / digest)
            finally:
                temporary.unlink(missing_ok=True)

    def _room_for(self, size: int) -> int:
        """The room for an object in bytes, after removing old objects if need be."""
        files = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                files.append((path.stat().st_mtime, path.stat().st_size, path))
        taken = sum(size_bytes for _, size_bytes, _ in files)
        free = shutil.disk_usage(self.folder).free
        most = min(self.limit_bytes, int(SHARE * (free + taken)))
        if size > most:
            return 0
        room = most - taken
        for _, size_bytes, path in sorted(files):
            if room >= size:
                break
            path.unlink(missing_ok=True)
            room += size_bytes
        return room


def on_this_node(limit_bytes: int) -> Nearby | None:
    """This node's cache; None if there is no disk for it, or the limit is 0."""
    folder = cache_of("objects")
    if folder is None or limit_bytes <= 0 or file_system(folder) in IN_MEMORY:
        return None
    return Nearby(folder, limit_bytes)
