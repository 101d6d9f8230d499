"""A sweep submitted to a real cluster with token authentication, from a machine that goes away."""

import json
import shutil
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from programs import (
    FAULTY,
    Program,
    assert_as_if_undisturbed,
    copy_of,
    environment,
    free_port,
    look,
    mlflow_server,
    ray_start,
)
from test_nodes import end, processes_with

pytestmark = pytest.mark.slow

HOST = "127.0.0.2"
TOKEN = "f3a9" * 16


@dataclass(frozen=True)
class Cluster:
    """One head node that wants a token, and a tracking server.

    Attributes:
        joined: HOST:PORT for `lotus run`.
        dashboard: for `lotus submit`.
        faults: a folder, see `programs.environment`.
        sessions: what Ray keeps on disk.
    """

    joined: str
    dashboard: str
    tracking: str
    database: Path
    token: Path
    faults: Path
    sessions: Path

    def laptop(self, **more: str) -> dict[str, str]:
        """The environment of a machine that has the token."""
        return environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(self.token)) | more


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Started once: a head node takes many seconds."""
    folder = tmp_path_factory.mktemp("cluster")
    token, faults = folder / "token", folder / "faults"
    token.write_text(TOKEN)
    faults.mkdir()
    gcs, dashboard, agent, client = (free_port() for _ in range(4))
    env = environment(
        faults,
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=str(token),
        LOTUS_TEST_NODE=str(folder),
        PYTHONPATH=str(FAULTY),  # the code is that which is submitted
    )
    # Ray's sockets lie below it, and their paths may not be long.
    sessions = Path(tempfile.mkdtemp(prefix="lr", dir="/tmp"))
    with mlflow_server(folder) as tracking:
        try:
            ray_start(
                "--head", f"--port={gcs}", f"--node-ip-address={HOST}", "--num-cpus=2",
                f"--dashboard-host={HOST}", f"--dashboard-port={dashboard}",
                f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}",
                f"--temp-dir={sessions}", env=env,
            )  # fmt: skip
            yield Cluster(
                f"{HOST}:{gcs}", f"http://{HOST}:{dashboard}", tracking, folder / "mlflow.db",
                token, faults, sessions,
            )  # fmt: skip
        finally:
            Program.end_all()
            end(processes_with(LOTUS_TEST_NODE=str(folder)))
            shutil.rmtree(sessions, ignore_errors=True)


def sent_copy(quiet: Path, folder: Path, cluster: Cluster) -> tuple[Path, Path]:
    """The quiet sweep as it is submitted, and as its results are read from here."""
    local = copy_of(quiet, folder)
    text = local.read_text()
    sent = folder / "sent.yaml"
    sent.write_text(text.replace(f"sqlite:///{folder}/mlflow.db", cluster.tracking))
    local.write_text(text.replace(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{cluster.database}"))
    return sent, local


def test_without_the_right_token_nothing_is_let_in_and_one_sentence_says_why(
    cluster: Cluster, finished_sweep: Path, tmp_path: Path
) -> None:
    sent, _ = sent_copy(finished_sweep, tmp_path / "own", cluster)
    home = tmp_path / "home"
    home.mkdir()
    wrong = tmp_path / "wrong"
    wrong.write_text("0123" * 16)
    there, joined = ("--address", cluster.dashboard), ("--address", cluster.joined)
    # A Ray that these tests have started themselves may have set the mode for this process.
    unset = {k: v for k, v in environment().items() if not k.startswith("RAY_AUTH")}
    unset |= {"HOME": str(home)}
    other = unset | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(wrong)}
    none = unset | {"RAY_AUTH_MODE": "token"}
    tried = [
        (("submit", *there), unset, "wants a token: set RAY_AUTH_MODE=token here"),
        (("run", *joined), unset, "wants a token: set RAY_AUTH_MODE=token here"),
        (("status", *there), other, f"does not accept the token in {wrong}"),
        (("stop", *there), none, "RAY_AUTH_MODE=token is set, but no token is here"),
        (("doctor", *joined), other, f"does not accept the token in {wrong}"),
    ]
    for i, ((command, *options), env, expected) in enumerate(tried):
        program = Program.start(tmp_path / f"log{i}", command, str(sent), *options, env=env)
        assert program.wait() == 1, program.said
        assert expected in " ".join(program.said.split())
        assert "Traceback" not in program.said
        assert "InvalidAuthToken" not in program.said


def test_a_submitted_sweep_goes_on_without_the_laptop_is_followed_stopped_and_continued(
    cluster: Cluster, finished_sweep: Path, tmp_path: Path
) -> None:
    sent, local = sent_copy(finished_sweep, tmp_path / "own", cluster)
    (cluster.faults / "dense.1.hang").touch()

    def lotus(log: str, command: str, *args: str) -> Program:
        there = ("--address", cluster.dashboard)
        env = cluster.laptop(MLFLOW_TRACKING_PASSWORD="pw-Qx81kkZ", AWS_SECRET_ACCESS_KEY="k-Zz81")
        return Program.start(tmp_path / log, command, str(sent), *there, *args, env=env)

    laptop = lotus("first", "submit", "--no-report")
    laptop.until(lambda: not list(cluster.faults.iterdir()))
    laptop.kill()
    state = lotus("status", "status", "--json")
    assert state.wait() == 0, state.said
    (row,) = json.loads(state.said)
    job = row["job"]["id"]
    assert (row["job"]["status"], row["planned"]) == ("RUNNING", 3)
    again = lotus("again", "submit", "--no-report")
    again.until(lambda: "trials to run" in again.said)
    assert f"runs already, job {job}: RUNNING" in again.said
    other = lotus("other", "submit", "--no-report", "--set", "retry.max_failures=1")
    assert other.wait() == 1
    assert "runs already, with another sweep file" in other.said
    again.process.send_signal(signal.SIGINT)
    assert again.wait(120) == 130
    assert "No longer followed; the job goes on." in again.said
    assert f"lotus stop {sent} --address {cluster.dashboard}" in again.said
    assert "RUNNING" in look(local).statuses
    stop = lotus("stop", "stop")
    assert stop.wait() == 0, stop.said
    assert "ended cleanly" in stop.said
    assert "RUNNING" not in look(local).statuses
    last = lotus("last", "submit", "--no-report")
    assert last.wait() == 0, last.said
    assert f"submitted as job {job.rsplit('-', 1)[0]}-2" in last.said
    assert_as_if_undisturbed(local, finished_sweep)
    for secret in (TOKEN, "pw-Qx81kkZ", "k-Zz81"):
        assert secret not in jobs_of(cluster)
        assert not holders(secret, cluster.sessions, tmp_path / "own"), secret
    for program in (laptop, again, stop, last):
        assert "Traceback" not in program.said


def jobs_of(cluster: Cluster) -> str:
    """Everything that the dashboard tells of its jobs."""
    request = urllib.request.Request(
        f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text: str = answer.read().decode()
    assert '"lotus.sweep": "tiny"' in text
    return text


def holders(secret: str, *folders: Path) -> list[Path]:
    """Files that hold a text."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        try:
            if path.is_file() and secret.encode() in path.read_bytes():
                found.append(path)
        except OSError:
            continue
    return found
