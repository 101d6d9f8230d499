"""What a plan will cost, from what this store has measured before."""

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.planning.plan import Plan, missing_nodes
from orchestrator.storage.store import Entry
from trials.stage import Node

ASSUMED_MACS_PER_S = {"cpu": 4e9, "cuda": 4e12}
"""Used, and said to be a guess, only while a store has measured nothing. Small models are slower
than their processor: these are what a ViT of width 64 to 128 reached per core, and a round number
for one data-centre GPU."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left to do.

    Attributes:
        device_hours: predicted; a device is a GPU where trials ask for one, else a CPU core.
        bytes: that the store will grow by, of stages whose size is known from earlier ones.
        measured: fraction of the predicted time that rests on measured speeds.
    """

    stages: int
    stored: int
    device_hours: float
    bytes: int
    measured: float


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
    device = "cuda" if plan.sweep.resources.gpu else "cpu"
    rates, sizes = _rates(known, device), _sizes(known)
    seconds, measured = _seconds(missing.values(), rates, device)
    if plan.more and plan.trials:
        share_of_more = plan.more / len(plan.trials)
        whole, known_part = _seconds(plan.nodes.values(), rates, device)
        seconds += share_of_more * whole
        measured += share_of_more * known_part
    share = plan.sweep.resources.gpu or plan.sweep.resources.cpu
    return Forecast(
        stages=len(plan.nodes),
        stored=sum(key in stored for key in plan.nodes),
        device_hours=seconds * share / 3600,
        bytes=sum(sizes.get(node.stage.name, 0) for node in missing.values()),
        measured=measured / seconds if seconds else 1.0,
    )


def _seconds(
    nodes: Iterable[Node[Any]], rates: Mapping[str, float], device: str
) -> tuple[float, float]:
    """Predicted seconds of stages, and how many of them rest on measured speeds."""
    seconds = measured = 0.0
    for node in nodes:
        rate = rates.get(node.stage.name)
        cost = node.work_macs() / (rate or ASSUMED_MACS_PER_S[device])
        seconds += cost
        measured += cost if rate else 0.0
    return seconds, measured


def _rates(entries: Iterable[Entry], device: str) -> dict[str, float]:
    """Stage -> median multiply-accumulates per second on that kind of device."""
    found: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        if entry.device == device and entry.work_macs > 0 and entry.seconds > 0:
            found[entry.stage].append(entry.work_macs / entry.seconds)
    return {stage: statistics.median(rates) for stage, rates in found.items()}


def _sizes(entries: Iterable[Entry]) -> dict[str, int]:
    found: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        found[entry.stage].append(entry.bytes)
    return {stage: int(statistics.median(sizes)) for stage, sizes in found.items()}
