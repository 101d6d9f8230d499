"""Artifacts read back from a real MLflow store."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.reading import overlap
from orchestrator.reading.tables import trials_table
from orchestrator.tracking import artifacts
from orchestrator.tracking.tracker import RunLog
from trials import formats
from trials.stages.evaluate import Final


@pytest.fixture
def trials(tracked_trial: Any) -> pd.DataFrame:
    return trials_table(tracked_trial.tracker.runs())


def test_outcomes_come_back_bit_for_bit(tracked_trial: Any, trials: pd.DataFrame) -> None:
    key = tracked_trial.trial.key
    found, damaged = artifacts.outcomes_of(tracked_trial.tracker, trials, [key, "unknown"])
    final: Final = tracked_trial.store.get(tracked_trial.trial.graph.final)[0]
    assert damaged == []
    assert list(found) == [key]
    np.testing.assert_array_equal(found[key]["final.test"], final.test.correct.numpy())
    assert {"dense.test", "issp.validation", "final.validation"} <= found[key].keys()


def test_a_trial_that_is_not_asked_for_is_not_read(tracked_trial: Any, trials: Any) -> None:
    assert artifacts.outcomes_of(tracked_trial.tracker, trials, []) == ({}, [])


def test_an_artifact_that_is_not_there_is_none(tracked_trial: Any, trials: pd.DataFrame) -> None:
    run = trials["run_id"].iloc[0]
    for path in ("masks/none.safetensors", "nowhere/at.all"):
        with artifacts.fetched(tracked_trial.tracker, run, path) as local:
            assert local is None


def test_a_damaged_artifact_is_said_and_costs_nothing_else(
    tracked_trial: Any, trials: pd.DataFrame, tmp_path: Path
) -> None:
    tracker = tracked_trial.tracker
    run = tracker.client.create_run(tracker.address.experiment_id)
    for path in (artifacts.OUTCOMES, overlap.MASK):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"no safetensors")
    RunLog(tracker.client, run.info.run_id).artifacts(tmp_path)
    more = pd.concat([trials, pd.DataFrame([{"run_id": run.info.run_id, "key": "bad"}])])
    found, damaged = artifacts.outcomes_of(tracker, more, [tracked_trial.trial.key, "bad"])
    assert list(found) == [tracked_trial.trial.key]
    assert len(damaged) == 1
    assert run.info.run_id in damaged[0]
    content = dict(
        artifacts.read_each(tracker, list(more["run_id"]), overlap.MASK, formats.load_packed_mask)
    )
    assert isinstance(content[run.info.run_id], formats.FormatError)
    assert isinstance(content[trials["run_id"].iloc[0]], dict)
