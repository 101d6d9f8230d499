"""Where the artifacts of an SQLite database are: beside it, even after its folder was moved.

MLflow stores the absolute address of each run's artifacts in the database. So a database whose
folder was moved, renamed or copied names the old place. Artifacts beside the database take
precedence over the stored address; run ids tell which are whose. Reading changes nothing. Before
writing, the addresses are rewritten, because MLflow itself (its UI, logged models) only knows what
the database says.
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
"""The folder beside a database."""

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns with addresses of artifacts."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A folder other than the one beside it in which a database places artifacts.

    Attributes:
        address: of that folder, as it begins in the database.
        here: the address of the folder beside the database.
        folder: the path of that folder.
        experiments: names of the experiments with artifacts there.
        runs: number of finished runs with artifacts there.
        beside: number of runs whose artifacts are beside the database.
    """

    address: str
    here: str
    folder: Path
    experiments: tuple[str, ...]
    runs: int
    beside: int

    @property
    def moved(self) -> bool:
        """Whether the artifacts were moved to the folder beside the database."""
        return self.beside > 0

    def resolved(self, address: str) -> str:
        """An address, with the folder beside the database instead of this one."""
        begins = address == self.address or address.startswith(f"{self.address}/")
        return self.here + address[len(self.address) :] if begins and self.moved else address


def local(address: str) -> Path | None:
    """The path of an address on this machine; None for other addresses."""
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(address) if not parts.scheme and address.startswith("/") else None


def elsewhere(path: Path) -> list[Elsewhere]:
    """Folders other than the one beside it that a database names; usually none."""
    beside = path.absolute().parent / FOLDER
    try:
        with opening.reading(path) as opened:
            return _elsewhere(opened, beside)
    except sqlite3.Error as error:  # MLflow will report other errors
        schema.refuse_locked(error)
        return []


def _elsewhere(database: sqlite3.Connection, beside: Path) -> list[Elsewhere]:
    groups: dict[tuple[str, Path], dict[int, str]] = defaultdict(dict)
    for number, name, address in database.execute(
        "select experiment_id, name, artifact_location from experiments"
        " where artifact_location not null"
    ):
        folder = local(address)
        # Only folders that were created as `FOLDER` beside a database; others were chosen.
        if folder is not None and folder.name == FOLDER and not _same(folder, beside):
            groups[address.rstrip("/"), folder][number] = name
    present = set(_names(beside)) if groups else set()
    folders = []
    query = "select run_uuid, status from runs where experiment_id = ?"
    for (address, folder), members in groups.items():
        runs = [run for number in members for run in database.execute(query, (number,))]
        here = beside.as_uri() if address.startswith("file:") else str(beside)
        finished = sum(status == "FINISHED" for _, status in runs)
        beside_count = sum(run_id in present for run_id, _ in runs)
        folders.append(
            Elsewhere(address, here, folder, tuple(members.values()), finished, beside_count)
        )
    return folders


def _same(path: Path, beside: Path) -> bool:
    with contextlib.suppress(OSError):
        return path == beside or path.resolve() == beside.resolve()
    return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def settle(path: Path, whatever: bool = False) -> list[str]:
    """Make a database name the folder beside it, before something is written.

    Only addresses that begin with the old folder are changed. A copy of the database is kept.

    Args:
        whatever: also if no artifacts are beside it, so that they are created there again.

    Returns:
        A sentence for each change.
    """
    wanted = [place for place in elsewhere(path) if place.moved or whatever or not place.runs]
    wanted = [place for place in wanted if place.moved or not place.folder.exists()]
    if not wanted:
        return []
    if read_only(path):
        raise TrackingError(f"{path} cannot be written to here, so its addresses stay as they are")
    backup = schema.keep(path, "before-move")
    try:
        with closing(sqlite3.connect(path, timeout=opening.BUSY_S, isolation_level=None)) as opened:
            opened.execute("begin immediate")
            changed = [_rewritten(opened, place) for place in wanted]
            opened.execute("commit")
    except sqlite3.Error as error:
        backup.unlink()
        schema.refuse_locked(error)
        raise TrackingError(f"{path}: its addresses stay as they are: {error}") from error
    return [
        f"{path} names artifacts in {place.folder}, but its folder is now {path.parent}: {count} "
        f"addresses are rewritten. A backup is kept as {backup.name}, and may be removed"
        for place, count in zip(wanted, changed, strict=True)
    ]


def _rewritten(database: sqlite3.Connection, place: Elsewhere) -> int:
    """Rewrite the addresses of one folder, and count them."""
    count = 0
    for table, column in COLUMNS:
        if column not in {row[1] for row in database.execute(f"pragma table_info({table})")}:
            continue
        values = (place.here, len(place.address) + 1, place.address, len(place.address) + 1)
        count += database.execute(
            f"update {table} set {column} = ? || substr({column}, ?)"
            f" where {column} = ? or substr({column}, 1, ?) = ? || '/'",
            (*values, place.address),
        ).rowcount
    return count


def ready_to_write(path: Path, experiment: str, whatever: bool = False) -> None:
    """Make sure that a sweep can write artifacts where its database names them.

    Args:
        experiment: name of the sweep's experiment.
        whatever: see `settle`.

    Raises:
        TrackingError: they are neither there nor beside the database.
    """
    for line in settle(path, whatever):
        notices.say(line)
    for place in elsewhere(path):
        if experiment in place.experiments and not place.folder.exists():
            raise TrackingError(absent(path, place))


def absent(path: Path, place: Elsewhere) -> str:
    """The message for artifacts that are nowhere."""
    return (
        f"{path} names the artifacts of {place.runs} finished runs in {place.folder}, which is not "
        f"there, and none of them lie in {path.absolute().parent / FOLDER}. Bring that folder back "
        f"to either place (a disk that is not mounted?). If they are lost, `lotus doctor SWEEP "
        "--repair` writes them again, beside the database, from the store"
    )


def for_server(path: Path) -> str:
    """The address at which an MLflow server opens a database; warns of what it will not show.

    Raises:
        TrackingError: it is of another MLflow; a server would migrate or refuse it.
    """
    with opening.reading(path) as opened:
        current = schema.of(opened)
    if current.age == "older":
        raise TrackingError(
            f"{path} is of an older MLflow (schema {current.revision}, now {current.wanted}), and "
            "is left as it is. `lotus run` with one of its sweeps migrates it and keeps a copy; "
            "then it can be shown"
        )
    for place in elsewhere(path):
        if not place.moved and place.folder.exists():
            continue
        notices.say(
            f"{path} names artifacts in {place.folder}, where the UI looks for them. `lotus run`, "
            "or `lotus doctor SWEEP --repair`, has it name the folder beside it"
        )
    return opening.address(path)


def resolved(client: Client, path: Path) -> Client:
    """A client that finds artifacts beside its database; the same client if it does already."""
    moved = [place for place in elsewhere(path) if place.moved]
    return Beside(client, moved) if moved else client


class Beside(Forwarding):
    """A client for artifacts beside its database, whatever that says.

    Args:
        client: makes all calls, with the resolved place.
    """

    def __init__(self, client: Client, moved: list[Elsewhere]) -> None:
        super().__init__(client)
        self._moved = moved

    def resolved_address(self, address: str) -> str:
        for place in self._moved:
            address = place.resolved(address)
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
