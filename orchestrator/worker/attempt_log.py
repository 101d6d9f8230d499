"""The last lines that an attempt wrote: kept in memory, stored only when it fails."""

import io
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

KEPT_LINES = 200

LONGEST_LINE = 2000


class Recorder(logging.Handler):
    """Keeps the last lines of logging, warnings and everything printed, from all threads."""

    def __init__(self, kept: int = KEPT_LINES) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=kept)
        self._open = ""
        self._guard = threading.Lock()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record) + "\n")

    def write(self, text: str) -> None:
        """Text as it is printed; a line counts when it ends."""
        with self._guard:
            *whole, self._open = (self._open + text).split("\n")
            # A progress bar never ends its line, it only goes back to its start.
            self._open = self._open.rsplit("\r", 1)[-1][-LONGEST_LINE:]
            self._lines.extend(line.rsplit("\r", 1)[-1][:LONGEST_LINE] for line in whole)

    def lines(self) -> list[str]:
        """What is kept, oldest first."""
        with self._guard:
            return [*self._lines, *([self._open] if self._open else [])][-KEPT_LINES:]


class _Tee(io.TextIOBase):
    """A stream that the recorder listens to."""

    def __init__(self, stream: TextIO, recorder: Recorder) -> None:
        self._stream, self._recorder = stream, recorder

    def write(self, text: str) -> int:
        self._recorder.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


_current: list[Recorder] = []


@contextmanager
def recording() -> Iterator[Recorder]:
    """Keep what this process writes until the block ends."""
    recorder = Recorder()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tee(before[0], recorder), _Tee(before[1], recorder)
    logging.getLogger().addHandler(recorder)
    _current.append(recorder)
    try:
        yield recorder
    finally:
        _current.remove(recorder)
        logging.getLogger().removeHandler(recorder)
        sys.stdout, sys.stderr = before


def last_lines() -> list[str]:
    """What the attempt that runs now wrote last; nothing outside of one."""
    return _current[-1].lines() if _current else []
