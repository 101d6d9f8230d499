"""What may run now: shared stages and trials as one queue, in the order of what they need."""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Step(NamedTuple):
    """A stage that an item computes: its key, its name, and the seconds that are predicted."""

    key: str
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to run: a shared stage or a trial.

    Attributes:
        key: of the stage, or of the trial's last stage.
        name: shown to people.
        needs: keys of the items that must have ended well before.
        urgent: goes before what is waiting already.
        steps: the stages that it will compute, in their order; what is stored is none.
        arm: of a trial; "" for a stage.
    """

    key: str
    name: str
    kind: Literal["stage", "trial"]
    needs: tuple[str, ...] = ()
    urgent: bool = False
    steps: tuple[Step, ...] = ()
    arm: str = ""


@dataclass(slots=True)
class WorkQueue:
    """Hands out items whose needs are met; what needs a failed one fails without running.

    Every call takes constant time, whatever the number of items.

    Attributes:
        growing: whether items may still be added, so that having none left is no end.
        roots: key of an item that failed without running -> key of the one that failed.
    """

    items: list[Item]
    growing: bool = False
    errors: dict[str, str] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    _open: dict[str, int] = field(default_factory=dict)
    _ready: deque[int] = field(default_factory=deque)
    _waiting_for: dict[str, list[int]] = field(default_factory=dict)
    _missing: list[int] = field(default_factory=list)
    _later: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        items, self.items = self.items, []
        self.add(items)

    def add(self, items: Iterable[Item]) -> list[int]:
        """Further items; a need that is no item's key counts as met.

        Returns:
            Those that fail at once, because they need something that has failed.
        """
        first = len(self.items)
        self.items += items
        self._open |= {item.key: first + i for i, item in enumerate(self.items[first:])}
        lost: dict[int, tuple[str, str]] = {}
        for index, item in enumerate(self.items[first:], start=first):
            needs = [key for key in item.needs if key in self._open]
            self._missing.append(len(needs))
            for key in needs:
                self._waiting_for.setdefault(key, []).append(index)
            if failed := [key for key in item.needs if key in self.errors]:
                lost[index] = failed[0], self._because(self._name(failed[0]), failed[0])
            elif not needs:
                self._is_ready(index)
        return list(self._cascade(lost))

    def _name(self, key: str) -> str:
        return next(item.name for item in self.items if item.key == key)

    def _is_ready(self, index: int) -> None:
        if self.items[index].urgent:
            self._ready.appendleft(index)
        else:
            self._ready.append(index)

    @property
    def idle(self) -> bool:
        """Whether every item has ended."""
        return not self._open

    @property
    def finished(self) -> bool:
        """Whether every item has ended and none will come."""
        return self.idle and not self.growing

    @property
    def waiting(self) -> int:
        """Items that may run now or after a pause, and are not handed out."""
        return len(self._ready) + len(self._later)

    def next(self) -> int | None:
        """The index of an item that may run now; None when all ready ones are handed out."""
        if due := self._due():
            self._later.remove(due)
            return due[1]
        return self._ready.popleft() if self._ready else None

    @property
    def ahead(self) -> int | None:
        """What `next` would hand out, but for what comes back after a pause."""
        return self._ready[0] if self._ready and not self._due() else None

    def back(self, indices: Sequence[int]) -> None:
        """Take items back that were handed out and not begun; they are the next ones."""
        self._ready.extendleft(reversed(indices))

    def again(self, index: int, pause_s: float) -> None:
        """Hand an item out once more, after a pause."""
        self._later.append((time.monotonic() + pause_s, index))

    def _due(self) -> tuple[float, int] | None:
        """The first of those whose pause is over, and when it was."""
        first = min(self._later) if self._later else None
        return first if first and first[0] <= time.monotonic() else None

    def end(self, index: int, error: str | None) -> list[int]:
        """Note how an item ended.

        Returns:
            Items that fail because they needed this one, directly or not.
        """
        item = self.items[index]
        if self._open.pop(item.key, None) is None:
            return []
        waiting = self._waiting_for.pop(item.key, [])
        if error is None:
            for other in waiting:
                self._missing[other] -= 1
                if self._missing[other] == 0 and self.items[other].key in self._open:
                    self._is_ready(other)
            return []
        self.errors[item.key] = error
        because = item.key, self._because(item.name, item.key)
        return list(self._cascade(dict.fromkeys(waiting, because)))

    def _because(self, name: str, key: str) -> str:
        """Why what needs a failed item fails: it names the one at which everything began."""
        return self.errors[key] if key in self.roots else f"{name} failed: {self.errors[key]}"

    def _cascade(self, lost: Mapping[int, tuple[str, str]]) -> Iterable[int]:
        for other, (needed, reason) in lost.items():
            if self.items[other].key in self._open:
                self.roots[self.items[other].key] = self.roots.get(needed, needed)
                yield other
                yield from self.end(other, reason)
