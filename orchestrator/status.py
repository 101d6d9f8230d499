"""How sweeps stand, for people and for programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from orchestrator import driver
from orchestrator.config import SweepConfig, TrackingSection
from orchestrator.planning import plan
from orchestrator.selection import Selection
from orchestrator.tables import axis_columns, curve_table, trials_table
from orchestrator.tracking import Address, Tracker, list_sweeps, open_sweep
from trials.errors import LotusError


def of_sweep(sweep: SweepConfig) -> dict[str, Any]:
    """Counts of one sweep against its plan."""
    planned = plan(sweep)
    state = driver.look(sweep, planned)
    if state is not None:
        planned = state.plan
    children = state.children if state else {}
    wanted = {trial.key: trial.name for trial in planned.trials}
    found = {key: child for key, child in children.items() if key in wanted}
    errors = {
        wanted[key]: child.tags.get("lotus.error", "unknown")
        for key, child in found.items()
        if child.status == "FAILED"
    }
    return _row(sweep.name, [c.status for c in found.values()], planned.expected, errors)


def all_sweeps(uri: str | None) -> list[dict[str, Any]]:
    """Counts of every sweep in a tracking store."""
    section = TrackingSection(uri=uri) if uri else TrackingSection()
    rows = []
    for run in list_sweeps(section.uri):
        tags = run.data.tags
        address = Address(section.uri, run.info.experiment_id, run.info.run_id)
        table = trials_table(Tracker(address).runs())
        failed = table[table["status"] == "FAILED"]
        errors = dict(zip(failed["name"], failed["error"].fillna("unknown"), strict=True))
        planned = int(tags.get("lotus.trials_planned", len(table)))
        rows.append(_row(tags["lotus.name"], list(table["status"]), planned, errors))
    return rows


def _row(
    name: str, statuses: Sequence[str], planned: int, errors: dict[str, str]
) -> dict[str, Any]:
    counts = Counter(statuses)
    return {
        "sweep": name,
        "planned": planned,
        "finished": counts["FINISHED"],
        "running": counts["RUNNING"],
        "failed": counts["FAILED"] + counts["KILLED"],
        "missing": max(0, planned - len(statuses)),
        "errors": errors,
    }


def tracked_results(sweep: SweepConfig) -> tuple[pd.DataFrame, Sequence[str], pd.DataFrame]:
    """The trials of a sweep, its further axes, and what measured its one-shot curve.

    Raises:
        LotusError: it has never run there.
    """
    address = open_sweep(sweep, create=False)
    if address is None:
        raise LotusError(f"{sweep.name} has not run yet in this tracking store: run it first")
    tracker = Tracker(address)
    runs = tracker.runs()
    return trials_table(runs), axis_columns(tracker.parent().data.tags), curve_table(runs)


def selection_json(found: Selection) -> dict[str, Any]:
    """A selection with plain values only."""
    essential = None
    if found.essential is not None:
        fields = ("value", "low", "high", "bracket", "detector", "tolerance", "confidence")
        essential = {name: getattr(found.essential, name) for name in fields}
    return {
        "essential_sparsity": essential,
        "recommended": asdict(found.recommended) if found.recommended else None,
    }


def describe_selection(found: Selection) -> str:
    """A selection in words."""
    lines = ["essential sparsity: not measured (no finished one-shot level)"]
    if (one := found.essential) is not None:
        high = "not reached" if one.high is None else f"{one.high:g}"
        lines = [
            f"essential sparsity: {one.value:g}, {100 * one.confidence:g} % interval "
            f"{one.low:g} to {high}, bracket {one.bracket[0]:g} to "
            f"{'none' if one.bracket[1] is None else format(one.bracket[1], 'g')} "
            f"({one.detector}, tolerance {one.tolerance:g})"
        ]
    if (best := found.recommended) is not None:
        lines += [f"recommended: {best.name}", f"  {best.reason}"]
    else:
        lines += ["recommended: nothing (no finished trial of a LOTUS arm)"]
    return "\n".join(lines)
