"""MLflow: exactly one run per (sweep, key), whatever happened before. Only this package uses it.

We do not use `MLflowLoggerCallback`: it creates a second run after a restore, and sends one request
per metric from the driver. Here a worker finds its run by the `lotus.key` tag, logs in the
background, and skips metric steps that exist already. All calls use a `MlflowClient` with explicit
run ids, so that MLFLOW_RUN_ID in the user's environment changes nothing.

    port.py         the interface to a store, and the clients in front of MLflow's
    connection.py   connecting to a store
    sweeps.py       finding a sweep in it, or creating its run
    database.py     creating an SQLite database completely or not at all
    opening.py      reading an SQLite database unchanged: read-only, or of an older MLflow
    schema.py       which MLflow a database belongs to; migrating it, with a backup
    places.py       where its artifacts are, even after its folder was moved
    artifacts.py    reading artifacts, with limits, and reporting missing ones
    patience.py     what counts as away, and how long to wait
    runlog.py       writing to one run; outbox.py: in the background
    reconcile.py    repairing what accidents left
    runs.py         runs as they are read back
    histories.py    all points of many runs at once
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrator.memory import nothing_is_garbage
from orchestrator.tracking.connection import LateClient, connect
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.patience import Breaker, TrackingAway, TrackingError, patiently
from orchestrator.tracking.port import Client, View
from orchestrator.tracking.runlog import RunLog
from orchestrator.tracking.runs import Identity, Interner, Run
from orchestrator.tracking.sweeps import (
    Address,
    age,
    find_sweep,
    list_sweeps,
    open_sweep,
    origin,
)
from orchestrator.tracking.timed import TimedClient
from orchestrator.vocabulary import Tag

__all__ = [
    "Address",
    "Child",
    "Identity",
    "RunLog",
    "Tracker",
    "TrackingAway",
    "TrackingError",
    "find_sweep",
    "list_sweeps",
    "open_sweep",
    "patiently",
]

PAGE = 250

KINDS = ("trial", "stage")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Child:
    """The MLflow run of a trial or of a shared stage."""

    run_id: str
    key: str
    kind: str
    status: str
    tags: Mapping[str, str]
    start_ms: int
    metrics: Mapping[str, float]
    end_ms: int | None = None

    @classmethod
    def of(cls, run: Run) -> "Child":
        """Of a run that belongs to a sweep."""
        info, data = run.info, run.data
        return cls(
            info.run_id,
            data.tags[Tag.KEY],
            data.tags[Tag.KIND],
            info.status,
            data.tags,
            info.start_time,
            data.metrics,
            info.end_time,
        )


def belongs(tags: Mapping[str, str]) -> bool:
    """Whether a run that is tagged with a sweep was made by it."""
    return Tag.KEY in tags and tags.get(Tag.KIND) in KINDS


def best_first(runs: Iterable[Run]) -> list[Run]:
    """Runs of one key, the one to keep first; the same order for everybody who sees them."""
    return sorted(runs, key=lambda run: (run.info.status != "FINISHED", age(run)))


class Tracker:
    """The runs of one sweep.

    Args:
        late: connect with the first call, without waiting for the store now.
    """

    def __init__(self, address: Address, late: bool = False) -> None:
        self.address = address
        self.client: Client = TimedClient(LateClient(address.uri) if late else connect(address.uri))
        self.breaker = Breaker(address.uri)
        # Separate, because MLflow may answer while the artifact storage does not.
        self.artifacts = Breaker(address.uri)

    def ask(self, call: Callable[[], T]) -> T:
        """Make a call, waiting for a store that is away."""
        return patiently(call, self.breaker)

    def answers(self) -> bool:
        """Whether the store answers now, without waiting for it."""
        self.breaker.tripped = True
        with contextlib.suppress(TrackingAway):
            self.parent()
        return not self.breaker.tripped

    def children(self) -> list[Child]:
        """All trial and stage runs, one per key, without deleted ones."""
        return [Child.of(run) for run in self.runs()]

    def runs(self) -> list[Run]:
        """The same runs with params and all other data, oldest first."""
        return [run for run in self.tagged() if belongs(run.data.tags)]

    def tagged(self, view: View = "active") -> list[Run]:
        """All runs that are tagged with the sweep, oldest first."""
        query = f"tags.`{Tag.SWEEP}` = '{self.address.parent}'"
        return self.ask(lambda: self._search(query, view))

    def runs_of(self, key: str) -> list[Run]:
        """The runs of one key, usually one; the one to keep first. Asks once, without waiting."""
        query = f"tags.`{Tag.SWEEP}` = '{self.address.parent}' and tags.`{Tag.KEY}` = '{key}'"
        return best_first(run for run in self._search(query) if belongs(run.data.tags))

    def parent(self) -> Run:
        """The sweep's own run."""
        return self.ask(lambda: self.client.get_run(self.address.parent))

    def _search(self, query: str, view: View = "active") -> list[Run]:
        runs: list[Run] = []
        interner = Interner()
        token: str | None = None
        while True:
            with nothing_is_garbage():
                page = self.client.search_runs(
                    [self.address.experiment_id],
                    query,
                    view,
                    PAGE,
                    ["attributes.start_time"],
                    token,
                    interner,
                )
            runs += page
            token = page.token
            if not token:
                return runs

    def start(
        self,
        identity: Identity,
        *,
        missed: int = 0,
        background: bool = False,
        fresh: bool = False,
    ) -> RunLog:
        """Find or create the run of an identity, and count one more attempt.

        Args:
            missed: earlier attempts that MLflow has not counted.
            background: log through an outbox, without waiting.
            fresh: it was never begun before, so do not search for a run.
        """
        log = RunLog(self.client, breaker=self.breaker)
        if background:
            log.outbox = Outbox(self.breaker)
        log.say(_Opening(self, log, identity, missed, fresh))
        return log

    def sweep_log(self) -> RunLog:
        """The sweep's own run, for writing."""
        return RunLog(self.client, self.address.parent, breaker=self.breaker)


