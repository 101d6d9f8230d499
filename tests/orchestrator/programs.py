"""Real `lotus` and Ray processes for tests of faults; only what was started here is ended."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, find_sweep
from tests.warm.starting import python, ray

ROOT = Path(__file__).parent.parent.parent
FAULTY = Path(__file__).parent / "faulty"

LOTUS = str(Path(sys.executable).parent / "lotus")
"""The command as it is installed."""

REAL = (sys.executable, "-m", "orchestrator.cli")
"""The same, where a test looks at the process itself: no fork of `tests/warm`."""

STAGES = (
    "pretrained", "dense", "attention", "tickets", "essential", "denoise", "issp", "finetune",
    "profile", "evaluate",
)  # fmt: skip


def environment(faults: Path | None = None, **more: str) -> dict[str, str]:
    """For a process that imports this package, and the faults if there are any."""
    paths = [str(ROOT)]
    found = os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    found |= {"RAY_raylet_start_wait_time_s": "150"}  # 30 s do not suffice on a busy machine
    if faults is not None:
        paths.insert(0, str(FAULTY))
        found["LOTUS_TEST_FAULTS"] = str(faults)
    return found | {"PYTHONPATH": os.pathsep.join(paths)} | more


@dataclass
class Program:
    """One `lotus ...` process, its output in a file."""

    log: Path
    process: subprocess.Popen[bytes]
    started: ClassVar[list["Program"]] = []

    @classmethod
    def start(
        cls,
        log: Path,
        *args: str,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
        cwd: Path = ROOT,
        lotus: Sequence[str] = (),
    ) -> "Program":
        """`within` is the command that runs it elsewhere, as in another network namespace."""
        lotus = lotus or (REAL if within else (python(), *REAL[1:]))
        command = [*within, *lotus, *args]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env or environment(),
                cwd=cwd,
                start_new_session=True,
            )
        cls.started.append(cls(log, process))
        return cls.started[-1]

    @property
    def said(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float = 900) -> int:
        """Its exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it hangs; it said:\n{self.said}") from None

    def until(self, seen: Callable[[], Any], timeout_s: float = 600) -> None:
        """Wait until something is so."""
        end = time.monotonic() + timeout_s
        while not seen():
            assert self.process.poll() is None, f"it ended too early; it said:\n{self.said}"
            assert time.monotonic() < end, f"it does not happen; it said:\n{self.said}"
            time.sleep(0.2)

    @classmethod
    def end_all(cls) -> None:
        """SIGKILL for what a failed test has left."""
        while cls.started:
            program = cls.started.pop()
            if program.process.poll() is None:
                program.kill()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(30)

    def interrupt(self, how: str) -> None:
        """SIGTERM for this process, or what a terminal does: SIGINT for all that it started."""
        if how == "SIGTERM":
            self.process.send_signal(signal.SIGTERM)
        else:
            os.killpg(self.process.pid, signal.SIGINT)


@dataclass(frozen=True)
class Seen:
    """What MLflow has of a sweep: one line for each run and each point of a metric."""

    statuses: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    points: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    values: dict[tuple[str, str, int], float] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> set[str]:
        """Keys of the trials and stages that ended well."""
        return set(self.keys) - {k for k, t in self.tags.items() if t["status"] != "FINISHED"}


def look(path: Path, overrides: Sequence[str] = ()) -> Seen:
    """Read a sweep's runs from MLflow, each metric with its whole history."""
    seen = Seen()
    address = find_sweep(load_sweep(path, overrides))
    if address is None:
        return seen
    tracker = Tracker(address)
    for run in tracker.runs():
        key = run.data.tags["lotus.key"]
        seen.statuses[run.info.status] += 1
        seen.keys[key] += 1
        seen.runs[key] = run.info.run_id
        seen.tags[key] = dict(run.data.tags) | {"status": run.info.status}
        for name in run.data.metrics:
            for point in tracker.client.get_metric_history(run.info.run_id, name):
                seen.points[key, name, point.step] += 1
                seen.values[key, name, point.step] = point.value
    return seen


