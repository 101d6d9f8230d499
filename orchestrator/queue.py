"""What may run now: shared stages and trials as one queue, in the order of what they need."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to run: a shared stage or a trial.

    Attributes:
        key: of the stage, or of the trial's last stage.
        name: shown to people.
        needs: keys of the items that must have ended well before.
    """

    key: str
    name: str
    kind: Literal["stage", "trial"]
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class WorkQueue:
    """Hands out items whose needs are met; what needs a failed one fails without running.

    Every call takes constant time, whatever the number of items.
    """

    items: Sequence[Item]
    errors: dict[str, str] = field(default_factory=dict)
    _open: dict[str, int] = field(default_factory=dict)
    _ready: deque[int] = field(default_factory=deque)
    _waiting_for: dict[str, list[int]] = field(default_factory=dict)
    _missing: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open = {item.key: index for index, item in enumerate(self.items)}
        for index, item in enumerate(self.items):
            needs = [key for key in item.needs if key in self._open]
            self._missing.append(len(needs))
            for key in needs:
                self._waiting_for.setdefault(key, []).append(index)
            if not needs:
                self._ready.append(index)

    @property
    def finished(self) -> bool:
        """Whether every item has ended."""
        return not self._open

    def next(self) -> int | None:
        """The index of an item that may run now; None when all ready ones are handed out."""
        return self._ready.popleft() if self._ready else None

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
                    self._ready.append(other)
            return []
        self.errors[item.key] = error
        return list(self._cascade(waiting, f"{item.name} failed: {error}"))

    def _cascade(self, waiting: Iterable[int], reason: str) -> Iterable[int]:
        for other in waiting:
            if self.items[other].key in self._open:
                yield other
                yield from self.end(other, reason)
