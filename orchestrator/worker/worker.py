"""What runs inside a Ray worker process: one stage or one trial. Ray itself is not imported."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.planning.config import flat
from orchestrator.planning.plan import PlannedTrial
from orchestrator.search import RESULT_METRICS
from orchestrator.storage.keys import key_of
from orchestrator.storage.nearby import on_this_node
from orchestrator.storage.store import Entry, Store
from orchestrator.tracking import patience
from orchestrator.tracking.pending import Pending, note_of
from orchestrator.tracking.tracker import RunLog, Tracker
from orchestrator.versions import differences, host, versions
from orchestrator.worker import record
from orchestrator.worker.attempt_log import last_lines
from orchestrator.worker.cached import Cached, Memory
from orchestrator.worker.failures import NodeError, failure_of, write_evidence
from orchestrator.worker.job import Job, Settings
from orchestrator.worker.labels import (
    curve_level,
    made_with,
    memory_tags,
    probe_run_name,
    stage_run_name,
    trial_params,
    trial_tags,
)
from orchestrator.worker.watchdog import limited
from trials.context import Context, Progress
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.sources import Opened
from trials.lazy import torch
from trials.stage import Node, closure
from trials.stages.dense import Dense
from trials.stages.essential import Probe


@dataclass
class Worker:
    """The state that a process keeps between jobs: store, results at hand, data, connection.

    Attributes:
        micro_batch: of the job that runs now; None unless memory has run out before.
        fresh: whether nobody has begun the job that runs now before.
        tell: told the keys of an item and of a stage of it, and the fraction that is done.
    """

    settings: Settings
    store: Store
    tracker: Tracker
    memory: Memory = field(default_factory=Memory)
    opened: dict[str, Opened] = field(default_factory=dict)
    micro_batch: int | None = None
    fresh: bool = False
    tell: Callable[[str, str, float], None] = lambda item, stage, fraction: None

    def context(self, progress: Callable[[Progress], None]) -> Context:
        """Where stages run in this process."""
        gpu = self.settings.gpu and torch.cuda.is_available()
        device = torch.device("cuda" if gpu else "cpu")
        return Context(device, progress, micro_batch=self.micro_batch)

    def cached(
        self, opened: Opened, progress: Callable[[Progress], None], key: str, log: RunLog
    ) -> Cached:
        """An executor for one job.

        Args:
            key: of the stage or trial for which it computes.
            log: of its run; told when a stage hangs.
        """
        limit_s = self.settings.stage_timeout_s

        def guard(stage: str) -> AbstractContextManager[None]:
            return limited(stage, limit_s, lambda why, folder: fail(log, why, folder))

        return Cached(
            self.store,
            opened.objects(),
            self.context(progress),
            self.memory,
            owner=f"{self.settings.address.parent}/{key}",
            guard=guard,
            told=lambda stage, fraction: self.tell(key, stage, fraction),
        )

    def start(self, key: str, kind: str, name: str, tags: Mapping[str, str]) -> RunLog:
        """The run of an item, written to in the background; the store notes what is owed to it."""
        pending = Pending(self.store, self.settings.address.parent)
        note = pending.get(key)
        missed = note.attempts if note else 0
        log = self.tracker.start(
            key, kind, name, tags, missed=missed, background=True, fresh=self.fresh
        )

        def ended(log: RunLog, status: str) -> None:
            if log.undelivered is not None:
                pending.put(note_of(log, key, kind, name, tags, status, missed))
            elif note is not None:
                pending.remove(key)

        log.ended = ended
        return log

    def graph(self, job: Job, opened: Opened) -> TrialGraph:
        """The job's stages."""
        return pipeline(job.config, opened.sources)

    def source(self, job: Job, fetch: Callable[[], Opened]) -> Opened:
        """The job's data, fetched once per process."""
        if job.source not in self.opened:
            self.opened[job.source] = fetch()
        return self.opened[job.source]


_WORKERS: dict[Settings, Worker] = {}


def worker(settings: Settings) -> Worker:
    """This process's worker for a sweep.

    Raises:
        NodeError: results made here could differ from all others without saying so.
    """
    if settings not in _WORKERS:
        if settings.versions and (odd := differences(versions(), dict(settings.versions))):
            raise NodeError(f"{host()} and the driver have different versions: {odd}")
        # torch is imported here and MLflow below, before there is a second thread.
        torch.set_num_threads(max(1, int(settings.cpus)))
        patience.PATIENCE_S = settings.patience_s
        store = Store(settings.store, on_this_node(settings.nearby_bytes))
        _WORKERS[settings] = Worker(settings, store, Tracker(settings.address, late=True))
    return _WORKERS[settings]


