"""The schema of a tracking database: of which MLflow it is, and how it is brought up to date.

Reading never migrates (`opening.py`). Who is about to write does, on an SQLite file: a copy is kept
first, the migration is made on another copy, and the result is put in place as one transaction. So
an interrupted one leaves the database as it was. A database on a server is its administrator's.
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
"""MLflow's version, without the last number, and its database's revision (`alembic_version`), of
those that the tests have seen. Another one is added when `test_plain_sql.py` passes with it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database.

    Attributes:
        revision: "" = it has none.
        wanted: that of the installed MLflow; "" = not looked up.
        age: `none` = there are no tables of MLflow's.
    """

    revision: str
    wanted: str
    age: Literal["none", "older", "current", "newer"]


def of(database: sqlite3.Connection) -> Schema:
    """The schema of an SQLite database.

    Raises:
        TrackingAway: somebody has locked it; MLflow would take that for an empty one.
    """
    try:
        tables = {name for (name,) in database.execute("select name from sqlite_master")}
        rows = database.execute(VERSIONS).fetchall() if "alembic_version" in tables else []
    except sqlite3.Error as error:  # MLflow says what else is wrong with it
        refuse_locked(error)
        return Schema("", "", "none")
    if not rows and "runs" not in tables:
        return Schema("", "", "none")
    return of_revision(rows[0][0] if rows else "")


def refuse_locked(error: sqlite3.Error) -> None:
    """Have a lock waited for.

    Raises:
        TrackingAway: it was one.
    """
    if LOCKED in str(error):
        raise TrackingAway(str(error)) from error


def of_revision(revision: str) -> Schema:
    """How a revision stands to the installed MLflow."""
    if (mlflow_version(), revision) in TESTED:  # looking through MLflow's scripts takes 0.1 s
        return Schema(revision, revision, "current")
    newest, known = _revisions()
    if revision == newest:
        return Schema(revision, newest, "current")
    return Schema(revision, newest, "older" if revision in known else "newer")


@cache
def _revisions() -> tuple[str, frozenset[str]]:
    """The newest revision that the installed MLflow knows, and all; "" = before the first."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    script = ScriptDirectory.from_config(_get_alembic_config(""))
    (newest,) = script.get_heads()
    return newest, frozenset({"", *(one.revision for one in script.walk_revisions())})


def mlflow_version() -> str:
    """Of the installed MLflow, without the last number."""
    import mlflow

    return ".".join(mlflow.__version__.split(".")[:2])


def too_new(where: object, found: Schema) -> str:
    """A database that the installed MLflow cannot read."""
    return (
        f"{where} is of a newer MLflow than the {mlflow_version()} that is installed (schema "
        f"{found.revision or 'unknown'}): install that one, or name another tracking store"
    )


def check_server(engine: Any, shown: str) -> None:
    """See that a database on a server has the schema of the installed MLflow, or none at all.

    Raises:
        TrackingError: it has another one; MLflow would migrate some without a word.
    """
    import sqlalchemy

    with engine.connect() as opened:
        if "alembic_version" not in sqlalchemy.inspect(opened).get_table_names():
            return
        rows = opened.execute(sqlalchemy.text(VERSIONS)).fetchall()
    found = of_revision(rows[0][0]) if rows else Schema("", "", "none")
    if found.age == "newer":
        raise TrackingError(too_new(shown, found))
    if found.age == "older":
        raise TrackingError(
            f"{shown} is of an older MLflow (schema {found.revision}, now {found.wanted}). Nothing "
            "is read or migrated. Keep a copy of the database (`pg_dump`), end what uses it, and "
            "run `mlflow db upgrade URL` once"
        )


def upgrade(path: Path, shown: Path) -> None:
    """Bring the schema of an SQLite file up to date, in place.

    Args:
        shown: the database that it is a copy of.

    Raises:
        TrackingError: MLflow cannot.
    """
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
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
    """Migrate an SQLite database of an older MLflow, and keep a copy of what it was.

    Raises:
        TrackingError: it is of a newer one, somebody writes to it, or there is no space.
    """
    if (found := _found(path)).age == "newer":
        raise TrackingError(too_new(path, found))
    if found.age != "older":
        return
    with _alone(path):
        found = _found(path)  # another process may have done it meanwhile
        if found.age != "older":
            return
        notices.say(
            f"{path} is of an older MLflow (schema {found.revision}): it is migrated to "
            f"{found.wanted}"
        )
        with closing(sqlite3.connect(path, timeout=20.0)) as watched:
            before = watched.execute("pragma data_version").fetchall()
            kept = keep(path, f"schema-{found.revision or 'none'}")
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
                for left in path.parent.glob(f"{new.name}*"):
                    left.unlink(missing_ok=True)
    notices.say(f"{path} is migrated. What it was is kept as {kept.name}, and may be removed")


def _found(path: Path) -> Schema:
    with closing(sqlite3.connect(path, timeout=20.0)) as opened:
        return of(opened)


def keep(path: Path, why: str) -> Path:
    """Keep a copy of a database beside it, whole or not at all.

    Raises:
        TrackingError: it cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kept = path.with_name(f"{path.name}.{why}-{stamp}")
    part = path.with_name(f"{kept.name}.part")
    try:
        _backup(path, part)
        part.replace(kept)
    finally:
        part.unlink(missing_ok=True)
    return kept


def _backup(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(source, timeout=20.0)) as opened,
            closing(sqlite3.connect(target, timeout=20.0)) as made,
        ):
            opened.backup(made)
    except sqlite3.Error as error:
        raise TrackingError(
            f"{source.name} cannot be copied to {target}: {error}. Nothing is changed. Free space "
            "there, or end what uses the database, and try again"
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; a lock that dies with its holder."""
    lock = path.with_name(f"{path.name}.migrating")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
