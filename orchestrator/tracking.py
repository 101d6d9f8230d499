"""MLflow: exactly one run per (sweep, key), whatever happened before. Nobody else talks to it.

Not `MLflowLoggerCallback`: that one makes a second run after a restore and sends one request per
metric from the driver. Here a worker finds its run by the `lotus.key` tag, buffers, and skips
metric steps that are already there. A `MlflowClient` with explicit run ids is used throughout, so
that MLFLOW_RUN_ID in somebody's environment changes nothing.
"""

import getpass
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from orchestrator.config import SweepConfig
from orchestrator.secrets import without_password
from orchestrator.versions import VERSION, git_commit
from trials.errors import LotusError

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100
PARAM_CHARACTERS = 6000
TAG_CHARACTERS = 5000
PAGE = 1000
SQLITE = "sqlite:///"

RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Pauses between attempts when the tracking store does not answer or is locked: about a minute."""

T = TypeVar("T")


class TrackingError(LotusError):
    """The tracking store cannot be used."""


def patiently(call: Callable[[], T]) -> T:
    """Run an MLflow call, waiting for a store that is away or locked.

    Raises:
        TrackingError: it was away for all of `RETRY_S`.
        MlflowException: the call is wrong, which waiting does not mend.
    """
    for pause in (*RETRY_S, None):
        try:
            return call()
        except MlflowException as error:
            if error.error_code not in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
                raise
            if pause is None:
                raise TrackingError(
                    f"the tracking store does not answer: {str(error)[:300]}. "
                    "Start it and run the same command again; nothing is lost."
                ) from error
        time.sleep(pause)
    raise AssertionError("unreachable")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a sweep's runs are: all that a worker needs to find them.

    Attributes:
        parent: run id of the sweep.
    """

    uri: str
    experiment_id: str
    parent: str


@dataclass(frozen=True, slots=True)
class Child:
    """A run of a trial or of a shared stage, as MLflow has it."""

    run_id: str
    key: str
    kind: str
    status: str
    tags: Mapping[str, str]
    start_ms: int
    metrics: Mapping[str, float]


def open_sweep(sweep: SweepConfig, create: bool = True) -> Address | None:
    """Find the sweep's parent run by its name within its experiment; make it if asked.

    Returns:
        None when it is not there and `create` is False.

    Raises:
        TrackingError: the store cannot be reached.
    """
    uri = sweep.tracking.uri
    if not create and uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return None
    client = _client(uri)
    experiment_id = _experiment(client, sweep, create)
    if experiment_id is None:
        return None
    query = f"tags.`lotus.kind` = 'sweep' and tags.`lotus.name` = '{sweep.name}'"
    found = patiently(lambda: client.search_runs([experiment_id], query, order_by=["start_time"]))
    if found:
        return Address(uri, experiment_id, found[0].info.run_id)
    if not create:
        return None
    tags = {"lotus.kind": "sweep", "lotus.name": sweep.name, **_origin()}
    run = patiently(lambda: client.create_run(experiment_id, tags=tags, run_name=sweep.name))
    return Address(uri, experiment_id, run.info.run_id)


def list_sweeps(uri: str) -> list[Any]:
    """The parent runs of all sweeps in a tracking store."""
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return []
    client = _client(uri)
    experiments = [e.experiment_id for e in patiently(client.search_experiments)]
    query = "tags.`lotus.kind` = 'sweep'"
    return list(patiently(lambda: client.search_runs(experiments, query)))


def _client(uri: str) -> MlflowClient:
    # Schema migrations of a new SQLite file announce themselves by the dozen.
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        if uri.startswith(SQLITE):
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=uri)
    except Exception as error:  # of MLflow, SQLAlchemy or the database's own driver
        reason = str(error)[:300]
        raise TrackingError(f"tracking.uri = {without_password(uri)}: {reason}") from error


def _experiment(client: MlflowClient, sweep: SweepConfig, create: bool) -> str | None:
    name = sweep.experiment_name
    found = patiently(lambda: client.get_experiment_by_name(name))
    if found is not None:
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"the MLflow experiment {name!r} is deleted: restore it, or choose another "
                "`experiment` in the sweep file"
            )
        return str(found.experiment_id)
    if not create:
        return None
    location = None
    if sweep.tracking.uri.startswith(SQLITE):
        folder = Path(sweep.tracking.uri.removeprefix(SQLITE)).parent / "artifacts"
        location = folder.as_uri()
    try:
        kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens on its runs
        return str(client.create_experiment(name, artifact_location=location, tags=kind))
    except MlflowException:  # somebody else was faster
        again = client.get_experiment_by_name(name)
        if again is None:
            raise
        return str(again.experiment_id)


def _origin() -> dict[str, str]:
    commit = git_commit()
    tags = {
        "lotus.version": VERSION,
        "mlflow.source.name": "lotus",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": getpass.getuser(),
    }
    return tags | {"mlflow.source.git.commit": commit} if commit else tags


