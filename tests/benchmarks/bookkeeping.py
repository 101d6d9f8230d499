"""What 10,000 trials cost when their stages cost nothing: plan, run, driver's memory, report.

    .venv/bin/python tests/benchmarks/bookkeeping.py [--trials 10000] [--pairs 3]

The stages give results at hand (`empty/sitecustomize.py`); graph, keys, store, queue, Ray Tune,
MLflow's runs (SQLite), artifacts and the report are what every sweep has. Beside it runs a bare
Ray Tune loop of as many trials that do nothing, with reused actors and without tracking: each of
its trials is one of Tune, while short items of a sweep share them.

Timed are whole processes, from the start of Python to its end, in pairs one after the other: the
bare loop, then `lotus run --no-report` and `lotus report` in a new folder. `ratio` is the wall
time of the whole `lotus run` over the whole bare loop's; `ratio_trials` leaves start and end out,
from the first run's start to the last one's end over Tune's `fit`. Bounds: `lotus plan` 5 s and
500 MB; `ratio` 1.2; the driver 1 GB; the report 60 s.
"""

import argparse
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import about, spread

ROOT = Path(__file__).parents[2]
HERE = Path(__file__)

SWEEP = """\
name: bookkeeping
data: {name: digits, train_images: 40, validation: 40}
model:
  name: vit_tiny_patch16_224
  pretrained: false
  kwargs: {img_size: 8, patch_size: 2, in_chans: 1, embed_dim: 16, depth: 1, num_heads: 2}
  mean: [0.3]
  std: [0.38]
dense: {epochs: 1, lr: 1.0e-3, batch_size: 40}
tickets: {weights: adapted}
issp: {target_sparsity: 0.95}
finetune: {weights: current, epochs: 1, lr: 1.0e-3, batch_size: 40}
"""

DROPS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
FRACTIONS = [0.1, 0.3, 0.5, 0.7, 1.0]


