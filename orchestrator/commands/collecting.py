"""`lotus gc`: free what no kept sweep needs, while sweeps run.

A sweep is kept unless its tracking store shows its run as deleted: also where that cannot be asked,
and where it does not know the run, because its database may have been restored or made anew. What
is removed is first taken away, then everybody's needs are read again, and what is needed by now
is put back. Those who need something say so first (a sweep its pin, a writer its index entry) and
look afterwards whether it is there. So either `gc` sees the need, or they see that it is gone and
make it again; no clock enters. The grace period only spares work. Two at once would each miss
what the other has away: a second one refuses.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.commands.alone import MARK, alone
from orchestrator.planning.pins import Pin, pinned_since, pins
from orchestrator.secrets import HIDDEN, without_password
from orchestrator.storage.files import Info
from orchestrator.storage.store import Entry, Store, object_path
from trials.errors import LotusError

GRACE_S = 3600.0
"""What is younger is left alone: somebody may be about to need it."""

AWAY = "removed"
"""Folder of what is taken away: `removed/<id of the collector>/<path>`."""

State = tuple[bool, str]
"""Whether a sweep is kept, and why."""

HIDDEN_RUN = "its tracking store does not show its run to this account"
UNKNOWN = "its tracking store does not know its run: restored from a copy, or made anew?"
FORCED = "its tracking store does not know its run, and --force was given"


@dataclass
class Collected:
    """What `lotus gc` has freed, or would.

    Attributes:
        kept: sweep name and reason, of those whose results stay.
        dropped: likewise, of those whose results go.
        files: kind (a stage, or a folder of the store) -> how many were removed.
        bytes: likewise.
        unknown: names of those that stay because MLflow does not know their run.
        before_pins: results that stay because they are older than the first pin.
    """

    dry_run: bool
    kept: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    before_pins: int = 0

    def count(self, kind: str, info: Info) -> None:
        """One file more."""
        self.files[kind] += 1
        self.bytes[kind] += info.bytes

    @property
    def freed_bytes(self) -> int:
        """In all."""
        return sum(self.bytes.values())


def asker(uris: Iterable[str], force: bool = False) -> Callable[[Pin], State]:
    """Asks MLflow whether a sweep's run is deleted.

    Args:
        uris: tracking stores with their passwords, which pins do not hold.
        force: a run that a tracking store does not know counts as deleted.
    """
    from orchestrator.tracking.sweeps import state_of_run
    from orchestrator.tracking.tracker import TrackingError

    full = {without_password(uri): uri for uri in uris}
    away: dict[str, str] = {}

    def ask(one: Pin) -> State:
        uri = full.get(one.tracking, one.tracking)
        if f":{HIDDEN}@" in uri:
            return True, "its tracking store needs a password: `lotus gc SWEEP` with its file"
        if uri in away:
            return True, away[uri]
        try:
            known = state_of_run(uri, one.run_id)
        except TrackingError as error:
            away[uri] = f"its tracking store cannot be asked: {error}"
            return True, away[uri]
        if known == "hidden":
            return True, HIDDEN_RUN
        if known == "unknown":
            return (False, FORCED) if force else (True, UNKNOWN)
        return (False, "its run is deleted") if known == "deleted" else (True, "its run exists")

    return ask


def collect(
    store: Store,
    ask: Callable[[Pin], State],
    *,
    dry_run: bool = False,
    grace_s: float = GRACE_S,
    old: bool = False,
) -> Collected:
    """Free what no kept sweep needs.

    Args:
        ask: whether a sweep is kept.
        dry_run: only count.
        grace_s: what is younger stays.
        old: also free results that no sweep needs but that are older than the first pin.

    Raises:
        LotusError: nobody knows what the sweeps in this store need.
    """
    since = pinned_since(store.files)
    if since is None:
        raise LotusError(
            f"no sweep has said yet what it needs of the store {store.url}: run every sweep that "
            "you want to keep once more with this version (nothing is computed again), then "
            "`lotus gc`"
        )
    since = 0.0 if old else since
    if dry_run:
        return _Collector(store, dry_run, time.time() - grace_s, since, "").run(ask)
    with alone(store.files, AWAY) as (away, now):
        return _Collector(store, dry_run, now - grace_s, since, away).run(ask)


class _Collector:
    def __init__(self, store: Store, dry_run: bool, limit: float, since: float, away: str) -> None:
        self.store, self.files = store, store.files
        self.dry_run, self.limit, self.since, self.away = dry_run, limit, since, away
        self.found = Collected(dry_run)
        self.stages: dict[str, str] = {}
        self.remaining: dict[str, Entry | None] = {}

    def run(self, ask: Callable[[Pin], State]) -> Collected:
        """Look, take away, look again; in that order for entries, then for objects."""
        if not self.dry_run:
            self._restore()
        states = {one: ask(one) for one in pins(self.files)}
        kept = {one for one, (stays, _) in states.items() if stays}
        for one, (stays, reason) in states.items():
            (self.found.kept if stays else self.found.dropped).append((one.sweep, reason))
            if reason == UNKNOWN:
                self.found.unknown.append(one.sweep)
        self._entries(kept, states)
        self._objects()
        self._rest(kept, states)
        return self.found

    def _entries(self, kept: Collection[Pin], known: Collection[Pin]) -> None:
        """Take away the index entries that nobody needs."""
        needed = {key for one in kept for key in one.keys}
        self.remaining = self.store.indexed()
        listed = self.files.list("index")
        candidates = []
        for path, entry in self.remaining.items():
            if path not in listed or listed[path].modified > self.limit or _key(path) in needed:
                continue
            if entry is not None and entry.created < self.since:
                self.found.before_pins += 1
                continue
            candidates.append(path)
        for path in candidates:
            if (entry := self.remaining.pop(path)) is not None:
                self.stages[object_path(entry.object)] = entry.stage

        def wanted() -> set[str]:
            late = [one for one in pins(self.files) if one not in known or one in kept]
            keys = {key for one in late for key in one.keys}
            return {path for path in candidates if _key(path) in keys}

        self._remove(candidates, wanted, lambda path: ("index", listed[path]))
        if not self.dry_run:
            self.remaining = self.store.indexed()

    def _objects(self) -> None:
        """Take away the objects that no index entry names."""
        listed = self.files.list("objects")
        used = _used(self.remaining.values())
        gone = [
            path
            for path, info in listed.items()
            if path not in used and info.modified <= self.limit and not path.endswith(".part")
        ]
        self._remove(
            gone,
            lambda: _used(self.store.indexed().values()),
            lambda path: (self.stages.get(path, "objects"), listed[path]),
        )

    def _remove(
        self,
        paths: list[str],
        wanted: Callable[[], Collection[str]],
        kind: Callable[[str], tuple[str, Info]],
    ) -> None:
        """Take files away, put back what is wanted by then, forget the others."""
        if self.dry_run:
            for path in paths:
                self.found.count(*kind(path))
            return
        taken = [path for path in paths if self.files.move(path, f"{self.away}/{path}")]
        if not taken:
            return
        try:
            back = wanted()
        except BaseException:
            for path in taken:
                self._put_back(self.away, path)
            raise
        for path in taken:
            if path in back:
                self._put_back(self.away, path)
            else:
                self.files.remove(f"{self.away}/{path}")
                self.found.count(*kind(path))

    def _put_back(self, away: str, path: str) -> None:
        """Unless somebody has written it anew."""
        if self.files.info(path) is None:
            self.files.move(f"{away}/{path}", path)
        else:
            self.files.remove(f"{away}/{path}")

    def _restore(self) -> None:
        """Undo what a collector did that died in the middle."""
        for full in self.files.list(AWAY):
            _, owner, path = full.split("/", 2)
            if f"{AWAY}/{owner}" == self.away:
                continue
            if path == MARK:
                self.files.remove(full)
            else:
                self._put_back(f"{AWAY}/{owner}", path)

    def _rest(self, kept: Collection[Pin], states: Mapping[Pin, State]) -> None:
        """Remove what was left behind: states of trainings, damaged objects, notes, old pins."""
        needed = {key for one in kept for key in one.keys}
        stored = {_key(path) for path in self.remaining}
        dropped = {one.run_id: one for one in states if one not in kept}
        for path, info in self.files.list().items():
            folder, *rest = path.split("/")
            if info.modified > self.limit or folder == AWAY:
                continue
            over = _key(path) in stored or _key(path) not in needed
            note = folder == "pending" and rest and rest[0] in dropped
            broken = folder == "damaged" or path.endswith(".part") or folder.startswith(".probe-")
            if broken or note or (folder == "unfinished" and over):
                self._forget(path, info, "left behind" if path.endswith(".part") else folder)
        for key, upload in self.files.uploads(self.limit):
            if not self.dry_run:
                self.files.abort(key, upload)
            self.found.count("uploads that did not end", Info(0, 0.0))
        current = {one.run_id: one for one in pins(self.files)}
        for run_id, one in dropped.items():
            file = self.files.info(one.path)
            if file and file.modified <= self.limit and current.get(run_id) == one:
                self._forget(one.path, file, "sweeps")

    def _forget(self, path: str, info: Info, kind: str) -> None:
        if not self.dry_run:
            self.files.remove(path)
        self.found.count(kind, info)


def _key(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".", 1)[0]


def _used(entries: Iterable[Entry | None]) -> set[str]:
    return {object_path(entry.object) for entry in entries if entry is not None}
