"""A report beside a running sweep: a process of its own writes it, at a bounded cost.

It is told the sweep on its standard input, so that no password stands on a command line, and ends
when that input does: with the sweep, or with a driver that has died. What it costs is `live`'s
business; see there.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from orchestrator.planning.config import Source, SweepConfig
from orchestrator.reading.standing import report_folder
from orchestrator.surroundings import code_folder
from trials.errors import LotusError

_PROGRAM = (
    f"import sys; sys.path.append({code_folder()!r}); "
    "from orchestrator.reading.alongside import main; main()"
)
COMMAND = (sys.executable, "-P", "-c", _PROGRAM)
"""This package need not be installed."""

FIRST_S = 30.0
"""A sweep that ends sooner has only the report at its end."""

NICENESS = 10

ENDING_S = 10.0
"""How long it may take to end, in the middle of a page."""

AGAIN_S = 120.0
"""After a report that could not be written."""

LIVE = ' data-live="60"'
"""What makes a page load itself again (`dashboards/report.html.j2`)."""


@contextmanager
def report_alongside(
    sweep: SweepConfig, say: Callable[[str], None], first_s: float = FIRST_S
) -> Iterator[None]:
    """Have the report written again and again, until this ends.

    Args:
        say: told when it could not be written.
        first_s: when it is written for the first time, in seconds from now.
    """
    with tempfile.TemporaryFile("w+") as errors:
        beside = _Beside(sweep, errors)
        timer = threading.Timer(first_s, beside.start)
        timer.daemon = True
        timer.start()
        try:
            yield
        except BaseException:
            timer.cancel()
            beside.end(say)
            settle(report_folder(sweep) / "report.html")
            raise
        timer.cancel()
        beside.end(say)


class _Beside:
    """The process, once it is started."""

    def __init__(self, sweep: SweepConfig, errors: IO[str]) -> None:
        self._sweep, self._errors = sweep, errors
        self._process: subprocess.Popen[str] | None = None
        self._ended = False
        self._lock = threading.Lock()  # it may be ended just when it is due

    def start(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the driver, which ends this one
            )
            print(as_text(self._sweep), file=self._process.stdin, flush=True)

    def end(self, say: Callable[[str], None]) -> None:
        with self._lock:
            self._ended = True
        if (process := self._process) is None:
            return
        failed = process.poll() not in (None, 0)
        process.terminate()
        try:
            process.communicate(timeout=ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if failed:
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines() or ["no reason was given"]
            say(f"the report could not be renewed while the sweep ran: {lines[-1][:300]}")


def as_text(sweep: SweepConfig) -> str:
    """A sweep in a line; what nobody wrote stays unwritten, so that a preset may still fill it."""
    written = sweep.model_dump(mode="json", exclude_unset=True)
    for section in ("tracking", "storage"):  # whatever the environment says elsewhere
        written[section] = getattr(sweep, section).model_dump(mode="json")
    return json.dumps({"sweep": written, "source": asdict(sweep.source)})


def of_text(text: str) -> SweepConfig:
    """The inverse of `as_text`."""
    found: Mapping[str, Any] = json.loads(text)
    sweep, source = SweepConfig.model_validate(found["sweep"]), found["source"]
    sweep.asked_for(Source(source["path"], tuple(source["overrides"]), source["tracking"]))
    return sweep


def settle(page: Path) -> None:
    """Have a page of a sweep that was interrupted not load itself again."""
    from dashboards.files import write_whole

    try:
        text = page.read_text(encoding="utf-8")
    except OSError:  # none was written
        return
    if LIVE in text:
        write_whole(page, text.replace(LIVE, "", 1).encode())


def main() -> None:
    """The process: writes until its input ends."""
    from orchestrator.reading.live import renewed

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that half a file is removed
    os.nice(NICENESS)
    sweep = of_text(sys.stdin.readline())
    clock = _Clock()
    while True:
        try:
            for _ in renewed(sweep, clock=clock, sleep=_until_input_ends):
                pass
            return
        except LotusError:  # such as a tracking server that is away: the sweep itself says so
            _until_input_ends(AGAIN_S)


class _Clock:
    """Processor time of this process, of which the start counts for the first report."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> float:
        first, self._asked = not self._asked, True
        return 0.0 if first else time.process_time()


def _until_input_ends(seconds: float) -> None:
    if select.select([sys.stdin], [], [], seconds)[0]:
        sys.exit(0)
