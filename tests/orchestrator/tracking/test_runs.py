"""Runs as they are read back from MLflow."""

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from orchestrator.tracking.runs import Data, Info, Interner


@pytest.fixture
def client(database: str) -> MlflowClient:
    """MLflow on a database of its own."""
    return MlflowClient(tracking_uri=database)


def test_a_kept_run_says_what_mlflow_says(client: MlflowClient) -> None:
    made = client.create_run("0", run_name="a", tags={"lotus.kind": "trial"})
    run_id = made.info.run_id
    points = [Metric("loss", value, 0, step) for step, value in enumerate((3.0, 2.0))]
    client.log_batch(run_id, points, [Param("issp.merge", "majority")], [RunTag("x", "y")])
    running = Interner().interned(client.get_run(run_id))
    assert running.info.end_time is None
    client.set_terminated(run_id)
    theirs = client.get_run(run_id)
    kept = Interner().interned(theirs)
    for part, kind in (("info", Info), ("data", Data)):
        for name in kind.__dataclass_fields__:
            said = getattr(getattr(theirs, part), name)
            assert getattr(getattr(kept, part), name) == said, name
    assert kept.data.metrics == {"loss": 2.0}
    assert kept.info.status == "FINISHED"


def test_equal_texts_of_all_runs_are_one_object(client: MlflowClient) -> None:
    experiment = client.create_experiment("texts")
    for number in range(3):
        run_id = client.create_run(experiment, run_name=f"{number}").info.run_id
        metrics = [Metric("a/metric of some length", 1.0, 0, 0)]
        client.log_batch(run_id, metrics, [Param("a param of some length", "its long value")])
    interner = Interner()
    runs = [interner.interned(run) for run in client.search_runs([experiment])]
    for part in ("metrics", "params"):
        assert len({id(name) for run in runs for name in getattr(run.data, part)}) == 1
    assert len({id(text) for run in runs for text in run.data.params.values()}) == 1
    assert len({run.info.run_name for run in runs}) == 3
