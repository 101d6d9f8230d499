"""Chaos: a sweep under random kills ends equal to one that nobody disturbed.

    .venv/bin/python tests/benchmarks/chaos.py [--sweeps 20] [--minutes M] [SWEEP]

Two Ray nodes and an MLflow server on this machine. Every few seconds one of them is sent SIGKILL:
a worker process, the driver, the second node, or the tracking server; what dies is started again,
the driver by the same command. Then everything that the sweep left is compared, bit for bit, with
a run that nobody disturbed: stage results in the store, and in MLflow runs, params, metrics (each
step once) and artifacts. Times are left out, because they are measurements.

Results stand in `chaos.json` beside this file after each sweep; the same command goes on after the
sweeps that are there. `tests/orchestrator/test_chaos.py` is the short version.
"""

import argparse
import hashlib
import json
import os
import random
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from safetensors.torch import load

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import bundled, load_sweep
from orchestrator.versions import hardware, versions
from tests.orchestrator.programs import free_port, stored_bits
from trials.container import digest_of, header_of

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
RAY: Sequence[str] = (str(Path(sys.executable).with_name("ray")),)
START_S = 300.0
"""For a server or a head node, on a machine that is busy with other things."""

LIMIT_S = 3600.0
"""A sweep that has not ended by then hangs."""

VICTIMS = ("worker", "driver", "node", "server")
PAUSE_S = (5.0, 20.0)

MEASURED = ("time/", "cache/", "cost/", "final/train_images_per_s", "profile/images_per_s")
"""Metrics that are times or follow from them."""

TEXTS = ("lotus.error", "lotus.attempts", "lotus.driver", "lotus.cached")
"""Tags that tell of the way and not of the result."""


