"""How many trials and shared stages are in which state, measured while a sweep runs."""

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator import metrics
from orchestrator.driver.queue import Item
from orchestrator.driver.watcher import Watcher
from orchestrator.planning.plan import Plan

STATES = ("waiting", "running", "retrying", "finished", "failed")

GAUGES = {"trial": metrics.TRIALS, "stage": metrics.SHARED_STAGES}


class Tally(Watcher):
    """Counts, and tells another watcher.

    Args:
        planned: trials that the sweep file calls for.
        waiting: by kind, what is to run.
        finished: by kind, what earlier runs of the sweep have finished.
    """

    def __init__(
        self,
        inner: Watcher,
        planned: int,
        waiting: Mapping[str, int],
        finished: Mapping[str, int],
    ) -> None:
        self.inner, self.planned = inner, planned
        self.counts = {
            kind: Counter({"waiting": waiting[kind], "finished": finished[kind]}) for kind in GAUGES
        }
        self._state: dict[str, str] = {}

    @classmethod
    def of(cls, inner: Watcher, plan: Plan, trials: int, stages: int) -> "Tally":
        """At the start of a run, by how many trials and shared stages are missing."""
        known = len(plan.trials) + len(plan.early)
        finished = {"trial": known - trials, "stage": max(0, len(plan.shared) - stages)}
        return cls(inner, plan.expected, {"trial": trials, "stage": stages}, finished)

    def show(self) -> None:
        """Set all gauges, as is needed once at the beginning."""
        metrics.put(metrics.PLANNED, self.planned)
        for kind, gauge in GAUGES.items():
            for state in STATES:
                metrics.put(gauge, self.counts[kind][state], state=state)

    def begins(self, items: Sequence[Item], more: int) -> None:
        self.inner.begins(items, more)

    def added(self, item: Item) -> None:
        self.counts[item.kind]["waiting"] += 1
        self._put(item.kind, "waiting")
        self.inner.added(item)

    def started(self, item: Item) -> None:
        self._move(item, "running")
        self.inner.started(item)

    def room(self, at_once: int, running: int, pending: bool) -> None:
        self.inner.room(at_once, running, pending)

    def came(self, item: str, stage: str, fraction: float, at: float) -> None:
        self.inner.came(item, stage, fraction, at)

    def took(self, item: Item, seconds: float) -> None:
        self.inner.took(item, seconds)

    def back(self, item: Item) -> None:
        self._move(item, "waiting")
        self.inner.back(item)

    def again(self, item: Item, reason: str) -> None:
        metrics.count(metrics.RETRIES, kind=item.kind)
        self._move(item, "retrying")
        self.inner.again(item, reason)

    def scored(self, item: Item, accuracy: float) -> None:
        self.inner.scored(item, accuracy)

    def ended(self, item: Item, error: str | None) -> None:
        self._move(item, "finished" if error is None else "failed")
        self.inner.ended(item, error)

    def says(self, text: str) -> None:
        self.inner.says(text)

    def tick(self) -> None:
        self.inner.tick()

    def _move(self, item: Item, state: str) -> None:
        before = self._state.get(item.key, "waiting")
        self.counts[item.kind][before] -= 1
        self.counts[item.kind][state] += 1
        self._state[item.key] = state
        self._put(item.kind, before)
        self._put(item.kind, state)

    def _put(self, kind: str, state: str) -> None:
        metrics.put(GAUGES[kind], self.counts[kind][state], state=state)
