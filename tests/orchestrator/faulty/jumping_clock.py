"""A wall clock that jumps, for one process: `sitecustomize` calls `install` before all imports.

`time.time` and `time.time_ns` for everybody (MLflow's time stamps are made with them), `datetime`
for this package: compiled modules of others crash when its class is replaced. Monotonic clocks and
the times of files stay as they are, as on a machine whose clock is set, with its files on a server.
"""

import datetime
import os
import time
from pathlib import Path

SECOND = 10**9

_real_ns = time.time_ns


def shift_ns() -> int:
    """By how much the clock is wrong now, from the whole seconds in the file LOTUS_TEST_CLOCK."""
    try:
        return int(Path(os.environ["LOTUS_TEST_CLOCK"]).read_bytes()) * SECOND
    except FileNotFoundError:
        return 0


def set_to(seconds: int) -> None:
    """Have every process's clock be wrong by so much from now on."""
    path = Path(os.environ["LOTUS_TEST_CLOCK"])
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(str(seconds))
    new.replace(path)


def _time_ns() -> int:
    return _real_ns() + shift_ns()


def _time() -> float:
    return _time_ns() / SECOND


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(_time(), tz)


def install() -> None:
    """From now on this process reads the clock that jumps."""
    time.time, time.time_ns = _time, _time_ns


def into(module: object) -> None:
    """Give it to a module of this package that has just been imported."""
    if getattr(module, "datetime", None) is datetime.datetime:
        module.datetime = _Datetime
