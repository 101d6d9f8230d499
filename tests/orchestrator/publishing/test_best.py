"""The best model: at any time one checkpoint in MLflow, under the rule `best`."""

import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import importlib_metadata
import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.utils import requirements_utils

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.planning.sections import RetentionSection
from orchestrator.publishing.best import publish_best
from orchestrator.publishing.model import tracking_at
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, TrackingError, open_sweep
from orchestrator.worker.job import Settings, job_of
from orchestrator.worker.worker import Worker, run_trial

BEST = RetentionSection()

ALONE = """\
import sys
from orchestrator.driver.state import look
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sections import RetentionSection
from orchestrator.publishing.best import publish_best
state = look(SweepConfig.model_validate_json(sys.stdin.read()))
key = sys.argv[1]
run_id = state.children[key].run_id
kept = RetentionSection()
assert publish_best(state.plan, state.store, state.tracker, key, kept, run_id)
print(sorted({"torch", "timm", "torchvision"} & sys.modules.keys()))
"""


def with_seeds(tracked: SweepConfig) -> SweepConfig:
    """A sweep of two trials."""
    raw = tracked.model_dump()
    raw["search"] = [{"seed": [0, 1]}]
    return SweepConfig.model_validate(raw)


def card_is_right(
    tracker: Tracker, store: Store, trial: Any, planned: Any, run_id: str, model: Any
) -> None:
    """What is served runs whole images, and the model's card says both accuracies."""
    measured = tracker.client.get_run(run_id).data.metrics
    for name in ("final/test_accuracy", "final/deployed_test_accuracy"):
        assert f"{100 * measured[name]:.1f} %" in model.tags["mlflow.note.content"]

    with tracking_at(tracker.address.uri):
        loaded = mlflow.pyfunc.load_model(model.model_uri)
        folder = Path(mlflow.artifacts.download_artifacts(model.model_uri))
    answer = loaded.predict(loaded.input_example)
    assert answer.shape == (2, 10)
    assert answer.sum(1) == pytest.approx([1.0, 1.0])
    test = planned.sources_of(trial.config).dataset.test
    given = np.ascontiguousarray(test.images.transpose(0, 2, 3, 1))
    found = loaded.predict(given)
    final = store.get(trial.graph.final)
    assert final is not None
    assert (found.argmax(1) == test.labels).tolist() == final[0].test.correct.tolist()
    loss = -np.log(found[np.arange(len(test)), test.labels].astype(float)).mean()
    assert loss == pytest.approx(final[0].test.loss, abs=1e-5)
    assert loss != pytest.approx(final[0].deployed_test.loss, abs=1e-4)
    about = loaded.metadata.metadata["lotus"]
    assert about["whole_images"]["test_accuracy"] == measured["final/test_accuracy"]
    assert about["deployed"]["test_accuracy"] == measured["final/deployed_test_accuracy"]
    assert about["data"]["digest"] == planned.sources_of(trial.config).dataset.digest
    named = loaded.predict(given[:5], params={"labels": True})
    assert [one["label"] for one in named] == [str(c) for c in found[:5].argmax(1)]
    assert [one["probability"] for one in named] == pytest.approx(found[:5].max(1).tolist())
    assert about["data"]["digest"] in (folder / "README.md").read_text()
    values = {metric.key: metric.value for metric in model.metrics}
    assert values["model/test_accuracy"] == measured["final/test_accuracy"]


def registered_once_and_kept(
    planned: Any, store: Store, tracker: Tracker, run_ids: dict[str, str]
) -> None:
    """A version in the registry for each best model, the newest with the alias; asked for later."""
    first, second = run_ids
    name, client = f"m {uuid.uuid4().hex}", MlflowClient(tracker.address.uri)
    asked = RetentionSection(register_as=name)

    def publish(key: str, retention: RetentionSection) -> bool:
        return publish_best(planned, store, tracker, key, retention, run_ids[key])

    assert publish(first, asked), "the model was published before, but not registered"
    assert not publish(first, asked)
    assert tracker.parent().data.tags["lotus.registered"] == f"{name}/1"
    assert publish(second, asked)
    newest = client.get_model_version_by_alias(name, "best")
    assert (newest.version, newest.tags["lotus.key"]) in ((2, second), ("2", second))
    assert planned.trials[1].name in newest.description
    with tracking_at(tracker.address.uri):
        for version in (1, 2):
            answer = mlflow.pyfunc.load_model(f"models:/{name}/{version}")
            assert answer.predict(answer.input_example).shape == (2, 10)
    assert publish(first, BEST), "no longer asked for"
    assert "lotus.registered" not in tracker.parent().data.tags
    steps = client.get_metric_history(tracker.address.parent, "model/test_accuracy")
    assert sorted(point.step for point in steps) == list(range(1, len(steps) + 1))


def test_when_the_best_changes_its_checkpoint_is_the_only_one(
    tracked: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    sweep = with_seeds(tracked)
    address = open_sweep(sweep)
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
        found = MlflowClient(address.uri).search_logged_models([address.experiment_id])
        return [model for model in found if model.source_run_id == address.parent]

    first, second = run_ids
    assert not any(kept().values())  # nothing is uploaded while trials run
    with monkeypatch.context() as patch:
        patch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
        patch.setattr(importlib_metadata, "packages_distributions", lambda: pytest.fail("slow"))
        assert publish_best(planned, store, tracker, first, BEST, run_ids[first])
        assert requirements_utils._MODULES_TO_PACKAGES is None
    assert kept() == {first: True, second: False}
    assert not publish_best(planned, store, tracker, first, BEST, run_ids[first])
    assert publish_best(planned, store, tracker, second, BEST, run_ids[second])
    assert kept() == {first: False, second: True}
    (model,) = models()
    assert len(models()) == 1
    card_is_right(tracker, store, planned.trials[1], planned, run_ids[second], model)
    # As in a driver, which has not imported torch.
    done = subprocess.run(
        [sys.executable, "-c", ALONE, first],
        input=sweep.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "[]"
    assert kept() == {first: True, second: False}
    registered_once_and_kept(planned, store, tracker, run_ids)
    elsewhere = replace(tracker.address, experiment_id="4711", parent="0" * 32)
    lost = Tracker(elsewhere)
    monkeypatch.setattr(lost, "parent", tracker.parent)
    with pytest.raises(TrackingError, match=r"the best model could not be logged: .*0{32}"):
        publish_best(planned, store, lost, second, BEST, run_ids[first])
