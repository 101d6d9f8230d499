"""The best model of a sweep: its checkpoint on its own run, and a logged model to serve."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.reading.card import card, measured
from orchestrator.secrets import redacted
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import RunLog, Tracker, TrackingError
from orchestrator.versions import versions
from orchestrator.worker import record
from trials.formats import KINDS
from trials.graph.sources import Opened
from trials.stage import Node
from trials.stages.finetune import Finetuned

NAMED = "MLFLOW_TRACKING_URI"


def publish_best(
    plan: Plan, store: Store, tracker: Tracker, key: str, retention: str, run_id: str
) -> bool:
    """Log the recommended trial's model on the sweep's run; whether there was something to do.

    Without torch: weights are moved here, and nothing computes with them. With timm it would take
    seconds at the end of every sweep, and three quarters of a gigabyte of the driver's memory.

    Args:
        key: of the recommended trial.
        retention: with `best` the checkpoint is uploaded here, with `all` it already was.
        run_id: of that trial.

    Raises:
        TrackingError: it could not be logged.
    """
    before = tracker.parent().data.tags.get("lotus.best")
    trial = next((trial for trial in plan.trials if trial.key == key), None)
    tuned = trial.graph.finetune if trial else None
    if before == key or trial is None or tuned is None or store.entry(tuned) is None:
        return False
    order = Order(trial, tuned, plan.sources_of(trial.config), retention, run_id, before)
    try:
        return _publish(order, store, tracker)
    except Exception as error:  # of MLflow, its store, or ours
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise TrackingError(
            f"the best model could not be logged: {redacted(reason)[:500]}"
        ) from error


@dataclass(frozen=True, slots=True)
class Order:
    """What is published, and where.

    Attributes:
        tuned: the stage whose result is the model.
        before: key of the trial whose model was the best until now.
    """

    trial: PlannedTrial
    tuned: Node[Finetuned]
    opened: Opened
    retention: str
    run_id: str
    before: str | None


def _publish(order: Order, store: Store, tracker: Tracker) -> bool:
    """Log the model; False where the store has it no more."""
    found = _weights(order.tuned, store)
    if found is None:
        return False
    if order.retention == "best" and order.before:
        _forget(tracker, order.before)
    key, name = order.trial.key, order.trial.name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoints/final.safetensors"
        record.write_checkpoint(found, path, key)
        if order.retention == "best":
            RunLog(tracker.client, order.run_id).artifacts(Path(folder))
        images = order.opened.dataset.test.images[:2].transpose(0, 2, 3, 1)
        told = tracker.ask(lambda: tracker.client.get_run(order.run_id)).data
        row = {**told.params, **told.metrics}
        _log_model(tracker, path, np.ascontiguousarray(images), name, row)
    tracker.sweep_log().flush(tags={"lotus.best": key, "lotus.best_name": name})
    return True


def _weights(tuned: Node[Finetuned], store: Store) -> Finetuned | None:
    """The model as bytes; with torch only where numpy does not know their type."""
    found = store.get(tuned, raw=True)
    if found is None:
        return None
    state: Any = found[0].checkpoint.state
    if all(one.kind in KINDS for one in state.values()):
        return found[0]
    computed = store.get(tuned)
    return computed[0] if computed else None


def withdraw_best(tracker: Tracker, retention: str) -> None:
    """Nothing is recommended: no model is the best one any more."""
    if key := tracker.parent().data.tags.get("lotus.best"):
        if retention == "best":
            _forget(tracker, key)
        for name in ("lotus.best", "lotus.best_name"):
            tracker.ask(lambda name=name: tracker.client.delete_tag(tracker.address.parent, name))  # type: ignore[misc]


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


def _log_model(
    tracker: Tracker, checkpoint: Path, example: np.ndarray, name: str, row: Mapping[str, Any]
) -> None:
    """An `mlflow.pyfunc` model from code and safetensors, nothing pickled.

    Args:
        name: of the trial.
        row: its params and metrics, for the card.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
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
        Model.log(
            None,
            Untried(),
            name="best",
            validate_serving_input=False,
            python_model=str(Path(__file__).with_name("serving.py")),
            artifacts={"checkpoint": str(checkpoint)},
            signature=signature,
            input_example=example,
            pip_requirements=["mlflow", *(f"{one}=={known[one]}" for one in names)],
            tags={"mlflow.note.content": card(name, row)},
            metadata={"lotus": {"trial": name, **measured(row)}},
        )


class Untried:
    """`mlflow.pyfunc` for `Model.log`, which is what `mlflow.pyfunc.log_model` calls.

    That one also loads the model and tries it on its example. It would take torch and timm,
    seconds at the end of every sweep, for a line in a log that nobody sees: tests do it instead.
    """

    __name__ = "mlflow.pyfunc"

    def save_model(self, *, validate_serving_input: bool, **settings: Any) -> None:
        """Write the model's folder."""
        import mlflow

        mlflow.pyfunc.save_model(**settings)


@contextmanager
def _tracking(uri: str) -> Iterator[None]:
    """Point MLflow's fluent interface at a store, for the one call that has no client form."""
    import mlflow

    # Setting it sets MLFLOW_TRACKING_URI too, by which a sweep file read later would go astray.
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    named, run_id = os.environ.get(NAMED), os.environ.pop("MLFLOW_RUN_ID", None)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # None: as if it had never been set
        os.environ.pop(NAMED, None)
        if named is not None:
            os.environ[NAMED] = named
        if run_id is not None:
            os.environ["MLFLOW_RUN_ID"] = run_id
