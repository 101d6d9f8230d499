"""Mending what accidents left in MLflow: one run per key, none RUNNING that nobody works on.

Only for the driver that owns the sweep: it knows that whatever says RUNNING does not run.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from orchestrator.tracking.runlog import RunLog
from orchestrator.tracking.runs import Run
from orchestrator.tracking.sweeps import parents
from orchestrator.tracking.tracker import Tracker, belongs, best_first
from orchestrator.vocabulary import Tag

LOST = "its process ended without a word"

ENDED = ("FINISHED", "FAILED", "KILLED")


def reconcile(
    tracker: Tracker, errors: Mapping[str, str] | None = None, mend: bool = True
) -> list[str]:
    """Delete duplicates, end runs that nobody works on, and look for what does not belong.

    Args:
        errors: key -> how an item is known to have failed, for runs that could not say it.
        mend: False = only look.

    Returns:
        What was done and what was noticed, a sentence each.
    """
    known = errors or {}
    everything = tracker.tagged("all")
    alive = [run for run in everything if run.info.lifecycle_stage == "active"]
    groups = by_key(run for run in alive if belongs(run.data.tags))
    said: list[str] = []
    doubles = [run for runs in groups.values() for run in runs[1:]]
    for run in doubles if mend else ():
        tracker.ask(partial(tracker.client.delete_run, run.info.run_id))
    if doubles:
        said.append(f"{_runs(doubles)} there a second time" + ": deleted" * mend)
    left = [runs[0] for runs in groups.values() if runs[0].info.status not in ENDED]
    for run in left if mend else ():
        end(tracker, run, known.get(run.data.tags[Tag.KEY], LOST))
    silent = [run for run in left if run.data.tags[Tag.KEY] not in known]
    if silent:
        said.append(f"{_runs(silent)} RUNNING although nobody works on it" + ": ended" * mend)
    said += _parents(tracker, mend)
    said += strangers(alive)
    return said + missing(everything)


def by_key(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by key, the one that stays first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.data.tags[Tag.KEY], []).append(run)
    return {key: best_first(group) for key, group in groups.items()}


def end(tracker: Tracker, run: Run, error: str) -> None:
    """End a run as failed, with the reason."""
    log = RunLog(tracker.client, run.info.run_id, breaker=tracker.breaker)
    log.flush(tags={Tag.ERROR: error})
    log.finish("FAILED")


def strangers(alive: Iterable[Run]) -> list[str]:
    """Runs that carry the sweep's tag and are none of its."""
    found = [run for run in alive if not belongs(run.data.tags)]
    if not found:
        return []
    listed = ", ".join(run.info.run_id for run in found[:5])
    return [
        f"{_runs(found)} tagged with this sweep but not made by it ({listed}), and left out: "
        f"remove the tag {Tag.SWEEP}, or the run, in MLflow"
    ]


def missing(everything: Iterable[Run]) -> list[str]:
    """Runs that somebody deleted and nothing has replaced."""
    runs = [run for run in everything if belongs(run.data.tags)]
    there = {run.data.tags[Tag.KEY] for run in runs if run.info.lifecycle_stage == "active"}
    gone = [
        run
        for key, (run, *_) in by_key(runs).items()
        if key not in there and run.data.tags.get(Tag.SUPERSEDED) != "true"
    ]
    if not gone:
        return []
    return [
        f"{_runs(gone)} deleted in MLflow: what the sweep file still asks for is delivered again "
        "from the store"
    ]


def _parents(tracker: Tracker, mend: bool) -> list[str]:
    """Runs of the sweep itself that a lost answer left behind, and one that was deleted."""
    address, own = tracker.address, tracker.parent().data.tags
    name = own[Tag.NAME]
    found = tracker.ask(lambda: parents(tracker.client, address.experiment_id, name))
    others = [run for run in found if run.info.run_id != address.parent]
    bare = [run for run in others if Tag.TRIALS_PLANNED not in run.data.tags]
    for run in bare if mend else ():
        tracker.ask(partial(tracker.client.delete_run, run.info.run_id))
    if len(others) > len(bare):
        ids = ", ".join(run.info.run_id for run in others if run not in bare)
        return [f"more than one run is the sweep {name}: {address.parent} is used, not {ids}"]
    if Tag.TRIALS_PLANNED in own:
        return []
    deleted = tracker.ask(lambda: parents(tracker.client, address.experiment_id, name, "deleted"))
    if not any(Tag.TRIALS_PLANNED in run.data.tags for run in deleted):
        return []
    return [
        f"the run of {name} was deleted in MLflow ({deleted[0].info.run_id}): a new one is made, "
        "and its trials are delivered again from the store"
    ]


def _runs(found: list[Run]) -> str:
    return "1 run is" if len(found) == 1 else f"{len(found)} runs are"