def kill(process: psutil.Process) -> None:
    """SIGKILL a process and everything below it."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=20)


def title(process: psutil.Process) -> str:
    """What a process calls itself."""
    return "".join(process.cmdline())


@dataclass
class Place:
    """One sweep's own cluster, tracking server and store, below one folder."""

    folder: Path
    sweep: str
    overrides: Sequence[str]
    ray_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    processes: dict[str, psutil.Popen] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0

    @property
    def uri(self) -> str:
        """Of the tracking server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> list[str]:
        """Overrides that put everything into this place."""
        own = [f"tracking.uri={self.uri}", f"storage.path={self.folder}/store"]
        return [*self.overrides, *own]

    @property
    def config(self) -> SweepConfig:
        """The sweep as it runs here."""
        return load_sweep(self.sweep, self.settings)

    @property
    def environment(self) -> dict[str, str]:
        """Of every process of this place."""
        return os.environ | {
            "PYTHONPATH": str(ROOT),
            "RAY_worker_niceness": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_raylet_start_wait_time_s": "150",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, name: str, command: Sequence[str | Path]) -> None:
        """Start a process of this place; its output goes to `NAME.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = psutil.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def start_server(self) -> None:
        """MLflow on a SQLite file; answers when this returns."""
        database = f"sqlite:///{self.folder}/mlflow.db"
        self.start(
            "server",
            (
                *(PYTHON, "-m", "mlflow", "server", "--backend-store-uri", database),
                *("--artifacts-destination", self.folder / "artifacts", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
            ),
        )
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"no MLflow server within {START_S:g} s, see {self.folder}/server.log")

    def start_node(self, name: str) -> None:
        """The head of the cluster, or the node that will be killed; one processor each."""
        where = (
            ("--head", f"--port={self.ray_port}", "--include-dashboard=false")
            if name == "head"
            else (f"--address=127.0.0.1:{self.ray_port}",)
        )
        memory = f"--object-store-memory={100 * 2**20}"
        self.start(
            name,
            (*RAY, "start", *where, "--node-ip-address=127.0.0.1", "--num-cpus=1", memory,
             "--disable-usage-stats", "--block"),
        )  # fmt: skip

    def start_head(self) -> None:
        """The head; a node can join it when this returns."""
        self.start_node("head")
        address = f"127.0.0.1:{self.ray_port}"
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self.processes["head"].poll() is not None:
                self.start_node("head")
            with suppress(subprocess.SubprocessError):
                subprocess.run(
                    (*RAY, "health-check", "--address", address),
                    env=self.environment,
                    capture_output=True,
                    timeout=60,
                    check=True,
                )
                return
            time.sleep(0.5)
        raise RuntimeError(f"no Ray within {START_S:g} s, see {self.folder}/head.log")

    def start_driver(self) -> None:
        """`lotus run`, as a user starts it again after a crash."""
        self.starts += 1
        lotus = (PYTHON, "-m", "orchestrator.cli", "run", self.sweep, "--no-report")
        overrides = [part for one in self.settings for part in ("--set", one)]
        self.start("driver", (*lotus, "--address", f"127.0.0.1:{self.ray_port}", *overrides))

    def strike(self, victim: str) -> bool:
        """Kill one of them and start it again; False when there was none to kill."""
        if victim == "worker":
            found = [p for name in ("head", "node") for p in self._workers(name)]
            if not found:
                return False
            kill(random.choice(found))
        elif victim == "driver":
            kill(self.processes["driver"])
            self.start_driver()
        elif victim == "node":
            kill(self.processes["node"])
            self.start_node("node")
        else:
            kill(self.processes["server"])
            time.sleep(random.uniform(0, 4))
            self.start_server()
        self.kills[victim] += 1
        return True

    def _workers(self, name: str) -> list[psutil.Process]:
        """The processes of a node that run items."""
        try:
            below = self.processes[name].children(recursive=True)
            return [p for p in below if "ImplicitFunc" in title(p)]
        except psutil.Error:
            return []

    def stop(self) -> None:
        """End everything that was started here."""
        for process in self.processes.values():
            kill(process)


@contextmanager
def place(folder: Path, sweep: str, overrides: Sequence[str]) -> Iterator[Place]:
    """A cluster and a tracking server for one sweep."""
    folder.mkdir(parents=True)
    here = Place(folder, sweep, overrides)
    try:
        here.start_server()
        here.start_head()
        here.start_node("node")
        yield here
    finally:
        here.stop()


def undisturbed(here: Place) -> float:
    """Run the sweep to its end; the seconds that it took."""
    start = time.monotonic()
    here.start_driver()
    if (code := here.processes["driver"].wait(LIMIT_S)) != 0:
        raise RuntimeError(f"exit code {code}: {tail(here)}")
    return time.monotonic() - start


def disturbed(
    here: Place, pause_s: tuple[float, float] = PAUSE_S, most: float = float("inf")
) -> float:
    """Run the sweep under kills, at most so many, until a driver ends by itself, and well."""
    start = time.monotonic()
    strike_at = start + random.uniform(*pause_s)
    here.start_driver()
    while True:
        if time.monotonic() - start > LIMIT_S:
            here.processes["driver"].send_signal(signal.SIGABRT)
            raise RuntimeError(f"not finished after {LIMIT_S:g} s: {tail(here)}")
        code = here.processes["driver"].poll()
        if code == 0:
            return time.monotonic() - start
        if code is not None:  # it says that the same command continues: so be it
            here.start_driver()
        if time.monotonic() > strike_at and sum(here.kills.values()) < most:
            here.strike(random.choice(VICTIMS))
            strike_at = time.monotonic() + random.uniform(*pause_s)
        time.sleep(0.2)


def tail(here: Place) -> str:
    """The last of what the driver said."""
    return (here.folder / "driver.log").read_text(errors="replace")[-3000:]


def left(sweep: SweepConfig) -> dict[str, Any]:
    """Everything that a sweep left and that must not depend on what happened to it."""
    import logging

    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    from orchestrator.tracking.tracker import find_sweep

    logging.getLogger("mlflow.store.artifact").setLevel(logging.WARNING)  # a word for each run
    address = find_sweep(sweep)
    assert address is not None
    client = MlflowClient(sweep.tracking.uri)
    runs = client.search_runs(
        [address.experiment_id], run_view_type=ViewType.ACTIVE_ONLY, max_results=5000
    )
    own = [run for run in runs if run.data.tags.get("lotus.sweep") == address.parent]
    history = {
        run.data.tags["lotus.key"]: {
            name: sorted(
                (m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)
            )
            for name in run.data.metrics
            if not name.startswith(MEASURED)
        }
        for run in own
    }
    return {
        "runs": Counter(run.data.tags["lotus.key"] for run in own),
        "status": {run.data.tags["lotus.key"]: run.info.status for run in own},
        "attempts": sum(int(run.data.tags.get("lotus.attempts", "1")) for run in own),
        "params": {run.data.tags["lotus.key"]: run.data.params for run in own},
        "tags": {
            run.data.tags["lotus.key"]: {
                name: value
                for name, value in run.data.tags.items()
                if name.startswith("lotus.") and name not in (*TEXTS, "lotus.sweep")
            }
            for run in own
        },
        "metrics": history,
        "artifacts": {run.data.tags["lotus.key"]: _digests(client, run.info.run_id) for run in own},
        "results": {
            name: hashlib.sha256(repr(bits).encode()).hexdigest()
            for name, bits in stored_bits(sweep).items()
        },
    }


def _digests(client: Any, run_id: str) -> dict[str, str]:
    """Path -> digest of every result that a run has as an artifact, whatever its header's order."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        below = client.download_artifacts(run_id, "", folder)
        for path in Path(below).rglob("*.safetensors"):
            content = path.read_bytes()
            found[str(path.relative_to(below))] = digest_of(header_of(content), load(content))
    return found


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What a disturbed sweep left against the undisturbed one; all counts must be 0."""
    steps = [m for run in after["metrics"].values() for m in run.values()]
    twice = sum(len(points) - len({step for step, _ in points}) for points in steps)
    different = {
        name: sorted(
            key for key in before[name] | after[name]
            if key in after[name] and before[name].get(key) != after[name][key]
        )
        for name in ("params", "tags", "metrics", "artifacts", "results")
    }  # fmt: skip
    return {
        "lost_runs": len(before["runs"].keys() - after["runs"].keys()),
        "unknown_runs": len(after["runs"].keys() - before["runs"].keys()),
        "duplicate_runs": sum(count - 1 for count in after["runs"].values()),
        "stuck_runs": sum(s == "RUNNING" for s in after["status"].values()),
        "unfinished_runs": sum(s != "FINISHED" for s in after["status"].values()),
        "metric_steps_twice": twice,
        "lost_results": len(before["results"].keys() - after["results"].keys()),
        **{f"different_{name}": len(keys) for name, keys in different.items()},
    }


def one_sweep(
    folder: Path,
    sweep: str,
    overrides: Sequence[str],
    before: dict[str, Any],
    seed: int,
    pause_s: tuple[float, float] = PAUSE_S,
    most: float = float("inf"),
) -> dict[str, Any]:
    """Disturb one sweep, to the end, and compare."""
    random.seed(seed)
    with place(folder, sweep, overrides) as here:
        wall_s = disturbed(here, pause_s, most)
        after = left(here.config)
    return {
        "seed": seed,
        "commit": commit(),
        "wall_s": round(wall_s, 1),
        "kills": dict(here.kills),
        "driver_starts": here.starts,
        "attempts_beyond_the_first": after["attempts"] - sum(after["runs"].values()),
        **compare(before, after),
    }


def commit() -> str:
    """Of the code that was disturbed."""
    asked = ("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def faults(found: dict[str, Any]) -> dict[str, int]:
    """The counts of a comparison that are not 0."""
    names = ("lost_", "unknown_", "duplicate_", "stuck_", "unfinished_", "metric_", "different_")
    return {name: n for name, n in found.items() if name.startswith(names) and n}


def main() -> None:
    """Disturb sweep after sweep; the figures so far stand in the results file after each one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sweep", nargs="?", default="digits")
    parser.add_argument("--sweeps", type=int, default=20)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--one-seed", action="store_true", help="the first of the sweep's seeds")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none after")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    start, file = time.monotonic(), options.results
    found = json.loads(file.read_text())["sweeps"] if file.exists() else []
    done = {one["seed"] for one in found}
    with tempfile.TemporaryDirectory() as folder:
        sweep = one_seed(options.sweep, Path(folder)) if options.one_seed else options.sweep
        with place(Path(folder) / "undisturbed", sweep, options.overrides) as here:
            plain_s = undisturbed(here)
            before = left(here.config)
        for seed in sorted(set(range(options.sweeps)) - done):
            if time.monotonic() - start > 60 * options.minutes:
                break
            where = Path(folder) / f"disturbed-{seed}"
            found.append(one_sweep(where, sweep, options.overrides, before, seed))
            print(json.dumps(found[-1]), flush=True)
            command = shlex.join(sys.argv[1:])
            file.write_text(summary(command, before, plain_s, found) + "\n")


def one_seed(sweep: str, folder: Path) -> str:
    """A bundled sweep with its first seed only, as a file."""
    text = bundled()[sweep].read_text(encoding="utf-8")
    text, count = re.subn(r"(seed: (?:&\w+ )?)\[0(?:, \d+)+\]", r"\1[0]", text)
    assert count == 1, f"{sweep} lists its seeds {count} times"
    path = folder / f"{sweep}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def summary(
    command: str, before: dict[str, Any], plain_s: float, found: list[dict[str, Any]]
) -> str:
    """The content of the results file."""
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "versions": versions(),
        "command": command,
        "runs": sum(before["runs"].values()),
        "undisturbed_s": round(plain_s, 1),
        "complete_and_equal": sum(not faults(one) for one in found),
        "kills": dict(sum((Counter(one["kills"]) for one in found), Counter())),
        "sweeps": found,
    }
    return json.dumps(result, indent=1)


if __name__ == "__main__":
    main()
