"""Where the artifacts of an SQLite database lie: beside it, also after its folder was moved.

MLflow writes the whole address of each run's artifacts into the database, and makes relative ones
absolute when an experiment is made. So a database whose folder was moved, renamed or copied names
the old place. What is found beside it goes before what it names: a run's id says whose the files
are. Reading changes nothing; who is about to write rewrites the addresses first, because MLflow
itself (its UI, logged models) knows only what the database says.
"""

import contextlib
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator import notices
from orchestrator.tracking import opening, schema
from orchestrator.tracking.database import read_only
from orchestrator.tracking.forwarding import Forwarding
from orchestrator.tracking.patience import TrackingError
from orchestrator.tracking.port import Client
from orchestrator.tracking.runs import File

FOLDER = "artifacts"
"""Of a database, beside it."""

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where a database holds addresses of artifacts."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Artifacts that a database names in a folder which is not the one beside it.

    Attributes:
        address: of that folder, as it begins in the database.
        here: the address of the folder beside the database.
        folder: the named one.
        experiments: by name, those whose artifacts it holds.
        runs: how many finished runs should have artifacts there.
        found: how many of all runs have theirs beside the database.
    """

    address: str
    here: str
    folder: Path
    experiments: tuple[str, ...]
    runs: int
    found: int

    @property
    def moved(self) -> bool:
        """Whether what lies beside the database is what it names."""
        return self.found > 0

    def resolved(self, address: str) -> str:
        """An address, with the folder beside the database in place of the named one."""
        begins = address == self.address or address.startswith(f"{self.address}/")
        return self.here + address[len(self.address) :] if begins and self.moved else address


def local(address: str) -> Path | None:
    """The path of an address on this machine; None for every other."""
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(address) if not parts.scheme and address.startswith("/") else None


def elsewhere(path: Path) -> list[Elsewhere]:
    """What of a database's artifacts is not named beside it; empty where all is as it was made."""
    beside = path.absolute().parent / FOLDER
    try:
        with opening.reading(path) as opened:
            return _elsewhere(opened, beside)
    except sqlite3.Error as error:  # MLflow says what else is wrong with it
        schema.refuse_locked(error)
        return []


def _elsewhere(database: sqlite3.Connection, beside: Path) -> list[Elsewhere]:
    groups: dict[tuple[str, Path], dict[int, str]] = defaultdict(dict)
    for number, name, address in database.execute(
        "select experiment_id, name, artifact_location from experiments"
        " where artifact_location not null"
    ):
        folder = local(address)
        # Only what was made as `FOLDER` beside a database; others may have their own reasons.
        if folder is not None and folder.name == FOLDER and not _same(folder, beside):
            groups[address.rstrip("/"), folder][number] = name
    names = set(_names(beside)) if groups else set()
    found = []
    query = "select run_uuid, status from runs where experiment_id = ?"
    for (address, folder), members in groups.items():
        runs = [run for number in members for run in database.execute(query, (number,))]
        here = beside.as_uri() if address.startswith("file:") else str(beside)
        ended = sum(status == "FINISHED" for _, status in runs)
        there = sum(run_id in names for run_id, _ in runs)
        found.append(Elsewhere(address, here, folder, tuple(members.values()), ended, there))
    return found


def _same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return one == other or one.resolve() == other.resolve()
    return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def settle(path: Path, whatever: bool = False) -> list[str]:
    """Have a database name the folder beside it, before something is written.

    Only addresses that begin with the old folder are changed. A copy of the database is kept.

    Args:
        whatever: also where none of the artifacts lie beside it, so that they are made there anew.

    Returns:
        What was done, a sentence each.
    """
    wanted = [one for one in elsewhere(path) if one.moved or whatever or not one.runs]
    wanted = [one for one in wanted if one.moved or not one.folder.exists()]
    if not wanted:
        return []
    if read_only(path):
        raise TrackingError(f"{path} cannot be written to here, so its addresses stay as they are")
    kept = schema.keep(path, "before-move")
    try:
        with closing(sqlite3.connect(path, timeout=opening.BUSY_S, isolation_level=None)) as opened:
            opened.execute("begin immediate")
            changed = [_rewritten(opened, one) for one in wanted]
            opened.execute("commit")
    except sqlite3.Error as error:
        kept.unlink()
        schema.refuse_locked(error)
        raise TrackingError(f"{path}: its addresses stay as they are: {error}") from error
    return [
        f"{path} names artifacts in {one.folder}, and its folder is now {path.parent}: {count} "
        f"addresses are rewritten. What it was is kept as {kept.name}, and may be removed"
        for one, count in zip(wanted, changed, strict=True)
    ]


