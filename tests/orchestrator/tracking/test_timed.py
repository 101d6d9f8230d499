"""Calls to MLflow are passed on unchanged, and timed."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.tracking.adapter import Adapter
from orchestrator.tracking.port import Client
from orchestrator.tracking.timed import TimedClient
from tests.orchestrator.conftest import Kept


def test_a_call_is_answered_by_mlflow_and_measured_by_its_kind(kept: Kept, database: str) -> None:
    client = TimedClient(Adapter(MlflowClient(database)))
    made = client.create_experiment("timed")
    run = client.create_run(made)
    client.set_tag(run.info.run_id, "a", "b")
    client.log_batch(run.info.run_id)
    assert client.get_run(run.info.run_id).data.tags["a"] == "b"
    assert [labels["call"] for _, _, labels in kept.taken] == [
        "create",
        "create",
        "update",
        "log_batch",
        "search",
    ]
    assert {name for name, _, _ in kept.taken} == {"lotus_mlflow_seconds"}
    assert all(seconds >= 0 for _, seconds, _ in kept.taken)


def test_an_error_is_raised_as_it_is_and_counted_by_whose_fault_it_is(
    kept: Kept, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowException, match="not found"):
        TimedClient(Adapter(MlflowClient(database))).get_run("0" * 32)
    # Port 9 of this machine: nobody listens.
    nobody = TimedClient(Adapter(MlflowClient("http://127.0.0.1:9")))
    with pytest.raises(Exception, match="refused"):
        nobody.search_runs(["0"])
    assert kept.taken == [
        ("lotus_mlflow_errors", 1, {"call": "search", "reason": "refused"}),
        ("lotus_mlflow_errors", 1, {"call": "search", "reason": "away"}),
    ]


def test_every_call_that_asks_the_store_is_measured(kept: Kept) -> None:
    unmeasured = set()
    for name, call in vars(Client).items():
        if name.startswith("_"):
            continue
        store: Any = SimpleNamespace(**{name: lambda *args: None})
        before = len(kept.taken)
        getattr(TimedClient(store), name)(*list(inspect.signature(call).parameters)[1:])
        if len(kept.taken) == before:
            unmeasured.add(name)
    assert unmeasured == {"resolved_address"}
