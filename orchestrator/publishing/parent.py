"""What stands on the sweep's run: its headline numbers, the answer in words, and the report."""

import math
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from dashboards import files as report_files
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import resolved_yaml
from orchestrator.selection.answer import model_words
from orchestrator.tracking.artifacts import fetched, remove
from orchestrator.tracking.tracker import RunLog, Tracker
from orchestrator.versions import git_commit, hardware, versions
from orchestrator.vocabulary import Artifact, Metric, Tag


def publish_findings(sweep: SweepConfig, tracker: Tracker, summary: dict[str, Any]) -> None:
    """Put what was found on the sweep's run, in place of what stood there."""
    log = tracker.sweep_log()
    parent_metrics(tracker, log, summary)
    log.flush(tags={Tag.NOTE: _note(summary)})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sweep.yaml").write_text(resolved_yaml(sweep), encoding="utf-8")
        log.artifacts(Path(folder), "config")


def publish_report(tracker: Tracker, page: Path, state: str) -> None:
    """Put the report on the sweep's run, in place of what stood there.

    Args:
        page: of the report; what lies beside it belongs to it.
        state: the digest of the sweep that it was made from.
    """
    log = tracker.sweep_log()
    stale = sorted(_listed(tracker) - report_files.below(page.parent))
    remove(tracker, tracker.address.parent, [f"{Artifact.REPORT}/{path}" for path in stale])
    log.artifacts(page.parent, Artifact.REPORT)
    log.flush(tags={Tag.REPORT_OF: state})  # last: until now it may end half-done


def _listed(tracker: Tracker) -> set[str]:
    """Files that the report on the sweep's run has written, as it says itself and by its names."""
    run_id = tracker.address.parent
    there = {
        file.path.removeprefix(f"{Artifact.REPORT}/")
        for folder in (Artifact.REPORT, Artifact.FIGURES)
        for file in tracker.ask(partial(tracker.client.list_artifacts, run_id, folder))
        if not file.is_dir
    }
    with fetched(tracker, run_id, f"{Artifact.REPORT}/{report_files.LIST}") as local:
        return report_files.written_before(local, there)


def facts_of(sweep: SweepConfig) -> dict[str, str]:
    """Tags that say who computed it: the report may be made elsewhere and later."""
    found = versions() | {
        "hardware": hardware(),
        "git commit": git_commit() or "none",
        "threads per trial": f"{max(1, int(sweep.resources.cpu))}",
    }
    return {Tag.FACT + name: value for name, value in found.items()}


def parent_metrics(tracker: Tracker, log: RunLog, summary: dict[str, Any]) -> None:
    """The sweep's headline numbers; a new step each time, so their history shows growth.

    Seconds, but never fewer than before: MLflow takes the value of the largest step for the newest,
    and a clock may have been set back.
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
    # MLflow forgets no metric: what is not measured any more is a number no more.
    had = tracker.parent().data.metrics
    values |= {
        name: math.nan
        for name, value in values.items()
        if value is None and not math.isnan(had.get(name, math.nan))
    }
    points = tracker.ask(
        lambda: tracker.client.get_metric_history(tracker.address.parent, Metric.TRIALS_FINISHED)
    )
    last = max((point.step for point in points), default=0)
    log.metrics(values, step=max(int(time.time()), last + 1))


def _note(summary: dict[str, Any]) -> str:
    """What MLflow shows as the description of the sweep's run (Markdown)."""
    lines = [f"LOTUS sweep **{summary['sweep']}**. The report stands under Artifacts, `report/`."]
    lines += [f"- {said}" for said in summary["answer"].values() if said]
    if best := summary["recommended"]:
        lines.append(f"- Its model is `{best['name']}`, {model_words(best['n'])}.")
    return "\n".join(lines)
