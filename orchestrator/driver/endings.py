"""Ending the runs of work that could not do it itself: its process died or was stopped."""

from collections.abc import Mapping

from orchestrator.tracking.tracker import Child, RunLog, Tracker
from orchestrator.vocabulary import Tag
from orchestrator.worker.failures import write_evidence


def close_failed(
    tracker: Tracker, errors: Mapping[str, str], details: Mapping[str, str]
) -> dict[str, str]:
    """End the runs of what failed and could not do that itself.

    Args:
        details: key -> what Ray knows of a process that died.

    Returns:
        key -> why: what a process wrote before it ended itself says more than that it died.
    """
    reasons, children = dict(errors), {child.key: child for child in tracker.children()}
    for key in errors.keys() & children.keys():
        child = children[key]
        if child.status == "RUNNING":
            _end(tracker, child, errors[key], details.get(key))
        elif key in details and (told := child.tags.get(Tag.ERROR)):
            reasons[key] = told
    return reasons


def close_running(tracker: Tracker, error: str) -> None:
    """End all runs whose process was stopped before it could."""
    for child in tracker.children():
        if child.status == "RUNNING":
            _end(tracker, child, error)


def _end(tracker: Tracker, child: Child, error: str, detail: str | None = None) -> None:
    log = RunLog(tracker.client, child.run_id, breaker=tracker.breaker)
    log.flush(tags={Tag.ERROR: error})
    if detail is not None:
        gone = ["The process could not write its log any more."]
        log.write(lambda folder: write_evidence(folder, detail, gone))
    log.finish("FAILED")
