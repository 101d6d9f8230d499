"""One server for each process of the tests, and the command that stands in for `python`."""

import atexit
import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent

LAUNCHER = """\
#!{python} -IS
import sys
with open({client!r}) as file:
    exec(compile(file.read(), {client!r}, "exec"))
sys.exit(ask({python!r}, {address!r}))
"""

READY_S = 120
LONGEST_SHEBANG = 120


class Warm:
    """A server.

    Attributes:
        python: stands in for the interpreter, and starts it for real where there is no server.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-", dir="/tmp")
        folder = Path(self._folder.name)
        self.python, self._log = folder / "python", folder / "log"
        address = str(folder / "socket")
        text = LAUNCHER.format(
            python=sys.executable, client=str(HERE / "client.py"), address=address
        )
        self.python.write_text(text, encoding="utf-8")
        self.python.chmod(0o755)
        command = [sys.executable, str(HERE / "server.py"), address, str(self.python)]
        env = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "PYTHONPATH")}
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                command, env=env, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/"
            )

    @property
    def log(self) -> str:
        """What the server has said: who was sent away, and why."""
        return self._log.read_text(encoding="utf-8")

    def wait(self) -> None:
        """Until it is ready.

        Raises:
            RuntimeError: it does not start.
        """
        end = time.monotonic() + READY_S
        while "ready" not in self.log:
            if self._server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no warm Python: {self.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server; what it has forked goes on."""
        if self._server.stdin is not None:
            self._server.stdin.close()
        self._server.wait(30)
        self._folder.cleanup()


@cache
def _warm() -> Warm:
    made = Warm()
    atexit.register(made.stop)
    made.wait()
    return made


def python() -> str:
    """What stands in for `sys.executable`, quick to start; the real one where that is wanted."""
    if os.environ.get("LOTUS_TESTS_COLD") or len(sys.executable) > LONGEST_SHEBANG:
        return sys.executable
    return str(_warm().python)
