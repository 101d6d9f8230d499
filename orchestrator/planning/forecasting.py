"""What a plan will cost, from what this store has measured before."""

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.planning.speeds import Speeds, error_factor, learned
from orchestrator.storage.keys import missing_nodes
from orchestrator.storage.store import Entry
from trials.stage import Node


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left to do.

    Attributes:
        device_hours: predicted; a device is a GPU where trials ask for one, else a CPU core.
        bytes: that the store will grow by, of stages whose size is known from earlier ones.
        measured: fraction of the predicted time that rests on measured speeds.
        error_factor: within which the store's own stages are usually predicted, each from the
            others; None = too little has been measured to tell.
    """

    stages: int
    stored: int
    device_hours: float
    bytes: int
    measured: float
    error_factor: float | None


def forecast(plan: Plan, entries: Iterable[Entry], done: Collection[str] = ()) -> Forecast:
    """Predict what is left, from the speeds that the store has measured on its own stages.

    A trial that results have not called for yet is taken to cost what a known one does on average.

    Args:
        entries: of the store.
        done: keys of trials that tracking already has.
    """
    known = list(entries)
    stored = {entry.key for entry in known}
    wanted = [t for t in plan.trials if t.key not in done and t.key not in stored]
    missing = missing_nodes((trial.graph.final for trial in wanted), stored)
    device = device_of(plan.sweep)
    speeds, sizes = learned(known, device), _sizes(known)
    seconds, measured = _predicted(plan, missing.values(), speeds)
    return Forecast(
        stages=len(plan.nodes),
        stored=sum(key in stored for key in plan.nodes),
        device_hours=_hours(plan.sweep, seconds),
        bytes=sum(sizes.get(node.stage.name, 0) for node in missing.values()),
        measured=measured / seconds if seconds else 1.0,
        error_factor=error_factor(known, device),
    )


def predicted_hours(
    plan: Plan, speeds: Speeds, stored: Collection[str], done: Collection[str]
) -> float:
    """The device-hours of `forecast`, from what is at hand when a sweep starts.

    Args:
        stored: keys that the store has.
        done: keys of trials that tracking already has.
    """
    wanted = [t for t in plan.trials if t.key not in done and t.key not in stored]
    missing = missing_nodes((trial.graph.final for trial in wanted), set(stored))
    return _hours(plan.sweep, _predicted(plan, missing.values(), speeds)[0])


def _predicted(plan: Plan, missing: Iterable[Node[Any]], speeds: Speeds) -> tuple[float, float]:
    """Seconds of what is left, trials that may still come included, and the measured part."""
    seconds, measured = _seconds(missing, speeds)
    if plan.more and plan.trials:
        share_of_more = plan.more / len(plan.trials)
        whole, known_part = _seconds(plan.nodes.values(), speeds)
        seconds += share_of_more * whole
        measured += share_of_more * known_part
    return seconds, measured


def _hours(sweep: SweepConfig, seconds: float) -> float:
    return seconds * (sweep.resources.gpus or sweep.resources.cpu) / 3600


def device_of(sweep: SweepConfig) -> str:
    """The kind of device that a sweep's trials run on, as the store notes it."""
    return "cuda" if sweep.resources.gpu else "cpu"


def _seconds(nodes: Iterable[Node[Any]], speeds: Speeds) -> tuple[float, float]:
    """Predicted seconds of stages, and how many of them rest on measured speeds."""
    seconds = measured = 0.0
    for node in nodes:
        cost = speeds.seconds(node.stage.name, node.work())
        seconds += cost
        measured += cost if speeds.knows(node.stage.name) else 0.0
    return seconds, measured


def _sizes(entries: Iterable[Entry]) -> dict[str, int]:
    found: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        found[entry.stage].append(entry.bytes)
    return {stage: int(statistics.median(sizes)) for stage, sizes in found.items()}
