"""Reading all metric histories of many runs: a hundred runs at a time, and one by one as before.

    python tests/benchmarks/histories.py > tests/benchmarks/histories.json

On an SQLite file and through `mlflow server`; both ways in turn, several times.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mlflow.entities import Metric

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.tracking.histories import with_histories
from orchestrator.tracking.sweeps import Address
from orchestrator.tracking.tracker import Tracker
from orchestrator.versions import hardware, versions
from tests.orchestrator.faults.conftest import Server

METRICS, CURVES, EPOCHS = 42, 3, 5
"""Of a trial: metrics of one step, learning curves, and their epochs."""


def fill(tracker: Tracker, runs: int) -> list[Any]:
    """Runs as trials leave them."""
    client = tracker.client
    experiment = client.create_experiment("histories")
    points = [Metric(f"final/{i}", i / 7, 1, 0) for i in range(METRICS)]
    points += [Metric(f"e/{i}", i / 7, 1, s) for i in range(CURVES) for s in range(1, EPOCHS + 1)]
    for _ in range(runs):
        client.log_batch(client.create_run(experiment).info.run_id, points)
    return list(client.search_runs([experiment], max_results=runs))


def one_by_one(tracker: Tracker, runs: list[Any]) -> list[Any]:
    """As it was: a question for each metric of each run."""
    read = tracker.client.get_metric_history
    return [
        {n: sorted((p.step, p.value) for p in read(run.info.run_id, n)) for n in run.data.metrics}
        for run in runs
    ]


def together(tracker: Tracker, runs: list[Any]) -> list[Any]:
    """As it is."""
    found = with_histories(tracker, runs)
    return [{name: sorted(points) for name, points in history.items()} for _, history in found]


def measure(uri: str, runs: int, repeats: int) -> dict[str, Any]:
    """Seconds of both ways."""
    tracker = Tracker(Address(uri, "0", ""))
    made = fill(tracker, runs)
    seconds: dict[str, list[float]] = {"one_by_one": [], "together": []}
    for _ in range(repeats):
        found = []
        for way in (one_by_one, together):
            start = time.perf_counter()
            found.append(way(tracker, made))
            seconds[way.__name__].append(time.perf_counter() - start)
        assert found[0] == found[1]
    median = {name: statistics.median(one) for name, one in seconds.items()}
    return {"runs": runs, "seconds": seconds, "ratio": median["one_by_one"] / median["together"]}


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--server-runs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        sqlite = measure(uri, options.runs, options.repeats)
        server = Server(f"sqlite:///{folder}/server.db", Path(folder) / "artifacts")
        Tracker(Address(server.backend, "0", ""))  # makes it
        server.start()
        try:
            url = f"http://127.0.0.1:{server.port}"
            over_http = measure(url, options.server_runs, options.repeats)
        finally:
            server.kill()
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "versions": versions(),
        "command": " ".join(["python", *sys.argv]),
        "metrics_per_run": METRICS + CURVES,
        "points_per_run": METRICS + CURVES * EPOCHS,
        "sqlite": sqlite,
        "server": over_http,
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
