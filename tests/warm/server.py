"""Imports what is slow to import, then forks a process for everyone who asks; see `__init__.py`.

    python server.py FOLDER RUN

FOLDER holds the launcher, `python`, and gets the socket; it is removed at the end, which is that of
the test run, a process. What was forked goes on. It imports nothing of this project.
"""

import array
import contextlib
import gc
import json
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SLOW = (
    "numpy", "pandas", "scipy.stats", "pydantic", "sqlalchemy", "altair",
    "torch", "torchvision", "timm", "safetensors.torch", "mlflow", "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_store",
    "flask", "fastapi", "uvicorn", "graphene",
    "aiohttp.web", "aiohttp_cors", "grpc.aio", "opencensus.stats.stats",
    "opentelemetry.sdk.metrics", "prometheus_client", "rich.console", "fsspec",
)  # fmt: skip

KNOWS_FORKS = "jemalloc_bg_thd"
"""A thread of pyarrow's allocator, which takes care of forks itself."""

SETTINGS = (
    "LOTUS_TEST", "PYTHON", "LC_", "LANG", "OMP_", "MKL_", "OPENBLAS_", "KMP_", "CUDA_", "TORCH_",
    "MLFLOW_", "LD_", "MALLOC_",
)  # fmt: skip
"""So begin the names of what libraries read of the environment when they are imported, or what is
looked for in the environment of a process. Ray is imported after the fork."""

READ_LATER = frozenset([
    # followed here
    "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONSAFEPATH", "OMP_NUM_THREADS",
    "LOTUS_TEST_FAULTS", "LOTUS_TEST_CLOCK",
    # looked for in the environment of processes: the client has it, and lives as long
    "LOTUS_TEST", "LOTUS_TEST_NODE",
    # set by the product itself, after the imports
    "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_ENABLE_WORKSPACES",
    "MLFLOW_SERVER_SECRETS_CACHE_MAX_SIZE", "MLFLOW_SERVER_SECRETS_CACHE_TTL",
    "MLFLOW_SERVER_X_FRAME_OPTIONS", "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_HTTP_REQUEST_TIMEOUT",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT",
    # asked for at each use
    "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_S3_ENDPOINT_URL", "PYTHONBREAKPOINT",
    # by what is imported after the fork
    "MLFLOW_AUTH_CONFIG_PATH", "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
])  # fmt: skip
"""But these are not."""


def import_all() -> None:
    """Import, and see that nothing runs yet that a fork would lose."""
    for name in SLOW:
        with contextlib.suppress(ImportError):
            __import__(name)
    tasks = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    others = [name for name in tasks[1:] if name != KNOWS_FORKS]
    if others:
        raise RuntimeError(f"{others} run after the imports: a fork would lose them")


def settings(env: dict[str, str]) -> dict[str, str]:
    """What has to be as it was when the libraries were imported."""
    return {
        name: value
        for name, value in env.items()
        if name.startswith(SETTINGS)
        and name not in READ_LATER
        and not (name == "LD_PRELOAD" and not value)
        and not (name == "PYTHONIOENCODING" and value.lower().startswith("utf-8"))
    }


@dataclass(frozen=True)
class Program:
    """What a command line asks Python to run.

    Attributes:
        what: a module, the path of a script, or code.
        kind: which of them: `-m`, `script` or `-c`.
        env: added to the environment.
        folder: where it is started; None = where it was asked for.
        safe: nothing is imported from the working directory or the script's.
    """

    what: str
    kind: str
    args: list[str]
    env: dict[str, str]
    safe: bool
    unbuffered: bool
    folder: str | None = None


def program(argv: list[str]) -> Program | None:
    """What is asked for; None = nothing for this server."""
    rest = list(argv)
    flags = {"-P": False, "-u": False}
    while rest and rest[0] in flags:
        flags[rest.pop(0)] = True
    env: dict[str, str] = {}
    folder = None
    if rest and rest[0].endswith("ray/_private/workers/setup_worker.py"):
        del rest[0]
        if (prepared := _prepared(rest)) is None:
            return None
        env, folder = prepared
    how = (env, flags["-P"], flags["-u"], folder)
    if rest[:1] == ["-c"] or (rest[:1] == ["-m"] and rest[1] in MODULES):
        return Program(rest[1], rest[0], rest[2:], *how)
    if rest and rest[0].endswith(SCRIPTS):
        return Program(rest[0], "script", rest[1:], *how)
    return None


