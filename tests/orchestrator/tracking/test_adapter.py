"""What our client gives back is what MLflow's own one has."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from orchestrator.tracking.adapter import Adapter
from orchestrator.tracking.port import View
from orchestrator.tracking.runs import Data, Info, Measurement, Pair


@pytest.fixture
def own(database: str) -> MlflowClient:
    """MLflow's own client."""
    return MlflowClient(tracking_uri=database)


@pytest.fixture
def client(own: MlflowClient) -> Adapter:
    """Ours, on the same database."""
    return Adapter(own)


def test_a_run_that_is_written_is_read_by_mlflow(client: Adapter, own: MlflowClient) -> None:
    experiment = client.create_experiment("adapter-written", tags={"a": "b"})
    made = client.create_run(experiment, {"t": "1"}, "a name")
    run_id = made.info.run_id
    points = [Measurement("loss", 2.0, 10, 1), Measurement("loss", 1.0, 20, 2)]
    client.log_batch(run_id, points, [Pair("p", "1")], [Pair("u", "2")])
    client.set_tag(run_id, "v", "3")
    client.delete_tag(run_id, "t")
    client.set_terminated(run_id, "FAILED", made.info.start_time + 7)
    theirs, ours = own.get_run(run_id), client.get_run(run_id)
    for part, kind in (("info", Info), ("data", Data)):
        for name in kind.__dataclass_fields__:
            assert getattr(getattr(ours, part), name) == getattr(getattr(theirs, part), name), name
    assert theirs.data.params == {"p": "1"}
    assert {"u": "2", "v": "3"}.items() <= theirs.data.tags.items()
    assert "t" not in theirs.data.tags
    assert theirs.info.end_time == made.info.start_time + 7
    assert client.get_metric_history(run_id, "loss") == points
    assert own.get_experiment(experiment).tags["a"] == "b"


def test_runs_are_found_by_what_they_are_and_page_by_page(client: Adapter) -> None:
    experiment = client.create_experiment("adapter-found")
    ids = [client.create_run(experiment, {"n": f"{n}"}).info.run_id for n in range(5)]
    client.delete_run(ids[4])
    views: dict[View, set[str]] = {"active": set(ids[:4]), "deleted": {ids[4]}, "all": set(ids)}
    for view, wanted in views.items():
        assert {run.info.run_id for run in client.search_runs([experiment], view=view)} == wanted
    found, token = [], None
    while True:
        page = client.search_runs([experiment], "", "active", 3, ["attributes.start_time"], token)
        found += [run.info.run_id for run in page]
        token = page.token
        if not token:
            break
    assert sorted(found) == sorted(ids[:4])
    (one,) = client.search_runs([experiment], "tags.`n` = '2'")
    assert one.info.run_id == ids[2]


def test_histories_of_many_are_those_of_each(client: Adapter, own: MlflowClient) -> None:
    experiment = client.create_experiment("adapter-histories")
    ids = [client.create_run(experiment).info.run_id for _ in range(3)]
    for number, run_id in enumerate(ids):
        own.log_batch(run_id, [Metric("a", number + step, 5, step) for step in range(number)])
    found = client.metric_histories(ids, "a", 100)
    assert found is not None
    assert sorted(found) == sorted(
        (run_id, point) for run_id in ids for point in client.get_metric_history(run_id, "a")
    )
    assert len(client.metric_histories(ids, "a", 2) or []) == 2


def test_experiments_are_found_by_id_name_and_all_together(client: Adapter) -> None:
    made = client.create_experiment("adapter-named")
    assert client.get_experiment(made).name == "adapter-named"
    found = client.get_experiment_by_name("adapter-named")
    assert found == client.get_experiment(made)
    assert found is not None
    assert found.lifecycle_stage == "active"
    assert client.get_experiment_by_name("adapter-none") is None
    assert found in client.search_experiments()


@pytest.mark.parametrize("named", [True, False], ids=["place known", "place asked for"])
def test_artifacts_go_and_come_back(named: bool, client: Adapter, tmp_path: Path) -> None:
    place = (tmp_path / "artifacts").as_uri()
    experiment = client.create_experiment(f"adapter-artifacts-{named}", place)
    run = client.create_run(experiment).info
    where = run.artifact_uri if named else ""
    (tmp_path / "up/sub").mkdir(parents=True)
    (tmp_path / "up/sub/b.txt").write_text("bb")
    (tmp_path / "a.txt").write_text("a")
    client.log_artifacts(run.run_id, str(tmp_path / "up"), "in", where)
    client.log_artifact(run.run_id, str(tmp_path / "a.txt"), "in", where)
    listed = {
        one.path: (one.is_dir, one.file_size)
        for one in client.list_artifacts(run.run_id, "in", where)
    }
    assert listed.pop("in/sub")[0]
    assert listed == {"in/a.txt": (False, 1)}
    (tmp_path / "down").mkdir()
    got = client.download_artifacts(run.run_id, "in/sub/b.txt", str(tmp_path / "down"), where)
    assert Path(got).read_text() == "bb"
    sizes: list[int] = []
    got = client.stream_artifact(
        run.run_id, "in/a.txt", str(tmp_path / "down"), sizes.append, where
    )
    assert Path(got).read_text() == "a"
    client.delete_artifacts(run.run_id, "in/sub", where)
    assert [one.path for one in client.list_artifacts(run.run_id, "in")] == ["in/a.txt"]
    assert client.resolved_address(place) == place
