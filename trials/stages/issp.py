"""Phase 2, round 2b: the denoised mask, merged from the candidates, inside the first mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from trials.context import Context, Outcomes
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask, Masked, Scores
from trials.sparsity.target import RoundConfig, TargetConfig, goal_count, stopped, target_count
from trials.stage import Later, stage
from trials.stages.denoise import Candidates
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.pretrained import Pretrained
from trials.stages.round_train import RoundTrained
from trials.stages.soup_train import SoupTrained
from trials.training.evaluation import evaluate

if TYPE_CHECKING:
    from torch import Tensor

Merge = Literal[
    "vote_topk",
    "mean_score_topk",
    "union_kept",
    "union_pruned",
    "intersect_kept",
    "majority",
    "isp_literal",
]
EXACT: frozenset[str] = frozenset({"vote_topk", "mean_score_topk", "isp_literal"})
"""Merges that give exactly the target sparsity."""


class MergeConfig(TargetConfig):
    """How candidates become one mask."""

    merge: Merge = Field("vote_topk", description="how the candidate masks become one")
    weights: Literal["current", "rewind", "ingredient_mean"] = Field(
        "current",
        description="after the merge: theta, the pretrained weights, or the mean "
        "of the ingredients",
    )
    final_trim: bool = Field(
        False, description="after the last round, prune by the weights' magnitude to the target"
    )

    trim_when: Annotated[Literal["last_round", "stopped"], Later()] = Field(
        "last_round",
        description="with final_trim; stopped: already in the round that `stop_within` ends, as in "
        "ISP's released code, so that what is left of the training has the final mask",
    )

    @property
    def needs_target(self) -> bool:
        """Whether target_sparsity plays a part; levels may replace it."""
        return not self.levels or self.merge in EXACT or self.final_trim or bool(self.stop_within)

    @property
    def ends_at_target(self) -> bool:
        """Whether the last mask's count is known before: exactly that of an absolute target.

        Otherwise it depends on the first mask (relative) or on what the ingredients say.
        """
        if self.sparsity_reference == "relative":
            return False
        if self.merge in EXACT:
            return self.final_trim or not self.stop_within
        # A union keeps at least what one candidate keeps, so there is always enough to trim.
        return self.merge == "union_kept" and self.final_trim and not self.levels


class IsspConfig(MergeConfig, RoundConfig):
    """One round's merge."""


@dataclass(frozen=True, slots=True)
class Issp:
    """The denoised mask, the weights under it, and what they are worth before recovery."""

    keep: KeepMask
    checkpoint: Checkpoint
    validation: Outcomes


@dataclass(frozen=True, slots=True)
class Merging:
    """What a merge has to go by.

    Attributes:
        theta: |w| of the weights that the ingredients started from.
        count: weights to keep, at most what `parent` keeps; only exact merges read it.
        parent: the mask that the result must lie inside, as all candidates do.
    """

    candidates: Candidates
    theta: Scores
    count: int
    parent: KeepMask


def vote_topk(given: Merging) -> KeepMask:
    """Exactly `count` weights: most votes first, ties by mean |w|, then by position.

    Between the intersection and the union of the candidates. Never trim a union by |theta|: the
    one-shot mask is inside it and would come out unchanged (DESIGN 10).

    Raises:
        StageInputError: the candidates together keep fewer than `count`.
    """
    candidates = given.candidates
    votes = masks.votes(candidates.keeps)
    if (there := sum(int((vote > 0).sum()) for vote in votes.values())) < given.count:
        raise StageInputError(
            f"vote_topk is asked for {given.count} weights and the candidates together keep "
            f"{there}: raise `issp.target_sparsity` or lower the smallest of `issp.levels`"
        )
    largest = max(float(score.max()) for score in candidates.mean_score.values()) or 1.0
    scores: dict[str, Tensor] = {
        name: vote.double() + candidates.mean_score[name].double() / (2 * largest)
        for name, vote in votes.items()
    }
    return masks.top_k(scores, given.count, given.parent)


