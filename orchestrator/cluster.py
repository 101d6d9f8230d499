"""Ray: the only place that talks to it.

Shared stages and trials are handed to one Tune run, in the order of what they need: a process
that has imported torch and timm for a stage goes on with a trial, and a trial starts as soon as
its own stages are there.
"""

import contextlib
import io
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.config import SweepConfig
from orchestrator.planning import Plan
from orchestrator.queue import Item, WorkQueue
from orchestrator.watcher import Watcher
from orchestrator.worker import Job, Settings, run_stage, run_trial, worker
from trials.errors import LotusError


class ClusterError(LotusError):
    """The Ray cluster cannot run this sweep."""


@contextlib.contextmanager
def connected(sweep: SweepConfig, address: str | None) -> Iterator[None]:
    """A Ray cluster for the length of a sweep: started here, or an existing one joined.

    Args:
        address: `local` or None: a new one on this machine; `auto` or HOST:PORT: join.

    Raises:
        ClusterError: no cluster there, or it has not what a trial asks for.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # Tune would swallow Ctrl-C and return as if the sweep had ended.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    local = address in (None, "local")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if local:
        # A "local" address makes sure that a cluster found in the environment is not joined.
        quiet |= {"address": "local", "include_dashboard": False}
    else:
        quiet["address"] = address
    joined_before = ray.is_initialized()
    try:
        if not joined_before:
            ray.init(**quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {str(error)[:300]}") from error
    try:
        _check_resources(sweep)
        # With a searcher Tune starts one process at a time, and the next only when that one
        # works: half a minute with one of two cores idle.
        slots = int(ray.cluster_resources().get("CPU", 1) / sweep.resources.cpu)
        os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(max(1, slots)))
        yield
    finally:
        if not joined_before:
            ray.shutdown()


def _check_resources(sweep: SweepConfig) -> None:
    have = ray.cluster_resources()
    for name, wanted in (("CPU", sweep.resources.cpu), ("GPU", sweep.resources.gpu)):
        if wanted > have.get(name, 0):
            raise ClusterError(
                f"resources.{name.lower()} = {wanted:g}, but the cluster has "
                f"{have.get(name, 0):g}: no trial could ever start. Lower it, or add nodes."
            )


def _versions() -> dict[str, str]:
    from orchestrator.versions import versions

    return versions()


def node_versions() -> dict[str, dict[str, str]]:
    """Versions on every node of the connected cluster, by node address."""
    task = ray.remote(_versions)
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = [node for node in ray.nodes() if node["Alive"]]
    refs = [
        task.options(
            num_cpus=0, scheduling_strategy=strategy(node_id=node["NodeID"], soft=False)
        ).remote()
        for node in nodes
    ]
    found = zip(nodes, ray.get(refs), strict=True)
    return {node["NodeManagerAddress"]: versions for node, versions in found}


def place_sources(plan: Plan) -> dict[str, list[Any]]:
    """Put each data set into the object store, once for all workers of a node.

    Wrapped in a list, so that a process gets the reference and fetches at most once.
    """
    return {name: [ray.put(opened)] for name, opened in plan.opened.items()}


def _work(config: dict[str, Any], payload: Any) -> None:
    """What Tune runs for one item. Never raises for an error that would happen again."""
    settings, boxes = payload
    job = Job.of_text(config["job"])
    here = worker(settings)
    metrics: dict[str, float] = {}
    try:
        opened = here.source(job, lambda: ray.get(boxes[job.source][0]))
        if config["kind"] == "stage":
            run_stage(here, job, config["key"], opened)
        else:
            metrics = run_trial(here, job, opened)
    except Exception as error:
        if _worth_retrying(error):
            raise
        tune.report({"error": f"{type(error).__name__}: {error}"[:500]})
        return
    # As text: Tune takes nested results apart at "/", which our metrics have in their names.
    tune.report({"error": None, "metrics": json.dumps(metrics)})


def _worth_retrying(error: Exception) -> bool:
    """Memory or a disk may be free again next time; the same computation fails the same way."""
    import torch

    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError | OSError)


Work = tuple[Item, Job]
"""An item with the job that rebuilds it where it runs."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An item that has ended.

    Attributes:
        error: None = it ended well.
        metrics: of a trial that ended well: those that search methods read.
    """

    item: Item
    error: str | None
    metrics: Mapping[str, float]


More = Callable[[Sequence[Ended]], Sequence[Work]]
"""Told what has just ended; gives what is to run because of it."""


class _Searcher(Searcher):  # type: ignore[misc]
    """Tune's view of the queue: it asks for the next item whenever a process is free."""

    def __init__(self, work: Sequence[Work], more: More | None, watcher: Watcher) -> None:
        super().__init__(metric="error", mode="min")
        self.queue = WorkQueue([item for item, _ in work], growing=more is not None)
        self.jobs = [job.text() for _, job in work]
        self.more, self.watcher = more, watcher
        self.given: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self.watcher.tick()
        if self.queue.finished:
            return str(Searcher.FINISHED)
        index = self.queue.next()
        if index is None:
            return None
        self.given[trial_id] = index
        item = self.queue.items[index]
        return {"item": index, "key": item.key, "kind": item.kind, "job": self.jobs[index]}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        index = self.given.pop(trial_id)
        found = result or {}
        reason = "its process died, see the Ray logs" if error else found.get("error")
        metrics = {} if reason else json.loads(found.get("metrics", "{}"))
        fallen = self.queue.end(index, reason)
        self._tell([Ended(self.queue.items[index], reason, metrics)], fallen)

    def _tell(self, ended: list[Ended], fallen: Sequence[int]) -> None:
        """Tell what has ended, and queue what follows from it."""
        while True:
            for other in fallen:
                item = self.queue.items[other]
                ended.append(Ended(item, self.queue.errors[item.key], {}))
            for one in ended:
                self.watcher.ended(one.item, one.error)
            if self.more is None or not ended:
                break
            new = self.more(ended)
            for item, job in new:
                self.jobs.append(job.text())
                self.watcher.added(item)
            ended, fallen = [], self.queue.add([item for item, _ in new])
        # Nothing runs and nothing was called for: nothing ever will be.
        self.queue.growing = self.more is not None and not self.queue.idle

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store and MLflow are the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its arguments into its experiment state; a terminal cannot be.
        return self.__dict__ | {"watcher": Watcher(), "more": None}


