"""A sweep in a tracking store: its experiment, its parent run, and what else is there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from orchestrator.planning.config import SweepConfig
from orchestrator.surroundings import user_name
from orchestrator.tracking import database
from orchestrator.tracking.connection import connect, make_ready
from orchestrator.tracking.patience import Breaker, TrackingError, patiently, reason_of
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


def open_sweep(sweep: SweepConfig) -> Address:
    """The sweep's parent run, found by its name within its experiment, or made.

    Raises:
        TrackingError: the store cannot be reached, or not be written to.
    """
    uri = sweep.tracking.uri
    if (path := database.path_of(uri)) is not None:
        patiently(lambda: make_ready(path, sweep.experiment_name))
    client = connect(uri)
    experiment_id = _experiment(client, sweep) or _new_experiment(client, sweep)
    return Address(uri, experiment_id, _parent(client, experiment_id, sweep.name))


def find_sweep(sweep: SweepConfig) -> Address | None:
    """The same where it is there; None where it is not. Nothing is made.

    Raises:
        TrackingError: the store cannot be reached.
    """
    uri = sweep.tracking.uri
    if _absent(uri):
        return None
    client = connect(uri)
    experiment_id = _experiment(client, sweep)
    if experiment_id is None:
        return None
    there = patiently(lambda: parents(client, experiment_id, sweep.name))
    return Address(uri, experiment_id, there[0].info.run_id) if there else None


def _parent(client: Client, experiment_id: str, name: str) -> str:
    """The run of a sweep. Two drivers that make it at once both withdraw and try again."""

    def attempt() -> str:
        if there := parents(client, experiment_id, name):
            return there[0].info.run_id
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


def _experiment(client: Client, sweep: SweepConfig) -> str | None:
    name = sweep.experiment_name
    there = patiently(lambda: client.get_experiment_by_name(name))
    if there is None:
        return None
    if there.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment {name!r} is deleted: restore it, or choose another "
            "`experiment` in the sweep file"
        )
    return there.experiment_id


def _new_experiment(client: Client, sweep: SweepConfig) -> str:
    from mlflow.exceptions import MlflowException

    name, location = sweep.experiment_name, None
    if (path := database.path_of(sweep.tracking.uri)) is not None:
        location = (path.parent / "artifacts").as_uri()
    kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens on its runs

    def made() -> str:
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
