"""The best model: at any time one checkpoint in MLflow, under the rule `best`."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.reading.best import publish_best
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, TrackingError, open_sweep
from orchestrator.worker.job import Settings, job_of
from orchestrator.worker.worker import Worker, run_trial


def with_seeds(tracked: SweepConfig) -> SweepConfig:
    """A sweep of two trials."""
    raw = tracked.model_dump()
    raw["search"] = [{"seed": [0, 1]}]
    return SweepConfig.model_validate(raw)


def test_when_the_best_changes_its_checkpoint_is_the_only_one(
    tracked: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    sweep = with_seeds(tracked)
    address = open_sweep(sweep)
    assert address is not None
    planned, store, tracker = plan(sweep), Store(sweep.storage.path), Tracker(address)
    settings = Settings(
        store=sweep.storage.path, address=address, cpus=1, gpu=False, checkpoints="best"
    )
    here = Worker(settings, store, tracker)
    for trial in planned.trials:
        run_trial(here, job_of(trial), planned.sources_of(trial.config))
    run_ids = {child.key: child.run_id for child in tracker.children()}

    def kept() -> dict[str, bool]:
        """Which trials have a checkpoint."""
        return {
            key: bool(tracker.client.list_artifacts(run_id, "checkpoints"))
            for key, run_id in run_ids.items()
        }

    def models() -> list[Any]:
        found = tracker.client.search_logged_models([address.experiment_id])
        return [model for model in found if model.source_run_id == address.parent]

    first, second = run_ids
    assert not any(kept().values())  # nothing is uploaded while trials run
    assert publish_best(planned, store, tracker, first, "best", run_ids[first])
    assert kept() == {first: True, second: False}
    assert not publish_best(planned, store, tracker, first, "best", run_ids[first])
    assert publish_best(planned, store, tracker, second, "best", run_ids[second])
    assert kept() == {first: False, second: True}
    assert len(models()) == 1
    elsewhere = replace(tracker.address, experiment_id="4711", parent="0" * 32)
    lost = Tracker(elsewhere)
    monkeypatch.setattr(lost, "parent", tracker.parent)
    with pytest.raises(TrackingError, match=r"the best model could not be logged: .*0{32}"):
        publish_best(planned, store, lost, first, "best", run_ids[first])