def _prepared(rest: list[str]) -> tuple[dict[str, str], str | None] | None:
    """Environment and folder that a job's worker gets, by what Ray adds to its command line.

    Its options are removed from there. None = only Ray can prepare it, or it has to be its raylet's
    child, as the supervisor of a job, whose program looks for a raylet among the processes above.
    """
    context: dict[str, Any] = {}
    for option in [one for one in rest if one.startswith(RAYS_OWN)]:
        rest.remove(option)
        if option.startswith(RAYS_OWN[0]):
            context = json.loads(option.removeprefix(RAYS_OWN[0]))
    env = context.get("env_vars") or {}
    before = context.get("command_prefix") or ["cd", None, "&&"]
    supervisor = any(name.startswith("RAY_EXPERIMENTAL_NOSET_") for name in env)
    changes_folder = [before[0], *before[2:]] == ["cd", "&&"]
    if context.get("override_worker_entrypoint") or not changes_folder or supervisor:
        return None
    return env, before[1]


MODULES = ("orchestrator.cli", "mlflow", "uvicorn", "ray.util.client.server")

AUTOSCALER = "ray/autoscaler/_private/monitor.py"

SCRIPTS = (
    "tests/warm/ray_command.py",
    "ray/_private/workers/default_worker.py",
    "ray/dashboard/agent.py",
    "ray/_private/runtime_env/agent/main.py",
    "ray/_private/log_monitor.py",
    AUTOSCALER,
    "ray/dashboard/dashboard.py",
)
"""Ray's command, its workers, and what else of Python a node has."""

RAYS_OWN = ("--serialized-runtime-env-context=", "--language=")
"""What Ray tells the program that prepares a worker, and not the worker."""


def workers_by(launcher: str) -> None:
    """Let every Ray that this process starts have its workers from a server."""
    from ray._private import services

    start = services.start_raylet

    def started(*args: Any, **named: Any) -> Any:
        real, sys.executable = sys.executable, launcher
        try:
            return start(*args, **named)
        finally:
            sys.executable = real

    services.start_raylet = started


class WhenRayIsImported(MetaPathFinder):
    """`workers_by`, where Ray is imported at all: that takes most of a second."""

    def __init__(self, launcher: str) -> None:
        self.launcher = launcher

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Of the module that is changed."""
        if name != "ray._private.services":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            raise ImportError(f"there is no {name}")
        load = spec.loader.exec_module

        def loaded(module: Any) -> None:
            load(module)
            workers_by(self.launcher)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


class Server:
    """Forks on demand, and tells who asked how the process has ended."""

    def __init__(self, address: str, run: int, same: dict[str, Any], own: dict[str, str]) -> None:
        self.same, self.own = same, own
        self.forks = Path(address).with_name("forks")
        self.forks.mkdir()
        self.run = os.pidfd_open(run)
        self.waiting: dict[int, socket.socket] = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(address)
        self.listener.listen(64)
        self.woken, wake = socket.socketpair()
        self.woken.setblocking(False)
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())
        self.wake = wake

    def serve(self) -> tuple[dict[str, Any], list[int]] | None:
        """None when the server is to end; in a forked process what was asked of it."""
        looked = selectors.DefaultSelector()
        for one in (self.listener, self.woken, self.run):
            looked.register(one, selectors.EVENT_READ)
        while True:
            for key, _ in looked.select():
                if key.fileobj is self.woken:
                    self._reap()
                elif key.fileobj is self.listener:
                    if (found := self._answer()) is not None:
                        looked.close()
                        return found
                else:
                    return None

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.woken.recv(4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                process, status = ended
                conn = self.waiting.pop(process)
                print("ended", process, os.waitstatus_to_exitcode(status), flush=True)
                with contextlib.suppress(OSError):
                    conn.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                conn.close()

    def _answer(self) -> tuple[dict[str, Any], list[int]] | None:
        conn, _ = self.listener.accept()
        conn.settimeout(10)
        try:
            asked, fds = receive(conn)
        except (OSError, ValueError, struct.error):
            conn.close()
            return None
        if why := self._refuses(asked):
            print(f"no: {why}: {asked['argv']}", flush=True)
            with contextlib.suppress(OSError):
                conn.sendall(f"no: {why}\n".encode())
            conn.close()
            for fd in fds:
                os.close(fd)
            return None
        process = os.fork()
        if process == 0:
            signal.set_wakeup_fd(-1)
            for one in (self.listener, self.woken, self.wake, conn, *self.waiting.values()):
                one.close()
            os.close(self.run)
            return asked, fds
        (self.forks / str(asked["pid"])).write_text(str(process))
        conn.sendall(f"pid {process}\n".encode())
        self.waiting[process] = conn
        for fd in fds:
            os.close(fd)
        return None

    def _refuses(self, asked: dict[str, Any]) -> str | None:
        if program(asked["argv"]) is None:
            return "another program"
        if odd := [name for name, value in self.same.items() if asked[name] != value]:
            return f"other {odd}"
        theirs = settings(asked["env"])
        odd = sorted(name for name, _ in theirs.items() ^ self.own.items())
        return f"other {odd}" if odd else None


def receive(conn: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What a client asks, and its standard input, output and error."""
    fds = array.array("i")
    head, extra, _, _ = conn.recvmsg(4, socket.CMSG_SPACE(3 * fds.itemsize))
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    size, text = struct.unpack("!I", head)[0], b""
    while len(text) < size:
        part = conn.recv(size - len(text))
        if not part:
            raise OSError("the client has ended")
        text += part
    return json.loads(text), list(fds)