def mean_score_topk(given: Merging) -> KeepMask:
    """Exactly `count` weights with the largest mean |w| over the ingredients."""
    return masks.top_k(given.candidates.mean_score, given.count, given.parent)


def union_kept(given: Merging) -> KeepMask:
    """Kept by any candidate: sparsity at most the target."""
    return masks.union(given.candidates.keeps)


def intersect_kept(given: Merging) -> KeepMask:
    """Kept by all candidates, the complement of the union of the pruned sets."""
    return masks.intersection(given.candidates.keeps)


def majority(given: Merging) -> KeepMask:
    """Kept by more than half of the candidates."""
    needed = len(given.candidates.keeps) / 2
    return {name: vote > needed for name, vote in masks.votes(given.candidates.keeps).items()}


def isp_literal(given: Merging) -> KeepMask:
    """The one-shot mask united with the candidates, then trimmed by |theta| to `count`.

    What the ISP paper's Algorithm 2 says ("one-shot adjustment"). The one-shot mask holds the
    `count` largest |theta| already, so it comes out unchanged whatever the ingredients say
    (DESIGN 10): a reading to compare with, not one to use.
    """
    one_shot = masks.top_k(given.theta, given.count, given.parent)
    seeded = masks.union([one_shot, *given.candidates.keeps])
    return masks.top_k(given.theta, given.count, seeded)


MERGES: dict[str, Callable[[Merging], KeepMask]] = {
    "vote_topk": vote_topk,
    "mean_score_topk": mean_score_topk,
    "union_kept": union_kept,
    "union_pruned": intersect_kept,
    "intersect_kept": intersect_kept,
    "majority": majority,
    "isp_literal": isp_literal,
}


def merged_mask(
    cfg: IsspConfig, theta: Scores, first: KeepMask, parent: KeepMask, candidates: Candidates
) -> KeepMask:
    """The mask of one round: the candidates merged, or the parent's where the rounds stopped.

    Args:
        theta: |w| of the weights that the ingredients started from.
        first: the one-shot mask M1; the target counts from it.
        parent: the mask of the round before, `first` in round 1.

    Raises:
        StageInputError: the first mask is already sparser than a target that is needed.
    """
    keep, ends = parent, cfg.round == cfg.rounds
    if stopped(cfg, first, parent):
        ends = ends or cfg.trim_when == "stopped"
    else:
        exact = cfg.merge in EXACT
        count = target_count(cfg, first, parent) if exact else masks.kept(parent)
        keep = MERGES[cfg.merge](Merging(candidates, theta, count, parent))
    if cfg.final_trim and ends:
        # An intersection may have left less than the target: nothing to trim then.
        keep = masks.top_k(theta, min(goal_count(cfg, first), masks.kept(keep)), keep)
    return keep


@stage("issp", version=1)
def issp(
    cfg: IsspConfig,
    ctx: Context,
    *,
    data: Dataset,
    model: Pretrained | Dense | SoupTrained | RoundTrained,
    rewind: Pretrained,
    first: OneShot,
    within: Masked | None,
    candidates: Candidates,
) -> Issp:
    """Merge the candidates inside the parent mask and evaluate the pruned model.

    Source: LOTUS section 3 ("the merge of the masks ... using the union", polarity not given);
    Instant Soup Pruning; the default merge is ours (DESIGN 10).
    """
    parent = within.keep if within is not None else first.keep
    theta = {name: w.abs() for name, w in masks.prunable(model.checkpoint).items()}
    keep = merged_mask(cfg, theta, first.keep, parent, candidates)
    start = {
        "current": model.checkpoint.state,
        "rewind": rewind.checkpoint.state,
        "ingredient_mean": candidates.mean_state,
    }[cfg.weights]
    arch = model.checkpoint.arch
    pruned = masks.masked(Checkpoint(arch, start or model.checkpoint.state), keep)
    own = Model.of(pruned, ctx.device)
    return Issp(keep, pruned, evaluate(own, data, "validation", ctx))
