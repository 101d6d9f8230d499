"""One server for all processes of a test run, and the command that stands in for `python`."""

import os
import shlex
import subprocess
import sys
import time
from contextlib import suppress
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
STARTED: list[subprocess.Popen[bytes]] = []
LONGEST_SHEBANG = 120


def _folder() -> Path:
    """Of this test run, which under xdist has several processes; they end one after the other."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    return Path(f"/tmp/warm-{os.getuid()}-{run[:12]}")


@cache
def _warm() -> Path:
    """The launcher, once its server is ready. The first process that asks starts it.

    Raises:
        RuntimeError: it does not start.
    """
    folder = _folder()
    launcher, log = folder / "python", folder / "log"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        _start(folder, launcher, log)
    end = time.monotonic() + READY_S
    while not log.exists() or "ready" not in log.read_text(encoding="utf-8"):
        if time.monotonic() > end:
            said = log.read_text(encoding="utf-8") if log.exists() else ""
            raise RuntimeError(f"no warm Python in {folder}: {said}")
        time.sleep(0.05)
    return launcher


def _start(folder: Path, launcher: Path, log: Path) -> None:
    text = LAUNCHER.format(
        python=sys.executable, client=str(HERE / "client.py"), address=str(folder / "socket")
    )
    launcher.write_text(text, encoding="utf-8")
    launcher.chmod(0o755)
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    env = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), str(folder), str(run)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            start_new_session=True,
        )
    STARTED.append(server)


def python() -> str:
    """What stands in for `sys.executable`, quick to start; the real one where that is wanted."""
    if os.environ.get("LOTUS_TESTS_COLD") or len(sys.executable) > LONGEST_SHEBANG:
        return sys.executable
    return str(_warm())


def ray() -> list[str]:
    """The command `ray`, whose nodes have forked processes."""
    launcher = python()
    if launcher == sys.executable:
        return [str(Path(sys.executable).parent / "ray")]
    return [launcher, str(HERE / "ray_command.py"), launcher]


def programs_in(folder: Path, *names: str) -> str:
    """Make a folder of programs that are quick to start, for PATH: `lotus`, `mlflow` or `ray`."""
    modules = {"lotus": "orchestrator.cli", "mlflow": "mlflow"}
    folder.mkdir(exist_ok=True)
    for name in names:
        command = ray() if name == "ray" else [python(), "-m", modules[name]]
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    return str(folder)


def process_of(client: int) -> int:
    """The process that was forked for a client; the same one where it is no client."""
    try:
        return int((_folder() / "forks" / str(client)).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return client
