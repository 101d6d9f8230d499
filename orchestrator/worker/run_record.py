"""What a run should hold, as a value: made of stage results alone, delivered or compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.planning.config import flat
from orchestrator.planning.plan import PlannedTrial
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Entry, Store
from orchestrator.tracking.runlog import RunLog
from orchestrator.tracking.runs import Identity
from orchestrator.vocabulary import DENSE_EPOCHS, Artifact, Tag, seconds
from orchestrator.worker import checkpoints, metrics, record
from orchestrator.worker.cached import Cached
from orchestrator.worker.job import Job
from orchestrator.worker.labels import (
    axis_metrics,
    curve_level,
    made_with,
    memory_tags,
    probe_run_name,
    stage_run_name,
    trial_params,
    trial_tags,
)
from trials.data.datasets import Dataset
from trials.errors import LotusError
from trials.graph.pipeline import TrialGraph
from trials.stage import Node, closure
from trials.stages.dense import Dense
from trials.stages.essential import Probe

COMPARED = ("essential", "issp", "soup_train", "control", "probe")
"""Stages whose model is compared with the dense one, image by image."""


ROLES = {"recovered": "essential"}
"""Stages whose run tells of another role than their own name."""


class NotStored(LotusError):  # noqa: N818 - named for what it is
    """The store has not got all results that a run is made of."""


@dataclass(frozen=True, slots=True)
class TrialRun:
    """The run of a trial.

    Attributes:
        checkpoint: whether it keeps its model.
    """

    trial: PlannedTrial
    data: Dataset
    checkpoint: bool

    @property
    def identity(self) -> Identity:
        """By what it is found again."""
        return Identity(self.trial.key, "trial", self.trial.name, trial_tags(self.trial))

    @property
    def made_of(self) -> Mapping[str, Node[Any]]:
        """Name -> stage whose result it tells of."""
        return self.trial.graph.stages()


@dataclass(frozen=True, slots=True)
class StageRun:
    """The run of a shared stage.

    Attributes:
        name: of the stage in its trial, but for levels of the one-shot curve.
        graph: of a trial that needs it.
        called: the name of the run.
    """

    node: Node[Any]
    name: str
    graph: TrialGraph
    called: str

    @property
    def identity(self) -> Identity:
        """By what it is found again."""
        return Identity(key_of(self.node), "stage", self.called, {Tag.STAGE: self.name})

    @property
    def made_of(self) -> Mapping[str, Node[Any]]:
        """Name -> stage whose result it tells of."""
        own = {self.name: self.node}
        return own | {"dense": self.graph.dense} if self.name in COMPARED else own


def stage_run(job: Job, graph: TrialGraph, key: str) -> StageRun:
    """The run of a shared stage, by its key.

    Args:
        job: a trial that needs it.
    """
    node = {key_of(node): node for node in closure(graph.final)}[key]
    role = next((name for name, own in graph.stages().items() if key_of(own) == key), None)
    on_curve = key in map(key_of, graph.curve)
    name = ROLES.get(node.stage.name, node.stage.name) if role is None or on_curve else role
    return StageRun(node, name, graph, stage_run_name(node, name))


@dataclass(frozen=True, slots=True)
class Gathered:
    """The results that a run is made of, and how they were come by.

    Attributes:
        results: by name.
        entries: the same names -> how and when each was computed.
        hits: key -> entry, of what was not computed for this run.
        micro_batch: what memory allowed; None when it sufficed.
    """

    results: Mapping[str, Any]
    entries: Mapping[str, Entry]
    hits: Mapping[str, Entry]
    micro_batch: int | None = None


def gathered(
    cached: Cached, made_of: Mapping[str, Node[Any]], results: Mapping[str, Any]
) -> Gathered:
    """What an executor has come by."""
    known = {name: cached.entry(node) for name, node in made_of.items()}
    entries = {name: entry for name, entry in known.items() if entry is not None}
    return Gathered(results, entries, cached.hits, cached.micro_batch)


def stored(store: Store, made_of: Mapping[str, Node[Any]], owner: str) -> Gathered:
    """What the store has; nothing is computed.

    Args:
        owner: of the run, as `Cached` has it.

    Raises:
        NotStored: a result is not there.
    """
    found: dict[str, tuple[Any, Entry]] = {}
    for node in made_of.values():
        if (key := key_of(node)) not in found:
            if (one := store.get(node)) is None:
                raise NotStored(f"the store has no result of {node.stage.name} {key[:12]}")
            found[key] = one
    of_name = {name: found[key_of(node)] for name, node in made_of.items()}
    return Gathered(
        {name: result for name, (result, _) in of_name.items()},
        {name: entry for name, (_, entry) in of_name.items()},
        {key: entry for key, (_, entry) in found.items() if entry.computed_by != owner},
    )


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run should hold.

    Attributes:
        tags: said when it ends, beside those of its identity.
        points: metric and step -> value.
        files: path among its artifacts -> what writes it.
    """

    identity: Identity
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    points: Mapping[tuple[str, int], float]
    files: Mapping[str, record.Write] = field(default_factory=dict)

    def deliver(self, log: RunLog) -> None:
        """Write it to its run, and end that."""
        steps: dict[int, dict[str, float | None]] = {}
        for (name, step), value in self.points.items():
            steps.setdefault(step, {})[name] = value
        for step, values in steps.items():
            log.metrics(values, step)
        log.flush(self.params, self.tags)
        if self.files:
            log.write(partial(record.write_all, self.files))
        log.finish()


