"""Notes in the store on what MLflow is missing: `pending/<run id of the sweep>/<key>.json`.

The results are in the store and the sweep file is known, so running an item again delivers it. The
note records the rest: that it is owed, why, and how it ended.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from orchestrator.storage.files import Files
from orchestrator.storage.store import Store
from orchestrator.tracking.runlog import RunLog
from orchestrator.tracking.runs import Identity, Kind

FOLDER = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One item whose end MLflow does not show.

    Attributes:
        status: how it ended: FINISHED or FAILED.
        error: of a failed item.
        reason: why it was not delivered.
        attempts: those that MLflow has not counted.
        tags: of its run.
        when: seconds since 1970.
    """

    key: str
    kind: Kind
    name: str
    status: str
    error: str | None
    reason: str
    attempts: int
    tags: Mapping[str, str] = field(default_factory=dict)
    when: float = field(default_factory=time.time)

    @property
    def identity(self) -> Identity:
        """Identity of the run that is owed."""
        return Identity(self.key, self.kind, self.name, self.tags)


def note_of(log: RunLog, identity: Identity, status: str, missed: int) -> Note:
    """The note for a run that was not delivered completely.

    Args:
        status: how the item ended.
        missed: earlier attempts that MLflow had not counted.
    """
    uncounted = 0 if log.attempts else missed + 1
    return Note(
        key=identity.key,
        kind=identity.kind,
        name=identity.name,
        status=status,
        error=log.error,
        reason=log.undelivered or "",
        attempts=log.attempts if log.discarded else uncounted,
        tags=dict(identity.tags),
    )


class Pending:
    """The notes of one sweep."""

    def __init__(self, store: Store, sweep: str) -> None:
        self.files = store.files
        self.folder = f"{FOLDER}/{sweep}"

    def put(self, note: Note) -> None:
        """Write a note, replacing an older one."""
        content = json.dumps(asdict(note), indent=1).encode()
        self.files.write(self._path(note.key), content)

    def get(self, key: str) -> Note | None:
        """The note of an item; None if there is none, or it cannot be read."""
        try:
            return _note(self.files.read(self._path(key)))
        except FileNotFoundError:
            return None

    def all(self) -> dict[str, Note]:
        """All notes by key."""
        return _notes(self.files, self.folder)

    def count(self) -> int:
        """The number of notes, by one listing."""
        return sum(path.endswith(".json") for path in self.files.list(self.folder))

    def remove(self, key: str) -> None:
        """Remove a note, if there is one."""
        self.files.remove(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self.folder}/{key}.json"


def all_notes(store: Store) -> dict[str, Note]:
    """The notes of all sweeps in a store, by key; for when MLflow cannot tell the sweeps."""
    return _notes(store.files, FOLDER)


def _notes(files: Files, folder: str) -> dict[str, Note]:
    paths = [path for path in files.list(folder) if path.endswith(".json")]
    contents = files.read_all(paths)
    notes = [note for content in contents.values() if (note := _note(content))]
    return {note.key: note for note in notes}


def _note(content: bytes) -> Note | None:
    try:
        values = json.loads(content)
        return Note(**{f.name: values[f.name] for f in fields(Note)})
    except (ValueError, KeyError, TypeError):
        return None
