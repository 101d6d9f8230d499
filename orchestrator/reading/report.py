"""The report: read from the tracking store, written by `dashboards`, kept on the sweep's run."""

import contextlib
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from dashboards import Picture, ReportData, write_report
from dashboards import files as report_files
from orchestrator import selection
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.planning.sweepfile import resolved_yaml
from orchestrator.reading import ages, overlap, standing
from orchestrator.reading.again import report_command
from orchestrator.reading.standing import report_folder
from orchestrator.reading.tables import axis_columns, curve_table, learning_curves, trials_table
from orchestrator.secrets import without_password
from orchestrator.selection import diagnosis, series
from orchestrator.selection.answer import model_words
from orchestrator.selection.settings import best_settings, settings
from orchestrator.storage.store import Store
from orchestrator.tracking.artifacts import ArtifactError, fetched, gone, outcomes_of, remove
from orchestrator.tracking.database import path_of, read_only
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Child, RunLog, Tracker, TrackingError, open_sweep
from orchestrator.versions import git_commit, hardware, versions
from orchestrator.vocabulary import Artifact, Metric, Tag
from trials.errors import LotusError

MAX_PICTURES = 4


def refresh(
    plan: Plan,
    store: Store,
    tracker: Tracker,
    children: Iterable[Child] | None,
    page: bool,
    wall_s: float,
) -> tuple[dict[str, Any], str | None]:
    """Bring metrics, best model and report of the sweep's run up to date.

    Where all is made from the sweep as it stands already, it is only read.

    Args:
        children: all runs, where nothing has run; None = trials have run since they were read.
        page: whether a report page is wanted.

    Returns:
        The summary, and where the report page lies.
    """
    where = report_folder(plan.sweep)
    if children is not None:
        known = list(children)
        standing.adopt_older(plan.sweep, [child.run_id for child in known])
        digest = standing.of_children(plan, known)
        found, old = standing.summary_of(where, digest), where / "report.html"
        published = tracker.parent().data.tags.get(Tag.REPORT_OF) == digest
        if found and published and old.exists():
            return found, str(old)
    else:
        tracker.sweep_log().flush(tags={Tag.WALL_S: f"{wall_s:.3f}", **_facts(plan.sweep)})
    runs, parent = tracker.runs(), tracker.parent()
    standing.adopt_older(plan.sweep, [run.info.run_id for run in runs])
    summary = summarise(plan.sweep, tracker, runs, parent.data.tags)
    _best_model(plan, store, tracker, runs, summary)
    if page:
        summary = with_curves(summary, tracker, trials_table(runs), parent.data.tags)
        return summary, str(write(plan.sweep, tracker, where, runs, summary))
    _publish(plan.sweep, tracker, summary)
    return summary, None


def _best_model(
    plan: Plan, store: Store, tracker: Tracker, runs: Sequence[Run], summary: dict[str, Any]
) -> None:
    """The recommended trial's model on the sweep's run, and no other one."""
    from orchestrator.publishing.best import publish_best, withdraw_best

    recommended, retention = summary["recommended"], plan.sweep.retention.checkpoints
    if not recommended:
        withdraw_best(tracker, retention)
    elif retention != "none":
        table = trials_table(runs)
        run_id = table.loc[table["key"] == recommended["trial_key"], "run_id"].iloc[0]
        publish_best(plan, store, tracker, recommended["trial_key"], retention, run_id)


def _publish(
    sweep: SweepConfig, tracker: Tracker, summary: dict[str, Any], page: Path | None = None
) -> None:
    """Put what was found on the sweep's run, in place of what stood there.

    Args:
        page: of the report, if one was written.
    """
    log = tracker.sweep_log()
    _parent_metrics(tracker, log, summary)
    log.flush(tags={Tag.NOTE: _note(summary)})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sweep.yaml").write_text(resolved_yaml(sweep), encoding="utf-8")
        log.artifacts(Path(folder), "config")
    if page is None:
        return
    stale = sorted(_listed(tracker) - report_files.below(page.parent))
    remove(tracker, tracker.address.parent, [f"{Artifact.REPORT}/{path}" for path in stale])
    log.artifacts(page.parent, Artifact.REPORT)
    log.flush(tags={Tag.REPORT_OF: summary[standing.FIELD]})  # last: until now it may end half-done


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