def same_results(seen: Seen) -> dict[tuple[str, str, int], float]:
    """Every metric that does not measure time."""
    timed = ("time/", "cache/", "cost/")
    return {
        at: value
        for at, value in seen.values.items()
        if not at[1].startswith(timed) and "images_per_s" not in at[1]
    }


def stored_bits(sweep: SweepConfig) -> dict[str, Any]:
    """Stage and key -> every bit of what the store has, measured speeds left out."""
    planned, store = plan(sweep), Store(sweep.storage.path)
    found = {}
    for key, node in planned.nodes.items():
        if (kept := store.get(node)) is not None:
            found[f"{node.stage.name} {key}"] = _bits(kept[0])
    return found


def _bits(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {n: _bits(getattr(value, n)) for n in names if "images_per_s" not in n}
    if isinstance(value, dict):
        return {name: _bits(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_bits(one) for one in value]
    return repr(value)


def copy_of(sweep: Path, folder: Path) -> Path:
    """The same sweep with a store and a database of its own, both empty."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(sweep.read_text().replace(str(sweep.parent), str(folder)))
    return path


def assert_as_if_undisturbed(path: Path, quiet: Path, *, whole: bool = True) -> Seen:
    """Every bit that is stored and every metric are those of the quiet run, each once."""
    seen, expected = look(path), look(quiet)
    assert set(seen.statuses) == {"FINISHED"}
    assert set(seen.keys.values()) == {1}
    assert set(seen.points.values()) == {1}
    found, wanted = same_results(seen), same_results(expected)
    if whole:
        assert found == wanted
    assert found.items() <= wanted.items()
    bits, quiet_bits = stored_bits(load_sweep(path)), stored_bits(load_sweep(quiet))
    assert bits.keys() <= quiet_bits.keys()
    assert [key for key, value in bits.items() if value != quiet_bits[key]] == []
    return seen


@contextmanager
def mlflow_server(folder: Path, at: str = "", within: Sequence[str] = ()) -> Iterator[str]:
    """A real tracking server: its address. It keeps everything in `folder`.

    Args:
        at: HOST:PORT; default: a free port of this machine.
        within: the command that runs it elsewhere.
    """
    address = at or f"127.0.0.1:{free_port()}"
    host = address.split(":")[0]
    launcher = sys.executable if within else python()
    command = [*within, launcher, "-m", "mlflow", "server", "--host", host, "--workers", "1"]
    command += ["--port", address.split(":")[1], "--artifacts-destination", str(folder / "files")]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    env = environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=env)
    try:
        end = time.monotonic() + 300
        while True:
            try:
                answers(address, within)
                break
            except (OSError, subprocess.SubprocessError):
                assert process.poll() is None, (folder / "mlflow.log").read_text()
                assert time.monotonic() < end, "MLflow does not answer"
                time.sleep(0.3)
        yield f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ports() -> Iterator[int]:
    """Each port of a range once: above those of Ray's workers, below those that the system gives.

    The system would give a port to somebody else before it is used here. Each process of the tests
    has a range of its own, and in it each of the two names under which this module is imported.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw3").removeprefix("gw"))
    first = 26000 + 1500 * (worker % 4) + (0 if __name__ == "programs" else 750)
    for number in range(750):
        yield first + (os.getpid() + number) % 750


PORTS = _ports()


def free_port() -> int:
    """A port of this machine that nobody listens on, and that is given out once."""
    for port in PORTS:
        with socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                found.bind(("", port))
                return port
    raise AssertionError("no port is free")


def answers(address: str, within: Sequence[str] = ()) -> None:
    """Return when a web server answers at HOST:PORT, raise when it does not."""
    ask = f"import urllib.request as u; u.urlopen('http://{address}/health', timeout=2)"
    if within:
        command = [*within, sys.executable, "-c", ask]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    else:
        urllib.request.urlopen(f"http://{address}/health", timeout=2)


def ray_start(*args: str, env: dict[str, str] | None = None, within: Sequence[str] = ()) -> str:
    """`ray start ...`, what it printed."""
    own = [str(Path(sys.executable).parent / "ray")] if within else ray()
    command = [*within, *own, "start", "--disable-usage-stats", *args]
    done = subprocess.run(
        command, env=env or environment(), capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
