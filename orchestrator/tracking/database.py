"""A new SQLite database for MLflow: created completely, or not at all.

MLflow runs dozens of migrations on the file itself. If they are interrupted, or two processes run
them at once, the database is unusable. So it is created under a temporary name and gets its own
when it is complete; if two processes do this, the first one's is used. An empty one is cached for
the next new folder (`blank.py`).

It has a write-ahead log if the file system allows it: then writers wait less for each other, and
readers not at all. An existing database stays as it is.
"""

import contextlib
import os
import sqlite3
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

from orchestrator.disks import file_system
from orchestrator.tracking import blank
from orchestrator.tracking.patience import TrackingError

SQLITE = "sqlite:///"

QUIET_S = 10.0
"""A database that was written to more recently may be in the middle of a migration."""

ABANDONED_S = 3600
"""An unfinished database older than this belongs to no living process."""

ONE_MACHINE = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "apfs"}
"""File systems that only one machine can write to. A write-ahead log needs memory shared by all
processes that use the database, so over a network it would be damaged."""


def path_of(uri: str) -> Path | None:
    """The file of an SQLite address; None for other addresses."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def read_only(path: Path) -> bool:
    """Whether a database exists but this user cannot write to it or its folder."""
    return path.exists() and not all(os.access(place, os.W_OK) for place in (path, path.parent))


@contextlib.contextmanager
def at_rest(uri: str) -> Iterator[None]:
    """Leave an SQLite database as a single file afterwards.

    The last one to close it writes its log back, but workers may be killed or stay connected.
    """
    try:
        yield
    finally:
        path = path_of(uri)
        if path is not None and path.exists():
            fold_in(path)


def fold_in(path: Path) -> None:
    """Write the write-ahead log back into the database, as far as others' use allows."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path, timeout=1)) as opened,
    ):
        opened.execute("pragma wal_checkpoint(truncate)")


def prepare(path: Path) -> None:
    """Make sure that there is a complete database at a path.

    Raises:
        TrackingError: the existing one is half-migrated and holds runs.
    """
    if read_only(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _mend(path)
    if path.exists():
        return
    for abandoned in path.parent.glob(f"{path.name}.*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - abandoned.stat().st_mtime > ABANDONED_S:
                abandoned.unlink()
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        _make(temporary)
        _publish(temporary, path)
    finally:
        for leftover in path.parent.glob(f"{temporary.name}*"):
            leftover.unlink(missing_ok=True)


def _make(path: Path) -> None:
    if not blank.copy_to(path):
        _migrate(path)
        blank.keep(path)
    if file_system(path) in ONE_MACHINE:
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("pragma journal_mode = wal")


def _migrate(path: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(f"{SQLITE}{path}")
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()


def _publish(temporary: Path, path: Path) -> None:
    """Give a complete database its name, unless another process was faster."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            os.replace(temporary, path)


def _mend(path: Path) -> None:
    """Set aside what an interrupted first start of an earlier version left behind."""
    leftovers, runs = _half_made(path)
    written, since = path.stat().st_mtime_ns, time.monotonic()
    while leftovers and time.monotonic() - since < QUIET_S:  # a migration may be running
        time.sleep(QUIET_S / 10)
        leftovers, runs = _half_made(path)
        if (now := path.stat().st_mtime_ns) != written:
            written, since = now, time.monotonic()
    if not leftovers:
        return
    if runs:
        raise TrackingError(
            f"{path} was left half-migrated by an interrupted upgrade of MLflow ({leftovers[0]} is "
            "there) and holds runs: restore its backup, or remove that table and run "
            "`mlflow db upgrade`"
        )
    aside = path.with_name(f"{path.name}.half-made-{int(time.time())}")
    os.replace(path, aside)
    warnings.warn(
        f"{path} was left half-made by an interrupted start and holds no runs; it is set aside "
        f"as {aside.name}, and a new one is made",
        stacklevel=4,
    )


def _half_made(path: Path) -> tuple[list[str], bool]:
    """Temporary tables of a running migration, and whether there are runs."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5)) as database:
            query = "select name from sqlite_master where type = 'table'"
            tables = {table for (table,) in database.execute(query)}
            leftovers = sorted(table for table in tables if table.startswith("_alembic_tmp_"))
            if not leftovers or "runs" not in tables:
                return leftovers, False
            return leftovers, database.execute("select 1 from runs limit 1").fetchone() is not None
    except sqlite3.Error:  # MLflow will report it
        return [], False
