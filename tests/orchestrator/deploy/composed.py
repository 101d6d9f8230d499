"""docker-compose.yml as Compose reads it: variables filled in, anchors merged, in order."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent.parent
FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / "orchestrator/deploy/env.example"

VARIABLE = re.compile(r"\$\{(?P<name>[A-Z0-9_]+)(?P<how>:-|:\?)(?P<text>[^}]*)\}")


class NotSetError(ValueError):
    """A variable that must be set is not."""


def interpolated(text: str, env: Mapping[str, str]) -> str:
    """`${NAME:-default}` and `${NAME:?message}`, the only two forms in use."""

    def value(found: re.Match[str]) -> str:
        if env.get(found["name"]):
            return env[found["name"]]
        if found["how"] == ":?":
            raise NotSetError(
                f"required variable {found['name']} is missing a value: {found['text']}"
            )
        return found["text"]

    return VARIABLE.sub(value, text)


def each_text(node: Any) -> Iterator[str]:
    """Every scalar of a document as text, keys left out."""
    if isinstance(node, dict):
        for value in node.values():
            yield from each_text(value)
    elif isinstance(node, list):
        for value in node:
            yield from each_text(value)
    else:
        yield str(node)


def _filled(node: Any, env: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {name: _filled(value, env) for name, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, env) for value in node]
    return interpolated(node, env) if isinstance(node, str) else node


def env_of(path: Path) -> dict[str, str]:
    """The variables of an env file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def secret_names() -> list[str]:
    """Names without a value in the example: the secrets."""
    return [name for name, value in env_of(EXAMPLE).items() if not value]


def raw() -> dict[str, Any]:
    """The file as YAML has it, variables not filled in."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def load(env: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables.

    Raises:
        NotSetError: a required one is empty.
    """
    found: dict[str, Any] = _filled(raw(), env)
    return found


@dataclass(frozen=True)
class Mount:
    """A volume of a service.

    Attributes:
        source: the name of a volume, or a path of this machine.
    """

    source: str
    target: str
    read_only: bool

    @property
    def named(self) -> bool:
        """Whether it is a volume and not a path."""
        return not self.source.startswith((".", "/"))


def mounts(service: Mapping[str, Any]) -> list[Mount]:
    """The volumes of a service, which are all in the short form."""
    found = []
    for text in service.get("volumes", []):
        source, target, *mode = text.split(":")
        found.append(Mount(source, target, mode == ["ro"]))
    return found


def networks(service: Mapping[str, Any]) -> dict[str, list[str]]:
    """Network -> further names of the service there."""
    listed = service["networks"]
    if isinstance(listed, list):
        return {name: [] for name in listed}
    return {name: list((more or {}).get("aliases", [])) for name, more in listed.items()}


def in_order(services: Mapping[str, Any]) -> list[str]:
    """Names of services, each behind those on which it depends."""
    found: list[str] = []

    def add(name: str) -> None:
        for other in services[name].get("depends_on", {}):
            add(other)
        if name not in found:
            found.append(name)

    for name in services:
        add(name)
    return found


def lines(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a document with its path, such as `head.command.3`."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from lines(value, f"{path}.{name}" if path else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from lines(value, f"{path}.{number}")
    else:
        yield path, node
