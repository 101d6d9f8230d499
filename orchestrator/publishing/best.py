"""The best model of a sweep: its checkpoint on the trial's run, and a logged model to serve."""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.planning.sections import RetentionSection
from orchestrator.publishing.datasets import known_data
from orchestrator.publishing.model import ToLog, log_model, tracking_at
from orchestrator.publishing.model_card import Described, card_text, described, said_of_setting
from orchestrator.secrets import redacted
from orchestrator.storage.store import Store
from orchestrator.tracking.patience import refusals
from orchestrator.tracking.runlog import TAG_CHARACTERS
from orchestrator.tracking.tracker import RunLog, Tracker, TrackingError
from orchestrator.vocabulary import Artifact, Metric, Tag
from orchestrator.worker import checkpoints
from trials.container import KINDS
from trials.graph.sources import Opened
from trials.stage import Node
from trials.stages.finetune import Finetuned

ALIAS = "best"
"""Of the newest version of a registered model: `models:/NAME@best`."""


def publish_best(
    plan: Plan,
    store: Store,
    tracker: Tracker,
    key: str,
    retention: RetentionSection,
    run_id: str,
    answer: Mapping[str, str | None] | None = None,
) -> bool:
    """Log the recommended trial's model on the sweep's run; False = there was nothing to do.

    Works without torch, because weights are only copied. Importing torch and timm would take
    seconds at the end of every sweep, and three quarters of a gigabyte of the driver's memory.

    Args:
        key: of the recommended trial.
        retention: with `best` the checkpoint is uploaded here, with `all` it already was.
        run_id: of that trial.
        answer: of the sweep, for the model's card.

    Raises:
        TrackingError: it could not be logged.
    """
    tags = tracker.parent().data.tags
    before, registered = tags.get(Tag.BEST), tags.get(Tag.REGISTERED, "").rpartition("/")[0]
    trial = next((trial for trial in plan.trials if trial.key == key), None)
    tuned = trial.graph.finetune if trial else None
    if trial is None or tuned is None or store.entry(tuned) is None:
        return False
    if before == key and retention.register_as in (None, registered):
        return False
    opened, said = plan.sources_of(trial.config), said_of_setting(answer) if answer else []
    order = Order(trial, tuned, opened, retention, run_id, before, bool(registered), said)
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
        before: key of the previous best trial; registered: whether its model is in the registry.
        said: sentences of the report on its setting.
    """

    trial: PlannedTrial
    tuned: Node[Finetuned]
    opened: Opened
    retention: RetentionSection
    run_id: str
    before: str | None
    registered: bool
    said: Sequence[str]


def _publish(order: Order, store: Store, tracker: Tracker) -> bool:
    """Log the model; False if it is no longer in the store."""
    tuned = _weights(order.tuned, store)
    if tuned is None:
        return False
    if order.retention.checkpoints == "best" and order.before:
        _forget(tracker, order.before)
    key, data = order.trial.key, order.opened.dataset
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Artifact.CHECKPOINT
        checkpoints.write_checkpoint(tuned, path, key, data.class_names)
        if order.retention.checkpoints == "best":
            RunLog(tracker.client, order.run_id).artifacts(Path(folder))
        images = np.ascontiguousarray(data.test.images[:2].transpose(0, 2, 3, 1))
        run = tracker.ask(lambda: tracker.client.get_run(order.run_id))
        row, known = {**run.data.metrics, **run.data.params}, known_data(order.trial.config, data)
        about = described(run.info.run_name, row, run.data.tags, known, order.said)
        model_id = log_model(tracker.address, ToLog(path, images, about, _next_step(tracker)))
    tags = {Tag.BEST: key, Tag.BEST_NAME: run.info.run_name}
    if (name := order.retention.register_as) is not None:
        tags[Tag.REGISTERED] = f"{name}/{_registered(tracker, name, model_id, about)}"
    tracker.sweep_log().flush(tags=tags)
    if order.registered and Tag.REGISTERED not in tags:
        tracker.ask(lambda: tracker.client.delete_tag(tracker.address.parent, Tag.REGISTERED))
    return True


def _registered(tracker: Tracker, name: str, model_id: str, about: Described) -> str:
    """Make the model a new version in the registry, the one with the alias."""
    where, text = tracker.address, card_text(about)[:TAG_CHARACTERS]
    tags, client = {Tag.KEY: about.key}, tracker.client
    with tracking_at(where.uri):  # MLflow looks for the model there, whatever its client was given
        return tracker.ask(
            lambda: client.register_model(name, model_id, where.parent, tags, text, ALIAS)
        )


def _next_step(tracker: Tracker) -> int:
    """The step of the metrics of the next model."""
    before = tracker.ask(
        lambda: tracker.client.get_metric_history(
            tracker.address.parent, Metric.MODEL_TEST_ACCURACY
        )
    )
    return 1 + max((point.step for point in before), default=0)


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
    tags = tracker.parent().data.tags
    if key := tags.get(Tag.BEST):
        if retention == "best":
            _forget(tracker, key)
        for tag in {Tag.BEST, Tag.BEST_NAME, Tag.REGISTERED} & tags.keys():
            tracker.ask(partial(tracker.client.delete_tag, tracker.address.parent, tag))


def _forget(tracker: Tracker, key: str) -> None:
    """Remove the checkpoint and model of an earlier best trial: only one is kept at any time.

    A model that is a version in the registry stays until somebody removes it there.

    This comes before the new one is written: a sweep that dies in between publishes its best again.
    """
    try:
        for child in tracker.children():
            if child.key == key:
                tracker.client.delete_artifacts(child.run_id, Artifact.CHECKPOINTS)
        query = f"source_run_id = '{tracker.address.parent}'"
        kept = tracker.client.registered_models(tracker.address.parent)
        for model in tracker.client.search_logged_models([tracker.address.experiment_id], query):
            if model.model_id not in kept:
                tracker.client.delete_logged_model(model.model_id)
    except refusals() as error:
        warnings.warn(
            f"the checkpoint of an earlier best trial could not be removed: {redacted(str(error))}",
            stacklevel=2,
        )
