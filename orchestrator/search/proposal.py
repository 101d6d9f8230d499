"""The interface of search methods: pure functions from finished results to trials.

A method has no memory. Its proposals depend only on the sweep file and on the results of earlier
proposals, in any order. So a sweep that was interrupted, continued, run again or enlarged proposes
the same trials as an undisturbed one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from orchestrator.search.space import Settings
from orchestrator.vocabulary import Metric

Direction = Literal["minimize", "maximize"]

OBJECTIVES: dict[str, tuple[str, Direction]] = {
    "accuracy": (Metric.FINAL_DEPLOYED_VAL_ACCURACY, "maximize"),
    "macs": (Metric.FINAL_MACS_DEPLOYED, "minimize"),
    "sparsity": (Metric.FINAL_SPARSITY, "maximize"),
}
"""What a search may improve: the metric, and the better direction.

Accuracy and MACs belong to the same forward pass: on the kept patches, including their choice.
"""

RUNG_METRIC = Metric.RUNG_VAL_ACCURACY
"""On whole images: a stopped training is not evaluated as deployed."""

RESULT_METRICS = (*(metric for metric, _ in OBJECTIVES.values()), RUNG_METRIC)
"""All metrics that methods read."""


@dataclass(frozen=True)
class Point:
    """A trial as a point on the axes.

    Attributes:
        axes: value of every axis, including the seed.
        rungs: epochs at which fine-tuning stops and continues; () = a full trial.
    """

    axes: Settings
    rungs: tuple[int, ...] = ()

    @cached_property
    def ident(self) -> str:
        """Equal for equal points."""
        return json.dumps([self.axes, self.rungs], sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    Attributes:
        metrics: of a finished trial, at least its RESULT_METRICS; None = failed.
    """

    metrics: Mapping[str, float] | None

    def get(self, name: str) -> float | None:
        """One metric; None if the trial failed or does not have it."""
        return None if self.metrics is None else self.metrics.get(name)


class Bench(Protocol):
    """What a method may ask about trials."""

    def key(self, point: Point) -> str:
        """The key of a trial: equal for points that mean the same trial."""

    def outcome(self, point: Point) -> Outcome | None:
        """How a trial ended; None if it has not."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """The trials of a block, as far as the results determine them.

    Attributes:
        points: trials that certainly belong to the sweep; only added to as results come in.
        early: guesses worth running now; later results may drop them.
        complete: whether `points` is final.
        expected: the largest possible number of points in the end.
    """

    points: tuple[Point, ...]
    early: tuple[Point, ...] = ()
    complete: bool = True
    expected: int = field(default=0)


class Proposer(Protocol):
    """A search method on one block of a sweep."""

    def propose(self, bench: Bench) -> Proposed:
        """The trials, as far as the results determine them."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A method that needs no results: all trials are known from the start."""

    points: tuple[Point, ...]

    def propose(self, bench: Bench) -> Proposed:
        """All trials at once."""
        return Proposed(self.points, expected=len(self.points))


def with_seeds(
    settings: Settings, seeds: tuple[Any, ...], rungs: tuple[int, ...] = ()
) -> list[Point]:
    """A setting's points, one for every seed."""
    return [Point(settings | {"seed": seed}, rungs) for seed in seeds]


def mean_over_seeds(points: list[Point], metric: str, bench: Bench) -> float | None:
    """The mean of a metric over trials that have all ended; None if one does not have it.

    Rounded to 9 digits, because a tracking store may keep fewer bits.
    """
    measured = [outcome.get(metric) for p in points if (outcome := bench.outcome(p)) is not None]
    values = [value for value in measured if value is not None and math.isfinite(value)]
    return float(f"{sum(values) / len(values):.9g}") if len(values) == len(points) else None


def ended(points: list[Point], bench: Bench) -> bool:
    """Whether all trials have ended."""
    return all(bench.outcome(point) is not None for point in points)
