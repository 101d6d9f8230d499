"""A report that renews itself while its sweep runs, at a bounded cost."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.planning.config import SweepConfig
from orchestrator.reading.content import Read
from orchestrator.reading.report import report

SHARE = 0.05
"""The part of one core's time that writing reports may take."""

LEAST_S = 30.0


@dataclass(frozen=True, slots=True)
class Written:
    """One writing of the report: its page, what it took, and when the next one comes.

    Attributes:
        seconds: of processor time that it took.
        wait_s: until the next one; None = the sweep has ended, and this was the last.
    """

    page: Path
    seconds: float
    wait_s: float | None


def renewed(
    sweep: SweepConfig,
    output: Path | None = None,
    *,
    clock: Callable[[], float] = time.process_time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Written]:
    """Write the report again and again until the sweep has ended.

    Between two writings it waits so long that writing takes at most SHARE of a core, and never
    less than LEAST_S. Processor time counts, because on a busy machine a writing takes long on the
    clock and no more from the sweep. The page says that it will be written again; the last one
    does not.

    Args:
        output: a folder; None = the sweep's own, and its run in MLflow.
        clock: this process's own time, in seconds.

    Raises:
        LotusError: see `report.report`.
    """
    going = True

    def runs(read: Read) -> bool:
        nonlocal going
        going = is_running(read)
        return going

    while True:
        start = clock()
        page = report(sweep, output, live=runs)
        seconds = clock() - start
        if not going:
            yield Written(page, seconds, None)
            return
        wait_s = max(LEAST_S, seconds * (1 / SHARE - 1))
        yield Written(page, seconds, wait_s)
        sleep(wait_s)


def is_running(read: Read) -> bool:
    """Whether the sweep's own run is open."""
    return bool(read.tracker.parent().info.status in ("RUNNING", "SCHEDULED"))
