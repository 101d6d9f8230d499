"""Ray Tune's view of a sweep: what runs next, and what becomes of what failed.

With `cluster.py` the only contact with Ray.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator import exporter, failures, metrics
from orchestrator.attempt_log import recording
from orchestrator.deaths import Deaths
from orchestrator.failures import Attempts, Failure
from orchestrator.interrupts import Stop
from orchestrator.job import Job
from orchestrator.queue import Item, WorkQueue
from orchestrator.sharing import Share
from orchestrator.watcher import Watcher
from orchestrator.worker import run_stage, run_trial, worker

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


def work(config: dict[str, Any], payload: Any) -> None:
    """What Tune runs for one item. Never raises: how it failed decides whether it runs again."""
    settings, boxes = payload
    exporter.export(settings.measured_as)
    job = Job.of_text(config["job"], settings.common)
    found: dict[str, float] = {}
    with recording():
        try:
            here = worker(settings)
            here.micro_batch, here.fresh = config["micro_batch"], config["fresh"]
            opened = here.source(job, lambda: ray.get(boxes[job.source][0]))
            if config["kind"] == "stage":
                run_stage(here, job, config["key"], opened)
            else:
                found = run_trial(here, job, opened)
        except Exception as error:
            failure = failures.failure_of(error)
            tune.report({"error": failure.reason, "kind": failure.kind})
            return
    # As text: Tune takes nested results apart at "/", which our metrics have in their names.
    tune.report({"error": None, "metrics": json.dumps(found)})


@dataclass
class Running:
    """What Tune runs now. It tells its searcher of an end, but not why; its trials know.

    Attributes:
        items: Tune's trial id -> index of the item.
        trials: Tune's trial id -> its trial, once it has started.
        actors: Tune's trial id -> id of the process in which it has started.
    """

    items: dict[str, int] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)
    actors: dict[str, str] = field(default_factory=dict)

    def start(self, trial: Any) -> None:
        """A trial runs, in a process of its own or in one that is used again."""
        self.trials[trial.trial_id] = trial
        if (actor := trial.temporary_state.ray_actor) is not None:
            self.actors[trial.trial_id] = actor._actor_id.hex()

    def end(self, trial_id: str) -> tuple[int, Any, str | None]:
        """Forget a trial that has ended: its item and, if it had started, itself and where."""
        actor = self.actors.pop(trial_id, None)
        return self.items.pop(trial_id), self.trials.pop(trial_id, None), actor

    def kill(self) -> None:
        """End the processes of everything that runs."""
        for trial in self.trials.values():
            if (actor := trial.temporary_state.ray_actor) is not None:
                ray.kill(actor)


class Queue(Searcher):  # type: ignore[misc]
    """Tune's view of the queue: it asks for the next item whenever a process is free.

    Args:
        seen: keys of items that may have a run in MLflow; None = all may.
        common: settings that jobs do not repeat.
    """

    def __init__(
        self,
        work: Sequence[Work],
        more: More | None,
        watcher: Watcher,
        attempts: Attempts,
        stop: Stop,
        share: Share,
        seen: Collection[str] | None,
        common: Mapping[str, Any],
    ) -> None:
        super().__init__(metric="error", mode="min")
        self.queue = WorkQueue([item for item, _ in work], growing=more is not None)
        self.jobs = [job.text(common) for _, job in work]
        self.common = common
        self.more, self.watcher, self.attempts, self.stop = more, watcher, attempts, stop
        self.share = share
        self.deaths = Deaths(living_nodes)
        self.seen = None if seen is None else set(seen)
        self.running = Running()
        self.details: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self.watcher.tick()
        self.settle()
        if self.queue.finished or self.stop.reason:
            return str(Searcher.FINISHED)
        busy = len(self.running.items)
        if busy >= self.share.limit(busy, self.queue.waiting):
            return None
        index = self.queue.next()
        if index is None:
            return None
        self.running.items[trial_id] = index
        item = self.queue.items[index]
        fresh = self.seen is not None and item.key not in self.seen
        if self.seen is not None:
            self.seen.add(item.key)
        return {
            "item": index,
            "key": item.key,
            "kind": item.kind,
            "job": self.jobs[index],
            "attempt": self.attempts.number(item.key),
            "fresh": fresh,
            "micro_batch": self.attempts.micro_batch.get(item.key),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        index, trial, actor = self.running.end(trial_id)
        failure = _failure(result or {}, trial, error)
        outcome = failure.kind if failure else "finished"
        kind = self.queue.items[index].kind
        metrics.count(metrics.ATTEMPTS, kind=kind, outcome=outcome)
        if failure is None:
            self._end(index, None, json.loads((result or {})["metrics"]))
        elif self.stop.reason is None:
            self._failed(index, failure, node_of(actor) if failure.died else None)

    def settle(self) -> None:
        """Judge processes that died: with their node it is no failure of what they ran."""
        for death, node_gone in self.deaths.settled():
            key = self.queue.items[death.item].key
            if node_gone:
                self.attempts.forgive(key)
            if node_gone and not death.held:
                self.attempts.again(key, failures.node_died())  # it runs again already
            if death.held:
                failure = failures.node_died(death.failure.detail) if node_gone else death.failure
                self._failed(death.item, failure, None, again=node_gone)

    def _failed(
        self, index: int, failure: Failure, node: str | None, *, again: bool = True
    ) -> None:
        item = self.queue.items[index]
        if failure.kind == "store":
            self.stop.ask(failure.reason)
            return
        pause_s = self.attempts.again(item.key, failure) if again else None
        if node is not None:
            self.deaths.add(index, failure, node, held=pause_s is None)
            if pause_s is None:
                return
        if pause_s is not None:
            self.watcher.again(item, failure.reason)
            self.queue.again(index, pause_s)
            return
        if failure.detail:
            self.details[item.key] = failure.detail
        self._end(index, failure.reason, {})

    def _end(self, index: int, error: str | None, metrics: Mapping[str, float]) -> None:
        fallen = self.queue.end(index, error)
        self._tell([Ended(self.queue.items[index], error, metrics)], fallen)

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
                self.jobs.append(job.text(self.common))
                self.watcher.added(item)
            ended, fallen = [], self.queue.add([item for item, _ in new])
        # Nothing runs and nothing was called for: nothing ever will be.
        self.queue.growing = self.more is not None and not self.queue.idle

    @property
    def gives_way(self) -> bool:
        """Whether others wait for what this sweep has more of than its share."""
        busy = len(self.running.items)
        return not self.share.alone and busy >= self.share.limit(busy, self.queue.waiting)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store and MLflow are the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its arguments into its experiment state; a terminal cannot be.
        nothing = {"watcher": Watcher(), "more": None, "running": Running(), "stop": Stop()}
        return self.__dict__ | nothing | {"share": None, "deaths": None}


def _failure(result: Mapping[str, Any], trial: Any, error: bool) -> Failure | None:
    """How an attempt failed, None when it did not."""
    if error:
        path = trial.error_file if trial is not None else None
        known = Path(path).read_text(encoding="utf-8") if path and Path(path).exists() else ""
        return failures.of_ray(known)
    if result.get("error") is not None:
        return Failure(result["kind"], result["error"])
    # Tune stopped it before it could say anything.
    return None if "metrics" in result else failures.of_ray("")


def living_nodes() -> set[str]:
    """Ids of the nodes that are there."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def node_of(actor: str | None) -> str | None:
    """The node on which a process runs or ran; None where Ray cannot say."""
    if actor is None:
        return None
    from ray._private import state

    with contextlib.suppress(Exception):  # private: a further Ray may do without
        return state.actors(actor)["Address"]["NodeID"] or None
    return None


