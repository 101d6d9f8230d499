"""Phase 2, round 2a: candidate masks for the soup, each from a short training on little data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from trials.context import Context, Progress
from trials.data.datasets import Dataset, fraction_indices
from trials.errors import StageInputError
from trials.lazy import torch
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.seeding import derive, generator
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask, Masked
from trials.sparsity.target import RoundConfig, TargetConfig, ingredient_count, stopped
from trials.stage import Later, stage
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.pretrained import Pretrained
from trials.stages.round_train import RoundTrained
from trials.stages.soup_train import SoupTrained
from trials.training.budget import Steps, look_ahead_steps
from trials.training.ingredients import Ingredients, Soup
from trials.training.recipe import DecayConfig, TrainConfig
from trials.training.snapshots import (
    MisfitError,
    State,
    inside,
    load_finished,
    refused,
    save_finished,
)
from trials.training.train import Trainer

if TYPE_CHECKING:
    from torch import Tensor


class SoupConfig(TargetConfig, DecayConfig):
    """How the ingredients are made."""

    ingredients: int = Field(5, ge=1, le=64, description="candidate masks; ISP uses 4 or 5")
    steps: Steps = Field(
        50,
        description="look-ahead steps each; ISP uses 30 or 50; pass: one pass over the "
        "ingredient's data",
    )
    subset: Literal["shared", "own"] = Field(
        "shared",
        description="all ingredients see the same stratified fraction of the data, or each draws "
        "its own of that size",
    )
    lr: float = Field(2e-5, gt=0, description="each ingredient draws lr * logU(0.3, 3)")
    weight_decay: float = Field(2e-8, ge=0, description="each draws weight_decay * logU(0.3, 3)")
    batch_size: int = Field(64, ge=1, description="images of one look-ahead step")
    spread: tuple[float, float] = Field((0.3, 3.0), description="range of the two factors")
    look_ahead_warmup: Annotated[int, Later()] = Field(
        0,
        ge=0,
        description="steps over which each ingredient's learning rate rises from 0; ISP's released "
        "code 500, so that its look-ahead of 39 steps hardly moves a weight",
    )


class DenoiseConfig(SoupConfig, RoundConfig):
    """One round of ingredients.

    Attributes:
        recipe: how an ingredient is trained, instead of what the section says; its schedule is
            that of the `steps`.
    """

    mask_data_fraction: float = Field(ge=0.1, le=1)
    mean_weights: bool = False
    recipe: Annotated[TrainConfig | None, Later()] = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """The ingredients of one soup.

    Attributes:
        keeps: one keep-mask per ingredient, all inside the parent; with the same count, unless
            there are levels. The parent alone when the round has stopped.
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


@stage("denoise", version=1)
def denoise(
    cfg: DenoiseConfig,
    ctx: Context,
    *,
    seed: int,
    data: Dataset,
    model: Pretrained | Dense | SoupTrained | RoundTrained,
    first: OneShot,
    within: Masked | None,
) -> Candidates:
    """Train N copies briefly and differently; each proposes the mask of its own magnitudes.

    No warm-up unless it is asked for: a look-ahead shorter than its warm-up moves weights by 1e-5
    and the masks agree.
    All patches are seen. A round that starts within `stop_within` of the target trains nothing.

    Args:
        model: start of every ingredient, theta.
        first: the one-shot mask M1; the target counts from it.
        within: the result of the round before; None in round 1 = M1.

    Source: Instant Soup Pruning, Algorithm 2; one-shot variant, DESIGN 8.
    """
    parent = within.keep if within is not None else first.keep
    if stopped(cfg, first.keep, parent):
        return _unchanged(cfg, model.checkpoint, parent)
    counts = [ingredient_count(cfg, first.keep, parent, n) for n in range(cfg.ingredients)]
    mean_of = model.checkpoint.state if cfg.mean_weights else {}
    soup = Soup(cfg.model_dump(mode="json") | {"seed": seed}, parent, counts, mean_of)
    start = masks.masked(model.checkpoint, parent)
    made, begun = _resumed(ctx, soup)
    finished = made.saved(soup)
    for n in range(len(made.keeps), cfg.ingredients):
        own = inside(ctx, finished, begun)
        state, loss = _ingredient(cfg, own, start, parent, data, seed, n)
        made.add(state, loss, soup)
        ctx.progress(Progress("ingredient", n + 1, cfg.ingredients))
        finished, begun = made.saved(soup), None
        if n + 1 < cfg.ingredients:
            save_finished(ctx.snapshots, finished)
    return Candidates(
        keeps=tuple(made.keeps),
        mean_score={name: (score / cfg.ingredients).float() for name, score in made.scores.items()},
        mean_state={name: t / cfg.ingredients for name, t in made.weights.items()} or None,
        losses=tuple(made.losses),
        jaccard=masks.pairwise_jaccard(made.keeps),
    )


def _resumed(ctx: Context, soup: Soup) -> tuple[Ingredients, State | None]:
    """What an interrupted call has finished, and where the training stood that it had begun."""
    saved = load_finished(ctx.snapshots)
    if saved is not None:
        try:
            return Ingredients.of(saved[0], soup), saved[1]
        except MisfitError as error:
            refused(error)
    return Ingredients(), None


def _unchanged(cfg: DenoiseConfig, theta: Checkpoint, parent: KeepMask) -> Candidates:
    """The only candidate of a round that has stopped is the mask it started from."""
    state = masks.apply(theta.state, parent)
    scores = {name: w.abs() for name, w in state.items() if name in parent}
    return Candidates((parent,), scores, state if cfg.mean_weights else None, (0.0,), ())


def _images(cfg: DenoiseConfig, data: Dataset, seed: int, n: int) -> Tensor:
    """Which training images ingredient `n` sees: int64, ascending."""
    purpose = f"mask data {cfg.round}/{n}" if cfg.subset == "own" else "mask data"
    chosen = fraction_indices(data.train.labels, cfg.mask_data_fraction, seed, purpose)
    return torch.from_numpy(chosen)


def _ingredient(
    cfg: DenoiseConfig,
    ctx: Context,
    start: Checkpoint,
    keep: KeepMask,
    data: Dataset,
    seed: int,
    n: int,
) -> tuple[dict[str, Tensor], float]:
    recipe = cfg.recipe or _recipe(cfg, seed, n)
    model, subset = Model.of(start, ctx.device), _images(cfg, data, seed, n)
    steps = look_ahead_steps(cfg.steps, len(subset), recipe.batch_size)
    own_seed = derive(seed, "ingredient", n, cfg.round)
    trainer = Trainer(model, data, recipe, ctx, own_seed, subset=subset, keep=keep)
    try:
        loss = trainer.steps(steps)
    except StageInputError as error:
        raise StageInputError(f"issp, ingredient {n}: {error}") from None
    return model.checkpoint().state, loss


def _recipe(cfg: DenoiseConfig, seed: int, n: int) -> TrainConfig:
    draw = generator(seed, "ingredient", n)
    lr, weight_decay = (
        base * _log_uniform(draw, cfg.spread) for base in (cfg.lr, cfg.weight_decay)
    )
    warmup = {"warmup_steps": cfg.look_ahead_warmup}
    return cfg.part(TrainConfig, lr=lr, weight_decay=weight_decay, schedule="constant", **warmup)


def _log_uniform(draw: torch.Generator, bounds: tuple[float, float]) -> float:
    low, high = (math.log(bound) for bound in bounds)
    return math.exp(low + (high - low) * float(torch.rand((), generator=draw)))
