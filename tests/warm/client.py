"""Stands in for `python`: the same arguments, and a process that is forked instead of started.

Runs under `python -I -S`, so it is there in milliseconds. It stays until the process ends, passes
signals on, and ends with its exit code; if it is killed, the process ends too.
"""

import array
import contextlib
import json
import os
import resource
import signal
import socket
import struct
import sys

LIMITS = ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC")

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT)


def itself() -> dict[str, object]:
    """What a forked process could not change: it has to be as in the server."""
    spaces = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "user")}
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS}
    return {
        "spaces": spaces,
        "limits": {name: list(pair) for name, pair in limits.items()},
        "user": [os.getuid(), os.getgid(), os.geteuid(), os.getegid()],
    }


def ask(real: str, address: str) -> int:
    """The exit code of the process; does not return where the real Python has to run."""
    asked = {
        "argv": sys.argv[1:],
        "env": dict(os.environ),
        "cwd": os.getcwd(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "oom": _read("/proc/self/oom_score_adj"),
        "pid": os.getpid(),
        **itself(),
    }
    if any(os.isatty(number) for number in (0, 1, 2)):
        itself_runs(real)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    try:
        server.connect(address)
        text = json.dumps(asked).encode()
        fds = array.array("i", (0, 1, 2))
        server.sendmsg(
            [struct.pack("!I", len(text))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        )
        server.sendall(text)
        answer = server.makefile("r").readline()
    except OSError:
        itself_runs(real)
    if not answer.startswith("pid "):
        itself_runs(real)
    process = int(answer.split()[1])
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: _pass_on(process, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    told = server.makefile("r").readline()
    code = int(told or 1)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _pass_on(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGINT:  # what a terminal does: for all that it started
            os.killpg(process, number)
        else:
            os.kill(process, number)


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path) as file:
        return file.read().strip()
    return "0"


def itself_runs(real: str) -> None:
    """The real Python instead of this one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    os.execv(real, [real, *sys.argv[1:]])
