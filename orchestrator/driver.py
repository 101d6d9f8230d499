"""Running a sweep: compare what should be with what is, make the rest, report.

A sweep is a set of keys; continuing after a crash, running again and extending are the same act.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.config import SweepConfig
from orchestrator.keys import key_of
from orchestrator.planning import Plan, PlannedTrial, missing_nodes, plan
from orchestrator.queue import Item
from orchestrator.store import Store
from orchestrator.sweepfile import resolved_yaml
from orchestrator.tracking import Address, Child, RunLog, Tracker, open_sweep
from orchestrator.worker import Settings, job_of
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
        return [trial for trial in self.plan.trials if trial.key not in done]

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
    """The sweep as it stands, without making anything; None when it has never run."""
    address = open_sweep(sweep, create=False)
    if address is None:
        return None
    return _state(planned or plan(sweep), address)


def _state(planned: Plan, address: Address) -> State:
    tracker = Tracker(address)
    children = {child.key: child for child in tracker.children()}
    return State(planned, Store(planned.sweep.storage.path), tracker, children)


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
    planned = plan(sweep)
    where = open_sweep(sweep)
    assert where is not None
    state = _state(planned, where)
    state.store.writable()
    _describe(state)
    trials, shared = state.missing_trials(), state.missing_shared()
    failed: dict[str, str] = {}
    if trials or shared:
        watcher = watch(planned, len(trials), len(shared)) if watch else Watcher()
        try:
            failed = _make(state, trials, shared, address, watcher)
        except KeyboardInterrupt:
            _close_running(state.tracker, None, "interrupted")
            state.tracker.sweep_log().finish("KILLED")
            raise
    wall_s = time.monotonic() - start
    summary, page = refresh(planned, state.store, state.tracker, bool(trials), report, wall_s)
    state.tracker.sweep_log().finish("FAILED" if failed else "FINISHED")
    return Finished(planned, where, len(trials), failed, wall_s, page, summary)


def _make(
    state: State,
    trials: Sequence[PlannedTrial],
    shared: dict[str, Node[Any]],
    address: str | None,
    watcher: Any,
) -> dict[str, str]:
    """Run shared stages and trials; name -> error of those that failed."""
    from orchestrator import cluster

    planned = state.plan
    work = [(_stage_item(node, shared), job_of(planned.owner[key])) for key, node in shared.items()]
    work += [(_trial_item(trial, shared), job_of(trial)) for trial in trials]
    with cluster.connected(planned.sweep, address):
        errors = cluster.run_work(planned, work, state.settings(), watcher)
    for key, error in errors.items():
        _close_running(state.tracker, key, error)
    names = {item.key: item.name for item, _ in work}
    return {names[key]: error for key, error in errors.items()}


def _stage_item(node: Node[Any], shared: Mapping[str, Node[Any]]) -> Item:
    needs = tuple(key for parent in node.parents() if (key := key_of(parent)) in shared)
    return Item(key=key_of(node), name=node.stage.name, kind="stage", needs=needs)


def _trial_item(trial: PlannedTrial, shared: Mapping[str, Node[Any]]) -> Item:
    """A trial needs the last shared stages on each of its paths; those need the ones before."""
    needs: dict[str, None] = {}

    def visit(node: Node[Any]) -> None:
        for parent in node.parents():
            if key_of(parent) in shared:
                needs[key_of(parent)] = None
            else:
                visit(parent)

    visit(trial.graph.final)
    return Item(key=trial.key, name=trial.name, kind="trial", needs=tuple(needs))


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
    tags["lotus.trials_planned"] = str(len(state.plan.trials))
    tags["lotus.sweep_yaml"] = resolved_yaml(sweep)
    log = tracker.sweep_log()
    if any(tracker.parent().data.tags.get(name) != value[:5000] for name, value in tags.items()):
        log.flush(tags=tags)
    planned = {trial.key for trial in state.plan.trials} | set(state.plan.shared)
    for key, child in state.children.items():
        superseded = str(key not in planned).lower()
        if child.tags.get("lotus.superseded", "false") != superseded:
            tracker.client.set_tag(child.run_id, "lotus.superseded", superseded)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)
