"""How many weights a round of ISSP leaves: targets, levels and schedules, as counts."""

import math
from typing import Annotated, Literal

from pydantic import Field

from trials.errors import StageInputError
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stage import StageConfig


class TargetConfig(StageConfig):
    """How sparse the mask of a round becomes."""

    target_sparsity: float = Field(0.5, gt=0, lt=1, description="sparsity after the last round")
    sparsity_reference: Literal["absolute", "relative"] = Field(
        "absolute", description="of all prunable weights, or of those the first mask left"
    )
    levels: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (),
        description="a sparsity for each ingredient in turn (LOTUS: masks created at different "
        "sparsity levels); empty: target_sparsity for all",
    )
    schedule: Literal["geometric", "cubic", "remaining", "linear"] = Field(
        "geometric",
        description="of the rounds; remaining: each removes round_fraction of what is left; "
        "linear: of all weights",
    )
    round_fraction: float = Field(
        0.1, gt=0, lt=1, description="for schedule: remaining (ISP 0.15 for CLIP, or 0.1) or linear"
    )
    stop_within: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="a round that starts this near the target leaves the mask as it is; 0: never",
    )


class RoundConfig(TargetConfig):
    """One round on the way.

    Attributes:
        rounds: denoised prunings on the way to the target.
        round: 1..rounds.
        last_hits_target: whether the ingredients of the last round are made at the target. No
            for `remaining` with a merge that does not give an exact count: as in ISP's released
            code the last round is then one like the others.
    """

    rounds: int = 1
    round: int = 1
    last_hits_target: bool = True


def absolute_sparsity(cfg: TargetConfig, first: KeepMask, level: float) -> float:
    """A level as a sparsity of all prunable weights: itself, or 1 - (1 - s1)(1 - level)."""
    if cfg.sparsity_reference == "relative":
        return 1.0 - (1.0 - masks.sparsity(first)) * (1.0 - level)
    return level


def goal_count(cfg: TargetConfig, first: KeepMask) -> int:
    """How many weights the target leaves: |P| - round(S |P|).

    Raises:
        StageInputError: the first mask is already sparser than the target.
    """
    goal = absolute_sparsity(cfg, first, cfg.target_sparsity)
    last = masks.keep_count(masks.size(first), goal)
    if last > masks.kept(first):
        raise StageInputError(
            f"issp.target_sparsity = {cfg.target_sparsity} is below the first mask's sparsity "
            f"{masks.sparsity(first):.4g}, so nothing is left to prune: raise the target or write "
            "`sparsity_reference: relative`"
        )
    return last


def target_count(cfg: RoundConfig, first: KeepMask, parent: KeepMask) -> int:
    """How many weights survive a round on the way from `first` to the target.

    The last round hits the target exactly (see `goal_count`). Rounds between are geometric in
    what remains, cubic (Zhu and Gupta 2017), or take `round_fraction` off what `parent`, the
    mask of the round before, keeps (remaining), or of all weights (linear), never beyond the
    target.

    Raises:
        StageInputError: the first mask is already sparser than the target.
    """
    total, s1, last = masks.size(first), masks.sparsity(first), goal_count(cfg, first)
    if cfg.round == cfg.rounds and cfg.last_hits_target:
        return last
    if cfg.schedule == "remaining":
        return max(last, masks.keep_count(masks.kept(parent), cfg.round_fraction))
    if cfg.schedule == "linear":
        return max(last, masks.kept(parent) - round(cfg.round_fraction * total))
    goal = absolute_sparsity(cfg, first, cfg.target_sparsity)
    done = cfg.round / cfg.rounds
    if cfg.schedule == "geometric":
        kept = (1.0 - s1) * ((1.0 - goal) / (1.0 - s1)) ** done
    else:
        kept = 1.0 - (goal + (s1 - goal) * (1.0 - done) ** 3)
    return max(last, round(float(kept * total)))


def ingredient_count(cfg: RoundConfig, first: KeepMask, parent: KeepMask, n: int) -> int:
    """How many weights ingredient `n` (from 0) proposes to keep: at most all of its parent's.

    Raises:
        StageInputError: levels with several rounds, or a target that leaves nothing to prune.
    """
    if not cfg.levels:
        # An intersection or a majority of the round before may have left less than this asks.
        return min(target_count(cfg, first, parent), masks.kept(parent))
    if cfg.rounds > 1:
        raise StageInputError(
            f"issp.rounds = {cfg.rounds} with issp.levels: levels are the sparsities of one "
            "round. Write `rounds: 1`, or remove the levels."
        )
    level = cfg.levels[n % len(cfg.levels)]
    wanted = masks.keep_count(masks.size(first), absolute_sparsity(cfg, first, level))
    return min(wanted, masks.kept(parent))


def stopped(cfg: TargetConfig, first: KeepMask, parent: KeepMask) -> bool:
    """Whether a round starts so near the target that it leaves its parent's mask alone."""
    if not cfg.stop_within:
        return False
    above = masks.kept(parent) - goal_count(cfg, first)
    return above <= round(cfg.stop_within * masks.size(first))


def rounds_to_target(
    schedule: str, round_fraction: float, first: float, target: float, relative: bool = False
) -> int:
    """How many rounds of `round_fraction` reach the target, 0 where nothing is left to prune.

    Args:
        schedule: remaining or linear.
        first: sparsity of the first mask.
        target: sparsity after the last round, of what the first mask left if `relative`.

    Source: ours; ISP prunes until the sparsity is reached.
    """
    goal = 1 - (1 - first) * (1 - target) if relative else target
    if goal <= first:
        return 0
    if schedule == "linear":
        needed = (goal - first) / round_fraction
    else:
        needed = math.log((1 - goal) / (1 - first)) / math.log(1 - round_fraction)
    return math.ceil(needed - 1e-9)
