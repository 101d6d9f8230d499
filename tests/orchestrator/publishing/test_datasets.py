"""What is known of a sweep's data stands on its run, for machines that have none."""

from typing import Any

import pytest

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.publishing.datasets import data_of, publish_data, read_data
from orchestrator.tracking.runlog import PARAM_CHARACTERS, texts
from orchestrator.tracking.tracker import RunLog, Tracker, open_sweep
from orchestrator.worker.labels import trial_params


def test_digest_and_names_of_classes_are_read_back_for_each_trial(
    tracked: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tracked.model_dump() | {"search": [{"axes": {"data.train_images": [64, 128]}}]}
    planned, tracker = plan(SweepConfig.model_validate(raw)), Tracker(open_sweep(tracked))
    assert read_data(tracker) == []
    publish_data(planned, tracker)
    known = read_data(tracker)
    assert len(known) == len(planned.trials) == 2
    for trial in planned.trials:
        params: dict[str, Any] = dict(texts(trial_params(trial, {}), PARAM_CHARACTERS))
        data, found = planned.sources_of(trial.config).dataset, data_of(params, known)
        assert found is not None
        assert (found.digest, found.classes) == (data.digest, 10)
        assert found.shown["class_names"] == list(data.class_names) == list("0123456789")
    monkeypatch.setattr(RunLog, "artifacts", None)  # would fail
    publish_data(planned, tracker)


def test_a_file_that_cannot_be_read_says_nothing(tracked: SweepConfig, tmp_path: Any) -> None:
    tracker = Tracker(open_sweep(tracked))
    (tmp_path / "data.json").write_text('[{"name": 1}]')
    tracker.sweep_log().artifacts(tmp_path, "config")
    assert read_data(tracker) == []
