"""How long a sweep still takes, from what is left to do and how fast the rest went.

Pure: it is told what happens and when, and knows no clock. What is left is laid out on the
processes that run at a time, in the order of what needs what, so that two trainings which all
trials wait for, and one long trial at the end, count as what they are.
"""

import heapq
import math
import sys
from collections import defaultdict, deque
from dataclasses import dataclass, field

from orchestrator.driver.queue import Item

KNOWN = 0.1
"""Part of the work that must be done before a time left is told."""

ITEM_S = 0.3
"""What an item costs beside its stages: its run in MLflow, its artifacts, handing it out."""

PATIENCE_S = 30.0
"""So long processes may be missing before they are taken not to come."""

ENDING = 0.8
"""Reading back, figures, report and the best model take this part of what the start took: both are
imports and small calls of one process, on the same machine beside the same other programs."""

ENDING_S = 4.0
"""And at least so long."""

ENDING_ITEM_S = 0.004
"""What each item adds to that."""

SETTLE_S = 15.0
"""A shorter estimate is shown by and by, in about so long."""

JUMP = 1.3
"""An estimate so many times the shown one is shown at once: something has changed."""


FADES = 0.97
"""What each further item of a sort leaves of the weight of those before: machines change."""


@dataclass(slots=True)
class _Known:
    """An item: what it was predicted to take, and the stages it consists of."""

    item: Item
    seconds: float
    mix: str

    @classmethod
    def of(cls, item: Item) -> "_Known":
        names = "+".join(step.stage for step in item.steps)
        return cls(item, ITEM_S + sum(step.seconds for step in item.steps), sys.intern(names))


@dataclass(slots=True)
class _Running:
    """An item that runs.

    Attributes:
        since: when it was handed to a process.
        first, last: the fraction that was done and when, by the clock of its process.
        heard: when the last was.
        counted: whether it is known how long it took.
    """

    since: float
    first: tuple[float, float] | None = None
    last: tuple[float, float] | None = None
    heard: float = 0.0
    counted: bool = False

    @property
    def part(self) -> tuple[float, float]:
        """A fraction of the item, and the seconds that it took; (0, 0) until that is known."""
        if self.first is None or self.last is None:
            return 0.0, 0.0
        return self.last[0] - self.first[0], self.last[1] - self.first[1]


@dataclass(slots=True)
class _Pace:
    """Seconds that items of a mix were predicted to take, and took."""

    expected_s: float = 0.0
    took_s: float = 0.0

    def add(self, expected_s: float, took_s: float) -> None:
        self.expected_s = FADES * self.expected_s + expected_s
        self.took_s = FADES * self.took_s + took_s


