"""What Tune does otherwise than we need and has no public place for: changed while it runs.

And what of its trials has no public name: their processes.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.execution.tune_controller import TuneController

KEPT = 32
"""Trials that have ended and may be kept; forgetting them looks through all that are."""


@contextlib.contextmanager
def idle_processes_give_way(gives_way: Callable[[], bool]) -> Iterator[None]:
    """Let Tune end processes that wait for work when other sweeps wait for their place.

    It keeps one for a next trial, which is right while nobody else is there.

    Args:
        gives_way: whether others wait.
    """
    clean = TuneController._cleanup_cached_actors

    def cleaned(controller: Any, force_all: bool) -> None:
        clean(controller, force_all=force_all or gives_way())

    TuneController._cleanup_cached_actors = cleaned
    try:
        yield
    finally:
        TuneController._cleanup_cached_actors = clean


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What Tune would say of failures, we say; its tracebacks go to `failure/traceback.txt`.

    Even at verbose=0 it prints a box about its own scratch folder.
    """
    logger = logging.getLogger("ray.tune")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def every_death_is_known() -> Iterator[None]:
    """Let Tune take every error of Ray itself for the end of one process.

    It knows errors of actors and of tasks. Ray's memory monitor and lost objects raise others,
    at which Tune 2.60 ends the whole run.
    """
    known = RayActorManager._actor_task_failed

    def failed(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=str(exception))
        known(manager, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = known


@contextlib.contextmanager
def ended_trials_are_forgotten() -> Iterator[None]:
    """Have Tune forget trials that have ended, of which it keeps 26 KB each for its own restore.

    Those that ended with their process stay: our searcher may not have seen them yet.
    """
    step = TuneController.step

    def forgetting(controller: Any) -> None:
        step(controller)
        ended = controller._stopped_trials
        if len(ended) > KEPT:
            controller._trials[:] = [one for one in controller._trials if one not in ended]
            controller._trials_to_cache -= ended
            for one in ended:
                controller._trial_metadata.pop(one.trial_id, None)
            ended.clear()

    TuneController.step = forgetting
    try:
        yield
    finally:
        TuneController.step = step


def process_of(trial: Any) -> Any:
    """The actor in which a trial runs; None before it has one. Callbacks hear of trials only."""
    return trial.temporary_state.ray_actor


def id_of(actor: Any) -> str:
    """An actor's id, as Ray's table of actors has it."""
    return str(actor._actor_id.hex())


def written_about(trial: Any) -> str | None:
    """The file in which Tune has kept the error of a trial; None where there is none."""
    path: str | None = trial.error_file
    return path
