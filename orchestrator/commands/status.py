"""How sweeps stand, for people and for programs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.commands.collecting import Collected, asker, collect
from orchestrator.driver.state import look
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.planning.sections import TrackingSection, default_tracking
from orchestrator.reading.tables import axis_columns, curve_table, trials_table
from orchestrator.secrets import redacted
from orchestrator.selection import Selection, wanted_trials
from orchestrator.selection.answer import answer, model_words
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.short import NOTHING_RECOMMENDED
from orchestrator.storage.store import Entry, Store, object_path
from orchestrator.tracking.artifacts import outcomes_of
from orchestrator.tracking.pending import Pending, all_notes
from orchestrator.tracking.tracker import Address, Tracker, TrackingAway, find_sweep, list_sweeps
from orchestrator.vocabulary import Tag
from trials.errors import LotusError


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


NOTHING: dict[str, Any] = {"freeable_bytes": 0, "freeable_error": None}
"""Of an empty store."""


class _Looked(Store):
    """A store whose index is read once, for several who look."""

    _seen: dict[str, Entry | None] | None = None

    def indexed(self) -> dict[str, Entry | None]:
        if self._seen is None:
            self._seen = super().indexed()
        return dict(self._seen)


def store_size(path: str, *uris: str) -> dict[str, Any]:
    """Bytes of a store, in all and by stage, and how many `lotus gc` would free now.

    An object that two stages share counts once. Bytes are None, with the reason, for a store that
    cannot be read from here, and where nobody knows what may be freed.

    Args:
        uris: tracking stores with their passwords, which pins do not hold.
    """
    try:
        store = _Looked(path)
        objects = store.files.list("objects")
        found: Counter[str] = Counter()
        left = {name: info.bytes for name, info in objects.items()}
        for entry in store.entries():
            found[entry.stage] += left.pop(object_path(entry.object), 0)
    except LotusError as error:
        why = str(error)
        return {"path": redacted(path), "bytes": None, "stages": {}, "error": why} | _unknown(why)
    stages = dict(found.most_common())
    return {
        "path": redacted(path),
        "bytes": sum(info.bytes for info in objects.values()),
        "stages": stages | ({"unused": sum(left.values())} if left else {}),
    } | (_freeable(store, uris) if objects else NOTHING)


def _freeable(store: Store, uris: Sequence[str]) -> dict[str, Any]:
    try:
        found = collect(store, asker([default_tracking(), *uris]), dry_run=True)
    except LotusError as error:
        return _unknown(str(error))
    return {"freeable_bytes": found.freed_bytes, "freeable_error": None}


def _unknown(why: str) -> dict[str, Any]:
    return {"freeable_bytes": None, "freeable_error": why}


def describe_store(size: dict[str, Any]) -> str:
    """The size of a store in words."""
    if size["bytes"] is None:
        return f"store {size['path']}: {size['error']}"
    parts = [f"{stage} {_mebibytes(count)}" for stage, count in size["stages"].items()]
    listed = f" ({', '.join(parts)})" if parts else ""
    free = size["freeable_bytes"]
    freed = "" if free is None else f"; `lotus gc` would free {_mebibytes(free)} now"
    return f"store {size['path']}: {_mebibytes(size['bytes'])}{listed}{freed}"


def describe_collected(found: Collected) -> str:
    """What `lotus gc` did, in words."""
    done = "would free" if found.dry_run else "freed"
    lines = [f"  kept     {name}: {reason}" for name, reason in found.kept]
    lines += [f"  dropped  {name}: {reason}" for name, reason in found.dropped]
    lines += [
        f"  {done} {_mebibytes(found.bytes[kind])} of {kind} ({count} files)"
        for kind, count in sorted(found.files.items(), key=lambda one: -found.bytes[one[0]])
    ]
    if found.unknown:
        lines.append(
            f"  {len(found.unknown)} of {len(found.kept)} kept sweeps are unknown to MLflow, so "
            "nothing of theirs is freed. If its database was restored or made anew, run them again "
            "(nothing is computed again). If their runs were removed for good, `lotus gc --force` "
            "frees their results."
        )
    if found.before_pins:
        lines.append(
            f"  {found.before_pins} results that no known sweep needs stay, because they are older "
            "than the first sweep that said what it needs. Run every sweep that you want to keep "
            "once more, then `lotus gc --old`."
        )
    return "\n".join([*lines, f"{done} {_mebibytes(found.freed_bytes)}"])


def collected_json(found: Collected) -> dict[str, Any]:
    """The same for programs."""
    sweeps = [
        {"sweep": name, "kept": stays, "reason": reason}
        for stays, listed in ((True, found.kept), (False, found.dropped))
        for name, reason in listed
    ]
    return {
        "dry_run": found.dry_run,
        "freed_bytes": found.freed_bytes,
        "files": dict(found.files),
        "bytes": dict(found.bytes),
        "before_pins": found.before_pins,
        "unknown": found.unknown,
        "sweeps": sweeps,
    }


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


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


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a selection reads of a sweep.

    Attributes:
        axes: its further axes, columns of the table.
        curve: what measured its one-shot curve.
    """

    trials: pd.DataFrame
    axes: Sequence[str]
    curve: pd.DataFrame
    tracker: Tracker

    def outcomes(self, tolerance: float) -> Outcomes:
        """Which images the recommended models and their dense ones get right."""
        wanted = wanted_trials(self.trials, tolerance, self.axes, all_arms=False)
        return outcomes_of(self.tracker, self.trials, wanted)[0]


def tracked_results(sweep: SweepConfig) -> Tracked:
    """The trials of a sweep, from its tracking store.

    Raises:
        LotusError: it has never run there.
    """
    address = find_sweep(sweep)
    if address is None:
        raise LotusError(f"{sweep.name} has not run yet in this tracking store: run it first")
    tracker = Tracker(address)
    runs = tracker.runs()
    axes = axis_columns(tracker.parent().data.tags)
    return Tracked(trials_table(runs), axes, curve_table(runs), tracker)


def selection_json(found: Selection) -> dict[str, Any]:
    """A selection with plain values only."""
    essential = None
    if found.essential is not None:
        fields = (
            "value", "low", "high", "scope", "bracket", "detector", "tolerance", "confidence",
        )  # fmt: skip
        essential = {name: getattr(found.essential, name) for name in fields}
    return {
        "essential_sparsity": essential,
        "recommended": asdict(found.recommended) if found.recommended else None,
        "answer": answer(found.essential, found.recommended),
    }


def describe_selection(found: Selection) -> str:
    """A selection in words: the sentences of the report's first screen."""
    said = answer(found.essential, found.recommended)
    lines = [str(said["essential"])]
    if (best := found.recommended) is None:
        return "\n".join([*lines, NOTHING_RECOMMENDED])
    lines += [str(said[name]) for name in ("recommended", "saves", "costs", "surer")]
    lines += [best.reason, f"Its model: {best.name}, {model_words(best.n)}."]
    return "\n".join(lines)
