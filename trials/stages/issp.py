"""Phase 2, round 2b: the denoised mask, merged from the candidates, inside the first mask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import Tensor

from trials import masks, vit
from trials.data import Dataset
from trials.masks import KeepMask, Masked
from trials.stage import stage
from trials.stages.denoise import Candidates, TargetConfig, target_count
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.pretrained import Pretrained
from trials.train import Context, Outcomes, evaluate
from trials.vit import Checkpoint

Merge = Literal[
    "vote_topk", "mean_score_topk", "union_kept", "union_pruned", "intersect_kept", "majority"
]
EXACT: frozenset[str] = frozenset({"vote_topk", "mean_score_topk"})
"""Merges that give exactly the target sparsity."""


class MergeConfig(TargetConfig):
    """How candidates become one mask."""

    merge: Merge = Field("vote_topk", description="how the candidate masks become one")
    weights: Literal["current", "rewind", "ingredient_mean"] = Field(
        "current",
        description="after the merge: theta, the pretrained weights, or the mean "
        "of the ingredients",
    )


class IsspConfig(MergeConfig):
    """One round's merge."""

    round: int = 1


@dataclass(frozen=True, slots=True)
class Issp:
    """The denoised mask, the weights under it, and what they are worth before recovery."""

    keep: KeepMask
    checkpoint: Checkpoint
    validation: Outcomes


def vote_topk(candidates: Candidates, count: int, parent: KeepMask) -> KeepMask:
    """Exactly `count` weights: most votes first, ties by mean |w|, then by position.

    Between the intersection and the union of the candidates. Never trim a union by |theta|: the
    one-shot mask is inside it and would come out unchanged (methods.md 4, trap 1).
    """
    largest = max(float(score.max()) for score in candidates.mean_score.values()) or 1.0
    scores: dict[str, Tensor] = {
        name: vote.double() + candidates.mean_score[name].double() / (2 * largest)
        for name, vote in masks.votes(candidates.keeps).items()
    }
    return masks.top_k(scores, count, parent)


def mean_score_topk(candidates: Candidates, count: int, parent: KeepMask) -> KeepMask:
    """Exactly `count` weights with the largest mean |w| over the ingredients."""
    return masks.top_k(candidates.mean_score, count, parent)


def union_kept(candidates: Candidates, count: int, parent: KeepMask) -> KeepMask:
    """Kept by any candidate: sparsity at most the target."""
    return masks.union(candidates.keeps)


def intersect_kept(candidates: Candidates, count: int, parent: KeepMask) -> KeepMask:
    """Kept by all candidates, the complement of the union of the pruned sets."""
    return masks.intersection(candidates.keeps)


def majority(candidates: Candidates, count: int, parent: KeepMask) -> KeepMask:
    """Kept by more than half of the candidates."""
    needed = len(candidates.keeps) / 2
    return {name: vote > needed for name, vote in masks.votes(candidates.keeps).items()}


MERGES: dict[str, Callable[[Candidates, int, KeepMask], KeepMask]] = {
    "vote_topk": vote_topk,
    "mean_score_topk": mean_score_topk,
    "union_kept": union_kept,
    "union_pruned": intersect_kept,
    "intersect_kept": intersect_kept,
    "majority": majority,
}


@stage("issp", version=1)
def issp(
    cfg: IsspConfig,
    ctx: Context,
    *,
    data: Dataset,
    model: Pretrained | Dense,
    rewind: Pretrained,
    first: OneShot,
    within: Masked | None,
    candidates: Candidates,
) -> Issp:
    """Merge the candidates inside the parent mask and evaluate the pruned model.

    Source: LOTUS section 3 ("the merge of the masks ... using the union", polarity not given);
    Instant Soup Pruning; the default merge is ours (DESIGN.md).
    """
    parent = within.keep if within is not None else first.keep
    keep = MERGES[cfg.merge](candidates, target_count(cfg, first.keep, cfg.round), parent)
    start = {
        "current": model.checkpoint.state,
        "rewind": rewind.checkpoint.state,
        "ingredient_mean": candidates.mean_state,
    }[cfg.weights]
    arch = model.checkpoint.arch
    pruned = vit.masked(Checkpoint(arch, start or model.checkpoint.state), keep)
    module = vit.build(pruned, ctx.device)
    return Issp(keep, pruned, evaluate(module, arch, data, "validation", ctx))
