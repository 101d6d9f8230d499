"""How an SQLite database is read without changing it.

Usually it is opened as it is. A database with a write-ahead log on a read-only disk is opened as
immutable, because SQLite would create files beside it. If that log is not empty, a copy of both is
read, because opening a database writes its log back. A database of an older MLflow is read from a
migrated copy; the file itself stays as it is.
"""

import atexit
import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from orchestrator import notices
from orchestrator.tracking import schema
from orchestrator.tracking.database import SQLITE, read_only
from orchestrator.tracking.patience import TrackingError

LOGS = ("-wal", "-journal")
"""Suffixes of files beside a database that hold changes to it."""

BUSY_S = 5.0
"""How long SQLite waits for a lock before it reports it; the caller then waits on."""

_copies: dict[tuple[object, ...], Path] = {}
"""Copies made by this process, by the state of the original."""

_one_at_a_time = threading.Lock()
"""Migrations in one process must not run at once: alembic's context is global."""


def address(path: Path) -> str:
    """The address for reading an existing database: its own, or that of a copy.

    Raises:
        TrackingError: it was written by a newer MLflow, or cannot be copied.
    """
    file, options = _source(path)
    with _connected(file, options) as opened:
        current = schema.of(opened)
        whole = current.age != "current" or _has_first_experiment(opened)
    if current.age == "newer":
        raise TrackingError(schema.too_new(path, current))
    if current.age == "older":
        copy = _migrated(path, file, options)
        notices.say(
            f"{path} is of an older MLflow (schema {current.revision}, now {current.wanted}). It "
            "is read from a copy that is migrated, and left as it is. `lotus run` migrates it and "
            "keeps a copy of what it was."
        )
        return f"{SQLITE}{copy}"
    if not options:
        return f"{SQLITE}{file}"
    if not whole:  # MLflow would create the default experiment
        return f"{SQLITE}{_cached_copy(path, 'read', lambda copy: _backup(file, options, copy))}"
    # Without the driver's name MLflow would take the address for a path and create its folders.
    return f"sqlite+pysqlite:///{_uri(file)}?{options}&uri=true"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to a database."""
    with _connected(*_source(path)) as opened:
        yield opened


def _source(path: Path) -> tuple[Path, str]:
    """The file to open, and SQLite's parameters for it."""
    if not read_only(path):
        return path, ""
    if not any(_size(path, log) for log in LOGS):
        return path, "mode=ro&immutable=1" if _keeps_log(path) else "mode=ro"
    if _opens(path, "mode=ro"):  # another user is writing to it at the moment
        return path, "mode=ro"
    return _copied(path), ""


@contextlib.contextmanager
def _connected(file: Path, options: str) -> Iterator[sqlite3.Connection]:
    place = f"{_uri(file.absolute())}?{options or 'mode=rw'}"
    with closing(sqlite3.connect(place, uri=True, timeout=BUSY_S)) as opened:
        yield opened


def _uri(file: Path) -> str:
    return file.absolute().as_uri().replace("file://", "file:", 1)


def _opens(path: Path, options: str) -> bool:
    try:
        with _connected(path, options) as opened:
            opened.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.Error:
        return False
    return True


def _keeps_log(path: Path) -> bool:
    """Whether the file header says that there is a write-ahead log."""
    with path.open("rb") as file:
        return file.read(20)[18:20] == b"\x02\x02"


def _has_first_experiment(database: sqlite3.Connection) -> bool:
    return (
        database.execute("select 1 from experiments where experiment_id = 0").fetchone() is not None
    )


def _size(path: Path, suffix: str = "") -> int:
    try:
        return os.stat(f"{path}{suffix}").st_size
    except FileNotFoundError:
        return 0


def _copied(path: Path) -> Path:
    """A copy with its logs, which SQLite writes back when it opens the copy."""

    def fill(copy: Path) -> None:
        for suffix in ("", *LOGS):
            if _size(path, suffix):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")

    return _cached_copy(path, "read", fill)


def _backup(file: Path, options: str, copy: Path) -> None:
    with _connected(file, options) as opened, closing(sqlite3.connect(copy)) as target:
        opened.backup(target)


def _migrated(path: Path, file: Path, options: str) -> Path:
    def fill(copy: Path) -> None:
        _backup(file, options, copy)
        schema.upgrade(copy, path)

    return _cached_copy(path, "migrated", fill)


def _cached_copy(path: Path, why: str, fill: "schema.Fill") -> Path:
    """A copy in a folder that lasts as long as this process; made once for each state."""
    state = (why, str(path), *(_stamp(path, suffix) for suffix in ("", *LOGS)))
    with _one_at_a_time:
        if state not in _copies:
            _copies[state] = _new_copy(path, fill)
        return _copies[state]


def _new_copy(path: Path, fill: "schema.Fill") -> Path:
    folder = Path(tempfile.mkdtemp(prefix="lotus-read-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / path.name
    try:
        fill(copy)
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise TrackingError(
            f"{path} can only be read from a copy, which cannot be made in {folder.parent}: "
            f"{error}. Free space there, or name another place with TMPDIR"
        ) from error
    return copy


def _stamp(path: Path, suffix: str) -> tuple[int, int]:
    try:
        status = os.stat(f"{path}{suffix}")
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
