"""Tune's folder goes with its driver, and one whose driver was killed with the next driver."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from orchestrator.driver.scratch import LOCK, PREFIX, scratch

HOLD = (
    "import sys, time; from orchestrator.driver.scratch import scratch\n"
    "with scratch() as folder:\n"
    "    print(folder, flush=True); time.sleep(600)\n"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def holding() -> "tuple[subprocess.Popen[str], Path]":
    """Another process that has a folder, and the folder."""
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    return other, Path(other.stdout.readline().strip())


def test_a_folder_is_there_as_long_as_it_is_used(temporary: Path) -> None:
    with scratch() as folder:
        (folder / "sweep").mkdir()
        assert folder.parent == temporary
        assert folder.name.startswith(PREFIX)
    assert list(temporary.iterdir()) == []


def test_one_whose_driver_was_killed_goes_with_the_next_driver_and_no_other(
    temporary: Path,
) -> None:
    (killed, left), (living, used) = holding(), holding()
    try:
        killed.kill()
        killed.wait()
        assert left.is_dir()
        with scratch() as own:
            assert set(temporary.iterdir()) == {own, used}
    finally:
        for one in (killed, living):
            one.kill()
            one.wait()
            assert one.stdout is not None
            one.stdout.close()


def test_one_of_an_earlier_version_goes_when_it_is_old(temporary: Path) -> None:
    old, new = temporary / f"{PREFIX}old", temporary / f"{PREFIX}new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 31 * 86400,) * 2)
    os.utime(new, (time.time() - 7 * 86400,) * 2)  # sweeps run for days
    with scratch() as own:
        assert set(temporary.iterdir()) == {own, new}


def test_what_cannot_be_removed_or_looked_into_is_left(temporary: Path) -> None:
    odd = temporary / f"{PREFIX}file"
    odd.write_text("no folder")
    (temporary / f"{PREFIX}lock").mkdir()
    (temporary / f"{PREFIX}lock" / LOCK).mkdir()
    with scratch() as own:
        assert own.is_dir()
    assert odd.exists()
