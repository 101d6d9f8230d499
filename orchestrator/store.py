"""The content-addressed store of stage results: a folder, NFS, or s3:// through fsspec.

    objects/ab/<sha256 of the bytes>.safetensors     results
    index/<stage>/<key>.json                         key -> object, seconds, host, versions
    unfinished/<key>.safetensors                     state of a training that has not ended
    damaged/...                                      objects that failed their digest, set aside

Objects are written under a temporary name and renamed, the index entry last. Two writers of one
key at worst do the same work twice: the later entry replaces the earlier one.
"""

import hashlib
import json
import os
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import fsspec
from safetensors.torch import load, save
from torch import Tensor

from orchestrator import codec
from orchestrator.keys import key_of
from orchestrator.versions import host, versions
from trials.errors import FormatError, LotusError
from trials.stage import Node

R = TypeVar("R")

SNAPSHOT_SHARE = 0.02
"""A training may spend at most this share of its time on saving its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the index knows of a result.

    Attributes:
        object: sha256 of the stored bytes.
        seconds: time it took to compute, saving excluded.
        work_macs: the estimate that the plan made of it, so that later plans can learn.
    """

    key: str
    stage: str
    version: int
    object: str
    bytes: int
    seconds: float
    work_macs: float
    device: str
    host: str
    versions: dict[str, str]
    created: float


class Store:
    """Results by key. Every method may be called by several processes at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise LotusError(f"storage.path = {url} cannot be used: {error}") from None
        self.root = root.rstrip("/")
        self.local = "file" in _protocols(self.fs)

    def entry(self, node: Node[Any]) -> Entry | None:
        """The index entry of a stage call, None when it has not been computed."""
        try:
            return _entry(self.fs.cat_file(self._index(node.stage.name, key_of(node))))
        except FileNotFoundError:
            return None

    def keys(self) -> set[str]:
        """All keys in the store, by one listing."""
        return {path.rsplit("/", 1)[-1].removesuffix(".json") for path in self._indexed()}

    def entries(self) -> list[Entry]:
        """All index entries."""
        paths = self._indexed()
        if not paths:
            return []
        found = self.fs.cat(paths, on_error="omit")
        return [entry for content in found.values() if (entry := _entry(content))]

    def get(self, node: Node[R]) -> tuple[R, Entry] | None:
        """A result, verified against its digest.

        A damaged or missing object warns, is set aside, and counts as not computed.
        """
        entry = self.entry(node)
        if entry is None:
            return None
        path = self._object(entry.object)
        try:
            content = self.fs.cat_file(path)
            if hashlib.sha256(content).hexdigest() != entry.object:
                raise FormatError("its bytes do not have the digest in its name")
            return codec.decode(content, node.stage.result), entry
        except (FormatError, FileNotFoundError) as error:
            self._set_aside(entry, path, error)
            return None

    def put(self, node: Node[R], result: R, seconds: float, device: str) -> Entry:
        """Store a result under its key and forget its unfinished state."""
        content = codec.encode(result)
        digest = hashlib.sha256(content).hexdigest()
        path = self._object(digest)
        if not self.fs.exists(path):
            self._write(path, content)
        entry = Entry(
            key=key_of(node),
            stage=node.stage.name,
            version=node.stage.version,
            object=digest,
            bytes=len(content),
            seconds=seconds,
            work_macs=node.work_macs(),
            device=device,
            host=host(),
            versions=versions(),
            created=time.time(),
        )
        text = json.dumps(asdict(entry), indent=1)
        self._write(self._index(entry.stage, entry.key), text.encode())
        self.snapshots(node).clear()
        return entry

    def snapshots(self, node: Node[Any]) -> "StoredSnapshots":
        """Where a stage that runs now keeps its unfinished state."""
        return StoredSnapshots(self, f"{self.root}/unfinished/{key_of(node)}.safetensors")

    def writable(self) -> None:
        """Write and remove a small file.

        Raises:
            OSError: the store cannot be written.
        """
        path = f"{self.root}/.probe-{uuid.uuid4().hex}"
        self._write(path, b"probe")
        self.fs.rm_file(path)

    def size_bytes(self) -> int:
        """Bytes of all objects."""
        return sum(info["size"] for info in self._find("objects", detail=True).values())

    def _indexed(self) -> list[str]:
        """Paths of all index entries; what an interrupted writer left is none."""
        return [path for path in self._find("index") if path.endswith(".json")]

    def _find(self, folder: str, detail: bool = False) -> Any:
        try:
            return self.fs.find(f"{self.root}/{folder}", detail=detail)
        except FileNotFoundError:
            return {} if detail else []

    def _object(self, digest: str) -> str:
        return f"{self.root}/objects/{digest[:2]}/{digest}.safetensors"

    def _index(self, stage: str, key: str) -> str:
        return f"{self.root}/index/{stage}/{key}.json"

    def _write(self, path: str, content: bytes) -> None:
        if not self.local:  # object stores replace a whole object at once
            self.fs.pipe_file(path, content)
            return
        temporary = f"{path}.{uuid.uuid4().hex}.part"
        self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        try:
            self.fs.pipe_file(temporary, content)
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def _set_aside(self, entry: Entry, path: str, error: Exception) -> None:
        warnings.warn(
            f"store: the result of {entry.stage} {entry.key[:12]} is unusable "
            f"({error or 'missing'}); it is set aside and computed again",
            stacklevel=3,
        )
        index = self._index(entry.stage, entry.key)
        if self.fs.exists(path):
            self.fs.makedirs(f"{self.root}/damaged", exist_ok=True)
            self.fs.mv(path, f"{self.root}/damaged/{entry.object}-{uuid.uuid4().hex[:8]}")
        if self.fs.exists(index):
            self.fs.rm_file(index)


@dataclass(slots=True)
class StoredSnapshots:
    """The unfinished state of one training: the last one saved, in one file."""

    store: Store
    path: str
    _saved: float = 0.0
    _cost: float = 0.0

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was saved last; None when there is nothing or it cannot be read."""
        try:
            content = self.store.fs.cat_file(self.path)
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])["__metadata__"]
            return load(content), json.loads(header["values"])
        except FileNotFoundError:
            return None
        except Exception as error:
            warnings.warn(f"store: an unfinished training starts over ({error})", stacklevel=2)
            return None

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Save, unless saving would take more than `SNAPSHOT_SHARE` of the time."""
        now = time.monotonic()
        if now - self._saved < self._cost / SNAPSHOT_SHARE:
            return
        found = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = save(found, metadata={"values": json.dumps(values)})
        self.store._write(self.path, content)
        self._saved = time.monotonic()
        self._cost = self._saved - now

    def clear(self) -> None:
        """Forget the state."""
        if self.store.fs.exists(self.path):
            self.store.fs.rm_file(self.path)


def _entry(content: bytes) -> Entry | None:
    try:
        values = json.loads(content)
        return Entry(**{field.name: values[field.name] for field in fields(Entry)})
    except (ValueError, KeyError, TypeError):
        return None


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
