"""How an SQLite database is read without changing it.

Usually as it is. One that keeps a write-ahead log and lies where nothing can be written, as a copy
on a read-only disk, is opened as immutable: SQLite would want to make files beside it. Where a log
with something in it lies there too, a copy of both is read, because only reading puts the log back.
And one of an older MLflow is read from a copy that is migrated; the file itself stays as it is.
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
"""Files beside a database that may hold what is not in it yet, or no longer."""

BUSY_S = 5.0
"""How long one waits for a lock before one says so; whoever asked waits on."""

_copies: dict[tuple[object, ...], Path] = {}
"""Copies that this process has made, by the state of the original."""

_one_at_a_time = threading.Lock()
"""Two migrations at once in one process are in each other's way: alembic's context is global."""


def address(path: Path) -> str:
    """What MLflow opens to read a database that is there: its own address, or that of a copy.

    Raises:
        TrackingError: it was written by a newer MLflow, or cannot be copied.
    """
    file, how = _source(path)
    with _connected(file, how) as opened:
        found = schema.of(opened)
        whole = found.age != "current" or _has_first_experiment(opened)
    if found.age == "newer":
        raise TrackingError(schema.too_new(path, found))
    if found.age == "older":
        copy = _migrated(path, file, how)
        notices.say(
            f"{path} is of an older MLflow (schema {found.revision}, now {found.wanted}). It is "
            "read from a copy that is migrated, and left as it is. `lotus run` migrates it and "
            "keeps a copy of what it was."
        )
        return f"{SQLITE}{copy}"
    if not how:
        return f"{SQLITE}{file}"
    if not whole:  # MLflow would make it
        return f"{SQLITE}{_kept(path, 'read', lambda copy: _backup(file, how, copy))}"
    # With the driver's name: MLflow would take the rest for a path and make its folders.
    return f"sqlite+pysqlite:///{_uri(file)}?{how}&uri=true"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a database that is only read."""
    with _connected(*_source(path)) as opened:
        yield opened


def _source(path: Path) -> tuple[Path, str]:
    """The file to open, and with which of SQLite's parameters."""
    if not read_only(path):
        return path, ""
    if not any(_size(path, log) for log in LOGS):
        return path, "mode=ro&immutable=1" if _keeps_log(path) else "mode=ro"
    if _opens(path, "mode=ro"):  # somebody else who may write to it does so just now
        return path, "mode=ro"
    return _copied(path), ""


@contextlib.contextmanager
def _connected(file: Path, how: str) -> Iterator[sqlite3.Connection]:
    place = f"{_uri(file.absolute())}?{how or 'mode=rw'}"
    with closing(sqlite3.connect(place, uri=True, timeout=BUSY_S)) as opened:
        yield opened


def _uri(file: Path) -> str:
    return file.absolute().as_uri().replace("file://", "file:", 1)


def _opens(path: Path, how: str) -> bool:
    try:
        with _connected(path, how) as opened:
            opened.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.Error:
        return False
    return True


def _keeps_log(path: Path) -> bool:
    """Whether the file says of itself that there is a write-ahead log."""
    with path.open("rb") as file:
        return file.read(20)[18:20] == b"\x02\x02"


def _has_first_experiment(database: sqlite3.Connection) -> bool:
    return (
        database.execute("select 1 from experiments where experiment_id = 0").fetchone() is not None
    )


def _size(path: Path, more: str = "") -> int:
    try:
        return os.stat(f"{path}{more}").st_size
    except FileNotFoundError:
        return 0


def _copied(path: Path) -> Path:
    """A copy with its logs, which SQLite puts back when it opens it."""

    def fill(copy: Path) -> None:
        for more in ("", *LOGS):
            if _size(path, more):
                shutil.copyfile(f"{path}{more}", f"{copy}{more}")

    return _kept(path, "read", fill)


def _backup(file: Path, how: str, copy: Path) -> None:
    with _connected(file, how) as opened, closing(sqlite3.connect(copy)) as made:
        opened.backup(made)


def _migrated(path: Path, file: Path, how: str) -> Path:
    def fill(copy: Path) -> None:
        _backup(file, how, copy)
        schema.upgrade(copy, path)

    return _kept(path, "migrated", fill)


def _kept(path: Path, why: str, fill: "schema.Fill") -> Path:
    """A copy in a folder that is gone when this process ends; made once for each state."""
    state = (why, str(path), *(_stamp(path, more) for more in ("", *LOGS)))
    with _one_at_a_time:
        if state not in _copies:
            _copies[state] = _made(path, fill)
        return _copies[state]


def _made(path: Path, fill: "schema.Fill") -> Path:
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


def _stamp(path: Path, more: str) -> tuple[int, int]:
    try:
        found = os.stat(f"{path}{more}")
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
