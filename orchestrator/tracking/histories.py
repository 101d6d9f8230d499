"""Complete metric histories of many runs at a time.

Thousands of trials have dozens of metrics each, and one metric of one run takes a request. MLflow's
stores and server can answer for a hundred runs at once, as its UI does to compare runs.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.tracking.runs import Run
from orchestrator.tracking.tracker import Tracker

RUNS = 100
"""Most runs in one answer of a server."""

POINTS = 25_000
"""Most points in one answer of a server."""

Point = tuple[int, float]
"""Step and value."""

History = Mapping[str, Sequence[Point]]
"""All points of a run, by metric, duplicates included."""


def with_histories(tracker: Tracker, runs: Sequence[Run]) -> Iterator[tuple[Run, History]]:
    """The runs, each with its history."""
    for start in range(0, len(runs), RUNS):
        part = runs[start : start + RUNS]
        histories: dict[str, dict[str, list[Point]]] = defaultdict(dict)
        for metric in sorted({metric for run in part for metric in run.data.metrics}):
            run_ids = [run.info.run_id for run in part if metric in run.data.metrics]
            for run_id, points in _of_metric(tracker, run_ids, metric).items():
                histories[run_id][metric] = points
        for run in part:
            yield run, histories[run.info.run_id]


def _of_metric(tracker: Tracker, run_ids: Sequence[str], metric: str) -> dict[str, list[Point]]:
    """Run id -> points of one metric."""
    points = None
    if len(run_ids) > 1:
        points = tracker.ask(lambda: tracker.client.metric_histories(run_ids, metric, POINTS))
    if points is None:
        return {run_id: _alone(tracker, run_id, metric) for run_id in run_ids}
    if len(points) >= POINTS:  # there may be more
        half = len(run_ids) // 2
        return {
            run_id: history
            for part in (run_ids[:half], run_ids[half:])
            for run_id, history in _of_metric(tracker, part, metric).items()
        }
    history: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
    for run_id, point in points:
        history[run_id].append((point.step, point.value))
    return history


def _alone(tracker: Tracker, run_id: str, metric: str) -> list[Point]:
    points = tracker.ask(lambda: tracker.client.get_metric_history(run_id, metric))
    return [(point.step, point.value) for point in points]
