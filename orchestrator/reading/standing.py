"""Whether a report is up to date, by a digest of everything that it depends on."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.planning.sweepfile import resolved_yaml
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Child
from orchestrator.versions import VERSION
from orchestrator.vocabulary import Tag

FIELD = "made_from"
"""The digest in summary.json, like `Tag.REPORT_OF` for the report in MLflow."""

Row = tuple[str, str, int | None, bool, Mapping[str, float]]
"""A run: id, status, end, whether it is superseded, metrics."""


def of_runs(sweep: SweepConfig, runs: Iterable[Run]) -> str:
    """The digest of a sweep, from runs that were just read."""
    return _digest(
        sweep,
        (
            (
                run.info.run_id,
                run.info.status,
                run.info.end_time,
                run.data.tags.get(Tag.SUPERSEDED) == "true",
                run.data.metrics,
            )
            for run in runs
        ),
    )


def of_children(plan: Plan, children: Iterable[Child]) -> str:
    """The same, before runs that the plan no longer has are marked as superseded."""

    def superseded(child: Child) -> bool:
        if plan.complete or child.key in plan.keys:
            return child.key not in plan.keys
        return child.tags.get(Tag.SUPERSEDED) == "true"

    return _digest(
        plan.sweep,
        ((c.run_id, c.status, c.end_ms, superseded(c), c.metrics) for c in children),
    )


def _digest(sweep: SweepConfig, rows: Iterable[Row]) -> str:
    digest = hashlib.sha256(f"{VERSION}\n{resolved_yaml(sweep)}".encode())
    for run_id, status, end_ms, superseded, metrics in sorted(rows, key=lambda row: row[0]):
        digest.update(repr((run_id, status, end_ms, superseded)).encode())
        if not superseded:
            digest.update(repr(sorted(metrics.items())).encode())
    return digest.hexdigest()


def summary_of(folder: Path, digest: str | None) -> dict[str, Any] | None:
    """The summary in a folder, if it has this digest."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(summary, dict) and summary.get(FIELD) == digest
    return summary if fits else None


def report_folder(sweep: SweepConfig) -> Path:
    """The folder of the report on this machine: beside the store, or in the working directory.

    Names are unique within an experiment and do not contain `@`, so no two sweeps share a folder.
    """
    name, experiment = sweep.name, sweep.experiment_name
    return _reports(sweep) / (name if name == experiment else f"{name}@{experiment}")


def _reports(sweep: SweepConfig) -> Path:
    path = sweep.storage.path
    base = Path("lotus").absolute() if "://" in path else Path(path).parent
    return base / "reports"


def adopt_older(sweep: SweepConfig, run_ids: Iterable[str]) -> None:
    """Move the report of an earlier version, whose folder was named by the sweep alone.

    Its table of trials tells whose it is: a report of another experiment stays where it is.
    """
    folder, before = report_folder(sweep), _reports(sweep) / sweep.name
    if folder == before or folder.exists() or not (before / "trials.csv").is_file():
        return
    try:
        listed = set(pd.read_csv(before / "trials.csv", usecols=["run_id"], dtype=str)["run_id"])
        if listed & set(run_ids):
            before.rename(folder)
    except (OSError, ValueError):  # not a report, or it cannot be moved
        return
