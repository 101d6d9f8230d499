"""The content-addressed store of stage results: a folder, NFS, or s3:// through fsspec.

    objects/ab/<sha256 of the bytes>.safetensors     results
    index/<stage>/<key>.json                         key -> object, seconds, host, versions
    unfinished/<key>.safetensors                     state of a training that has not ended
    damaged/...                                      objects that failed their digest, set aside
    sweeps/<run id>.json                             what each sweep needs (pins.py)
    pending/<run id>/<key>.json                      what tracking is missing
    removed/...                                      moved away by a running `lotus gc`

Objects are written under a temporary name and renamed; the index entry comes last. Two writers of
one key at worst do the same work twice: the later entry replaces the earlier one.
"""

import hashlib
import json
import re
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from orchestrator.storage import codec
from orchestrator.storage.files import Files, StoreAway, StoreUnusable
from orchestrator.storage.keys import canonical, key_of
from orchestrator.storage.nearby import Nearby
from orchestrator.storage.snapshots import StoredSnapshots
from orchestrator.versions import host, versions
from trials.errors import FormatError
from trials.stage import Node

__all__ = ["Entry", "Store", "StoreAway", "StoreUnusable", "StoredSnapshots"]

R = TypeVar("R")

CHECK = "check"
"""Field of an index entry: sha256 of the canonical JSON of the other fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The index entry of a result.

    Attributes:
        object: sha256 of the stored bytes.
        seconds: time it took to compute, without saving.
        work_macs: the plan's estimate, so that later plans can learn from it.
        work_calls: likewise, see `Load.calls`; None = unknown, from an earlier version.
        computed_by: key of the trial or shared stage for which it was computed; "" = unknown.
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
    computed_by: str = ""
    work_calls: float | None = None


OPTIONAL = frozenset({"computed_by", "work_calls"})
"""Fields that earlier versions did not write."""


class Store:
    """Results by key. Every method may be called by several processes at once.

    Args:
        nearby: objects cached on this node; not used if the store is a folder.

    Every method raises StoreUnusable if the store is full, read-only or gone, and StoreAway if it
    does not answer for some seconds.
    """

    def __init__(self, url: str, nearby: Nearby | None = None) -> None:
        self.url = url
        self.files = Files(url)
        self.fs, self.root, self.local = self.files.fs, self.files.root, self.files.local
        self.nearby = None if self.local else nearby

    def entry(self, node: Node[Any]) -> Entry | None:
        """The index entry of a stage call; None if it has not been computed."""
        key = key_of(node)
        try:
            entry = _entry(self.files.read(index_path(node.stage.name, key)))
        except FileNotFoundError:
            return None
        return entry if entry and (entry.key, entry.stage) == (key, node.stage.name) else None

    def keys(self) -> set[str]:
        """All keys in the store, by one listing."""
        return {path.rsplit("/", 1)[-1].removesuffix(".json") for path in self._indexed()}

    def entries(self) -> list[Entry]:
        """All index entries."""
        return [entry for entry in self.indexed().values() if entry is not None]

    def newest(self, each: int) -> list[Entry]:
        """The newest index entries, at most `each` per stage; no others are read."""
        infos = self.files.list("index")
        paths = sorted(self._among(infos), key=lambda path: -infos[path].modified)
        taken: Counter[str] = Counter()
        chosen = []
        for path in paths:
            stage = path.split("/")[1]
            taken[stage] += 1
            if taken[stage] <= each:
                chosen.append(path)
        entries = map(_entry, self.files.read_all(chosen).values())
        return [entry for entry in entries if entry is not None]

    def indexed(self) -> dict[str, Entry | None]:
        """All index entries by path; None for a damaged one."""
        contents = self.files.read_all(self._indexed())
        return {path: _entry(content) for path, content in contents.items()}

    def get(self, node: Node[R], *, raw: bool = False) -> tuple[R, Entry] | None:
        """A result, verified against its digest.

        A damaged or missing object causes a warning, is set aside, and counts as not computed.

        Args:
            raw: return `Raw` instead of tensors, without torch.
        """
        entry = self.entry(node)
        if entry is None:
            return None
        path = object_path(entry.object)
        try:
            decode = codec.decode_raw if raw else codec.decode
            return decode(self._object(entry.object), node.stage.result), entry
        except (FormatError, FileNotFoundError) as error:
            self._set_aside(entry, path, error)
            return None

    def _object(self, digest: str) -> bytes:
        """The bytes of an object, from this node if it has them.

        Raises:
            FormatError: the bytes in the store do not match the digest.
        """
        if self.nearby is not None and (cached := self.nearby.get(digest)) is not None:
            return cached
        content = self.files.read(object_path(digest))
        if hashlib.sha256(content).hexdigest() != digest:
            raise FormatError("its bytes do not have the digest in its name")
        if self.nearby is not None:
            self.nearby.put(digest, content)
        return content

    def put(
        self, node: Node[R], result: R, seconds: float, device: str, *, computed_by: str = ""
    ) -> Entry:
        """Store a result under its key and forget its unfinished state.

        Args:
            computed_by: key of the trial or shared stage that needed it.
        """
        content = codec.encode(result)
        digest = hashlib.sha256(content).hexdigest()
        path = object_path(digest)
        # An existing object gets a new time, because `lotus gc` spares new ones.
        self.files.renew(path, content)
        work = node.work()
        entry = Entry(
            key=key_of(node),
            stage=node.stage.name,
            version=node.stage.version,
            object=digest,
            bytes=len(content),
            seconds=seconds,
            work_macs=work.macs,
            work_calls=work.calls,
            device=device,
            host=host(),
            versions=versions(),
            created=time.time(),
            computed_by=computed_by,
        )
        self.files.write(index_path(entry.stage, entry.key), _text(entry))
        # A `lotus gc` that looked before the entry existed may have removed the object since.
        if self.files.info(path) is None:
            self.files.write(path, content)
        self.snapshots(node).clear()
        return entry

    def snapshots(self, node: Node[Any]) -> StoredSnapshots:
        """Where a running stage keeps its unfinished state."""
        return StoredSnapshots(self.files, f"unfinished/{key_of(node)}.safetensors")

    def writable(self) -> None:
        """Write and remove a small file.

        Raises:
            StoreUnusable: the store cannot be written.
        """
        self.files.probe()

    def size_bytes(self) -> int:
        """Total size of all objects."""
        return sum(info.bytes for info in self.files.list("objects").values())

    def _indexed(self) -> list[str]:
        """Paths of all index entries, without temporary files of interrupted writers."""
        return self._among(self.files.list("index"))

    @staticmethod
    def _among(paths: Iterable[str]) -> list[str]:
        return [path for path in paths if path.endswith(".json")]

    def _set_aside(self, entry: Entry, path: str, error: Exception) -> None:
        warnings.warn(
            f"store: the result of {entry.stage} {entry.key[:12]} is unusable "
            f"({error or 'missing'}); it is set aside and computed again",
            stacklevel=3,
        )
        try:
            if not isinstance(error, FileNotFoundError):
                self.files.move(path, f"damaged/{entry.object}-{uuid.uuid4().hex[:8]}")
            self.files.remove(index_path(entry.stage, entry.key))
        except StoreUnusable as refused:  # a read-only store can still be used
            warnings.warn(f"store: it stays where it is ({refused})", stacklevel=3)


def object_path(digest: str) -> str:
    """Path of a result's bytes."""
    return f"objects/{digest[:2]}/{digest}.safetensors"


