"""Ray Tune's view of a sweep: it asks for a batch whenever a process is free, and tells its end.

Nothing is decided here; that is `dispatcher.py`. What a process does with a batch stands in
`runner.py`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.tune.search import Searcher

from orchestrator.driver.dispatcher import Dispatcher
from orchestrator.ray_internals.nodes import node_of
from orchestrator.ray_internals.tuning import id_of, process_of, written_about
from orchestrator.worker import failures
from orchestrator.worker.failures import Failure


@dataclass
class Running:
    """What Tune runs now. It tells its searcher of an end, but not why; its trials know.

    Attributes:
        batches: Tune's trial id -> number of its batch.
        trials: Tune's trial id -> its trial, once it has started.
        actors: Tune's trial id -> id of the process in which it has started.
        told: Tune's trial id -> what it has told, of those that have not ended yet.
    """

    batches: dict[str, int] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)
    actors: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def start(self, trial: Any) -> None:
        """A trial runs, in a process of its own or in one that is used again."""
        self.trials[trial.trial_id] = trial
        if (actor := process_of(trial)) is not None:
            self.actors[trial.trial_id] = id_of(actor)

    def end(self, trial_id: str) -> tuple[int, Any, str | None]:
        """Forget a trial that has ended: its batch and, if it had started, itself and where."""
        actor = self.actors.pop(trial_id, None)
        return self.batches.pop(trial_id), self.trials.pop(trial_id, None), actor

    def kill(self) -> None:
        """End the processes of everything that runs."""
        for trial in self.trials.values():
            if (actor := process_of(trial)) is not None:
                ray.kill(actor)


class TuneSearcher(Searcher):  # type: ignore[misc]
    """Passes Tune's questions on to the dispatcher, and what Tune hears of its trials."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(metric="told", mode="min")
        self.dispatcher = dispatcher
        self.running = Running()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        batch = self.dispatcher.next()
        if batch is None:
            return str(Searcher.FINISHED) if self.dispatcher.finished else None
        self.running.batches[trial_id] = batch.number
        return {"number": batch.number, "batch": json.dumps(batch.orders)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep what is told: whoever ends with an error afterwards has told it all the same."""
        if "told" in result:
            self.running.told[trial_id] = result["told"]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        number, trial, actor = self.running.end(trial_id)
        told = self.running.told.pop(trial_id, None)
        told = told if error else (result or {}).get("told")
        if told is not None:
            self.dispatcher.told(number, json.loads(told))
        else:
            self.dispatcher.died(number, _death(trial, error), lambda: node_of(actor))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store and MLflow are the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its arguments into its experiment state; a terminal cannot be.
        return self.__dict__ | {"dispatcher": None, "running": Running()}


def _death(trial: Any, error: bool) -> Failure:
    """What became of a process that ended without a word."""
    path = written_about(trial) if error and trial is not None else None
    known = Path(path).read_text(encoding="utf-8") if path and Path(path).exists() else ""
    return failures.of_ray(known)
