"""The contents of the sweep's run: headline numbers, the answer in words, and the report."""

import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from dashboards import files as report_files
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import resolved_yaml
from orchestrator.publishing.model import MEASURED
from orchestrator.publishing.notes import describe_experiment, sweep_note
from orchestrator.publishing.view import prepare_view
from orchestrator.tracking.artifacts import fetched, remove
from orchestrator.tracking.tracker import RunLog, Tracker
from orchestrator.versions import git_commit, hardware, versions
from orchestrator.vocabulary import Artifact, Metric, Tag


def publish_findings(
    sweep: SweepConfig, tracker: Tracker, summary: dict[str, Any], page: Path | None = None
) -> None:
    """Put metrics, answer, sweep file and view on the sweep's run, replacing earlier ones.

    Args:
        page: of the report, which `publish_report` is about to upload; None = there is none.
    """
    log = tracker.sweep_log()
    parent_metrics(tracker, log, summary)
    note = sweep_note(summary, tracker.address, page)
    log.flush(tags={Tag.NOTE: note})
    prepare_view(sweep, tracker, {})
    describe_experiment(tracker, note)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sweep.yaml").write_text(resolved_yaml(sweep), encoding="utf-8")
        log.artifacts(Path(folder), "config")


def publish_report(tracker: Tracker, page: Path, state: str) -> None:
    """Put the report on the sweep's run, replacing an earlier one.

    Args:
        page: of the report; all files beside it belong to it.
        state: digest of the sweep that it was made from.
    """
    log = tracker.sweep_log()
    stale = sorted(_listed(tracker) - report_files.below(page.parent))
    remove(tracker, tracker.address.parent, [f"{Artifact.REPORT}/{path}" for path in stale])
    log.artifacts(page.parent, Artifact.REPORT)
    log.flush(tags={Tag.REPORT_OF: state})  # last, when the report is complete


def _listed(tracker: Tracker) -> set[str]:
    """Files of the report on the sweep's run, by its own list and by their names."""
    run_id = tracker.address.parent
    present = {
        file.path.removeprefix(f"{Artifact.REPORT}/")
        for folder in (Artifact.REPORT, Artifact.FIGURES)
        for file in tracker.ask(partial(tracker.client.list_artifacts, run_id, folder))
        if not file.is_dir
    }
    with fetched(tracker, run_id, f"{Artifact.REPORT}/{report_files.LIST}") as local:
        return report_files.written_before(local, present)


def facts_of(sweep: SweepConfig) -> dict[str, str]:
    """Tags on the software and hardware that computed it; the report may be made elsewhere."""
    facts = versions() | {
        "hardware": hardware(),
        "git commit": git_commit() or "none",
        "threads per trial": f"{max(1, int(sweep.resources.cpu))}",
    }
    return {Tag.FACT + fact: value for fact, value in facts.items()}


def parent_metrics(tracker: Tracker, log: RunLog, summary: dict[str, Any]) -> None:
    """Log the sweep's headline numbers, with a new step each time to show their history.

    Steps count from 1. MLflow takes the largest one for the newest value, so those of a sweep that
    an earlier version began, which are seconds, go on from there.
    """
    essential, best = summary["essential_sparsity"] or {}, summary["recommended"] or {}
    values = {
        Metric.SWEEP_ESSENTIAL: essential.get("value"),
        Metric.SWEEP_ESSENTIAL_LOW: essential.get("low"),
        Metric.SWEEP_ESSENTIAL_HIGH: essential.get("high"),
        Metric.BEST_VAL_ACCURACY: best.get("val_accuracy"),
        Metric.BEST_TEST_ACCURACY: best.get("test_accuracy"),
        Metric.BEST_DENSE_TEST_ACCURACY: best.get("dense_test_accuracy"),
        Metric.BEST_DIFFERENCE: best.get("difference"),
        Metric.BEST_MACS_RATIO: best.get("macs_ratio"),
        Metric.TRIALS_FINISHED: summary["trials"]["finished"],
        Metric.TRIALS_FAILED: summary["trials"]["failed"],
        Metric.COST_DEVICE_HOURS: summary["cost"]["device_hours"],
        Metric.COST_DEVICE_HOURS_SAVED: summary["cost"]["device_hours_saved"],
    }
    if not best:
        values |= dict.fromkeys(MEASURED)  # the model is withdrawn
    # Metrics cannot be deleted in MLflow: those that are no longer measured become NaN.
    before = tracker.parent().data.metrics
    values |= {
        metric: math.nan
        for metric, value in values.items()
        if value is None and not math.isnan(before.get(metric, math.nan))
    }
    points = tracker.ask(
        lambda: tracker.client.get_metric_history(tracker.address.parent, Metric.TRIALS_FINISHED)
    )
    last = max((point.step for point in points), default=0)
    log.metrics(values, step=last + 1)
