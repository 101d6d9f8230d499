"""Stages without work, for the benchmark `bookkeeping.py` only: Python imports this when it is on
PYTHONPATH.

A stage gives what lies under its name in the folder LOTUS_EMPTY_STAGES. Everything around it is
the product's own: graph, keys, store, runs, artifacts.
"""

import os
import sys
import zlib
from dataclasses import is_dataclass, replace
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

KNOWN = {}


def result(node):
    """The stage's result at hand; the outcomes of the last stages differ from trial to trial."""
    from orchestrator.storage import codec
    from orchestrator.storage.keys import key_of

    name = node.stage.name
    if name not in KNOWN:
        path = Path(os.environ["LOTUS_EMPTY_STAGES"]) / f"{name}.safetensors"
        KNOWN[name] = codec.decode(path.read_bytes(), node.stage.result)
    found = KNOWN[name]
    if name in ("evaluate", "essential"):
        found = varied(found, zlib.crc32(key_of(node).encode()))
    return found


def varied(found, seed):
    """Some images more are wrong."""
    import torch

    drawn = torch.Generator().manual_seed(seed)
    changes = {}
    for name in ("validation", "test"):
        if is_dataclass(one := getattr(found, name, None)):
            wrong = torch.rand(len(one.correct), generator=drawn) < (seed % 7) / 20
            changes[name] = replace(one, correct=one.correct & ~wrong)
    return replace(found, **changes)


class _Empty(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trials.graph.execute":
            return None
        spec = PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            module.call = lambda node, *args: result(node)

        spec.loader.exec_module = exec_module
        return spec


if "LOTUS_EMPTY_STAGES" in os.environ:
    sys.meta_path.insert(0, _Empty())
