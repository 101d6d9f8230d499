"""Processes that died: alone, or with their node, which Ray only knows some seconds later."""

import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from orchestrator.worker.failures import Failure

KNOWN_S = 45.0
"""After so long Ray knows of a node that is gone: it misses five answers, one every 3 s."""

LOOK_S = 1.0
"""Between two looks at the nodes."""


@dataclass(frozen=True, slots=True)
class Death:
    """One process that died.

    Attributes:
        item: index of what it ran.
        node: where, by Ray's id.
        held: whether the item is given up unless the node is to blame.
        until: when a node that still lives is not to blame, by our monotonic clock.
    """

    item: int
    failure: Failure
    node: str
    held: bool
    until: float


@dataclass
class Deaths:
    """Those of which it is not known yet whether their node died too.

    Attributes:
        living: asked for the ids of all living nodes.
    """

    living: Callable[[], Set[str]]
    now: Callable[[], float] = time.monotonic
    _open: list[Death] = field(default_factory=list)
    _looked: float = 0.0

    def add(self, item: int, failure: Failure, node: str, *, held: bool) -> None:
        """A process that died."""
        self._open.append(Death(item, failure, node, held, self.now() + KNOWN_S))

    def settled(self) -> list[tuple[Death, bool]]:
        """Those that are known now, each with whether its node died."""
        if not self._open or self.now() - self._looked < LOOK_S:
            return []
        self._looked = self.now()
        living = self.living()
        settled = [
            (death, death.node not in living)
            for death in self._open
            if death.node not in living or death.until <= self.now()
        ]
        known = [death for death, _ in settled]
        self._open = [death for death in self._open if death not in known]
        return settled
