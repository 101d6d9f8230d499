"""What Ray Tune costs as a driver of processes, against a plain pool of Ray actors: empty stages.

    .venv/bin/python tests/benchmarks/pool.py > tests/benchmarks/pool.json
        [--trials 10000] [--pairs 3] [--alone]

Both are `lotus run` of the sweep of `bookkeeping.py` and differ in one thing: who runs what the
dispatcher hands out (`driver/tuning.py`, or `run_all` below, which takes its place). The pool keeps
retries, deaths, fair shares and Ctrl-C, because those are the dispatcher's. Whole processes are
timed, each in a new folder, in pairs whose order alternates.

`ratio` is the pool's wall time over Tune's; `ratio_trials` the time from the first run's start to
the last one's end; `ratio_cpu` the driver's CPU time. With --alone no two items go to a process
together, as where each takes minutes: then what a batch costs is not shared by 64 items.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.bookkeeping import measured, say, sweep_file, tracked, write_results
from tests.benchmarks.measuring import about, spread

HERE = Path(__file__)
ROOT = HERE.parents[2]
DRIVERS = ("tune", "pool")
COMPARED = {"ratio": "wall_s", "ratio_trials": "trials_s", "ratio_cpu": "cpu_s"}

WAIT_S = 0.1
"""Longest wait for an end, so that the display and the note on the board live on."""


class Process:
    """Runs batches, one after the other."""

    def __init__(self, payload: Any) -> None:
        self.payload = payload

    def run(self, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """How each item of a batch ended."""
        from orchestrator.worker.runner import run_batch

        return run_batch(orders, self.payload)


def run_all(dispatcher: Any, payload: Any, asked: Any, heard: Callable[[], None]) -> None:
    """What `tuning.run_all` does, without Tune."""
    import ray

    from orchestrator.driver import capacity
    from orchestrator.ray_internals.nodes import node_of
    from orchestrator.ray_internals.tuning import id_of
    from orchestrator.worker import failures

    occupied = capacity.bundle(asked)
    options = {"num_cpus": occupied.pop("CPU"), "num_gpus": occupied.pop("GPU", 0)}
    process = ray.remote(Process).options(**options, resources=occupied)
    sent = ray.put(payload)
    idle: list[Any] = []
    busy: dict[Any, tuple[int, Any]] = {}
    try:
        while not dispatcher.finished:
            dispatcher.tell_room()
            heard()
            dispatcher.beat()
            while idle and dispatcher.gives_way:
                ray.kill(idle.pop())
            while idle or len(busy) < dispatcher.share.at_once:
                if (batch := dispatcher.next()) is None:
                    break
                actor = idle.pop() if idle else process.remote(sent)
                busy[actor.run.remote(batch.orders)] = batch.number, actor
                dispatcher.begun(batch.number)
            if not busy:
                time.sleep(WAIT_S)
                continue
            for ended in ray.wait(list(busy), timeout=WAIT_S)[0]:
                number, actor = busy.pop(ended)
                try:
                    told = ray.get(ended)
                except ray.exceptions.RayError as error:
                    ray.kill(actor)  # whatever the error was, its place is free
                    where = partial(node_of, id_of(actor))
                    dispatcher.died(number, failures.of_ray(str(error)), where)
                else:
                    idle.append(actor)
                    dispatcher.told(number, told)
    finally:
        for actor in (*idle, *(one for _, one in busy.values())):
            ray.kill(actor)


def inside(driver: str, alone: bool, arguments: list[str]) -> None:
    """Be `lotus`, with one driver or the other."""
    from orchestrator.driver import batches
    from orchestrator.entry import main as lotus

    if alone:
        batches.MOST = 1
    if driver == "pool":
        from orchestrator.driver import tuning

        tuning.run_all = run_all
    sys.argv = ["lotus", *arguments]
    lotus()


def one(driver: str, alone: bool, trials: int) -> dict[str, Any]:
    """A sweep in a new folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = sweep_file(folder, trials)
        write_results(path, folder / "results")
        empty = {
            "PYTHONPATH": os.pathsep.join([str(HERE.parent / "empty"), str(ROOT)]),
            "LOTUS_EMPTY_STAGES": str(folder / "results"),
        }
        command = [sys.executable, str(HERE), "--inside", driver, *(["--alone"] if alone else [])]
        found: dict[str, Any] = measured(
            [*command, "run", str(path), "--no-report"], folder / "log", **empty
        )
        found |= tracked(path)
    if found["finished"] != trials:
        raise RuntimeError(f"{driver} finished {found['finished']} of {trials} trials")
    return found


def figures(trials: int, pairs: int, alone: bool) -> dict[str, Any]:
    """The pairs, and what is compared of them."""
    found: dict[str, Any] = about() | {"trials": trials, "alone": alone, "pairs": []}
    for number in range(pairs):
        order = DRIVERS if number % 2 == 0 else DRIVERS[::-1]
        pair = {driver: one(driver, alone, trials) for driver in order}
        made = {(each["store_files"], each["shared_stages"]) for each in pair.values()}
        if len(made) > 1:
            raise RuntimeError(f"the two have not made the same: {made}")
        ratios = {
            name: round(pair["pool"][figure] / pair["tune"][figure], 4)
            for name, figure in COMPARED.items()
        }
        found["pairs"].append(pair | ratios)
        say("pair", found["pairs"][-1])
    for name in COMPARED:
        found[name] = spread([pair[name] for pair in found["pairs"]])
    for driver in DRIVERS:
        took = [pair[driver]["trials_s"] / trials for pair in found["pairs"]]
        found[f"{driver}_s_per_trial"] = spread(took)
    return found


def main() -> None:
    """Run the pairs and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000, help="a multiple of 400")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="each item by itself")
    parser.add_argument("--inside", choices=DRIVERS, help=argparse.SUPPRESS)
    options, arguments = parser.parse_known_args()
    if options.inside:
        inside(options.inside, options.alone, arguments)
        return
    if arguments:
        parser.error(f"unknown: {' '.join(arguments)}")
    print(json.dumps(figures(options.trials, options.pairs, options.alone), indent=1))


if __name__ == "__main__":
    main()
