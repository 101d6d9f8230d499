"""What the kernel says of running containers: sockets, mounts, identity, arguments."""

import ipaddress
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from composed import ROOT
from containers import Container

TABLE = ROOT / "orchestrator/deploy/README.md"
LISTENING = "0A"


@dataclass(frozen=True)
class Port:
    """A row of the table of ports, for one service.

    Attributes:
        where: `published`, `container`, or the name of a network.
        asks: what it answers to somebody without credentials; `open` = it serves.
    """

    service: str
    first: int
    last: int
    where: str
    asks: str

    def has(self, port: int) -> bool:
        """Whether it is one of these."""
        return self.first <= port <= self.last


def listed() -> list[Port]:
    """The table of ports."""
    found = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and re.fullmatch(r"\d+(-\d+)?", cells[1]):
            first, _, last = cells[1].partition("-")
            for service in cells[0].split(", "):
                found.append(Port(service, int(first), int(last or first), cells[3], cells[4]))
    return found


def sockets(container: Container) -> set[tuple[str, int]]:
    """(address, port) on which anything in a container listens; `*` = on all addresses."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{container.pid}/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == LISTENING:
                address, port = local.split(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """As the kernel prints it: words of four bytes, each turned round."""
    raw = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    found = ipaddress.ip_address(raw)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return "*" if found.is_unspecified else str(found)


def addresses(container: Container) -> set[str]:
    """Addresses of a container, loopback left out."""
    command = ["nsenter", "--target", str(container.pid), "--net", "ip", "-4", "-o", "addr"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(re.findall(r"inet (198[\d.]+)/", done.stdout))


def arguments(container: Container) -> list[str]:
    """Of its first process."""
    return _words(container, "cmdline")


def environment(container: Container) -> list[str]:
    """`NAME=value` of its first process."""
    return _words(container, "environ")


def _words(container: Container, name: str) -> list[str]:
    return Path(f"/proc/{container.pid}/{name}").read_bytes().decode().split("\0")[:-1]


def status(container: Container) -> dict[str, str]:
    """Identity and rights of its first process."""
    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def mounted(container: Container) -> dict[str, tuple[str, str]]:
    """Place -> (type, all options), as its first process sees them."""
    found = {}
    for line in Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines():
        first, _, second = line.partition(" - ")
        _, _, _, _, place, options, *_ = first.split()
        kind, _, more = second.split(maxsplit=2)
        found[place] = (kind, f"{options},{more}")
    return found


def at_work(container: Container) -> bool:
    """Whether a process of a Ray node runs an item of a sweep."""
    for pid in container.processes:
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::ImplicitFunc.train"):
            return True
    return False
