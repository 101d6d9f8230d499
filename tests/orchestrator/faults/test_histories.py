"""Histories of many runs at once are those that MLflow gives one by one."""

import uuid
from typing import Any

import pytest
from mlflow.entities import Metric

from orchestrator.tracking import histories
from orchestrator.tracking.histories import with_histories
from orchestrator.tracking.sweeps import Address
from orchestrator.tracking.tracker import Tracker
from tests.orchestrator.faults.conftest import Proxy


def made(uri: str, count: int) -> tuple[Tracker, list[Any]]:
    """Runs with several metrics of one and of several steps; one value is there twice."""
    tracker = Tracker(Address(uri, "0", ""))
    client = tracker.client
    experiment = client.create_experiment(f"h-{uuid.uuid4().hex}")
    for number in range(count):
        run_id = client.create_run(experiment).info.run_id
        points = [Metric("final/a", number / 3, 1, 0)] * (number != 2)
        points += [Metric("per/epoch", number + step / 7, 1, step) for step in range(1, 4)]
        client.log_batch(run_id, points)
        if number == 1:
            client.log_batch(run_id, [Metric("final/a", number / 3, 2, 0)])
    return tracker, list(client.search_runs([experiment]))


def one_by_one(tracker: Tracker, run: Any) -> dict[str, list[tuple[int, float]]]:
    """As MLflow's client reads them."""
    return {
        name: sorted(
            (p.step, p.value) for p in tracker.client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }


@pytest.mark.slow
@pytest.mark.parametrize("points", [25_000, 5], ids=["whole", "in halves"])
@pytest.mark.parametrize("kind", ["sqlite", "server"])
def test_many_runs_have_the_histories_of_each(
    kind: str, points: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "server":
        proxy: Proxy = request.getfixturevalue("proxy")
        tracker, runs = made(proxy.url, 7)
    else:
        tracker, runs = made(request.getfixturevalue("database"), 7)
    monkeypatch.setattr(histories, "RUNS", 5)
    monkeypatch.setattr(histories, "POINTS", points)
    found = list(with_histories(tracker, runs))
    assert [run for run, _ in found] == runs
    for run, history in found:
        listed = {name: sorted(one) for name, one in history.items()}
        assert listed == one_by_one(tracker, run)
    assert sum(len(history["final/a"]) == 2 for _, history in found if "final/a" in history) == 1


def test_a_hundred_runs_cost_one_question_for_each_metric(proxy: Proxy) -> None:
    tracker, runs = made(proxy.url, 20)
    proxy.behave()
    list(with_histories(tracker, runs))
    assert len(proxy.asked) == 2


def test_a_server_that_cannot_answer_for_many_runs_is_asked_for_each(proxy: Proxy) -> None:
    tracker, runs = made(proxy.url, 3)
    proxy.fault = lambda method, path: 404 if path.endswith("get-history-bulk") else None
    found = list(with_histories(tracker, runs))
    assert [{n: sorted(p) for n, p in h.items()} for _, h in found] == [
        one_by_one(tracker, run) for run in runs
    ]
