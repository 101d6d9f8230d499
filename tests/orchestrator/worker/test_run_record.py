"""What a run should hold is what the worker has written to it."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Store
from orchestrator.tracking.histories import with_histories
from orchestrator.tracking.runlog import PARAM_CHARACTERS, TAG_CHARACTERS, texts
from orchestrator.vocabulary import Artifact, Metric, Tag
from orchestrator.worker.job import job_of, owner_of
from orchestrator.worker.record import write_all
from orchestrator.worker.run_record import (
    NotStored,
    RunRecord,
    StageRun,
    TrialRun,
    record_of,
    stage_run,
    stored,
)

MEASURED = (Metric.TIME, Metric.CACHE)
"""Their values depend on when, and for whom, a stage was computed."""


def run_of(made: Any, kind: str) -> TrialRun | StageRun:
    """The run of the finished trial, or of its dense model."""
    if kind == "stage":
        graph = made.trial.graph
        return stage_run(job_of(made.trial), graph, key_of(graph.dense))
    return TrialRun(made.trial, made.plan.sources_of(made.trial.config).dataset, checkpoint=True)


def recorded(made: Any, run: TrialRun | StageRun) -> RunRecord:
    """What it should hold, by the store alone."""
    owner = owner_of(made.tracker.address, run.identity.key)
    return record_of(run, stored(made.store, run.made_of, owner))


def below(tracker: Any, run_id: str, folder: str | None = None) -> set[str]:
    """Every file among a run's artifacts."""
    found: set[str] = set()
    for one in tracker.client.list_artifacts(run_id, folder):
        found |= below(tracker, run_id, one.path) if one.is_dir else {one.path}
    return found


@pytest.mark.parametrize("kind", ["trial", "stage"])
def test_a_record_is_what_its_run_holds(kind: str, tracked_trial: Any) -> None:
    run = run_of(tracked_trial, kind)
    record = recorded(tracked_trial, run)
    (shown,) = [r for r in tracked_trial.tracker.runs() if r.data.tags[Tag.KEY] == run.identity.key]
    ((_, history),) = with_histories(tracked_trial.tracker, [shown])
    assert (shown.data.tags[Tag.KIND], shown.info.run_name) == (kind, run.identity.name)
    assert texts(record.params, PARAM_CHARACTERS) == dict(shown.data.params)
    wanted = texts({**run.identity.tags, **record.tags}, TAG_CHARACTERS)
    assert wanted.items() <= shown.data.tags.items()
    points = {(name, step): value for name in history for step, value in history[name]}
    assert points.keys() == record.points.keys()
    for (name, step), value in record.points.items():
        if not name.startswith(MEASURED):
            assert points[name, step] == value, (name, step)
    assert below(tracked_trial.tracker, shown.info.run_id) == record.files.keys()


def test_a_stage_that_was_computed_for_others_says_so_and_has_no_checkpoint(
    tracked_trial: Any,
) -> None:
    run = run_of(tracked_trial, "stage")
    own = recorded(tracked_trial, run)
    assert own.files.keys() == {Artifact.DENSE_CHECKPOINT}
    assert Tag.CACHED not in own.tags
    others = record_of(run, stored(tracked_trial.store, run.made_of, "somebody else"))
    assert others.files == {}
    assert others.tags == {**own.tags, Tag.CACHED: "true"}
    assert others.points == own.points
    assert others.params == own.params


def test_files_are_written_by_who_wants_them(tracked_trial: Any, tmp_path: Path) -> None:
    record = recorded(tracked_trial, run_of(tracked_trial, "trial"))
    assert Artifact.CHECKPOINT in record.files
    write_all({Artifact.TRIAL_CONFIG: record.files[Artifact.TRIAL_CONFIG]}, tmp_path)
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {Artifact.TRIAL_CONFIG}


def test_what_is_not_stored_is_said(tracked_trial: Any, tmp_path: Path) -> None:
    run = run_of(tracked_trial, "trial")
    with pytest.raises(NotStored, match="the store has no result of"):
        stored(Store(str(tmp_path / "empty")), run.made_of, "")
