"""Ends a process whose stage hangs. Nothing else can: a thread cannot be stopped from outside."""

import faulthandler
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orchestrator.vocabulary import Artifact

TELLING_S = 30.0
"""Time for telling MLflow why; after it the process ends in any case, told or not."""


class Hang(Exception):  # noqa: N818, named for what it is
    """A stage took longer than it may."""


@contextmanager
def limited(
    stage: str,
    limit_s: float | None,
    tell: Callable[[Hang, Path], None],
    end: Callable[[int], None] = os._exit,
) -> Iterator[None]:
    """End this process if the block takes longer than `limit_s`.

    Args:
        limit_s: None = the block may take as long as it wants.
        tell: called with the reason and a folder that holds `failure/stacks.txt`, what each
            thread was doing.
        end: ends the process.
    """
    if limit_s is None:
        yield
        return
    done = threading.Event()
    with tempfile.TemporaryDirectory(prefix="lotus-stacks-") as folder:
        path = Path(folder) / Artifact.STACKS
        path.parent.mkdir()
        with path.open("w", encoding="utf-8") as stacks:
            # In C, without Python's lock: for code that hangs while it holds that. What it writes
            # is found in Ray's log of the process.
            faulthandler.dump_traceback_later(limit_s + TELLING_S, exit=True, file=2)
            args = (stage, limit_s, done, stacks, Path(folder), tell, end)
            watch = threading.Thread(target=_watch, args=args, daemon=True, name="lotus-watchdog")
            watch.start()
            try:
                yield
            finally:
                done.set()
                watch.join()
                faulthandler.cancel_dump_traceback_later()


def _watch(
    stage: str,
    limit_s: float,
    done: threading.Event,
    stacks: IO[str],
    folder: Path,
    tell: Callable[[Hang, Path], None],
    end: Callable[[int], None],
) -> None:
    if done.wait(limit_s):
        return
    faulthandler.dump_traceback(stacks, all_threads=True)
    stacks.flush()
    reason = Hang(
        f"{stage}: took longer than retry.stage_timeout_s = {limit_s:g}; what it was doing is in "
        f"{Artifact.STACKS}"
    )
    try:
        tell(reason, folder)
    finally:
        end(1)
