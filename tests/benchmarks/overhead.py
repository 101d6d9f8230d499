"""What the orchestrator costs: `lotus run` against the same stages in a bare Ray Tune loop.

    .venv/bin/python tests/benchmarks/overhead.py [--pairs 3] > tests/benchmarks/overhead.json

Both run the bundled sweep `digits` as a process of their own, one after the other, in pairs; timed
is the whole process, from the start of Python to its end. The bare loop computes each unique stage
once as well: shared stages as Ray tasks, the rest in Tune trials with reused actors. It keeps
results in Ray's object store and records nothing: no MLflow, no store, no report, no progress. The
ratio of a pair is what a user pays; the bound is 1.15.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import measuring

HERE = Path(__file__)


def bare(sweep: str) -> None:
    """A sweep without the orchestrator."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune

    from orchestrator.planning.plan import plan
    from orchestrator.planning.sweepfile import load_sweep
    from orchestrator.storage.keys import key_of

    planned = plan(load_sweep(sweep))
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
    from trials.graph.execute import call
    from trials.graph.pipeline import pipeline
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
    from trials.graph.execute import call
    from trials.graph.pipeline import pipeline

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


def timed(command: list[str]) -> measuring.Spent:
    """A whole process in a fresh working directory."""
    with tempfile.TemporaryDirectory() as folder:
        return measuring.timed(command, Path(folder))


def main() -> None:
    """Run the pairs and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--sweep", default="digits", help="a file or a bundled sweep")
    parser.add_argument("--bare", action="store_true", help="only the bare loop, once")
    options = parser.parse_args()
    if options.bare:
        bare(options.sweep)
        return
    lotus = str(Path(sys.executable).with_name("lotus"))
    pairs: list[dict[str, Any]] = []
    found: dict[str, Any] = measuring.about() | {"sweep": options.sweep, "pairs": pairs}
    for _ in range(options.pairs):
        without = timed([sys.executable, str(HERE), "--bare", "--sweep", options.sweep])
        whole = timed([lotus, "run", options.sweep])
        pair = {"bare_s": without.wall_s, "lotus_s": whole.wall_s}
        pair |= {"bare_cpu_s": without.cpu_s, "lotus_cpu_s": whole.cpu_s}
        pairs.append(pair | {"ratio": round(whole.wall_s / without.wall_s, 4)})
        print(json.dumps(pairs[-1]), file=sys.stderr, flush=True)
    found["ratio"] = measuring.spread([pair["ratio"] for pair in pairs])
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