def _rewritten(database: sqlite3.Connection, one: Elsewhere) -> int:
    """Rewrite the addresses of one folder; how many."""
    count = 0
    for table, column in COLUMNS:
        if column not in {row[1] for row in database.execute(f"pragma table_info({table})")}:
            continue
        values = (one.here, len(one.address) + 1, one.address, len(one.address) + 1)
        count += database.execute(
            f"update {table} set {column} = ? || substr({column}, ?)"
            f" where {column} = ? or substr({column}, 1, ?) = ? || '/'",
            (*values, one.address),
        ).rowcount
    return count


def ready_to_write(path: Path, experiment: str, whatever: bool = False) -> None:
    """See that a sweep can write artifacts where its database names them.

    Args:
        experiment: that of the sweep, by name.
        whatever: see `settle`.

    Raises:
        TrackingError: they are neither there nor beside the database.
    """
    for line in settle(path, whatever):
        notices.say(line)
    for one in elsewhere(path):
        if experiment in one.experiments and not one.folder.exists():
            raise TrackingError(absent(path, one))


def absent(path: Path, one: Elsewhere) -> str:
    """Artifacts that are nowhere."""
    return (
        f"{path} names the artifacts of {one.runs} finished runs in {one.folder}, which is not "
        f"there, and none of them lie in {path.absolute().parent / FOLDER}. Bring that folder back "
        f"to either place (a disk that is not mounted?). If they are lost, `lotus doctor SWEEP "
        "--repair` writes them again, beside the database, from the store"
    )


def for_server(path: Path) -> str:
    """What an MLflow server opens to show a database; what it would not show is said.

    Raises:
        TrackingError: it is of another MLflow; a server would migrate it, or refuse.
    """
    with opening.reading(path) as opened:
        found = schema.of(opened)
    if found.age == "older":
        raise TrackingError(
            f"{path} is of an older MLflow (schema {found.revision}, now {found.wanted}), and is "
            "left as it is. `lotus run` with one of its sweeps migrates it and keeps a copy; then "
            "it can be shown"
        )
    for one in elsewhere(path):
        if not one.moved and one.folder.exists():
            continue
        notices.say(
            f"{path} names artifacts in {one.folder}, where the UI looks for them. `lotus run`, or "
            "`lotus doctor SWEEP --repair`, has it name the folder beside it"
        )
    return opening.address(path)


def resolved(client: Client, path: Path) -> Client:
    """A client that finds artifacts beside its database; the same client where it does anyway."""
    moved = [one for one in elsewhere(path) if one.moved]
    return Beside(client, moved) if moved else client


class Beside(Forwarding):
    """A client whose artifacts lie beside its database, whatever that says.

    Args:
        client: makes all calls, and is told of the place.
    """

    def __init__(self, client: Client, moved: list[Elsewhere]) -> None:
        super().__init__(client)
        self._moved = moved

    def resolved_address(self, address: str) -> str:
        for one in self._moved:
            address = one.resolved(address)
        return address

    def list_artifacts(
        self, run_id: str, path: str | None = None, place: str = ""
    ) -> Sequence[File]:
        return self._client.list_artifacts(run_id, path, self._of(run_id, place))

    def download_artifacts(
        self, run_id: str, path: str, dst_path: str | None = None, place: str = ""
    ) -> str:
        return self._client.download_artifacts(run_id, path, dst_path, self._of(run_id, place))

    def stream_artifact(
        self, run_id: str, path: str, dst_path: str, check: Callable[[int], None], place: str = ""
    ) -> str:
        return self._client.stream_artifact(run_id, path, dst_path, check, self._of(run_id, place))

    def log_artifact(
        self, run_id: str, local_path: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        self._client.log_artifact(run_id, local_path, artifact_path, self._of(run_id, place))

    def log_artifacts(
        self, run_id: str, local_dir: str, artifact_path: str | None = None, place: str = ""
    ) -> None:
        self._client.log_artifacts(run_id, local_dir, artifact_path, self._of(run_id, place))

    def delete_artifacts(self, run_id: str, path: str, place: str = "") -> None:
        self._client.delete_artifacts(run_id, path, self._of(run_id, place))

    def _of(self, run_id: str, place: str) -> str:
        return self.resolved_address(place or self._client.get_run(run_id).info.artifact_uri)