class _Starts(tune.Callback):  # type: ignore[misc]
    """Tells what really starts, and keeps the display alive while Tune waits."""

    def __init__(self, items: Sequence[Item], watcher: Watcher) -> None:
        self.items, self.watcher = items, watcher

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.watcher.tick()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.watcher.started(self.items[trial.config["item"]])

    def __getstate__(self) -> dict[str, Any]:
        return {"items": (), "watcher": Watcher()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def run_work(
    plan: Plan,
    work: Sequence[Work],
    settings: Settings,
    watcher: Watcher,
    more: More | None = None,
) -> dict[str, str]:
    """Run shared stages and trials through Ray Tune, in reused processes.

    A failing item stops no other but those that need it.

    Args:
        work: what to run, in an order that keeps progress readable.
        more: what else to run, by what has ended; None = `work` is all.

    Returns:
        key -> error, of the items that failed.
    """
    sweep, scratch = plan.sweep, tempfile.mkdtemp(prefix="lotus-tune-")
    searcher = _Searcher(work, more, watcher)
    queue = searcher.queue
    trainable = tune.with_resources(
        tune.with_parameters(_work, payload=(settings, place_sources(plan))),
        {"cpu": sweep.resources.cpu, "gpu": sweep.resources.gpu},
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            max_concurrent_trials=sweep.resources.max_concurrent_trials,
            trial_name_creator=lambda trial: f"item_{trial.config['item']:06d}",
            trial_dirname_creator=lambda trial: f"item_{trial.config['item']:06d}",
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,  # disposable: the store and MLflow are the memory
            failure_config=tune.FailureConfig(max_failures=sweep.retry.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Starts(queue.items, watcher)],
            verbose=0,
        ),
    )
    try:
        # Even at verbose=0 Tune prints a box about its own scratch folder.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return queue.errors
