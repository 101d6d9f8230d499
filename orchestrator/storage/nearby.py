"""Objects of a store elsewhere, kept on this node's disk: fetched once a node.

Without it every process of a node fetches the dense model of its trials for itself, and again when
it has forgotten it. An object is named by the sha256 of its bytes and compared with it at every
reading. So what lies here may be old, cut short or changed by anybody: it is fetched again, and
no wrong result comes of it. Nothing is lost with it either.
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
from trials.caches import cache_folder

LEAST_BYTES = 2**20
"""A smaller object is fetched as fast as its entry, which is fetched in any case."""

SHARE = 0.5
"""Of the space that is free, or taken here, no more than this is used."""

IN_MEMORY = {"tmpfs", "ramfs"}
"""File systems that would take from the node's memory what trials need."""


@dataclass(frozen=True, slots=True)
class Nearby:
    """A folder of objects, the one that was not read for longest removed first.

    Several processes may use it at once. Where it cannot be written, it is as if it were empty.
    """

    folder: Path
    limit_bytes: int

    def get(self, digest: str) -> bytes | None:
        """The bytes that have this sha256; None when they are not here."""
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
        """Keep an object, if there is room for it."""
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
        """Bytes that are to be had, once old objects have made room for so many."""
        found = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        taken = sum(one for _, one, _ in found)
        free = shutil.disk_usage(self.folder).free
        most = min(self.limit_bytes, int(SHARE * (free + taken)))
        if size > most:
            return 0
        room = most - taken
        for _, one, path in sorted(found):
            if room >= size:
                break
            path.unlink(missing_ok=True)
            room += one
        return room


def on_this_node(limit_bytes: int) -> Nearby | None:
    """The node's own; None where there is no disk for it, or it is not wanted."""
    root = cache_folder()
    if root is None or limit_bytes <= 0 or file_system(root) in IN_MEMORY:
        return None
    return Nearby(root / "lotus-sweep" / "objects", limit_bytes)
