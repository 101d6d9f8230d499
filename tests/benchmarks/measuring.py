"""How commands are timed, and what every figure carries: when, on what, of which code."""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.versions import hardware, versions

ROOT = Path(__file__).parents[2]


def about(root: Path = ROOT) -> dict[str, Any]:
    """Date, hardware, versions, load before the start, and the commit that is measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "versions": versions(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": commit(root),
    }


def commit(root: Path = ROOT) -> str:
    """Of the code that is measured, `+changes` where the files differ from it."""
    short = _git(root, "rev-parse", "--short", "HEAD")
    return f"{short}+changes" if _git(root, "status", "--porcelain") else short


def _git(root: Path, *asked: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(root), *asked), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@dataclass
class Spent:
    """What a command took, with every process that it started.

    Attributes:
        wall_s: of the whole process, from its start to its end.
        cpu_s: of it and all below it, looked up twice a second.
        began: when, in seconds since 1970.
    """

    wall_s: float
    cpu_s: float
    began: float


LOOK_S = 0.5


def timed(command: Sequence[str], folder: Path, **environment: str) -> Spent:
    """Run a command as a process of its own in a folder; its output goes to `log` there.

    Raises:
        RuntimeError: it failed.
    """
    cpu: dict[int, float] = {}
    with (folder / "log").open("w") as log:
        began, start = time.time(), time.perf_counter()
        process = psutil.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT
        )
        looked = 0.0
        while process.poll() is None:
            if time.perf_counter() - looked >= LOOK_S:
                looked = time.perf_counter()
                cpu |= _cpu_s(process)
            time.sleep(0.02)
        wall_s = time.perf_counter() - start
    if process.returncode != 0:
        raise RuntimeError((folder / "log").read_text()[-3000:])
    return Spent(round(wall_s, 2), round(sum(cpu.values()), 2), began)


def _cpu_s(process: psutil.Process) -> dict[int, float]:
    """CPU seconds so far, by process."""
    found = {}
    with contextlib.suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                found[one.pid] = times.user + times.system
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """How many, median, least and largest."""
    return {
        "n": len(values),
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }
