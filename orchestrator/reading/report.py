"""The report: read from the tracking store, written by `dashboards`, logged on the sweep's run.

content.Read    the sweep's runs, read from the tracking store
summarise       summary.json
report_data     the summary, and what only the page shows
write_report    the page (`dashboards`)
publish_*       both on the sweep's run (`publishing/parent.py`)
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dashboards import write_report
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.publishing.datasets import publish_data
from orchestrator.publishing.parent import facts_of, publish_findings, publish_report
from orchestrator.reading import standing
from orchestrator.reading.content import Read, report_data, summarise, with_curves
from orchestrator.reading.standing import report_folder
from orchestrator.secrets import without_password
from orchestrator.storage.store import Store
from orchestrator.tracking.artifacts import gone
from orchestrator.tracking.database import path_of, read_only
from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Child, Tracker, find_sweep
from orchestrator.vocabulary import Tag
from trials.errors import LotusError


def refresh(
    plan: Plan,
    store: Store,
    tracker: Tracker,
    children: Iterable[Child] | None,
    page: bool,
    wall_s: float,
    runs: Sequence[Run] | None = None,
) -> tuple[dict[str, Any], str | None]:
    """Bring metrics, best model and report of the sweep's run up to date.

    If they already match the current state of the sweep, they are only read.

    Args:
        children: all runs, if nothing was run; None = trials have run since they were read.
        page: whether a report page is wanted.
        runs: all runs with all data, if they are at hand.

    Returns:
        The summary, and the path of the report page.
    """
    folder = report_folder(plan.sweep)
    if children is not None:
        before = list(children)
        standing.adopt_older(plan.sweep, [child.run_id for child in before])
        digest = standing.of_children(plan, before)
        summary_of_before, page_before = standing.summary_of(folder, digest), folder / "report.html"
        published = tracker.parent().data.tags.get(Tag.REPORT_OF) == digest
        if summary_of_before and published and page_before.exists():
            return summary_of_before, str(page_before)
    else:
        tracker.sweep_log().flush(tags={Tag.WALL_S: f"{wall_s:.3f}", **facts_of(plan.sweep)})
    publish_data(plan, tracker)
    read = Read.of(plan.sweep, tracker, runs)
    standing.adopt_older(plan.sweep, read.run_ids)
    summary = summarise(read)
    _best_model(plan, store, read, summary)
    if page:
        summary = with_curves(read, summary)
        return summary, str(_write(read, summary, folder, upload=True))
    publish_findings(plan.sweep, tracker, summary)
    return summary, None


def _best_model(plan: Plan, store: Store, read: Read, summary: dict[str, Any]) -> None:
    """Log the recommended trial's model on the sweep's run, and no other one."""
    from orchestrator.publishing.best import publish_best, withdraw_best

    recommended, retention = summary["recommended"], plan.sweep.retention
    if not recommended:
        withdraw_best(read.tracker, retention.checkpoints)
    elif retention.checkpoints != "none":
        table, key = read.table, recommended["trial_key"]
        run_id = table.loc[table["key"] == key, "run_id"].iloc[0]
        publish_best(plan, store, read.tracker, key, retention, run_id, summary["answer"])


def _write(
    read: Read, summary: dict[str, Any], folder: Path, upload: bool, live: bool = False
) -> Path:
    """Write the page, and with `upload` put everything on the sweep's run."""
    page = write_report(report_data(read, summary, live), folder)
    if upload:
        publish_findings(read.sweep, read.tracker, summary, page)
        publish_report(read.tracker, page, summary[standing.FIELD])
    return page


def report(
    sweep: SweepConfig, output: Path | None = None, live: Callable[[Read], bool] = lambda _: False
) -> Path:
    """Make the report again from the tracking store.

    Args:
        live: says of the sweep as it was read whether the report will be written again.

    Raises:
        LotusError: the sweep has never run there; or artifacts are missing, and the report was
            written without them.
    """
    address = find_sweep(sweep)
    if address is None:
        raise LotusError(
            f"{sweep.name} has no run in {without_password(sweep.tracking.uri)}: run it first, or "
            "name the right store with --tracking-uri"
        )
    path = path_of(address.uri)
    if output is None and path is not None and read_only(path):
        raise LotusError(f"{path} cannot be written to here: name a folder with --output")
    read = Read.of(sweep, Tracker(address))
    if output is None:
        standing.adopt_older(sweep, read.run_ids)
    summary = with_curves(read, summarise(read))
    folder = output or report_folder(sweep)
    page = _write(read, summary, folder, upload=output is None, live=live(read))
    if lost := gone(read.tracker, read.runs):
        raise LotusError(f"{lost}. The report is written without them: {page}")
    return page
