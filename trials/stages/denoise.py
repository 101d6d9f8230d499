"""Phase 2, round 2a: candidate masks for the soup, each from a short training on little data."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trials import masks, vit
from trials.data import Dataset, fraction_indices
from trials.errors import StageInputError
from trials.masks import KeepMask, Masked
from trials.seeding import derive, generator
from trials.stage import StageConfig, stage
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.pretrained import Pretrained
from trials.train import Context, Progress, TrainConfig, Trainer
from trials.vit import Checkpoint


class TargetConfig(StageConfig):
    """How sparse the mask of a round becomes."""

    target_sparsity: float = Field(0.5, gt=0, lt=1, description="sparsity after the last round")
    sparsity_reference: Literal["absolute", "relative"] = Field(
        "absolute", description="of all prunable weights, or of those the first mask left"
    )
    rounds: int = Field(1, ge=1, le=100, description="denoised prunings on the way to the target")
    schedule: Literal["geometric", "cubic"] = Field("geometric", description="of the rounds")


class SoupConfig(TargetConfig):
    """How the ingredients are made."""

    ingredients: int = Field(5, ge=1, le=64, description="candidate masks; ISP uses 4 or 5")
    steps: int = Field(50, ge=0, description="look-ahead steps each; ISP uses 30 or 50")
    lr: float = Field(2e-5, gt=0, description="each ingredient draws lr * logU(0.3, 3)")
    weight_decay: float = Field(2e-8, ge=0, description="each draws weight_decay * logU(0.3, 3)")
    batch_size: int = Field(64, ge=1)
    spread: tuple[float, float] = Field((0.3, 3.0), description="range of the two factors")


class DenoiseConfig(SoupConfig):
    """One round of ingredients."""

    mask_data_fraction: float = Field(ge=0.1, le=1)
    round: int = 1
    mean_weights: bool = False


@dataclass(frozen=True, slots=True)
class Candidates:
    """The ingredients of one soup.

    Attributes:
        keeps: one keep-mask per ingredient, all with the same count, all inside the parent.
        mean_score: prunable name -> mean of |w| over the ingredients.
        mean_state: the averaged ingredient weights; None unless asked for.
        losses: mean training loss per ingredient.
        jaccard: overlap of every pair of masks; 1 = no diversity, the merge does nothing.
    """

    keeps: tuple[KeepMask, ...]
    mean_score: dict[str, Tensor]
    mean_state: dict[str, Tensor] | None
    losses: tuple[float, ...]
    jaccard: tuple[float, ...]


def target_count(cfg: TargetConfig, first: KeepMask, number: int) -> int:
    """How many weights survive round `number` (1..rounds) on the way from `first` to the target.

    The last round hits the target exactly: |P| - round(S |P|), with S = 1 - (1 - s1)(1 - r) for
    a relative target r. Rounds between are geometric in what remains, or cubic (Zhu and Gupta
    2017).

    Raises:
        StageInputError: the first mask is already sparser than the target.
    """
    total, s1 = masks.size(first), masks.sparsity(first)
    goal = cfg.target_sparsity
    if cfg.sparsity_reference == "relative":
        goal = 1.0 - (1.0 - s1) * (1.0 - goal)
    last = masks.keep_count(total, goal)
    if last > masks.kept(first):
        raise StageInputError(
            f"issp.target_sparsity = {cfg.target_sparsity} is below the first mask's sparsity "
            f"{s1:.4g}, so nothing is left to prune: raise the target or write "
            "`sparsity_reference: relative`"
        )
    if number == cfg.rounds:
        return last
    done = number / cfg.rounds
    if cfg.schedule == "geometric":
        kept = (1.0 - s1) * ((1.0 - goal) / (1.0 - s1)) ** done
    else:
        kept = 1.0 - (goal + (s1 - goal) * (1.0 - done) ** 3)
    return max(last, round(float(kept * total)))


@stage("denoise", version=1)
def denoise(
    cfg: DenoiseConfig,
    ctx: Context,
    *,
    seed: int,
    data: Dataset,
    model: Pretrained | Dense,
    first: OneShot,
    within: Masked | None,
) -> Candidates:
    """Train N copies briefly and differently; each proposes the mask of its own magnitudes.

    No warm-up: a look-ahead shorter than its warm-up moves weights by 1e-5 and the masks agree.
    All patches are seen; the same stratified images for all ingredients, in their own order.

    Args:
        model: start of every ingredient, theta.
        first: the one-shot mask M1; the target counts from it.
        within: the result of the round before; None in round 1 = M1.

    Source: Instant Soup Pruning, Algorithm 2; one-shot variant, DESIGN.md.
    """
    parent = within.keep if within is not None else first.keep
    # An intersection or a majority of the round before may have left less than this round asks.
    count = min(target_count(cfg, first.keep, cfg.round), masks.kept(parent))
    chosen = fraction_indices(data.train.labels, cfg.mask_data_fraction, seed, "mask data")
    keeps, losses = [], []
    total: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    for n in range(cfg.ingredients):
        start = vit.masked(model.checkpoint, parent)
        state, loss = _ingredient(cfg, ctx, start, parent, data, torch.from_numpy(chosen), seed, n)
        scores = {name: w.abs() for name, w in masks.prunable(state).items()}
        keeps.append(masks.top_k(scores, count, parent))
        losses.append(loss)
        total = {name: total.get(name, 0) + score.double() for name, score in scores.items()}
        if cfg.mean_weights:
            sums = {name: sums.get(name, 0) + tensor for name, tensor in state.items()}
        ctx.progress(Progress("ingredient", n + 1, cfg.ingredients))
    return Candidates(
        keeps=tuple(keeps),
        mean_score={name: (score / cfg.ingredients).float() for name, score in total.items()},
        mean_state={name: t / cfg.ingredients for name, t in sums.items()} or None,
        losses=tuple(losses),
        jaccard=masks.pairwise_jaccard(keeps),
    )


def _ingredient(
    cfg: DenoiseConfig,
    ctx: Context,
    start: Checkpoint,
    keep: KeepMask,
    data: Dataset,
    subset: Tensor,
    seed: int,
    n: int,
) -> tuple[dict[str, Tensor], float]:
    draw = generator(seed, "ingredient", n)
    lr, weight_decay = (
        base * _log_uniform(draw, cfg.spread) for base in (cfg.lr, cfg.weight_decay)
    )
    recipe = TrainConfig(
        lr=lr, weight_decay=weight_decay, batch_size=cfg.batch_size, schedule="constant"
    )
    module = vit.build(start, ctx.device)
    own_seed = derive(seed, "ingredient", n, cfg.round)
    trainer = Trainer(module, start.arch, data, recipe, ctx, own_seed, subset=subset, keep=keep)
    try:
        loss = trainer.steps(cfg.steps)
    except StageInputError as error:
        raise StageInputError(f"issp, ingredient {n}: {error}") from None
    return vit.take(module, start.arch).state, loss if cfg.steps else 0.0


def _log_uniform(draw: torch.Generator, bounds: tuple[float, float]) -> float:
    low, high = (math.log(bound) for bound in bounds)
    return math.exp(low + (high - low) * float(torch.rand((), generator=draw)))
