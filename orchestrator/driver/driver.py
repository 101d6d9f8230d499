"""Running a sweep: compare what should be with what is, make the rest, report.

A sweep is a set of keys; continuing after a crash, running again and extending are the same act.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.driver import delivery
from orchestrator.driver.described import describe
from orchestrator.driver.endings import close_running
from orchestrator.driver.growth import Growth
from orchestrator.driver.interrupts import INTERRUPTED, INTERRUPTS, Stop
from orchestrator.driver.predicted import note_prediction
from orchestrator.driver.state import State, children_of, outcomes, state_before_run
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.forecasting import device_of
from orchestrator.planning.pins import pin
from orchestrator.planning.plan import Plan, Planner
from orchestrator.planning.speeds import LATEST, learned
from orchestrator.tracking.database import at_rest
from orchestrator.tracking.lease import Lease, RunTag
from orchestrator.tracking.reconcile import reconcile
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Address, Tracker, TrackingError, open_sweep
from orchestrator.versions import versions
from trials.errors import LotusError


@dataclass(frozen=True)
class Finished:
    """How a run of a sweep ended.

    Attributes:
        ran: trials that were run now.
        failed: trial or stage name -> error.
        runs: trial or stage name -> id of the MLflow run that has its log, of those that failed:
            its own, or that of the stage whose failure it was.
        report: path of the report page; None with --no-report or without a finished trial.
        summary: the content of summary.json.
        notices: what was mended or noticed in MLflow, a sentence each.
        failed_stages: how many of `failed` are shared stages.
    """

    plan: Plan
    address: Address
    ran: int
    failed: dict[str, str]
    wall_s: float
    runs: dict[str, str] = field(default_factory=dict)
    report: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    failed_stages: int = 0


def run(
    sweep: SweepConfig,
    *,
    address: str | None = None,
    report: bool = True,
    live: bool = False,
    watch: Callable[[Plan, int, int], Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Finished:
    """Make what is missing of a sweep.

    Args:
        address: of a Ray cluster; None = one on this machine.
        report: write the report at the end.
        live: write it while the sweep runs as well; see `reading/alongside.py`.
        watch: called with the plan and the numbers of missing trials and stages; gives the
            `Watcher` that is told of the progress.
        say: told why nothing happens for a while.

    Raises:
        LotusError: something that the user can mend; nothing is lost.
        KeyboardInterrupt: Ctrl-C or SIGTERM; nothing is lost and nothing runs any more.
    """
    from orchestrator.reading.alongside import report_alongside

    start = time.monotonic()
    planner = Planner(sweep)
    planner.plan({})  # what cannot be planned is said before anything is made
    where = open_sweep(sweep)
    tracker, stop = Tracker(where), Stop()
    with (
        at_rest(where.uri),
        Lease(RunTag(tracker.client, where.parent), lost=stop.ask, say=say) as lease,
    ):
        try:
            with report_alongside(sweep, say) if live and report else contextlib.nullcontext():
                outcome = _run(planner, tracker, address, watch, stop, say)
            return _finish(outcome, report, time.monotonic() - start)
        except BaseException as error:
            INTERRUPTS.taken()
            # Else the runs are another driver's by now, or MLflow is the trouble itself.
            if lease.held and not isinstance(error, TrackingError):
                how = _how(error)
                delivery.best_effort(tracker, lambda: _stopped(tracker, how))
            raise


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run has made: the sweep as it stands after it, and what failed.

    Attributes:
        concluded: whether the run before this one came to its end.
        read: the sweep's runs in MLflow; None = they have changed since they were read.
    """

    state: State
    growth: Growth
    failed: dict[str, str]
    runs: dict[str, str]
    concluded: bool
    notices: tuple[str, ...]
    failed_stages: int = 0
    read: Sequence[Run] | None = None


