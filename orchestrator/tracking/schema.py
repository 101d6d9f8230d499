"""The schema of a tracking database: which MLflow it belongs to, and how it is migrated.

Reading never migrates (`opening.py`). Before writing to an SQLite file, a backup is kept, the
migration is done on another copy, and the result is put in place in one transaction. So an
interrupted migration leaves the database as it was. A database on a server is left to its
administrator.
"""

import fcntl
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from orchestrator import notices
from orchestrator.tracking.patience import LOCKED, TrackingAway, TrackingError

Fill = Callable[[Path], None]

VERSIONS = "select version_num from alembic_version"

TESTED = {("3.17", "dc11669786a5")}
"""Tested versions of MLflow, without the last number, each with the revision of its database
(`alembic_version`). Add another one when `test_plain_sql.py` passes with it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database.

    Attributes:
        revision: "" = none.
        wanted: the revision of the installed MLflow; "" = not looked up.
        age: compared with the installed MLflow; `none` = no MLflow tables.
    """

    revision: str
    wanted: str
    age: Literal["none", "older", "current", "newer"]


def of(database: sqlite3.Connection) -> Schema:
    """The schema of an SQLite database.

    Raises:
        TrackingAway: it is locked; MLflow would take it for an empty database.
    """
    try:
        tables = {table for (table,) in database.execute("select name from sqlite_master")}
        rows = database.execute(VERSIONS).fetchall() if "alembic_version" in tables else []
    except sqlite3.Error as error:  # MLflow will report other errors
        refuse_locked(error)
        return Schema("", "", "none")
    if not rows and "runs" not in tables:
        return Schema("", "", "none")
    return of_revision(rows[0][0] if rows else "")


def refuse_locked(error: sqlite3.Error) -> None:
    """Turn the error of a locked database into one that is waited for.

    Raises:
        TrackingAway: the database is locked.
    """
    if LOCKED in str(error):
        raise TrackingAway(str(error)) from error


def of_revision(revision: str) -> Schema:
    """The age of a revision for the installed MLflow."""
    if (mlflow_version(), revision) in TESTED:  # reading MLflow's migration scripts takes 0.1 s
        return Schema(revision, revision, "current")
    newest, revisions = _revisions()
    if revision == newest:
        return Schema(revision, newest, "current")
    return Schema(revision, newest, "older" if revision in revisions else "newer")


@cache
def _revisions() -> tuple[str, frozenset[str]]:
    """The newest and all revisions that the installed MLflow knows; "" = before the first."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    script = ScriptDirectory.from_config(_get_alembic_config(""))
    (newest,) = script.get_heads()
    return newest, frozenset(
        {"", *(script_revision.revision for script_revision in script.walk_revisions())}
    )


def mlflow_version() -> str:
    """The version of the installed MLflow, without the last number."""
    import mlflow

    return ".".join(mlflow.__version__.split(".")[:2])


def too_new(where: object, schema: Schema) -> str:
    """The message for a database that the installed MLflow cannot read."""
    return (
        f"{where} is of a newer MLflow than the installed {mlflow_version()} (schema "
        f"{schema.revision or 'unknown'}): install that version, or name another tracking store"
    )


def check_server(engine: Any, shown: str) -> None:
    """Make sure that a database on a server has the schema of the installed MLflow, or none.

    Raises:
        TrackingError: it has another one; MLflow would silently migrate some.
    """
    import sqlalchemy

    with engine.connect() as opened:
        if "alembic_version" not in sqlalchemy.inspect(opened).get_table_names():
            return
        rows = opened.execute(sqlalchemy.text(VERSIONS)).fetchall()
    schema = of_revision(rows[0][0]) if rows else Schema("", "", "none")
    if schema.age == "newer":
        raise TrackingError(too_new(shown, schema))
    if schema.age == "older":
        raise TrackingError(
            f"{shown} is of an older MLflow (schema {schema.revision}, now {schema.wanted}). "
            "Nothing is read or migrated. Keep a copy of the database (`pg_dump`), end what uses "
            "it, and run `mlflow db upgrade URL` once"
        )


def upgrade(path: Path, shown: Path) -> None:
    """Bring the schema of an SQLite file up to date, in place.

    Args:
        shown: the original of this copy, for messages.

    Raises:
        TrackingError: MLflow cannot migrate it.
    """
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    for logger in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    engine = create_sqlalchemy_engine(f"sqlite:///{path}")
    try:
        _initialize_tables(engine)
    except Exception as error:  # of MLflow, alembic, SQLAlchemy or SQLite
        raise TrackingError(
            f"{shown} is of an older MLflow, and the copy that would be migrated cannot be (in "
            f"{path.parent}): {' '.join(str(error).split())[:200]}. Nothing is changed"
        ) from error
    finally:
        engine.dispose()


def migrate(path: Path) -> None:
    """Migrate an SQLite database of an older MLflow, and keep a backup.

    Raises:
        TrackingError: it is of a newer MLflow, somebody writes to it, or there is no space.
    """
    if (schema := _of_file(path)).age == "newer":
        raise TrackingError(too_new(path, schema))
    if schema.age != "older":
        return
    with _alone(path):
        schema = _of_file(path)  # another process may have migrated it meanwhile
        if schema.age != "older":
            return
        notices.say(
            f"{path} is of an older MLflow (schema {schema.revision}): it is migrated to "
            f"{schema.wanted}"
        )
        with closing(sqlite3.connect(path, timeout=20.0)) as watched:
            before = watched.execute("pragma data_version").fetchall()
            backup = keep(path, f"schema-{schema.revision or 'none'}")
            new = path.with_name(f"{path.name}.migrating.part")
            try:
                new.unlink(missing_ok=True)
                _backup(path, new)
                upgrade(new, path)
                if watched.execute("pragma data_version").fetchall() != before:
                    raise TrackingError(
                        f"{path} was written to while it was migrated, so it is left as it was: "
                        "end what uses it (an MLflow server, another sweep), and try again"
                    )
                _backup(new, path)  # one transaction: all of it, or nothing
            finally:
                for leftover in path.parent.glob(f"{new.name}*"):
                    leftover.unlink(missing_ok=True)
    notices.say(f"{path} is migrated. A backup is kept as {backup.name}, and may be removed")


def _of_file(path: Path) -> Schema:
    with closing(sqlite3.connect(path, timeout=20.0)) as opened:
        return of(opened)


def keep(path: Path, why: str) -> Path:
    """Keep a complete copy of a database beside it.

    Raises:
        TrackingError: the copy cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    backup = path.with_name(f"{path.name}.{why}-{stamp}")
    part = path.with_name(f"{backup.name}.part")
    try:
        _backup(path, part)
        part.replace(backup)
    finally:
        part.unlink(missing_ok=True)
    return backup


def _backup(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(source, timeout=20.0)) as opened,
            closing(sqlite3.connect(target, timeout=20.0)) as copy,
        ):
            opened.backup(copy)
    except sqlite3.Error as error:
        raise TrackingError(
            f"{source.name} cannot be copied to {target}: {error}. Nothing is changed. Free space "
            "there, or end what uses the database, and try again"
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time migrate; the lock ends with its process."""
    lock = path.with_name(f"{path.name}.migrating")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
