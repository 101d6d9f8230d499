"""Each line of the compose file, looked for in the process that was started from it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import composed
import running
from containers import Container
from stack import Stack

NOT_RUN = {
    "image": "no engine: stack.IMAGES says what stands for it",
    "build": "no engine; the Dockerfile's parts are in test_compose.py",
    "pull_policy": "no engine",
    "init": "no engine: nobody reaps orphans",
    "restart": "no engine: nobody starts a container again",
    "logging": "no engine: output goes to a file",
    "stop_grace_period": "no engine: containers are killed",
    "ports": "no engine publishes them; they are compared with the table of ports",
    "profiles": "all are on",
    "healthcheck.interval": "checked again at once",
    "healthcheck.timeout": "checked again at once",
    "healthcheck.retries": "checked again at once",
    "healthcheck.start_period": "checked again at once",
    "deploy.resources": "no cgroups are made",
}
"""Lines of a service that the processes do not exercise, with the reason."""


@dataclass(frozen=True)
class Line:
    """One line of a service, such as `command.3`, and the process that stands for it.

    Attributes:
        rest: its path below the service's key.
    """

    made: Stack
    name: str
    container: Container
    rest: str
    value: Any

    @property
    def service(self) -> Any:
        """All of the service."""
        return self.made.services[self.name]


def command(line: Line) -> bool:
    """A word of the command line; a program may stand there with its path."""
    said = running.arguments(line.container)
    return any(word == line.value or word.endswith(f"/{line.value}") for word in said)


def entrypoint(line: Line) -> bool:
    """As a command, or of a start that wrote the file it is there for and was replaced."""
    return command(line) or Path(f"/proc/{line.container.pid}/root/tmp/s3.json").exists()


def variable(line: Line) -> bool:
    """In the environment."""
    return f"{line.rest}={line.value}" in running.environment(line.container)


def user(line: Line) -> bool:
    """Real, effective, saved and of the file system."""
    status = running.status(line.container)
    uid, gid = line.value.split(":")
    return status["Uid"].split() == [uid] * 4 and status["Gid"].split() == [gid] * 4


def no_capability(line: Line) -> bool:
    """None, and none can be had."""
    status = running.status(line.container)
    return {int(status[f"Cap{kind}"], 16) for kind in ("Bnd", "Eff", "Prm", "Inh", "Amb")} == {0}


def no_new_privileges(line: Line) -> bool:
    """Not by a setuid program either."""
    return running.status(line.container)["NoNewPrivs"] == "1"


def read_only(line: Line) -> bool:
    """The root file system."""
    return running.mounted(line.container)["/"][1].startswith("ro,")


def tmpfs(line: Line) -> bool:
    """There, and of that size."""
    place, size = line.value.split(":mode=1777,size=")
    kind, options = running.mounted(line.container).get(place, ("", ""))
    return kind == "tmpfs" and f"size={kilobytes(size)}k" in options


def shared_memory(line: Line) -> bool:
    """Its size."""
    return f"size={kilobytes(line.value)}k" in running.mounted(line.container)["/dev/shm"][1]


def volume(line: Line) -> bool:
    """Mounted where it says, and only to be read where it says so."""
    _, target, *mode = line.value.split(":")
    _, options = running.mounted(line.container).get(target, ("", ""))
    return options.startswith("ro," if mode == ["ro"] else "rw,")


def network(line: Line) -> bool:
    """An address on each of its networks and on no other."""
    host, nets = line.container.spec.host, line.made.nets
    wanted = {nets.address(name, host) for name in composed.networks(line.service)}
    return running.addresses(line.container) == wanted


def workdir(line: Line) -> bool:
    """Of its first process."""
    return str(Path(f"/proc/{line.container.pid}/cwd").readlink()).endswith(str(line.value))


def dependency(line: Line) -> bool:
    """It was waited for."""
    return line.rest.split(".")[0] in line.made.waited[line.name]


def check(line: Line) -> bool:
    """Its test passed; when to repeat it is the engine's."""
    return line.rest.startswith("test") and line.name in line.made.healthy


def deployment(line: Line) -> bool:
    """As many containers, and the one that took a dead one's place."""
    started = [c for c in line.made.started if c.spec.name.startswith(f"{line.name}-")]
    return line.rest == "replicas" and len(started) == int(line.value) + 1


LOOKED_FOR: dict[str, Callable[[Line], bool]] = {
    "command": command,
    "entrypoint": entrypoint,
    "environment": variable,
    "user": user,
    "cap_drop": no_capability,
    "security_opt": no_new_privileges,
    "read_only": read_only,
    "tmpfs": tmpfs,
    "shm_size": shared_memory,
    "volumes": volume,
    "networks": network,
    "working_dir": workdir,
    "depends_on": dependency,
    "healthcheck": check,
    "deploy": deployment,
}


def is_seen(made: Stack, name: str, container: Container, path: str, value: Any) -> bool:
    """Whether the kernel, or what was waited for, shows one line of the compose file."""
    key, _, rest = path.partition(".")
    look = LOOKED_FOR.get(key)
    return look is not None and look(Line(made, name, container, rest, value))


def kilobytes(size: str) -> int:
    """`64m`, `2g` as the kernel prints it."""
    return int(size[:-1]) * {"m": 1024, "g": 1024**2}[size[-1]]
