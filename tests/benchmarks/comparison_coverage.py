"""How often the corrected intervals of all arms against dense hold the truth, all at once.

    python tests/benchmarks/comparison_coverage.py --repeats 400 > .../comparison_coverage.json

Every repeat is a made-up sweep of which the truth is known, down to the bits: which images each
model gets right. Models of all arms and seeds find the same images hard, models of one seed err
alike, and so do models of one arm. A seed lifts all arms together; beyond that every arm has its
own spread between seeds, by five laws (`LAWS`). The sweep is read by `compare_arms` with the
outcomes by image, as a report reads it; only the table is made directly, without pandas.

The truth is, about *these models*, the mean difference of these very models over images without
end; about *other seeds*, the difference over seeds without end too. A family holds when all of its
corrected intervals do; pairs of which no interval is stated are left out and counted.
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.selection.comparisons import ArmComparison, Spreads, compare_arms
from orchestrator.selection.contrasts import contrasts
from orchestrator.selection.pairs import FINAL
from orchestrator.selection.rows import Row
from orchestrator.selection.settings import TEST, VAL, Setting, setting_of
from orchestrator.versions import git_commit, hardware, versions
from trials.arms import BASE_AXES, NAMES

Vector = NDArray[np.float64]
SPREAD = (0.002, 0.015)
"""Standard deviation of an arm between seeds beyond the seed's own, drawn for each sweep."""

LAWS: dict[str, Callable[[int], Vector]] = {
    "none": np.zeros,
    "equal": np.ones,
    "unequal": lambda k: np.geomspace(7**-0.5, 7**0.5, k),
    "one wild": lambda k: np.where(np.arange(k) == k - 1, 4.0, 1.0),
    "dense wild": lambda k: np.where(np.arange(k) == 0, 3.0, 1.0),
}
"""Settings -> spread of each, of the drawn one; the first is `dense`, the last a control."""

SETTINGS, SEEDS = (2, 4, 8, 12), (2, 3, 5)
FEW, MANY = 500, 3000
COMMON = 0.01
"""Standard deviation of what a seed is worth to all arms."""

