"""What accidents leave in MLflow is mended by the next start."""

from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.planning.config import SweepConfig
from orchestrator.tracking.reconcile import LOST, reconcile
from orchestrator.tracking.runs import Identity
from orchestrator.tracking.tracker import Tracker, open_sweep


@pytest.fixture
def tracker(tracked: SweepConfig) -> Tracker:
    """The runs of a new sweep."""
    address = open_sweep(tracked)
    return Tracker(address)


def twin(tracker: Tracker, run_id: str) -> Any:
    """A second run of the same key."""
    tags = tracker.client.get_run(run_id).data.tags
    return tracker.client.create_run(tracker.address.experiment_id, tags=dict(tags))


def test_nothing_is_said_when_all_is_well(tracker: Tracker) -> None:
    tracker.start(Identity("a", "trial", "a")).finish()
    assert reconcile(tracker).lines == []
    assert [child.status for child in tracker.children()] == ["FINISHED"]


def test_of_several_runs_of_a_key_the_finished_one_stays(tracker: Tracker) -> None:
    first = tracker.start(Identity("a", "trial", "a"))
    second = twin(tracker, first.run_id)
    third = twin(tracker, first.run_id)
    tracker.client.set_terminated(second.info.run_id)
    assert reconcile(tracker, mend=False).lines == ["2 runs are duplicated"]
    assert len(tracker.children()) == 3
    assert reconcile(tracker).lines == ["2 runs are duplicated: deleted"]
    assert [child.run_id for child in tracker.children()] == [second.info.run_id]
    deleted = tracker.tagged("deleted")
    assert {run.info.run_id for run in deleted} == {first.run_id, third.info.run_id}
    assert reconcile(tracker).lines == [], "what was deleted as a duplicate is not missed"


def test_runs_that_nobody_works_on_are_ended_with_the_reason(tracker: Tracker) -> None:
    tracker.start(Identity("a", "trial", "a"))
    tracker.start(Identity("b", "trial", "b"))
    said = reconcile(tracker, {"b": "its node died"}).lines
    assert said == ["1 run is RUNNING although nobody works on it: ended"]
    found = {child.key: child for child in tracker.children()}
    assert {child.status for child in found.values()} == {"FAILED"}
    assert found["a"].tags["lotus.error"] == LOST
    assert found["b"].tags["lotus.error"] == "its node died"


def test_the_runs_are_at_hand_afterwards_unless_something_was_changed(tracker: Tracker) -> None:
    first = tracker.start(Identity("a", "trial", "a"))
    assert reconcile(tracker, mend=False).runs is not None
    assert reconcile(tracker).runs is None, "it was RUNNING, and is ended now"
    tracker.start(Identity("b", "stage", "b")).finish()
    tracker.client.create_run(
        tracker.address.experiment_id, tags={"lotus.sweep": tracker.address.parent}
    )
    read = reconcile(tracker).runs
    assert read is not None
    assert [run.data.tags["lotus.key"] for run in read] == ["a", "b"]
    assert read[0].info.run_id == first.run_id
    assert [run.info.run_id for run in read] == [run.info.run_id for run in tracker.runs()]
    twin(tracker, first.run_id)
    assert reconcile(tracker).runs is None, "a duplicate is deleted"


def test_foreign_runs_are_said_and_left_alone(tracker: Tracker) -> None:
    own = {"lotus.sweep": tracker.address.parent}
    made = [
        tracker.client.create_run(tracker.address.experiment_id, tags=own | more)
        for more in ({}, {"lotus.key": "k", "lotus.kind": "other"}, {"lotus.key": "k"})
    ]
    (said,) = reconcile(tracker).lines
    assert said.startswith("3 runs are tagged with this sweep but not made by it")
    assert all(run.info.run_id in said for run in made)
    assert tracker.children() == []
    own = tracker.start(Identity("k", "trial", "x"))
    assert own.run_id not in {run.info.run_id for run in made}


def test_a_deleted_run_is_noticed_until_it_is_delivered_again(tracker: Tracker) -> None:
    first = tracker.start(Identity("a", "trial", "a"))
    first.finish()
    tracker.client.delete_run(first.run_id)
    (said,) = reconcile(tracker).lines
    assert "1 run is deleted in MLflow" in said
    tracker.start(Identity("a", "trial", "a")).finish()
    assert reconcile(tracker).lines == []


def test_a_deleted_run_that_the_sweep_file_no_longer_asks_for_is_not_missed(
    tracker: Tracker,
) -> None:
    old, wanted = (tracker.start(Identity(name, "trial", name)) for name in ("old", "new"))
    for log in (old, wanted):
        log.finish()
    tracker.client.set_tag(old.run_id, "lotus.superseded", "true")
    tracker.client.delete_run(old.run_id)
    assert reconcile(tracker).lines == []
    tracker.client.delete_run(wanted.run_id)
    (said,) = reconcile(tracker).lines
    assert said.startswith("1 run is deleted in MLflow")


def test_a_deleted_sweep_is_noticed(tracked: SweepConfig, tracker: Tracker) -> None:
    tracker.sweep_log().flush(tags={"lotus.trials_planned": 1})
    tracker.client.delete_run(tracker.address.parent)
    again = open_sweep(tracked)
    assert again.parent != tracker.address.parent
    (said,) = reconcile(Tracker(again)).lines
    assert f"was deleted in MLflow ({tracker.address.parent})" in said


def test_a_second_run_of_the_sweep_that_a_lost_answer_left_is_not_used(
    tracked: SweepConfig, tracker: Tracker
) -> None:
    tracker.sweep_log().flush(tags={"lotus.trials_planned": 1})
    tags = {"lotus.kind": "sweep", "lotus.name": tracked.name}
    own = MlflowClient(tracker.address.uri)
    late = own.create_run(tracker.address.experiment_id, start_time=1, tags=tags)
    assert open_sweep(tracked) == tracker.address, "although it is older"
    assert reconcile(tracker).lines == []
    assert tracker.client.get_run(late.info.run_id).info.lifecycle_stage == "deleted"
