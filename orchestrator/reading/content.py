"""The content of a report, from the sweep's runs and a limited part of their artifacts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from dashboards import ReportData
from orchestrator import selection
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import resolved_yaml
from orchestrator.publishing.datasets import read_data
from orchestrator.reading import ages, gallery, layers, overlap, standing
from orchestrator.reading.again import report_command
from orchestrator.reading.spent import device_hours
from orchestrator.reading.tables import axis_columns, curve_table, learning_curves, trials_table
from orchestrator.secrets import without_password
from orchestrator.selection import diagnosis, series
from orchestrator.selection.settings import best_settings, group_settings
from orchestrator.tracking.artifacts import gone, outcomes_of
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Tracker
from orchestrator.vocabulary import Tag


@dataclass(frozen=True, slots=True)
class Read:
    """A sweep as read from the tracking store.

    Attributes:
        tags: of the sweep's run.
        table: of its trials; see `tables.trials_table`.
    """

    sweep: SweepConfig
    tracker: Tracker
    runs: Sequence[Run]
    tags: dict[str, str]
    table: pd.DataFrame

    @classmethod
    def of(cls, sweep: SweepConfig, tracker: Tracker, runs: Sequence[Run] | None = None) -> "Read":
        """Read the current state.

        Args:
            runs: all of the sweep's, if they are at hand.
        """
        runs, parent = tracker.runs() if runs is None else runs, tracker.parent()
        return cls(sweep, tracker, runs, parent.data.tags, trials_table(runs))

    @property
    def run_ids(self) -> list[str]:
        """Run ids of trials and shared stages."""
        return [run.info.run_id for run in self.runs]

    @property
    def axes(self) -> list[str]:
        """The further axes that the table has."""
        return [axis for axis in axis_columns(self.tags) if axis in self.table]


def summarise(read: Read) -> dict[str, Any]:
    """The content of summary.json, without the learning curves, which only the page draws."""
    sweep, table = read.sweep, read.table
    mixed = ages.counts(table)
    share = read.tags.get(Tag.GPU_SHARE) if sweep.resources.gpu == "auto" else None
    told = ((run.data.tags, run.data.metrics) for run in read.runs)
    used, saved = device_hours(told, sweep, float(share) if share else None)
    wall = read.tags.get(Tag.WALL_S)
    compared = selection.wanted_trials(table, sweep.essential.resolved().tolerance, read.axes)
    wanted = [*compared, *diagnosis.needed_trials(table)]
    outcomes, unreadable = outcomes_of(read.tracker, table, wanted)
    if lost := gone(read.tracker, read.runs):
        unreadable.insert(0, lost)
    masks = overlap.measured(read.tracker, table, read.axes)
    summary = selection.summarise(
        table,
        sweep=sweep.name,
        planned=int(read.tags.get(Tag.TRIALS_PLANNED, len(table))),
        device="gpu" if sweep.resources.gpu else "cpu",
        device_hours=used,
        device_hours_saved=saved,
        device_hours_predicted=_number(read.tags.get(Tag.PREDICTED_HOURS)),
        wall_s=_number(wall),
        tolerance=sweep.essential.resolved().tolerance,
        detector=sweep.essential.resolved().detector,
        axes=axis_columns(read.tags),
        curve=curve_table(read.runs),
        extra_warnings=[*ages.warning(mixed), *unreadable],
        outcomes=outcomes,
        overlap=masks,
    )
    return {
        **summary,
        "experiment": sweep.experiment_name,
        "data": [known.shown for known in read_data(read.tracker)],
        "versions": mixed,
        "overlap": masks,
        "layers": layers.measured(read.tracker, table, read.axes, summary["recommended"]),
        standing.FIELD: standing.of_runs(sweep, read.runs),
    }


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def with_curves(read: Read, summary: dict[str, Any]) -> dict[str, Any]:
    """The summary with the learning curves of each arm's best setting.

    Takes some requests for each of their trials.
    """
    settings = group_settings(read.table, read.axes)
    keys = {row["key"] for setting in best_settings(settings).values() for row in setting.trials}
    points = learning_curves(read.tracker, read.table[read.table["key"].isin(keys)])
    curves = series.finetuning(settings, series.curves_of(points), selection.CONFIDENCE)
    return summary | {"finetuning": curves}


def report_data(read: Read, summary: dict[str, Any], live: bool = False) -> ReportData:
    """The data of the report page.

    Args:
        live: whether the page will be written again while the sweep runs.
    """
    return ReportData(
        summary=summary,
        trials=read.table,
        pictures=gallery.pictures(read.tracker, read.table),
        gallery=gallery.recorded(read.tracker, read.table),
        sweep_yaml=resolved_yaml(read.sweep),
        facts=_facts(read) | ages.facts(summary["versions"] or {}),
        command=report_command(read.sweep, read.tracker.address),
        live=live,
    )


def _facts(read: Read) -> dict[str, str]:
    prefix = Tag.FACT
    computed = {k.removeprefix(prefix): v for k, v in read.tags.items() if k.startswith(prefix)}
    return {
        "made at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "tracking": without_password(read.tracker.address.uri),
        **computed,
    }
