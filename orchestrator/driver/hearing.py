"""What processes say of how far they have come, read now and then for the time left."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.driver.watcher import Watcher
from orchestrator.worker.telling import note_of

EVERY_S = 2.0
"""Between two looks, where looking costs nothing."""

SHARE = 20.0
"""The driver looks this many times less than looking takes: many processes, fewer looks."""


@dataclass
class Hearing:
    """Reads the notes of all processes of a sweep, and tells a watcher what is new.

    Attributes:
        read: the notes as text, by process.
    """

    read: Callable[[], Mapping[str, str]]
    watcher: Watcher
    now: Callable[[], float] = time.monotonic
    _known: dict[str, str] = field(default_factory=dict)
    _next: float = 0.0

    def look(self) -> None:
        """Look, if it is time to. Whatever goes wrong, the sweep goes on."""
        start = self.now()
        if start < self._next:
            return
        with contextlib.suppress(Exception):
            notes = dict(self.read())
            for process, text in notes.items():
                if self._known.get(process) != text and (note := note_of(text)) is not None:
                    self.watcher.came(*note)
            self._known = notes
        end = self.now()
        self._next = end + max(EVERY_S, SHARE * (end - start))
