"""Ray: the only place that talks to it. Shared stages as tasks, trials through Tune."""

import contextlib
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

from orchestrator.config import SweepConfig
from orchestrator.keys import key_of
from orchestrator.plan import Plan, PlannedTrial, source_id
from orchestrator.watcher import Watcher
from orchestrator.worker import Job, Settings, run_stage, run_trial, worker
from trials.errors import LotusError
from trials.sources import Opened
from trials.stage import Node


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
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
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


def job_of(trial: PlannedTrial) -> Job:
    """What is sent for a trial."""
    return Job(
        key=trial.key,
        name=trial.name,
        config=trial.config,
        axes=trial.axes,
        source=source_id(trial.config),
    )


def place_sources(plan: Plan) -> dict[str, list[Any]]:
    """Put each data set into the object store, once for all workers of a node.

    Wrapped in a list, so that a task gets the reference and fetches at most once per process.
    """
    return {name: [ray.put(opened)] for name, opened in plan.opened.items()}


def _fetch(box: Sequence[Any]) -> Callable[[], Opened]:
    return lambda: ray.get(box[0])


def _stage_task(
    settings: Settings, job: Job, key: str, box: Sequence[Any], *_parents: object
) -> bool:
    here = worker(settings)
    return run_stage(here, job, key, here.source(job, _fetch(box)), lambda name: None)


def run_shared(
    plan: Plan,
    missing: Mapping[str, Node[Any]],
    settings: Settings,
    sources: Mapping[str, list[Any]],
    watcher: Watcher,
) -> dict[str, str]:
    """Compute shared stages in the order of their dependencies.

    Args:
        missing: key -> node of the shared stages to run, parents before children.

    Returns:
        key -> error, for those that failed. What depends on a failed one fails with it.
    """
    sweep = plan.sweep
    task = ray.remote(_stage_task).options(
        num_cpus=sweep.resources.cpu,
        num_gpus=sweep.resources.gpu,
        max_retries=sweep.retry.max_failures,
    )
    refs: dict[str, Any] = {}
    for key, node in missing.items():
        parents = [refs[key_of(p)] for p in node.parents() if key_of(p) in refs]
        job = job_of(plan.owner[key])
        refs[key] = task.remote(settings, job, key, sources[job.source], *parents)
    keys = {ref: key for key, ref in refs.items()}
    failed: dict[str, str] = {}
    waiting = list(keys)
    running: set[str] = set()
    while waiting:
        _announce(missing, keys, waiting, running, watcher)
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=0.5)
        for ref in ready:
            key = keys[ref]
            try:
                watcher.stage_ended(missing[key].stage.name, ray.get(ref), None)
            except ray.exceptions.RayError as error:
                failed[key] = _reason(error)
                watcher.stage_ended(missing[key].stage.name, False, failed[key])
        watcher.tick()
    return failed


def _announce(
    missing: Mapping[str, Node[Any]],
    keys: Mapping[Any, str],
    waiting: Sequence[Any],
    announced: set[str],
    watcher: Watcher,
) -> None:
    """Tell which stage can run now: its parents are done."""
    open_keys = {keys[ref] for ref in waiting}
    for ref in waiting:
        key = keys[ref]
        if key in announced:
            continue
        if not any(key_of(parent) in open_keys for parent in missing[key].parents()):
            announced.add(key)
            watcher.stage_started(missing[key].stage.name)


def _reason(error: BaseException) -> str:
    cause: Any = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    text = str(cause).strip() or type(cause).__name__
    return str(text.splitlines()[-1 if "Traceback" in text else 0])[:500]


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """How a trial ended: an error, or None."""

    key: str
    error: str | None


def _trainable(config: dict[str, Any], payload: Any) -> None:
    """What Tune runs for one trial. Never raises for an error that would happen again."""
    settings, jobs, boxes = payload
    job: Job = jobs[config["trial"]]
    here = worker(settings)
    try:
        found = run_trial(here, job, here.source(job, _fetch(boxes[job.source])), lambda name: None)
    except Exception as error:
        if _worth_retrying(error):
            raise
        tune.report({"error": f"{type(error).__name__}: {error}"[:500]})
        return
    tune.report({**found, "error": None})


def _worth_retrying(error: Exception) -> bool:
    """Memory may be free again next time; the same computation fails the same way."""
    import torch

    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError | OSError)


class _TuneWatcher(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on."""

    def __init__(self, names: Sequence[str], watcher: Watcher) -> None:
        self.names: Sequence[str] = names
        self.watcher = watcher

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into its experiment state; a terminal cannot be.
        return {"names": list(self.names), "watcher": Watcher()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _name(self, trial: Any) -> str:
        number: int = trial.config["trial"]
        return self.names[number]

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.watcher.tick()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.watcher.trial_started(self._name(trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = (trial.last_result or {}).get("error")
        self.watcher.trial_ended(self._name(trial), error)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.watcher.trial_ended(self._name(trial), "its process died")


def run_trials(
    plan: Plan,
    trials: Sequence[PlannedTrial],
    settings: Settings,
    sources: Mapping[str, list[Any]],
    watcher: Watcher,
) -> list[TrialOutcome]:
    """Run trials through Ray Tune, in reused processes. A failing one stops no other."""
    sweep, scratch = plan.sweep, tempfile.mkdtemp(prefix="lotus-tune-")
    jobs = [job_of(trial) for trial in trials]
    names = [trial.name for trial in trials]
    payload = (settings, jobs, dict(sources))
    trainable = tune.with_resources(
        tune.with_parameters(_trainable, payload=payload),
        {"cpu": sweep.resources.cpu, "gpu": sweep.resources.gpu},
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search(list(range(len(jobs))))},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=sweep.resources.max_concurrent_trials,
            trial_name_creator=lambda trial: f"trial_{trial.config['trial']:06d}",
            trial_dirname_creator=lambda trial: f"trial_{trial.config['trial']:06d}",
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,  # disposable: the store and MLflow are the memory
            failure_config=tune.FailureConfig(max_failures=sweep.retry.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_TuneWatcher(names, watcher)],
            verbose=0,
        ),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            grid = tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return [_outcome(result, jobs) for result in grid]


def _outcome(result: Any, jobs: Sequence[Job]) -> TrialOutcome:
    job = jobs[result.config["trial"]] if result.config else jobs[0]
    if result.error is not None:
        return TrialOutcome(job.key, _reason(result.error))
    return TrialOutcome(job.key, (result.metrics or {}).get("error"))
