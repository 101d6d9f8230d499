"""A sweep as it stands: what is planned, and what tracking and store have of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.driver.interrupts import INTERRUPTED
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan, PlannedTrial, Planner
from orchestrator.search import Outcome
from orchestrator.storage.keys import missing_nodes
from orchestrator.storage.store import Store
from orchestrator.tracking import patience
from orchestrator.tracking.reconcile import LOST
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Child, Tracker, find_sweep
from orchestrator.versions import versions
from orchestrator.vocabulary import Tag
from orchestrator.worker.job import Settings
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
            gpu=sweep.resources.gpus > 0,
            checkpoints=sweep.retention.checkpoints,
            stage_timeout_s=sweep.retry.stage_timeout_s,
            patience_s=patience.PATIENCE_S,
            versions=tuple(sorted(versions().items())),
            nearby_bytes=int(sweep.storage.node_cache_gib * 2**30),
            base=sweep.base().resolved().model_dump_json(),
        )


def look(sweep: SweepConfig, planned: Plan | None = None) -> State | None:
    """The sweep as it stands, without making anything; None when it has never run.

    Args:
        planned: a plan at hand; used unless the sweep's trials follow from results.
    """
    address = find_sweep(sweep)
    if address is None:
        return None
    tracker = Tracker(address)
    children = children_of(tracker)
    if planned is None or sweep.dynamic:
        planned = Planner(sweep).plan(outcomes(children.values(), failed=True))
    return State(planned, Store(sweep.storage.path), tracker, children)


def children_of(tracker: Tracker, runs: Sequence[Run] | None = None) -> dict[str, Child]:
    """The runs of trials and shared stages, by key.

    Args:
        runs: all of them, if they are at hand; None = they are read.
    """
    children = tracker.children() if runs is None else map(Child.of, runs)
    return {child.key: child for child in children}


UNJUDGED = (INTERRUPTED, LOST)
"""Errors that say nothing of the trial."""


def outcomes(children: Iterable[Child], *, failed: bool) -> dict[str, Outcome]:
    """How trials ended so far, by key.

    Args:
        failed: count failed ones too; False when they are about to run again.
    """
    found: dict[str, Outcome] = {}
    for child in children:
        if child.status == "FINISHED":
            found[child.key] = Outcome(child.metrics)
        elif failed and child.status == "FAILED" and child.tags.get(Tag.ERROR) not in UNJUDGED:
            found[child.key] = Outcome(None)
    return found


def state_before_run(
    planner: Planner, tracker: Tracker, runs: Sequence[Run] | None = None
) -> State:
    """The sweep as it stands before a run: what failed before is still to be made.

    Args:
        runs: see `children_of`.
    """
    children = children_of(tracker, runs)
    planned = planner.plan(outcomes(children.values(), failed=False))
    return State(planned, Store(planned.sweep.storage.path), tracker, children)
