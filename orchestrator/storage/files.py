"""Files in a folder or an object store, with errors that say what to do.

The only contact with fsspec. Every path is relative to the root of the store.
"""

import builtins
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import fsspec

from orchestrator import metrics
from orchestrator.secrets import redacted
from orchestrator.storage import faults
from orchestrator.storage.faults import StoreAway, StoreUnusable
from trials.errors import LotusError

__all__ = ["Files", "Info", "StoreAway", "StoreUnusable"]

T = TypeVar("T")

PAUSES_S = (0.2, 1.0, 4.0)
"""Pauses between attempts at a store that does not answer. s3fs itself tries five times each."""

PART_BYTES = 8 * 2**20
"""Files of twice this size or more are sent to an object store in such parts, ten at a time."""

OPERATIONS = {"read": "read", "written": "write"}


@dataclass(frozen=True, slots=True)
class Info:
    """A file: its size, and when it was written according to the server's clock."""

    bytes: int
    modified: float


class Files:
    """Operations on the files of a store; several processes may call them at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            # A cached listing would hide what other processes have written since.
            self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise LotusError(
                f"{faults.setting_of(url)} = {redacted(url)} cannot be used: {redacted(str(error))}"
            ) from None
        self.root = root.rstrip("/")
        self.local = "file" in _protocols(self.fs)
        self.s3 = "s3" in _protocols(self.fs)

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: it does not exist.
        """
        start = time.perf_counter()
        content = self._reading(lambda: bytes(self.fs.cat_file(self.full(path))))
        _measure("read", len(content), start)
        return content

    def read_all(self, paths: list[str]) -> dict[str, bytes]:
        """The contents of those files that exist."""

        # Not `cat`: it takes `[` in a folder's name for a pattern, and omits unreadable files.
        def read() -> dict[str, bytes]:
            full = [self.full(path) for path in paths]
            answers = self.fs.cat_ranges(full, None, None, on_error="return")
            contents = {}
            for path, content in zip(paths, answers, strict=True):
                if isinstance(content, FileNotFoundError):
                    continue
                if isinstance(content, BaseException):
                    raise content
                contents[path] = bytes(content)
            return contents

        return self._reading(read) if paths else {}

    def write(self, path: str, content: bytes) -> None:
        """Replace a file atomically: nobody ever sees a part of it."""
        start = time.perf_counter()
        self._writing(lambda: self._write(self.full(path), content))
        _measure("write", len(content), start)

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        self._writing(lambda: self.fs.rm_file(self.full(path)), missing=None)

    def move(self, path: str, to: str) -> bool:
        """Rename a file; False if it does not exist (any more)."""

        def rename() -> bool:
            source, target = self.full(path), self.full(to)
            if self.local:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(source, target)
            else:
                self.fs.mv(source, target)
            return True

        return bool(self._writing(rename, missing=False))

    def renew(self, path: str, content: bytes) -> None:
        """Write a file named by its content; an existing one only gets a new time."""

        def touch() -> bool:
            os.utime(self.full(path))
            return True

        # In object stores only writing a file renews its time.
        if not (self.local and self._writing(touch, missing=False)):
            self.write(path, content)

    def info(self, path: str) -> Info | None:
        """Size and time of a file; None if it does not exist."""
        try:
            return _info(self._reading(lambda: self.fs.info(self.full(path))))
        except FileNotFoundError:
            return None

    def list(self, folder: str = "") -> dict[str, Info]:
        """All files below a folder."""
        where = self.full(folder) if folder else self.root
        try:
            details: Mapping[str, Any] = self._reading(lambda: self.fs.find(where, detail=True))
        except FileNotFoundError:
            return {}
        return {self._relative(path): _info(detail) for path, detail in details.items()}

    def uploads(self, before: float) -> builtins.list[tuple[str, str]]:
        """Unfinished uploads in parts that began before a time: key and id of each.

        A process that dies during an upload leaves its parts, which take space although they are
        not visible as a file.
        """
        if not self.s3:
            return []
        bucket, prefix, _ = self.fs.split_path(self.full(""))
        query: dict[str, str] = {"Bucket": bucket, "Prefix": prefix}
        uploads: builtins.list[tuple[str, str]] = []
        while True:
            page = self._reading(lambda: self.fs.call_s3("list_multipart_uploads", **query))
            uploads += [
                (upload["Key"], upload["UploadId"])
                for upload in page.get("Uploads", [])
                if upload["Key"].startswith(prefix) and upload["Initiated"].timestamp() <= before
            ]
            if not page.get("IsTruncated"):
                return uploads
            query["KeyMarker"] = page["NextKeyMarker"]
            query["UploadIdMarker"] = page["NextUploadIdMarker"]

    def abort(self, key: str, upload: str) -> None:
        """Delete the parts of an unfinished upload, if there are any."""
        bucket = self.fs.split_path(self.root)[0]
        self._writing(lambda: self.fs.abort_mpu(bucket, key, upload), missing=None)

    def probe(self) -> float:
        """Write and remove a small file; returns the time of the server's clock."""
        path = f".probe-{uuid.uuid4().hex}"
        self.write(path, b"probe")
        written = self.info(path)
        self.remove(path)
        return written.modified if written else time.time()

    def full(self, path: str) -> str:
        """The path for fsspec."""
        return f"{self.root}/{path}"

    def _relative(self, full: str) -> str:
        return full.strip("/").removeprefix(self.root.strip("/")).lstrip("/")

    def _write(self, path: str, content: bytes) -> None:
        if not self.local:  # object stores replace objects atomically, in parts or not
            self.fs.pipe_file(path, content, **({"chunksize": PART_BYTES} if self.s3 else {}))
            return
        temporary = f"{path}.{uuid.uuid4().hex}.part"
        self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        try:
            self.fs.pipe_file(temporary, content)
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def _reading(self, act: Callable[[], T]) -> T:
        return self._patiently(act, "read")

    def _writing(self, act: Callable[[], T], **missing: T) -> T:
        """Like `_reading`. A missing file gives `missing`; without that, the store is gone."""
        try:
            return self._patiently(act, "written")
        except FileNotFoundError as error:
            if "missing" in missing:
                return missing["missing"]
            raise faults.unusable(self.url, error, "written") from error

    def _patiently(self, act: Callable[[], T], what: str) -> T:
        for pause in (*PAUSES_S, None):
            try:
                return act()
            except FileNotFoundError:
                raise
            except Exception as error:
                if not faults.of_storage(error):
                    raise
                metrics.count(metrics.STORE_ERRORS, operation=OPERATIONS[what])
                if faults.lasting(error):
                    raise faults.unusable(self.url, error, what) from error
                if pause is None:
                    raise faults.away(self.url, error) from error
            time.sleep(pause)
        raise AssertionError("unreachable")


def _measure(operation: str, size: int, start: float) -> None:
    metrics.count(metrics.STORE_BYTES, size, operation=operation)
    metrics.observe(metrics.STORE_SECONDS, time.perf_counter() - start, operation=operation)


def _info(detail: Mapping[str, Any]) -> Info:
    """Size and time from fsspec's details, whose names depend on the kind of store."""
    when = next((detail[n] for n in ("mtime", "LastModified", "created") if n in detail), None)
    seconds = when if isinstance(when, int | float) else when.timestamp() if when else 0.0
    return Info(int(detail.get("size") or 0), float(seconds))


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
