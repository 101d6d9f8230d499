"""Several hosts on one machine, as network namespaces; one worker is cut off for 30 s."""

import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from programs import (
    STAGES,
    Program,
    assert_as_if_undisturbed,
    copy_of,
    environment,
    mlflow_server,
    ray_start,
)
from test_nodes import at_work, end, processes_with

pytestmark = pytest.mark.slow

CUT_S = 30.0
GCS = "10.77.0.1:6379"
TRACKING = "10.77.0.1:5000"


def ip(*args: str) -> None:
    """`ip ...`"""
    subprocess.run(["ip", *args], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Hosts:
    """A head and two workers, each with a network of its own, joined by a bridge in the head's.

    Nothing leads out of them: no packet reaches the machine's own network.
    """

    names: tuple[str, ...]

    def within(self, host: int) -> list[str]:
        """What runs a command on one of them; 0 is the head."""
        return ["ip", "netns", "exec", self.names[host]]

    def link(self, host: int, state: str) -> None:
        """Pull a worker's plug, or put it back."""
        ip("-n", self.names[0], "link", "set", f"port{host}", state)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Made here, and gone afterwards; skips where they may not be made."""
    own = uuid.uuid4().hex[:6]
    found = Hosts(tuple(f"lotus{own}n{i}" for i in range(3)))
    try:
        ip("netns", "add", found.names[0])
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", "") or error
        pytest.skip(f"network namespaces cannot be made here: {why}")
    try:
        head = found.names[0]
        ip("-n", head, "link", "set", "lo", "up")
        ip("-n", head, "link", "add", "bridge", "type", "bridge")
        ip("-n", head, "addr", "add", "10.77.0.1/24", "dev", "bridge")
        ip("-n", head, "link", "set", "bridge", "up")
        for i, name in enumerate(found.names[1:], start=1):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", head, "link", "add", f"port{i}", "type", "veth",
               "peer", "name", "eth0", "netns", name)  # fmt: skip
            ip("-n", head, "link", "set", f"port{i}", "master", "bridge", "up")
            ip("-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield found
    finally:
        for name in found.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def raylets(mark: str) -> list[psutil.Process]:
    """The living raylets of a node."""
    return [one for one in processes_with(LOTUS_TEST_NODE=mark) if "raylet" in one.name()]


def test_a_worker_that_is_cut_off_for_30_s_and_comes_back_changes_no_result(
    hosts: Hosts, finished_sweep: Path, tmp_path: Path
) -> None:
    path = copy_of(finished_sweep, tmp_path / "own")
    text = path.read_text()
    sent = tmp_path / "sent.yaml"
    sent.write_text(text.replace(f"sqlite:///{tmp_path}/own/mlflow.db", f"http://{TRACKING}"))
    marks = [f"{tmp_path} {i}" for i in range(3)]
    token = tmp_path / "token"
    token.write_text("5ec2" * 16)
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    head = hosts.within(0)
    sessions = tempfile.mkdtemp(prefix="lr", dir="/tmp")  # paths of sockets must be short

    faults = tmp_path / "faults"
    faults.mkdir()
    for stage in STAGES:
        (faults / f"{stage}.1.slow").touch()

    def join(i: int) -> None:
        env = environment(faults if i == 1 else None, LOTUS_TEST_NODE=marks[i], **auth)
        where = ("--num-cpus=1", f"--address={GCS}", f"--node-ip-address=10.77.0.{i + 1}")
        ray_start(*where, env=env, within=hosts.within(i))

    with mlflow_server(tmp_path / "own", TRACKING, head):
        try:
            ray_start(
                "--head", "--port=6379", "--node-ip-address=10.77.0.1", "--num-cpus=0",
                "--include-dashboard=false", f"--temp-dir={sessions}",
                env=environment(LOTUS_TEST_NODE=marks[0], **auth), within=head,
            )  # fmt: skip
            join(1)
            join(2)
            program = Program.start(
                tmp_path / "log", "run", str(sent), "--no-report", "--address", GCS,
                env=environment(**auth), within=head,
            )  # fmt: skip
            # It works on something for longer than it is cut off, once.
            program.until(lambda: len(list(faults.iterdir())) < len(STAGES))
            for fault in faults.iterdir():
                fault.unlink()
            assert at_work(marks[1])
            hosts.link(1, "down")
            cut = time.monotonic()
            program.until(lambda: time.monotonic() > cut + CUT_S)
            hosts.link(1, "up")
            # A node that was given up ends itself; whoever runs it starts it again.
            back = time.monotonic()
            while program.process.poll() is None:
                if not raylets(marks[1]):
                    end(processes_with(LOTUS_TEST_NODE=marks[1]))  # some outlive their raylet
                    join(1)
                time.sleep(1)
            assert program.wait() == 0, program.said
            print(f"ended {time.monotonic() - back:.0f} s after it came back\n{program.said}")
        finally:
            Program.end_all()
            for mark in marks:
                end(processes_with(LOTUS_TEST_NODE=mark))
            shutil.rmtree(sessions, ignore_errors=True)
    assert "Traceback" not in program.said
    assert_as_if_undisturbed(path, finished_sweep)
