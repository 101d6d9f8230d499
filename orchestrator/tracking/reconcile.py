"""Repairing what accidents left in MLflow: one run per key, and none RUNNING without a process.

Only for the driver that owns the sweep: it knows that nothing is running.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from orchestrator.tracking.runlog import RunLog
from orchestrator.tracking.runs import Run
from orchestrator.tracking.sweeps import parents
from orchestrator.tracking.tracker import Tracker, belongs, best_first
from orchestrator.vocabulary import Tag

LOST = "its process ended without a word"

ENDED = ("FINISHED", "FAILED", "KILLED")


class Reconciled(NamedTuple):
    """What MLflow has of a sweep.

    Attributes:
        lines: a sentence for each change and observation.
        runs: the sweep's runs, oldest first; None = they have changed since they were read.
    """

    lines: list[str]
    runs: list[Run] | None


def reconcile(
    tracker: Tracker, errors: Mapping[str, str] | None = None, mend: bool = True
) -> Reconciled:
    """Delete duplicates, end abandoned runs, and look for runs that do not belong to the sweep.

    Args:
        errors: key -> the known error of a failed item, for runs that could not log it.
        mend: False = only look.
    """
    reasons = errors or {}
    everything = tracker.tagged("all")
    alive = [run for run in everything if run.info.lifecycle_stage == "active"]
    own = [run for run in alive if belongs(run.data.tags)]
    groups = by_key(own)
    lines: list[str] = []
    duplicates = [run for runs in groups.values() for run in runs[1:]]
    for run in duplicates if mend else ():
        tracker.ask(partial(tracker.client.delete_run, run.info.run_id))
    if duplicates:
        lines.append(f"{_runs(duplicates)} duplicated" + ": deleted" * mend)
    unfinished = [runs[0] for runs in groups.values() if runs[0].info.status not in ENDED]
    for run in unfinished if mend else ():
        end(tracker, run, reasons.get(run.data.tags[Tag.KEY], LOST))
    silent = [run for run in unfinished if run.data.tags[Tag.KEY] not in reasons]
    if silent:
        lines.append(f"{_runs(silent)} RUNNING although nobody works on it" + ": ended" * mend)
    lines += _parents(tracker, mend)
    lines += strangers(alive)
    changed = mend and (duplicates or unfinished)
    return Reconciled(lines + missing(everything), None if changed else own)


def by_key(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by key, the one to keep first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.data.tags[Tag.KEY], []).append(run)
    return {key: best_first(group) for key, group in groups.items()}


def end(tracker: Tracker, run: Run, error: str) -> None:
    """End a run as FAILED, with the reason."""
    log = RunLog(tracker.client, run.info.run_id, breaker=tracker.breaker)
    log.flush(tags={Tag.ERROR: error})
    log.finish("FAILED")


def strangers(alive: Iterable[Run]) -> list[str]:
    """Runs that carry the sweep's tag but were not made by it."""
    foreign = [run for run in alive if not belongs(run.data.tags)]
    if not foreign:
        return []
    listed = ", ".join(run.info.run_id for run in foreign[:5])
    return [
        f"{_runs(foreign)} tagged with this sweep but not made by it ({listed}), and left out: "
        f"remove the tag {Tag.SWEEP}, or the run, in MLflow"
    ]


def missing(everything: Iterable[Run]) -> list[str]:
    """Runs that were deleted and not replaced."""
    runs = [run for run in everything if belongs(run.data.tags)]
    active = {run.data.tags[Tag.KEY] for run in runs if run.info.lifecycle_stage == "active"}
    gone = [
        run
        for key, (run, *_) in by_key(runs).items()
        if key not in active and run.data.tags.get(Tag.SUPERSEDED) != "true"
    ]
    if not gone:
        return []
    return [
        f"{_runs(gone)} deleted in MLflow: what the sweep file still asks for is delivered again "
        "from the store"
    ]


def _parents(tracker: Tracker, mend: bool) -> list[str]:
    """Surplus parent runs, left behind by lost answers, and a deleted one."""
    address, tags = tracker.address, tracker.parent().data.tags
    name = tags[Tag.NAME]
    runs = tracker.ask(lambda: parents(tracker.client, address.experiment_id, name))
    others = [run for run in runs if run.info.run_id != address.parent]
    bare = [run for run in others if Tag.TRIALS_PLANNED not in run.data.tags]
    for run in bare if mend else ():
        tracker.ask(partial(tracker.client.delete_run, run.info.run_id))
    if len(others) > len(bare):
        ids = ", ".join(run.info.run_id for run in others if run not in bare)
        return [f"the sweep {name} has more than one run: {address.parent} is used, not {ids}"]
    if Tag.TRIALS_PLANNED in tags:
        return []
    deleted = tracker.ask(lambda: parents(tracker.client, address.experiment_id, name, "deleted"))
    if not any(Tag.TRIALS_PLANNED in run.data.tags for run in deleted):
        return []
    return [
        f"the run of {name} was deleted in MLflow ({deleted[0].info.run_id}): a new one is made, "
        "and its trials are delivered again from the store"
    ]


def _runs(runs: list[Run]) -> str:
    return "1 run is" if len(runs) == 1 else f"{len(runs)} runs are"
