"""Phase 2, round 2c, only for `round_training: progressive`: the model goes on between rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trials.context import Context, Outcomes
from trials.data.datasets import Dataset, fraction_indices
from trials.errors import StageInputError
from trials.lazy import torch
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.seeding import derive
from trials.sparsity import masks
from trials.sparsity.masks import Masked
from trials.stage import Later, stage
from trials.stages.dense import Dense
from trials.stages.pretrained import Pretrained
from trials.training.budget import Steps, left_steps
from trials.training.evaluation import evaluate
from trials.training.recipe import DecayConfig, TrainConfig
from trials.training.train import Trainer


class SoupTrainConfig(DecayConfig):
    """One round's training; `ingredients` and `steps` say what of its budget is spent already.

    Attributes:
        mask_data_fraction: that this round sees, after it has grown with the rounds.
        count_look_ahead: whether the ingredients' steps are taken off this round's.
    """

    mask_data_fraction: float
    ingredients: int
    steps: Steps
    lr: float
    weight_decay: float
    batch_size: int
    round: int
    count_look_ahead: Annotated[bool, Later()] = True


@dataclass(frozen=True, slots=True)
class SoupTrained:
    """The weights that the next round starts from, exactly 0 outside the round's mask.

    Attributes:
        steps: that the ingredients had left; 0 = the weights only took the mask.
        loss: mean training loss; 0 without a step.
    """

    checkpoint: Checkpoint
    validation: Outcomes
    steps: int
    loss: float


@stage("soup_train", version=1)
def soup_train(
    cfg: SoupTrainConfig,
    ctx: Context,
    *,
    seed: int,
    data: Dataset,
    model: Pretrained | Dense | SoupTrained,
    mask: Masked,
) -> SoupTrained:
    """Train theta under the new mask with the steps that the ingredients left of one pass.

    No rewinding and no warm-up: the next round goes on from these weights.

    Args:
        model: theta of this round, from which its ingredients started.
        mask: what this round's merge kept.

    Raises:
        StageInputError: the loss is not finite.

    Source: Instant Soup Pruning, Algorithm 1.
    """
    chosen = fraction_indices(data.train.labels, cfg.mask_data_fraction, seed, "mask data")
    start, keep = masks.masked(model.checkpoint, mask.keep), mask.keep
    recipe = cfg.part(TrainConfig, schedule="constant")
    own = Model.of(start, ctx.device)
    own_seed = derive(seed, "soup train", cfg.round)
    subset = torch.from_numpy(chosen)
    trainer = Trainer(own, data, recipe, ctx, own_seed, subset=subset, keep=keep)
    spent = cfg.ingredients if cfg.count_look_ahead else 0
    steps = left_steps(cfg.steps, spent, len(chosen), cfg.batch_size)
    try:
        loss = trainer.steps(steps)
    except StageInputError as error:
        raise StageInputError(f"issp, training of round {cfg.round}: {error}") from None
    outcomes = evaluate(own, data, "validation", ctx)
    return SoupTrained(own.checkpoint(), outcomes, steps, loss)
