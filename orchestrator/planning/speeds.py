"""How fast stages are, learned from what a store has measured.

A stage takes `fixed + calls / rate of calls + MACs / rate of MACs`, times a factor of its own. The
three costs are what the stages of a store have in common, so that a model or a batch size that has
not been measured yet is not guessed from MACs alone: in a small model most of the time goes into
running blocks at all. The factor is what a stage does beside that: masks, scores, images.
"""

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.storage.store import Entry
from trials.stage import Load

Costs = tuple[float, float, float]
"""Seconds of a stage at all, of a call, and of a multiply-accumulate."""

ASSUMED: Mapping[str, Costs] = {"cpu": (0.05, 7e-4, 1 / 2.5e10), "cuda": (0.05, 2e-4, 1 / 4e12)}
"""Used, and said to be a guess, only while a store has measured nothing: one core with small ViTs,
and round numbers for one data-centre GPU."""

LATEST = 100
"""Results of a stage that are looked at, the newest ones: machines change."""

LEAST_S = 1e-4
"""A stage takes at least so long, so that there is something to take a multiple of."""

TESTED = 50
"""Results of a stage that are predicted from the others, to tell the error."""

OUTLIER = 4.0
"""How many times the usual a stage may take and still count in full: a machine may have slept."""

USUAL = 0.8
"""Part of the measured time that was predicted within the error that is told."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a stage had to do, and the seconds that took."""

    stage: str
    load: Load
    seconds: float


@dataclass(frozen=True)
class Speeds:
    """Seconds of any stage on one kind of device.

    Attributes:
        costs: what all stages have in common.
        factors: stage -> how many times as long it takes as the costs say, where measured.
        rates: stage -> seconds a MAC, where only an earlier version has measured.
    """

    costs: Costs
    factors: Mapping[str, float]
    rates: Mapping[str, float]

    def seconds(self, stage: str, load: Load) -> float:
        """Predicted."""
        if stage not in self.factors and stage in self.rates:
            return load.macs * self.rates[stage]
        return _cost(self.costs, load) * self.factors.get(stage, 1.0)

    def knows(self, stage: str) -> bool:
        """Whether a prediction rests on this stage's own measurements."""
        return stage in self.factors or stage in self.rates


def learned(entries: Iterable[Entry], device: str) -> Speeds:
    """The speeds that a store has measured.

    Args:
        device: `cpu` or `cuda`.
    """
    found, old = measured(entries, device)
    return replace(_fitted(found, device), rates=_rates(old))


def measured(entries: Iterable[Entry], device: str) -> tuple[list[Measured], list[Measured]]:
    """The newest results of each stage; apart those of which an earlier version noted MACs only."""
    by_stage: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.device == device and entry.seconds > 0:
            by_stage[entry.stage].append(entry)
    found: list[Measured] = []
    old: list[Measured] = []
    for stage, own in by_stage.items():
        for entry in sorted(own, key=lambda one: one.created)[-LATEST:]:
            load = Load(entry.work_macs, entry.work_calls or 0.0)
            where = old if entry.work_calls is None else found
            where.append(Measured(stage, load, entry.seconds))
    return found, old


def error_factor(entries: Iterable[Entry], device: str) -> float | None:
    """Within what factor a store's own stages are predicted, each from all the others.

    The factor that holds for `USUAL` of the measured time; None with fewer than two results.
    """
    found, _ = measured(entries, device)
    if len(found) < 2:
        return None
    missed, costs = [], _costs(found, device)
    for stage, every in _by_stage(found).items():
        own = every[-TESTED:]
        for place, one in enumerate(own):
            if len(own) > 1:
                predicted = _cost(costs, one.load) * _factor(costs, own[:place] + own[place + 1 :])
            else:  # the others do not know the stage at all
                others = [other for other in found if other.stage != stage]
                predicted = _fitted(others, device).seconds(stage, one.load)
            off = max(predicted / one.seconds, one.seconds / predicted)
            missed.append((off, one.seconds))
    missed.sort()
    enough = USUAL * sum(seconds for _, seconds in missed)
    reached = itertools.accumulate(seconds for _, seconds in missed)
    return next(off for (off, _), sum_s in zip(missed, reached, strict=True) if sum_s >= enough)


def _fitted(found: Sequence[Measured], device: str) -> Speeds:
    costs = _costs(found, device)
    factors = {stage: _factor(costs, own) for stage, own in _by_stage(found).items()}
    return Speeds(costs, factors, {})


def _by_stage(found: Iterable[Measured]) -> dict[str, list[Measured]]:
    by_stage: dict[str, list[Measured]] = defaultdict(list)
    for one in found:
        by_stage[one.stage].append(one)
    return by_stage


def _cost(costs: Costs, load: Load) -> float:
    fixed, call, mac = costs
    return max(fixed, LEAST_S) + call * load.calls + mac * load.macs


def _costs(found: Sequence[Measured], device: str) -> Costs:
    """The costs, none below zero, that miss the measured seconds least, relative to each.

    Until stages of at least three different loads have been measured: the assumed ones, at the
    speed that was measured.
    """
    assumed = ASSUMED[device]
    worked = [one for one in found if one.load.macs > 0]
    if not worked:
        return assumed
    if len({one.load for one in worked}) >= len(assumed):
        loads = np.array([[1.0, one.load.calls, one.load.macs] for one in worked])
        best = _least_squares(loads / np.array([[one.seconds] for one in worked]))
        if best is not None:
            return best
    times = statistics.median(one.seconds / _cost(assumed, one.load) for one in worked)
    return assumed[0] * times, assumed[1] * times, assumed[2] * times


def _least_squares(rows: np.ndarray) -> Costs | None:
    """x >= 0 that brings `rows @ x` nearest to 1; columns are tried in all combinations.

    None where work then costs nothing: such costs predict no larger work.
    """
    best: tuple[float, Costs] | None = None
    for used in itertools.product([False, True], repeat=rows.shape[1]):
        if not (used[1] or used[2]):
            continue
        scale = np.linalg.norm(rows[:, used], axis=0)
        if not scale.all():
            continue
        x, *_ = np.linalg.lstsq(rows[:, used] / scale, np.ones(len(rows)), rcond=None)
        if (x <= 0).any():
            continue
        whole = np.zeros(rows.shape[1])
        whole[list(used)] = x / scale
        miss = float(np.square(rows @ whole - 1.0).sum())
        if best is None or miss < best[0]:
            best = miss, (float(whole[0]), float(whole[1]), float(whole[2]))
    return best[1] if best else None


def _factor(costs: Costs, own: Sequence[Measured]) -> float:
    """Seconds of a stage over what the costs say, in sum, so that sums are predicted."""
    expected = [_cost(costs, one.load) for one in own]
    usual = statistics.median(one.seconds / e for one, e in zip(own, expected, strict=True))
    limits = [OUTLIER * usual * e for e in expected]
    seconds = sum(min(one.seconds, most) for one, most in zip(own, limits, strict=True))
    return seconds / sum(expected)


def _rates(old: Iterable[Measured]) -> dict[str, float]:
    """Stage -> seconds a MAC, the median."""
    return {
        stage: statistics.median(one.seconds / one.load.macs for one in own if one.load.macs)
        for stage, own in _by_stage(old).items()
        if any(one.load.macs for one in own)
    }
