"""Starting Ray on this machine, or joining a cluster, in whatever surroundings there are."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray

from orchestrator.driver.interrupts import INTERRUPTS
from orchestrator.driver.joining import ClusterError, refusal
from orchestrator.ray_internals import starting as internals
from orchestrator.surroundings import code_folder
from trials.cores import usable_cores

ATTEMPTS = 3
"""Ray waits half a minute for each of its own processes."""

PAUSE_S = 2.0

LONGEST_BYTES = (103 if sys.platform == "darwin" else 107) - len(internals.SOCKET)

FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def start(address: str | None, say: Callable[[str], None] = lambda text: None) -> None:
    """Start a Ray on this machine, or join one.

    Args:
        address: None: a new one on this machine; else as for `ray.init`.
        say: told what takes long, or is otherwise than asked for.

    Raises:
        ClusterError: there is none, or it does not start.
        KeyboardInterrupt: it does not start, and was not waited for.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # A "local" address makes sure that a cluster found in the environment is not joined.
        options |= {"address": "local", "include_dashboard": False} | _folder(say)
        options["num_cpus"] = max(1, int(usable_cores()))
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "60")
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    else:
        options["address"] = address
    for left in reversed(range(ATTEMPTS if address is None else 1)):
        try:
            with contextlib.ExitStack() as during:
                during.enter_context(_handlers_stay())
                during.enter_context(internals.nothing_stays_of_a_failure())
                if address is None:
                    during.enter_context(internals.for_one_machine())
                ray.init(**options, job_config=internals.job_that_imports(_code))
            return
        except ray.exceptions.AuthenticationError as error:
            raise ClusterError(refusal(str(address))) from error
        except Exception as error:  # of any kind: Ray raises `Exception` itself
            if address is not None:
                raise ClusterError(f"no Ray cluster at {address}: {str(error)[:300]}") from error
            if INTERRUPTS.heard:
                raise KeyboardInterrupt from error
            if not left:
                raise ClusterError(_does_not_start(error)) from error
        say("Ray has not started in its time, as on a busy machine: it is tried again")
        time.sleep(PAUSE_S)


def _does_not_start(error: Exception) -> str:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return (
        f"Ray does not start here, tried {ATTEMPTS} times: {reason}. Run the same command again "
        "when this machine is less busy; its logs are in session_latest/logs of Ray's folder"
    )


def _folder(say: Callable[[str], None]) -> dict[str, str]:
    """Where Ray keeps its sockets: its own choice where that can be used, or else another.

    Raises:
        ClusterError: none can be used.
    """
    asked = internals.own_folder()
    if _is_usable(asked):
        return {}
    for name in dict.fromkeys((*FOLDERS, tempfile.gettempdir())):
        if _is_usable(name):
            why = "too long a path for sockets" if _is_long(asked) else "nothing can be written"
            say(f"Ray keeps its files in {name}/ray, not in {asked}: {why}")
            return internals.in_folder(f"{name}/ray")
    raise ClusterError(
        f"Ray finds no folder for its sockets: set RAY_TMPDIR to one that you may write to, with a "
        f"path of at most {LONGEST_BYTES} bytes"
    )


def _is_long(folder: str) -> bool:
    return len(os.fsencode(os.path.abspath(folder))) > LONGEST_BYTES


def _is_usable(folder: str) -> bool:
    own = Path(folder) / "ray"
    if _is_long(folder):
        return False
    with contextlib.suppress(OSError):
        own.mkdir(mode=0o777, parents=True, exist_ok=True)
        return os.access(own, os.W_OK | os.X_OK)
    return False


def _code() -> list[str]:
    """Folders from which a worker must import this code."""
    return [] if _is_installed() else [code_folder()]


def _is_installed() -> bool:
    """Whether a process of this Python finds this package by itself."""
    command = [sys.executable, "-P", "-c", "import orchestrator"]
    return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def _handlers_stay() -> Iterator[None]:
    """Keep our handlers of signals, and keep Ray's processes alive when a terminal is closed.

    The kernel tells all processes of a terminal when it goes. If Ray's died of it, the driver
    could not end what they do.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with internals.no_handler_of_its_own():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # its processes inherit that
        try:
            yield
        finally:
            INTERRUPTS.again()  # what Ray's C++ does at SIGTERM is to print a traceback and to die
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
