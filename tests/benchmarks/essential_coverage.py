"""How often the stated interval of the essential sparsity holds the true one.

    python tests/benchmarks/essential_coverage.py --curves 1000 > .../essential_coverage.json

Every curve is a sweep whose truth is known: a shape, a tolerance, a grid, a number of images and
of dense models are drawn; every image has a sparsity at which the pruned model loses it (or gains
it), so counts along the levels are as dependent as nested masks on the same images make them.
`essential_sparsity` reads the table of that sweep; the true crossing should lie in [low, high].
From 3 dense models on, the interval is about other seeds, and the truth is where the mean over all
dense models leaves the tolerance; below, it is about these models, and the truth is where the mean
of these very models does, were there images without end. An interval that is wider than half of
all sparsities is not stated, and neither hits nor misses: `no_interval` counts them.
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.selection import essential_sparsity
from orchestrator.selection.seeds import FEWEST_SEEDS
from orchestrator.versions import git_commit, hardware, versions

FINE = np.linspace(0, 1, 4001)
SHAPES = ("hinge", "power", "linear")
MOST_LOST = 0.65
Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One made-up sweep.

    Attributes:
        loss: sparsity -> true drop of accuracy of the mean dense model.
        spread: standard deviation of the break over dense models.
        likeness: correlation between dense models of which images are lost.
    """

    shape: str
    loss: Callable[[Vector], Vector]
    tolerance: float
    levels: Vector
    images: int
    seeds: int
    accuracy: float
    churn: float
    spread: float
    likeness: float

    def crossing(self, shifts: Vector) -> float:
        """Where the curve that the interval is about leaves the tolerance.

        Args:
            shifts: of the breaks of this sweep's dense models. From FEWEST_SEEDS models on the mean
                is over all that there could be (Gauss-Hermite, 21 points).
        """
        weights = np.ones(len(shifts))
        if self.seeds >= FEWEST_SEEDS:
            shifts, weights = np.polynomial.hermite_e.hermegauss(21)
            shifts = self.spread * shifts
        losses = self.loss(np.maximum(FINE[:, None] - shifts, 0)) @ (weights / weights.sum())
        return float(np.interp(self.tolerance, losses, FINE))


def draw_curve(rng: np.random.Generator) -> Curve:
    """A sweep at random: three shapes, 5-50 levels, 500-10,000 images, 1-5 dense models."""
    shape = str(rng.choice(SHAPES))
    tolerance = float(rng.choice([0.005, 0.01, 0.02]))
    begin, slope = rng.uniform(0.05, 0.6), math.exp(rng.uniform(math.log(0.05), math.log(2)))
    power = rng.uniform(2, 6)

    def loss(s: Vector) -> Vector:
        if shape == "hinge":
            return slope * np.maximum(0, s - begin)
        if shape == "power":
            return tolerance * (s / (begin + 0.1)) ** power
        return tolerance * s / (begin + 0.1)

    count, top = int(rng.integers(5, 51)), rng.uniform(0.5, 0.95)
    even = np.linspace(top / count, top, count)
    images = round(math.exp(rng.uniform(math.log(500), math.log(10_000))))
    levels = even if rng.random() < 0.5 else np.sort(rng.uniform(0.01, top, count))
    return Curve(
        shape=shape, loss=loss, tolerance=tolerance,
        levels=np.unique(levels.round(6)), images=images,
        seeds=int(rng.integers(1, 6)), accuracy=rng.uniform(0.7, 0.99), churn=rng.uniform(0, 0.04),
        spread=float(rng.choice([0.0, 0.01, 0.03])), likeness=rng.uniform(0, 1),
    )  # fmt: skip


def sample(curve: Curve, rng: np.random.Generator) -> tuple[pd.DataFrame, Vector]:
    """The table of trials that a sweep over this curve would leave; its models' shifts."""
    shared, common = rng.random(curve.images), rng.random(curve.images) < curve.likeness
    rows: list[dict[str, Any]] = []
    shifts = curve.spread * rng.standard_normal(curve.seeds)
    for seed, shift in enumerate(shifts.tolist()):
        rank = np.where(common, shared, rng.random(curve.images))
        rows += _trials(curve, seed, rank, shift)
    return pd.DataFrame(rows), shifts


