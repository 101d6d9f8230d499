"""How many items a process is handed at once: one, but for those that take milliseconds.

Tune spends about 25 ms on each of its trials and keeps it for ever. Where a stage takes minutes
that is nothing; of ten thousand items that take 20 ms it is most of the time and of the driver's
memory. So items that are known to be short are handed out together, as one trial of Tune.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.driver.queue import Item, WorkQueue

BATCH_S = 1.0
"""What a batch should take at most: so long nobody hears of it, and so much is done again at
most when its process dies."""

MOST = 64
"""Items in a batch."""

KNOWN = 4
"""Items of a sort that must have ended before the next ones are expected to take as long."""

LOOKED_AT = 32
"""Latest items of a sort by whose mean the next ones are judged."""


def sort_of(item: Item) -> str:
    """Items that should take about as long as each other: one stage's, or all trials."""
    return item.name if item.kind == "stage" else item.kind


@dataclass(slots=True)
class Pace:
    """How long items took."""

    _seconds: dict[str, deque[float]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=LOOKED_AT))
    )

    def took(self, item: Item, seconds: float) -> None:
        """An item has ended well, in a process that had run others like it."""
        self._seconds[sort_of(item)].append(seconds)

    def expected_s(self, item: Item) -> float | None:
        """What items like this one took lately; None while that is not known."""
        latest = self._seconds.get(sort_of(item), ())
        return sum(latest) / len(latest) if len(latest) >= KNOWN else None


def fill(queue: WorkQueue, pace: Pace, processes: int, apart: Callable[[Item], bool]) -> list[int]:
    """Indices of the items that a process gets next; none where nothing may run now.

    Args:
        processes: that may run at a time: none gets more than its part of what waits.
        apart: whether an item must be alone, as one that has failed before.
    """
    waiting = queue.waiting
    first = queue.next()
    if first is None:
        return []
    batch = [first]
    most = min(MOST, -(-waiting // max(1, processes)))
    left_s = BATCH_S - _seconds(queue.items[first], pace, apart)
    while len(batch) < most and (ahead := queue.ahead) is not None:
        left_s -= _seconds(queue.items[ahead], pace, apart)
        if left_s < 0:
            break
        batch.append(ahead)
        queue.next()
    return batch


def _seconds(item: Item, pace: Pace, apart: Callable[[Item], bool]) -> float:
    """Of a batch that an item may take; all of it where it must be alone or is not known."""
    expected = None if apart(item) else pace.expected_s(item)
    return float("inf") if expected is None else expected
