"""Networks without an engine: bridges in a namespace to which nothing else is connected."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

START_S = 60.0

TIED = ("setpriv", "--pdeathsig", "KILL", "--")
"""Before a command: it ends when the one that started it does, however that was."""


@dataclass
class Networks:
    """Bridges by name, in one namespace of their own."""

    holder: subprocess.Popen[bytes]
    numbers: dict[str, int]

    @classmethod
    def make(cls, names: Sequence[str]) -> "Networks":
        """One bridge for each name; none is connected to another or to this machine."""
        holder = subprocess.Popen(
            [*TIED, "unshare", "--net", "sleep", "infinity"], start_new_session=True
        )
        made = cls(holder, {name: 10 + number for number, name in enumerate(names)})
        until(lambda: namespace(holder.pid, "net") != namespace(os.getpid(), "net"))
        made.run("echo 0 > /proc/sys/net/ipv4/ip_forward")
        for number in made.numbers.values():
            made.run(f"ip link add br{number} type bridge && ip link set br{number} up")
            made.run(f"ip addr add 198.18.{number}.1/24 dev br{number}")
        return made

    def address(self, network: str, host: int) -> str:
        """Of a container, by its number."""
        return f"198.18.{self.numbers[network]}.{host}"

    def run(self, script: str, pid: int | None = None) -> None:
        """A shell line in the namespace of the bridges, or of a container."""
        target = str(pid or self.holder.pid)
        command = ["nsenter", "--target", target, "--net", "sh", "-ec", script]
        subprocess.run(command, check=True)

    def plug(self, pid: int, host: int, networks: Sequence[str]) -> None:
        """Connect a container; its way out is the first network's, which leads nowhere."""
        script = ["ip link set lo up"]
        for name in networks:
            number = self.numbers[name]
            link, inside = f"v{number}x{host}", f"eth{number}"
            self.run(
                f"ip link del {link} 2>/dev/null || true; "
                f"ip link add {link} type veth peer name {inside} netns {pid}; "
                f"ip link set {link} master br{number} up"
            )
            script.append(f"ip addr add {self.address(name, host)}/24 dev {inside}")
            script.append(f"ip link set {inside} up")
        script.append(f"ip route add default via 198.18.{self.numbers[networks[0]]}.1")
        self.run("; ".join(script), pid)

    def close(self) -> None:
        """All links end with it."""
        self.holder.kill()
        self.holder.wait()


def namespace(pid: int, kind: str) -> str:
    """Which one a process is in, empty when it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def until(seen: Callable[[], bool]) -> None:
    """Wait for something that takes no time."""
    end = time.monotonic() + START_S
    while not seen():
        assert time.monotonic() < end, "no namespace came up"
        time.sleep(0.01)
