"""Calls to the tracking store in the background, so that computing never waits for them."""

import queue
import threading
import time
from collections.abc import Callable

from orchestrator import metrics
from orchestrator.tracking import patience
from orchestrator.tracking.patience import Breaker, is_away, pauses, reason_of

Call = Callable[[], object]


class Outbox:
    """The calls of one run, made in order by a thread of its own.

    While the run computes, a store that is away is tried again without end. Only `settle` waits,
    and only for `PATIENCE_S` without a sign of life. After that the remaining calls are dropped,
    because they would be out of order; `failure` gives the reason.

    Attributes:
        failure: why calls were dropped; None while all is well.
    """

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.failure: str | None = None
        self._calls: queue.Queue[Call | None] = queue.Queue()
        self._awaited = threading.Event()
        self._closed = False
        self._alive_at = time.monotonic()
        # A daemon thread, so that a process can end while the store is away.
        threading.Thread(target=self._work, name="lotus-outbox", daemon=True).start()

    def post(self, call: Call) -> None:
        """Queue a call; it may be repeated after a failure.

        After `close` nothing is queued: a run that has ended is not changed.
        """
        if not self._closed:
            metrics.change(metrics.OUTBOX_CALLS, 1)
            self._calls.put(call)

    def settle(self) -> None:
        """Wait until all calls are made or dropped."""
        self._alive_at = time.monotonic()
        self._awaited.set()
        self._calls.join()
        self._awaited.clear()

    def close(self) -> None:
        """End the thread after the queued calls."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                if self.failure is None:
                    self._say(call)
            finally:
                metrics.change(metrics.OUTBOX_CALLS, -1)
                self._calls.task_done()

    def _say(self, call: Call) -> None:
        for pause in pauses():
            try:
                self.breaker.probe()
                call()
            except Exception as error:
                if not is_away(error) or self._used_up():
                    self.breaker.tripped = self.breaker.tripped or is_away(error)
                    self.failure = reason_of(error)
                    return
            else:
                self.breaker.tripped = False
                self._alive_at = time.monotonic()
                return
            metrics.count(metrics.MLFLOW_RETRIES)
            self._wait(pause)

    def _used_up(self) -> bool:
        if not self._awaited.is_set():
            return False
        silent_s = time.monotonic() - self._alive_at
        return self.breaker.tripped or silent_s > patience.PATIENCE_S

    def _wait(self, pause: float) -> None:
        """Wait before the next attempt; a call of `settle` ends the pause."""
        if self._awaited.is_set():
            time.sleep(min(pause, patience.PATIENCE_S))
        else:
            self._awaited.wait(pause)
