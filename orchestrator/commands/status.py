"""How sweeps stand, for people and for programs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.commands.sizes import store_size
from orchestrator.driver.state import look
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.planning.sections import TrackingSection, default_tracking
from orchestrator.reading.tables import trials_table
from orchestrator.storage.store import Store
from orchestrator.tracking.pending import Pending, all_notes
from orchestrator.tracking.tracker import Address, Tracker, TrackingAway, find_sweep, list_sweeps
from orchestrator.vocabulary import Tag


def of_sweep(sweep: SweepConfig) -> dict[str, Any]:
    """Counts of one sweep against its plan.

    Raises:
        TrackingAway: MLflow does not answer; says what the store keeps for it.
    """
    planned = plan(sweep)
    try:
        state = look(sweep, planned)
    except TrackingAway as error:
        waiting = len(all_notes(Store(sweep.storage.path)).keys() & planned.nodes.keys())
        raise TrackingAway(f"{error} {describe_waiting(sweep, waiting)}".strip()) from error
    if state is not None:
        planned = state.plan
    children = state.children if state else {}
    wanted = {trial.key: trial.name for trial in planned.trials}
    found = {key: child for key, child in children.items() if key in wanted}
    errors = {
        wanted[key]: child.tags.get(Tag.ERROR, "unknown")
        for key, child in found.items()
        if child.status == "FAILED"
    }
    statuses = [child.status for child in found.values()]
    row = _row(sweep.name, sweep.experiment_name, statuses, planned.expected, errors)
    owed = Pending(state.store, state.tracker.address.parent).all() if state else {}
    row |= {"waiting": len(owed.keys() & planned.nodes.keys())}
    return row | {"store": store_size(sweep.storage.path, sweep.tracking.uri)}


def describe_waiting(sweep: SweepConfig, count: int) -> str:
    """What MLflow has not got; empty when it has everything."""
    if not count:
        return ""
    return (
        f"{count} trials and shared stages are computed and kept in {sweep.storage.path}, and not "
        "in MLflow yet: `lotus run` delivers them."
    )


def all_sweeps(uri: str | None, *, sized: bool = True) -> list[dict[str, Any]]:
    """Counts of every sweep in a tracking store; with `sized` also the sizes of their stores."""
    section = TrackingSection(uri=uri or default_tracking())
    rows = []
    sizes: dict[str, dict[str, Any]] = {}
    experiments: dict[str, str] = {}
    for run in list_sweeps(section.uri):
        tags = run.data.tags
        address = Address(section.uri, run.info.experiment_id, run.info.run_id)
        row = _tracked_row(Tracker(address), tags, experiments)
        if sized:
            if path := tags.get(Tag.STORAGE):
                sizes[path] = sizes.get(path) or store_size(path, section.uri)
            row |= {"store": sizes.get(path or "")}
        rows.append(row)
    return rows


def of_tracked(sweep: SweepConfig) -> dict[str, Any]:
    """Counts of one sweep from its tracking store alone: neither data nor store need be here."""
    address = find_sweep(sweep)
    if address is None:
        return _row(sweep.name, sweep.experiment_name, [], 0, {})
    tracker = Tracker(address)
    experiments = {address.experiment_id: sweep.experiment_name}
    return _tracked_row(tracker, tracker.parent().data.tags, experiments)


def _tracked_row(
    tracker: Tracker, tags: Mapping[str, str], experiments: dict[str, str]
) -> dict[str, Any]:
    """Counts by the runs alone.

    Args:
        experiments: id -> name, as far as they are known; filled up here.
    """
    own = tracker.address.experiment_id
    if own not in experiments:
        experiments[own] = tracker.ask(lambda: tracker.client.get_experiment(own)).name
    runs = tracker.runs()
    table = trials_table(runs)
    failed = table[table["status"] == "FAILED"]
    errors = dict(zip(failed["name"], failed["error"].fillna("unknown"), strict=True))
    planned = int(tags.get(Tag.TRIALS_PLANNED, len(table)))
    now = [str(run.info.run_name) for run in runs if run.info.status == "RUNNING"]
    row = _row(tags[Tag.NAME], experiments[own], list(table["status"]), planned, errors)
    return row | {"now": now}


def _row(
    name: str, experiment: str, statuses: Sequence[str], planned: int, errors: dict[str, str]
) -> dict[str, Any]:
    counts = Counter(statuses)
    return {
        "sweep": name,
        "experiment": experiment,
        "planned": planned,
        "finished": counts["FINISHED"],
        "running": counts["RUNNING"],
        "failed": counts["FAILED"] + counts["KILLED"],
        "missing": max(0, planned - len(statuses)),
        "errors": errors,
    }
