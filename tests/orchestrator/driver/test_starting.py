"""Ray that starts slowly, or has no place: for real, by a raylet that is stopped."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.driver import starting
from orchestrator.driver.joining import ClusterError
from orchestrator.ray_internals.starting import SOCKET

sys.path.insert(0, str(Path(__file__).parents[1]))
from programs import REAL, Program, environment, look

from orchestrator.planning.sweepfile import load_sweep
from orchestrator.tracking.tracker import Tracker, find_sweep
from tests.conftest import tiny_sweep

ARM = "search.arm=[magnitude]"


class Slow(threading.Thread):
    """Stops the first raylets that a program starts, as a machine does that is far too busy."""

    def __init__(self, program: Program, count: int) -> None:
        super().__init__(daemon=True)
        self.program, self.count = program, count
        self.stopped: list[psutil.Process] = []

    def run(self) -> None:
        while len(self.stopped) < self.count and self.program.process.poll() is None:
            with suppress(OSError, psutil.Error):
                for child in map(psutil.Process, children(self.program.process.pid)):
                    if child.name() == "raylet" and child not in self.stopped:
                        child.send_signal(signal.SIGSTOP)
                        self.stopped.append(child)
            time.sleep(0.01)


def children(pid: int) -> list[int]:
    """What a process and its threads have started. psutil looks at every process of the machine."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text("ascii").split()]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails leaves no program behind."""
    yield
    Program.end_all()


def started(folder: Path, slow: int, wait_s: int) -> tuple[Program, Slow]:
    """A sweep whose first raylets do not answer, and Ray waits so long for each."""
    args = ("run", str(tiny_sweep(folder)), "--no-report", "--set", ARM)
    env = environment() | {"RAY_raylet_start_wait_time_s": str(wait_s)}
    program = Program.start(folder / "log", *args, env=env, lotus=REAL)
    watcher = Slow(program, slow)
    watcher.start()
    return program, watcher


@pytest.mark.slow
def test_a_ray_that_does_not_start_in_time_is_started_again(tmp_path: Path) -> None:
    program, slow = started(tmp_path, 1, wait_s=30)
    assert program.wait() == 0, program.said
    assert len(slow.stopped) == 1
    assert "Ray has not started in its time" in program.said
    assert "Traceback" not in program.said
    assert not slow.stopped[0].is_running(), "the first one is gone"
    assert set(look(tmp_path / "tiny.yaml", [ARM]).statuses) == {"FINISHED"}


@pytest.mark.slow
def test_a_ray_that_never_starts_is_one_line_and_the_sweep_is_closed(tmp_path: Path) -> None:
    program, slow = started(tmp_path, starting.ATTEMPTS, wait_s=5)
    assert program.wait() == 1
    assert len(slow.stopped) == starting.ATTEMPTS
    assert program.said.count("Ray does not start here, tried") == 1
    assert "Traceback" not in program.said
    address = find_sweep(load_sweep(tmp_path / "tiny.yaml", [ARM]))
    assert address is not None
    assert Tracker(address).parent().info.status == "KILLED"
    assert not [one for one in slow.stopped if one.is_running()]


def folder(length: int, parent: Path) -> str:
    """A folder whose path has so many bytes."""
    missing = length - len(os.fsencode(parent)) - 1
    made = parent / ("x" * missing)
    made.mkdir()
    return str(made)


def test_the_longest_folder_that_ray_can_use_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one byte more is not: the limit is that of Ray's own check."""
    import tempfile

    from ray._private.utils import validate_socket_filepath

    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        longest = folder(starting.LONGEST_BYTES, Path(short))
        monkeypatch.setenv("TMPDIR", longest)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        assert starting._folder(lambda text: None) == {}
        validate_socket_filepath(longest + SOCKET)
        over = folder(starting.LONGEST_BYTES + 1, Path(short))
        monkeypatch.setenv("TMPDIR", over)
        said: list[str] = []
        assert starting._folder(said.append) == {"_temp_dir": "/tmp/ray"}
        assert said == [
            f"Ray keeps its files in /tmp/ray, not in {over}: too long a path for sockets"
        ]
        with pytest.raises(OSError, match="AF_UNIX"):
            validate_socket_filepath(over + SOCKET)


def test_without_any_folder_one_line_says_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file" / "none"))
    (tmp_path / "file").touch()
    monkeypatch.setattr(starting, "FOLDERS", (str(tmp_path / "file"),))
    monkeypatch.setattr(starting.tempfile, "gettempdir", lambda: str(tmp_path / ("y" * 100)))
    with pytest.raises(ClusterError, match=f"set RAY_TMPDIR .* at most {starting.LONGEST_BYTES}"):
        starting._folder(lambda text: None)