class Starts(tune.Callback):  # type: ignore[misc]
    """Tells what really starts, and keeps the display alive while Tune waits."""

    def __init__(self, queue: Queue) -> None:
        self.queue: Queue | None = queue

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.queue is None:
            return
        self.queue.watcher.tick()
        # The note on the board must count on, whether or not Tune asks for more.
        self.queue.share.limit(len(self.queue.running.items), self.queue.queue.waiting)
        self.queue.settle()
        for lost in _unreported(trials, self.queue.running):
            self.queue.on_trial_complete(lost, error=True)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.queue is not None:
            self.queue.running.start(trial)
            self.queue.watcher.started(self.queue.queue.items[trial.config["item"]])

    def __getstate__(self) -> dict[str, Any]:
        return {"queue": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _unreported(trials: Iterable[Any], running: Running) -> list[str]:
    """Trials that Tune has given up without telling its searcher, as when a reset fails."""
    found, left = [], len(running.items)
    for trial in reversed(list(trials)):  # what runs stands near the end
        if left == 0:
            break
        if trial.trial_id in running.items:
            left -= 1
            if trial.status == trial.ERROR:
                running.trials.setdefault(trial.trial_id, trial)
                found.append(trial.trial_id)
    return found


class StopAll(tune.Stopper):  # type: ignore[misc]
    """Ends Tune's run when a stop has been asked for, without waiting for what runs."""

    def __init__(self, stop: Stop, running: Running) -> None:
        self.stop, self.running = stop, running

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self.stop.reason is None:
            return False
        # Here, because Tune forgets the processes next, and a stage may take hours to end.
        self.running.kill()
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {"stop": Stop(), "running": Running()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
