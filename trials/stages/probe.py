"""Adaptive refinement of the one-shot curve: one more level, in the middle of the bracket.

The number of probes follows from the settings alone, so a plan lists them before any has run.
Each reads what was measured before, and passes without evaluating once the bracket is narrow.

On a curve whose drop never falls this ends in the bracket of the full grid. On one that wavers
around the tolerance it ends in a bracket too, but a violation that lies between two levels within
tolerance is not seen: `tests/benchmarks/refinement.json` has cases on few real images.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from trials.data import Dataset
from trials.detect import ROUNDING, first_violation
from trials.stage import Node, StageConfig, stage
from trials.stages.calibrate import WeightScores
from trials.stages.dense import Dense
from trials.stages.essential import OneShot, OneShotConfig, Probe, drops_of, essential
from trials.stages.pretrained import Pretrained
from trials.train import Context


class ProbeConfig(StageConfig):
    """One step of the bisection.

    `one_shot.sparsity` stays None: the level is what the stage decides.
    """

    tolerance: float
    levels: tuple[float, ...]
    refine: float
    one_shot: OneShotConfig


def count_probes(levels: Sequence[float], width: float) -> int:
    """How many bisections bring the widest gap between levels (from 0 on) down to `width`."""
    gaps = [b - a for a, b in pairwise((0.0, *levels))]
    return math.ceil(math.log2(max(_cells(gap, width) for gap in gaps)))


def middle(
    levels: Sequence[float], drops: Sequence[float], tolerance: float, width: float
) -> float | None:
    """The next level to evaluate: the lower end of the bracket + a whole number of widths.

    Args:
        levels: measured so far, ascending.
        drops: dense accuracy minus pruned accuracy at each.
        tolerance: accuracy that may be lost.
        width: of the bracket that is wanted; levels between 0 and the first count as a gap.

    Returns:
        None when the bracket is narrow enough, or no level violates.
    """
    low = first_violation(levels, drops, tolerance)
    high = next((level for level in levels if level > low), None)
    cells = 1 if high is None else _cells(high - low, width)
    return None if cells < 2 else round(low + (cells // 2) * width, 9)


def _cells(gap: float, width: float) -> int:
    return max(1, math.ceil(gap / width - ROUNDING))


@stage("probe", version=1)
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
    """Evaluate the middle of the bracket that `first_violation` leaves.

    Args:
        curve: results at `cfg.levels`.
        probes: the earlier steps, in any order.

    Source: bisection of Essential Sparsity's definition (its section 3).
    """
    levels, drops = drops_of(model, cfg.levels, curve, probes)
    level = middle(levels, drops, cfg.tolerance, cfg.refine)
    if level is None:
        return Probe(None, None)
    at = cfg.one_shot.model_copy(update={"sparsity": level})
    inputs = {"data": data, "model": model, "scored": scored, "scores": scores}
    found = essential(at, ctx, seed=seed, picked=None, like=None, **inputs)
    return Probe(level, found)


def as_one_shot(node: Node[Probe], level: float) -> Node[OneShot]:
    """The stage call that evaluates the same level by name: equal work, so equal on a curve."""
    assert isinstance(node.config, ProbeConfig)
    inputs = {name: node.inputs[name] for name in ("data", "model", "scored", "scores")}
    cfg = node.config.one_shot.model_copy(update={"sparsity": level})
    return Node(essential, cfg, node.seed, inputs | {"picked": None, "like": None})
