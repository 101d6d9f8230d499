"""`lotus ui`: an MLflow server on a port that is free, and its address once it answers."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.driver.interrupts import INTERRUPTS
from orchestrator.planning.config import SweepConfig
from orchestrator.secrets import redacted, without_password
from orchestrator.tracking import database
from orchestrator.tracking.pages import experiments_page, trials_page
from orchestrator.tracking.places import for_server
from orchestrator.tracking.tracker import Tracker, find_sweep
from orchestrator.vocabulary import Tag
from trials.errors import LotusError

PORT = 5000
UI = f"http://127.0.0.1:{PORT}"
"""Where the UI is served unless told otherwise."""

TRIED = 20
"""Ports that are looked at, from the default one on."""

START_S = 300.0
PAUSE_S = 0.2
END_S = 10.0

Say = Callable[[str], None]


class PortError(LotusError):
    """Nobody can listen there."""


def serve(uri: str, host: str, port: int | None, say: Say, sweep: SweepConfig | None = None) -> int:
    """Serve the MLflow UI on a store until it is told to end.

    Args:
        uri: a database.
        port: this one and no other; None = the default one, or the next that is free.
        sweep: whose trials are of interest.

    Returns:
        0 when it was told to end, else what the server ended with.

    Raises:
        PortError: no port can be had.
        LotusError: the server does not start; with what it said last.
    """
    if (path := database.path_of(uri)) is None:
        from orchestrator.tracking.connection import connect

        connect(uri, wait=False)  # the server would try for minutes, without a word
    elif not path.exists():
        raise LotusError(f"{path} does not exist: no sweep has run there yet")
    root, opened = artifact_root(uri), for_server(path) if path else uri
    with tempfile.TemporaryFile() as log:
        found = free_port(host, port)
        if port is None and found != PORT:
            say(f"Port {PORT} is taken by another program; this is port {found}.")
        server = Server(_started(opened, root, host, found, log), log)
        try:
            address = f"http://{_reached(host)}:{found}"
            server.until_it_answers(address)
            say(f"MLflow UI on {experiments_page(address)}")
            if page := trials_of(sweep, address):
                say(page)
            say("Ctrl-C ends it.")
            return server.process.wait()
        except KeyboardInterrupt:
            INTERRUPTS.taken()  # this is how one ends it
            return 0
        finally:
            server.end()


@dataclass
class Server:
    """The server's process, and what it says."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def until_it_answers(self, address: str) -> None:
        """Wait until this process, and no other, answers at its address."""
        end = time.monotonic() + START_S
        while True:
            answered = _answers(address)
            if self.process.poll() is not None:
                raise LotusError(f"the MLflow server ended before it answered: {self.last}")
            if answered:
                return
            if time.monotonic() > end:
                raise LotusError(f"the MLflow server does not answer: {self.last}")
            time.sleep(PAUSE_S)

    @property
    def last(self) -> str:
        """The last line that it said."""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return redacted(lines[-1])[:300] if lines else "it said nothing"

    def end(self) -> None:
        """See that it has ended."""
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _started(uri: str, root: str, host: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The server. Its job runner is for evaluating language models and costs four processes."""
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    command += ["--default-artifact-root", root]
    # The address may hold a password, which everybody on this machine could read in a command line.
    environment = {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONSAFEPATH": "1",
    }
    return subprocess.Popen(
        command,
        env=os.environ | environment,
        cwd=os.sep,  # uvicorn imports from its working directory and cannot be told not to
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )


def artifact_root(uri: str) -> str:
    """Where an experiment that somebody makes in the UI puts its artifacts.

    Those of sweeps hold their own address, so this is where a sweep would put them that is run
    from here: beside an SQLite file, and for a database server where MLflow's client does it,
    below the working directory.
    """
    path = database.path_of(uri)
    return (path.parent / "artifacts" if path else Path.cwd() / "mlruns").as_uri()


def free_port(host: str, port: int | None) -> int:
    """A port on which nobody listens: the one that is asked for, or the first from the default on.

    Raises:
        PortError: it is taken, none is free, or it is none of this machine's addresses.
    """
    if port is not None:
        if not _free(host, port):
            raise PortError(
                f"port {port} is taken by another program: end it, choose another --port, or "
                "leave --port out for one that is free"
            )
        return port
    for one in range(PORT, PORT + TRIED):
        if _free(host, one):
            return one
    raise PortError(f"the ports {PORT} to {PORT + TRIED - 1} are all taken: choose one with --port")


def _free(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.bind(address)
    except socket.gaierror as error:
        raise PortError(f"--host {host} cannot be found: {error.strerror}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise PortError(f"--host {host} --port {port} cannot be used: {error.strerror}") from None
    # Some systems let two programs listen, one on all addresses and one on this one.
    with socket.socket(family, kind, protocol) as other:
        other.settimeout(1)
        return other.connect_ex((_reached(host).strip("[]"), port)) != 0


def _reached(host: str) -> str:
    """The host as it stands in an address, from this machine."""
    if host in ("0.0.0.0", ""):
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def _answers(address: str) -> bool:
    try:
        # Not through the proxy of the environment: it is this machine.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{address}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def trials_of(sweep: SweepConfig | None, base: str = UI) -> str | None:
    """Where the UI shows the trials of a sweep, in words.

    Args:
        base: address of the server, unless the sweep is tracked by one.

    Returns:
        None if it has not run, or only with a version that prepared no view.
    """
    where = find_sweep(sweep) if sweep else None
    if sweep is None or where is None or Tag.VIEW not in Tracker(where).parent().data.tags:
        return None
    base = without_password(where.uri) if where.uri.startswith("http") else base
    page = trials_page(base, where.experiment_id, where.parent)
    return f"Trials of {sweep.name}, the best first: {page}"


def tracked_at(uri: str) -> str:
    """Where a tracking server is that somebody else runs, in words."""
    return f"The tracking server is at {without_password(uri)}"
