"""Containers without an engine: what a compose file says of one, done with Linux namespaces.

A container is a process in namespaces of its own (network, mounts, processes, IPC, host name) over
this machine's file system, read-only, with the volumes, users, capabilities and names that the
compose file gives it. Networks are bridges in a namespace that nothing else is connected to. Needs
root; nothing of it is left when its processes are gone.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bridges import TIED, Networks, namespace, until
from composed import ROOT

PATH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What stands for the images' own: the locked packages and this machine's programs."""

SPACES = ("--mount", "--net", "--pid", "--ipc", "--uts")


HIDDEN = ("/tmp", "/run/postgresql")
"""Where the compose file gives every service an empty folder of its own."""


def why_not() -> str | None:
    """Why no container can be had here, None when it can."""
    if missing := [p for p in ("unshare", "nsenter", "setpriv", "ip") if not shutil.which(p)]:
        return f"{', '.join(missing)} of util-linux and iproute2 are not installed"
    if os.geteuid():
        return "only root may make namespaces with other users in them"
    for place in (ROOT, sys.prefix, sys.base_prefix):
        if os.stat(place).st_dev != os.stat("/").st_dev:
            return f"{place} lies on another file system than /, which is all that a container sees"
        if hidden := [one for one in HIDDEN if Path(place).is_relative_to(one)]:
            return f"{place} lies below {hidden[0]}, which is empty in a container"
    folder = tempfile.mkdtemp(prefix="lotus-overlay-")
    trial = (
        f"mount -t tmpfs none {folder} && cd {folder} && mkdir u w r && "
        "mount -t overlay none -o lowerdir=/,upperdir=u,workdir=w r && "
        "ip link add name lotus0 type bridge"
    )
    command = ["unshare", *SPACES, "--fork", "sh", "-c", trial]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    os.rmdir(folder)
    return f"no namespaces: {done.stderr.strip()[:200]}" if done.returncode else None


@dataclass(frozen=True)
class Spec:
    """What a container is to be.

    Attributes:
        user: uid:gid.
        account: the user's name in the image.
        binds: (path of this machine, path inside, read-only).
        tmpfs: path inside -> mount options.
        hosts: name -> address.
    """

    name: str
    host: int
    command: Sequence[str]
    env: Mapping[str, str]
    user: str
    account: str
    networks: Sequence[str]
    hosts: Mapping[str, str]
    binds: Sequence[tuple[Path, str, bool]] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    shm: str = "64m"
    workdir: str = "/"
    read_only: bool = True


