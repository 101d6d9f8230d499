"""Running a sweep: compare what should be with what is, make the rest, report.

A sweep is a set of keys; continuing after a crash, running again and extending are the same act.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.config import SweepConfig
from orchestrator.growth import Growth
from orchestrator.planning import Plan, PlannedTrial, Planner, missing_nodes
from orchestrator.search import Outcome
from orchestrator.store import Store
from orchestrator.sweepfile import resolved_yaml
from orchestrator.tracking import Address, Child, RunLog, Tracker, open_sweep
from orchestrator.worker import Settings
from trials.stage import Node


@dataclass(frozen=True)
class State:
    """A sweep as it stands: what is planned, and what tracking and store have of it."""

    plan: Plan
    store: Store
    tracker: Tracker
    children: dict[str, Child]

    @property
    def finished(self) -> set[str]:
        """Keys whose run is there and ended well."""
        return {key for key, child in self.children.items() if child.status == "FINISHED"}

    def missing_trials(self) -> list[PlannedTrial]:
        """Trials without a finished run."""
        done = self.finished
        wanted = (*self.plan.trials, *self.plan.early)
        return [trial for trial in wanted if trial.key not in done]

    def missing_shared(self) -> dict[str, Node[Any]]:
        """Shared stages to run first: no finished run yet, or needed and not in the store."""
        done, stored = self.finished, self.store.keys()
        needed = missing_nodes((trial.graph.final for trial in self.missing_trials()), stored)
        return {
            key: node for key, node in self.plan.shared.items() if key not in done or key in needed
        }

    def settings(self) -> Settings:
        """What workers need to know."""
        sweep = self.plan.sweep
        return Settings(
            store=sweep.storage.path,
            address=self.tracker.address,
            cpus=sweep.resources.cpu,
            gpu=sweep.resources.gpu > 0,
            checkpoints=sweep.retention.checkpoints,
        )


@dataclass(frozen=True)
class Finished:
    """How a run of a sweep ended.

    Attributes:
        ran: trials that were run now.
        failed: trial name -> error.
        report: path of the report page; None with --no-report or without a finished trial.
        summary: the content of summary.json.
    """

    plan: Plan
    address: Address
    ran: int
    failed: dict[str, str]
    wall_s: float
    report: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)


def look(sweep: SweepConfig, planned: Plan | None = None) -> State | None:
    """The sweep as it stands, without making anything; None when it has never run.

    Args:
        planned: a plan at hand; used unless the sweep's trials follow from results.
    """
    address = open_sweep(sweep, create=False)
    if address is None:
        return None
    tracker = Tracker(address)
    children = _children(tracker)
    if planned is None or sweep.dynamic:
        planned = Planner(sweep).plan(outcomes(children.values(), failed=True))
    return State(planned, Store(sweep.storage.path), tracker, children)


def _children(tracker: Tracker) -> dict[str, Child]:
    return {child.key: child for child in tracker.children()}


INTERRUPTED = "interrupted"


def outcomes(children: Iterable[Child], *, failed: bool) -> dict[str, Outcome]:
    """How trials ended so far, by key.

    Args:
        failed: count failed ones too; False when they are about to run again.
    """
    found: dict[str, Outcome] = {}
    for child in children:
        if child.status == "FINISHED":
            found[child.key] = Outcome(child.metrics)
        elif failed and child.status == "FAILED" and child.tags.get("lotus.error") != INTERRUPTED:
            found[child.key] = Outcome(None)
    return found


def run(
    sweep: SweepConfig,
    *,
    address: str | None = None,
    report: bool = True,
    watch: Callable[[Plan, int, int], Any] | None = None,
) -> Finished:
    """Make what is missing of a sweep.

    Args:
        address: of a Ray cluster; None = one on this machine.
        report: write the report at the end.
        watch: called with the plan and the numbers of missing trials and stages; gives the
            `Watcher` that is told of the progress.

    Raises:
        LotusError: something that the user can mend; nothing is lost.
    """
    from orchestrator.report import refresh
    from orchestrator.watcher import Watcher

    start = time.monotonic()
    planner = Planner(sweep)
    planner.plan({})  # what cannot be planned is said before anything is made
    where = open_sweep(sweep)
    assert where is not None
    state = _state(planner, Tracker(where))
    state.store.writable()
    _describe(state)
    known = outcomes(state.children.values(), failed=False)
    growth = Growth(planner, state.plan, state.finished, state.store.keys(), known)
    trials, shared = state.missing_trials(), state.missing_shared()
    failed: dict[str, str] = {}
    if trials or shared:
        watcher = watch(state.plan, len(trials), len(shared)) if watch else Watcher()
        try:
            failed = _make(state, growth, trials, shared, address, watcher)
        except KeyboardInterrupt:
            _close_running(state.tracker, None, INTERRUPTED)
            state.tracker.sweep_log().finish("KILLED")
            raise
        if sweep.dynamic:
            state = replace(state, plan=growth.plan, children=_children(state.tracker))
            _describe(state)
    wall_s = time.monotonic() - start
    planned, ran = growth.plan, growth.ran
    summary, page = refresh(planned, state.store, state.tracker, ran > 0, report, wall_s)
    state.tracker.sweep_log().finish("FAILED" if failed else "FINISHED")
    return Finished(planned, where, ran, failed, wall_s, page, summary)


def _state(planner: Planner, tracker: Tracker) -> State:
    """The sweep as it stands before a run: what failed before is still to be made."""
    children = _children(tracker)
    planned = planner.plan(outcomes(children.values(), failed=False))
    return State(planned, Store(planned.sweep.storage.path), tracker, children)


def _make(
    state: State,
    growth: Growth,
    trials: Sequence[PlannedTrial],
    shared: dict[str, Node[Any]],
    address: str | None,
    watcher: Any,
) -> dict[str, str]:
    """Run shared stages and trials; name -> error of those that failed."""
    from orchestrator import cluster

    sweep = state.plan.sweep
    more = growth.more if sweep.dynamic else None
    work = growth.work(trials, shared)
    with cluster.connected(sweep, address):
        errors = cluster.run_work(state.plan, work, state.settings(), watcher, more)
    for key, error in errors.items():
        _close_running(state.tracker, key, error)
    return {growth.names[key]: error for key, error in errors.items() if growth.counts(key)}


def _close_running(tracker: Tracker, key: str | None, error: str) -> None:
    """End runs (of one key, or all) whose process died or was stopped before it could."""
    for child in tracker.children():
        if child.status == "RUNNING" and key in (None, child.key):
            log = RunLog(tracker.client, child.run_id)
            log.flush(tags={"lotus.error": error})
            log.finish("FAILED")


def _describe(state: State) -> None:
    """Bring the parent run up to date with the file: axes as tags, superseded trials marked."""
    sweep, tracker = state.plan.sweep, state.tracker
    tags = {f"lotus.axis.{name}": _listed(values) for name, values in sweep.axes.items()}
    tags["lotus.trials_planned"] = str(state.plan.expected)
    tags["lotus.sweep_yaml"] = resolved_yaml(sweep)
    log = tracker.sweep_log()
    if any(tracker.parent().data.tags.get(name) != value[:5000] for name, value in tags.items()):
        log.flush(tags=tags)
    planned = {trial.key for trial in state.plan.trials} | set(state.plan.shared)
    for key, child in state.children.items():
        if key not in planned and not state.plan.complete:
            continue  # later results may call for it yet
        superseded = str(key not in planned).lower()
        if child.tags.get("lotus.superseded", "false") != superseded:
            tracker.client.set_tag(child.run_id, "lotus.superseded", superseded)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)
