"""One collector at a time, on folders and object stores alike: by marks, not by locks."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.storage.files import Files
from orchestrator.tracking.lease import born, machine
from trials.errors import LotusError

MARK = "collector.json"
"""In that folder while the collector works: its machine and process."""

DEAD_S = 3600.0
"""A mark that is older belongs to a collector that died on another machine."""


@contextmanager
def alone(files: Files, folder: str) -> Iterator[tuple[str, float]]:
    """A folder to take things away to, and the time by the clock of whoever keeps the files.

    Everybody first leaves a mark and then looks for others: of two that start at once, both may
    refuse, but never none.

    Raises:
        LotusError: another collector is at work.
    """
    away = f"{folder}/{uuid.uuid4().hex}"
    pid = os.getpid()
    mark = {"machine": machine(), "pid": pid, "born": born(pid)}
    files.write(f"{away}/{MARK}", json.dumps(mark).encode())
    try:
        now = files.probe()
        others = [path for path in files.list(folder) if path.endswith(f"/{MARK}")]
        for path in others:
            if not path.startswith(away) and _alive(files, path, now):
                raise LotusError(
                    "another `lotus gc` works on this store: wait for it. If it died, the next "
                    f"one puts back what it had in hand (after {DEAD_S / 60:.0f} minutes, where "
                    "it ran on another host)"
                )
        yield away, now
    finally:
        files.remove(f"{away}/{MARK}")


def _alive(files: Files, path: str, now: float) -> bool:
    """Whether a collector may be at work; on this machine no clock, which may jump, is asked."""
    info = files.info(path)
    if info is None:
        return False
    recent = info.modified >= now - DEAD_S
    try:
        mark = json.loads(files.read(path))
        if mark["machine"] and mark["machine"] == machine():
            return bool(born(int(mark["pid"])) == mark["born"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        return recent  # of another version, or half-written
    return recent
