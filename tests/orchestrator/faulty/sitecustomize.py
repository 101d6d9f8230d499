"""Faults for worker processes, by the tests only: Python imports this when it is on PYTHONPATH.

A file `<stage>.<number>.<kind>` in the folder LOTUS_TEST_FAULTS happens once, when that stage
begins, and is removed before. The wall clock is wrong by what stands in the file LOTUS_TEST_CLOCK.
"""

import os
import signal
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

import jumping_clock

BROKEN: list[str] = []
"""Stages at which this process's GPU has reported an error; it computes no more after that."""


def happen(stage: str) -> None:
    """Cause the first fault that waits for a stage."""
    if BROKEN:
        raise RuntimeError(f"CUDA error: device-side assert triggered (in {BROKEN[0]})")
    folder = Path(os.environ["LOTUS_TEST_FAULTS"])
    for path in sorted(folder.glob(f"{stage}.*")):
        kind = path.suffix[1:]
        try:
            path.unlink()
        except FileNotFoundError:  # another process was faster
            continue
        print(f"fault: {kind} in {stage}", flush=True)
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind in ("ahead", "behind"):  # by a day, of the true time
            jumping_clock.set_to(86400 if kind == "ahead" else -86400)
        elif kind == "raise":
            raise ValueError("broken for a test")
        elif kind == "device":
            BROKEN.append(stage)
            raise RuntimeError("CUDA error: device-side assert triggered")
        elif kind == "hang":
            time.sleep(3600)
        elif kind == "slow":
            time.sleep(60)
        elif kind == "eat":
            held = []
            while len(held) < 100:
                held.append(b"x" * 2**27)  # written to, or the system would not count it
                time.sleep(0.05)


class _Faulty(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trials.graph.execute":
            return None
        spec = PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            call = module.call

            def faulty(node, *args):
                happen(node.stage.name)
                return call(node, *args)

            module.call = faulty

        spec.loader.exec_module = exec_module
        return spec


class _Clocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if not name.startswith("orchestrator."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            jumping_clock.into(module)

        spec.loader.exec_module = exec_module
        return spec


if "LOTUS_TEST_CLOCK" in os.environ:
    jumping_clock.install()
    sys.meta_path.insert(0, _Clocked())
if "LOTUS_TEST_FAULTS" in os.environ:
    sys.meta_path.insert(0, _Faulty())
