"""What runs inside a Ray worker process: one stage or one trial. Ray itself is not imported."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.planning.plan import PlannedTrial
from orchestrator.search import RESULT_METRICS
from orchestrator.storage.nearby import on_this_node
from orchestrator.storage.store import Store
from orchestrator.tracking import patience
from orchestrator.tracking.pending import Pending, note_of
from orchestrator.tracking.tracker import Identity, RunLog, Tracker
from orchestrator.versions import differences, host, versions, without_gpu
from orchestrator.vocabulary import DENSE_EPOCHS, Tag
from orchestrator.worker import metrics
from orchestrator.worker.attempt_log import last_lines
from orchestrator.worker.cached import Cached, Memory
from orchestrator.worker.failures import NodeError, failure_of, write_evidence
from orchestrator.worker.job import Job, Settings, owner_of
from orchestrator.worker.labels import trial_params
from orchestrator.worker.run_record import TrialRun, gathered, record_of, stage_run
from orchestrator.worker.watchdog import limited
from trials.context import Context, Progress
from trials.cores import usable_cores
from trials.graph.fitting import tokens_of
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.sources import Opened
from trials.lazy import torch


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
        """Where stages run in this process.

        Raises:
            NodeError: a GPU is asked for, and torch sees none here.
        """
        if self.settings.gpu and (blind := without_gpu()):
            raise NodeError(blind)
        device = torch.device("cuda" if self.settings.gpu else "cpu")
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
            owner=owner_of(self.settings.address, key),
            guard=guard,
            told=lambda stage, fraction: self.tell(key, stage, fraction),
        )

    def start(self, identity: Identity) -> RunLog:
        """The run of an item, written to in the background; the store notes what is owed to it."""
        pending = Pending(self.store, self.settings.address.parent)
        note = pending.get(identity.key)
        missed = note.attempts if note else 0
        log = self.tracker.start(identity, missed=missed, background=True, fresh=self.fresh)

        def ended(log: RunLog, status: str) -> None:
            if log.undelivered is not None:
                pending.put(note_of(log, identity, status, missed))
            elif note is not None:
                pending.remove(identity.key)

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
        torch.set_num_threads(max(1, min(int(settings.cpus), math.ceil(usable_cores()))))
        patience.PATIENCE_S = settings.patience_s
        store = Store(settings.store, on_this_node(settings.nearby_bytes))
        _WORKERS[settings] = Worker(settings, store, Tracker(settings.address, late=True))
    return _WORKERS[settings]


def run_stage(here: Worker, job: Job, key: str, opened: Opened) -> None:
    """Compute one shared stage and write its run."""
    run = stage_run(job, here.graph(job, opened), key)
    log = here.start(run.identity)

    def progress(step: Progress) -> None:
        if step.epoch is not None and run.name == "dense":
            log.metrics(metrics.epoch_metrics(step.epoch, DENSE_EPOCHS), step.done)

    try:
        cached = here.cached(opened, progress, key, log)
        results = {name: cached.get(node) for name, node in run.made_of.items()}
        record_of(run, gathered(cached, run.made_of, results)).deliver(log)
    except Exception as error:
        fail(log, error)
        raise


def run_trial(here: Worker, job: Job, opened: Opened) -> dict[str, float]:
    """Run one trial and write its run; those of its metrics that search methods read."""
    tokens = tokens_of(job.config, opened.sources.counts)
    graph, axes = here.graph(job, opened), dict(job.axes)
    trial = PlannedTrial(job.key, job.name, job.config, graph, axes, tokens)
    run = TrialRun(trial, opened.dataset, here.settings.checkpoints == "all")
    log = here.start(run.identity)

    def progress(step: Progress) -> None:
        if step.epoch is not None:
            log.metrics(metrics.epoch_metrics(step.epoch), step.done)

    results: dict[str, Any] = {}
    try:
        cached = here.cached(opened, progress, job.key, log)
        for name, node in run.made_of.items():
            results[name] = cached.get(node)
        made = record_of(run, gathered(cached, run.made_of, results))
        cached.measure_hits()
        made.deliver(log)
    except Exception as error:
        log.flush(trial_params(trial, results))
        fail(log, error)
        raise
    found = {name: made.points.get((name, 0)) for name in RESULT_METRICS}
    return {name: value for name, value in found.items() if value is not None}


def fail(log: RunLog, error: BaseException, folder: Path | None = None) -> None:
    """End a run as failed, with the reason, the traceback and the last lines of its log.

    Args:
        folder: holds more to upload.
    """
    with tempfile.TemporaryDirectory() as own:
        write_evidence(folder or Path(own), error, last_lines())
        log.flush(tags={Tag.ERROR: failure_of(error).reason})
        log.artifacts(folder or Path(own))
    log.finish("FAILED")