class Tracker:
    """The runs of one sweep."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.client = _client(address.uri)

    def children(self) -> list[Child]:
        """All trial and stage runs, one per key; deleted ones are left out."""
        return [
            Child(
                run.info.run_id,
                run.data.tags["lotus.key"],
                run.data.tags.get("lotus.kind", "trial"),
                run.info.status,
                run.data.tags,
                run.info.start_time,
                run.data.metrics,
            )
            for run in self.runs()
        ]

    def runs(self) -> list[Any]:
        """The same as MLflow's own objects, with params and metrics, oldest first."""
        query = f"tags.`lotus.sweep` = '{self.address.parent}'"
        return [run for run in self._search(query) if "lotus.key" in run.data.tags]

    def parent(self) -> Any:
        """The sweep's own run."""
        return patiently(lambda: self.client.get_run(self.address.parent))

    def _search(self, query: str) -> list[Any]:
        found: list[Any] = []
        token: str | None = None
        while True:
            page = patiently(
                lambda token=token: self.client.search_runs(  # type: ignore[misc]
                    [self.address.experiment_id],
                    query,
                    ViewType.ACTIVE_ONLY,
                    PAGE,
                    ["attributes.start_time"],
                    token,
                )
            )
            found += page
            token = page.token
            if not token:
                return found

    def start(self, key: str, kind: str, name: str, tags: Mapping[str, str]) -> "RunLog":
        """The run of a key, found again or made, counted as one more attempt."""
        query = f"tags.`lotus.sweep` = '{self.address.parent}' and tags.`lotus.key` = '{key}'"
        found = self._search(query)
        if found:
            run, attempts = found[0], int(found[0].data.tags.get("lotus.attempts", "0")) + 1
            log = RunLog(self.client, run.info.run_id, known=dict(run.data.params))
            log.restart(attempts)
            return log
        all_tags = {
            "lotus.kind": kind,
            "lotus.key": key,
            "lotus.sweep": self.address.parent,
            "lotus.attempts": "1",
            "mlflow.parentRunId": self.address.parent,
            **_origin(),
            **tags,
        }
        run = patiently(
            lambda: self.client.create_run(self.address.experiment_id, tags=all_tags, run_name=name)
        )
        return RunLog(self.client, run.info.run_id)

    def sweep_log(self) -> "RunLog":
        """The sweep's own run, for writing."""
        return RunLog(self.client, self.address.parent)


@dataclass(slots=True)
class RunLog:
    """Writes to one run: buffered, in batches, each (metric, step) once.

    Attributes:
        known: params that the run already has; they cannot change, and are not sent again.
        flush_s: a buffer older than this is sent with the next metric.
    """

    client: MlflowClient
    run_id: str
    known: dict[str, str] = field(default_factory=dict)
    flush_s: float = 10.0
    _metrics: list[Metric] = field(default_factory=list)
    _sent: dict[str, set[int]] = field(default_factory=dict)
    _again: bool = False
    _flushed: float = field(default_factory=time.monotonic)

    def restart(self, attempts: int) -> None:
        """Reopen the run of an earlier attempt."""
        self._again = True
        patiently(lambda: self.client.set_tag(self.run_id, "lotus.attempts", str(attempts)))
        patiently(lambda: self.client.update_run(self.run_id, status="RUNNING"))

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Buffer metrics; None is left out, and so is a step that the run already has."""
        now = int(time.time() * 1000)
        for name, value in values.items():
            if value is not None and step not in self._steps(name):
                self._steps(name).add(step)
                self._metrics.append(Metric(name, float(value), now, step))
        if time.monotonic() - self._flushed > self.flush_s:
            self.flush()

    def _steps(self, name: str) -> set[int]:
        if name not in self._sent:
            history = []
            if self._again:
                history = patiently(lambda: self.client.get_metric_history(self.run_id, name))
            self._sent[name] = {metric.step for metric in history}
        return self._sent[name]

    def flush(
        self, params: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None
    ) -> None:
        """Send what is buffered, with params and tags, in as few requests as the limits allow."""
        new = {k: _text(v) for k, v in (params or {}).items() if k not in self.known}
        self.known |= new
        rows = [Param(k, v) for k, v in new.items()]
        marks = [RunTag(k, str(v)[:TAG_CHARACTERS]) for k, v in (tags or {}).items()]
        metrics, self._metrics = self._metrics, []
        self._flushed = time.monotonic()
        while metrics or rows or marks:
            count = min(METRICS_PER_BATCH - len(rows[:PARAMS_PER_BATCH]), len(metrics))
            part = metrics[:count], rows[:PARAMS_PER_BATCH], marks[:TAGS_PER_BATCH]
            patiently(lambda part=part: self.client.log_batch(self.run_id, *part))  # type: ignore[misc]
            metrics = metrics[count:]
            rows, marks = rows[PARAMS_PER_BATCH:], marks[TAGS_PER_BATCH:]

    def artifacts(self, folder: Path, into: str | None = None) -> None:
        """Upload everything below a folder."""
        patiently(lambda: self.client.log_artifacts(self.run_id, str(folder), into))

    def finish(self, status: str = "FINISHED") -> None:
        """Flush and end the run."""
        self.flush()
        patiently(lambda: self.client.set_terminated(self.run_id, status))


def _text(value: Any) -> str:
    return str(value)[:PARAM_CHARACTERS]
