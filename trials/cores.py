"""How many cores this process may use: a container often has fewer than its machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def usable_cores(root: Path = ROOT) -> float:
    """Cores, a fraction where a container is given one; at least a tenth.

    The least of what the system lets it run on (affinity, cpusets) and of the time that its
    control groups, or any above them, give it: `cpu.max` of version 2, `cpu.cfs_quota_us` of 1.

    Args:
        root: below which `proc` and `sys` are.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        allowed = os.cpu_count() or 1
    return max(0.1, min([float(allowed), *_quotas(root)]))


def _quotas(root: Path) -> Iterator[float]:
    """What each control group gives, in cores."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    groups = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for folder in _upwards(groups, path):
                yield from _share(folder / "cpu.max")
        elif "cpu" in controllers.split(","):
            # Where it is mounted hangs on the distribution.
            for name in ("cpu", "cpu,cpuacct"):
                for folder in _upwards(groups / name, path):
                    yield from _share(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def _upwards(mounted: Path, path: str) -> Iterator[Path]:
    """A group's folder and all above it; inside a container its own is the uppermost."""
    own = mounted / path.lstrip("/")
    yield own
    for folder in own.parents:
        if not folder.is_relative_to(mounted):
            return
        yield folder


def _share(*files: Path) -> Iterator[float]:
    """Time over period, in one file or in two; nothing where there is no limit."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        if int(quota) > 0:
            yield int(quota) / int(period)
    except (OSError, ValueError):  # "max", -1, or not there
        return
