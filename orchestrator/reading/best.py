"""The best model of a sweep: its checkpoint on its own run, and a logged model to serve."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.planning.plan import Plan
from orchestrator.reading.card import card, measured
from orchestrator.secrets import redacted
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Address, RunLog, Tracker, TrackingError
from orchestrator.versions import versions
from orchestrator.worker import record
from orchestrator.worker.job import Job, job_of
from trials.errors import LotusError
from trials.pipeline import pipeline
from trials.sources import open_sources

NAMED = "MLFLOW_TRACKING_URI"

NOTHING = 3
"""Exit code of the process that publishes: the store has no such model."""


def publish_best(
    plan: Plan, store: Store, tracker: Tracker, key: str, retention: str, run_id: str
) -> bool:
    """Log the recommended trial's model on the sweep's run; whether there was something to do.

    In a process of its own, unless torch is here already: with timm and the model it would stay
    in the driver's memory, three quarters of a gigabyte for this one act.

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
    order = Order(job_of(trial).text(), store.url, tracker.address, retention, run_id, before)
    return _publish(order) if "torch" in sys.modules else _have_published(order)


@dataclass(frozen=True, slots=True)
class Order:
    """What is published, and where.

    Attributes:
        job: of the trial, as text.
        store: its address.
        before: key of the trial whose model was the best until now.
    """

    job: str
    store: str
    address: Address
    retention: str
    run_id: str
    before: str | None


def _have_published(order: Order) -> bool:
    """Have a process of its own do it, with the environment and the modules of this one."""
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.reading.best"],
        input=json.dumps(asdict(order)),
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, NOTHING):
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TrackingError(f"the best model could not be logged: {redacted(reason)[:500]}")
    return done.returncode == 0


def _publish(order: Order) -> bool:
    """Log the model; False where the store has it no more."""
    job, store, tracker = Job.of_text(order.job), Store(order.store), Tracker(order.address)
    opened = open_sources(job.config.data, job.config.model)
    tuned = pipeline(job.config, opened.sources).finetune
    found = store.get(tuned) if tuned else None
    if found is None:
        return False
    if order.retention == "best" and order.before:
        _forget(tracker, order.before)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoints/final.safetensors"
        record.write_checkpoint(found[0], path, job.key)
        if order.retention == "best":
            RunLog(tracker.client, order.run_id).artifacts(Path(folder))
        images = opened.dataset.test.images[:2].transpose(0, 2, 3, 1)
        told = tracker.client.get_run(order.run_id).data
        row = {**told.params, **told.metrics}
        _log_model(tracker, path, np.ascontiguousarray(images), job.name, row)
    tracker.sweep_log().flush(tags={"lotus.best": job.key, "lotus.best_name": job.name})
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


def _log_model(
    tracker: Tracker, checkpoint: Path, example: np.ndarray, name: str, row: Mapping[str, Any]
) -> None:
    """An `mlflow.pyfunc` model from code and safetensors, nothing pickled.

    Args:
        name: of the trial.
        row: its params and metrics, for the card.
    """
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
            pip_requirements=["mlflow", *(f"{one}=={known[one]}" for one in names)],
            tags={"mlflow.note.content": card(name, row)},
            metadata={"lotus": {"trial": name, **measured(row)}},
        )


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


def main() -> None:
    """The process of its own: an order on its standard input, in words what went wrong."""
    told = json.load(sys.stdin)
    order = Order(**told | {"address": Address(**told["address"])})
    try:
        done = _publish(order)
    except LotusError as error:
        sys.exit(" ".join(f"{error}".split()))
    sys.exit(0 if done else NOTHING)


if __name__ == "__main__":
    main()
