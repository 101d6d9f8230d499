"""What runs next, what is tried again, and what an end means for everything else. Knows no Ray.

Ray Tune asks for a batch for each free process, and says what became of it (`searcher.py`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator import metrics
from orchestrator.driver.batches import Pace, fill, sort_of
from orchestrator.driver.blame import Blame
from orchestrator.driver.interrupts import Stop
from orchestrator.driver.queue import Item, WorkQueue
from orchestrator.driver.sharing import Share
from orchestrator.driver.watcher import Watcher
from orchestrator.vocabulary import Metric
from orchestrator.worker.failures import Failure
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


@dataclass(frozen=True, slots=True)
class Failed:
    """What failed for good.

    Attributes:
        errors: key -> reason, one line.
        details: key -> what Ray knows of processes that ended without a word.
        roots: key of what failed without running -> key of the stage whose failure that was.
    """

    errors: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    roots: Mapping[str, str] = field(default_factory=dict)


Fell = Callable[[Item, str, str], None]
"""Told of an item that fails without running: the key of what has failed, and why."""

Proposals = Callable[[Sequence[Ended]], Sequence[Work]]
"""Told what has just ended; gives what is to run because of it."""


class Batch(NamedTuple):
    """What one process is to run: a number by which its end is told, and an order for each item."""

    number: int
    orders: list[dict[str, Any]]


@dataclass
class _Handed:
    """A batch that is out: indices of its items, and whether a process has begun with it."""

    indices: list[int]
    begun: bool = False


class Dispatcher:
    """Hands out what may run, within this sweep's share, and draws the consequences of each end.

    Args:
        work: what is there from the beginning, in an order that keeps progress readable.
        blame: what a failure means for an item.
        share: how many batches may be out at a time.
        stop: asked when the sweep is to end early.
        proposals: what else to run, by what has ended; None = `work` is all.
        fell: told of items that fail without running.
        seen: keys of items that may have a run in MLflow; None = all may.
        common: settings that jobs do not repeat.
    """

    def __init__(
        self,
        work: Sequence[Work],
        *,
        blame: Blame,
        share: Share,
        stop: Stop,
        watcher: Watcher,
        proposals: Proposals | None = None,
        fell: Fell | None = None,
        seen: Collection[str] | None = None,
        common: Mapping[str, Any],
    ) -> None:
        self.blame, self.share, self.stop, self.watcher = blame, share, stop, watcher
        self.proposals, self.fell = proposals, fell
        self._queue = WorkQueue([item for item, _ in work], growing=proposals is not None)
        self._jobs, self._common = [job.text(common) for _, job in work], common
        self._seen = None if seen is None else set(seen)
        self._pace = Pace()
        self._handed: dict[int, _Handed] = {}
        self._count = 0
        self._details: dict[str, str] = {}

    @property
    def finished(self) -> bool:
        """Whether nothing will be handed out any more."""
        return self._queue.finished or bool(self.stop.reason)

    @property
    def failed(self) -> Failed:
        """What has failed for good so far."""
        return Failed(self._queue.errors, self._details, self._queue.roots)

    @property
    def busy(self) -> int:
        """Batches that are out, begun or not."""
        return len(self._handed)

    @property
    def gives_way(self) -> bool:
        """Whether others wait for what this sweep has more of than its share."""
        return not self.share.alone and self.busy >= self._limit()

    def items_of(self, number: int) -> list[Item]:
        """The items of a batch that is out."""
        return [self._queue.items[index] for index in self._handed[number].indices]

    def next(self) -> Batch | None:
        """A batch for one more process; None where nothing may run now, or when `finished`."""
        self.watcher.tick()
        self._settle()
        if self.finished:
            return None
        limit = self._limit()
        if self.busy >= limit:
            return None
        indices = fill(self._queue, self._pace, limit, self.blame.apart)
        if not indices:
            return None
        self._count += 1
        self._handed[self._count] = _Handed(indices)
        return Batch(self._count, [self._order(index) for index in indices])

    def begun(self, number: int) -> None:
        """A process has begun with a batch."""
        self._handed[number].begun = True
        for item in self.items_of(number):
            self.watcher.started(item)

    def told(self, number: int, told: Sequence[Mapping[str, Any]]) -> None:
        """A process is done with a batch.

        Args:
            told: what `runner.run_batch` gave: how each item ended. What was not begun is handed
                out again.
        """
        indices = self._handed.pop(number).indices
        well: list[tuple[int, Mapping[str, float]]] = []
        for index, said in zip(indices, told, strict=False):
            failure = None if said["error"] is None else Failure(said["kind"], said["error"])
            self._measure(index, failure)
            if failure is None:
                if said["seconds"] is not None:
                    self._pace.took(self._queue.items[index], said["seconds"])
                    self.watcher.took(self._queue.items[index], said["seconds"])
                well.append((index, said["metrics"]))
            elif self.stop.reason is None:
                self._failed(index, failure, None)
        self._take_back(indices[len(told) :])
        self._end_well(well)

    def died(self, number: int, failure: Failure, node: Callable[[], str | None]) -> None:
        """A process ended without a word.

        Args:
            node: asked where it ran, if that matters; None where nobody can say.
        """
        indices = self._handed.pop(number).indices
        if self.stop.reason is None and len(indices) > 1:
            self._suspect(indices, failure)
            return
        self._measure(indices[0], failure)
        if self.stop.reason is None:
            self._failed(indices[0], failure, node() if failure.died else None)

    def tell_room(self) -> None:
        """Tell the watcher how many processes there may be, and are."""
        begun = sum(handed.begun for handed in self._handed.values())
        self.watcher.room(self.share.at_once, begun, pending=self.busy > begun)

    def beat(self) -> None:
        """To be called often, whether or not anything happens."""
        self.watcher.tick()
        self._limit()  # the note on the board must count on, whether or not anybody asks for more
        self._settle()

    def _limit(self) -> int:
        return self.share.limit(self.busy, self._queue.waiting)

    def _order(self, index: int) -> dict[str, Any]:
        """What a process is told of an item."""
        item = self._queue.items[index]
        fresh = self._seen is not None and item.key not in self._seen
        if self._seen is not None:
            self._seen.add(item.key)
        return {
            "key": item.key,
            "kind": item.kind,
            "sort": sort_of(item),
            "job": self._jobs[index],
            "fresh": fresh,
            "micro_batch": self.blame.attempts.micro_batch.get(item.key),
        }

    def _take_back(self, indices: Sequence[int]) -> None:
        for index in indices:
            self.watcher.back(self._queue.items[index])
        self._queue.back(indices)

    def _suspect(self, indices: Sequence[int], failure: Failure) -> None:
        """Each item of a batch goes out again by itself; what had ended is only read again."""
        self._measure(indices[0], failure)
        self.watcher.says(
            f"{failure.reason} with {len(indices)} short items; each is tried again by itself"
        )
        self.blame.suspect(self._queue.items[index] for index in indices)
        self._take_back(indices)

    def _measure(self, index: int, failure: Failure | None) -> None:
        kind, outcome = self._queue.items[index].kind, failure.kind if failure else "finished"
        metrics.count(metrics.ATTEMPTS, kind=kind, outcome=outcome)

    def _settle(self) -> None:
        """What has become known of nodes whose processes died."""
        for index, failure, pause_s in self.blame.settled(self._queue.items):
            self._again_or_never(index, failure, pause_s)

    def _failed(self, index: int, failure: Failure, node: str | None) -> None:
        if failure.kind == "store":
            self.stop.ask(failure.reason)
            return
        verdict = self.blame.verdict(index, self._queue.items[index].key, failure, node)
        if not verdict.held:
            self._again_or_never(index, failure, verdict.pause_s)

    def _again_or_never(self, index: int, failure: Failure, pause_s: float | None) -> None:
        item = self._queue.items[index]
        if pause_s is not None:
            self.watcher.again(item, failure.reason)
            self._queue.again(index, pause_s)
            return
        if failure.detail:
            self._details[item.key] = failure.detail
        fallen = self._queue.end(index, failure.reason)
        self._draw_consequences([Ended(item, failure.reason, {})], fallen)

    def _end_well(self, well: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        for index, _ in well:
            self._queue.end(index, None)
        if well:
            ended = [Ended(self._queue.items[index], None, given) for index, given in well]
            self._draw_consequences(ended, [])

    def _draw_consequences(self, ended: list[Ended], fallen: Sequence[int]) -> None:
        """Tell what has ended, and queue what follows from it.

        Args:
            fallen: what fails with it, without having run.
        """
        while True:
            ended += self._fallen(fallen)
            for one in ended:
                if (accuracy := one.metrics.get(Metric.FINAL_DEPLOYED_VAL_ACCURACY)) is not None:
                    self.watcher.scored(one.item, accuracy)
                self.watcher.ended(one.item, one.error)
            if self.proposals is None or not ended:
                break
            new = self.proposals(ended)
            for item, job in new:
                self._jobs.append(job.text(self._common))
                self.watcher.added(item)
            ended, fallen = [], self._queue.add([item for item, _ in new])
        # Nothing runs and nothing was called for: nothing ever will be.
        self._queue.growing = self.proposals is not None and not self._queue.idle

    def _fallen(self, indices: Sequence[int]) -> Iterator[Ended]:
        for index in indices:
            item = self._queue.items[index]
            error, root = self._queue.errors[item.key], self._queue.roots[item.key]
            if self.fell is not None:
                self.fell(item, root, error)
            yield Ended(item, error, {})
