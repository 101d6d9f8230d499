"""The best model of a sweep: its checkpoint on the trial's run, and a logged model to serve."""

import tempfile
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.publishing.model import log_model
from orchestrator.secrets import redacted
from orchestrator.storage.store import Store
from orchestrator.tracking.patience import refusals
from orchestrator.tracking.tracker import RunLog, Tracker, TrackingError
from orchestrator.vocabulary import Artifact, Tag
from orchestrator.worker import record
from trials.container import KINDS
from trials.graph.sources import Opened
from trials.stage import Node
from trials.stages.finetune import Finetuned


def publish_best(
    plan: Plan, store: Store, tracker: Tracker, key: str, retention: str, run_id: str
) -> bool:
    """Log the recommended trial's model on the sweep's run; False = there was nothing to do.

    Works without torch, because weights are only copied. Importing torch and timm would take
    seconds at the end of every sweep, and three quarters of a gigabyte of the driver's memory.

    Args:
        key: of the recommended trial.
        retention: with `best` the checkpoint is uploaded here, with `all` it already was.
        run_id: of that trial.

    Raises:
        TrackingError: it could not be logged.
    """
    before = tracker.parent().data.tags.get(Tag.BEST)
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
    """What to publish, and where.

    Attributes:
        tuned: the stage whose result is the model.
        before: key of the previous best trial.
    """

    trial: PlannedTrial
    tuned: Node[Finetuned]
    opened: Opened
    retention: str
    run_id: str
    before: str | None


def _publish(order: Order, store: Store, tracker: Tracker) -> bool:
    """Log the model; False if it is no longer in the store."""
    tuned = _weights(order.tuned, store)
    if tuned is None:
        return False
    if order.retention == "best" and order.before:
        _forget(tracker, order.before)
    key, name = order.trial.key, order.trial.name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Artifact.CHECKPOINT
        record.write_checkpoint(tuned, path, key)
        if order.retention == "best":
            RunLog(tracker.client, order.run_id).artifacts(Path(folder))
        images = order.opened.dataset.test.images[:2].transpose(0, 2, 3, 1)
        data = tracker.ask(lambda: tracker.client.get_run(order.run_id)).data
        row = {**data.params, **data.metrics}
        log_model(tracker.address, path, np.ascontiguousarray(images), name, row)
    tracker.sweep_log().flush(tags={Tag.BEST: key, Tag.BEST_NAME: name})
    return True


def _weights(tuned: Node[Finetuned], store: Store) -> Finetuned | None:
    """The model as bytes; with torch only if numpy does not know their type."""
    stored = store.get(tuned, raw=True)
    if stored is None:
        return None
    state: Any = stored[0].checkpoint.state
    if all(array.kind in KINDS for array in state.values()):
        return stored[0]
    computed = store.get(tuned)
    return computed[0] if computed else None


def withdraw_best(tracker: Tracker, retention: str) -> None:
    """Remove the best model, because nothing is recommended any more."""
    if key := tracker.parent().data.tags.get(Tag.BEST):
        if retention == "best":
            _forget(tracker, key)
        for tag in (Tag.BEST, Tag.BEST_NAME):
            tracker.ask(partial(tracker.client.delete_tag, tracker.address.parent, tag))


def _forget(tracker: Tracker, key: str) -> None:
    """Remove the checkpoint and model of an earlier best trial: only one is kept at any time.

    This comes before the new one is written: a sweep that dies in between publishes its best again.
    """
    try:
        for child in tracker.children():
            if child.key == key:
                tracker.client.delete_artifacts(child.run_id, Artifact.CHECKPOINTS)
        query = f"source_run_id = '{tracker.address.parent}'"
        for model in tracker.client.search_logged_models([tracker.address.experiment_id], query):
            tracker.client.delete_logged_model(model.model_id)
    except refusals() as error:
        warnings.warn(
            f"the checkpoint of an earlier best trial could not be removed: {redacted(str(error))}",
            stacklevel=2,
        )
