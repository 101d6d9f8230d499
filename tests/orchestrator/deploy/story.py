"""What happens to a cluster in its test: refused, run, hurt, mended; what was seen meanwhile."""

import json
import pickle
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
import composed
from programs import Seen
from running import at_work, sockets
from stack import Stack

HERE = Path(__file__).parent

LOTUS = ("lotus", "run", "/sweeps/sweep.yaml", "--address", "auto")
SWEEP_S = 600.0


@dataclass
class Story:
    """What happened to the cluster, in this order.

    Attributes:
        refused: how the sweep ended without a token, and with a wrong one.
        listening: container -> sockets while the sweep ran.
        answers: (container, port, what) -> answer without credentials, while it ran.
        code: exit code of the sweep.
        said: what it printed.
        scraped: Prometheus' own word on its targets; None without Prometheus.
    """

    stack: Stack
    refused: list[tuple[int, str]] = field(default_factory=list)
    listening: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    answers: dict[tuple[str, int, str], str] = field(default_factory=dict)
    code: int = -1
    said: str = ""
    seen: Seen = field(default_factory=Seen)
    bits: dict[str, Any] = field(default_factory=dict)
    places: tuple[str, str] = ("", "")
    scraped: list[str] | None = None


def without_a_token(told: Story) -> None:
    """Two shells beside the head: one has no token, the other a wrong one."""
    head = told.stack.running["head"]
    plain = {n: v for n, v in head.spec.env.items() if not n.startswith("RAY_AUTH")}
    wrong = {**head.spec.env, "RAY_AUTH_TOKEN": "0" * 40}
    shells = [
        subprocess.Popen(
            head.command((*LOTUS, "--set", f"name=refused-{number}"), env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, env in enumerate((plain, wrong))
    ]
    for shell in shells:
        said, _ = shell.communicate(timeout=SWEEP_S)
        told.refused.append((shell.returncode, said))


def with_one(told: Story) -> None:
    """The sweep; a worker at work is killed and another one takes its place."""
    made, head = told.stack, told.stack.running["head"]
    log = made.folder / "sweep.log"
    with log.open("wb") as out:
        driver = subprocess.Popen(head.command(LOTUS), stdout=out, stderr=subprocess.STDOUT)
        until(lambda: at_work(made.running["worker-cpu-2"]), driver, log)
        told.listening = {name: sockets(one) for name, one in made.running.items()}
        made.running.pop("worker-cpu-2").kill()
        made.start("worker-cpu", "worker-cpu-3")
        told.answers = answers(made, told.listening)
        told.code = driver.wait(SWEEP_S)
    told.said = log.read_text()
    made.wait_container("worker-cpu", "worker-cpu-3")
    done = subprocess.run(
        head.command(["python", str(HERE / "seen.py"), "/sweeps/sweep.yaml"]),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, told.said + done.stderr.decode()
    told.seen, told.bits, *places = pickle.loads(done.stdout)  # noqa: S301
    told.places = (places[0], places[1])


def until(seen: Callable[[], bool], driver: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for something while the sweep runs."""
    end = time.monotonic() + SWEEP_S
    while not seen():
        assert driver.poll() is None, f"it ended too early:\n{log.read_text()}"
        assert time.monotonic() < end, f"it does not happen:\n{log.read_text()}"
        time.sleep(0.1)


METHODS = {
    6379: [
        "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
        "/ray.rpc.InternalKVGcsService/InternalKVGet",
    ],
    6380: ["/ray.rpc.NodeManagerService/GetNodeStats"],
    6381: ["/ray.rpc.ObjectManagerService/Pull"],
    6383: ["/ray.rpc.ReporterService/GetTraceback", "/ray.rpc.LogService/ListLogs"],
    10001: ["/ray.rpc.RayletDriver/Init"],
    6382: ["/get_or_create_runtime_env"],
    52365: ["/logs", "/api/jobs/"],
    8265: ["/api/version", "/api/jobs/", "/nodes?view=summary", "/logs", "/api/prometheus/sd"],
    8333: ["/", "/stages/", "/artifacts/"],
    18333: ["/messaging_pb.SeaweedS3IamCache/ListPolicies"],
    5000: ["/", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/metrics", "/graphql"],
    5432: ["user mlflow", "user postgres"],
    9090: ["/api/v1/status/config"],
    8080: ["/metrics"],
    44217: ["/metrics"],
    44227: ["/metrics"],
}
"""Port -> what is asked there, besides Ray's workers."""

WORKER_METHOD = "/ray.rpc.CoreWorkerService/GetCoreWorkerStats"


def answers(
    made: Stack, listening: dict[str, set[tuple[str, int]]]
) -> dict[tuple[str, int, str], str]:
    """What every port that can be reached from outside its container answers without credentials.

    Each is asked from a neighbour: a Ray node's from MLflow's container, and so on.
    """
    found: dict[tuple[str, int, str], str] = {}
    for name, one in made.running.items():
        service = re.sub(r"-\d+$", "", name)
        network = [*composed.networks(made.services[service])][-1]
        asking = []
        for address, port in sorted(listening.get(name, ())):
            if address.startswith("127."):
                continue
            for what in METHODS.get(port, [WORKER_METHOD]):
                host = (
                    "mlflow" if service == "mlflow" else made.nets.address(network, one.spec.host)
                )
                asking.append((host, port, what))
        neighbour = made.running[{"prometheus": "prometheus", "head": "mlflow"}.get(name, "head")]
        if service == "postgres":
            neighbour = made.running["mlflow"]
        env = {
            n: v for n, v in made.running["head"].spec.env.items() if n in ("PATH", "PYTHONPATH")
        }
        done = neighbour.run(["python", str(HERE / "knocking.py"), json.dumps(asking)], env)
        said = json.loads(done.stdout.splitlines()[-1])
        still = {port for _, port in sockets(one)}  # Ray's workers come and go
        found |= {
            (name, port, what): said[n]
            for n, (_, port, what) in enumerate(asking)
            if port in METHODS or port in still
        }
    return found


def scraped(made: Stack) -> list[str] | None:
    """What Prometheus has reached; waits for three Ray nodes and the head's own two targets."""
    if "prometheus" not in made.running:
        return None
    ask = "import urllib.request as u; print(u.urlopen('http://metrics:9090/api/v1/targets').read().decode())"
    end = time.monotonic() + 300
    while True:
        done = made.running["prometheus"].run(["python", "-c", ask])
        targets = json.loads(done.stdout)["data"]["activeTargets"]
        up = [t["scrapeUrl"] for t in targets if t["health"] == "up"]
        ports = Counter(url.split(":")[2].split("/")[0] for url in up)
        if (ports["8080"] == 3 and len(ports) == 3) or time.monotonic() > end:
            return up
        time.sleep(1)