def become(asked: dict[str, Any], fds: list[int]) -> None:
    """Be the process that was asked for, from here to its end."""
    os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    for name in ("SIGCHLD", "SIGPIPE"):
        signal.signal(
            getattr(signal, name), signal.SIG_DFL if name == "SIGCHLD" else signal.SIG_IGN
        )
    wanted = program(asked["argv"])
    if wanted is None:
        raise ValueError(f"not for us: {asked['argv']}")
    os.environ.clear()
    os.environ.update(asked["env"] | wanted.env)
    os.chdir(wanted.folder or asked["cwd"])
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, asked["nice"])
        Path("/proc/self/oom_score_adj").write_text(asked["oom"])
    tempfile.tempdir = None
    random.seed()
    time.tzset()
    if wanted.unbuffered or "PYTHONUNBUFFERED" in os.environ:
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    if threads := os.environ.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    # A server's own processes end with it, as they do when somebody kills all that he has started.
    _follow(asked["pid"], os.killpg if wanted.what == "mlflow" else os.kill)
    sys.orig_argv[:] = [sys.executable, *asked["argv"]]
    _run(wanted)


def _run(wanted: Program) -> None:
    """What Python does with a command line."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*paths, *PATH]
    if not wanted.safe and "PYTHONSAFEPATH" not in os.environ:
        here = os.path.dirname(wanted.what) if wanted.kind == "script" else os.getcwd()
        sys.path.insert(0, here)
    sys.argv[:] = ["-c" if wanted.kind == "-c" else wanted.what, *wanted.args]
    sys.modules.pop("sitecustomize", None)
    with contextlib.suppress(ImportError):
        import sitecustomize  # noqa: F401, the faults of a test
    # Ray's autoscaler starts nodes, and MLflow's command its server.
    if wanted.what in ("mlflow", "uvicorn") or wanted.what.endswith(AUTOSCALER):
        sys.executable = LAUNCHER[0]
    elif wanted.kind != "script":
        sys.meta_path.insert(0, WhenRayIsImported(LAUNCHER[0]))
    if wanted.kind == "script":
        runpy.run_path(wanted.what, run_name="__main__")
    elif wanted.kind == "-m":
        runpy.run_module(wanted.what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(wanted.what, "<string>", "exec"), vars(sys.modules["__main__"]))


def _follow(client: int, end: Callable[[int, int], None]) -> None:
    """End when the client has been killed: whoever kills it means this process."""

    def watch() -> None:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(client)
            with selectors.DefaultSelector() as looked:
                looked.register(pidfd, selectors.EVENT_READ)
                looked.select()
        end(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="follows its client").start()


PATH: list[str] = []
LAUNCHER: list[str] = []


def main() -> None:
    """Import, serve; in a forked process, be it."""
    folder, run = Path(sys.argv[1]), int(sys.argv[2])
    LAUNCHER[:] = [str(folder / "python")]
    PATH[:] = sys.path[1:]  # without the folder of this file
    client = runpy.run_path(str(Path(__file__).with_name("client.py")))
    same = json.loads(json.dumps(client["itself"]()))
    own = settings(dict(os.environ))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads would be lost
    import_all()
    gc.collect()
    gc.freeze()
    server = Server(str(folder / "socket"), run, same, own)
    print("ready", flush=True)
    asked = server.serve()
    if asked is not None:
        become(*asked)
    else:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
