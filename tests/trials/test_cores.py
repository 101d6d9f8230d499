"""Cores that may be used, by what a container's files say; the numbers are checked by hand."""

import os
from pathlib import Path

import pytest

from trials.cores import usable_cores

V2, V1 = "0::/a/b\n", "3:cpuset:/\n1:cpu,cpuacct:/a/b\n0::/\n"
MAX, QUOTA = "cpu.max", "cpu.cfs_quota_us"


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))


def machine(folder: Path, groups: str, files: dict[str, str]) -> Path:
    """A root with these control groups; files by their path below /sys/fs/cgroup."""
    for name, content in ({"../../../proc/self/cgroup": groups} | files).items():
        path = folder / "sys/fs/cgroup" / name
        (folder / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
        path = Path(os.path.normpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        (V2, {}, 8),
        (V2, {"a/b/cpu.max": "max 100000\n"}, 8),
        (V2, {"a/b/cpu.max": "250000 100000\n"}, 2.5),
        (V2, {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        (V2, {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "400000 100000\n"}, 1),
        (V2, {"cpu.max": "50000 100000\n"}, 0.5),  # inside a container
        (V2, {"cpu.max": "6400000 100000\n"}, 8),
        (V2, {"cpu.max": "not a number"}, 8),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "-1\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, 8),
        (
            V1,
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "150000\n",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            },
            1.5,
        ),
    ],
)
def test_the_least_of_what_any_group_gives_counts(
    tmp_path: Path, groups: str, files: dict[str, str], cores: float
) -> None:
    assert usable_cores(machine(tmp_path, groups, files)) == cores


def test_the_cores_that_a_process_is_bound_to_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    assert usable_cores(machine(tmp_path, V2, {"cpu.max": "400000 100000\n"})) == 2


def test_a_machine_without_control_groups_has_all_its_cores(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 8
