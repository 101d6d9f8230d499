"""The best model of a sweep: its checkpoint on its own run, and a logged model to serve."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from orchestrator import record
from orchestrator.planning import Plan
from orchestrator.secrets import redacted
from orchestrator.store import Store
from orchestrator.tracking import RunLog, Tracker
from orchestrator.versions import versions


def publish_best(
    plan: Plan, store: Store, tracker: Tracker, key: str, retention: str, run_id: str
) -> bool:
    """Log the recommended trial's model on the sweep's run; whether there was something to do.

    Args:
        key: of the recommended trial.
        retention: with `best` the checkpoint is uploaded here, with `all` it already was.
        run_id: of that trial.
    """
    before = tracker.parent().data.tags.get("lotus.best")
    if before == key:
        return False
    trial = next((trial for trial in plan.trials if trial.key == key), None)
    tuned = trial.graph.finetune if trial else None
    found = store.get(tuned) if tuned else None
    if trial is None or found is None:
        return False
    if retention == "best" and before:
        _forget(tracker, before)
    opened = plan.sources_of(trial.config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoints/final.safetensors"
        record.write_checkpoint(found[0], path, key)
        if retention == "best":
            RunLog(tracker.client, run_id).artifacts(Path(folder))
        images = opened.dataset.test.images[:2].transpose(0, 2, 3, 1)
        _log_model(tracker, path, np.ascontiguousarray(images))
    tracker.sweep_log().flush(tags={"lotus.best": key, "lotus.best_name": trial.name})
    return True


def _forget(tracker: Tracker, key: str) -> None:
    """Remove what an earlier best trial left: the rule keeps one checkpoint, at any time.

    Before the new one is written: a sweep that dies in between publishes its best again.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = tracker.address.uri
    try:
        for child in tracker.children():
            if child.key == key:
                where = tracker.client.get_run(child.run_id).info.artifact_uri
                get_artifact_repository(where, tracking_uri=uri).delete_artifacts("checkpoints")
        query = f"source_run_id = '{tracker.address.parent}'"
        experiments = [tracker.address.experiment_id]
        for model in tracker.client.search_logged_models(experiments, filter_string=query):
            tracker.client.delete_logged_model(model.model_id)
    except (MlflowException, NotImplementedError, OSError) as error:
        warnings.warn(
            f"the checkpoint of an earlier best trial could not be removed: {redacted(str(error))}",
            stacklevel=2,
        )


def _log_model(tracker: Tracker, checkpoint: Path, example: np.ndarray) -> None:
    """An `mlflow.pyfunc` model from code and safetensors, nothing pickled."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = (-1, *example.shape[1:])
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), shape)]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, -1))]),
    )
    # Its advice and progress bars are for interactive use.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    names = ("torch", "timm", "safetensors", "numpy")
    known = versions()
    with (
        _tracking(tracker.address.uri),
        mlflow.start_run(run_id=tracker.address.parent),
        warnings.catch_warnings(action="ignore"),
    ):
        mlflow.pyfunc.log_model(
            name="best",
            python_model=str(Path(__file__).with_name("serving.py")),
            artifacts={"checkpoint": str(checkpoint)},
            signature=signature,
            input_example=example,
            pip_requirements=["mlflow", *(f"{name}=={known[name]}" for name in names)],
        )


@contextmanager
def _tracking(uri: str) -> Iterator[None]:
    """Point MLflow's fluent interface at a store, for the one call that has no client form."""
    import mlflow

    before, run_id = mlflow.get_tracking_uri(), os.environ.pop("MLFLOW_RUN_ID", None)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        if run_id is not None:
            os.environ["MLFLOW_RUN_ID"] = run_id