def record_of(run: TrialRun | StageRun, found: Gathered) -> RunRecord:
    """What a run should hold. Pure: nobody is asked, and files are written by who wants them."""
    return _of_trial(run, found) if isinstance(run, TrialRun) else _of_stage(run, found)


def _of_trial(run: TrialRun, found: Gathered) -> RunRecord:
    results = found.results
    recovered = results["rung" if run.trial.config.rungs else "finetune"]
    points = _Points()
    for number, epoch in enumerate(recovered.history, start=1):
        points.add(metrics.epoch_metrics(epoch), number)
    points.add(metrics.trial_metrics(results, run.data))
    points.add(metrics.time_metrics(found.entries, found.hits))
    points.add(axis_metrics(run.trial, results))
    return RunRecord(
        run.identity,
        trial_params(run.trial, results),
        memory_tags(found.micro_batch) | made_with(found.entries.values()),
        points.given,
        record.trial_files(run.trial, results, run.data, run.checkpoint),
    )


def _of_stage(run: StageRun, found: Gathered) -> RunRecord:
    node, name = run.node, run.name
    result, entry = found.results[name], found.entries.get(name)
    computed = key_of(node) not in found.hits
    dense = found.results["dense"] if name in COMPARED else None
    points, files = _Points(), dict[str, Callable[[Path], None]]()
    points.add(metrics.stage_metrics(name, result, dense))
    points.add({seconds(name): entry.seconds if entry else None})
    if isinstance(result, Dense):
        for number, epoch in enumerate(result.history, start=1):
            points.add(metrics.epoch_metrics(epoch, DENSE_EPOCHS), number)
        if computed:
            write = partial(checkpoints.write_checkpoint, result, key=key_of(node))
            files[Artifact.DENSE_CHECKPOINT] = write
    params = flat(node.config) | ({"seed": node.seed} if node.seed is not None else {})
    tags = ({} if computed else {Tag.CACHED: "true"}) | memory_tags(found.micro_batch)
    tags |= made_with([entry] if entry else [])
    if isinstance(result, Probe):
        tags[Tag.RUN_NAME] = probe_run_name(result, node)
    if dense is not None and (level := curve_level(node, result, run.graph)):
        params["sparsity"], tags[Tag.STAGE_OF + "essential"] = level
        tags[Tag.STAGE_OF + "dense"] = key_of(run.graph.dense)
        points.add(metrics.curve_metrics(dense))
    return RunRecord(run.identity, params, tags, points.given, files)


@dataclass(slots=True)
class _Points:
    """Points of metrics; None is left out, and so is what is there already."""

    given: dict[tuple[str, int], float] = field(default_factory=dict)

    def add(self, values: Mapping[str, float | None], step: int = 0) -> None:
        for name, value in values.items():
            if value is not None:
                self.given.setdefault((name, step), float(value))