SCOPES = {"these models": "models", "other seeds": "seeds"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep whose truth is known.

    Attributes:
        share: (K, S) of all images that there could be, what each model gets right; row 0 is dense.
        mean: (K,) the same over all seeds that there could be.
    """

    settings: list[Setting]
    outcomes: dict[str, dict[str, NDArray[np.bool_]]]
    images: int
    share: Vector
    mean: Vector


def draw_sweep(
    rng: np.random.Generator,
    law: str,
    k: int,
    seeds: int,
    spread: tuple[float, float] = SPREAD,
) -> Sweep:
    """K settings and some seeds on as many images as are drawn; the first K arms at one point each.

    From 8 settings on the rest are further points of `lotus`, which are worse on validation.
    """
    images = round(math.exp(rng.uniform(math.log(FEW), math.log(MANY))))
    mean = rng.uniform(0.6, 0.9) + rng.uniform(-0.03, 0.03, k)
    lift = COMMON * rng.standard_normal(seeds)
    own = math.exp(rng.uniform(*np.log(spread))) * LAWS[law](k)
    share = mean[:, None] + lift + own[:, None] * rng.standard_normal((k, seeds))
    share = np.clip(share, 0.0, 1.0)
    right = _bits(rng, share, images)
    arms = _arms(k)
    outcomes = {}
    rows: list[list[Row]] = []
    for i, (arm, level) in enumerate(arms):
        rows.append([])
        for seed in range(seeds):
            key = f"{i}-{seed}"
            outcomes[key] = {FINAL.outcome: right[i, seed]}
            rows[i].append(_row(key, arm, level, seed, float(right[i, seed].mean()), images))
    found = [setting_of(group, BASE_AXES) for group in rows]
    return Sweep(settings=found, outcomes=outcomes, images=images, share=share, mean=mean)


def _bits(rng: np.random.Generator, share: Vector, images: int) -> NDArray[np.bool_]:
    """(K, S, images): a model is right where its luck is below its share, exactly so often.

    Luck is normal: of the image, of the image in this seed, of the image for this arm, and its own.
    """
    k, seeds = share.shape
    parts = rng.dirichlet([5, 1, 2, 2]) ** 0.5
    luck = parts[0] * rng.standard_normal(images, dtype=np.float32)
    luck = luck + parts[1] * rng.standard_normal((seeds, images), dtype=np.float32)
    luck = luck + parts[2] * rng.standard_normal((k, 1, images), dtype=np.float32)
    luck = luck + parts[3] * rng.standard_normal((k, seeds, images), dtype=np.float32)
    found: NDArray[np.bool_] = luck < special.ndtri(share)[:, :, None]
    return found


def _arms(k: int) -> list[tuple[str, float]]:
    """Arm and one-shot level of each setting: dense first, a control last."""
    arms = [(arm, 0.3) for arm in NAMES]
    if k <= len(arms):
        return [*arms[: k - 1], arms[-1]]
    return [*arms[:-1], *(("lotus", 0.3 + 0.01 * i) for i in range(1, k - len(arms) + 1)), arms[-1]]


def _row(key: str, arm: str, level: float, seed: int, accuracy: float, images: int) -> Row:
    """A finished trial, with what a comparison reads of it.

    Chosen by validation, which here says nothing but that level 0.3 is best: that the best of many
    is flattered on validation does not reach the test images.
    """
    return defaultdict(lambda: None) | {
        "key": key, "arm": arm, "seed": float(seed), "sparsity": level, TEST: accuracy,
        VAL: 0.9 - level / 10, "dense/test_n": images,
    }  # fmt: skip


def compared(sweep: Sweep, confidence: float = 0.95) -> list[ArmComparison]:
    """All arms against dense."""
    planned = [c for c in contrasts(sweep.settings) if c.family == "against_dense"]
    return compare_arms(planned, sweep.outcomes, Spreads(sweep.settings), confidence)


@dataclass
class Tally:
    """Hits and widths of one scope in one slice."""

    families: list[bool]
    singles: list[bool]
    widths: list[float]
    silent: int = 0

    def report(self) -> dict[str, Any]:
        """Shares with their standard errors; widths in points."""
        pairs = len(self.singles) + self.silent
        if not self.families:
            return {"family": None, "no_interval": 1.0, "pairs": pairs}
        family = float(np.mean(self.families))
        error = math.sqrt(max(family * (1 - family), 1e-9) / len(self.families))
        return {
            "family": round(family, 4),
            "standard_error": round(error, 4),
            "families": len(self.families),
            "single": round(float(np.mean(self.singles)), 4),
            "median_width_points": round(100 * float(np.median(self.widths)), 2),
            "no_interval": round(self.silent / pairs, 4),
        }


def judge(sweep: Sweep, found: Sequence[ArmComparison], tallies: dict[str, list[Tally]]) -> None:
    """Add one sweep to the tallies of each scope."""
    place = {(s.arm, s.axes["sparsity"]): i for i, s in enumerate(sweep.settings)}
    models = sweep.share.mean(1)
    for scope, truths in (("these models", models), ("other seeds", sweep.mean)):
        hits = []
        for c in found:
            truth = truths[place[c.a, c.setting_a["sparsity"]]] - truths[0]
            low, high, first, last = (
                getattr(c, f"{SCOPES[scope]}_{end}")
                for end in ("corrected_low", "corrected_high", "low", "high")
            )
            if low is None:
                for tally in tallies[scope]:
                    tally.silent += 1
                continue
            hits.append(low <= truth <= high)
            for tally in tallies[scope]:
                tally.singles.append(first <= truth <= last)
                tally.widths.append(high - low)
        if hits:
            for tally in tallies[scope]:
                tally.families.append(all(hits))


def measure(
    repeats: int,
    seed: int = 0,
    sizes: Sequence[int] = SETTINGS,
    seeds: Sequence[int] = SEEDS,
    laws: Sequence[str] = tuple(LAWS),
    spread: tuple[float, float] = SPREAD,
) -> dict[str, Any]:
    """Coverage in both scopes, as a whole and in slices.

    Args:
        repeats: sweeps of each law, number of settings and number of seeds.
        spread: see SPREAD.
    """
    rng = np.random.default_rng(seed)
    known: dict[str, dict[str, Tally]] = {s: defaultdict(lambda: Tally([], [], [])) for s in SCOPES}
    for law in laws:
        for k in sizes:
            for n in seeds:
                for _ in range(repeats):
                    sweep = draw_sweep(rng, law, k, n, spread)
                    names = (f"seeds {n}", f"seeds {n}, {law}", f"seeds {n}, settings {k}",
                             f"seeds {n}, images {_images(sweep)}",
                             f"seeds {n}, {law}, settings {k}")  # fmt: skip
                    tallies = {s: [known[s][name] for name in names] for s in SCOPES}
                    judge(sweep, compared(sweep), tallies)
    return {
        "nominal": 0.95,
        "repeats_of_each": repeats,
        "spread": list(spread),
        "coverage": {
            scope: {name: tally.report() for name, tally in sorted(found.items())}
            for scope, found in known.items()
        },
    }


def _images(sweep: Sweep) -> str:
    return next(f"up to {most}" for most in (1000, 2000, MANY) if sweep.images <= most)


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spread", type=float, nargs=2, default=SPREAD)
    options = parser.parse_args()
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": git_commit(),
        "hardware": hardware(),
        "versions": versions(),
    }
    start = time.process_time()
    found = measure(options.repeats, options.seed, spread=tuple(options.spread))
    print(json.dumps({**facts, **found, "cpu_s": round(time.process_time() - start, 1)}, indent=1))


if __name__ == "__main__":
    main()
