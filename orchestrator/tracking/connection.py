"""Connecting to a tracking store. For the sweeps in it see `sweeps.py`."""

from __future__ import annotations

import logging
from pathlib import Path

from orchestrator.secrets import without_password
from orchestrator.surroundings import have_name
from orchestrator.tracking import adapter, database, opening, places, schema
from orchestrator.tracking.forwarding import Forwarding
from orchestrator.tracking.patience import (
    LOCKED,
    Breaker,
    TrackingError,
    own_patience,
    patiently,
    reason_of,
)
from orchestrator.tracking.plain_sql import plainly
from orchestrator.tracking.port import Client


def make_ready(path: Path, experiment: str, whatever: bool = False) -> None:
    """Make sure that this MLflow can write to an SQLite database and its artifacts.

    Args:
        experiment: name of the sweep's experiment.
        whatever: create missing artifacts again, beside the database.

    Raises:
        TrackingError: it cannot be written to; the message says what to do.
    """
    if database.read_only(path):
        raise TrackingError(
            f"{path} cannot be written to: its file system is read-only, or it is somebody else's. "
            "It can be read (`lotus status`, `select`, `report --output`, `export`). To continue "
            "its sweeps, copy its folder to a place that can be written to"
        )
    if path.exists():
        database.prepare(path)
        schema.migrate(path)
        places.ready_to_write(path, experiment, whatever)


class LateClient(Forwarding):
    """A client that connects when it is first used.

    So a worker can start to compute while its database does not answer.
    """

    def __init__(self, uri: str) -> None:
        # Now, not at first use: two threads that import it at once deadlock.
        import mlflow  # noqa: F401

        self._uri = uri
        self._made: Client | None = None

    @property
    def _client(self) -> Client:
        if self._made is None:
            self._made = connect(self._uri, wait=False)
        return self._made


def connect(uri: str, wait: bool = True) -> Client:
    """A client that tries each request once, with a short time-out.

    A missing SQLite database is created completely. An existing one is never migrated here, see
    `opening.py`.

    Args:
        wait: for a database that is away.

    Raises:
        TrackingError: there cannot be a store at this address.
        TrackingAway: its database does not answer.
    """
    _quiet_logs()
    own_patience()
    have_name()  # MLflow asks for it too
    breaker = None if wait else Breaker("", tripped=True)
    path, opened = database.path_of(uri), uri
    try:
        if path is not None:
            database.prepare(path)
            opened = patiently(lambda: opening.address(path), breaker)
        elif "://" in uri and not uri.startswith("http"):
            patiently(lambda: _knock(uri), breaker)
        client = patiently(lambda: _client(opened, uri), breaker)
        if path is None:
            return client
        if opened == uri:
            client = plainly(client, path)
        return patiently(lambda: places.resolved(client, path), breaker)
    except TrackingError:
        raise
    except Exception as error:  # of MLflow, SQLAlchemy or the database's own driver
        raise TrackingError(
            f"tracking.uri = {without_password(uri)}: {reason_of(error)}"
        ) from error


def _quiet_logs() -> None:
    """Otherwise the migrations of a new SQLite file log dozens of lines, and a database that is
    away a traceback for each attempt."""
    import mlflow  # noqa: F401, first: the import resets the levels of its loggers

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("mlflow.store.artifact").setLevel(logging.WARNING)  # a line per empty run


def _client(uri: str, shown: str) -> Client:
    """A client. For a database it connects at once; only a lock is worth waiting for."""
    try:
        return adapter.opened(uri)
    except Exception as error:
        if LOCKED in str(error):
            raise
        raise TrackingError(
            f"tracking.uri = {without_password(shown)}: {reason_of(error)}"
        ) from error


def _knock(uri: str) -> None:
    """Connect once: MLflow itself would silently try ten times, for two minutes."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        schema.check_server(engine, without_password(uri))
    finally:
        engine.dispose()
