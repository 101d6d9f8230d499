"""Whole histories of metrics, of many runs at a time.

MLflow's client asks for one metric of one run; thousands of trials have dozens of metrics each. Its
stores and its server answer for a hundred runs at once, which the comparison of runs in the UI
uses, but no public method of the client reaches that.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.tracking.tracker import Tracker

RUNS = 100
"""At most, for one answer of a server."""

POINTS = 25_000
"""At most, in one answer of a server."""

ENDPOINT = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"

Point = tuple[int, float]
"""Step and value."""

History = Mapping[str, Sequence[Point]]
"""All points of a run, by metric; a point that is there twice stands there twice."""


def with_histories(tracker: Tracker, runs: Sequence[Any]) -> Iterator[tuple[Any, History]]:
    """MLflow's runs, each with its history."""
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
    points = tracker.ask(lambda: _bulk(tracker, run_ids, name)) if len(run_ids) > 1 else None
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
    for run_id, step, value in points:
        found[run_id].append((step, value))
    return found


def _alone(tracker: Tracker, run_id: str, name: str) -> list[Point]:
    points = tracker.ask(lambda: tracker.client.get_metric_history(run_id, name))
    return [(point.step, point.value) for point in points]


def _bulk(
    tracker: Tracker, run_ids: Sequence[str], name: str
) -> list[tuple[str, int, float]] | None:
    """Run id, step and value of each point, at most `POINTS`; None where it cannot be asked."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    store = tracker.client._tracking_client.store
    if hasattr(store, "get_metric_history_bulk"):
        rows = store.get_metric_history_bulk(list(run_ids), name, POINTS)
        return [(row.run_id, row.step, row.value) for row in rows]
    if not hasattr(store, "get_host_creds"):
        return None
    params = {"run_id": list(run_ids), "metric_key": name, "max_results": POINTS}
    answer = http_request(store.get_host_creds(), ENDPOINT, "GET", params=params)
    if answer.status_code in (404, 405):  # another program's server
        return None
    try:
        rows = verify_rest_response(answer, ENDPOINT).json()["metrics"]
        return [(row["run_id"], int(row["step"]), float(row["value"])) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise MlflowException(f"no answer to {ENDPOINT}: {error}") from error