def _trials(curve: Curve, seed: int, rank: Vector, shift: float) -> Iterable[dict[str, Any]]:
    """The levels of one dense model: its images in the order in which they change, by rank.

    The lowest ranks are lost, the highest gained; shares grow with the level, so they nest.
    """
    right = round(curve.accuracy * curve.images)
    for level in curve.levels.tolist():
        gained_share = curve.churn * level
        drop = float(curve.loss(np.array([max(0.0, level - shift)]))[0])
        lost = int((rank < min(gained_share + drop, MOST_LOST)).sum())
        gained = int((rank > 1 - gained_share).sum())
        yield {
            "arm": "essential", "status": "FINISHED", "seed": seed, "sparsity": level,
            "stage.dense": f"dense-{seed}", "stage.essential": f"{seed}-{level}",
            "dense/val_accuracy": right / curve.images, "dense/val_n": curve.images,
            "essential/val_accuracy": (right - lost + gained) / curve.images,
            "essential/val_lost": lost, "essential/val_gained": gained,
        }  # fmt: skip


def holds(curve: Curve, table: pd.DataFrame, shifts: Vector) -> tuple[bool, bool, float] | None:
    """Whether low is not above, high not below the true crossing; the interval's width.

    None where no interval is stated.
    """
    found = essential_sparsity(table, curve.tolerance)
    assert found is not None
    if found.low is None:
        return None
    true, high = curve.crossing(shifts), math.inf if found.high is None else found.high
    width = min(high, float(curve.levels[-1])) - found.low
    return found.low <= true + 1e-9, true <= high + 1e-9, width


def groups_of(curve: Curve) -> list[str]:
    """The slices in which coverage is reported beside the whole."""
    levels = "5-15" if len(curve.levels) <= 15 else "16-30" if len(curve.levels) <= 30 else "31-50"
    images = (
        "500-1500" if curve.images < 1500 else "1500-4500" if curve.images < 4500 else "4500-10000"
    )
    return [f"shape {curve.shape}", f"levels {levels}", f"images {images}", f"seeds {curve.seeds}"]


def measure(curves: int, seed: int = 0) -> dict[str, Any]:
    """Coverage over random curves, as a whole and in slices."""
    rng = np.random.default_rng(seed)
    slices: dict[str, list[bool]] = defaultdict(list)
    misses = {"low": 0, "high": 0}
    silent: dict[str, int] = defaultdict(int)
    widths = []
    for _ in range(curves):
        curve = draw_curve(rng)
        read = holds(curve, *sample(curve, rng))
        names = ("all", *groups_of(curve))
        if read is None:
            for name in names:
                silent[name] += 1
            continue
        left, right, width = read
        misses["low"] += not left
        misses["high"] += not right
        widths.append(width)
        for name in names:
            slices[name].append(left and right)
    return {
        "curves": curves,
        "nominal": 0.95,
        "coverage": {n: round(float(np.mean(v)), 4) for n, v in sorted(slices.items())},
        "n": {name: len(v) for name, v in sorted(slices.items())},
        "no_interval": dict(sorted(silent.items())),
        "standard_error": round(float(np.std(slices["all"]) / math.sqrt(len(slices["all"]))), 4),
        "missed_below_low": misses["low"],
        "missed_above_high": misses["high"],
        "median_width": round(float(np.median(widths)), 4),
    }


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": git_commit(),
        "hardware": hardware(),
        "versions": versions(),
    }
    start = time.perf_counter()
    found = measure(options.curves, options.seed)
    print(json.dumps({**facts, **found, "wall_s": round(time.perf_counter() - start, 1)}, indent=1))


if __name__ == "__main__":
    main()
