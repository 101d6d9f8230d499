"""Several sweeps on one cluster: each runs as many trials at a time as is its fair share.

Every driver keeps a note on a board that all drivers of a cluster see: how many trials it could
run, its weight, and a count that rises while it lives. From the same notes all come to the same
division. Nothing that runs is ended; who has more than its share starts nothing until it has not.
"""

import json
import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

REFRESH_S = 2.0
"""Between two looks at the board and at the cluster."""

GONE_S = 20.0
"""A note that stands still for so long is of a driver that died."""

AHEAD = 32
"""Trials that ask for nodes which are not there yet: how an autoscaler hears of them."""


class Board(Protocol):
    """Where the notes hang."""

    def write(self, name: str, text: str) -> None:
        """Replace a note."""

    def read(self) -> Mapping[str, str]:
        """All notes by name."""

    def remove(self, name: str) -> None:
        """Take a note away; one that is not there is no error."""


@dataclass(frozen=True, slots=True)
class Note:
    """What one driver says of itself.

    Attributes:
        weight: against the others'.
        wants: fraction of the whole cluster that it could use now, at most 1.
        beat: rises while it lives.
    """

    weight: float
    wants: float
    beat: int

    def text(self) -> str:
        """As it hangs on the board."""
        return json.dumps([self.weight, self.wants, self.beat])

    @classmethod
    def of_text(cls, text: str) -> "Note | None":
        """The inverse of `text`; None for what is no note."""
        try:
            weight, wants, beat = json.loads(text)
            return cls(float(weight), float(wants), int(beat))
        except (ValueError, TypeError):
            return None


def divide(slots: int, notes: Mapping[str, Note]) -> dict[str, int]:
    """Trials at a time for each driver: one more, again and again, for who has least by weight.

    Nobody gets more than it wants, what is left goes to the others, and everybody gets one: with
    more drivers than slots they take turns.
    """
    given = dict.fromkeys(sorted(notes), 0)
    wanted = {name: math.ceil(note.wants * slots - 1e-9) for name, note in notes.items()}
    for _ in range(slots):
        hungry = [name for name in given if given[name] < wanted[name]]
        if not hungry:
            break
        least = min(hungry, key=lambda name: ((given[name] + 1) / notes[name].weight, name))
        given[least] += 1
    return {name: max(1, count) for name, count in given.items()}


@dataclass
class Share:
    """This driver's share, looked up again every few seconds.

    Attributes:
        slots: asked how many trials the cluster can run at a time; it may grow and shrink.
        grows: whether nodes come when something waits for them.
        most: trials at a time that the sweep allows.
        at_once: trials that may run at a time, as it was when last looked up.
    """

    board: Board
    slots: Callable[[], int]
    weight: float = 1.0
    grows: bool = False
    most: int | None = None
    now: Callable[[], float] = time.monotonic
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    _limit: int = 1
    _looked: float = -math.inf
    _beat: int = 0
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    alone: bool = True
    at_once: int = 1

    def limit(self, busy: int, waiting: int) -> int:
        """How many trials may run or stand ready in Tune.

        Args:
            busy: of this driver, handed to Tune.
            waiting: that could be handed out now.
        """
        if self.now() - self._looked >= REFRESH_S:
            self._looked = self.now()
            self._limit = self._look(busy, waiting)
        return self._limit

    def leave(self) -> None:
        """Take this driver's note away."""
        self.board.remove(self.name)

    def _look(self, busy: int, waiting: int) -> int:
        slots = self.slots()
        could = min(busy + waiting, self.most or slots, max(slots, 1))
        self._beat += 1
        mine = Note(self.weight, could / max(slots, 1), self._beat)
        self.board.write(self.name, mine.text())
        notes = self._living() | {self.name: mine}
        self.alone = len(notes) == 1
        self.at_once = max(1, min(slots, self.most or slots))
        if self.alone:
            # Those beyond what fits stand ready, so that a process that is free goes on at once.
            return slots + min(slots, 1 + slots // 4) + (AHEAD if self.grows else 0) or 1
        self.at_once = divide(slots, notes)[self.name]
        return self.at_once

    def _living(self) -> dict[str, Note]:
        """The notes of others that still count upwards, by our own clock."""
        found = {}
        for name, text in self.board.read().items():
            note = Note.of_text(text)
            if note is None or name == self.name:
                continue
            beat, since = self._seen.get(name, (-1, 0.0))
            if beat != note.beat:
                self._seen[name] = note.beat, self.now()
            elif self.now() - since > GONE_S:
                self.board.remove(name)
                continue
            found[name] = note
        return found