def _run(
    planner: Planner,
    tracker: Tracker,
    address: str | None,
    watch: Callable[[Plan, int, int], Any] | None,
    stop: Stop,
    say: Callable[[str], None],
) -> RunOutcome:
    from orchestrator.driver.watcher import Watcher
    from orchestrator.reading import ages

    reconciled = reconcile(tracker)
    notices = tuple(reconciled.lines)
    state = state_before_run(planner, tracker, reconciled.runs)
    state.store.writable()
    delivery.tidy(state.store, tracker, state.finished)
    INTERRUPTS.check()
    concluded = tracker.parent().info.status in ("FINISHED", "FAILED")
    pin(state.store, state.plan, tracker.address.parent)
    describe(state)
    known = outcomes(state.children.values(), failed=False)
    speeds = learned(state.store.newest(LATEST), device_of(planner.sweep))
    stored = state.store.keys()
    growth = Growth(planner, state.plan, state.finished, stored, known, speeds)
    trials, shared = state.missing_trials(), state.missing_shared()
    if not trials and not shared:
        return RunOutcome(state, growth, {}, {}, concluded, notices)
    note_prediction(state, speeds, stored, concluded=concluded)
    if changed := ages.changes(state.children.values(), state.plan.keys, versions()):
        say(f"{planner.sweep.name}: computed with other versions before: {changed}")
    watcher = watch(state.plan, len(trials), len(shared)) if watch else Watcher()
    tracker.ask(lambda: tracker.client.update_run(tracker.address.parent, "RUNNING"))
    from orchestrator.driver.making import make  # imports Ray

    errors, roots, read = make(state, growth, trials, shared, address, watcher, stop)
    # A shared stage that could not even begin is no failure of its own.
    own = [key for key in errors if key not in roots or key not in growth.plan.shared]
    names = _names(growth, [key for key in own if growth.counts(key)])
    failed = {name: errors[key] for key, name in names.items()}
    delivery.conclude(growth.plan, state.store, tracker, growth, failed)
    # Reading ten thousand runs takes a quarter of a minute: only where somebody needs them.
    needed = errors or planner.sweep.dynamic
    children = children_of(tracker, read) if needed else state.children
    if planner.sweep.dynamic:
        state, read = replace(state, plan=growth.plan, children=children), None
        describe(state)
    logs = {key: children.get(roots.get(key, key)) for key in names}
    runs = {names[key]: child.run_id for key, child in logs.items() if child}
    stages = len(names.keys() & growth.plan.shared.keys())
    return RunOutcome(state, growth, failed, runs, concluded, notices, stages, read)


def _names(growth: Growth, keys: Sequence[str]) -> dict[str, str]:
    """Key -> name; stages of one name, as of several seeds, are told apart by their keys."""
    often = Counter(growth.names[key] for key in keys)
    return {
        key: growth.names[key] + (f" {key[:8]}" if often[growth.names[key]] > 1 else "")
        for key in keys
    }


def _finish(outcome: RunOutcome, report: bool, wall_s: float) -> Finished:
    """Bring the sweep's own run and the report up to date."""
    from orchestrator.reading.report import refresh

    tracker, growth = outcome.state.tracker, outcome.growth
    changed = growth.ran > 0 or not outcome.concluded
    children = None if changed else outcome.state.children.values()
    summary, page = refresh(
        growth.plan, outcome.state.store, tracker, children, report, wall_s, outcome.read
    )
    status = "FAILED" if outcome.failed else "FINISHED"
    if changed or tracker.parent().info.status != status:  # else it ended when it ended
        tracker.sweep_log().finish(status)
    return Finished(
        growth.plan,
        tracker.address,
        growth.ran,
        outcome.failed,
        wall_s,
        outcome.runs,
        page,
        summary,
        outcome.notices,
        outcome.failed_stages,
    )


def _how(error: BaseException) -> str:
    """What ended a sweep, in a line; an error that nobody has foreseen with its name."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return str(error) if isinstance(error, LotusError) else f"{type(error).__name__}: {error}"


def _stopped(tracker: Tracker, how: str) -> None:
    """Say how the sweep ended on everything that was in the middle of something."""
    close_running(tracker, how)
    tracker.sweep_log().finish("KILLED")
