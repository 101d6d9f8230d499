"""Ray Tune's view of a sweep in the driver: what runs next, and what becomes of what failed.

What a process does with what it is handed stands in `runner.py`.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.tune.search import Searcher

from orchestrator import metrics
from orchestrator.driver.batches import Pace, fill, sort_of
from orchestrator.driver.deaths import Deaths
from orchestrator.driver.interrupts import Stop
from orchestrator.driver.queue import Item, WorkQueue
from orchestrator.driver.sharing import Share
from orchestrator.driver.watcher import Watcher
from orchestrator.worker import failures
from orchestrator.worker.failures import Attempts, Failure
from orchestrator.worker.job import Job

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


Fell = Callable[[Item, str, str], None]
"""Told of an item that fails without running: the key of what has failed, and why."""

More = Callable[[Sequence[Ended]], Sequence[Work]]
"""Told what has just ended; gives what is to run because of it."""


@dataclass
class Running:
    """What Tune runs now. It tells its searcher of an end, but not why; its trials know.

    Attributes:
        items: Tune's trial id -> indices of the items of its batch.
        trials: Tune's trial id -> its trial, once it has started.
        actors: Tune's trial id -> id of the process in which it has started.
    """

    items: dict[str, list[int]] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)
    actors: dict[str, str] = field(default_factory=dict)

    def start(self, trial: Any) -> None:
        """A trial runs, in a process of its own or in one that is used again."""
        self.trials[trial.trial_id] = trial
        if (actor := trial.temporary_state.ray_actor) is not None:
            self.actors[trial.trial_id] = actor._actor_id.hex()

    def end(self, trial_id: str) -> tuple[list[int], Any, str | None]:
        """Forget a trial that has ended: its items and, if it had started, itself and where."""
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
        fell: told of items that fail without running.
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
        fell: Fell | None = None,
    ) -> None:
        super().__init__(metric="told", mode="min")
        self.queue = WorkQueue([item for item, _ in work], growing=more is not None)
        self.jobs = [job.text(common) for _, job in work]
        self.common, self.fell = common, fell
        self.more, self.watcher, self.attempts, self.stop = more, watcher, attempts, stop
        self.share = share
        self.deaths = Deaths(living_nodes)
        self.seen = None if seen is None else set(seen)
        self.running = Running()
        self.pace = Pace()
        self.suspects: set[str] = set()
        self.batches = 0
        self.details: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self.watcher.tick()
        self.settle()
        if self.queue.finished or self.stop.reason:
            return str(Searcher.FINISHED)
        busy = len(self.running.items)
        limit = self.share.limit(busy, self.queue.waiting)
        if busy >= limit:
            return None
        batch = fill(self.queue, self.pace, limit, self._apart)
        if not batch:
            return None
        self.running.items[trial_id] = batch
        self.batches += 1
        return {"number": self.batches, "batch": json.dumps(list(map(self._told, batch)))}

    def _told(self, index: int) -> dict[str, Any]:
        """What a process is told of an item."""
        item = self.queue.items[index]
        fresh = self.seen is not None and item.key not in self.seen
        if self.seen is not None:
            self.seen.add(item.key)
        return {
            "key": item.key,
            "kind": item.kind,
            "sort": sort_of(item),
            "job": self.jobs[index],
            "fresh": fresh,
            "micro_batch": self.attempts.micro_batch.get(item.key),
        }

    def _apart(self, item: Item) -> bool:
        """Whether an item must be alone, so that it is known what ended a process."""
        return item.key in self.suspects or self.attempts.tried(item.key)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        batch, trial, actor = self.running.end(trial_id)
        if (failure := _death(result or {}, trial, error)) is None:
            self._tell_batch(batch, json.loads((result or {})["told"]))
        elif self.stop.reason is None and len(batch) > 1:
            self._suspect(batch, failure)
        else:
            self._count(batch[0], failure)
            if self.stop.reason is None:
                self._failed(batch[0], failure, node_of(actor) if failure.died else None)

    def _tell_batch(self, batch: Sequence[int], told: Sequence[Mapping[str, Any]]) -> None:
        """How each item of a batch ended; what was not begun is handed out again."""
        well: list[tuple[int, Mapping[str, float]]] = []
        for index, said in zip(batch, told, strict=False):
            failure = None if said["error"] is None else Failure(said["kind"], said["error"])
            self._count(index, failure)
            if failure is None:
                if said["seconds"] is not None:
                    self.pace.took(self.queue.items[index], said["seconds"])
                    self.watcher.took(self.queue.items[index], said["seconds"])
                well.append((index, said["metrics"]))
            elif self.stop.reason is None:
                self._failed(index, failure, None)
        self._take_back(batch[len(told) :])
        self._end_well(well)

    def _take_back(self, indices: Sequence[int]) -> None:
        for index in indices:
            self.watcher.back(self.queue.items[index])
        self.queue.back(indices)

    def _suspect(self, batch: Sequence[int], failure: Failure) -> None:
        """A process died with several items: nobody knows at which, so none of them has failed.

        Those that had ended already only have their results read again.
        """
        self._count(batch[0], failure)
        self.watcher.says(
            f"{failure.reason} with {len(batch)} short items; each is tried again by itself"
        )
        self.suspects |= {self.queue.items[index].key for index in batch}
        self._take_back(batch)

    def _count(self, index: int, failure: Failure | None) -> None:
        kind, outcome = self.queue.items[index].kind, failure.kind if failure else "finished"
        metrics.count(metrics.ATTEMPTS, kind=kind, outcome=outcome)

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
        fallen = self.queue.end(index, failure.reason)
        self._tell([Ended(item, failure.reason, {})], fallen)

    def _end_well(self, ended: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        for index, _ in ended:
            self.queue.end(index, None)
        if ended:
            self._tell([Ended(self.queue.items[index], None, found) for index, found in ended], [])

    def _tell(self, ended: list[Ended], fallen: Sequence[int]) -> None:
        """Tell what has ended, and queue what follows from it."""
        while True:
            for other in fallen:
                item = self.queue.items[other]
                error, root = self.queue.errors[item.key], self.queue.roots[item.key]
                ended.append(Ended(item, error, {}))
                if self.fell is not None:
                    self.fell(item, root, error)
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
        return self.__dict__ | nothing | {"share": None, "deaths": None, "fell": None}


def _death(result: Mapping[str, Any], trial: Any, error: bool) -> Failure | None:
    """What became of a process that ended without a word; None when it has told."""
    if not error and "told" in result:
        return None
    path = trial.error_file if error and trial is not None else None
    known = Path(path).read_text(encoding="utf-8") if path and Path(path).exists() else ""
    return failures.of_ray(known)


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