@dataclass
class Container:
    """A running one.

    Attributes:
        pid: of its first process, as this machine counts.
    """

    spec: Spec
    log: Path
    process: subprocess.Popen[bytes]
    pid: int

    @classmethod
    def start(cls, spec: Spec, nets: Networks, folder: Path) -> "Container":
        """Start it; its output goes to a file in the folder."""
        log = folder / f"{spec.name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*TIED, "unshare", *SPACES, "--fork", "--kill-child", "bash", "-ec", _script(spec)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(spec.env),
                start_new_session=True,
            )
        until(lambda: namespace(process.pid, "uts") != namespace(os.getpid(), "uts"))
        until(lambda: _children(process.pid) != [])
        nets.plug(process.pid, spec.host, spec.networks)
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
        return cls(spec, log, process, _children(process.pid)[0])

    def command(self, args: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
        """What runs a program inside, as the container's user, with its environment or another."""
        enter = ["nsenter", "--target", str(self.pid), *SPACES, "--root", "--"]
        there = ["env", "--ignore-environment", f"--chdir={self.spec.workdir}"]
        variables = [f"{name}={value}" for name, value in (env or self.spec.env).items()]
        return [*enter, *_dropped(self.spec.user), *there, *variables, *args]

    def run(
        self, args: Sequence[str], env: Mapping[str, str] | None = None, timeout_s: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end, what it prints in one text."""
        return subprocess.run(
            self.command(args, env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @property
    def said(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def processes(self) -> list[int]:
        """All of them, as this machine counts."""
        mine = namespace(self.pid, "pid")
        found = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in found if mine and namespace(pid, "pid") == mine]

    def kill(self) -> None:
        """SIGKILL to all of it at once, as when a machine is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(30)


def _script(spec: Spec) -> str:
    """What makes the file system and becomes the container's program."""
    base = "/run"  # as this mount namespace alone sees it
    root = f"{base}/root"
    steps = [
        "read -r _ </dev/stdin",
        f"hostname {spec.name}",
        f"mount -t tmpfs tmpfs {base}",
        f"mkdir {base}/upper {base}/work {root}",
        f"mount -t overlay overlay -o lowerdir=/,upperdir={base}/upper,workdir={base}/work {root}",
        f"chmod a+rx {' '.join(shlex.quote(root + str(p)) for p in _ancestors())}",
        f"mkdir -p {root}/proc {root}/dev {root}/tmp {shlex.quote(root + spec.workdir)}",
    ]
    for path in (*spec.tmpfs, *(target for _, target, _ in spec.binds)):
        steps.append(_mountpoint(root, path, spec))
    account = f"{spec.account}:x:{spec.user}::{spec.env.get('HOME', '/')}:/bin/sh"
    names = "".join(f"{address} {name}\\n" for name, address in spec.hosts.items())
    steps += [
        f"printf '127.0.0.1 localhost\\n{names}' > {root}/etc/hosts",
        f"echo nameserver 127.0.0.1 > {root}/etc/resolv.conf",  # nobody: a 'no' at once, no wait
        f"echo '{account}' >> {root}/etc/passwd",
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount -t tmpfs -o mode=1777,size={spec.shm} shm {root}/dev/shm",
        f"mount -o remount,ro {root}" if spec.read_only else ":",
    ]
    for path in sorted([*spec.tmpfs, *(target for _, target, _ in spec.binds)]):
        steps += _mounted(root, path, spec)
    command = shlex.join([*_dropped(spec.user), *spec.command])
    steps.append(f"exec chroot {root} sh -c {shlex.quote(f'cd {spec.workdir} && exec {command}')}")
    return "\n".join(steps)


def _ancestors() -> list[Path]:
    """Folders that the container's user must be able to enter: this one's may be root's alone."""
    prefix = Path(sys.executable).resolve()
    found = {p for start in (ROOT / "x", prefix, Path(sys.executable)) for p in start.parents}
    return sorted(found - {Path("/")})


def _mountpoint(root: str, path: str, spec: Spec) -> str:
    """Make the place at which something is mounted; those below another mount are made there."""
    source = next((s for s, target, _ in spec.binds if target == path), None)
    place = shlex.quote(root + path)
    if source is not None and source.is_file():
        return f"mkdir -p $(dirname {place}); touch {place}"
    return f"mkdir -p {place}"


def _mounted(root: str, path: str, spec: Spec) -> list[str]:
    place = shlex.quote(root + path)
    if path in spec.tmpfs:
        return [f"mount -t tmpfs -o {spec.tmpfs[path]} tmpfs {place}"]
    source, read_only = next((s, ro) for s, target, ro in spec.binds if target == path)
    steps = [
        f"test -e {place} || mkdir -p {place}",  # below a tmpfs that was mounted just before
        f"mount --bind {shlex.quote(str(source))} {place}",
    ]
    if read_only:
        steps.append(f"mount -o remount,bind,ro {place}")
    return steps


def _dropped(user: str) -> list[str]:
    """Another user without any capability, who cannot get one."""
    uid, gid = user.split(":")
    return [
        "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--inh-caps=-all",
        "--bounding-set=-all", "--no-new-privs", "--",
    ]  # fmt: skip


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(word) for word in text.split()]


@contextlib.contextmanager
def ended(started: list[Container], nets: Networks) -> Iterator[None]:
    """Nothing that was started outlives this block."""
    try:
        yield
    finally:
        for container in reversed(started):
            container.kill()
        nets.close()
