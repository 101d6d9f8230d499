"""Terminals that are closed while a sweep runs, for real: the kernel tells every process of it."""

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from programs import LOTUS, REAL, environment, look

from tests.conftest import tiny_sweep
from tests.warm.starting import python

pytestmark = pytest.mark.slow

ARM = "search.arm=[magnitude]"


class Window:
    """A terminal with a program in it."""

    def __init__(self, command: Sequence[str], env: dict[str, str], log: Path | None) -> None:
        self.own, inner = pty.openpty()
        out = log.open("wb") if log else None
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],  # its terminal, from which it hears
            stdin=inner,
            stdout=out or inner,
            stderr=out or inner,
            env=env,
        )
        os.close(inner)
        if out:
            out.close()
        self.shown = b""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.closing = False
        self.reader.start()

    def _read(self) -> None:
        os.set_blocking(self.own, False)
        while not self.closing:
            try:
                self.shown += os.read(self.own, 4096)
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # the program has ended
                return

    def close(self) -> None:
        """What happens when the window is shut or the line drops."""
        self.closing = True
        self.reader.join()
        os.close(self.own)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """Stands in the environment of all processes of a test; what is left of them is ended."""
    yield str(tmp_path)
    for number in left(str(tmp_path)):
        os.kill(number, 9)


def left(mark: str) -> list[int]:
    """Processes that live and have this mark, Ray's agents included."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text("utf-8", "replace").rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if f"LOTUS_TEST={mark}".encode() in environ and state != "Z":
            found.append(int(folder.name))
    return found


def wait_until(seen: Callable[[], object], what: str, timeout_s: float = 300) -> None:
    """Until something is so."""
    end = time.monotonic() + timeout_s
    while not seen():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def test_a_closed_terminal_ends_a_sweep_cleanly_and_it_continues_later(
    tmp_path: Path, mark: str
) -> None:
    """A stage that would take an hour holds it up; nothing can be written to the terminal."""
    path, faults = tiny_sweep(tmp_path), tmp_path / "faults"
    faults.mkdir()
    (faults / "dense.1.hang").touch()
    command = [LOTUS, "run", str(path), "--no-report", "--set", ARM]
    window = Window(command, environment(faults, LOTUS_TEST=mark), None)
    try:
        wait_until(
            lambda: not list(faults.iterdir()) and "RUNNING" in look(path).statuses,
            "no stage runs",
        )
        assert len(left(mark)) > 3, "driver, Ray's head and a worker"
        window.close()
        assert window.process.wait(200) == 130
    finally:
        window.process.kill()
    seen = look(path, [ARM])
    assert "RUNNING" not in seen.statuses
    assert "interrupted" in {tags.get("lotus.error") for tags in seen.tags.values()}
    wait_until(lambda: not left(mark), "a process of Ray stays", 120)
    again = subprocess.run(
        [python(), *REAL[1:], *command[1:]],
        env=environment(LOTUS_TEST=mark), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert "RUNNING although nobody works" not in again.stdout
    assert set(look(path, [ARM]).statuses) == {"FINISHED"}


def test_under_nohup_a_sweep_goes_on_without_its_terminal(tmp_path: Path, mark: str) -> None:
    path, log = tiny_sweep(tmp_path), tmp_path / "log"
    command = ["nohup", LOTUS, "run", str(path), "--no-report", "--set", ARM]
    window = Window(command, environment(LOTUS_TEST=mark), log)
    try:
        wait_until(lambda: "to run" in log.read_text("utf-8") and len(left(mark)) > 2, "no Ray")
        window.close()
        assert window.process.wait(400) == 0, log.read_text("utf-8")
    finally:
        window.process.kill()
    assert set(look(path, [ARM]).statuses) == {"FINISHED"}
