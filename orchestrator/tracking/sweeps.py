"""Finding and creating sweeps in a tracking store: experiments and parent runs."""

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
"""How many are searched at once."""


@dataclass(frozen=True, slots=True)
class Address:
    """All that a worker needs to find a sweep's runs.

    Attributes:
        parent: run id of the sweep.
    """

    uri: str
    experiment_id: str
    parent: str


def open_sweep(sweep: SweepConfig) -> Address:
    """Find the sweep's parent run by its name within its experiment, or create it.

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
    """Find the sweep's parent run without creating anything; None if there is none.

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
    runs = patiently(lambda: parents(client, experiment_id, sweep.name))
    return Address(uri, experiment_id, runs[0].info.run_id) if runs else None


def _parent(client: Client, experiment_id: str, name: str) -> str:
    """The run of a sweep. Two drivers that create it at once both withdraw and try again."""

    def attempt() -> str:
        if runs := parents(client, experiment_id, name):
            return runs[0].info.run_id
        tags = {Tag.KIND: "sweep", Tag.NAME: name, **origin()}
        run_id = client.create_run(experiment_id, tags, name).info.run_id
        if len(parents(client, experiment_id, name)) <= 1:
            return run_id
        client.delete_run(run_id)
        time.sleep(random.random())
        return attempt()

    return patiently(attempt)


def parents(client: Client, experiment_id: str, name: str, view: View = "active") -> list[Run]:
    """Parent runs with a sweep's name: the one in use first, then those of lost answers."""
    query = f"tags.`{Tag.KIND}` = 'sweep' and tags.`{Tag.NAME}` = '{name}'"
    runs = _runs_of(client, [experiment_id], query, view)
    return sorted(runs, key=lambda run: (Tag.TRIALS_PLANNED not in run.data.tags, age(run)))


def age(run: Run) -> tuple[int, str]:
    """Sort key: the age of a run, with ties broken the same way everywhere."""
    return run.info.start_time, run.info.run_id


def _absent(uri: str) -> bool:
    path = database.path_of(uri)
    return path is not None and not path.exists()


def list_sweeps(uri: str) -> list[Run]:
    """The parent runs of all sweeps in a tracking store."""
    if _absent(uri):
        return []
    client = connect(uri)
    experiments = [experiment.experiment_id for experiment in _all(client.search_experiments)]
    return _runs_of(client, experiments, f"tags.`{Tag.KIND}` = 'sweep'")


def sweeps_of(client: Client, experiment_id: str) -> list[Run]:
    """The parent runs of the sweeps of an experiment, the newest first."""
    found = _runs_of(client, [experiment_id], f"tags.`{Tag.KIND}` = 'sweep'")
    return sorted(found, key=age, reverse=True)


def _all(search: Callable[[str | None], Page[T]]) -> list[T]:
    """The results on all pages."""
    items: list[T] = []
    token: str | None = None
    while True:
        page = patiently(partial(search, token))
        items += page
        token = page.token
        if not token:
            return items


def _runs_of(
    client: Client, experiments: Sequence[str], query: str, view: View = "active"
) -> list[Run]:
    """Runs of any number of experiments; a server accepts a hundred at once."""
    runs: list[Run] = []
    interner = Interner()
    for start in range(0, len(experiments), EXPERIMENTS):
        chunk = list(experiments[start : start + EXPERIMENTS])

        def page(token: str | None, chunk: list[str] = chunk) -> Page[Run]:
            return client.search_runs(chunk, query, view, page_token=token, interner=interner)

        runs += _all(page)
    return runs


RunState = Literal["active", "deleted", "unknown", "hidden"]


def state_of_run(uri: str, run_id: str) -> RunState:
    """The state of a run in MLflow, asked once and without waiting.

    `deleted` only if MLflow shows it as deleted. `unknown` proves nothing: the database may have
    been restored from a copy, or created anew. `hidden`: this account must not see the run; servers
    with accounts give the same answer for a run that does not exist.

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
    experiment = patiently(lambda: client.get_experiment_by_name(name))
    if experiment is None:
        return None
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment {name!r} is deleted: restore it, or choose another "
            "`experiment` in the sweep file"
        )
    return experiment.experiment_id


def _new_experiment(client: Client, sweep: SweepConfig) -> str:
    from mlflow.exceptions import MlflowException

    name, location = sweep.experiment_name, None
    if (path := database.path_of(sweep.tracking.uri)) is not None:
        location = (path.parent / "artifacts").as_uri()
    kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens on its runs

    def made() -> str:
        try:
            return client.create_experiment(name, location, kind)
        except MlflowException:  # another process was faster, or the answer was lost
            existing = client.get_experiment_by_name(name)
            if existing is None:
                raise
            return existing.experiment_id

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
