"""Ctrl-C, SIGTERM and a closed terminal: once = end cleanly, keep everything; twice = at once."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

INTERRUPTED = "interrupted"

ENDED = "Interrupted. Everything finished is kept; the same command continues."

EXIT_CODE = 130

AGAIN_S = 0.05
"""After so long Python has left the place where it swallowed an interrupt."""


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
    """What this process does with the signals.

    An exception from a signal handler can be lost: Python swallows it in a finalizer and in a
    callback of the garbage collector or of a weak reference, and a library's `except:` does
    anywhere. So an interrupt is owed from when it was heard until whoever ends the work takes it;
    what Python swallows is raised again, and what is still owed at the next step is raised there.

    Attributes:
        exits: whether the second signal ends the process; else it raises KeyboardInterrupt, as
            in a notebook, whose process belongs to the user.
        count: signals heard, closed terminals apart.
        hung: whether the terminal was closed.
        owed: KeyboardInterrupt was raised, and nobody has acted on it yet.
    """

    exits: bool = False
    count: int = 0
    hung: bool = False
    owed: bool = False
    _again: bool = False
    _stop: Stop | None = None

    def install(self, exits: bool) -> None:
        """Listen from now on; for programs of our own."""
        self.exits, self.count, self.hung, self.owed, self._again = exits, 0, False, False, False
        self._listen()

    def raise_what_python_swallows(self) -> None:
        """From now on; for programs of our own."""
        report = sys.unraisablehook

        def told(lost: Any) -> None:
            if self.owed and lost.exc_type is KeyboardInterrupt:
                _thread.start_new_thread(self._raise_again, ())
            else:
                report(lost)

        sys.unraisablehook = told

    @property
    def listens(self) -> bool:
        """Whether signals come here."""
        return signal.getsignal(signal.SIGINT) == self._heard

    @property
    def heard(self) -> bool:
        """Whether anybody wants an end."""
        return self.hung or self.count > 0

    def again(self) -> None:
        """Listen again after something like Ray has put its own handlers in the place of ours."""
        if self._stop is not None:
            self._listen()

    def _listen(self) -> None:
        for number in SIGNALS:
            if not _is_to_be_ignored(number):
                signal.signal(number, self._heard)

    def check(self) -> None:
        """Raise an interrupt that was heard and that somebody has swallowed.

        Raises:
            KeyboardInterrupt: there is one.
        """
        if self.owed:
            raise KeyboardInterrupt

    def taken(self) -> None:
        """The work ends because of it."""
        self.owed = False

    @contextmanager
    def told_to(self, stop: Stop) -> Iterator[None]:
        """Within the block a signal asks `stop` instead of raising KeyboardInterrupt.

        Ray and Tune do not survive an exception at any place: it would leave processes and
        their reservations behind, for which the next sweep in this process then waits.

        Raises:
            KeyboardInterrupt: one was swallowed before the block; or `stop` was asked within it,
                and too late for anything in the block to see.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        if not self.listens:
            self.install(exits=False)
        self._stop = stop
        try:
            self.check()
            yield
        finally:
            self._stop = None
            for number, handler in before.items():
                signal.signal(number, handler)
        if stop.reason == INTERRUPTED:
            raise KeyboardInterrupt

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._again:
            self._again = False
            if not self.owed:
                return
        elif number == signal.SIGHUP:
            if self.hung or self.count:
                return  # kernel, shell and session manager each tell of a closed terminal
            self.hung = True
        else:
            self.count += 1
            if self.count > 1 and self.exits:
                leave_at_once()
            if self.hung and self.count == 1:
                return  # nobody has pressed anything twice
        if self._stop is not None and self.count <= 1:
            self.owed = False
            self._stop.ask(INTERRUPTED)
            return
        self.owed = self.exits
        raise KeyboardInterrupt

    def _raise_again(self) -> None:
        time.sleep(AGAIN_S)
        if self.owed:
            self._again = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _is_to_be_ignored(number: int) -> bool:
    """Whether this program was started to survive a closed terminal, as by `nohup`."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def leave_at_once(end: Callable[[int], None] = os._exit) -> None:
    """End without cleaning up. The processes of a Ray that we started end with this one.

    Its workers are told by the kernel (PR_SET_PDEATHSIG), those of a joined cluster by it.
    """
    # The cursor may be hidden by a progress display; nothing else of the terminal was changed.
    for text in (
        b"\x1b[?25h" if os.isatty(2) else b"",
        b"\nEnded at once. Everything finished is kept; the same command continues.\n",
    ):
        try:
            os.write(2, text)
        except OSError:  # the terminal is gone
            break
    end(EXIT_CODE)


INTERRUPTS = Interrupts()
"""Signals belong to the process, so there is one."""
