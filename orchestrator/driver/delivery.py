"""What MLflow has not got when a sweep has been computed: delivered from the store, or said.

Nothing is computed for it. The results are in the store, so running an item again reads them and
writes its run; `pending.py` says which items are owed one.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from orchestrator.driver.growth import Growth
from orchestrator.driver.interrupts import Stop
from orchestrator.driver.watcher import Watcher
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.secrets import without_password
from orchestrator.storage.store import Store
from orchestrator.tracking.pending import Note, Pending
from orchestrator.tracking.tracker import Tracker, TrackingAway, TrackingError
from orchestrator.vocabulary import Tag
from orchestrator.worker.job import Settings
from orchestrator.worker.labels import trial_params

MESSAGES = 3


class Undelivered(TrackingError):  # noqa: N818 - a state of the sweep
    """Everything is computed, and MLflow has not got all of it."""


def tidy(store: Store, tracker: Tracker, finished: Collection[str]) -> None:
    """Forget notes of items that MLflow has after all: only the last answer was lost."""
    pending = Pending(store, tracker.address.parent)
    for key in pending.all():
        if key in finished:
            pending.remove(key)


def deliver(
    plan: Plan, store: Store, tracker: Tracker, growth: Growth, settings: Settings, stop: Stop
) -> dict[str, str]:
    """Write once more what is owed, if MLflow answers again. Needs a connected cluster.

    Returns:
        key -> error, of items whose results were damaged and could not be made again.
    """
    from orchestrator.driver import cluster

    pending = Pending(store, tracker.address.parent)
    notes = owed(pending, growth)
    if not notes or not tracker.answers():
        return {}
    trials = trials_of(growth.plan)
    for note in notes.values():
        if note.status == "FAILED":
            with contextlib.suppress(TrackingError):
                known = trial_params(trials[note.key], {}) if note.key in trials else {}
                say_failed(tracker, note, known)
                pending.remove(note.key)
    again = {key for key, note in notes.items() if note.status != "FAILED"}
    if not again:
        return {}
    work = growth.again(again)
    return dict(cluster.run_work(plan, work, settings, Watcher(), stop=stop).errors)


def say_failed(
    tracker: Tracker, note: Note, params: Mapping[str, Any], *, fresh: bool = False
) -> None:
    """A failure needs no computing to be told.

    Args:
        fresh: nobody has begun its run before, so none is looked for.
    """
    missed = max(0, note.attempts - 1)
    log = tracker.start(note.identity, missed=missed, fresh=fresh)
    log.flush(params, {Tag.ERROR: note.error or "unknown"})
    log.finish("FAILED")


def trials_of(plan: Plan) -> dict[str, PlannedTrial]:
    """By key, those that may turn out not to belong to the sweep included."""
    return {trial.key: trial for trial in (*plan.trials, *plan.early)}


def owed(pending: Pending, growth: Growth) -> dict[str, Note]:
    """Notes of what has run now, by key."""
    return {key: note for key, note in pending.all().items() if key in growth.names}


def conclude(
    plan: Plan, store: Store, tracker: Tracker, growth: Growth, failed: Mapping[str, str]
) -> None:
    """Say what is owed at the end of a run.

    Raises:
        Undelivered: something is.
    """
    notes = owed(Pending(store, tracker.address.parent), growth)
    if not notes:
        return
    if tracker.answers():
        with contextlib.suppress(TrackingError):
            tracker.sweep_log().finish("FAILED")
    raise Undelivered(_words(plan, store, notes, failed))


def _words(plan: Plan, store: Store, notes: Mapping[str, Note], failed: Mapping[str, str]) -> str:
    trials = sum(note.kind == "trial" for note in notes.values())
    stages = len(notes) - trials
    parts = [f"{trials} trials"] * bool(trials) + [f"{stages} shared stages"] * bool(stages)
    reasons = list(dict.fromkeys(note.reason for note in notes.values()))[:MESSAGES]
    where = without_password(plan.sweep.tracking.uri)
    lines = [
        f"{plan.sweep.name}: everything that could be computed is, and is kept in the store "
        f"{store.url}, but {' and '.join(parts)} are not in MLflow yet ({where}): "
        f"{'; '.join(reasons)}",
        "When MLflow answers again, run the same command: it delivers them from the store and "
        "computes nothing twice. No report was written.",
    ]
    if failed:
        lines.append(f"{len(failed)} trials failed and run again then:")
        lines += [f"  {name}: {reason}" for name, reason in failed.items()]
    return "\n".join(lines)


def best_effort(tracker: Tracker, close: Callable[[], None]) -> None:
    """Do what may be left undone, for somebody who has pressed Ctrl-C: each call is tried once."""
    tracker.breaker.tripped = True
    with contextlib.suppress(TrackingAway):
        close()
