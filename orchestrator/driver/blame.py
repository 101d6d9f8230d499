"""What a failure means for an item: another attempt, a wait for word of its node, or the end.

A process that dies may have gone with its node, which is no fault of what it ran; and one that had
several items blames none of them. The driver decides this, because it alone hears of all of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.driver.deaths import Deaths
from orchestrator.driver.queue import Item
from orchestrator.worker import failures
from orchestrator.worker.failures import Attempts, Failure


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a failure.

    Attributes:
        pause_s: seconds after which the item is tried again; None = it is not.
        held: nothing follows yet; `Blame.settled` gives the item when it is known of its node.
    """

    pause_s: float | None
    held: bool = False


@dataclass
class Blame:
    """Counts attempts, and lays no death at the door of what could not help it.

    Attributes:
        attempts: how often each item has failed.
        deaths: processes of which it is not known yet whether their node died too.
    """

    attempts: Attempts
    deaths: Deaths
    _suspects: set[str] = field(default_factory=set)

    def apart(self, item: Item) -> bool:
        """Whether an item must be alone, so that it is known what ended a process."""
        return item.key in self._suspects or self.attempts.tried(item.key)

    def suspect(self, items: Iterable[Item]) -> None:
        """A process died with all of these: nobody knows at which, so none of them has failed."""
        self._suspects |= {item.key for item in items}

    def verdict(self, index: int, key: str, failure: Failure, node: str | None) -> Verdict:
        """An item has failed, by itself.

        Args:
            index: by which `settled` names the item.
            node: where its process died without a word; None where that is not the case, or Ray
                cannot say.
        """
        pause_s = self.attempts.again(key, failure)
        if node is not None:
            self.deaths.add(index, failure, node, held=pause_s is None)
        return Verdict(pause_s, held=node is not None and pause_s is None)

    def settled(self, items: Sequence[Item]) -> Iterator[tuple[int, Failure, float | None]]:
        """Judge processes that died: with their node it is no failure of what they ran.

        Args:
            items: by index.

        Yields:
            Of items that were held: index, failure, and when it is tried again; None = never.
        """
        for death, node_gone in self.deaths.settled():
            key, failure = items[death.item].key, death.failure
            if node_gone:
                self.attempts.forgive(key)
            if node_gone and not death.held:
                self.attempts.again(key, failures.node_died())  # it runs again already
            if death.held:
                pause_s = None
                if node_gone:
                    failure = failures.node_died(failure.detail)
                    pause_s = self.attempts.again(key, failure)
                yield death.item, failure, pause_s
