"""Reaching a tracking store, and finding a sweep in it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from orchestrator.planning.config import SweepConfig
from orchestrator.secrets import without_password
from orchestrator.surroundings import have_name, user_name
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
from orchestrator.tracking.port import Client, Page, View
from orchestrator.tracking.runs import Interner, Run
from orchestrator.versions import VERSION, git_commit
from orchestrator.vocabulary import Tag

T = TypeVar("T")

EXPERIMENTS = 100
"""Searched at once."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a sweep's runs are: all that a worker needs to find them.

    Attributes:
        parent: run id of the sweep.
    """

    uri: str
    experiment_id: str
    parent: str


def open_sweep(sweep: SweepConfig, create: bool = True) -> Address | None:
    """Find the sweep's parent run by its name within its experiment; make it if asked.

    Returns:
        None when it is not there and `create` is False.

    Raises:
        TrackingError: the store cannot be reached, or with `create` not be written to.
    """
    uri = sweep.tracking.uri
    if not create and _absent(uri):
        return None
    if create and (path := database.path_of(uri)) is not None:
        patiently(lambda: make_ready(path, sweep.experiment_name))
    client = connect(uri)
    experiment_id = _experiment(client, sweep, create)
    if experiment_id is None:
        return None
    run_id = _parent_of(client, experiment_id, sweep.name, create)
    return Address(uri, experiment_id, run_id) if run_id else None


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


def _parent_of(client: Client, experiment_id: str, name: str, create: bool) -> str | None:
    """The run of a sweep. Two drivers that make it at once both withdraw and try again."""

    def attempt() -> str | None:
        if found := parents(client, experiment_id, name):
            return found[0].info.run_id
        if not create:
            return None
        tags = {Tag.KIND: "sweep", Tag.NAME: name, **origin()}
        own = client.create_run(experiment_id, tags, name).info.run_id
        if len(parents(client, experiment_id, name)) <= 1:
            return own
        client.delete_run(own)
        time.sleep(random.random())
        return attempt()

    return patiently(attempt)


def parents(client: Client, experiment_id: str, name: str, view: View = "active") -> list[Run]:
    """Runs of a sweep of this name: the one in use first, then what lost answers left behind."""
    query = f"tags.`{Tag.KIND}` = 'sweep' and tags.`{Tag.NAME}` = '{name}'"
    found = _runs_of(client, [experiment_id], query, view)
    return sorted(found, key=lambda run: (Tag.TRIALS_PLANNED not in run.data.tags, age(run)))


def age(run: Run) -> tuple[int, str]:
    """What orders runs by age, alike for everybody who looks."""
    return run.info.start_time, run.info.run_id


def _absent(uri: str) -> bool:
    path = database.path_of(uri)
    return path is not None and not path.exists()


def list_sweeps(uri: str) -> list[Run]:
    """The parent runs of all sweeps in a tracking store."""
    if _absent(uri):
        return []
    client = connect(uri)
    experiments = [one.experiment_id for one in _all(client.search_experiments)]
    return _runs_of(client, experiments, f"tags.`{Tag.KIND}` = 'sweep'")


def _all(search: Callable[[str | None], Page[T]]) -> list[T]:
    """Every page of what is found."""
    found: list[T] = []
    token: str | None = None
    while True:
        page = patiently(partial(search, token))
        found += page
        token = page.token
        if not token:
            return found


def _runs_of(
    client: Client, experiments: Sequence[str], query: str, view: View = "active"
) -> list[Run]:
    """Runs of experiments, however many there are of either; a server takes a hundred at once."""
    found: list[Run] = []
    interner = Interner()
    for start in range(0, len(experiments), EXPERIMENTS):
        some = list(experiments[start : start + EXPERIMENTS])

        def page(token: str | None, some: list[str] = some) -> Page[Run]:
            return client.search_runs(some, query, view, page_token=token, interner=interner)

        found += _all(page)
    return found


Known = Literal["active", "deleted", "unknown", "hidden"]


def state_of_run(uri: str, run_id: str) -> Known:
    """What MLflow knows of a run. Asked once, without patience.

    Deleted is only what it shows as deleted. A run that it does not know says nothing: its database
    may have been restored from a copy, or made anew. Hidden is one that this account may not see;
    a server with accounts says the same of one that does not exist.

    Raises:
        TrackingError: the tracking store cannot be asked.
    """
    if _absent(uri):
        raise TrackingError(f"{database.path_of(uri)} does not exist here")
    from mlflow.exceptions import MlflowException

    try:
        client = connect(uri, wait=False)
        run = patiently(lambda: client.get_run(run_id), Breaker(uri, tripped=True))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return "unknown"
        if error.error_code == "PERMISSION_DENIED":
            return "hidden"
        raise TrackingError(reason_of(error)) from error
    return "deleted" if run.info.lifecycle_stage == "deleted" else "active"


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


def _experiment(client: Client, sweep: SweepConfig, create: bool) -> str | None:
    name = sweep.experiment_name
    found = patiently(lambda: client.get_experiment_by_name(name))
    if found is not None:
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"the MLflow experiment {name!r} is deleted: restore it, or choose another "
                "`experiment` in the sweep file"
            )
        return found.experiment_id
    if not create:
        return None
    location = None
    if (path := database.path_of(sweep.tracking.uri)) is not None:
        location = (path.parent / "artifacts").as_uri()
    kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens on its runs

    def made() -> str:
        from mlflow.exceptions import MlflowException

        try:
            return client.create_experiment(name, location, kind)
        except MlflowException:  # somebody else was faster, or the answer was lost
            again = client.get_experiment_by_name(name)
            if again is None:
                raise
            return again.experiment_id

    return patiently(made)


def origin() -> dict[str, str]:
    commit = git_commit()
    tags = {
        Tag.VERSION: VERSION,
        "mlflow.source.name": "lotus",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user_name(),
    }
    return tags | {"mlflow.source.git.commit": commit} if commit else tags