def run_stage(here: Worker, job: Job, key: str, opened: Opened) -> None:
    """Compute one shared stage and write its run."""
    graph = here.graph(job, opened)
    nodes = {key_of(node): node for node in closure(graph.final)}
    node = nodes[key]
    role = next((name for name, own in graph.stages().items() if key_of(own) == key), None)
    on_curve = key in map(key_of, graph.curve)
    name = node.stage.name if role is None or on_curve else role
    log = here.start(key, "stage", stage_run_name(node, job, name), {"lotus.stage": name})
    try:
        _run_stage(here, node, name, graph, opened, log)
    except Exception as error:
        fail(log, error)
        raise


def _run_stage(
    here: Worker,
    node: Node[Any],
    name: str,
    graph: TrialGraph,
    opened: Opened,
    log: RunLog,
) -> None:
    def progress(step: Progress) -> None:
        if step.epoch is not None and name == "dense":
            log.metrics(record.epoch_metrics(step.epoch, "dense/epoch"), step.done)

    cached = here.cached(opened, progress, key_of(node), log)
    result = cached.get(node)
    entry = cached.entry(node)
    computed = key_of(node) in cached.computed
    compared = name in ("essential", "issp", "soup_train", "control", "probe")
    dense = cached.get(graph.dense) if compared else None
    log.metrics(record.stage_metrics(name, result, dense))
    log.metrics({f"time/{name}_s": entry.seconds if entry else None})
    if isinstance(result, Dense):
        for number, epoch in enumerate(result.history, start=1):
            log.metrics(record.epoch_metrics(epoch, "dense/epoch"), number)
        if computed:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "checkpoints/dense.safetensors"
                record.write_checkpoint(result, path, key_of(node))
                log.artifacts(Path(folder))
    params = flat(node.config) | ({"seed": node.seed} if node.seed is not None else {})
    tags = ({} if computed else {"lotus.cached": "true"}) | memory_tags(cached)
    tags |= made_with([entry] if entry else [])
    if isinstance(result, Probe):
        tags["mlflow.runName"] = probe_run_name(result, node.seed)
    if dense is not None and (level := curve_level(node, result, graph)):
        params["sparsity"], tags["lotus.stage.essential"] = level
        tags["lotus.stage.dense"] = key_of(graph.dense)
        log.metrics(record.curve_metrics(dense))
    log.flush(params, tags)
    log.finish()


def run_trial(here: Worker, job: Job, opened: Opened) -> dict[str, float]:
    """Run one trial and write its run; those of its metrics that search methods read."""
    trial = PlannedTrial(job.key, job.name, job.config, here.graph(job, opened), dict(job.axes))
    log = here.start(trial.key, "trial", trial.name, trial_tags(trial))

    def progress(step: Progress) -> None:
        if step.epoch is not None:
            log.metrics(record.epoch_metrics(step.epoch), step.done)

    results: dict[str, Any] = {}
    try:
        cached = here.cached(opened, progress, job.key, log)
        for name, node in trial.graph.stages().items():
            results[name] = cached.get(node)
        metrics = trial_metrics(results)
        _write(here, trial, results, metrics, cached, opened, log)
    except Exception as error:
        log.flush(trial_params(trial, results))
        fail(log, error)
        raise
    found = {name: metrics.get(name) for name in RESULT_METRICS}
    return {name: value for name, value in found.items() if value is not None}


def trial_metrics(results: Mapping[str, Any]) -> record.Metrics:
    """The metrics of all stages of a trial; of one that was stopped early none on test images."""
    found: record.Metrics = {}
    for name, result in results.items():
        found |= record.stage_metrics(name, result, results["dense"])
    if "rung" in results:
        found = {name: value for name, value in found.items() if "/test_" not in name}
    return found


def _write(
    here: Worker,
    trial: PlannedTrial,
    results: dict[str, Any],
    metrics: record.Metrics,
    cached: Cached,
    opened: Opened,
    log: RunLog,
) -> None:
    recovered = results["rung" if trial.config.rungs else "finetune"]
    for number, epoch in enumerate(recovered.history, start=1):
        log.metrics(record.epoch_metrics(epoch), number)
    log.metrics(metrics)
    entries: dict[str, Entry] = {}
    for name, node in trial.graph.stages().items():
        if (entry := cached.entry(node)) is not None:
            entries[name] = entry
    log.metrics(record.time_metrics(entries, cached.hits))
    cached.measure_hits()
    log.flush(trial_params(trial, results), memory_tags(cached) | made_with(entries.values()))
    with tempfile.TemporaryDirectory() as folder:
        everything = here.settings.checkpoints == "all"
        record.write_trial(trial, results, opened.dataset, Path(folder), everything)
        log.artifacts(Path(folder))
    log.finish()


def fail(log: RunLog, error: BaseException, folder: Path | None = None) -> None:
    """End a run as failed, with the reason, the traceback and the last lines of its log.

    Args:
        folder: holds more to upload.
    """
    with tempfile.TemporaryDirectory() as own:
        write_evidence(folder or Path(own), error, last_lines())
        log.flush(tags={"lotus.error": failure_of(error).reason})
        log.artifacts(folder or Path(own))
    log.finish("FAILED")
