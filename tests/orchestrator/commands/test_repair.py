"""MLflow compared with the store and mended, without training."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric

from orchestrator.commands import repair
from orchestrator.tracking.lease import Holder, RunTag, born, machine
from orchestrator.tracking.pending import Pending
from orchestrator.tracking.tracker import Tracker
from tests.orchestrator.faults.conftest import Bench, content_of, made_bench

Change = Callable[[Tracker, Any], None]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    """A store with a finished trial."""
    folder = tmp_path_factory.mktemp("computed")
    made_bench(folder, tiny_text, f"sqlite:///{folder}/mlflow.db").run()
    return folder


@pytest.fixture
def bench(computed: Path, tmp_path: Path, tiny_text: str, database: str) -> Bench:
    """A sweep of its own whose trial is finished, and a store that may be changed."""
    shutil.copytree(computed / "store", tmp_path / "store")
    made = made_bench(tmp_path, tiny_text, database)
    made.run()
    return made


def trial_run(made: Bench) -> Any:
    """The run of the trial."""
    (run,) = [one for one in made.tracker.runs() if one.data.tags["lotus.kind"] == "trial"]
    return run


def test_a_finished_sweep_agrees_with_the_store(bench: Bench) -> None:
    found = repair.examine(bench.sweep, mend=False)
    assert (found.compared, found.wrong, found.said) == (2, [], [])
    stored = bench.here.store.keys()
    assert repair.examine(bench.sweep, mend=True).wrong == []
    assert bench.here.store.keys() == stored, "nothing was computed"


def wrong_value(tracker: Tracker, run: Any) -> None:
    tracker.client.log_batch(run.info.run_id, [Metric("final/val_accuracy", 0.123, 1, 0)])


def same_point_again(tracker: Tracker, run: Any) -> None:
    value = tracker.client.get_metric_history(run.info.run_id, "finetune/val_loss")[0].value
    tracker.client.log_batch(run.info.run_id, [Metric("finetune/val_loss", value, 1, 1)])


def a_step_too_much(tracker: Tracker, run: Any) -> None:
    tracker.client.log_batch(run.info.run_id, [Metric("finetune/val_loss", 0.5, 1, 77)])


@pytest.mark.parametrize("change", [wrong_value, same_point_again, a_step_too_much])
def test_what_cannot_be_taken_back_is_delivered_again(change: Change, bench: Bench) -> None:
    before = content_of(bench.tracker)
    run = trial_run(bench)
    change(bench.tracker, run)
    (said,) = repair.examine(bench.sweep, mend=False).wrong
    assert run.info.run_name in said
    assert len(bench.tracker.runs()) == 2, "only looked at"
    (done,) = repair.examine(bench.sweep, mend=True).wrong
    assert "delivers it again" in done
    pending = Pending(bench.here.store, bench.tracker.address.parent)
    assert pending.all().keys() == {run.data.tags["lotus.key"]}
    bench.again().run()
    assert content_of(bench.tracker) == before
    assert trial_run(bench).data.tags["lotus.attempts"] == "2"
    assert pending.all() == {}
    assert repair.examine(bench.sweep, mend=False).wrong == []


def no_artifact(tracker: Tracker, run: Any) -> None:
    path = Path(run.info.artifact_uri.removeprefix("file://")) / "masks/final.safetensors"
    path.unlink()


def damaged_artifact(tracker: Tracker, run: Any) -> None:
    path = Path(run.info.artifact_uri.removeprefix("file://")) / "masks/final.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def no_tag(tracker: Tracker, run: Any) -> None:
    tracker.client.delete_tag(run.info.run_id, "lotus.stage.final")


@pytest.mark.parametrize("change", [no_artifact, damaged_artifact, no_tag])
def test_what_can_be_put_back_is_put_back_in_place(change: Change, bench: Bench) -> None:
    before, run = content_of(bench.tracker), trial_run(bench)
    change(bench.tracker, run)
    assert content_of(bench.tracker) != before
    (done,) = repair.examine(bench.sweep, mend=True).wrong
    assert done.endswith("mended")
    assert content_of(bench.tracker) == before
    assert trial_run(bench).info.run_id == run.info.run_id


def test_missing_points_and_params_are_added(bench: Bench) -> None:
    before, run = content_of(bench.tracker), trial_run(bench)
    tags = {k: v for k, v in run.data.tags.items() if k.startswith("lotus.")}
    bench.tracker.client.delete_run(run.info.run_id)
    bare = bench.tracker.client.create_run(
        run.info.experiment_id, tags=tags, run_name=run.info.run_name
    )
    bench.tracker.client.set_terminated(bare.info.run_id)
    repair.examine(bench.sweep, mend=True)
    after = content_of(bench.tracker)
    key = run.data.tags["lotus.key"]
    for part in ("metrics", "params", "artifacts"):
        assert after[key][part] == before[key][part]


def test_duplicates_and_runs_left_running_are_mended(bench: Bench) -> None:
    run, client = trial_run(bench), bench.tracker.client
    twin = client.create_run(run.info.experiment_id, tags=dict(run.data.tags))
    stuck = dict(run.data.tags) | {"lotus.key": "s" * 64}
    other = client.create_run(run.info.experiment_id, tags=stuck)
    seen = repair.examine(bench.sweep, mend=False).wrong
    assert len(seen) == 2
    assert client.get_run(twin.info.run_id).info.lifecycle_stage == "active"
    done = repair.examine(bench.sweep, mend=True).wrong
    assert [line.rsplit(": ")[-1] for line in done] == ["deleted", "ended"]
    assert client.get_run(twin.info.run_id).info.lifecycle_stage == "deleted"
    ended = client.get_run(other.info.run_id)
    assert ended.info.status == "FAILED"
    assert ended.data.tags["lotus.error"]
    assert trial_run_id(bench, run.data.tags["lotus.key"]) == run.info.run_id


def trial_run_id(made: Bench, key: str) -> str:
    """The run of a key."""
    (run,) = [one for one in made.tracker.runs() if one.data.tags["lotus.key"] == key]
    return str(run.info.run_id)


def test_what_the_store_has_lost_cannot_be_compared_and_is_said(bench: Bench) -> None:
    shutil.rmtree(Path(bench.sweep.storage.path) / "index" / "evaluate")
    found = repair.examine(bench.sweep, mend=True)
    assert found.wrong == []
    assert found.compared == 1
    (said,) = found.said
    assert "cannot be compared: the store has no result of evaluate" in said
    assert not list((Path(bench.sweep.storage.path) / "index").glob("evaluate/*"))


def test_a_sweep_that_somebody_works_on_is_not_touched(bench: Bench) -> None:
    client = bench.tracker.client
    twin = client.create_run(
        trial_run(bench).info.experiment_id, tags=dict(trial_run(bench).data.tags)
    )
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        time.sleep(0.2)
        holder = Holder(
            id="x", host="here", machine=machine(), pid=other.pid, born=born(other.pid), beat=1,
            seen="now",
        )  # fmt: skip
        RunTag(client, bench.tracker.address.parent).write(holder.text())
        (said,) = repair.examine(bench.sweep, mend=True).wrong
        assert "not touched" in said
        assert str(other.pid) in said
        assert client.get_run(twin.info.run_id).info.lifecycle_stage == "active"
    finally:
        os.kill(other.pid, 9)
        other.wait()
