"""Making what is missing of a sweep: shared stages and trials, on a Ray cluster."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.driver import cluster, delivery, fitting, measuring
from orchestrator.driver.decoding import decode
from orchestrator.driver.dispatcher import Ended, Proposals, Work
from orchestrator.driver.endings import close_failed
from orchestrator.driver.fallen import Fallen
from orchestrator.driver.growth import Growth
from orchestrator.driver.interrupts import INTERRUPTS, Stop
from orchestrator.driver.state import State
from orchestrator.driver.tally import Tally
from orchestrator.planning.pins import pin
from orchestrator.planning.plan import PlannedTrial
from orchestrator.tracking.reconcile import reconcile
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import TrackingAway
from orchestrator.vocabulary import Tag
from trials.stage import Node


class Made(NamedTuple):
    """What has become of shared stages and trials.

    Attributes:
        errors: key -> error of those that failed.
        roots: key of those that failed without running -> key of the stage whose failure that was.
        read: the sweep's runs in MLflow; None = they have changed since they were read.
    """

    errors: dict[str, str]
    roots: Mapping[str, str]
    read: Sequence[Run] | None


def make(
    state: State,
    growth: Growth,
    trials: Sequence[PlannedTrial],
    shared: dict[str, Node[Any]],
    address: str | None,
    watcher: Any,
    stop: Stop,
) -> Made:
    """Run shared stages and trials."""
    sweep = state.plan.sweep
    decode(state.plan, watcher.says)
    proposals = _pinned(growth.proposals, state, growth) if sweep.dynamic else None
    work = growth.work(trials, shared)
    settings = replace(state.settings(), measured_as=measuring.measured_as(sweep, address))
    tally = Tally.of(watcher, state.plan, len(trials), len(shared))
    with (
        INTERRUPTS.told_to(stop),
        cluster.connected(sweep, address, watcher.says),
        measuring.measured(sweep, settings),
    ):
        asked = fitting.fitted(sweep.resources, state.plan, watcher.says)
        if asked != sweep.resources:
            state.tracker.sweep_log().flush(tags={Tag.GPU_SHARE: f"{asked.gpus:g}"})
        tally.show()
        tally.begins([item for item, _ in work], state.plan.more)
        for item, accuracy in growth.scores():
            tally.scored(item, accuracy)
        with Fallen(growth, state.store, state.tracker, stop, state.children) as fell:
            failed = cluster.run_work(
                state.plan, work, settings, tally, proposals, stop, state.children, fell, asked
            )
        again = delivery.deliver(growth.plan, state.store, state.tracker, growth, settings, stop)
    errors: dict[str, str] = dict(failed.errors) | again
    read: Sequence[Run] | None = None
    with contextlib.suppress(TrackingAway):  # what is owed is said at the end
        if errors:
            errors = close_failed(state.tracker, errors, failed.details)
        read = reconcile(state.tracker, errors).runs
    return Made(errors, failed.roots, read)


def _pinned(proposals: Proposals, state: State, growth: Growth) -> Proposals:
    """Proposals that say what they need of the store before they are queued."""

    def pinned(ended: Sequence[Ended]) -> Sequence[Work]:
        if work := proposals(ended):
            pin(state.store, growth.plan, state.tracker.address.parent)
        return work

    return pinned
