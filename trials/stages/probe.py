"""Adaptive refinement of the one-shot curve: one more level, where it tells most.

First the bracket is bisected. On a curve whose drop never falls this ends in the bracket of the
full grid. A measured curve wavers around the tolerance: an earlier violation may hide between two
levels that are both within it. So once the bracket is narrow, the gaps below it are looked into,
the most doubtful first, until none is likely to hide one (`HIDDEN`) or the probes are used up.

The number of probes follows from the settings alone, so a plan lists them before any has run.
Each reads what was measured before, and passes without evaluating when nothing is left to do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from trials.context import Context
from trials.data.datasets import Dataset
from trials.sparsity.detect import ROUNDING, first_violation
from trials.stage import Node, StageConfig, stage
from trials.stages.calibrate import WeightScores
from trials.stages.dense import Dense
from trials.stages.essential import OneShot, OneShotConfig, Probe, essential, measured
from trials.stages.pretrained import Pretrained

if TYPE_CHECKING:
    from torch import Tensor

HIDDEN = 0.02
"""A gap that hides a violation with less probability than this is left alone."""

MOST_LOOKS = 10
"""Probes for the gaps below the bracket; with the others never more than half the full grid."""


class ProbeConfig(StageConfig):
    """One step of the refinement.

    `one_shot.sparsity` stays None: the level is what the stage decides.
    """

    tolerance: float
    levels: tuple[float, ...]
    refine: float
    one_shot: OneShotConfig


@dataclass(frozen=True, slots=True)
class Point:
    """A measured level.

    Attributes:
        drop: dense accuracy minus pruned accuracy.
        images: which validation images are right, bool (N,).
    """

    level: float
    drop: float
    images: Tensor


Gap = tuple[Point, Point]


def count_probes(levels: Sequence[float], width: float) -> int:
    """Bisections that bring the widest gap (from 0 on) down to `width`, and looks into others.

    Levels and probes together are at most half of the full grid where bisection leaves room.
    """
    bisections = max(_bisections(b - a, width) for a, b in pairwise((0.0, *levels)))
    spare = _cells(levels[-1], width) // 2 - len(levels) - bisections
    return bisections + min(MOST_LOOKS, max(0, spare))


def next_level(points: Sequence[Point], tolerance: float, width: float, left: int) -> float | None:
    """The next level to evaluate: the lower end of a gap + a whole number of widths.

    Args:
        points: measured so far, ascending; the first is the dense model (level 0, drop 0).
        tolerance: accuracy that may be lost.
        width: of the bracket that is wanted.
        left: probes that are not made yet. A gap is looked into only when they suffice to
            bisect what is found there, so that the bracket is narrow in the end.

    Returns:
        None when the bracket is narrow enough, or no level violates, and no gap is doubtful.
    """
    low = first_violation([p.level for p in points], [p.drop for p in points], tolerance)
    within = [p for p in points if p.level <= low]
    bracket = pairwise(points[len(within) - 1 : len(within) + 1])
    doubtful = sorted(pairwise(within), key=lambda gap: -hidden(gap, tolerance))
    doubtful = [gap for gap in doubtful if hidden(gap, tolerance) >= HIDDEN]
    found = [middle for gap in bracket if (middle := _middle(gap, width)) is not None]
    found += [
        middle
        for gap in doubtful
        if (middle := _middle(gap, width)) is not None
        and _bisections(gap[1].level - gap[0].level, width) <= left
    ]
    return found[0] if found else None


def hidden(gap: Gap, tolerance: float) -> float:
    """The probability that between two levels within the tolerance the drop exceeds it.

    As weights go, images fall and come back one by one, so between two measured levels the drop
    is a random walk with known ends. The probability that such a bridge passes T is
    exp(-2 (T - a)(T - b) / v), v = (images that differ) / N^2.

    Source: the reflection principle for a Brownian bridge (Karatzas and Shreve 1991, 4.3.40).
    """
    (a, b), count = gap, len(gap[0].images)
    variance = max(1, int((a.images != b.images).sum())) / count**2
    room = max(0.0, tolerance - a.drop) * max(0.0, tolerance - b.drop)
    return math.exp(-2 * room / variance)


def _middle(gap: Gap, width: float) -> float | None:
    """None for a gap of one width."""
    cells = _cells(gap[1].level - gap[0].level, width)
    return None if cells < 2 else round(gap[0].level + (cells // 2) * width, 9)


def _bisections(gap: float, width: float) -> int:
    return math.ceil(math.log2(_cells(gap, width)))


def _cells(gap: float, width: float) -> int:
    return max(1, math.ceil(gap / width - ROUNDING))


@stage("probe", version=2)
def probe(
    cfg: ProbeConfig,
    ctx: Context,
    *,
    seed: int | None,
    data: Dataset,
    model: Dense,
    scored: Pretrained | Dense,
    scores: WeightScores | None,
    curve: Sequence[OneShot],
    probes: Sequence[Probe],
) -> Probe:
    """Evaluate the middle of the bracket that `first_violation` leaves, or of a doubtful gap.

    Args:
        curve: results at `cfg.levels`.
        probes: the earlier steps, in any order.

    Source: bisection of Essential Sparsity's definition (its section 3).
    """
    found = measured(cfg.levels, curve, probes)
    dense = model.validation
    points = [Point(0.0, 0.0, dense.correct)]
    points += [
        Point(s, dense.accuracy - one.validation.accuracy, one.validation.correct)
        for s, one in found
        if s > 0
    ]
    left = count_probes(cfg.levels, cfg.refine) - len(probes)
    level = next_level(points, cfg.tolerance, cfg.refine, left)
    if level is None:
        return Probe(None, None)
    at = cfg.one_shot.model_copy(update={"sparsity": level})
    inputs = {"data": data, "model": model, "scored": scored, "scores": scores}
    return Probe(level, essential(at, ctx, seed=seed, picked=None, like=None, **inputs))


def as_one_shot(node: Node[Probe], level: float) -> Node[OneShot]:
    """The stage call that evaluates the same level by name: equal work, so equal on a curve."""
    if not isinstance(node.config, ProbeConfig):
        raise TypeError(f"{node.stage.name} is no probe")
    inputs = {name: node.inputs[name] for name in ("data", "model", "scored", "scores")}
    cfg = node.config.one_shot.model_copy(update={"sparsity": level})
    return Node(essential, cfg, node.seed, inputs | {"picked": None, "like": None})
