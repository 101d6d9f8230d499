"""Notes in the store of what MLflow has not got: `pending/<run id of the sweep>/<key>.json`.

The store holds the results and the sweep file says what is made of them, so running an item again
delivers it. A note keeps what neither knows: that it is owed, why, and how it had ended.
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
    """One item that MLflow does not show as it ended.

    Attributes:
        status: how it ended: FINISHED or FAILED.
        error: of a failed one.
        reason: why MLflow has not got it.
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
        """Of the run that is owed."""
        return Identity(self.key, self.kind, self.name, self.tags)


def note_of(log: RunLog, identity: Identity, status: str, missed: int) -> Note:
    """What is owed after a run that could not say everything.

    Args:
        status: how the item ended.
        missed: attempts before this one that MLflow had not counted when it began.
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
        """Write a note, in place of an older one."""
        content = json.dumps(asdict(note), indent=1).encode()
        self.files.write(self._path(note.key), content)

    def get(self, key: str) -> Note | None:
        """The note of an item; None when nothing is owed, or the note cannot be read."""
        try:
            return _note(self.files.read(self._path(key)))
        except FileNotFoundError:
            return None

    def all(self) -> dict[str, Note]:
        """All notes by key."""
        return _notes(self.files, self.folder)

    def count(self) -> int:
        """How many there are, by one listing."""
        return sum(path.endswith(".json") for path in self.files.list(self.folder))

    def remove(self, key: str) -> None:
        """Forget a note, if there is one."""
        self.files.remove(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self.folder}/{key}.json"


def all_notes(store: Store) -> dict[str, Note]:
    """The notes of all sweeps of a store by key: MLflow may be unable to say which is which."""
    return _notes(store.files, FOLDER)


def _notes(files: Files, folder: str) -> dict[str, Note]:
    paths = [path for path in files.list(folder) if path.endswith(".json")]
    found = files.read_all(paths)
    notes = [note for content in found.values() if (note := _note(content))]
    return {note.key: note for note in notes}


def _note(content: bytes) -> Note | None:
    try:
        values = json.loads(content)
        return Note(**{one.name: values[one.name] for one in fields(Note)})
    except (ValueError, KeyError, TypeError):
        return None
