"""How sweeps stand."""

import json
from typing import Any

import pytest

from orchestrator.commands import selecting, status
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.tracking.runs import Identity
from orchestrator.tracking.tracker import Tracker, open_sweep
from trials.errors import LotusError


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    """finished, running, failed, missing, planned."""
    return tuple(row[n] for n in ("finished", "running", "failed", "missing", "planned"))


@pytest.fixture
def four(tracked: SweepConfig) -> SweepConfig:
    """A sweep of four trials."""
    raw = tracked.model_dump()
    raw["search"] = [{"seed": [0, 1, 2, 3]}]
    return SweepConfig.model_validate(raw)


def test_a_sweep_that_never_ran_misses_everything(four: SweepConfig) -> None:
    assert counts(status.of_sweep(four)) == (0, 0, 0, 4, 4)
    with pytest.raises(LotusError, match="has not run yet"):
        selecting.tracked_results(four)


def test_every_state_is_counted_and_errors_are_named(four: SweepConfig) -> None:
    address = open_sweep(four)
    tracker = Tracker(address)
    trials = plan(four).trials
    for trial, state in zip(trials, ("FINISHED", "FAILED", "RUNNING"), strict=False):
        log = tracker.start(Identity(trial.key, "trial", trial.name, {"lotus.arm": "lotus"}))
        if state == "FAILED":
            log.flush(tags={"lotus.error": "ValueError: no"})
        if state != "RUNNING":
            log.finish(state)
    tracker.start(Identity("s" * 64, "stage", "dense")).finish()
    tracker.start(Identity("old", "trial", "old", {"lotus.superseded": "true"})).finish()
    row = status.of_sweep(four)
    assert counts(row) == (1, 1, 1, 1, 4)
    assert row["errors"] == {trials[1].name: "ValueError: no"}
    storage = four.storage.path
    tracker.sweep_log().flush(tags={"lotus.trials_planned": "4", "lotus.storage": storage})
    (listed,) = (r for r in status.all_sweeps(four.tracking.uri) if counts(r) == (1, 1, 1, 1, 4))
    assert len(listed.pop("now")) == 1
    assert listed | {"waiting": 0} == row
    json.dumps(row)
