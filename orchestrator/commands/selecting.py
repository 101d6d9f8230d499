"""What `lotus select` and `lotus export` read of a sweep, and how a selection is told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.planning.config import SweepConfig
from orchestrator.reading.tables import axis_columns, curve_table, trials_table
from orchestrator.selection import Selection, wanted_trials
from orchestrator.selection.answer import answer, model_words
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.short import NOTHING_RECOMMENDED
from orchestrator.tracking.artifacts import outcomes_of
from orchestrator.tracking.tracker import Tracker, find_sweep
from trials.errors import LotusError


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