def index_path(stage: str, key: str) -> str:
    """Path of a key's index entry."""
    return f"index/{stage}/{key}.json"


def _text(entry: Entry) -> bytes:
    """The content of an index entry."""
    values = asdict(entry)
    return json.dumps(values | {CHECK: _check(values)}, indent=1).encode()


def _entry(content: bytes) -> Entry | None:
    """The inverse of `_text`; None if the content is damaged."""
    try:
        values = json.loads(content)
        check = values.pop(CHECK, None)
        entry = Entry(**{f.name: values[f.name] for f in fields(Entry) if _has(values, f.name)})
        sound = check is None or check == _check(values)
        return entry if sound and _plausible(entry) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _check(values: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(values).encode()).hexdigest()


def _has(values: dict[str, Any], field: str) -> bool:
    """Whether to read a field: those that earlier versions did not write may be missing."""
    return field not in OPTIONAL or field in values


def _plausible(entry: Entry) -> bool:
    """Whether the fields have valid types: entries of early versions have no checksum."""
    texts = (entry.key, entry.stage, entry.object, entry.device, entry.host, entry.computed_by)
    calls = 0.0 if entry.work_calls is None else entry.work_calls
    numbers = (entry.bytes, entry.seconds, entry.work_macs, calls, entry.created, entry.version)
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int | float) and number >= 0 for number in numbers)
        and isinstance(entry.versions, dict)
        and re.fullmatch(r"[0-9a-f]{64}", entry.object) is not None
    )
