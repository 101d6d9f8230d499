"""Ray Tune as it is used here: it hands out what the dispatcher gives it, and remembers nothing."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.driver import capacity
from orchestrator.driver.callbacks import Starts, StopAll
from orchestrator.driver.dispatcher import Dispatcher
from orchestrator.driver.scratch import scratch
from orchestrator.driver.searcher import TuneSearcher
from orchestrator.planning.sections import ResourcesSection
from orchestrator.ray_internals.tuning import (
    ended_trials_are_forgotten,
    every_death_is_known,
    idle_processes_give_way,
    quiet,
)
from orchestrator.worker import runner


def run_all(
    dispatcher: Dispatcher, payload: Any, asked: ResourcesSection, heard: Callable[[], None]
) -> None:
    """Run everything that a dispatcher hands out, in processes that are used again.

    Args:
        payload: what `runner.run_batch` takes beside a batch.
        asked: what a process occupies, and how many there may be.
        heard: called often: asks what processes say of how far they have come.
    """
    trainable = tune.with_resources(
        tune.with_parameters(runner.work, payload=payload),
        tune.PlacementGroupFactory([capacity.bundle(asked)]),
    )
    searcher = TuneSearcher(dispatcher)
    with contextlib.ExitStack() as during:
        folder = during.enter_context(scratch())
        for changed in (
            quiet(),
            every_death_is_known(),
            idle_processes_give_way(lambda: dispatcher.gives_way),
            ended_trials_are_forgotten(),
        ):
            during.enter_context(changed)
        _tuner(trainable, searcher, asked.max_concurrent_trials, folder, heard).fit()


def _tuner(
    trainable: Any,
    searcher: TuneSearcher,
    at_once: int | None,
    folder: Path,
    heard: Callable[[], None],
) -> tune.Tuner:
    """Set up Tune.

    Args:
        at_once: trials that may run at a time; None = as many as fit.
        folder: for its own state.
        heard: see `Starts`.
    """
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            max_concurrent_trials=at_once,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(folder),  # disposable: the store and MLflow are the memory
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[Starts(searcher, heard)],
            stop=StopAll(searcher.dispatcher.stop, searcher.running),
            verbose=0,
        ),
    )


def _trial_name(trial: Any) -> str:
    return f"batch_{trial.config['number']:06d}"
