"""Which kind of file system a path is on, by the nearest mount above it."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.disks import file_system


def test_the_nearest_mount_above_a_path_says_it(
    mounted: Callable[..., Path], tmp_path: Path
) -> None:
    outer = mounted("size=1m")
    (outer / "deep").mkdir()
    (tmp_path / "link").symlink_to(outer / "deep")
    inner = mounted("size=1m", "ramfs")
    assert file_system(outer) == file_system(outer / "deep" / "absent") == "tmpfs"
    assert file_system(tmp_path / "link" / "x") == "tmpfs"
    assert file_system(inner / "x") == "ramfs"


def test_where_nothing_is_known_it_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [])
    assert file_system(Path("/somewhere")) == ""
