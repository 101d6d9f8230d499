"""Reaching a tracking store. What sweeps are in it: `sweeps.py`."""

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
    """See that an SQLite database can be written to by this MLflow, and that its artifacts can.

    Args:
        experiment: that of the sweep, by name.
        whatever: artifacts that are nowhere are to be made anew, beside the database.

    Raises:
        TrackingError: it cannot, and what to do.
    """
    if database.read_only(path):
        raise TrackingError(
            f"{path} cannot be written to: its file system is read-only, or it is somebody else's. "
            "It can be read (`lotus status`, `select`, `report --output`, `export`). To go on with "
            "its sweeps, copy its folder to where it can be written to"
        )
    if path.exists():
        database.prepare(path)
        schema.migrate(path)
        places.ready_to_write(path, experiment, whatever)


class LateClient(Forwarding):
    """A client that connects when it is first used.

    A worker begins to compute although its database does not answer just then.
    """

    def __init__(self, uri: str) -> None:
        # Now, not at first use: that may be in two threads, and two that import it lock each other.
        import mlflow  # noqa: F401

        self._uri = uri
        self._made: Client | None = None

    @property
    def _client(self) -> Client:
        if self._made is None:
            self._made = connect(self._uri, wait=False)
        return self._made


def connect(uri: str, wait: bool = True) -> Client:
    """A client that tries each request once and shortly.

    A new SQLite database is made whole. One that is there is never migrated here, see `opening.py`.

    Args:
        wait: for a database that is away.

    Raises:
        TrackingError: there cannot be a store at this address.
        TrackingAway: its database does not answer.
    """
    import mlflow  # noqa: F401, before what follows: its import sets the levels of its loggers anew

    # Schema migrations of a new SQLite file announce themselves by the dozen, and a database that
    # is away with a traceback for each attempt.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("mlflow.store.artifact").setLevel(logging.WARNING)  # a line per empty run
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


def _client(uri: str, shown: str) -> Client:
    """A client, which for a database asks it at once; of its troubles only a lock may pass."""
    try:
        return adapter.opened(uri)
    except Exception as error:
        if LOCKED in str(error):
            raise
        raise TrackingError(
            f"tracking.uri = {without_password(shown)}: {reason_of(error)}"
        ) from error


def _knock(uri: str) -> None:
    """Connect once: MLflow itself would try ten times, for two minutes, without a word."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        schema.check_server(engine, without_password(uri))
    finally:
        engine.dispose()
