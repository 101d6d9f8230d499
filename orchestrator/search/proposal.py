"""What a search method is: a pure function from finished results to trials.

A method remembers nothing. The trials it proposes follow from the sweep file and from the
results of the trials it proposed before, in whatever order they came; so a sweep that was
interrupted, continued, run again or enlarged proposes what an undisturbed one would.
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
"""What a search may improve: metric of a trial, and the direction that is better.

Accuracy and MACs are of one forward pass: on the kept patches, and with what chooses them.
"""

RUNG_METRIC = Metric.RUNG_VAL_ACCURACY
"""On whole images: a training that is stopped early is not evaluated as it would be deployed."""

RESULT_METRICS = (*(metric for metric, _ in OBJECTIVES.values()), RUNG_METRIC)
"""All that methods read of a trial."""


@dataclass(frozen=True)
class Point:
    """A trial as a point on the axes.

    Attributes:
        axes: value of every axis, seed included.
        rungs: epochs at which its recovery is stopped and continued; () = a full trial.
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
        metrics: of a finished trial, RESULT_METRICS at least where it has them; None = failed.
    """

    metrics: Mapping[str, float] | None

    def get(self, name: str) -> float | None:
        """One metric; None when the trial failed or has none."""
        return None if self.metrics is None else self.metrics.get(name)


class Bench(Protocol):
    """What a method may ask about trials."""

    def key(self, point: Point) -> str:
        """The key of a trial: equal for points that mean the same trial."""

    def outcome(self, point: Point) -> Outcome | None:
        """How it ended; None when it has not."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """The trials of a block as far as the results say.

    Attributes:
        points: that belong to the sweep for certain; they only grow while results come in.
        early: guesses worth running now, which later results may drop again.
        complete: whether `points` is all.
        expected: how many points there are at most in the end.
    """

    points: tuple[Point, ...]
    early: tuple[Point, ...] = ()
    complete: bool = True
    expected: int = field(default=0)


class Proposer(Protocol):
    """A search method on one block of a sweep."""

    def propose(self, bench: Bench) -> Proposed:
        """The trials as far as the results say."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A method that asks no results: all trials are known from the start."""

    points: tuple[Point, ...]

    def propose(self, bench: Bench) -> Proposed:
        """All of them, at once."""
        return Proposed(self.points, expected=len(self.points))


def with_seeds(
    settings: Settings, seeds: tuple[Any, ...], rungs: tuple[int, ...] = ()
) -> list[Point]:
    """A setting for every seed."""
    return [Point(settings | {"seed": seed}, rungs) for seed in seeds]


def mean_over_seeds(points: list[Point], metric: str, bench: Bench) -> float | None:
    """The mean of a metric over trials that have all ended; None when one has not got it.

    Rounded far below any difference that counts: a tracking store may keep fewer bits.
    """
    found = [outcome.get(metric) for p in points if (outcome := bench.outcome(p)) is not None]
    values = [value for value in found if value is not None and math.isfinite(value)]
    return float(f"{sum(values) / len(values):.9g}") if len(values) == len(points) else None


def ended(points: list[Point], bench: Bench) -> bool:
    """Whether all of them have ended."""
    return all(bench.outcome(point) is not None for point in points)