def sweep_file(folder: Path, trials: int) -> Path:
    """A sweep of so many trials, a multiple of 400: levels, drops, fractions, and ten seeds."""
    levels = [round(0.9 * (i + 1) / (trials // 400), 6) for i in range(trials // 400)]
    search = {
        "arm": ["lotus"],
        "sparsity": levels,
        "patch_drop": DROPS,
        "mask_data_fraction": FRACTIONS,
        "seed": list(range(10)),
    }
    path = folder / "bookkeeping.yaml"
    path.write_text(
        f"{SWEEP}search: {json.dumps(search)}\n"
        f"storage: {{path: {folder}/store}}\n"
        f"tracking: {{uri: 'sqlite:///{folder}/mlflow.db'}}\n"
    )
    return path


def write_results(path: Path, folder: Path) -> None:
    """One real trial's results, for `empty/sitecustomize.py`."""
    from orchestrator.planning.plan import plan
    from orchestrator.planning.sweepfile import load_sweep
    from orchestrator.storage import codec
    from trials.context import Context
    from trials.graph.execute import Direct
    from trials.stage import closure

    one = ["search.sparsity=[0.3]", "search.patch_drop=[0.1]", "search.seed=[0]"]
    planned = plan(load_sweep(path, [*one, "search.mask_data_fraction=[0.1]"]))
    (trial,) = planned.trials
    direct = Direct(planned.sources_of(trial.config).objects(), Context())
    folder.mkdir()
    for node in closure(trial.graph.final):
        content = codec.encode(direct.get(node))
        (folder / f"{node.stage.name}.safetensors").write_bytes(content)


def measured(command: list[str], log: Path, **environment: str) -> dict[str, float]:
    """Run a process: its wall and CPU seconds, and its largest memory.

    `own_mib` is what belongs to it alone and `rss_mib` counts the pages of its libraries as well.
    Processes that it starts do not count.
    """
    found = {"wall_s": 0.0, "cpu_s": 0.0, "rss_mib": 0.0, "own_mib": 0.0}
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    start = time.perf_counter()
    with log.open("w") as out:
        process = psutil.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            for name, kind in (("rss_mib", "VmRSS"), ("own_mib", "RssAnon")):
                kept = status.partition(f"{kind}:")[2].split()
                found[name] = max(found[name], int(kept[0]) / 1024 if kept else 0.0)
            with contextlib.suppress(psutil.Error):
                spent = process.cpu_times()
                found["cpu_s"] = spent.user + spent.system
            time.sleep(0.1)
    if process.returncode != 0:
        raise RuntimeError(log.read_text()[-3000:])
    found["wall_s"] = time.perf_counter() - start
    return {name: round(value, 2) for name, value in found.items()}


def bare(trials: int) -> None:
    """As many trials that do nothing, by Tune alone; prints seconds of `fit`, and its CPU's."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(os.cpu_count())
    import ray
    from ray import tune

    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )

    def nothing(config: dict[str, Any]) -> None:
        tune.report({"done": 1})

    with tempfile.TemporaryDirectory() as folder:
        start, spent = time.perf_counter(), time.process_time()
        grid = tune.Tuner(
            tune.with_resources(nothing, {"cpu": 1}),
            param_space={"trial": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        took = time.perf_counter() - start, time.process_time() - spent
    assert len(grid) == trials
    assert not grid.errors
    print(json.dumps({"fit_s": took[0], "fit_cpu_s": took[1]}))


def tracked(path: Path) -> dict[str, float]:
    """Trials finished, seconds from the first run's start to the last's end, and what they take.

    Shared stages count: their runs are the work of this sweep too.
    """
    from orchestrator.planning.sweepfile import load_sweep
    from orchestrator.storage.store import Store
    from orchestrator.tracking.tracker import Tracker, find_sweep

    sweep = load_sweep(path)
    address = find_sweep(sweep)
    assert address is not None
    start = time.perf_counter()
    runs = Tracker(address).runs()
    trials = [run for run in runs if run.data.tags["lotus.kind"] == "trial"]
    read_s = time.perf_counter() - start
    begun = min(run.info.start_time for run in runs) / 1000
    ended = max(run.info.end_time or 0 for run in runs) / 1000
    files = Store(sweep.storage.path).files.list()
    database = path.parent / "mlflow.db"
    artifacts = [f for f in (path.parent / "artifacts").rglob("*") if f.is_file()]
    return {
        "finished": sum(run.info.status == "FINISHED" for run in trials),
        "shared_stages": len(runs) - len(trials),
        "trials_s": ended - begun,
        "read_runs_s": read_s,
        "store_files": len(files),
        "store_bytes": sum(info.bytes for info in files.values()),
        "database_bytes": database.stat().st_size,
        "artifact_files": len(artifacts),
        "artifact_bytes": sum(file.stat().st_size for file in artifacts),
    }


LOTUS = [sys.executable, "-m", "orchestrator.cli"]


def say(name: str, found: Any) -> None:
    """Progress, for whoever waits."""
    print(json.dumps({name: found}), file=sys.stderr, flush=True)


def pair(trials: int, folder: Path) -> dict[str, Any]:
    """The bare loop, the sweep and its report, one after the other, in a new folder."""
    path, log = sweep_file(folder, trials), folder / "log"
    write_results(path, folder / "results")
    empty = {
        "PYTHONPATH": os.pathsep.join([str(HERE.parent / "empty"), str(ROOT)]),
        "LOTUS_EMPTY_STAGES": str(folder / "results"),
    }
    found: dict[str, Any] = {}
    loop = [sys.executable, str(HERE), "--bare", "--trials", str(trials)]
    found["bare"] = measured(loop, log)
    found["bare"] |= json.loads(log.read_text().splitlines()[-1])
    found["run"] = measured([*LOTUS, "run", str(path), "--no-report"], log, **empty)
    found["run"] |= tracked(path)
    found["report"] = measured([*LOTUS, "report", str(path)], log)
    page = folder / "reports" / "bookkeeping" / "report.html"
    found["report"]["page_bytes"] = page.stat().st_size
    found["ratio"] = round(found["run"]["wall_s"] / found["bare"]["wall_s"], 4)
    found["ratio_trials"] = round(found["run"]["trials_s"] / found["bare"]["fit_s"], 4)
    say("pair", found)
    return found


def figures(trials: int, pairs: int, keep: Path | None) -> dict[str, Any]:
    """Imports and plan once, then the pairs."""
    found: dict[str, Any] = about() | {"trials": trials}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, log = sweep_file(folder, trials), folder / "log"
        imports = [sys.executable, "-c", "import torch, timm, mlflow"]
        for step, command in (("imports_alone", imports), ("plan", [*LOTUS, "plan", str(path)])):
            found[step] = measured(command, log)
            say(step, found[step])
    found["pairs"] = []
    for number in range(pairs):
        with contextlib.ExitStack() as stack:
            new = stack.enter_context(tempfile.TemporaryDirectory())
            folder = keep / str(number) if keep else Path(new)
            folder.mkdir(parents=True, exist_ok=True)
            found["pairs"].append(pair(trials, folder))
    for name in ("ratio", "ratio_trials"):
        found[name] = spread([one[name] for one in found["pairs"]])
    for name, kind in (("bare", "wall_s"), ("run", "wall_s"), ("report", "wall_s")):
        found[f"{name}_s_per_trial"] = spread([one[name][kind] / trials for one in found["pairs"]])
    return found


def main() -> None:
    """Run everything and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000, help="a multiple of 400")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it")
    parser.add_argument("--bare", action="store_true", help="only the bare loop")
    options = parser.parse_args()
    if options.bare:
        bare(options.trials)
        return
    print(json.dumps(figures(options.trials, options.pairs, options.keep), indent=1))


if __name__ == "__main__":
    main()