@dataclass(slots=True)
class _Opening:
    """Finds or creates the run of a key. It can be called until it succeeds: a run that an earlier
    call created without getting an answer is found and not created twice.

    Attributes:
        fresh: create the run without searching for one, the first time.
    """

    tracker: Tracker
    log: RunLog
    identity: Identity
    missed: int
    fresh: bool
    _ours: bool = False
    _attempts: dict[str, int] = field(default_factory=dict)

    def __call__(self) -> None:
        client = self.tracker.client
        search, self.fresh = not self.fresh, False
        runs = self.tracker.runs_of(self.identity.key) if search else []
        if not runs:
            self._ours = True
            runs = [self._create()]
            if search:
                runs = self.tracker.runs_of(self.identity.key) or runs
        run, *others = runs
        for other in others:
            client.delete_run(other.info.run_id)
        if not self._ours:
            self._reopen(run)
        self.log.run_id, self.log.place = run.info.run_id, run.info.artifact_uri
        self.log.begun_ms = run.info.start_time
        self.log.sent_params = dict(run.data.params)
        self.log.logged_metrics = set(run.data.metrics)
        self.log.attempts = self._attempts.get(run.info.run_id, 1 + self.missed)

    def _create(self) -> Run:
        address, identity = self.tracker.address, self.identity
        tags = {
            Tag.KIND: identity.kind,
            Tag.KEY: identity.key,
            Tag.SWEEP: address.parent,
            Tag.ATTEMPTS: str(1 + self.missed),
            Tag.PARENT: address.parent,
            **origin(),
            **identity.tags,
        }
        return self.tracker.client.create_run(address.experiment_id, tags, identity.name)

    def _reopen(self, run: Run) -> None:
        """Count this attempt and begin again."""
        client, run_id = self.tracker.client, run.info.run_id
        if run_id not in self._attempts:
            self._attempts[run_id] = int(run.data.tags.get(Tag.ATTEMPTS, "0")) + 1 + self.missed
        client.set_tag(run_id, Tag.ATTEMPTS, str(self._attempts[run_id]))
        if Tag.ERROR in run.data.tags:
            client.delete_tag(run_id, Tag.ERROR)
        # Runs begun by an earlier version may lack some tags.
        for tag, value in self.identity.tags.items():
            if run.data.tags.get(tag) != value:
                client.set_tag(run_id, tag, value)
        client.update_run(run_id, "RUNNING")