def _facts(sweep: SweepConfig) -> dict[str, str]:
    """Who computed it, kept as tags: the report may be made elsewhere and later."""
    found = versions() | {
        "hardware": hardware(),
        "git commit": git_commit() or "none",
        "threads per trial": f"{max(1, int(sweep.resources.cpu))}",
    }
    return {Tag.FACT + name: value for name, value in found.items()}


def _parent_metrics(tracker: Tracker, log: RunLog, summary: dict[str, Any]) -> None:
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


def summarise(
    sweep: SweepConfig, tracker: Tracker, runs: Sequence[Run], tags: dict[str, str]
) -> dict[str, Any]:
    """The content of summary.json, from the sweep's runs and a bounded part of their artifacts."""
    table = trials_table(runs)
    mixed = ages.counts(table)
    share = tags.get(Tag.GPU_SHARE) if sweep.resources.gpu == "auto" else None
    used, saved = device_hours(runs, sweep, float(share) if share else None)
    wall = tags.get(Tag.WALL_S)
    axes = axis_columns(tags)
    known = [axis for axis in axes if axis in table]
    compared = selection.wanted_trials(table, sweep.essential.tolerance, known)
    wanted = [*compared, *diagnosis.needed_trials(table)]
    outcomes, unreadable = outcomes_of(tracker, table, wanted)
    if lost := gone(tracker, runs):
        unreadable.insert(0, lost)
    summary = selection.summarise(
        table,
        sweep=sweep.name,
        planned=int(tags.get(Tag.TRIALS_PLANNED, len(table))),
        device="gpu" if sweep.resources.gpu else "cpu",
        device_hours=used,
        device_hours_saved=saved,
        wall_s=float(wall) if wall else None,
        tolerance=sweep.essential.tolerance,
        detector=sweep.essential.detector,
        axes=axes,
        curve=curve_table(runs),
        extra_warnings=[*ages.warning(mixed), *unreadable],
        outcomes=outcomes,
    )
    return {
        **summary,
        "experiment": sweep.experiment_name,
        "versions": mixed,
        "overlap": overlap.measured(tracker, table, known),
        standing.FIELD: standing.of_runs(sweep, runs),
    }


def device_hours(
    runs: Sequence[Run], sweep: SweepConfig, measured: float | None = None
) -> tuple[float, float]:
    """Device-hours that the sweep's stages took, and what repeating them per trial would have.

    A shared stage counts once, a stage from an earlier sweep not at all. A device is a GPU where
    trials ask for one, else a CPU core.

    Args:
        measured: the part of a GPU that a trial has with `resources.gpu: auto`; None = unknown.
    """
    spent = alone = 0.0
    for run in runs:
        tags, metrics = run.data.tags, run.data.metrics
        if tags.get(Tag.SUPERSEDED) == "true":
            continue
        if tags.get(Tag.KIND) == "stage":
            if tags.get(Tag.CACHED) != "true":
                spent += sum(v for k, v in metrics.items() if k.startswith(Metric.TIME))
        elif Metric.TIME_TOTAL_S in metrics:
            spent += max(0.0, metrics[Metric.TIME_TOTAL_S] - metrics.get(Metric.CACHE_SAVED_S, 0.0))
            alone += metrics[Metric.TIME_TOTAL_S]
    share = (measured or sweep.resources.gpus or sweep.resources.cpu) / 3600
    return spent * share, max(0.0, alone - spent) * share


