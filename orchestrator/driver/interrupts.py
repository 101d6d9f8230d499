"""Ctrl-C and SIGTERM: once = end cleanly and keep everything, twice = at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

INTERRUPTED = "interrupted"

EXIT_CODE = 130


@dataclass(slots=True)
class Stop:
    """Asks a sweep that runs to start nothing further and to end what runs.

    Attributes:
        reason: why; None while nobody has asked. The first reason counts.
    """

    reason: str | None = None

    def ask(self, reason: str) -> None:
        """Ask from any thread or signal handler; returns at once."""
        self.reason = self.reason or reason


@dataclass
class Interrupts:
    """What this process does with the two signals.

    Attributes:
        exits: whether the second signal ends the process; else it raises KeyboardInterrupt, as
            in a notebook, whose process belongs to the user.
    """

    exits: bool = False
    count: int = 0
    _stop: Stop | None = None

    def install(self, exits: bool) -> None:
        """Listen from now on; for programs of our own."""
        self.exits, self.count = exits, 0
        self._listen()

    def again(self) -> None:
        """Listen again after something like Ray has put its own handlers in the place of ours."""
        if self._stop is not None:
            self._listen()

    def _listen(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._heard)

    @contextmanager
    def told_to(self, stop: Stop) -> Iterator[None]:
        """Within the block a signal asks `stop` instead of raising KeyboardInterrupt.

        Ray and Tune do not survive an exception at any place: it would leave processes and
        their reservations behind, for which the next sweep in this process then waits.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        if signal.getsignal(signal.SIGINT) != self._heard:
            self.install(exits=False)
        self._stop = stop
        try:
            yield
        finally:
            self._stop = None
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1 and self.exits:
            leave_at_once()
        if self.count == 1 and self._stop is not None:
            self._stop.ask(INTERRUPTED)
            return
        raise KeyboardInterrupt


def leave_at_once(end: Callable[[int], None] = os._exit) -> None:
    """End without cleaning up. The processes of a Ray that we started end with this one.

    Its workers are told by the kernel (PR_SET_PDEATHSIG), those of a joined cluster by it.
    """
    # The cursor may be hidden by a progress display; nothing else of the terminal was changed.
    os.write(2, b"\x1b[?25h" if os.isatty(2) else b"")
    os.write(2, b"\nEnded at once. Everything finished is kept; the same command continues.\n")
    end(EXIT_CODE)


INTERRUPTS = Interrupts()
"""Signals belong to the process, so there is one."""
