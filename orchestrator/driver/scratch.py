"""A folder for Tune's own state: removed with the driver that made it, or else by the next one."""

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "lotus-tune-"

LOCK = "in-use"
"""A file that a living driver keeps locked; the lock goes with its process."""

ABANDONED_S = 30 * 86400
"""A folder without that file is of a version before it, or of a driver on another machine; when it
is this old, no sweep uses it."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new folder; those that drivers left which were killed are removed."""
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*"):
        if _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    # Under another name until it is locked, or a driver that starts just now would remove it.
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    folder = made.with_name(made.name.removeprefix("."))
    with (made / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.rename(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    """Whether its driver has ended; no where that cannot be known, as of another user's."""
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            return time.time() - folder.stat().st_mtime > ABANDONED_S
        return False
    except OSError:
        return False
