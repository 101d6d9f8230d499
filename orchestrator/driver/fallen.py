"""Trials that cannot run because a stage that they need has failed: failed trials like others.

Nobody computes for them, so the driver writes their runs, at once and in the background: who asks
for the sweep's status while it goes on is told, and a driver that is killed has said most of it.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any, Self

from orchestrator.driver.delivery import say_failed, trials_of
from orchestrator.driver.growth import Growth
from orchestrator.driver.interrupts import INTERRUPTED, Stop
from orchestrator.driver.queue import Item
from orchestrator.planning.plan import PlannedTrial
from orchestrator.storage.store import Store
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.pending import Note, Pending
from orchestrator.tracking.tracker import Tracker
from orchestrator.worker.failures import SweepStopped
from orchestrator.worker.labels import trial_params, trial_tags


class Fallen:
    """Writes their runs; used as a context, it has said everything when it is left.

    What MLflow does not take is noted in the store, as of trials that have run. After a stop
    nothing more is written: the next start of the sweep tries these trials again in any case.

    Args:
        seen: keys of items that may have a run in MLflow.
    """

    def __init__(
        self, growth: Growth, store: Store, tracker: Tracker, stop: Stop, seen: Collection[str]
    ) -> None:
        self.growth, self.tracker, self.stop = growth, tracker, stop
        self.pending = Pending(store, tracker.address.parent)
        self.unsaid: dict[str, Note] = {}
        self._trials: dict[str, PlannedTrial] = {}
        self._owed: dict[str, Note] = {}
        self._begun, self._places = set(seen), dict[str, str]()
        self._outbox: Outbox | None = None
        self._left = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, item: Item, root: str, error: str) -> None:
        """An item fails: `root` is the key of the stage that has failed."""
        if item.kind != "trial":
            return
        if self._outbox is None:
            self._outbox, self._owed = Outbox(self.tracker.breaker), self.pending.all()
        if item.key not in self._trials:
            self._trials |= trials_of(self.growth.plan)
        trial, owed = self._trials.get(item.key), self._owed.get(item.key)
        if trial is None:  # results have taken it out of the sweep since it was queued
            return
        note = Note(
            key=item.key,
            kind=item.kind,
            name=item.name,
            status="FAILED",
            error=error,
            reason="",
            attempts=1 + (owed.attempts if owed else 0),
            tags=trial_tags(trial),
        )
        self.unsaid[item.key] = note
        self._outbox.post(partial(self._say, note, trial, root))

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._left = kind is not None
        if self._outbox is None:
            return
        self._outbox.settle()
        self._outbox.close()
        if self._silent:
            if kind is None:
                stopped = KeyboardInterrupt() if self.stop.reason == INTERRUPTED else None
                raise stopped or SweepStopped(self.stop.reason)
            return
        for note in self.unsaid.values():
            self.pending.put(replace(note, reason=self._outbox.failure or ""))

    @property
    def _silent(self) -> bool:
        """Whether the sweep is ending before its end: another driver may take it over next."""
        return self._left or self.stop.reason is not None

    def _say(self, note: Note, trial: PlannedTrial, root: str) -> None:
        """May be called again when an answer was lost: then its run is looked for."""
        if self._silent:
            return
        told = replace(note, error=f"{note.error}{self._where(root)}")
        fresh = note.key not in self._begun
        self._begun.add(note.key)
        say_failed(self.tracker, told, trial_params(trial, {}), fresh=fresh)
        if note.key in self._owed:
            self.pending.remove(note.key)
        self.unsaid.pop(note.key, None)

    def _where(self, root: str) -> str:
        """The run that has the log and the traceback of what failed."""
        if root not in self._places:
            runs = self.tracker.ask(lambda: self.tracker.runs_of(root))
            self._places[root] = f" (MLflow run {runs[0].info.run_id})" if runs else ""
        return self._places[root]
