"""What the orchestrator costs: `lotus run` against the same stages in a bare Ray Tune loop.

    .venv/bin/python tests/benchmarks/overhead.py [--pairs 3]

Both run the bundled sweep `digits` as a process of their own, one after the other, in pairs. The
bare loop computes each unique stage once as well: shared stages as Ray tasks, the rest in Tune
trials with reused actors. It keeps results in Ray's object store and records nothing: no MLflow,
no store, no report, no progress. The ratio of whole-process wall times is what a user pays; the
bound is 1.15. The last result stands in overhead.json.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.versions import hardware, versions

HERE = Path(__file__)


def bare() -> None:
    """The sweep without the orchestrator."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune

    from orchestrator.planning.plan import plan
    from orchestrator.planning.sweepfile import load_sweep
    from orchestrator.storage.keys import key_of

    planned = plan(load_sweep("digits"))
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    opened = next(iter(planned.opened.values()))
    data = ray.put(opened)
    task = ray.remote(_compute).options(num_cpus=1)
    shared: dict[str, Any] = {}
    for key, node in planned.shared.items():
        parents = {key_of(p): shared[key_of(p)] for p in node.parents()}
        config = planned.owner[key].config
        shared[key] = task.remote(config, key, data, list(parents), *parents.values())
    ray.get([task.remote(None, "", data, [], *shared.values())])
    payload = ([trial.config for trial in planned.trials], data, shared)
    with tempfile.TemporaryDirectory() as folder:
        grid = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial, payload=payload), {"cpu": 1}),
            param_space={"trial": tune.grid_search(list(range(len(planned.trials))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    assert not grid.errors
    assert len(grid) == len(planned.trials)
    ray.shutdown()


def _compute(config: Any, key: str, opened: Any, names: list[str], *parents: Any) -> Any:
    """One shared stage; its parents are other results."""
    if config is None:
        return None
    import torch

    from orchestrator.storage.keys import key_of
    from trials.context import Context
    from trials.execute import call
    from trials.pipeline import pipeline
    from trials.stage import closure

    torch.set_num_threads(1)
    known = dict(zip(names, parents, strict=True))
    nodes = {key_of(n): n for n in closure(pipeline(config, opened.sources).final)}
    return call(nodes[key], Context(), opened.objects(), lambda node: known[key_of(node)])


def _trial(config: dict[str, Any], payload: Any) -> None:
    """The stages that only this trial has."""
    import ray
    import torch
    from ray import tune

    from orchestrator.storage.keys import key_of
    from trials.context import Context
    from trials.execute import call
    from trials.pipeline import pipeline

    torch.set_num_threads(1)
    configs, data, shared = payload
    opened = ray.get(data)
    done: dict[str, Any] = {}

    def get(node: Any) -> Any:
        key = key_of(node)
        if key not in done:
            done[key] = (
                ray.get(shared[key])
                if key in shared
                else call(node, Context(), opened.objects(), get)
            )
        return done[key]

    final = get(pipeline(configs[config["trial"]], opened.sources).final)
    tune.report({"accuracy": final.validation.accuracy})


def timed(command: list[str]) -> float:
    """Wall seconds of a process in a fresh working directory."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def main() -> None:
    """Run the pairs and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--bare", action="store_true", help="only the bare loop, once")
    options = parser.parse_args()
    if options.bare:
        bare()
        return
    lotus = str(Path(sys.executable).with_name("lotus"))
    pairs = []
    for _ in range(options.pairs):
        without = timed([sys.executable, str(HERE), "--bare"])
        with_lotus = timed([lotus, "run", "digits"])
        pairs.append({"bare_s": without, "lotus_s": with_lotus, "ratio": with_lotus / without})
        print(json.dumps(pairs[-1]), file=sys.stderr, flush=True)
    ratios = [pair["ratio"] for pair in pairs]
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "versions": versions(),
        "pairs": pairs,
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
