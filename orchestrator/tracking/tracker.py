"""MLflow: exactly one run per (sweep, key), whatever happened before. Nobody else talks to it.

Not `MLflowLoggerCallback`: that one makes a second run after a restore and sends one request per
metric from the driver. Here a worker finds its run by the `lotus.key` tag, says everything in the
background, and skips metric steps that are already there. A `MlflowClient` with explicit run ids
is used throughout, so that MLFLOW_RUN_ID in somebody's environment changes nothing.

    port.py         what is asked of a store, and which modules stand before MLflow's client
    connection.py   reaching a store
    sweeps.py       finding a sweep in it, or making its run
    database.py     a new SQLite database, made whole or not at all
    opening.py      an SQLite database read without changing it: read-only, or of an older MLflow
    schema.py       of which MLflow a database is; migrating one, with a copy kept
    places.py       where its artifacts lie, also after its folder was moved
    artifacts.py    reading them: bounded, and what is missing is said
    patience.py     what counts as away, and how long one waits
    runlog.py       writing to one run; outbox.py: in the background
    reconcile.py    mending what accidents left
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
    """A run of a trial or of a shared stage, as MLflow has it."""

    run_id: str
    key: str
    kind: str
    status: str
    tags: Mapping[str, str]
    start_ms: int
    metrics: Mapping[str, float]
    end_ms: int | None = None


def belongs(tags: Mapping[str, str]) -> bool:
    """Whether a run that is tagged with a sweep was made by it."""
    return Tag.KEY in tags and tags.get(Tag.KIND) in KINDS


def best_first(runs: Iterable[Run]) -> list[Run]:
    """Runs of one key: the one that stays first. Whoever sees them all decides alike."""
    return sorted(runs, key=lambda run: (run.info.status != "FINISHED", age(run)))


class Tracker:
    """The runs of one sweep.

    Args:
        late: connect with the first call, for one who does not wait for the store.
    """

    def __init__(self, address: Address, late: bool = False) -> None:
        self.address = address
        self.client: Client = TimedClient(LateClient(address.uri) if late else connect(address.uri))
        self.breaker = Breaker(address.uri)
        # Of their own: MLflow may answer where the place of the artifacts does not.
        self.artifacts = Breaker(address.uri)

    def ask(self, call: Callable[[], T]) -> T:
        """Make a call, waiting for a store that is away."""
        return patiently(call, self.breaker)

    def answers(self) -> bool:
        """Whether the store answers now; nobody waits for it."""
        self.breaker.tripped = True
        with contextlib.suppress(TrackingAway):
            self.parent()
        return not self.breaker.tripped

    def children(self) -> list[Child]:
        """All trial and stage runs, one per key; deleted ones are left out."""
        return [
            Child(
                run.info.run_id,
                run.data.tags[Tag.KEY],
                run.data.tags[Tag.KIND],
                run.info.status,
                run.data.tags,
                run.info.start_time,
                run.data.metrics,
                run.info.end_time,
            )
            for run in self.runs()
        ]

    def runs(self) -> list[Run]:
        """The same with params and all else that MLflow has of them, oldest first."""
        return [run for run in self.tagged() if belongs(run.data.tags)]

    def tagged(self, view: View = "active") -> list[Run]:
        """Everything that says of itself that it belongs to the sweep, oldest first."""
        query = f"tags.`{Tag.SWEEP}` = '{self.address.parent}'"
        return self.ask(lambda: self._search(query, view))

    def runs_of(self, key: str) -> list[Run]:
        """The runs of one key: one, but for accidents; the one that stays first. Asked once."""
        query = f"tags.`{Tag.SWEEP}` = '{self.address.parent}' and tags.`{Tag.KEY}` = '{key}'"
        return best_first(run for run in self._search(query) if belongs(run.data.tags))

    def parent(self) -> Run:
        """The sweep's own run."""
        return self.ask(lambda: self.client.get_run(self.address.parent))

    def _search(self, query: str, view: View = "active") -> list[Run]:
        found: list[Run] = []
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
            found += page
            token = page.token
            if not token:
                return found

    def start(
        self,
        identity: Identity,
        *,
        missed: int = 0,
        background: bool = False,
        fresh: bool = False,
    ) -> RunLog:
        """The run of an identity, found again or made, counted as one more attempt.

        Args:
            missed: earlier attempts that MLflow has not counted.
            background: let an outbox say everything, so that nobody waits.
            fresh: nobody has begun it before, so no run is looked for.
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
    """Finds or makes the run of a key. May be called until it succeeds: what an earlier call did
    although its answer was lost is found again and not done twice.

    Attributes:
        fresh: make the run without looking for one, the first time.
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
        look, self.fresh = not self.fresh, False
        found = self.tracker.runs_of(self.identity.key) if look else []
        if not found:
            self._ours = True
            found = [self._create()]
            if look:
                found = self.tracker.runs_of(self.identity.key) or found
        run, *others = found
        for other in others:
            client.delete_run(other.info.run_id)
        if not self._ours:
            self._reopen(run)
        self.log.run_id, self.log.place = run.info.run_id, run.info.artifact_uri
        self.log.begun_ms = run.info.start_time
        self.log.known = dict(run.data.params)
        self.log.logged = set(run.data.metrics)
        self.log.attempts = self._attempts.get(run.info.run_id, 1 + self.missed)

    def _create(self) -> Run:
        address, own = self.tracker.address, self.identity
        tags = {
            Tag.KIND: own.kind,
            Tag.KEY: own.key,
            Tag.SWEEP: address.parent,
            Tag.ATTEMPTS: str(1 + self.missed),
            Tag.PARENT: address.parent,
            **origin(),
            **own.tags,
        }
        return self.tracker.client.create_run(address.experiment_id, tags, own.name)

    def _reopen(self, run: Run) -> None:
        """Count this attempt and begin again."""
        client, run_id = self.tracker.client, run.info.run_id
        if run_id not in self._attempts:
            self._attempts[run_id] = int(run.data.tags.get(Tag.ATTEMPTS, "0")) + 1 + self.missed
        client.set_tag(run_id, Tag.ATTEMPTS, str(self._attempts[run_id]))
        if Tag.ERROR in run.data.tags:
            client.delete_tag(run_id, Tag.ERROR)
        # A run that an earlier version began may lack some.
        for name, value in self.identity.tags.items():
            if run.data.tags.get(name) != value:
                client.set_tag(run_id, name, value)
        client.update_run(run_id, "RUNNING")
