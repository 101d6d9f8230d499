"""How far this process has come, said now and then so that the driver can tell the time left.

Nobody waits for it: what a training has to say is kept, the newest only, and a thread of its own
passes it on. Whether it arrives changes nothing but the estimate.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable

EVERY_S = 2.0
"""Between two notes of a process."""

Note = tuple[str, str, float, float]
"""Key of an item, key of the stage that it computes, the fraction of that which is done, and when
that was by the process's own clock."""


class Teller:
    """Passes the newest note on.

    Args:
        put: takes a note as text; may be slow and may fail.
    """

    def __init__(self, put: Callable[[str], None]) -> None:
        self._put = put
        self._note: Note | None = None
        self._new = threading.Event()
        self._thread: threading.Thread | None = None

    def tell(self, item: str, stage: str, fraction: float) -> None:
        """How far a stage of an item is; returns at once."""
        self._note = (item, stage, fraction, time.monotonic())
        self._new.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._pass_on, name="lotus-told", daemon=True)
            self._thread.start()

    def _pass_on(self) -> None:
        while True:
            self._new.wait()
            self._new.clear()
            with contextlib.suppress(Exception):  # the sweep goes on, whoever hears of it
                self._put(json.dumps(self._note))
            time.sleep(EVERY_S)


def note_of(text: str) -> Note | None:
    """What was told; None for what is no note."""
    try:
        item, stage, fraction, at = json.loads(text)
        return str(item), str(stage), float(fraction), float(at)
    except (ValueError, TypeError):
        return None