@dataclass(slots=True)
class TimeLeft:
    """What is left of a sweep.

    Attributes:
        more: trials that results may still call for.
    """

    more: int = 0
    _known: dict[str, _Known] = field(default_factory=dict)
    _open: dict[str, _Known] = field(default_factory=dict)
    _running: dict[str, _Running] = field(default_factory=dict)
    _done_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _took: dict[str, _Pace] = field(default_factory=lambda: defaultdict(_Pace))
    _ending_s: float = ENDING_S
    _over_since: float | None = None
    _at_once: int = 1
    _short_since: float | None = None

    def begins(self, start_s: float) -> None:
        """The start is over, after so many seconds."""
        self._ending_s = max(ENDING_S, ENDING * start_s)

    def add(self, item: Item) -> None:
        """Something is to run."""
        self._known[item.key] = self._open[item.key] = _Known.of(item)

    def started(self, key: str, now: float) -> None:
        """An item is handed to a process."""
        self._running[key] = _Running(now)

    def waits(self, key: str) -> None:
        """An item does not run any more, and is not done."""
        self._running.pop(key, None)

    def took(self, key: str, seconds: float) -> None:
        """How long an item took in a process that had everything at hand."""
        if (known := self._known.get(key)) is not None:
            self._took[known.mix].add(known.seconds, seconds)
        if (running := self._running.get(key)) is not None:
            running.counted = True

    def ended(self, key: str) -> None:
        """An item is done, or failed for good."""
        running, known = self._running.pop(key, None), self._open.pop(key, None)
        if known is None:
            return
        self._done_s[known.mix] += known.seconds
        if running is not None and not running.counted and running.part[0] > 0:
            part, seconds = running.part
            self._took[known.mix].add(part * known.seconds, seconds)

    def came(self, key: str, stage: str, fraction: float, at: float, now: float) -> None:
        """A stage of a running item has got so far, by its process's clock; heard now."""
        known, running = self._open.get(key), self._running.get(key)
        if known is None or running is None:
            return
        before = 0.0
        for step in known.item.steps:
            if step.key == stage:
                done = (before + fraction * step.seconds) / known.seconds
                if running.last is None or done > running.last[0]:
                    running.last, running.heard = (done, at), now
                    running.first = running.first or running.last
                return
            before += step.seconds

    def room(self, at_once: int, running: int, pending: bool, now: float) -> None:
        """How many processes there are for this sweep.

        Args:
            at_once: that its share allows.
            running: that there are.
            pending: whether more are asked for.
        """
        if not pending or running >= at_once:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        missing = self._short_since is not None and now - self._short_since > PATIENCE_S
        self._at_once = max(1, running if missing else at_once)

    def left(self, now: float) -> float | None:
        """Seconds until the sweep has ended; None while too little is done to tell."""
        usual, paces = self._paces()

        def likely(mix: str, seconds: float) -> float:
            return paces.get(mix, usual) * seconds

        expected = {key: likely(one.mix, one.seconds) for key, one in self._open.items()}
        ahead = {
            key: self._ahead(running, expected[key], now)
            for key, running in self._running.items()
            if key in expected
        }
        ended = sum(likely(mix, seconds) for mix, seconds in self._done_s.items())
        # Time alone is no progress: the first items of a process import for seconds.
        told = ((key, self._running[key].last) for key in ahead)
        begun = sum(expected[key] * last[0] for key, last in told if last is not None)
        later = 0.0
        if self.more:
            trials = [one for one in self._known.values() if one.item.kind == "trial"]
            whole_s = sum(likely(one.mix, one.seconds) for one in trials)
            later = self.more * whole_s / max(1, len(trials))
        everything = ended + sum(expected.values()) + later
        if everything <= 0 or ended + begun < KNOWN * everything:
            return None
        last = self._laid_out(expected, ahead) + later / self._at_once
        if self._open:
            self._over_since = None
        elif self._over_since is None:
            self._over_since = now
        gone = 0.0 if self._over_since is None else now - self._over_since
        ending_s = self._ending_s + ENDING_ITEM_S * len(self._known)
        return last + max(0.0, ending_s - gone)

    def _paces(self) -> tuple[float, dict[str, float]]:
        """By what factor items take longer than predicted: in general, and by mix.

        A mix of which little is known goes with the others: what all took weighs like one item.
        """
        seen = {mix: (pace.expected_s, pace.took_s) for mix, pace in self._took.items()}
        for key, running in self._running.items():
            part, took_s = running.part
            if part > 0 and (known := self._open.get(key)) is not None:
                expected_s, before_s = seen.get(known.mix, (0.0, 0.0))
                seen[known.mix] = expected_s + part * known.seconds, before_s + took_s
        expected_s = sum(expected for expected, _ in seen.values())
        usual = sum(took for _, took in seen.values()) / expected_s if expected_s else 1.0
        one_s = {known.mix: known.seconds for known in self._known.values() if known.mix in seen}
        return usual, {
            mix: (took + usual * one_s[mix]) / (expected + one_s[mix])
            for mix, (expected, took) in seen.items()
        }

    def _ahead(self, running: _Running, expected_s: float, now: float) -> float:
        """Seconds that a running item still takes."""
        if running.last is None:
            gone = now - running.since
            return max(expected_s - gone, 0.1 * min(expected_s, gone))
        part, seconds = running.part
        whole = seconds / part if part > 0 else expected_s
        left = (1.0 - running.last[0]) * whole
        return max(left - (now - running.heard), 0.1 * left)

    def _laid_out(self, expected: dict[str, float], ahead: dict[str, float]) -> float:
        """When the last item ends, each process taking the next that has what it needs."""
        missing: dict[str, int] = {}
        unlocks: dict[str, list[str]] = defaultdict(list)
        ready: deque[str] = deque()
        for key, known in self._open.items():
            if key in ahead:
                continue
            needs = [need for need in known.item.needs if need in self._open]
            missing[key] = len(needs)
            for need in needs:
                unlocks[need].append(key)
            if not needs:
                ready.append(key)
        busy = [(seconds, key) for key, seconds in ahead.items()]
        heapq.heapify(busy)
        now = 0.0
        while busy or ready:
            while ready and len(busy) < self._at_once:
                key = ready.popleft()
                heapq.heappush(busy, (now + expected[key], key))
            now, key = heapq.heappop(busy)
            for other in unlocks.pop(key, ()):
                missing[other] -= 1
                if missing[other] == 0:
                    ready.append(other)
        return now


@dataclass(slots=True)
class Countdown:
    """The time left as it is shown: it does not rise while an estimate only wavers."""

    _shown: float | None = None
    _at: float = 0.0

    def shown(self, estimate: float | None, now: float) -> float | None:
        """Seconds to show, for an estimate made now; None = estimating."""
        if estimate is None:
            self._shown = None
        elif self._shown is None or estimate > JUMP * self._shown + SETTLE_S:
            self._shown = estimate
        else:
            gone = now - self._at
            counted = max(0.0, self._shown - gone)
            if estimate > counted:
                self._shown = min(self._shown, estimate)
            else:
                self._shown = counted - (counted - estimate) * (1.0 - math.exp(-gone / SETTLE_S))
        self._at = now
        return self._shown