def write(
    sweep: SweepConfig,
    tracker: Tracker,
    output: Path,
    runs: Sequence[Run] | None = None,
    summary: dict[str, Any] | None = None,
    upload: bool = True,
) -> Path:
    """Write the report from the tracking store alone, and put it on the sweep's run."""
    runs = tracker.runs() if runs is None else runs
    tags = tracker.parent().data.tags
    table = trials_table(runs)
    if summary is None:
        summary = summarise(sweep, tracker, runs, tags)
    summary = with_curves(summary, tracker, table, tags)
    data = ReportData(
        summary=summary,
        trials=table,
        pictures=_pictures(tracker, table),
        sweep_yaml=resolved_yaml(sweep),
        facts=_shown_facts(tags, tracker) | ages.facts(summary.get("versions") or {}),
        command=report_command(sweep, tracker.address),
    )
    page = write_report(data, output)
    if upload:
        _publish(sweep, tracker, summary, page)
    return page


def with_curves(
    summary: dict[str, Any], tracker: Tracker, table: pd.DataFrame, tags: dict[str, str]
) -> dict[str, Any]:
    """The summary with the learning curves that the page draws; some requests for each trial."""
    if "finetuning" in summary:
        return summary
    return summary | {"finetuning": _learning_curves(tracker, table, axis_columns(tags))}


def report(sweep: SweepConfig, output: Path | None = None) -> Path:
    """Make the report again from the tracking store.

    Raises:
        LotusError: the sweep has never run there; or artifacts of it are missing, without which the
            report is written.
    """
    address = open_sweep(sweep, create=False)
    if address is None:
        raise LotusError(
            f"{sweep.name} has no run in {without_password(sweep.tracking.uri)}: run it first, or "
            "name the right store with --tracking-uri"
        )
    path = path_of(address.uri)
    if output is None and path is not None and read_only(path):
        raise LotusError(f"{path} cannot be written to here: name a folder with --output")
    tracker = Tracker(address)
    runs = tracker.runs()
    if output is None:
        standing.adopt_older(sweep, [run.info.run_id for run in runs])
    folder = output or report_folder(sweep)
    page = write(sweep, tracker, folder, runs, upload=output is None)
    if lost := gone(tracker, runs):
        raise LotusError(f"{lost}. The report is written without them: {page}")
    return page


def _learning_curves(
    tracker: Tracker, table: pd.DataFrame, axes: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Fine-tuning at each arm's best setting; only those trials' histories are read."""
    found = settings(table, [axis for axis in axes if axis in table])
    keys = {row["key"] for setting in best_settings(found).values() for row in setting.trials}
    curves = series.curves_of(learning_curves(tracker, table[table["key"].isin(keys)]))
    return series.finetuning(found, curves, selection.CONFIDENCE)


def _pictures(tracker: Tracker, table: pd.DataFrame) -> tuple[Picture, ...]:
    """One ticket picture per patch drop, of the first finished trial that has one."""
    found: list[Picture] = []
    full = (table["status"] == "FINISHED") & table["rung"].isna()
    ticketed = table[full & table["patch_drop"].gt(0)]
    for drop in sorted(set(ticketed["patch_drop"]))[:MAX_PICTURES]:
        trial = ticketed[ticketed["patch_drop"] == drop].iloc[0]
        content = _artifact(tracker, trial["run_id"], Artifact.TICKET_EXAMPLES)
        if content is not None:
            found.append(Picture(title=trial["name"], patch_drop=float(drop), png=content))
    return tuple(found)


def _artifact(tracker: Tracker, run_id: str, path: str) -> bytes | None:
    """A small artifact; None when the run has none of that name, or none that can be read."""
    with contextlib.suppress(ArtifactError), fetched(tracker, run_id, path) as local:  # see `gone`
        return local.read_bytes() if local else None
    return None


def _shown_facts(tags: dict[str, str], tracker: Tracker) -> dict[str, str]:
    prefix = Tag.FACT
    facts = {k.removeprefix(prefix): v for k, v in tags.items() if k.startswith(prefix)}
    return {
        "made at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "tracking": without_password(tracker.address.uri),
        **facts,
    }


__all__ = ["TrackingError", "device_hours", "refresh", "report", "report_folder", "write"]
