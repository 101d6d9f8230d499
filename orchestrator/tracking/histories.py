"""Whole histories of metrics, of many runs at a time.

Thousands of trials have dozens of metrics each, and asking for one metric of one run takes a
request. MLflow's stores and its server answer for a hundred runs at once, which the comparison of
runs in its UI uses.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Tracker

RUNS = 100
"""At most, for one answer of a server."""

POINTS = 25_000
"""At most, in one answer of a server."""

Point = tuple[int, float]
"""Step and value."""

History = Mapping[str, Sequence[Point]]
"""All points of a run, by metric; a point that is there twice stands there twice."""


def with_histories(tracker: Tracker, runs: Sequence[Run]) -> Iterator[tuple[Run, History]]:
    """Runs, each with its history."""
    for start in range(0, len(runs), RUNS):
        part = runs[start : start + RUNS]
        found: dict[str, dict[str, list[Point]]] = defaultdict(dict)
        for name in sorted({name for run in part for name in run.data.metrics}):
            having = [run.info.run_id for run in part if name in run.data.metrics]
            for run_id, points in _of_metric(tracker, having, name).items():
                found[run_id][name] = points
        for run in part:
            yield run, found[run.info.run_id]


def _of_metric(tracker: Tracker, run_ids: Sequence[str], name: str) -> dict[str, list[Point]]:
    """Run id -> points of one metric."""
    points = None
    if len(run_ids) > 1:
        points = tracker.ask(lambda: tracker.client.metric_histories(run_ids, name, POINTS))
    if points is None:
        return {run_id: _alone(tracker, run_id, name) for run_id in run_ids}
    if len(points) >= POINTS:  # there may be more
        half = len(run_ids) // 2
        return {
            run_id: found
            for part in (run_ids[:half], run_ids[half:])
            for run_id, found in _of_metric(tracker, part, name).items()
        }
    found: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
    for run_id, point in points:
        found[run_id].append((point.step, point.value))
    return found


def _alone(tracker: Tracker, run_id: str, name: str) -> list[Point]:
    points = tracker.ask(lambda: tracker.client.get_metric_history(run_id, name))
    return [(point.step, point.value) for point in points]
