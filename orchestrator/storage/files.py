"""Files below one place, a folder or an object store, with errors that say what to do.

The only contact with fsspec. Every path is relative to the place.
"""

import builtins
import errno
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from orchestrator import metrics
from orchestrator.secrets import redacted
from trials.errors import LotusError

T = TypeVar("T")

PAUSES_S = (0.2, 1.0, 4.0)
"""Pauses between attempts at a store that does not answer. s3fs has tried five times by then."""

PART_BYTES = 8 * 2**20
"""An object store gets what is twice as large in parts of this size, ten at a time."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
GONE = {errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTDIR, errno.ENAMETOOLONG}
UNABLE = {errno.EINVAL, errno.ENOSYS}

OPERATIONS = {"read": "read", "written": "write"}

_FULL_ON_S3 = re.compile(r"(?i)quota|storagefull|insufficient(storage|capacity)|\b507\b")


class StoreUnusable(LotusError):  # noqa: N818 - a state, not a mistake
    """The store is full, read-only or gone: no sweep on it can go on before that is mended."""


class StoreAway(LotusError, OSError):  # noqa: N818
    """The store did not answer for a while; later it may."""


@dataclass(frozen=True, slots=True)
class Info:
    """A file: its size, and when it was written by the clock of whoever keeps it."""

    bytes: int
    modified: float


class Files:
    """What can be done with the files of a place, by several processes at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            # A listing kept from earlier would hide what other processes have written since.
            self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise LotusError(
                f"{_named_in(url)} = {redacted(url)} cannot be used: {redacted(str(error))}"
            ) from None
        self.root = root.rstrip("/")
        self.local = "file" in _protocols(self.fs)
        self.s3 = "s3" in _protocols(self.fs)

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        start = time.perf_counter()
        content = self._reading(lambda: bytes(self.fs.cat_file(self.full(path))))
        _measure("read", len(content), start)
        return content

    def read_all(self, paths: list[str]) -> dict[str, bytes]:
        """The contents of those of the files that are there."""

        # Not `cat`: it takes `[` in a folder's name for a pattern, and omits what it cannot read.
        def read() -> dict[str, bytes]:
            full = [self.full(path) for path in paths]
            found = self.fs.cat_ranges(full, None, None, on_error="return")
            kept = {}
            for path, content in zip(paths, found, strict=True):
                if isinstance(content, FileNotFoundError):
                    continue
                if isinstance(content, BaseException):
                    raise content
                kept[path] = bytes(content)
            return kept

        return self._reading(read) if paths else {}

    def write(self, path: str, content: bytes) -> None:
        """Replace a file as a whole: nobody ever sees a part of it."""
        start = time.perf_counter()
        self._writing(lambda: self._write(self.full(path), content))
        _measure("write", len(content), start)

    def remove(self, path: str) -> None:
        """Remove a file; nothing when it is not there."""
        self._writing(lambda: self.fs.rm_file(self.full(path)), missing=None)

    def move(self, path: str, to: str) -> bool:
        """Rename a file; False when it is not there (any more)."""

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
        """Write a file whose name stands for its content; one that is there only becomes new."""

        def touch() -> bool:
            os.utime(self.full(path))
            return True

        # Object stores renew a file by writing it, and nothing else.
        if not (self.local and self._writing(touch, missing=False)):
            self.write(path, content)

    def info(self, path: str) -> Info | None:
        """Size and time of a file; None when it is not there."""
        try:
            return _info(self._reading(lambda: self.fs.info(self.full(path))))
        except FileNotFoundError:
            return None

    def list(self, folder: str = "") -> dict[str, Info]:
        """All files below a folder."""
        where = self.full(folder) if folder else self.root
        try:
            found: Mapping[str, Any] = self._reading(lambda: self.fs.find(where, detail=True))
        except FileNotFoundError:
            return {}
        return {self._relative(name): _info(one) for name, one in found.items()}

    def uploads(self, before: float) -> builtins.list[tuple[str, str]]:
        """Uploads in parts that began before a time and did not end: key and id of each.

        A process that dies in the middle of one leaves its parts: nobody sees them as a file, but
        they take space.
        """
        if not self.s3:
            return []
        bucket, prefix, _ = self.fs.split_path(self.full(""))
        asked: dict[str, str] = {"Bucket": bucket, "Prefix": prefix}
        found: builtins.list[tuple[str, str]] = []
        while True:
            page = self._reading(lambda: self.fs.call_s3("list_multipart_uploads", **asked))
            found += [
                (one["Key"], one["UploadId"])
                for one in page.get("Uploads", [])
                if one["Key"].startswith(prefix) and one["Initiated"].timestamp() <= before
            ]
            if not page.get("IsTruncated"):
                return found
            asked["KeyMarker"] = page["NextKeyMarker"]
            asked["UploadIdMarker"] = page["NextUploadIdMarker"]

    def abort(self, key: str, upload: str) -> None:
        """Forget the parts of an upload that did not end; nothing when it has ended."""
        bucket = self.fs.split_path(self.root)[0]
        self._writing(lambda: self.fs.abort_mpu(bucket, key, upload), missing=None)

    def probe(self) -> float:
        """Write and remove a small file; the time by the clock of whoever keeps the files."""
        path = f".probe-{uuid.uuid4().hex}"
        self.write(path, b"probe")
        written = self.info(path)
        self.remove(path)
        return written.modified if written else time.time()

    def full(self, path: str) -> str:
        """The path as fsspec wants it."""
        return f"{self.root}/{path}"

    def _relative(self, name: str) -> str:
        return name.strip("/").removeprefix(self.root.strip("/")).lstrip("/")

    def _write(self, path: str, content: bytes) -> None:
        if not self.local:  # object stores replace a whole object at once, parts or not
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
        """Like `_reading`; a missing file is `missing` where that is given, else a gone store."""
        try:
            return self._patiently(act, "written")
        except FileNotFoundError as error:
            if "missing" in missing:
                return missing["missing"]
            raise self._unusable(error, "written") from error

    def _patiently(self, act: Callable[[], T], what: str) -> T:
        for pause in (*PAUSES_S, None):
            try:
                return act()
            except FileNotFoundError:
                raise
            except Exception as error:
                if not _of_storage(error):
                    raise
                metrics.count(metrics.STORE_ERRORS, operation=OPERATIONS[what])
                if _lasting(error):
                    raise self._unusable(error, what) from error
                if pause is None:
                    raise StoreAway(
                        f"{self._named} does not answer ({_reason(error)}). Nothing is "
                        "lost: the same command continues when it does."
                    ) from error
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _unusable(self, error: Exception, what: str) -> StoreUnusable:
        number = error.errno if isinstance(error, OSError) else None
        if number in FULL or _full_on_s3(error):
            words = "is full: free space or run `lotus gc`"
        elif number == errno.EROFS:
            words = "is read-only: mount it for writing"
        elif number in CLOSED or isinstance(error, PermissionError):
            words = f"must not be {what} by this user: check its permissions and keys"
        else:
            words = f"cannot be {what}: check the path and that it is mounted"
        text = f"{self._named} {words} ({_reason(error)}). Nothing that is finished is lost:"
        return StoreUnusable(f"{text} the same command continues.")

    @property
    def _named(self) -> str:
        return f"the store, {_named_in(self.url)} = {redacted(self.url)},"


def _named_in(url: str) -> str:
    """What the user can change: the variable, where that says it."""
    said = os.environ.get("LOTUS_STORE")
    same = said and url in (said, str(Path(said).expanduser().absolute()))
    return "LOTUS_STORE" if same else "storage.path"


def _measure(operation: str, size: int, start: float) -> None:
    metrics.count(metrics.STORE_BYTES, size, operation=operation)
    metrics.observe(metrics.STORE_SECONDS, time.perf_counter() - start, operation=operation)


def _of_storage(error: Exception) -> bool:
    """Whether an error comes from a file system or an object store, not from our own code."""
    own = type(error).__module__.split(".")[0]
    return isinstance(error, OSError) or own in ("botocore", "aiobotocore", "aiohttp", "s3fs")


def _lasting(error: Exception) -> bool:
    """Whether waiting does not mend it."""
    lasting = FULL | CLOSED | GONE | UNABLE
    number = error.errno if isinstance(error, OSError) else None
    named = type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")
    known = isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError)
    return number in lasting or known or named or _full_on_s3(error)


def _full_on_s3(error: Exception) -> bool:
    answer = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    if not isinstance(answer, dict):
        return False
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return bool(_FULL_ON_S3.search(f"{answer.get('Error', {}).get('Code')} {status}"))


def _reason(error: Exception) -> str:
    return redacted(str(error) or type(error).__name__)[:300]


def _info(found: Mapping[str, Any]) -> Info:
    """fsspec's names differ from one kind of store to the next."""
    when = next((found[n] for n in ("mtime", "LastModified", "created") if n in found), None)
    seconds = when if isinstance(when, int | float) else when.timestamp() if when else 0.0
    return Info(int(found.get("size") or 0), float(seconds))


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
